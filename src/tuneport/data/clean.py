"""Writes a dataset without what the checks and people point at, and a log of every record removed or changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import msgspec

from tuneport.data.checks.finding import CheckedDatasetExample
from tuneport.data.checks.kinds import KINDS, kinds_of_check
from tuneport.data.checks.report import CheckReport, check_dataset
from tuneport.data.containers.numbering import RowNumbering
from tuneport.data.conversion.conversion_loss import ConversionLossReport, write_converted_row
from tuneport.data.dataset import Dataset, DatasetLike
from tuneport.data.formats import load_dataset_format
from tuneport.data.pii.redaction import Redactor
from tuneport.data.reading import ScannedRow, read_dataset_row
from tuneport.data.repair import repair_record
from tuneport.data.review import ReviewDecision, ReviewVerdict, read_review_verdicts, record_hash, with_answer
from tuneport.data.rows.records import Record
from tuneport.data.running.writing import publish_output_file, refuse_overwriting, temporary_file
from tuneport.deprecation import renamed
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
"""The kinds that are removed by default: records that teach nothing, or nothing new, and leaks."""

_BEYOND_PEOPLE = ("schema.invalid", "duplicates.exact", "holdout.exact", "holdout.near")
"""What an accepted or edited record is removed for nevertheless: all but its quality."""

REJECTED, EDITED, REPAIRED = "review.rejected", "review.edited", "repair.mojibake"
REPAIRS_SHOWN = 3

_QUOTING = ("rule", "before", "after")

Reason = dict[str, Any]


@dataclass(frozen=True)
class CleanReport:
    """`removed` and `changed` count records; `why` counts them by reason, and a record may have several.

    `redacted` counts values by recogniser. `repairs` has the first wrongly decoded texts: where (`at`), and excerpts of
    them `before` and `after`; none with redaction, as they may hold personal data. `notes` say what was done unasked.
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
    notes: tuple[str, ...] = ()
    repairs: tuple[Mapping[str, str], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        paths = {"source": str(self.source), "output": str(self.output), "log": str(self.log)}
        counts = {"why": dict(self.why), "redacted": dict(self.redacted)}
        return {**vars(self), **paths, **counts, "notes": list(self.notes), "repairs": list(self.repairs)}


def clean_log(output: Path) -> Path:
    """Return the file beside `output` in which `clean` says what it removed and changed."""
    return output.with_name(output.name + ".log.jsonl")


@renamed(path="dataset")
def clean(
    dataset: DatasetLike,
    output: Path | str,
    *,
    format: str | None = None,
    validation: DatasetLike | None = None,
    task: str | None = None,
    drop: Iterable[str] = (),
    keep: Iterable[str] = (),
    redact: bool = False,
    repair: bool = False,
    review: Path | str | None = None,
    columns: Mapping[str, str] | None = None,
) -> CleanReport:
    """Write `output` (JSON lines, in the source's format and order) and `output` + `.log.jsonl`.

    Removes the kinds of `DROPPED` and `drop` without those of `keep`; a check's name stands for all its kinds. Of
    duplicates one stays, the first if nothing else is wrong with it. `review` is a file of verdicts by people
    (`tuneport review`): their rejections are removed, their edits applied. With `repair`, wrongly decoded text
    (mojibake) of the records that stay is decoded again. With `redact`, personal data becomes placeholders, one for
    each value throughout, and the log leaves the records out. Unchanged records stay so byte for byte. Both files
    appear whole at the end, or not at all.

    Raises ConfigError for a kind that does not exist, DatasetError if nothing would be left, ConversionLossError if a
    changed record could not be written in its own format.
    """
    data, output = Dataset.of(dataset, columns, format), Path(output)
    path, source, log = data.path, data.open(), clean_log(output)
    if output.suffix != ".jsonl":
        raise ConfigError(f"the output {output} must end in .jsonl; `tuneport convert` writes other files from that")
    refuse_overwriting((output, log), source.files)
    kinds = _kinds(drop, keep)
    if redact and "schema.invalid" not in kinds:
        raise ConfigError("records that cannot be read cannot be redacted either; leave out --keep schema.invalid")
    judged = read_review_verdicts(review) if review is not None else {}
    if review is not None and not judged:
        raise ConfigError(f"{review} holds no verdicts; give some with `{data.command('review')}`")
    report = check_dataset(data, validation=validation, task=task)
    known, losses = load_dataset_format(report.format.format), ConversionLossReport()
    unlisted = {kind: of for kind, of in report.unlisted.items() if kind in kinds}
    choice = _CleanChoice(_reasons(report, kinds & set(report.flagged)), unlisted, judged)
    changes = _CleanChanges(repair, redact, source.numbering)
    why: Counter[str] = Counter()
    written = changed = count = 0
    with temporary_file(output.parent) as (kept, kept_path), temporary_file(output.parent) as (told, told_path):
        for line, raw in source.rows():
            count += 1
            needed = changes.wanted or choice.reads(line)
            read = read_dataset_row(known, line, raw, source.locate) if needed else None
            stays, reasons, edited = choice.of(line, read)
            row: bytes | None = None
            if stays:
                if changes.wanted and edited is not None:
                    edited, more = changes.apply(line, edited)
                    reasons += more
                row = _one_line(raw)
                if reasons and edited is not None:
                    row, lost = write_converted_row(known, edited)
                    losses.add(line, lost)
            if row is not None:
                kept.write(row + b"\n")
                written += 1
                changed += bool(reasons)
            if reasons:
                why.update(reason["check"] for reason in reasons)
                if redact:  # what is wrong with a record may quote it
                    reasons = [{key: reason[key] for key in reason if key not in _QUOTING} for reason in reasons]
                told.write(_entry(line, source.numbering, None if redact else raw, row, reasons))
        if judged and not choice.used:
            raise ConfigError(f"no verdict in {review} is about a record of {path}; name the reviewed file")
        if lost_all := losses.losses(source.numbering):
            raise ConversionLossError(known.NAME, lost_all, remedy="change these records by hand first")
        if not written:
            fix = f"keep some kinds with --keep; what was found: {', '.join(why)}"
            raise DatasetError(DatasetProblem(str(path), None, "", "would have no record left", fix))
        publish_output_file(told, told_path, log)
        publish_output_file(kept, kept_path, output)
    removed = count - written
    found, redacted, repairs = dict(why.most_common()), dict(changes.redacted), tuple(changes.repairs)
    return CleanReport(path, output, log, count, written, removed, changed, found, redacted, report.notes, repairs)


class _CleanChanges:
    """Repairs and redacts the records that stay."""

    def __init__(self, repair: bool, redact: bool, numbering: RowNumbering) -> None:
        self._repair, self._redactor, self._numbering = repair, Redactor() if redact else None, numbering
        self.wanted = repair or redact
        self.redacted: Counter[str] = Counter()
        self.repairs: list[Mapping[str, str]] = []

    def apply(self, line: int, record: Record) -> tuple[Record, list[Reason]]:
        """Return the changed record, or the record itself, and what was changed."""
        reasons: list[Reason] = []
        if self._repair:
            record, excerpts = repair_record(record)
            if excerpts:
                before, after = excerpts[0]
                reasons.append({"check": REPAIRED, "texts": len(excerpts), "before": before, "after": after})
                if self._redactor is None and len(self.repairs) < REPAIRS_SHOWN:
                    self.repairs.append({"at": self._numbering.words([line]), "before": before, "after": after})
        if self._redactor is not None:
            record, replaced = self._redactor.redact(record)
            self.redacted.update(replaced)
            reasons += [{"check": f"personal.{kind}", "values": values} for kind, values in replaced.items()]
        return record, reasons


class _CleanChoice:
    """Chooses the records that stay: verdicts of people come before those of checks, and of like records one is kept.

    Records are asked about in the order of the file. A person's word does not bring a leak or a second copy in.
    """

    def __init__(
        self,
        reasons: Mapping[int, list[Reason]],
        unlisted: Mapping[str, Callable[[CheckedDatasetExample], bool]],
        judged: Mapping[str, ReviewVerdict],
    ) -> None:
        self._reasons, self._unlisted, self._judged = reasons, unlisted, judged
        self._gone: set[int] = set()
        self._like: dict[int, int] = {}  # of a removed duplicate, the record that stands for it
        self._stands_in: dict[int, int] = {}  # for a removed record that others are like
        self.used = 0  # of the verdicts

    def reads(self, line: int) -> bool:
        """Return whether the record itself has to be read."""
        if self._judged or self._unlisted:
            return True
        return any(reason["check"] == "schema.invalid" for reason in self._reasons.get(line, ()))

    def of(self, line: int, read: ScannedRow | None) -> tuple[bool, list[Reason], Record | None]:
        """Return whether the record stays, why it is removed or changed, and the new record."""
        found = self._reasons.get(line, [])
        record = None if read is None else read.record
        if record is not None and self._unlisted:
            listed, example = {reason["check"] for reason in found}, CheckedDatasetExample.from_record(line, record)
            more = [kind for kind, of in self._unlisted.items() if kind not in listed and of(example)]
            found = [*found, *({"check": kind} for kind in more)]
        if read is not None and read.problems:
            rules = "; ".join(f"{each.field} {each.rule}".strip() for each in read.problems)
            found = [reason | ({"rule": rules} if reason["check"] == "schema.invalid" else {}) for reason in found]
        changes: list[Reason] = []
        verdict = self._judged.get(record_hash(record)) if record is not None and self._judged else None
        if verdict is not None:
            self.used += 1
            emptied = verdict.verdict is ReviewDecision.EDIT and not (verdict.text or "").strip()
            if verdict.verdict is ReviewDecision.REJECT or emptied:
                self._gone.add(line)
                return False, [{"check": REJECTED}], record
            found = [reason for reason in found if reason["check"] in _BEYOND_PEOPLE]
            if verdict.verdict is ReviewDecision.EDIT and verdict.text is not None and record is not None:
                record = with_answer(record, verdict.text)
                changes.append({"check": EDITED})
        if any(not reason["check"].startswith("duplicates.") for reason in found):
            self._gone.add(line)
            return False, found, record
        repeats = [reason for reason in found if self._kept(reason["like_line"], line) is not None]
        if repeats:
            kept = self._kept(repeats[0]["like_line"], line)
            assert kept is not None
            self._like[line] = kept
            return False, [{**reason, "like_line": kept} for reason in repeats], record
        for reason in found:  # what it is like has gone: this one takes its place
            self._stands_in.setdefault(reason["like_line"], line)
        return True, changes, record

    def _kept(self, line: int, asking: int) -> int | None:
        """Return the remaining record that is like this one, or None if this is the only one."""
        line = self._like.get(line, line)
        if line in self._gone:
            line = self._stands_in.get(line, asking)
        return None if line == asking else line


def _one_line(raw: bytes) -> bytes:
    if b"\n" not in raw:
        return raw
    try:
        return msgspec.json.format(raw, indent=-1)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return raw.replace(b"\n", b" ")  # it is no JSON, and kept as it is but for that


def _entry(line: int, numbering: RowNumbering, raw: bytes | None, row: bytes | None, found: list[Reason]) -> bytes:
    """Return the entry of the log. It keeps the record as it was, so that nothing is lost; without `raw` it does not,
    so that nothing leaks.

    In a folder, line numbers continue from file to file, and `at` says which file and line that is.
    """
    entry: dict[str, Any] = {"line": line, "action": "removed" if row is None else "changed", "why": found}
    if len(numbering.files) > 1:
        entry["at"] = numbering.words([line])
        for reason in found:
            if "like_line" in reason:
                reason["like_at"] = numbering.words([reason["like_line"]])
    if raw is not None:
        entry["record"] = _raw(raw)
    return msgspec.json.encode(entry) + b"\n"


def _kinds(drop: Iterable[str], keep: Iterable[str]) -> set[str]:
    dropped, kept = set(DROPPED), set[str]()
    for names, kinds in ((drop, dropped), (keep, kept)):
        for name in names:
            if not kinds_of_check(name):
                raise ConfigError(f"the kind {name!r} is not known; known: {', '.join(sorted(KINDS))}")
            kinds |= kinds_of_check(name)
    return dropped - kept


def _reasons(report: CheckReport, kinds: set[str]) -> dict[int, list[Reason]]:
    found: dict[int, list[Reason]] = {}
    for kind in sorted(kinds):
        for line, beside in zip(report.flagged[kind], report.beside.get(kind, repeat(0)), strict=False):
            reason: Reason = {"check": kind} | ({"like_line": beside} if beside else {})
            found.setdefault(line, []).append(reason)
    return found


def _raw(raw: bytes) -> Any:
    """Return the record itself, or its text if it is not JSON."""
    try:
        msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return raw.decode("utf-8", "replace")
    return msgspec.Raw(_one_line(raw))
