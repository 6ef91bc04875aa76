"""Personal data and secrets: what must not be uploaded to a third party without being asked."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuneport.data.checks.finding import CheckedExample, Finding, Verdict
from tuneport.data.checks.near.hits import Hits
from tuneport.data.pii.recogniser import Match
from tuneport.data.pii.search import find
from tuneport.data.pii.spans import joined
from tuneport.data.reading import read_records
from tuneport.data.rows.records import Record
from tuneport.formatting import counted

KEPT_MATCHES = 100
UNSEEN = "names and postal addresses are not checked"


@dataclass(frozen=True)
class Located:
    line: int
    kind: str
    masked: str


@dataclass
class PersonalData:
    """The personal data of a file: the number of places by kind, and the first of them."""

    kinds: Counter[str] = field(default_factory=Counter)
    matches: list[Located] = field(default_factory=list)
    lines: int = 0

    @property
    def count(self) -> int:
        return self.kinds.total()


def scan(path: Path | str, format: str | None = None) -> PersonalData:
    """Search a dataset. Raises DatasetError if it cannot be read."""
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
    """Return every match in what a model sees of the record or the file carries along; see `text_spans`."""
    return find(joined(record))


class Personal:
    """Flags the records that hold personal data or secrets, by recogniser, with the first value masked."""

    def __init__(self) -> None:
        self._hits = Hits()
        self._kinds: Counter[str] = Counter()

    def add(self, example: CheckedExample) -> None:
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
        """Build the finding. `details` counts values by recogniser, and says what is not checked."""
        counts = sorted(self._kinds.items(), key=lambda each: (-each[1], each[0]))
        lines = self._hits.count() if self._hits else 0
        details: dict[str, Any] = {
            "count": self._kinds.total(),
            "lines": lines,
            "kinds": dict(counts),
            "not_looked_for": UNSEEN,
        }
        if not self._hits:
            message = f"no emails, phone numbers, IDs, accounts, keys or secrets found ({UNSEEN})"
            return Finding("personal", Verdict.PASS, message, details=details)
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in counts)
        message = f"{counted(lines, 'record')} with what looks like personal data: {kinds}; {UNSEEN}"
        fix = "replace it with `tuneport clean --redact`; until then, uploads to third parties need your permission"
        return Finding("personal", Verdict.WARN, message, self._hits.evidence(), fix, lines, details)
