"""Personal data and secrets: what must not be uploaded to a third party without being asked."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tuneport.data.checks.finding import CheckedDatasetExample, Finding, Verdict
from tuneport.data.checks.near.hits import FlaggedRecords
from tuneport.data.pii.recogniser import PIIMatch
from tuneport.data.pii.search import find_personal_data
from tuneport.data.pii.spans import join_span_texts
from tuneport.data.reading import read_records
from tuneport.data.rows.records import Record
from tuneport.formatting import counted
from tuneport.installation import install_extra

KEPT_MATCHES = 100
UNSEEN = "names and postal addresses are not checked"


@dataclass(frozen=True)
class PersonalDataMatch:
    line: int
    kind: str
    masked: str


@dataclass
class PersonalData:
    """The personal data of a file: the number of places by kind, and the first of them."""

    kinds: Counter[str] = field(default_factory=Counter)
    matches: list[PersonalDataMatch] = field(default_factory=list)
    lines: int = 0

    @property
    def count(self) -> int:
        return self.kinds.total()


def scan_personal_data(path: Path | str, format: str | None = None) -> PersonalData:
    """Search a dataset. Raises DatasetError if it cannot be read."""
    found = PersonalData()
    for line, record in read_records(path, format):
        matches = find_in_record(record)
        found.lines += bool(matches)
        for match in matches:
            found.kinds[match.kind] += 1
            if len(found.matches) < KEPT_MATCHES:
                found.matches.append(PersonalDataMatch(line, match.kind, match.masked))
    return found


def find_in_record(record: Record) -> list[PIIMatch]:
    """Return every match in what a model sees of the record or the file carries along; see `record_text_spans`."""
    return find_personal_data(join_span_texts(record))


def _not_looked_for() -> str:
    if find_spec("kingfisher_sdk") is None:
        return f"{UNSEEN}; to check the keys of most issuers: `{install_extra('checks')}`"
    return UNSEEN


class PersonalDataCheck:
    """Flags the records that hold personal data or secrets, by recogniser, with the first value masked."""

    def __init__(self) -> None:
        self._hits = FlaggedRecords()
        self._kinds: Counter[str] = Counter()

    def add(self, example: CheckedDatasetExample) -> None:
        matches = find_personal_data(join_span_texts(example.record))
        if not matches:
            return
        first: dict[str, str] = {}
        for match in matches:
            self._kinds[match.kind] += 1
            first.setdefault(match.kind, match.masked)
        for kind, masked in first.items():
            self._hits.add(kind, example.line, f"{kind} {masked}")

    def state(self) -> tuple[FlaggedRecords, Counter[str]]:
        return self._hits, self._kinds

    def merge(self, state: tuple[FlaggedRecords, Counter[str]]) -> None:
        self._hits.merge(state[0])
        self._kinds.update(state[1])

    def lines(self) -> dict[str, list[int]]:
        return self._hits.lines_by_kind()

    def finding(self) -> Finding:
        """Build the finding. `details` counts values by recogniser, and says what is not checked."""
        counts = sorted(self._kinds.items(), key=lambda each: (-each[1], each[0]))
        lines = self._hits.count() if self._hits else 0
        details: dict[str, Any] = {
            "count": self._kinds.total(),
            "lines": lines,
            "kinds": dict(counts),
            "not_looked_for": _not_looked_for(),
        }
        if not self._hits:
            message = f"no emails, phone numbers, IDs, accounts, keys or secrets found ({_not_looked_for()})"
            return Finding("personal", Verdict.PASS, message, details=details)
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in counts)
        message = f"{counted(lines, 'record')} with what looks like personal data: {kinds}; {_not_looked_for()}"
        fix = "replace it with `tuneport clean --redact`; until then, uploads to third parties need your permission"
        return Finding("personal", Verdict.WARN, message, self._hits.evidence(), fix, lines, details)
