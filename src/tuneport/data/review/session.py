"""Which records a person is shown, and what was said about them so far."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tuneport.data.containers.source import Source
from tuneport.data.formats import load_format
from tuneport.data.reading import detect, scan_source
from tuneport.data.records import Record
from tuneport.data.review.verdicts import Judgement, VerdictFile, editable_answer, record_hash, verdicts_path
from tuneport.errors import ConfigError


@dataclass(frozen=True)
class Shown:
    """`at` is the line in words, `flags` what the checks said about the record."""

    line: int
    at: str
    record: Record
    hash: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Summary:
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


class Review:
    """One sample and its verdicts. Methods may be called from several threads.

    The same file, size, seed and flags draw the same sample, so that a review goes on where it was left.
    """

    def __init__(
        self,
        dataset: Path | str,
        *,
        sample: int = 50,
        seed: int = 0,
        format: str | None = None,
        columns: Mapping[str, str] | None = None,
        flags: Mapping[int, Sequence[str]] | None = None,
    ) -> None:
        self.dataset = Path(dataset)
        self.rows, self.shown = _sample(self.dataset, sample, seed, format, columns, flags or {})
        if not self.shown:
            raise ConfigError(f"{self.dataset} holds no good record to look at; `tuneport check` says what is wrong")
        self._file = VerdictFile(verdicts_path(self.dataset))
        self._lock = threading.Lock()

    def as_dict(self) -> dict[str, Any]:
        """All that the page needs at its start."""
        with self._lock:
            return {
                "dataset": self.dataset.name,
                "rows": self.rows,
                "verdicts": str(self._file.path),
                "records": [self._described(each) for each in self.shown],
            }

    def judge(self, index: int, judgement: str, text: str | None = None) -> dict[str, Any]:
        """Write a verdict down and return the record as it stands. ConfigError for one that cannot be given."""
        if not 0 <= index < len(self.shown):
            raise ConfigError(f"there is no record {index} in this sample of {len(self.shown)}")
        if judgement not in (Judgement.ACCEPT, Judgement.REJECT, Judgement.EDIT):
            raise ConfigError(f"{judgement!r} is no verdict; give accept, reject or edit")
        shown = self.shown[index]
        if (judgement == Judgement.EDIT) != (text is not None):
            raise ConfigError("an edit, and nothing else, comes with the text of the new answer")
        if text is not None and editable_answer(shown.record) is None:
            raise ConfigError("the answer of this record is no single text, so it cannot be edited here")
        with self._lock:
            self._file.give(shown.line, shown.hash, Judgement(judgement), text)
            return self._described(shown)

    def undo(self) -> dict[str, Any]:
        """Take the last verdict back; {"index": ..., "record": ...} of its record, both None where there was none."""
        with self._lock:
            taken = self._file.undo({each.hash for each in self.shown})
            for index, shown in enumerate(self.shown):
                if taken is not None and shown.hash == taken.record:
                    return {"index": index, "record": self._described(shown)}
        return {"index": None, "record": None}

    def summary(self) -> Summary:
        with self._lock:
            given = [self._file.standing(each.hash) for each in self.shown]
        said = [None if verdict is None else verdict.verdict for verdict in given]
        return Summary(
            dataset=str(self.dataset),
            verdicts=str(self._file.path),
            rows=self.rows,
            sample=len(self.shown),
            accepted=said.count(Judgement.ACCEPT),
            rejected=said.count(Judgement.REJECT),
            edited=said.count(Judgement.EDIT),
            left_open=said.count(None),
        )

    def _described(self, shown: Shown) -> dict[str, Any]:
        standing = self._file.standing(shown.hash)
        return {
            "line": shown.line,
            "at": shown.at,
            "record": msgspec.to_builtins(shown.record),
            "flags": list(shown.flags),
            "answer": editable_answer(shown.record),
            "verdict": None if standing is None else standing.verdict.value,
            "text": None if standing is None else standing.text,
        }


def read_flags(path: Path) -> dict[int, list[str]]:
    """What the report that `tuneport check DATA --json` printed says about each line. ConfigError where it is none."""
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
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} is no report of `tuneport check DATA --json`; make it again") from error
    return flags


def _sample(
    path: Path,
    size: int,
    seed: int,
    format: str | None,
    columns: Mapping[str, str] | None,
    flags: Mapping[int, Sequence[str]],
) -> tuple[int, list[Shown]]:
    """Good records: those with flags first, then drawn ones, each part in the order of the file.

    One pass, of which `size` records are kept (reservoir sampling, Vitter's algorithm R).
    """
    draw = random.Random(seed)
    flagged: list[tuple[int, Record]] = []
    drawn: list[tuple[int, Record]] = []
    rows = others = 0
    source = Source(path, columns)
    for found in scan_source(source, load_format(format or detect(path, columns).format)):
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
        Shown(line, source.numbering.words([line]), record, record_hash(record), tuple(flags.get(line, ())))
        for line, record in chosen
    ]
