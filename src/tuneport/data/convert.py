"""From one format to another, with every loss counted and none allowed unless asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tuneport.data.formats import load_format
from tuneport.data.formats.contract import Format, Lost, reads_back
from tuneport.data.reading import MAX_PROBLEMS, detect, scan
from tuneport.data.records import Chat, Record
from tuneport.data.writing import aside, publish
from tuneport.errors import ConfigError, ConversionLoss, ConversionLossError, DatasetError, DatasetProblem

FIRST_LINES = 5


@dataclass(frozen=True)
class ConversionReport:
    """`rows` were read and `written` of them written; a record without any form in the target is left out, and a loss.

    `notes` tell what reading did to the spelling of the source without changing what is trained on.
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

    def losses(self) -> tuple[ConversionLoss, ...]:
        return tuple(
            ConversionLoss(loss.field or "record", count, tuple(lines), loss.reason)
            for loss, (count, lines) in sorted(self._found.items(), key=lambda item: item[1][1])
        )


def convert(
    source: Path | str,
    target_format: str,
    output: Path | str,
    *,
    source_format: str | None = None,
    allow_loss: bool = False,
) -> ConversionReport:
    """Write `source` in another format: JSON lines, or a JSON array where `output` ends in `.json`.

    The output appears whole at the end, or not at all. Raises DatasetError with all that is wrong with the source,
    ConversionLossError with all that would be lost unless that is allowed, and ConfigError for an unknown format or
    an output that is the input.
    """
    source, output = Path(source), Path(output)
    target = load_format(target_format)
    if output.suffix.lower() not in (".jsonl", ".json"):
        raise ConfigError(f"the output {output} must end in .jsonl or .json")
    if output.is_dir() or output.resolve() == source.resolve() or (output.exists() and _same(output, source)):
        raise ConfigError(f"the output {output} is {'a directory' if output.is_dir() else 'the input'}; name another")
    known = load_format(source_format or detect(source).format)
    tally, problems = LossTally(), ProblemTally()
    rows = written = 0
    note = ""
    before, between = (b"[\n", b",\n") if output.suffix.lower() == ".json" else (b"", b"\n")
    with aside(output.parent) as (file, temporary):
        file.write(before)
        for found in scan(source, known.NAME):
            if not problems.accept(found.problems) or found.record is None:
                continue
            rows += 1
            note = note or known.note(found.raw)
            row, lost = write_row(target, found.record)
            if lost:
                tally.add(found.line, lost)
            if row is None or problems.count:
                continue
            file.write(between + row if written and before else row)
            if not before:
                file.write(between)
            written += 1
        problems.end()
        losses = tally.losses()
        if losses and not allow_loss:
            raise ConversionLossError(target_format, losses)
        if not written:
            rule = f"no record can be written as {target_format}: {losses[0].reason}"
            raise DatasetError(DatasetProblem(str(source), None, "", rule, "choose another format"))
        file.write(b"\n]\n" if before else b"")
        publish(file, temporary, output)
    return ConversionReport(source, known.NAME, output, target_format, rows, written, losses, (note,) if note else ())


class ProblemTally:
    """The first `MAX_PROBLEMS` problems of a file, and how many there are."""

    def __init__(self) -> None:
        self.problems: list[DatasetProblem] = []
        self.count = 0

    def accept(self, problems: tuple[DatasetProblem, ...]) -> bool:
        """Take them in; True as long as there are none at all."""
        if problems:
            self.count += len(problems)
            self.problems += problems[: MAX_PROBLEMS - len(self.problems)]
        return not self.count

    def end(self) -> None:
        if self.problems:
            raise DatasetError(self.problems, count=self.count)


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
    return other.exists() and one.samefile(other)
