"""Converts one format to another, with every loss counted and none allowed unless asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuneport.data.containers.output import check_dataset_output, open_sink
from tuneport.data.containers.source import RowSource, empty_file_error
from tuneport.data.conversion.conversion import ConversionOutcome, DatasetConversion, Written, split_file_sections
from tuneport.data.conversion.inline_images import ImageInliner
from tuneport.data.dataset import Dataset, DatasetLike
from tuneport.data.formats import load_dataset_format
from tuneport.data.formats.contract import DatasetFormat
from tuneport.data.reading import raise_mixed_formats
from tuneport.data.running.ordered_map import ordered_map
from tuneport.data.running.writing import background_fsync, publish_output_file, temporary_file
from tuneport.deprecation import renamed
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


@renamed(source="dataset", target_format="to", source_format="format")
def convert(
    dataset: DatasetLike,
    to: str,
    output: Path | str,
    *,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    allow_loss: bool = False,
    inline_images: bool = False,
    image_folder: Path | str | None = None,
) -> ConversionReport:
    """Write a dataset in another format, into the container that the suffix of `output` names (`containers/output.py`).

    `columns` maps the names that the source's format expects to those in the source. `inline_images` reads pictures
    that records name by a path into them, from the source's folder or from `image_folder` alone. The output appears
    whole at the end, or not at all. Raises DatasetError with all that is wrong with the source, ConversionLossError
    with all that would be lost unless that is allowed, and ConfigError for an unknown format or an output that is the
    input.
    """
    data, output = Dataset.of(dataset, columns, format), Path(output)
    target = load_dataset_format(to)
    check_dataset_output(output)
    opened = data.open()
    if output.is_dir() or any(_same(output, file) for file in opened.files):
        raise ConfigError(f"the output {output} is {'a directory' if output.is_dir() else 'the input'}; name another")
    known = data.known
    if image_folder is not None and not (inline_images or data.reading.inline_images):
        raise ConfigError("a folder of pictures (--image-folder) is read with --inline-images only; give both")
    pictures = None
    if inline_images or data.reading.inline_images:
        pictures = ImageInliner.of(data, None if image_folder is None else Path(image_folder))
    conversion = DatasetConversion(known, target, opened.locate, pictures)
    found = conversion.found
    with temporary_file(output.parent) as (file, temporary):
        with background_fsync(file), open_sink(output, file, target) as sink:
            written = 0
            for numbers, lines in _converted(opened, conversion, known, target, output.parent):
                sink.write(numbers, lines)
                written += len(numbers)
            if found.mixed:
                raise_mixed_formats(opened, found.problems)
            found.problems.end()
            losses = found.losses.losses(opened.numbering)
            _refuse(losses, target, allow_loss)
            if not written:
                rule = f"no record can be written as {to}: {losses[0].reason}"
                raise DatasetError(DatasetProblem(str(data.path), None, "", rule, "choose another format"))
            for line, lost in sink.end():
                found.losses.add(line, lost)
            losses = found.losses.losses(opened.numbering)
            _refuse(losses, target, allow_loss)
        publish_output_file(file, temporary, output)
    notes = _notes(opened, found)
    if pictures is not None:
        notes += (pictures.note,)
    return ConversionReport(data.path, known.NAME, output, to, found.rows, written, losses, notes)


def _converted(
    source: RowSource, conversion: DatasetConversion, known: DatasetFormat, target: DatasetFormat, scratch: Path
) -> Iterator[Written]:
    """Yield the rows of the dataset in the target's format; none after the first wrong one."""
    file = source.lines_file() if conversion.pictures is None else None
    if file is None:
        yield from map(conversion.add, source.batches())
    else:
        worker = "tuneport.data.conversion.conversion:ConversionWorker"
        with closing(
            ordered_map(split_file_sections(file), worker, file.path, known.NAME, target.NAME, scratch=scratch)
        ) as made:
            for lines, (numbers, outcome) in made:
                yield conversion.add_part(outcome, (numbers, lines))
    if not conversion.found.rows and not conversion.found.problems.count:
        raise empty_file_error(source.files[-1])


def _refuse(losses: Sequence[ConversionLoss], target: DatasetFormat, allowed: bool) -> None:
    if losses and not allowed:
        raise ConversionLossError(target.NAME, losses)


def _notes(source: RowSource, found: ConversionOutcome) -> tuple[str, ...]:
    notes = [*source.notes, *([found.note] if found.note else [])]
    if found.beside:
        names = list(found.beside)
        more = f" and {len(names) - COLUMNS_TOLD} more" if len(names) > COLUMNS_TOLD else ""
        what = "column that is" if len(names) == 1 else "columns that are"
        notes.append(f"{what} not part of the format, kept as columns: {', '.join(names[:COLUMNS_TOLD])}{more}")
    return tuple(notes)


def _same(one: Path, other: Path) -> bool:
    """Return whether both name one file, under whatever name, or would if they existed."""
    return one.resolve() == other.resolve() or (one.exists() and other.exists() and one.samefile(other))
