"""From any dataset to the file that a backend takes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from tuneport.data.containers.source import Source
from tuneport.data.formats import load_format
from tuneport.data.formats.contract import Lost
from tuneport.data.formats.openai_reinforcement import NAME as REINFORCEMENT
from tuneport.data.losses import LossTally, write_row
from tuneport.data.questions import question
from tuneport.data.reading import ProblemTally, detect, read_records, scan_source
from tuneport.data.records import Chat, Graded, Labelled, Message, Preference, Record
from tuneport.data.tokens import TokenCounter
from tuneport.data.writing import aside, make_folder, publish
from tuneport.errors import ConversionLossError, DatasetError, DatasetProblem
from tuneport.types import DataFile, Method

NO_QUESTION = Lost("messages", "this method needs a user's message to answer, and there is none before the last answer")


def prepare(
    path: Path | str,
    target: str,
    store: Path,
    *,
    source_format: str | None = None,
    columns: Mapping[str, str] | None = None,
    allow_loss: bool = False,
    questions: bool = False,
    encoding: str = "o200k_base",
) -> DataFile:
    """Write `path` in the format `target` as `store/<sha256>.jsonl`, whole or not at all, and describe that file.

    `questions`: each record as the question that it asks (`data.questions`), with all its columns.

    `columns` maps the names that the source's format expects to those in the source (`--map`).
    The same dataset gives the same file however often it is prepared. Only what is trained on is written: columns
    and message keys that no format knows stay behind, named in `left_out`. Raises DatasetError with all that is wrong
    with the dataset, ConversionLossError where training would miss something, unless that is allowed, and StorageError
    where `store` cannot be written.
    """
    path, store = Path(path), Path(store)
    if source_format is None and target == REINFORCEMENT and not questions:
        source_format = target  # nothing else can be written as it, and conversations of several turns look like chats
    format = load_format(target)
    known = load_format(source_format or detect(path, columns).format)
    source = Source(path, columns)
    losses, problems, counter = LossTally(), ProblemTally(), TokenCounter(encoding)
    digest = hashlib.sha256()
    left_out: dict[str, None] = {}
    size = written = 0
    otherwise = "set TUNEPORT_HOME to a folder that can be written, and try again"
    make_folder(store, otherwise=otherwise)
    with aside(store, otherwise=otherwise) as (file, temporary):
        for found in scan_source(source, known):
            if not problems.accept(found.problems) or found.record is None:
                continue
            record = question(found.record) if questions else found.record
            if record is None:
                losses.add(found.line, [NO_QUESTION])
                continue
            left_out |= dict.fromkeys(strip(record))
            row, lost = write_row(format, record)
            if lost:
                losses.add(found.line, lost)
            if row is None or problems.count:
                continue
            counter.add(found.line, record)
            line = row + b"\n"
            file.write(line)
            digest.update(line)
            size, written = size + len(line), written + 1
        problems.end()
        lost_all = losses.losses(source.numbering)
        if lost_all and not allow_loss:
            raise ConversionLossError(target, lost_all)
        if not written:
            rule = f"no record can be written as {target}: {lost_all[0].reason}"
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


def method_for(record: Record) -> Method:
    match record:
        case Preference():
            return Method.DPO
        case Labelled():
            return Method.KTO
        case Graded():
            return Method.RFT
    return Method.SFT


def file_format(method: Method, source: str, usual: str, also: Sequence[str] = ()) -> str:
    """The format in which a dataset is given to a backend that takes `usual`, or leaves those of `also` as they are.

    `source` is the dataset's own format.
    """
    if method.trains_on_pairs:
        return "openai-preference"
    if method.writes_answers:
        return REINFORCEMENT
    if method is Method.KTO:
        return "trl"
    return source if source in also else usual


def prepare_for(
    method: Method, path: Path, target: str, store: Path, columns: Mapping[str, str] | None = None
) -> DataFile:
    """`prepare`, with the dataset read as the method needs it: for those that take a reward, its questions only."""
    source_format = format_for(path, method, columns)
    return prepare(path, target, store, source_format=source_format, columns=columns, questions=method.takes_reward)


def format_for(path: Path, method: Method, columns: Mapping[str, str] | None = None) -> str | None:
    """The format to read a dataset in for the method, where it is not simply the one that is found out.

    Questions without answers and columns are no chats that could be trained on, and all that grpo and rloo need.
    """
    if method is Method.RFT:
        return REINFORCEMENT
    if method.takes_reward and detect(path, columns).format == "openai":
        for found in scan_source(Source(path, columns), load_format(REINFORCEMENT)):
            return None if found.problems else REINFORCEMENT
    return None


def method_of(path: Path | str, format: str | None = None, columns: Mapping[str, str] | None = None) -> Method:
    """What the dataset is made for: dpo for preference pairs, kto for answers marked good or bad, rft for questions
    with references, else sft.

    Judged by the first record.
    """
    for _, record in read_records(path, format, columns):
        return method_for(record)
    raise AssertionError("a dataset without records is an error of reading")
