"""The records that a person is shown, and the verdicts on them so far."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tuneport.data.dataset import Dataset
from tuneport.data.reading import scan_dataset_rows
from tuneport.data.review.verdicts import (
    ReviewDecision,
    ReviewVerdictFile,
    editable_answer,
    record_hash,
    review_verdicts_path,
)
from tuneport.data.rows.records import Record
from tuneport.errors import ConfigError
from tuneport.validation import is_unicode_text


@dataclass(frozen=True)
class ReviewRow:
    """`at` is the line in words, `flags` what the checks said about the record."""

    line: int
    at: str
    record: Record
    hash: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReviewSummary:
    """`judged` of the `sample`; the other counts are those of standing verdicts in the sample."""

    dataset: str
    verdicts: str
    rows: int
    sample: int
    accepted: int
    rejected: int
    edited: int
    left_open: int = field(default=0)

    @property
    def judged(self) -> int:
        return self.accepted + self.rejected + self.edited

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "judged": self.judged}


class ReviewSession:
    """One sample and its verdicts. Methods may be called from several threads.

    The same file, size, seed and flags draw the same sample, so that an interrupted review continues.
    """

    def __init__(
        self,
        dataset: Dataset | Path | str,
        *,
        sample: int = 50,
        seed: int = 0,
        format: str | None = None,
        columns: Mapping[str, str] | None = None,
        flags: Mapping[int, Sequence[str]] | None = None,
    ) -> None:
        dataset = Dataset.of(dataset, columns, format)
        self.dataset = dataset.path
        self.rows, self.shown = _sample(dataset, sample, seed, flags or {})
        if not self.shown:
            raise ConfigError(
                f"{self.dataset} holds no good record to look at; `{dataset.command('check')}` says what is wrong"
            )
        self._file = ReviewVerdictFile(review_verdicts_path(self.dataset))
        self._lock = threading.Lock()

    def as_dict(self) -> dict[str, Any]:
        """Return all that the page needs at its start."""
        with self._lock:
            return {
                "dataset": self.dataset.name,
                "rows": self.rows,
                "verdicts": str(self._file.path),
                "records": [self._described(each) for each in self.shown],
            }

    def judge(self, index: int, judgement: str, text: str | None = None) -> dict[str, Any]:
        """Store a verdict and return the record as it stands. Raises ConfigError for an invalid one."""
        if not 0 <= index < len(self.shown):
            raise ConfigError(f"this sample of {len(self.shown)} has no record {index}")
        if judgement not in (ReviewDecision.ACCEPT, ReviewDecision.REJECT, ReviewDecision.EDIT):
            raise ConfigError(f"{judgement!r} is no verdict; give accept, reject or edit")
        shown = self.shown[index]
        if (judgement == ReviewDecision.EDIT) != (text is not None):
            raise ConfigError("an edit, and nothing else, comes with the text of the new answer")
        if text is not None and not is_unicode_text(text):
            raise ConfigError("the new answer holds half of a character; delete it, and save again")
        if text is not None and editable_answer(shown.record) is None:
            raise ConfigError("the answer of this record is no single text, so it cannot be edited here")
        with self._lock:
            self._file.append_verdict(shown.line, shown.hash, ReviewDecision(judgement), text)
            return self._described(shown)

    def undo(self) -> dict[str, Any]:
        """Take the last verdict back. Returns {"index": ..., "record": ...} of its record, both None if there was
        none."""
        with self._lock:
            taken = self._file.undo({each.hash for each in self.shown})
            for index, shown in enumerate(self.shown):
                if taken is not None and shown.hash == taken.record:
                    return {"index": index, "record": self._described(shown)}
        return {"index": None, "record": None}

    def summary(self) -> ReviewSummary:
        with self._lock:
            given = [self._file.standing_verdicts(each.hash) for each in self.shown]
        said = [None if verdict is None else verdict.verdict for verdict in given]
        return ReviewSummary(
            dataset=str(self.dataset),
            verdicts=str(self._file.path),
            rows=self.rows,
            sample=len(self.shown),
            accepted=said.count(ReviewDecision.ACCEPT),
            rejected=said.count(ReviewDecision.REJECT),
            edited=said.count(ReviewDecision.EDIT),
            left_open=said.count(None),
        )

    def _described(self, shown: ReviewRow) -> dict[str, Any]:
        standing = self._file.standing_verdicts(shown.hash)
        return {
            "line": shown.line,
            "at": shown.at,
            "record": msgspec.to_builtins(shown.record),
            "flags": list(shown.flags),
            "answer": editable_answer(shown.record),
            "verdict": None if standing is None else standing.verdict.value,
            "text": None if standing is None else standing.text,
        }


def read_check_flags(path: Path) -> dict[int, list[str]]:
    """Return the flags of each line in the report that `tuneport check DATA --json` printed. Raises ConfigError if it
    is not such a report."""
    flags: dict[int, list[str]] = {}
    try:
        report = msgspec.json.decode(path.read_bytes())
        for finding in report["findings"]:
            for evidence in finding["evidence"] if finding["verdict"] != "pass" else ():
                for line in evidence["lines"]:
                    flags.setdefault(int(line), []).append(f"{finding['check']}: {evidence['text']}")
        for kind, lines in report["flagged"].items():
            for line in lines:
                flags.setdefault(int(line), []).append(kind)
    except OSError as error:
        raise ConfigError(f"the report {path} cannot be read: {error.strerror}; correct the path") from error
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{path} is no report of `tuneport check DATA --json`; make it again") from error
    return flags


def _sample(dataset: Dataset, size: int, seed: int, flags: Mapping[int, Sequence[str]]) -> tuple[int, list[ReviewRow]]:
    """Draw good records: those with flags first, then random ones, each part in the order of the file.

    Reads the file once and keeps `size` records (reservoir sampling, Vitter's algorithm R).
    """
    draw = random.Random(seed)
    flagged: list[tuple[int, Record]] = []
    drawn: list[tuple[int, Record]] = []
    rows = others = 0
    source = dataset.open()
    for found in scan_dataset_rows(source, dataset.known):
        rows += 1
        if found.record is None:
            continue
        if found.line in flags and len(flagged) < size:
            flagged.append((found.line, found.record))
            continue
        others += 1
        if len(drawn) < size:
            drawn.append((found.line, found.record))
        elif (place := draw.randrange(others)) < size:
            drawn[place] = (found.line, found.record)
    if len(flagged) + len(drawn) > size:
        drawn = draw.sample(drawn, size - len(flagged))
    chosen = [*flagged, *sorted(drawn, key=lambda pair: pair[0])]
    return rows, [
        ReviewRow(line, source.numbering.words([line]), record, record_hash(record), tuple(flags.get(line, ())))
        for line, record in chosen
    ]
