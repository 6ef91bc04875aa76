"""Fine-tune or not: what is said, what the data shows and what was measured, put to the advisor's tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from tuneport.advisor import Advice, Need, Situation, Task, Tried
from tuneport.advisor import advise as judge
from tuneport.data.checks import CheckReport
from tuneport.errors import ConfigError
from tuneport.settings import Settings
from tuneport.workflows.advising.evidence import Seen, seen_in
from tuneport.workflows.check import check

Choice = TypeVar("Choice", bound=StrEnum)


@dataclass
class Facts:
    """What is known so far: fields of a `Situation`, and of each by what it is known, where that is the data."""

    known: dict[str, Any] = field(default_factory=dict)
    evidence: dict[str, str] = field(default_factory=dict)
    report: CheckReport | None = None

    def situation(self) -> Situation:
        return Situation(**{"needs": (), **self.known}, evidence=self.evidence)


@dataclass(frozen=True)
class Recommendation:
    """`facts` are what the advice rests on."""

    advice: Advice
    situation: Situation
    dataset: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def fine_tune(self) -> bool:
        return self.advice.fine_tune

    def as_dict(self) -> dict[str, Any]:
        advice, situation = self.advice, self.situation
        return {
            "fine_tune": self.fine_tune,
            "approach": advice.approach.value,
            "reason": advice.reason,
            "first": list(advice.first),
            "options": [vars(option) for option in advice.options],
            "pitfalls": [vars(pitfall) for pitfall in advice.pitfalls],
            "situation": {**vars(situation), "needs": list(situation.needs), "evidence": dict(situation.evidence)},
            "dataset": None if self.dataset is None else str(self.dataset),
            "notes": list(self.notes),
        }


def gather(
    dataset: str | Path | None = None,
    *,
    needs: Sequence[str] = (),
    prompt: str | None = None,
    few_shot: str | None = None,
    task: str | None = None,
    examples: int | None = None,
    text_tokens: int | None = None,
    facts_change: bool | None = None,
    sources: bool | None = None,
    requests: int | None = None,
    has_evaluation: bool | None = None,
    generated_only: bool | None = None,
    inconsistent: float | None = None,
    epochs: int | None = None,
    validation: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    settings: Settings | None = None,
) -> Facts:
    """What is known from what was said and from the dataset's check; what is said goes before what the data shows.

    `examples` counts good ones: with a dataset that is larger, say how many of its records are good. ConfigError for a
    word that is no need, result or task; DatasetError for a dataset that cannot be read.
    """
    said: dict[str, Any] = {
        "needs": tuple(_one_of(Need, need, "need") for need in needs) or None,
        "prompt": None if prompt is None else _one_of(Tried, prompt, "result of the prompt"),
        "few_shot": None if few_shot is None else _one_of(Tried, few_shot, "result of the few-shot prompt"),
        "task": None if task is None else _one_of(Task, task, "task"),
        "examples": examples,
        "text_tokens": text_tokens,
        "facts_change": facts_change,
        "sources": sources,
        "requests": requests,
        "has_evaluation": has_evaluation,
        "generated_only": generated_only,
        "inconsistent": inconsistent,
        "epochs": epochs,
    }
    known = {name: value for name, value in said.items() if value is not None}
    if dataset is None:
        if validation is not None:
            raise ConfigError("a held-out file says nothing without the dataset; give DATA as well")
        return Facts(known)
    report = check(dataset, validation=validation, task=task, columns=columns, settings=settings)
    seen: Seen = seen_in(report)
    evidence = {name: text for name, text in seen.evidence.items() if name not in known}
    if "inconsistent" in known:
        evidence.pop("inconsistent", None)
    return Facts({**seen.known, **known}, evidence, report)


def advise(dataset: str | Path | None = None, **said: Any) -> Recommendation:
    """Whether to fine-tune, and what else: the reference card's tree. Arguments as in `gather`; `needs` must be there.

    Needs no key and makes no network call.
    """
    return recommend(gather(dataset, **said))


def recommend(facts: Facts) -> Recommendation:
    """ConfigError where nobody said what has to change."""
    situation = facts.situation()
    report = facts.report
    return Recommendation(
        advice=judge(situation),
        situation=situation,
        dataset=None if report is None else report.path,
        notes=() if report is None else report.notes,
    )


def _one_of(kind: type[Choice], word: str, what: str) -> Choice:
    try:
        return kind(word)
    except ValueError:
        raise ConfigError(f"{word!r} is no {what}; known: {', '.join(kind)}") from None
