"""From one format to another, with every loss counted and none allowed unless asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tuneport.data.containers.numbering import Numbering
from tuneport.data.containers.output import Sink, check_output, open_sink
from tuneport.data.containers.source import Source
from tuneport.data.formats import load_format
from tuneport.data.formats.contract import Format, Lost, reads_back
from tuneport.data.plain import PlainRows
from tuneport.data.reading import ProblemTally, detect, raise_mixed, read_row
from tuneport.data.records import Chat, Record
from tuneport.data.writing import aside, publish
from tuneport.errors import ConfigError, ConversionLoss, ConversionLossError, DatasetError, DatasetProblem

FIRST_LINES = 5
COLUMNS_TOLD = 8


@dataclass(frozen=True)
class ConversionReport:
    """`rows` were read and `written` of them written; a record without any form in the target is left out, and a loss.

    `notes` tell what reading did to the spelling of the source without changing what is trained on, and which columns
    that no format knows travel along.
    """

    source: Path
    source_format: str
    output: Path
    target_format: str
    rows: int
    written: int
    losses: tuple[ConversionLoss, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        paths = {"source": str(self.source), "output": str(self.output)}
        return {**vars(self), **paths, "losses": [vars(loss) for loss in self.losses], "notes": list(self.notes)}


class LossTally:
    """Counts what is lost, by field and reason, in how many records and on which lines first."""

    def __init__(self) -> None:
        self._found: dict[Lost, tuple[int, list[int]]] = {}

    def add(self, line: int, lost: list[Lost]) -> None:
        for loss in set(lost):
            count, lines = self._found.get(loss, (0, []))
            self._found[loss] = (count + 1, lines if len(lines) >= FIRST_LINES else [*lines, line])

    def losses(self, numbering: Numbering) -> tuple[ConversionLoss, ...]:
        return tuple(
            ConversionLoss(loss.field or "record", count, tuple(lines), loss.reason, numbering.words(lines))
            for loss, (count, lines) in sorted(self._found.items(), key=lambda item: item[1][1])
        )


def convert(
    source: Path | str,
    target_format: str,
    output: Path | str,
    *,
    source_format: str | None = None,
    columns: Mapping[str, str] | None = None,
    allow_loss: bool = False,
) -> ConversionReport:
    """Write `source` in another format, into the container that the suffix of `output` names (`containers/output.py`).

    `columns` maps the names that the source's format expects to those in the source. The output appears whole at the
    end, or not at all. Raises DatasetError with all that is wrong with the source, ConversionLossError with all that
    would be lost unless that is allowed, and ConfigError for an unknown format or an output that is the input.
    """
    source, output = Path(source), Path(output)
    target = load_format(target_format)
    check_output(output)
    dataset = Source(source, columns)
    if output.is_dir() or any(_same(output, file) for file in dataset.files):
        raise ConfigError(f"the output {output} is {'a directory' if output.is_dir() else 'the input'}; name another")
    known = load_format(source_format or detect(source, columns).format)
    conversion = _Conversion(dataset, known, target)
    with aside(output.parent) as (file, temporary):
        with open_sink(output, file, target) as sink:
            conversion.run(sink)
            if conversion.mixed:
                raise_mixed(source, conversion.problems, columns)
            conversion.problems.end()
            conversion.refuse_losses(allow_loss)
            if not conversion.written:
                rule = f"no record can be written as {target_format}: {conversion.losses()[0].reason}"
                raise DatasetError(DatasetProblem(str(source), None, "", rule, "choose another format"))
            for line, lost in sink.end():
                conversion.tally.add(line, lost)
            conversion.refuse_losses(allow_loss)
        publish(file, temporary, output)
    return ConversionReport(
        source,
        known.NAME,
        output,
        target_format,
        conversion.rows,
        conversion.written,
        conversion.losses(),
        conversion.notes(),
    )


class _Conversion:
    """One pass over the rows: batches that are plain in one go, all others row by row."""

    def __init__(self, dataset: Source, known: Format, target: Format) -> None:
        self._dataset, self._known, self._target = dataset, known, target
        self.tally, self.problems = LossTally(), ProblemTally()
        self.rows = self.written = 0
        self.note = ""
        self.mixed = False
        self._beside: dict[str, None] = {}

    def run(self, sink: Sink) -> None:
        plain = PlainRows(self._known.NAME, self._target.NAME)
        for numbers, rows in self._dataset.batches():
            lines, noteworthy = plain.convert(rows)
            if lines is None:
                self._one_by_one(numbers, rows, sink)
                continue
            self.rows += len(rows)
            if noteworthy and not self.note:
                self.note = next(filter(None, map(self._known.note, rows)), "")
            if not self.problems.count:
                sink.write(numbers, lines)
                self.written += len(rows)

    def _one_by_one(self, numbers: Sequence[int], rows: list[bytes], sink: Sink) -> None:
        written: list[bytes] = []
        places: list[int] = []
        for line, raw in zip(numbers, rows, strict=True):
            found = read_row(self._known, line, raw, self._dataset.locate)
            self.mixed = self.mixed or bool(found.other)
            if not self.problems.accept(found.problems) or found.record is None:
                continue
            self.rows += 1
            self.note = self.note or self._known.note(raw)
            row, lost = write_row(self._target, found.record)
            if lost:
                self.tally.add(line, lost)
            if found.record.metadata:
                gone = {loss.field for loss in lost}
                self._beside |= dict.fromkeys(name for name in found.record.metadata if name not in gone)
            if row is not None:
                places.append(line)
                written.append(row + b"\n")
        if not self.problems.count:
            sink.write(places, b"".join(written))
            self.written += len(places)

    def notes(self) -> tuple[str, ...]:
        notes = [*self._dataset.notes, *([self.note] if self.note else [])]
        if self._beside:
            names = list(self._beside)
            more = f" and {len(names) - COLUMNS_TOLD} more" if len(names) > COLUMNS_TOLD else ""
            what = "column that is" if len(names) == 1 else "columns that are"
            notes.append(f"{what} no part of the format, taken along: {', '.join(names[:COLUMNS_TOLD])}{more}")
        return tuple(notes)

    def losses(self) -> tuple[ConversionLoss, ...]:
        return self.tally.losses(self._dataset.numbering)

    def refuse_losses(self, allowed: bool) -> None:
        losses = self.losses()
        if losses and not allowed:
            raise ConversionLossError(self._target.NAME, losses)


def write_row(target: Format, record: Record) -> tuple[bytes | None, list[Lost]]:
    """The record as a row of JSON, None where the format has none, and what is lost.

    Every row but the plainest is read back and compared, so that no loss goes unnoticed, not even one that the
    format does not know of.
    """
    row, lost = target.write(record)
    if row is None:
        return None, lost
    if not lost and not is_plain(record) and not reads_back(target.read, row, record):
        lost = [Lost("", "reads back differently")]
    return _encode(row), lost


_encode = msgspec.json.Encoder().encode


def is_plain(record: Record) -> bool:
    """A chat of nothing but roles and text, which every format's tests cover."""
    if type(record) is not Chat or record.tools or record.metadata or record.weight is not None:
        return False
    for message in record.messages:
        if type(message.content) is not str or message.tool_calls or message.role == "tool" or message.extra:
            return False
        if message.reasoning is not None or message.weight is not None or message.name is not None:
            return False
    return True


def _same(one: Path, other: Path) -> bool:
    """Whether both name one file, under whatever name, or would if they were there."""
    return one.resolve() == other.resolve() or (one.exists() and other.exists() and one.samefile(other))
