"""Four ways to ask a model for a label, so that a tuned model's gain is measured against more than a straw man.

Zero-shot as the data has it; few-shot, with examples from the training file in the prompt; by likelihood, where the
model only ranks the labels and cannot fail by format; and the tuned model. The completers are handed in.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuneport.data.reading import read_records
from tuneport.data.records import Chat, Labelled, Message, PlainText, Record
from tuneport.data.text import split_answer
from tuneport.errors import DatasetError, DatasetProblem
from tuneport.evaluate.exact_match import Score, equal, exact_match

Messages = list[dict[str, Any]]
Complete = Callable[[Sequence[Messages]], Iterable[str]]
"""Takes conversations in OpenAI's shape, gives one answer's text for each, in order."""
Same = Callable[[str, str], bool]
"""Whether an answer, the second, is right where the first is expected."""
Rank = Callable[[Sequence[Messages], Sequence[str]], Iterable[Sequence[float]]]
"""Takes conversations and choices, gives for each conversation one log-likelihood (nats) a choice."""


@dataclass(frozen=True)
class Example:
    """A conversation up to its last answer, and that answer."""

    messages: Messages
    expected: str

    @property
    def prompt(self) -> str:
        return str(self.messages[-1]["content"])


def examples(path: Path) -> list[Example]:
    """Read a chat dataset of text whose records end with an answer. DatasetError names the first that does not."""
    found = []
    for line, record in read_records(path):
        if not isinstance(record, Chat) or record.messages[-1].role != "assistant":
            problem = DatasetProblem(
                str(path), line, "messages", "does not end with an answer", "add the expected answer"
            )
            raise DatasetError(problem)
        messages = [{"role": message.role, "content": message.text} for message in record.messages]
        found.append(Example(messages[:-1], str(messages[-1]["content"])))
    return found


def example_of(record: Record) -> Example | None:
    """A record as a question and its answer, of a pair the preferred one.

    None where it is not both, or not text alone: images, tools and calls cannot be compared as text, and an answer
    marked as bad is none. Developer prompts are system prompts here: not every server knows the other word.
    """
    if isinstance(record, PlainText) or (isinstance(record, Labelled) and not record.label):
        return None
    if isinstance(record, Chat | Labelled) and record.messages[-1].role != "assistant":
        return None
    asked, answers = split_answer(record)
    plain = not record.tools and all(_is_text(message) for message in (*asked, *answers))
    if not (plain and asked and len(answers) == 1 and answers[0].role == "assistant" and answers[0].text):
        return None
    roles = {"developer": "system"}
    messages = [{"role": roles.get(message.role, message.role), "content": message.text} for message in asked]
    return Example(messages, answers[0].text)


def _is_text(message: Message) -> bool:
    return not message.has_image and not message.tool_calls and message.role != "tool"


def labels(rows: Sequence[Example]) -> list[str]:
    return sorted({row.expected for row in rows})


def choose_shots(train: Sequence[Example], *, per_label: int, seed: int) -> list[Example]:
    """`per_label` training rows of each label, drawn and shuffled by `seed`."""
    draw = random.Random(seed)
    by_label: dict[str, list[Example]] = {}
    for row in train:
        by_label.setdefault(row.expected, []).append(row)
    chosen = [row for rows in by_label.values() for row in draw.sample(rows, min(per_label, len(rows)))]
    draw.shuffle(chosen)
    return chosen


def with_shots(row: Example, shots: Sequence[Example]) -> Messages:
    """The conversation with the shots as earlier turns, after the system prompt that all share, if there is one."""
    system = [message for message in row.messages if message["role"] == "system"]
    turns = [message for message in row.messages if message["role"] != "system"]
    shown: Messages = []
    for shot in shots:
        shown += [message for message in shot.messages if message["role"] != "system"]
        shown.append({"role": "assistant", "content": shot.expected})
    return system + shown + turns


def score_zero_shot(rows: Sequence[Example], complete: Complete, *, same: Same = equal) -> Score:
    return _score(rows, list(complete([row.messages for row in rows])), same)


def score_few_shot(
    rows: Sequence[Example], shots: Sequence[Example], complete: Complete, *, same: Same = equal
) -> Score:
    return _score(rows, list(complete([with_shots(row, shots) for row in rows])), same)


def score_by_likelihood(rows: Sequence[Example], choices: Sequence[str], rank: Rank) -> Score:
    """The answer is the choice with the highest log-likelihood; the first of equals."""
    answers = []
    for likelihoods in rank([row.messages for row in rows], choices):
        best = max(range(len(choices)), key=lambda index: likelihoods[index])
        answers.append(choices[best])
    return _score(rows, answers, equal)


def _score(rows: Sequence[Example], answers: Sequence[str], same: Same) -> Score:
    return exact_match([row.prompt for row in rows], [row.expected for row in rows], answers, same=same)
