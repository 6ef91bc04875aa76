"""The same record twice, or nearly."""

from __future__ import annotations

from tuneport.data.checks.finding import MAX_EVIDENCE, Evidence, Example, Finding, Verdict, excerpt, records
from tuneport.data.checks.sketch import SIMILAR, SketchIndex, sketch
from tuneport.data.records import Preference, Record
from tuneport.data.text import key_of, written_out

MAX_SHARE = 0.02  # of duplicates; above it, training repeats itself enough to matter


def _rest(record: Record) -> str:
    """What tells records apart besides the conversation: the tools at hand, and the rejected answer."""
    names = " ".join(tool.name for tool in record.tools)
    return f"{names}\n{written_out(record.rejected)}" if isinstance(record, Preference) else names


class Duplicates:
    """Exact ones with case and space aside; near ones by the share of word pairs that two records have in common."""

    def __init__(self) -> None:
        self._first: dict[int, int] = {}
        self._near = SketchIndex()
        self._exact_count = self._near_count = self._rows = 0
        self._exact: list[Evidence] = []
        self._alike: list[Evidence] = []

    def add(self, example: Example) -> None:
        self._rows += 1
        first = self._first.setdefault(key_of(example.context, example.answer, _rest(example.record)), example.line)
        if first != example.line:
            self._exact_count += 1
            if len(self._exact) < MAX_EVIDENCE:
                self._exact.append(Evidence((first, example.line), f"the same: {excerpt(example.question)}"))
            return
        drawn = sketch(f"{example.question}\n{example.answer}")
        other = self._near.nearest(drawn)
        self._near.add(example.line, drawn)
        if other is not None:
            self._near_count += 1
            if len(self._alike) < MAX_EVIDENCE:
                text = f"{other.similarity:.0%} alike: {excerpt(example.question)}"
                self._alike.append(Evidence((other.line, example.line), text))

    def finding(self) -> Finding:
        count = self._exact_count + self._near_count
        details = {"exact": self._exact_count, "near": self._near_count, "similarity": SIMILAR}
        if not count:
            return Finding("duplicates", Verdict.PASS, "no record is there twice, or nearly", details=details)
        message = f"{records(self._exact_count)} repeated, {self._near_count:,} nearly (at least {SIMILAR:.0%} alike)"
        evidence = (*self._exact[: MAX_EVIDENCE // 2], *self._alike)[:MAX_EVIDENCE]
        if not self._alike:
            evidence = tuple(self._exact)
        many = self._exact_count > 0 or self._near_count > MAX_SHARE * self._rows
        fix = "keep one of each; repeats count double in training and leak into a hold-out"
        return Finding("duplicates", Verdict.WARN if many else Verdict.PASS, message, evidence, fix, count, details)
