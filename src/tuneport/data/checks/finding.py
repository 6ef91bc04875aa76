"""The input and the finding of a check."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from tuneport.data.rows.records import Record
from tuneport.data.rows.text import prompt_and_input, record_messages_as_text, split_record_answer

MAX_EVIDENCE = 10
EXCERPT = 120  # characters


Places = Callable[[Sequence[int]], str]
"""Lines in words, such as `line 7` (`RowNumbering.words`)."""


class Verdict(StrEnum):
    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class CheckEvidence:
    """Lines that belong together, and what is to be seen there."""

    lines: tuple[int, ...]
    text: str

    def told(self, places: Places) -> str:
        return f"{places(self.lines)}: {self.text}"


@dataclass(frozen=True)
class Finding:
    """One row of the checklist. `count` is how many records are concerned; `evidence` shows the first of them."""

    check: str
    verdict: Verdict
    message: str
    evidence: tuple[CheckEvidence, ...] = ()
    fix: str = ""
    count: int = 0
    details: dict[str, Any] = field(default_factory=dict)

    def as_dict(self, places: Places) -> dict[str, Any]:
        evidence = [{"lines": list(each.lines), "at": places(each.lines), "text": each.text} for each in self.evidence]
        return {**vars(self), "verdict": self.verdict.value, "evidence": evidence}


@dataclass(slots=True)
class CheckedDatasetExample:
    """One record as the checks look at it: its system prompts, all else up to the last answer, and that, as text."""

    line: int
    record: Record
    system: str
    question: str
    answer: str

    @classmethod
    def from_record(cls, line: int, record: Record) -> CheckedDatasetExample:
        before, answer = split_record_answer(record)
        system, question = prompt_and_input(before)
        return cls(line, record, system, question, record_messages_as_text(answer))

    @property
    def context(self) -> str:
        return f"{self.system}\n{self.question}" if self.system else self.question


class DatasetCheck(Protocol):
    """One or more rows of the checklist.

    Each worker process has its own, which is handed some of the examples, each once. Then the parent's `merge`s the
    others' `state`, in any order, and says what it found.
    """

    def add(self, example: CheckedDatasetExample) -> None: ...

    def state(self) -> Any:
        """Return what the parent needs: it can be pickled, and grows with the flagged lines, not with the rows."""

    def merge(self, state: Any) -> None: ...

    def lines(self) -> Mapping[str, Sequence[int]]:
        """Return all flagged lines in order, by kind."""

    def finding(self) -> Finding: ...


def row_excerpt(text: str, length: int = EXCERPT) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: length - 1]}…"


def differing_row_excerpts(one: str, other: str, length: int = EXCERPT) -> tuple[str, str]:
    """Return the parts of two texts in which they differ, or their beginnings."""
    one, other = " ".join(one.split()), " ".join(other.split())
    short = min(len(one), len(other))
    same = next((index for index in range(short) if one[index] != other[index]), short)
    start = 0 if same < length - 10 or one == other else same - length // 3
    first, second = (f"…{text[start + 1 :]}" if start else text for text in (one, other))
    return row_excerpt(first, length), row_excerpt(second, length)
