"""Writes a dataset without what the checks and people point at, and a log of every record removed or changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import msgspec

from tuneport.data.checks.kinds import KINDS, named
from tuneport.data.checks.report import CheckReport, check
from tuneport.data.containers.source import Source
from tuneport.data.convert import LossTally, write_row
from tuneport.data.formats import load_format
from tuneport.data.personal.redaction import Redactor
from tuneport.data.reading import read_row
from tuneport.data.records import Record
from tuneport.data.review import Judgement, Verdict, record_hash, verdicts, with_answer
from tuneport.data.writing import aside, publish
from tuneport.errors import ConfigError, ConversionLossError, DatasetError, DatasetProblem

DROPPED = (
    "schema.invalid",
    "answers.empty",
    "answers.untrained",
    "duplicates.exact",
    "duplicates.near",
    "holdout.exact",
    "holdout.near",
)
"""What is removed unless told otherwise: records from which nothing, or nothing new, can be learnt, and leaks."""

REJECTED, EDITED = "review.rejected", "review.edited"

Reason = dict[str, Any]


@dataclass(frozen=True)
class CleanReport:
    """`removed` and `changed` count records; `why` counts them by reason, and a record may have several.

    `redacted` counts values by recogniser.
    """

    source: Path
    output: Path
    log: Path
    rows: int
    written: int
    removed: int
    changed: int
    why: Mapping[str, int]
    redacted: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        paths = {"source": str(self.source), "output": str(self.output), "log": str(self.log)}
        return {**vars(self), **paths, "why": dict(self.why), "redacted": dict(self.redacted)}


def clean(
    path: Path | str,
    output: Path | str,
    *,
    format: str | None = None,
    validation: Path | str | None = None,
    task: str | None = None,
    drop: Iterable[str] = (),
    keep: Iterable[str] = (),
    redact: bool = False,
    review: Path | str | None = None,
    columns: Mapping[str, str] | None = None,
) -> CleanReport:
    """Write `output` (JSON lines, in the source's format and order) and `output` + `.log.jsonl`.

    Removed are the kinds of `DROPPED` and `drop` without those of `keep`; a check's name stands for all its kinds. Of
    duplicates the first stays. `review` is a file of verdicts by people (`tuneport review`): their rejections are
    removed, their edits taken over. With `redact`, personal data becomes placeholders, the same value the same one
    throughout, and the log leaves the records out. Records that stay as they are, are so byte for byte. Both files appear whole at the end, or not at all.

    ConfigError for a kind that does not exist, DatasetError where nothing would be left, ConversionLossError where a
    changed record could not be written in its own format.
    """
    path, output = Path(path), Path(output)
    if output.resolve() == path.resolve():
        raise ConfigError(f"the output {output} is the input; name another, so that the original stays")
    kinds = _kinds(drop, keep)
    judged = verdicts(review) if review is not None else {}
    if review is not None and not judged:
        raise ConfigError(f"{review} holds no verdicts; give some with `tuneport review {path}`")
    report = check(path, format=format, validation=validation, task=task, columns=columns)
    reasons = _reasons(report, kinds & set(report.flagged))
    known, losses = load_format(report.format.format), LossTally()
    changes = _Changes(judged, Redactor() if redact else None)
    source = Source(path, columns)
    log = output.with_name(output.name + ".log.jsonl")
    why: Counter[str] = Counter()
    written = changed = count = 0
    with aside(output.parent) as (kept, kept_path), aside(output.parent) as (told, told_path):
        for line, raw in source.rows():
            count += 1
            found = list(reasons.get(line, ()))
            row: bytes | None = msgspec.json.format(raw, indent=-1) if b"\n" in raw else raw
            if changes.any and not found:
                record = read_row(known, line, raw, source.locate).record
                if record is not None:
                    changed_record, found = changes.of(record)
                    if changed_record is None:
                        row = None
                    elif found:
                        row, lost = write_row(known, changed_record)
                        losses.add(line, lost)
            elif found:
                row = None
            if row is not None:
                kept.write(row + b"\n")
                written += 1
                changed += bool(found)
            if found:
                why.update(reason["check"] for reason in found)
                told.write(_entry(line, None if redact else raw, row, found))
        if losses.losses():
            raise ConversionLossError(known.NAME, losses.losses())
        if not written:
            fix = f"keep some kinds with --keep; what was found: {', '.join(why)}"
            raise DatasetError(DatasetProblem(str(path), None, "", "would have no record left", fix))
        publish(kept, kept_path, output)
        publish(told, told_path, log)
    return CleanReport(
        path, output, log, count, written, count - written, changed, dict(why.most_common()), dict(changes.redacted)
    )


class _Changes:
    """What people and the redactor do to a record that the checks leave in."""

    def __init__(self, judged: Mapping[str, Verdict], redactor: Redactor | None) -> None:
        self._judged, self._redactor = judged, redactor
        self.any = bool(judged) or redactor is not None
        self.redacted: Counter[str] = Counter()

    def of(self, record: Record) -> tuple[Record | None, list[Reason]]:
        """The record to write, None for a rejected one, and why it is not as it was."""
        found: list[Reason] = []
        verdict = self._judged.get(record_hash(record)) if self._judged else None
        if verdict is not None and verdict.verdict is Judgement.REJECT:
            return None, [{"check": REJECTED}]
        if verdict is not None and verdict.verdict is Judgement.EDIT and verdict.text is not None:
            record = with_answer(record, verdict.text)
            found.append({"check": EDITED})
        if self._redactor is not None:
            record, replaced = self._redactor.redact(record)
            self.redacted.update(replaced)
            found += [{"check": f"personal.{kind}", "values": values} for kind, values in replaced.items()]
        return record, found


def _entry(line: int, raw: bytes | None, row: bytes | None, found: list[Reason]) -> bytes:
    """The log keeps the record as it was, so that nothing is lost; without `raw` it does not, so that nothing leaks."""
    entry: dict[str, Any] = {"line": line, "action": "removed" if row is None else "changed", "why": found}
    if raw is not None:
        entry["record"] = _raw(raw)
    return msgspec.json.encode(entry) + b"\n"


def _kinds(drop: Iterable[str], keep: Iterable[str]) -> set[str]:
    dropped, kept = set(DROPPED), set[str]()
    for names, kinds in ((drop, dropped), (keep, kept)):
        for name in names:
            if not named(name):
                raise ConfigError(f"the kind {name!r} is not known; known: {', '.join(sorted(KINDS))}")
            kinds |= named(name)
    return dropped - kept


def _reasons(report: CheckReport, kinds: set[str]) -> dict[int, list[Reason]]:
    found: dict[int, list[Reason]] = {}
    for kind in sorted(kinds):
        for line, beside in zip(report.flagged[kind], report.beside.get(kind, repeat(0)), strict=False):
            reason: Reason = {"check": kind} | ({"like_line": beside} if beside else {})
            found.setdefault(line, []).append(reason)
    return found


def _raw(raw: bytes) -> Any:
    """The record itself; text where it is no JSON."""
    try:
        msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return raw.decode("utf-8", "replace")
    return msgspec.Raw(raw)
