"""From any dataset to the file that a backend takes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from tuneport.data.convert import LossTally, write_row
from tuneport.data.formats import load_format
from tuneport.data.formats.openai_reinforcement import NAME as REINFORCEMENT
from tuneport.data.reading import ProblemTally, read_records, scan
from tuneport.data.records import Chat, Graded, Labelled, Message, Preference, Record
from tuneport.data.tokens import TokenCounter
from tuneport.data.writing import aside, make_folder, publish
from tuneport.errors import ConversionLossError, DatasetError, DatasetProblem
from tuneport.types import DataFile, Method


def format_for(method: Method, data_format: str) -> str:
    """The format in which a backend takes the records of a method; `data_format` is its format of chats."""
    return {Method.DPO: "openai-preference", Method.RFT: REINFORCEMENT}.get(method, data_format)


def prepare(
    path: Path | str,
    target: str,
    store: Path,
    *,
    source_format: str | None = None,
    allow_loss: bool = False,
    encoding: str = "o200k_base",
) -> DataFile:
    """Write `path` in the format `target` as `store/<sha256>.jsonl`, whole or not at all, and describe that file.

    The same dataset gives the same file however often it is prepared. Only what is trained on is written: columns
    and message keys that no format knows stay behind, named in `left_out`. Raises DatasetError with all that is wrong
    with the dataset, ConversionLossError where training would miss something, unless that is allowed, and StorageError
    where `store` cannot be written.
    """
    path, store = Path(path), Path(store)
    if source_format is None and target == REINFORCEMENT:
        source_format = target  # nothing else can be written as it, and conversations of several turns look like chats
    format = load_format(target)
    losses, problems, counter = LossTally(), ProblemTally(), TokenCounter(encoding)
    digest = hashlib.sha256()
    left_out: dict[str, None] = {}
    size = written = 0
    fix = "free some space, or set TUNEPORT_HOME to a folder that can be written, and try again"
    make_folder(store, fix=fix)
    with aside(store, fix=fix) as (file, temporary):
        for found in scan(path, source_format):
            if not problems.accept(found.problems) or found.record is None:
                continue
            left_out |= dict.fromkeys(strip(found.record))
            row, lost = write_row(format, found.record)
            if lost:
                losses.add(found.line, lost)
            if row is None or problems.count:
                continue
            counter.add(found.line, found.record)
            line = row + b"\n"
            file.write(line)
            digest.update(line)
            size, written = size + len(line), written + 1
        problems.end()
        if losses.losses() and not allow_loss:
            raise ConversionLossError(target, losses.losses())
        if not written:
            rule = f"no record can be written as {target}: {losses.losses()[0].reason}"
            raise DatasetError(DatasetProblem(str(path), None, "", rule, "choose another method or dataset"))
        final = store / f"{digest.hexdigest()}.jsonl"
        if not final.exists():
            publish(file, temporary, final)
    counts = counter.counts()
    return DataFile(
        path=final,
        sha256=digest.hexdigest(),
        format=target,
        rows=written,
        bytes=size,
        trained_tokens=None if counts.approximate else counts.total,
        left_out=tuple(left_out),
    )


def strip(record: Record) -> list[str]:
    """Take away, in place, what no model is trained on; the names of what was there."""
    gone = list(record.metadata)
    record.metadata = {}
    for message in _messages(record):
        refusal = {key: value for key, value in message.extra.items() if key == "refusal"}  # a part of OpenAI's format
        gone += [f"messages[].{key}" for key in message.extra if key not in refusal]
        message.extra = refusal
        for call in message.tool_calls:
            gone += [f"messages[].tool_calls[].{key}" for key in call.extra]
            call.extra = {}
        for part in message.content if isinstance(message.content, list) else ():
            gone += [f"messages[].content[].{key}" for key in part.extra]
            part.extra = {}
    for tool in record.tools:
        gone += [f"tools[].{key}" for key in tool.extra]
        tool.extra = {}
    return gone


def _messages(record: Record) -> list[Message]:
    if isinstance(record, Preference):
        return [*record.context, *record.chosen, *record.rejected]
    return record.messages if isinstance(record, Chat | Labelled | Graded) else []


def method_of(path: Path | str, format: str | None = None, columns: Mapping[str, str] | None = None) -> Method:
    """What the dataset is made for: dpo for preference pairs, rft for questions with references, else sft.

    Judged by the first record.
    """
    for _, record in read_records(path, format, columns):
        if isinstance(record, Graded):
            return Method.RFT
        return Method.DPO if isinstance(record, Preference) else Method.SFT
    raise AssertionError("a dataset without records is an error of reading")
