"""Counts things and keeps their line numbers, in bounded memory."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterator
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

MAX_KEYS = 1000  # different things; rows of further ones are only counted, as `others`
MAX_LINES = 1000  # of each thing, the first ones; the count goes on


class RowLineIndex(Generic[Key]):
    """Merged in any order it is the same, unless there are more than `MAX_KEYS` things: then which are kept differs."""

    def __init__(self) -> None:
        self._counts: dict[Key, int] = {}
        self._lines: dict[Key, array[int]] = {}
        self.others = 0

    def __len__(self) -> int:
        return len(self._counts)

    def __iter__(self) -> Iterator[Key]:
        """Return the most frequent first."""
        return iter(sorted(self._counts, key=lambda key: (-self._counts[key], self._lines[key][0])))

    def add(self, key: Key, line: int) -> None:
        count = self._counts.get(key, 0)
        if count == 0:
            if len(self._counts) >= MAX_KEYS:
                self.others += 1
                return
            self._lines[key] = array("I")
        self._counts[key] = count + 1
        if count < MAX_LINES:
            self._lines[key].append(line)

    def count(self, key: Key) -> int:
        return self._counts.get(key, 0)

    def lines(self, key: Key) -> array[int]:
        return self._lines.get(key, array("I"))

    @property
    def rows(self) -> int:
        return sum(self._counts.values()) + self.others

    def state(self) -> Any:
        return self._counts, self._lines, self.others

    def merge(self, state: Any) -> None:
        counts, lines, others = state
        self.others += others
        for key, count in counts.items():
            if key not in self._counts and len(self._counts) >= MAX_KEYS:
                self.others += count
                continue
            self._counts[key] = self._counts.get(key, 0) + count
            self._lines[key] = array("I", sorted([*self.lines(key), *lines[key]])[:MAX_LINES])


Keys = list[tuple[RowLineIndex[Any], Hashable]]
"""The things that a row has, each with the places where it is counted."""


class FlaggedLines(dict[int, str]):
    """The flagged lines and their reasons, among the lines that `RowLineIndex` keeps; `unlisted` counts the others."""

    def __init__(self) -> None:
        super().__init__()
        self.unlisted = 0
        self._odd: dict[int, set[Hashable]] = {}  # things, by the identity of their places
        self._unknown: dict[int, RowLineIndex[Any]] = {}

    @property
    def count(self) -> int:
        return len(self) + self.unlisted

    def flag_value(self, places: RowLineIndex[Any], key: Hashable, text: str) -> None:
        """Flag all rows of this value, for the reason `text`."""
        lines = places.lines(key)
        self.update(dict.fromkeys(lines, text))
        self.unlisted += places.count(key) - len(lines)
        self._odd.setdefault(id(places), set()).add(key)

    def flag_untracked_values(self, places: RowLineIndex[Any]) -> None:
        """Flag every line beyond the `MAX_KEYS` tracked values."""
        self.unlisted += places.others
        self._unknown[id(places)] = places

    def include(self, other: FlaggedLines) -> None:
        """Add rows that are flagged for another reason; a row may be flagged for both."""
        self.update(other)
        self.unlisted = max(self.unlisted, other.unlisted)
        for places, keys in other._odd.items():
            self._odd.setdefault(places, set()).update(keys)
        self._unknown |= other._unknown

    def flags_row(self, keys: Keys) -> bool:
        """Return whether a row with these values is flagged, listed or not."""
        return any(
            key in self._odd.get(id(places), ()) or id(places) in self._unknown and not places.count(key)
            for places, key in keys
        )
