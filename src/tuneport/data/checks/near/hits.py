"""Places that a check flags, gathered in several processes and put together."""

from __future__ import annotations

import heapq
from array import array
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from tuneport.data.checks.finding import MAX_EVIDENCE, CheckEvidence


class FlaggedRecords:
    """The flagged records by kind, with the evidence of the first ones.

    It travels between processes and may be merged in any order: what is kept depends on lines alone.
    """

    def __init__(self) -> None:
        self.lines: dict[str, array[int]] = defaultdict(lambda: array("I"))
        self.beside: dict[str, array[int]] = defaultdict(lambda: array("I"))
        """Of each flagged line the first other line that belongs to it, 0 for none; as long as `lines`."""
        self._first: dict[str, list[tuple[int, tuple[int, ...], str]]] = defaultdict(list)

    def __bool__(self) -> bool:
        return any(self.lines.values())

    def add(self, kind: str, line: int, text: str, *, beside: Sequence[int] = ()) -> None:
        """Flag a record once for `kind`. `text` describes the finding, `beside` lists related lines."""
        self.lines[kind].append(line)
        self.beside[kind].append(beside[0] if beside else 0)
        first = self._first[kind]
        entry = (-line, (*beside, line), text)
        if len(first) < MAX_EVIDENCE:
            heapq.heappush(first, entry)
        elif line < -first[0][0]:
            heapq.heapreplace(first, entry)

    def merge(self, other: FlaggedRecords) -> None:
        for kind, lines in other.lines.items():
            self.lines[kind].extend(lines)
            self.beside[kind].extend(other.beside[kind])
        for kind, entries in other._first.items():
            self._first[kind] = heapq.nlargest(MAX_EVIDENCE, [*self._first[kind], *entries])
            heapq.heapify(self._first[kind])

    def lines_by_kind(self) -> dict[str, list[int]]:
        """Return all flagged lines in order, by kind."""
        return {kind: sorted(lines) for kind, lines in self.lines.items() if lines}

    def count(self, *kinds: str) -> int:
        """Return how many records are flagged for any of the kinds; all kinds if none is named."""
        found = [self.lines[kind] for kind in kinds or list(self.lines) if kind in self.lines]
        return len(found[0]) if len(found) == 1 else len({line for lines in found for line in lines})

    def evidence(self, *kinds: str, most: int = MAX_EVIDENCE) -> tuple[CheckEvidence, ...]:
        """Return the first places, by line; for all kinds if none is named."""
        entries = [entry for kind in kinds or list(self._first) for entry in self._first.get(kind, ())]
        entries.sort(key=lambda entry: (-entry[0], entry[2]))
        return tuple(CheckEvidence(lines, text) for _, lines, text in entries[:most])

    def __getstate__(self) -> tuple[dict[str, Any], ...]:
        return dict(self.lines), dict(self.beside), dict(self._first)

    def __setstate__(self, state: tuple[dict[str, Any], ...]) -> None:
        self.__init__()  # type: ignore[misc]
        lines, beside, first = state
        self.lines.update(lines)
        self.beside.update(beside)
        self._first.update(first)
