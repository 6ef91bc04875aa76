"""The columns that are trained on, and those that are not although they hold training signal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from tuneport.data.checks.finding import CheckEvidence, Finding, Verdict
from tuneport.data.formats.contract import decode_dataset_row
from tuneport.data.rows.records import Record
from tuneport.data.rows.signals import UnusedSignals
from tuneport.formatting import counted, listed_names

_LOOKED_AT = 100
"""Rows of each worker whose keys are read once more; of the others only what is left out is known."""


class ColumnUseCheck:
    """Counts the columns that no training sees, and looks for training signal among them."""

    def __init__(self) -> None:
        self._signals = UnusedSignals()
        self._unused: Counter[str] = Counter()
        self._names: dict[str, None] = {}
        self._records = 0

    def add(self, line: int, raw: bytes, record: Record) -> None:
        self._records += 1
        self._signals.add(line, record)
        if record.metadata:
            self._unused.update(record.metadata.keys())
        if self._records <= _LOOKED_AT:
            self._names |= dict.fromkeys(decode_dataset_row(raw))

    def state(self) -> Any:
        return self._signals, self._unused, self._names, self._records

    def merge(self, state: Any) -> None:
        signals, unused, names, records = state
        self._signals.merge(signals)
        self._unused.update(unused)
        self._names |= names
        self._records += records

    def finding(self, ignored: Iterable[str] = (), *, all_are_used: bool = False) -> Finding:
        """Return the finding. `ignored` are left out on purpose; `all_are_used`: a grader or a reward is given all."""
        ignored = frozenset(ignored)
        used = [name for name in self._names if name not in self._unused]
        details = {"used": used, "unused": dict(self._unused), "ignored": sorted(ignored & set(self._unused))}
        signals = [] if all_are_used else self._signals.found(ignored)
        if signals:
            first, *others = signals
            message = f"{first.name}: {counted(first.count, 'record')} of {self._records:,} have it, and the model "
            message += "would not see it" + "".join(f", nor {each.name} ({each.count:,})" for each in others)
            evidence = tuple(CheckEvidence((each.line,), f"has {each.name}") for each in signals)
            return Finding("columns", Verdict.FAIL, message, evidence, first.fix, first.count, details)
        message = f"used: {listed_names(used)}"
        others_told = [f"{name} ({count:,})" for name, count in self._unused.items() if name not in ignored]
        for label, names in (("not trained on", others_told), ("left out on purpose", details["ignored"])):
            if names and not all_are_used:
                message += f"; {label}: {listed_names(list(names))}"
        return Finding("columns", Verdict.PASS, message, details=details)
