"""From one format to another, with every loss counted and none allowed unless asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuneport.data.containers.output import check_output, open_sink
from tuneport.data.containers.source import Source, empty
from tuneport.data.conversion import Conversion, Outcome, Written, parts_of
from tuneport.data.formats import load_format
from tuneport.data.formats.contract import Format
from tuneport.data.ordered import in_order
from tuneport.data.reading import detect, raise_mixed
from tuneport.data.writing import aside, publish, steadily
from tuneport.errors import ConfigError, ConversionLoss, ConversionLossError, DatasetError, DatasetProblem

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
    conversion = Conversion(known, target, dataset.locate)
    found = conversion.found
    with aside(output.parent) as (file, temporary):
        with steadily(file), open_sink(output, file, target) as sink:
            written = 0
            for numbers, lines in _converted(dataset, conversion, known, target, output.parent):
                sink.write(numbers, lines)
                written += len(numbers)
            if found.mixed:
                raise_mixed(source, found.problems, columns)
            found.problems.end()
            losses = found.losses.losses(dataset.numbering)
            _refuse(losses, target, allow_loss)
            if not written:
                rule = f"no record can be written as {target_format}: {losses[0].reason}"
                raise DatasetError(DatasetProblem(str(source), None, "", rule, "choose another format"))
            for line, lost in sink.end():
                found.losses.add(line, lost)
            losses = found.losses.losses(dataset.numbering)
            _refuse(losses, target, allow_loss)
        publish(file, temporary, output)
    notes = _notes(dataset, found)
    return ConversionReport(source, known.NAME, output, target_format, found.rows, written, losses, notes)


def _converted(
    dataset: Source, conversion: Conversion, known: Format, target: Format, scratch: Path
) -> Iterator[Written]:
    """The rows of the dataset in the target's format; none after the first that is wrong."""
    file = dataset.lines_file()
    if file is None:
        yield from map(conversion.add, dataset.batches())
    else:
        worker = "tuneport.data.conversion:PartWorker"
        with closing(in_order(parts_of(file), worker, file.path, known.NAME, target.NAME, scratch=scratch)) as made:
            for lines, (numbers, outcome) in made:
                yield conversion.add_part(outcome, (numbers, lines))
    if not conversion.found.rows and not conversion.found.problems.count:
        raise empty(dataset.files[-1])


def _refuse(losses: Sequence[ConversionLoss], target: Format, allowed: bool) -> None:
    if losses and not allowed:
        raise ConversionLossError(target.NAME, losses)


def _notes(dataset: Source, found: Outcome) -> tuple[str, ...]:
    notes = [*dataset.notes, *([found.note] if found.note else [])]
    if found.beside:
        names = list(found.beside)
        more = f" and {len(names) - COLUMNS_TOLD} more" if len(names) > COLUMNS_TOLD else ""
        what = "column that is" if len(names) == 1 else "columns that are"
        notes.append(f"{what} no part of the format, taken along: {', '.join(names[:COLUMNS_TOLD])}{more}")
    return tuple(notes)


def _same(one: Path, other: Path) -> bool:
    """Whether both name one file, under whatever name, or would if they were there."""
    return one.resolve() == other.resolve() or (one.exists() and other.exists() and one.samefile(other))
