"""Four ways to ask a model, so that a tuned model's gain is measured against more than a straw man.

Zero-shot as the data has it; few-shot, with examples from the training file in the prompt; by likelihood, where the
model only ranks the labels and cannot fail by format; and the tuned model. What completes is handed in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from tuneport.backends.base import FineTuneBackend, raise_chat_errors
from tuneport.data.running.underway import report_data_activity
from tuneport.scoring.accuracy import AccuracyScore, Same, score_accuracy
from tuneport.scoring.examples import Example, Messages, prepend_few_shot_turns
from tuneport.scoring.metrics.normalisation import is_same_answer

Complete = Callable[[Sequence[Messages]], Iterable[str]]
"""A function of conversations in OpenAI's shape that returns the text of one answer for each, in order."""
Rank = Callable[[Sequence[Messages], Sequence[str]], Iterable[Sequence[float]]]
"""A function of conversations and choices that returns, for each conversation, a log-likelihood (nats) of each
choice."""


@dataclass(frozen=True)
class PromptingResult:
    """One way of asking, over all held-out rows. `seconds` includes loading the model if this was the first way."""

    name: str
    what: str
    score: AccuracyScore
    seconds: float


def score_prompting(name: str, what: str, score: Callable[[], AccuracyScore]) -> PromptingResult:
    begun = time.monotonic()
    result = score()
    return PromptingResult(name, what, result, time.monotonic() - begun)


def make_scoring_completer(backend: FineTuneBackend, model: str, *, most_tokens: int) -> Complete:
    """Return a function that asks `model` at temperature 0, with at most `most_tokens` an answer."""

    def complete(asked: Sequence[Messages]) -> list[str]:
        options = {"max_tokens": most_tokens, "temperature": 0.0}
        answers: list[str] = []
        with report_data_activity(f"asking {model}", lambda: len(answers) / len(asked)):
            answers.extend(answer.text for answer in raise_chat_errors(backend.complete_many(model, asked, **options)))
        return answers

    return complete


def score_base_prompting(
    rows: Sequence[Example], shots: Sequence[Example], complete: Complete, *, same: Same = is_same_answer
) -> Iterator[PromptingResult]:
    """Yield each result as it is measured: the plain prompt, then, if there are `shots`, the prompt with these before
    it."""
    yield score_prompting("base", "the prompt as it is", lambda: score_zero_shot(rows, complete, same=same))
    if shots:
        yield score_prompting(
            "base, few-shot",
            f"{len(shots)} examples shown",
            lambda: score_few_shot(rows, shots, complete, same=same),
        )


def score_zero_shot(rows: Sequence[Example], complete: Complete, *, same: Same = is_same_answer) -> AccuracyScore:
    return _marked(rows, list(complete([row.messages for row in rows])), same)


def score_few_shot(
    rows: Sequence[Example], shots: Sequence[Example], complete: Complete, *, same: Same = is_same_answer
) -> AccuracyScore:
    return _marked(rows, list(complete([prepend_few_shot_turns(row, shots) for row in rows])), same)


def score_choice_likelihoods(rows: Sequence[Example], choices: Sequence[str], rank: Rank) -> AccuracyScore:
    """Score the choice with the highest log-likelihood as the answer; the first of equals."""
    answers = []
    for likelihoods in rank([row.messages for row in rows], choices):
        best = max(range(len(choices)), key=lambda index: likelihoods[index])
        answers.append(choices[best])
    return _marked(rows, answers, is_same_answer)


def score_expected_answers(rows: Sequence[Example], rank: Rank) -> list[float]:
    """Return the log-likelihood of each row's own expected answer, in nats. Rows with equal answers are asked
    together."""
    by_answer: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        by_answer.setdefault(row.expected, []).append(index)
    found = [0.0] * len(rows)
    for expected, indexes in by_answer.items():
        ranked = rank([rows[index].messages for index in indexes], [expected])
        for index, likelihoods in zip(indexes, ranked, strict=True):
            found[index] = float(likelihoods[0])
    return found


def _marked(rows: Sequence[Example], answers: Sequence[str], same: Same) -> AccuracyScore:
    return score_accuracy([row.prompt for row in rows], [row.expected for row in rows], answers, same=same)
