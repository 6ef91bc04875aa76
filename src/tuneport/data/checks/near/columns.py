"""The checks' memory of every row: numbers in columns, on disk if there are many, so that memory does not grow with
rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from io import BufferedWriter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from tuneport.data.checks.finding import CheckedDatasetExample
from tuneport.data.checks.near.minhash import (
    BAND_ROWS,
    Table,
    combine_minhashes,
    fill_empty_minhash_bins,
    minhash_signatures,
)
from tuneport.data.rows.records import Chat, Graded, ImagePart, Labelled, Preference
from tuneport.data.rows.text import (
    image_part_digest,
    normalise_record_text,
    normalised_text_key,
    record_messages_as_text,
)
from tuneport.errors import StorageError

BINS = 48
KEYS = ("context", "question", "answer", "details", "record")
"""64 bits for the input with its system prompt and tools (0 without an input); for the input alone, or the answer if
there is none; for the answer; for what else tells records apart (0 if nothing does); and for all of it."""
_EMPTY = normalised_text_key("")

HELD_BYTES = 32 << 20  # of one worker's columns; from there on they are on disk

_FLUSH_ROWS = 1024
_SYSTEM_PROMPTS = 1000  # whose parts of keys are kept; a dataset has few


Held = Mapping[str, npt.NDArray[Any]]


class DuplicateColumnWriter:
    """One worker's columns: line, the keys, the sketches of the input and of the whole record."""

    def __init__(self, folder: Path, worker: int) -> None:
        self._folder, self._worker = folder, worker
        self._files: dict[str, BufferedWriter] = {}
        self._held: dict[str, list[npt.NDArray[Any]]] = {}
        self._held_bytes = 0
        self._lines: list[int] = []
        self._parts: list[tuple[int, ...]] = []
        self._inputs: list[str] = []
        self._answers: list[str] = []
        self._systems: dict[str, int] = {}

    def add(self, example: CheckedDatasetExample) -> None:
        question, answer = normalise_record_text(example.question), normalise_record_text(example.answer)
        tools, details, rest = (
            tool_definitions_text(example),
            duplicate_row_details(example),
            tools_and_rejected_answer(example),
        )
        self._lines.append(example.line)
        self._parts.append(
            (
                self._system(example.system),
                normalised_text_key(question),
                normalised_text_key(answer),
                normalised_text_key(tools) if tools else 0,
                normalised_text_key(details) if details else 0,
                normalised_text_key(rest) if rest else 0,
            )
        )
        self._inputs.append(question or answer)
        self._answers.append(f"{answer} {rest}" if rest else answer)
        if len(self._lines) >= _FLUSH_ROWS:
            self._flush()

    def _system(self, text: str) -> int:
        known = self._systems.get(text)
        if known is None:
            known = normalised_text_key(normalise_record_text(text))
            if len(self._systems) < _SYSTEM_PROMPTS:
                self._systems[text] = known
        return known

    def _flush(self) -> None:
        if not self._lines:
            return
        system, question, answer, tools, details, rest = np.array(self._parts, np.uint64).T
        asked = question != np.uint64(_EMPTY)
        keys = (
            np.where(asked, combine_minhashes(system, question, tools), np.uint64(0)),
            np.where(asked, question, answer),
            answer,
            details,
            combine_minhashes(system, question, answer, rest, details),
        )
        inputs = minhash_signatures(self._inputs, BINS)
        whole = np.minimum(inputs, minhash_signatures(self._answers, BINS))
        self._write("line", np.array(self._lines, np.uint32))
        for name, column in zip(KEYS, keys, strict=True):
            self._write(name, column)
        for name, table in (("input", fill_empty_minhash_bins(inputs)), ("whole", fill_empty_minhash_bins(whole))):
            for first in range(0, BINS, BAND_ROWS):
                self._write(f"{name}-{first:02}", table[:, first : first + BAND_ROWS])
        for waiting in (self._lines, self._parts, self._inputs, self._answers):
            waiting.clear()
        if self._held_bytes >= HELD_BYTES:
            self._spill_all()

    def _write(self, name: str, values: npt.NDArray[Any]) -> None:
        if not self._files:
            self._held.setdefault(name, []).append(np.ascontiguousarray(values))
            self._held_bytes += values.nbytes
        else:
            self._spill(name, values)

    def _spill(self, name: str, values: npt.NDArray[Any]) -> None:
        try:
            if name not in self._files:
                self._files[name] = (self._folder / f"{name}.{self._worker:02}").open("wb")
            self._files[name].write(np.ascontiguousarray(values).data)
        except OSError as error:
            raise _no_space(self._folder, error) from error

    def _spill_all(self) -> None:
        for name, parts in self._held.items():
            for part in parts:
                self._spill(name, part)
        self._held = {}
        self._held_bytes = 0

    def close(self) -> Held:
        """Return the columns, or nothing if they are on disk."""
        self._flush()
        try:
            for file in self._files.values():
                file.close()
        except OSError as error:
            raise _no_space(self._folder, error) from error
        return {name: np.concatenate(parts) for name, parts in self._held.items()}


class DuplicateCheckColumns:
    """All workers' columns, read when asked for; the same order in each. `held` are those that are not in `folder`."""

    def __init__(self, folder: Path, held: Sequence[Held]) -> None:
        self._folder = folder
        self._held = [columns for columns in held if columns]

    def __len__(self) -> int:
        return len(self.lines)

    @cached_property
    def _files(self) -> list[Path]:
        return sorted(self._folder.iterdir())

    @cached_property
    def lines(self) -> npt.NDArray[np.uint32]:
        return self._read("line", np.uint32)

    def key(self, name: str) -> npt.NDArray[np.uint64]:
        return self._read(name, np.uint64)

    def bands(self, name: str) -> Iterator[Table]:
        """Yield the sketches of "input" or "whole", band by band."""
        for first in range(0, BINS, BAND_ROWS):
            yield self._read(f"{name}-{first:02}", np.uint32).reshape(-1, BAND_ROWS)

    def _read(self, name: str, kind: type[Any]) -> npt.NDArray[Any]:
        parts = [np.fromfile(path, kind) for path in self._files if path.stem == name]
        parts += [columns[name].reshape(-1) for columns in self._held]
        return np.concatenate(parts) if parts else np.empty(0, kind)


def tool_definitions_text(example: CheckedDatasetExample) -> str:
    """Return the definitions of the tools of a record, which decide what may be answered."""
    tools = example.record.tools
    return msgspec.json.encode(tools).decode("utf-8", "replace") if tools else ""


def duplicate_row_details(example: CheckedDatasetExample) -> str:
    """Return what distinguishes records with the same words: tools, label, weights, reasoning, images, and what follows
    the last answer."""
    record = example.record
    details = [tool_definitions_text(example)] if record.tools else []
    if record.weight is not None:
        details.append(f"weight {record.weight}")
    messages = []
    if isinstance(record, Chat | Labelled):
        messages = record.messages
        if isinstance(record, Labelled):
            details.append(f"label {record.label}")
        if messages[-1].role != "assistant":
            last = max((index for index, each in enumerate(messages) if each.role == "assistant"), default=0)
            details.append(record_messages_as_text(messages[last + 1 :]))
    elif isinstance(record, Graded):
        messages = record.messages
        details.append(msgspec.json.encode(record.reference, order="sorted").decode())
    elif isinstance(record, Preference):
        messages = [*record.context, *record.chosen, *record.rejected]
    for index, message in enumerate(messages):
        if message.reasoning is not None or message.weight is not None:
            details.append(f"{index} {message.weight} {message.reasoning}")
        if type(message.content) is list:
            details += [image_part_digest(part) for part in message.content if isinstance(part, ImagePart)]
    return "\n".join(details)


def tools_and_rejected_answer(example: CheckedDatasetExample) -> str:
    """Return what distinguishes records besides input and answer: the tools' names, and the rejected answer."""
    record = example.record
    rest = " ".join(tool.name for tool in record.tools)
    return normalise_record_text(
        f"{rest} {record_messages_as_text(record.rejected)}" if isinstance(record, Preference) else rest
    )


def _no_space(folder: Path, error: OSError) -> StorageError:
    return StorageError(f"{folder} cannot be written: {error.strerror}; set TMPDIR to a folder with more space")
