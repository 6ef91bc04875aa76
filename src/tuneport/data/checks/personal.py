"""Personal data and secrets: what must not be uploaded to a third party without being asked."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuneport.data.checks.finding import Example, Finding, Verdict, records
from tuneport.data.checks.hits import Hits
from tuneport.data.personal.places import joined
from tuneport.data.personal.recogniser import Match
from tuneport.data.personal.search import find
from tuneport.data.reading import read_records
from tuneport.data.records import Record

KEPT_MATCHES = 100
UNSEEN = "names of persons and postal addresses have no shape and are not looked for"


@dataclass(frozen=True)
class Located:
    line: int
    kind: str
    masked: str


@dataclass
class PersonalData:
    """What a file holds: how many places by kind, and the first of them."""

    kinds: Counter[str] = field(default_factory=Counter)
    matches: list[Located] = field(default_factory=list)
    lines: int = 0

    @property
    def count(self) -> int:
        return self.kinds.total()


def scan(path: Path | str, format: str | None = None) -> PersonalData:
    """Search a dataset. DatasetError if it cannot be read."""
    found = PersonalData()
    for line, record in read_records(path, format):
        matches = find_in(record)
        found.lines += bool(matches)
        for match in matches:
            found.kinds[match.kind] += 1
            if len(found.matches) < KEPT_MATCHES:
                found.matches.append(Located(line, match.kind, match.masked))
    return found


def find_in(record: Record) -> list[Match]:
    """Every match in what a model sees of the record or the file carries along; see `places`."""
    return find(joined(record))


class Personal:
    """Flags the records that hold personal data or secrets, by recogniser, with the first value masked."""

    def __init__(self) -> None:
        self._hits = Hits()
        self._kinds: Counter[str] = Counter()

    def add(self, example: Example) -> None:
        matches = find(joined(example.record))
        if not matches:
            return
        first: dict[str, str] = {}
        for match in matches:
            self._kinds[match.kind] += 1
            first.setdefault(match.kind, match.masked)
        for kind, masked in first.items():
            self._hits.add(kind, example.line, f"{kind} {masked}")

    def state(self) -> tuple[Hits, Counter[str]]:
        return self._hits, self._kinds

    def merge(self, state: tuple[Hits, Counter[str]]) -> None:
        self._hits.merge(state[0])
        self._kinds.update(state[1])

    def lines(self) -> dict[str, list[int]]:
        return self._hits.flagged()

    def finding(self) -> Finding:
        """`details` counts values by recogniser, and says what is not looked for."""
        counts = sorted(self._kinds.items(), key=lambda each: (-each[1], each[0]))
        lines = self._hits.count() if self._hits else 0
        details: dict[str, Any] = {
            "count": self._kinds.total(),
            "lines": lines,
            "kinds": dict(counts),
            "not_looked_for": UNSEEN,
        }
        if not self._hits:
            message = f"no address, number, account, key or secret that is somebody's; {UNSEEN}"
            return Finding("personal", Verdict.PASS, message, details=details)
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in counts)
        message = f"{records(lines)} with what looks like personal data: {kinds}; {UNSEEN}"
        fix = "`tuneport clean --redact` replaces it; until then no upload to a third party unless you allow it"
        return Finding("personal", Verdict.WARN, message, self._hits.evidence(), fix, lines, details)
