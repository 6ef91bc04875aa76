"""Comparison of the old model and the new one on the same held-out prompts: small, and honest about how little few rows
show."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuneport.backends.base import FineTuneBackend, raise_chat_errors
from tuneport.data.dataset import Dataset
from tuneport.data.rows.records import Chat, Message, Preference
from tuneport.errors import NotFoundError, TuneportError
from tuneport.scoring.accuracy import AccuracyScore, score_accuracy
from tuneport.scoring.metrics.normalisation import normalise_answer

DEFAULT_ROWS = 50
EXAMPLES = 3
_MOST_TOKENS = 1024
_CHARACTERS_PER_TOKEN = 2  # a cautious guess, so that no answer as long as its reference is cut

Messages = list[dict[str, Any]]


@dataclass(frozen=True)
class MigrationComparedPrompt:
    messages: Messages
    reference: str

    @property
    def shown(self) -> str:
        return str(self.messages[-1]["content"])


@dataclass(frozen=True)
class ComparedModel:
    """One model's answers, in the prompts' order; or why there are none."""

    backend: str
    model: str
    answers: list[str] | None
    unavailable: str | None = None


@dataclass(frozen=True)
class MigrationAnswerComparison:
    """`rows` of `of` held-out rows were asked. Scores are exact match with the reference; `agreement` is that of the
    two models with each other."""

    job: str
    row: str
    rows: int
    of: int
    old: ComparedModel
    new: ComparedModel
    old_score: AccuracyScore | None = None
    new_score: AccuracyScore | None = None
    agreement: AccuracyScore | None = None
    examples: list[dict[str, str]] = field(default_factory=list)
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        scores = {"old": self.old_score, "new": self.new_score, "agreement": self.agreement}
        return {
            "job": self.job,
            "started_as": self.row,
            "rows": self.rows,
            "of": self.of,
            "old_model": self.old.model,
            "new_model": self.new.model,
            "old_unavailable": self.old.unavailable,
            "new_unavailable": self.new.unavailable,
            **{
                name: None
                if score is None
                else {"share": score.accuracy, "low": score.low, "high": score.high, "correct": score.correct}
                for name, score in scores.items()
            },
            "examples": self.examples,
            "note": self.note,
        }


def comparison_prompts(dataset: Dataset | Path) -> list[MigrationComparedPrompt]:
    """Return the rows of text that end with an answer: the last one of a chat, the preferred one of a preference pair.

    Rows with images, tools or calls are left out: their answers cannot be compared as text.
    """
    found = []
    for _, record in Dataset.of(dataset).records():
        if isinstance(record, Chat):
            *context, answer = record.messages
        elif isinstance(record, Preference):
            context, answer = record.context, record.chosen[0]
        else:
            continue
        plain = not record.tools and all(_is_text(message) for message in (*context, answer))
        if plain and context and answer.role == "assistant" and answer.text:
            asked = [{"role": message.role, "content": message.text} for message in context]
            found.append(MigrationComparedPrompt(asked, answer.text))
    return found


def _is_text(message: Message) -> bool:
    return not message.has_image and not message.tool_calls and message.role != "tool"


def compare_moved_models(
    job: str,
    row: str,
    validation: Dataset | Path | None,
    old: tuple[FineTuneBackend | None, str | None],
    new: tuple[FineTuneBackend, str],
    *,
    most: int = DEFAULT_ROWS,
) -> MigrationAnswerComparison:
    """Ask both models the same prompts at temperature 0. A model that does not answer is reported, not raised.

    `most` rows are drawn, always the same ones of the same file. `old` without a backend: the account is gone.
    """
    old_backend, old_model = old
    new_backend, new_model = new
    no_old = ComparedModel("" if old_backend is None else old_backend.name, old_model or "", None)
    silent = ComparedModel(new_backend.name, new_model, None)
    if validation is None:
        return MigrationAnswerComparison(
            job, row, 0, 0, no_old, silent, note="no validation file: nothing to compare them on"
        )
    every = comparison_prompts(validation)
    if not every:
        return MigrationAnswerComparison(
            job, row, 0, 0, no_old, silent, note="no row of the validation file is plain text"
        )
    asked = every if len(every) <= most else random.Random(0).sample(every, most)
    limit = min(_MOST_TOKENS, 16 + max(len(prompt.reference) for prompt in asked) // _CHARACTERS_PER_TOKEN)
    new_side = _ask(new_backend, new_model, asked, limit)
    if old_backend is None:
        old_side = ComparedModel("", old_model or "", None, "the account is not asked (--saved)")
    elif old_model is None:
        old_side = ComparedModel(old_backend.name, "", None, "the job made no model")
    else:
        old_side = _ask(old_backend, old_model, asked, limit)
    references = [prompt.reference for prompt in asked]
    both = old_side.answers is not None and new_side.answers is not None
    return MigrationAnswerComparison(
        job,
        row,
        len(asked),
        len(every),
        old_side,
        new_side,
        _score(asked, references, old_side.answers),
        _score(asked, references, new_side.answers),
        _score(asked, old_side.answers or [], new_side.answers) if both else None,
        _differing_rows(asked, old_side, new_side),
    )


def _ask(backend: FineTuneBackend, model: str, asked: Sequence[MigrationComparedPrompt], limit: int) -> ComparedModel:
    conversations = [prompt.messages for prompt in asked]
    try:
        answers = backend.complete_many(model, conversations, max_tokens=limit, temperature=0.0)
        return ComparedModel(backend.name, model, [answer.text for answer in raise_chat_errors(answers)])
    except NotFoundError as error:
        return ComparedModel(backend.name, model, None, f"no longer answers: {error}")
    except TuneportError as error:
        return ComparedModel(backend.name, model, None, str(error))


def _score(
    asked: Sequence[MigrationComparedPrompt], expected: Sequence[str], answers: Sequence[str] | None
) -> AccuracyScore | None:
    return None if answers is None else score_accuracy([prompt.shown for prompt in asked], expected, answers)


def _differing_rows(
    asked: Sequence[MigrationComparedPrompt], old: ComparedModel, new: ComparedModel
) -> list[dict[str, str]]:
    """Return the first rows where the two differ, or the new one differs from the reference if only it answers."""
    if new.answers is None:
        return []
    found = []
    for index, prompt in enumerate(asked):
        was = None if old.answers is None else old.answers[index]
        if normalise_answer(new.answers[index]) != normalise_answer(prompt.reference if was is None else was):
            row = {"prompt": prompt.shown, "reference": prompt.reference, "new": new.answers[index]}
            found.append(row if was is None else row | {"old": was})
        if len(found) == EXAMPLES:
            break
    return found
