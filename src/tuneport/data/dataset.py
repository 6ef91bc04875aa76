"""A dataset: its path, its column names, its format, and what can be asked about it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias, Unpack

from tuneport.data.containers.bad_row import reading_file
from tuneport.data.containers.dataset_info import find_dataset_info_entry
from tuneport.data.containers.numbering import RowPosition
from tuneport.data.containers.python_objects import Rows, RowsFile
from tuneport.data.containers.source import RowSource, list_dataset_files
from tuneport.data.formats import load_dataset_format
from tuneport.data.formats.contract import DatasetFormat
from tuneport.data.formats.openai.format import NAME as CHATS
from tuneport.data.formats.openai.reinforcement import NAME as REINFORCEMENT
from tuneport.data.formats.prompt_completion import NAME as PLAIN
from tuneport.data.formats.shared.media import PICTURE_COLUMNS
from tuneport.data.formats.trl.format import NAME as TRL
from tuneport.data.reading import (
    DatasetSample,
    FormatDetection,
    ScannedRow,
    detect_dataset_format,
    read_dataset_row,
    records_in,
    scan_dataset_rows,
)
from tuneport.data.rows.kinds import method_for_record, record_without_mark, untrainable_record_words
from tuneport.data.rows.reading_options import MoreReadingOptions, ReadingOptions
from tuneport.data.rows.records import Record
from tuneport.errors import ConfigError, DatasetError
from tuneport.files import replace_file_atomically
from tuneport.private import make_private_folder
from tuneport.types import Method, TuneSpec

SETTLED_NS = 20_000_000
"""A file that has just changed may change again within one tick of its file system's clock (1 to 10 ms), unseen."""

_OF_TRAINING = frozenset(("check", "preview", "compare", "plan", "submit"))
"""The commands that also take the options of what is trained on."""


class Dataset:
    """A file, a folder or `hf://owner/name`, with other names for its columns, and its format if that is given.

    `dataset_info.json#NAME` (or `FOLDER#NAME`) is the file and the columns that LLaMA-Factory's list gives that name.

    A list of dicts, a pandas DataFrame or a `datasets.Dataset` is written to a private file, which is there as long as
    this object is; what is missing in a table leaves its key out (see `containers/python_objects.py`).

    `columns` maps the names that the format expects to those in the files, as `--map instruction=question` does. The
    other options are those of `ReadingOptions`, which `reading` holds.
    Without a `format`, the first rows are looked at when it is asked for, once: what they told holds for every later
    use, as long as no file has changed. So hand the same `Dataset` on instead of its path. Nothing is read before it is
    needed; a dataset that cannot be read, or whose format is unknown, is a DatasetError then, and a format that does
    not exist a ConfigError.
    """

    def __init__(
        self,
        path: Path | str | Rows,
        columns: Mapping[str, str] | None = None,
        format: str | None = None,
        **more: Unpack[MoreReadingOptions],
    ) -> None:
        self._rows: RowsFile | None = None
        if isinstance(path, str | os.PathLike):
            entry = find_dataset_info_entry(Path(path))
            self.path = Path(path) if entry is None else entry.path
            columns = columns if entry is None else entry.columns | dict(columns or {})
        else:
            self._rows = RowsFile(path)
            self.path = self._rows.path
        self.reading = ReadingOptions(dict(columns or {}), format, **more)
        self._samples: dict[tuple[object, ...], DatasetSample] = {}  # one at most, by the state of the files

    @classmethod
    def of(
        cls,
        dataset: DatasetLike,
        columns: Mapping[str, str] | None = None,
        format: str | None = None,
        **more: Unpack[MoreReadingOptions],
    ) -> Dataset:
        """Return the dataset itself, that at the path, or that of the rows.

        ConfigError if a `Dataset` is given other options of reading; DatasetError and TypeError as of `RowsFile`.
        """
        if not isinstance(dataset, Dataset):
            return cls(dataset, columns, format or None, **more)
        if columns or format or any(more.values()):
            raise ConfigError(f"{dataset!r} has its own columns and format; give them to Dataset(...) instead")
        return dataset

    @classmethod
    def of_spec(cls, spec: TuneSpec, path: Path | None = None) -> Dataset:
        """Return a job's training data as its spec says that it is read; `path` if the file lies elsewhere now."""
        return cls(path or spec.dataset, **vars(ReadingOptions.of_spec(spec)))

    def _like(self, path: Path, reading: ReadingOptions) -> Dataset:
        return Dataset(path, **vars(reading))

    @property
    def columns(self) -> Mapping[str, str]:
        return self.reading.columns

    @property
    def given_format(self) -> str | None:
        """Return the format that was given. A prompt and its completion are chats once a system prompt is added."""
        return TRL if self.reading.format == PLAIN and self.reading.system is not None else self.reading.format

    def command(self, verb: str, *more: str) -> str:
        """Return the command that does something with the dataset, read in the same way, for a person to type."""
        path = str(self.path) if self.in_file else "DATA"
        words = [f"./{path}" if path.startswith("-") else path, *self.reading.flags(for_training=verb in _OF_TRAINING)]
        return shlex.join(["tuneport", verb, *words, *more])

    def __repr__(self) -> str:
        what = repr(str(self.path)) if self._rows is None else f"<{self._rows.kind}: {self._rows.count:,} rows>"
        return f"Dataset({what}{''.join(f', {name}={value!r}' for name, value in self.reading.given().items())})"

    @property
    def in_file(self) -> bool:
        """Return whether it was given as a path, not as Python objects."""
        return self._rows is None

    # --- what it is -------------------------------------------------------------------------------------------------

    @property
    def files(self) -> list[Path]:
        """Return the files, in reading order."""
        return list_dataset_files(self.path)

    @property
    def bytes(self) -> int:
        """Return the size of all its files. Raises DatasetError for one that is missing or cannot be read."""
        total = 0
        for file in self.files:
            with reading_file(file):
                total += file.stat().st_size
        return total

    @property
    def detection(self) -> FormatDetection:
        """Return its format, the certainty, and the reason."""
        if self.given_format is not None:
            return FormatDetection(load_dataset_format(self.given_format).NAME, 1.0, "as given")
        return self._sample().detection

    @property
    def format(self) -> str:
        """Return the name of its format."""
        return self.detection.format

    @property
    def known(self) -> DatasetFormat:
        """Return the module that reads its format."""
        return load_dataset_format(self.format)

    @property
    def method(self) -> Method:
        """Return the method that the dataset is made for: dpo for preference pairs, kto for answers marked good or bad,
        rft for questions with references, else sft. With `keep_unliked` marks do not count.

        Judged by the first record; if that is bad, the DatasetError lists all that is wrong.
        """
        record = self._first(self.known).record
        record = next(self.records())[1] if record is None else record
        return method_for_record(record_without_mark(record) if self.reading.keep_unliked else record)

    def digest(self) -> str:
        """Return the SHA-256 of its bytes, file after file, in hexadecimal. Raises DatasetError if they cannot be
        read."""
        found = hashlib.sha256()
        for file in self.files:
            with reading_file(file), file.open("rb") as opened:
                while block := opened.read(1 << 20):
                    found.update(block)
        return found.hexdigest()

    # --- its rows ---------------------------------------------------------------------------------------------------

    def open(self) -> RowSource:
        """Open it for one pass over its rows."""
        pictures = {f"ignored_{name}": name for name in self.reading.ignored_columns if name in PICTURE_COLUMNS}
        columns = {**self.columns, **pictures}  # under their own names, a format would read them
        return RowSource(self.path, columns, template=self.reading.template, system=self.reading.system)

    def scan(self) -> Iterator[ScannedRow]:
        """Yield every row, the bad ones with their problems."""
        yield from scan_dataset_rows(self.open(), self.known)

    def records(self) -> Iterator[tuple[int, Record]]:
        """Yield each record with its line. Raises DatasetError with all problems at the end, see
        `reading.records_in`."""
        yield from records_in(self.open(), self.known)

    # --- others like it ---------------------------------------------------------------------------------------------

    def read_as(self, format: str) -> Dataset:
        """Return the same dataset, read in that format."""
        other = self._like(self.path, replace(self.reading, format=format))
        other._samples, other._rows = self._samples, self._rows
        return other

    def kept_in(self, folder: Path) -> Dataset:
        """Return the same dataset in a file that stays, named by its content, if its rows were Python objects."""
        if self._rows is None:
            return self
        target = folder / f"{self.digest()}.jsonl"
        if not target.exists():
            make_private_folder(folder)
            with self.path.open("rb") as written, replace_file_atomically(target) as file:
                shutil.copyfileobj(written, file, 1 << 20)
        return self._like(target, self.reading)

    def for_method(self, method: Method) -> Dataset:
        """Return the dataset as the method reads it.

        Questions without answers, with columns, are not chats that could be trained on, but all that grpo and rloo
        need. A format that was given stays. Raises ConfigError if the first record is of a kind that the method does
        not train on. A bad first record is left to the one who reads all rows.
        """
        read = self._read_for(method)
        first = self._first(read.known).record
        words = None
        if first is not None:
            good = self.command("convert", "--to", CHATS, "--allow-loss", "-o", "good.jsonl")
            words = untrainable_record_words(first, method, keep_unliked=self.reading.keep_unliked, convert=good)
        if words is not None:
            raise ConfigError(f"{self.path.name if self.in_file else 'the dataset'} {words[0]}; {words[1]}")
        return read

    def _read_for(self, method: Method) -> Dataset:
        if self.given_format is not None:
            return self
        records = method.traits.records
        if records == "graded":
            return self.read_as(REINFORCEMENT)
        if (
            records == "questions"
            and self.format == CHATS
            and not self._first(load_dataset_format(REINFORCEMENT)).problems
        ):
            return self.read_as(REINFORCEMENT)
        return self

    def validation_like(self, validation: DatasetLike) -> Dataset:
        """Return a validation file, read as this one; without its columns, template and format as far as the file's
        first row has none of them: one that `split` wrote has the format's own.

        Raises DatasetError if the file can be read no way.
        """
        given = Dataset.of(validation)
        if given._rows is None and given is validation:
            return given
        if given.path == self.path:
            return self
        plain = replace(self.reading, columns={}, template=None)
        for reading in (self.reading,) if plain == self.reading else (self.reading, plain):
            found = self._like(given.path, reading)
            found._rows = given._rows
            with contextlib.suppress(DatasetError):
                if not found._first(found.known).problems:
                    return found
        found = self._like(given.path, replace(plain, format=None))
        found._rows = given._rows
        detected = found.format
        return found if self.given_format is None else found.read_as(detected)

    # --- the first rows ---------------------------------------------------------------------------------------------

    def _sample(self) -> DatasetSample:
        """Return the findings of the first rows, read again if the files have changed."""
        found = {file: file.stat() for file in self.files if file.exists()}  # what is not there, the reader tells
        state = tuple(
            (file, about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
            for file, about in found.items()
        )
        if state in self._samples:
            return self._samples[state]
        settled = time.time_ns() - max((about.st_ctime_ns for about in found.values()), default=0) > SETTLED_NS
        sample = detect_dataset_format(self.open())
        self._samples.clear()
        if settled:
            self._samples[state] = sample
        return sample

    def _first(self, known: DatasetFormat) -> ScannedRow:
        """Return the first row, read in a format."""
        line, raw = self._sample().first if self.given_format is None else next(self.open().rows())
        return read_dataset_row(known, line, raw, lambda number: RowPosition(self.path, number))


DatasetLike: TypeAlias = Dataset | Path | str | Rows
"""What is taken as a dataset wherever one is wanted: `Dataset.of` makes one of it."""
