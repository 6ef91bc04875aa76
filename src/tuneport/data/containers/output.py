"""Writes converted rows into the container that the output's suffix names, packed if it ends in .gz or .zst."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, Protocol

from tuneport.data.containers.folder import container_suffix
from tuneport.data.containers.tables import CsvSink, ParquetSink, TsvSink
from tuneport.data.formats.contract import DatasetFormat, Unrepresentable
from tuneport.errors import ConfigError

_GZIP_LEVEL = 6  # gzip's own default


class RowSink(Protocol):
    def write(self, numbers: Sequence[int], lines: bytes) -> None:
        """Write rows of JSON, each ended by a newline, with their numbers in the source."""

    def end(self) -> list[tuple[int, list[Unrepresentable]]]:
        """Write the rest. Returns what the container cannot hold, by the rows' numbers."""


def check_dataset_output(output: Path) -> None:
    """Raise ConfigError unless the suffix names a container."""
    suffix = container_suffix(output)
    if suffix not in _SINKS or suffix == ".parquet" and output.suffix.lower() != suffix:
        raise ConfigError(
            f"the output {output} must end in .jsonl, .ndjson, .json, .csv or .tsv, each also packed (.gz, .zst), or "
            "in .parquet"
        )


@contextmanager
def open_sink(output: Path, file: BinaryIO, target: DatasetFormat) -> Iterator[RowSink]:
    """Provide a sink that writes to `file`, in the container that `output` names. At the end of the block, `file` is
    whole."""
    with _packed(output, file) as packed:
        yield _SINKS[container_suffix(output)](packed, target)


class _JsonLinesSink:
    def __init__(self, file: IO[bytes], target: DatasetFormat) -> None:
        self._file = file

    def write(self, numbers: Sequence[int], lines: bytes) -> None:
        self._file.write(lines)

    def end(self) -> list[tuple[int, list[Unrepresentable]]]:
        return []


class _JsonArraySink:
    def __init__(self, file: IO[bytes], target: DatasetFormat) -> None:
        self._file = file
        self._before = b"[\n"

    def write(self, numbers: Sequence[int], lines: bytes) -> None:
        if lines:
            self._file.write(self._before + lines[:-1].replace(b"\n", b",\n"))
            self._before = b",\n"

    def end(self) -> list[tuple[int, list[Unrepresentable]]]:
        self._file.write(b"\n]\n")
        return []


_SINKS: dict[str, Callable[[IO[bytes], DatasetFormat], RowSink]] = {
    ".jsonl": _JsonLinesSink,
    ".ndjson": _JsonLinesSink,
    ".json": _JsonArraySink,
    ".csv": CsvSink,
    ".tsv": TsvSink,
    ".parquet": ParquetSink,
}


@contextmanager
def _packed(output: Path, file: BinaryIO) -> Iterator[IO[bytes]]:
    match output.suffix.lower():
        case ".gz":
            import gzip

            # Without name and time, so that the same rows make the same file.
            with gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) as packed:
                yield packed  # type: ignore[misc]
        case ".zst":
            import zstandard

            with zstandard.ZstdCompressor(write_checksum=True).stream_writer(file, closefd=False) as packed:
                yield packed
        case _:
            yield file
