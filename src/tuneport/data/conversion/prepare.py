"""Prepares the file that a backend takes from any dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from io import BufferedWriter
from pathlib import Path

from tuneport.data.containers.source import RowSource
from tuneport.data.conversion.conversion_loss import ConversionLossReport, write_converted_row
from tuneport.data.conversion.inline_images import ImageInliner
from tuneport.data.conversion.untrained import UntrainedDatasetRecords
from tuneport.data.conversion.unused_signals import refuse_unused_signals
from tuneport.data.dataset import Dataset
from tuneport.data.formats import load_dataset_format
from tuneport.data.formats.contract import Unrepresentable
from tuneport.data.formats.openai.reinforcement import NAME as REINFORCEMENT
from tuneport.data.reading import RowProblemTally, ScannedRow, scan_dataset_rows
from tuneport.data.rows.kinds import record_without_mark, untrainable_record_words
from tuneport.data.rows.prompt_only import record_as_prompt
from tuneport.data.rows.records import Record, record_messages
from tuneport.data.rows.signals import UnusedSignals
from tuneport.data.running.writing import make_output_folder, publish_output_file, temporary_file
from tuneport.data.tokens.tokens import TokenCounter, TokenCounts
from tuneport.digests import sha256_of
from tuneport.errors import ConversionLoss, ConversionLossError, DatasetError, DatasetProblem
from tuneport.types import DataFile, Method

NO_QUESTION = Unrepresentable("messages", "this method needs a user's message before the last answer")


def prepare_dataset(
    dataset: Dataset | Path | str,
    target: str,
    store: Path,
    *,
    allow_loss: bool = False,
    questions: bool = False,
    method: Method | None = None,
    untrained: UntrainedDatasetRecords | None = None,
    pictures: ImageInliner | None = None,
) -> DataFile:
    """Write the dataset in the format `target` as `store/<sha256>.jsonl`, whole or not at all, and describe that file.

    `questions`: each record becomes its question (`data.rows.prompt_only`), with all its columns. `method`: a record
    that it cannot train on is a problem of the dataset. `pictures` reads those that are paths; default: by its options.

    The same dataset gives the same file however often it is prepared. Only trained content is written: columns and
    message keys that no format knows are left out, and named in `left_out`. `untrained` counts the rows that would
    train nothing. Raises DatasetError with all that is wrong with the dataset, if it has such rows only, or if a column
    holds training signal that is left out and not ignored on purpose (`data.rows.signals`), or pictures are paths, and
    ConversionLossError if training would miss something, both unless loss is allowed; and StorageError if `store`
    cannot be written.
    """
    dataset, store = Dataset.of(dataset), Path(store)
    if dataset.given_format is None and target == REINFORCEMENT and not questions:
        dataset = dataset.read_as(target)  # nothing else can be written as it; chats of several turns look like openai
    format = load_dataset_format(target)
    known, source = dataset.known, dataset.open()
    losses, problems, counter = ConversionLossReport(), RowProblemTally(), TokenCounter()
    signals, ignored = UnusedSignals(), dataset.reading.ignored_columns
    unmarked = dataset.reading.keep_unliked and method in (None, Method.SFT)
    untrained = untrained or UntrainedDatasetRecords()
    pictures = pictures or (ImageInliner.of(dataset) if dataset.reading.inline_images else None)
    untrained.words = source.numbering.words
    digest = hashlib.sha256()
    left_out: dict[str, None] = {}
    size = written = 0
    otherwise = "set TUNEPORT_HOME to a folder that can be written, and try again"
    make_output_folder(store, otherwise=otherwise, private=True)
    with temporary_file(store, otherwise=otherwise) as (file, temporary):
        for found in scan_dataset_rows(source, known):
            wrong = _problems_of(found, method, source, pictures, keep_unliked=unmarked)
            if not problems.accept(wrong) or found.record is None:
                continue
            read = record_without_mark(found.record) if unmarked else found.record
            record = record_as_prompt(read) if questions else read
            if record is None:
                losses.add(found.line, [NO_QUESTION])
                continue
            signals.add(found.line, record)
            left_out |= dict.fromkeys(strip_untrained_row_fields(record))
            row, lost = write_converted_row(format, record)
            if lost:
                losses.add(found.line, lost)
            if row is None or problems.count:
                continue
            counter.add(found.line, record)
            untrained.add(found.line, record)
            line = row + b"\n"
            file.write(line)
            digest.update(line)
            size, written = size + len(line), written + 1
        problems.end()
        counts, lost_all = counter.counts(), losses.losses(source.numbering)
        if not allow_loss:
            refuse_unused_signals(signals, source, f"{written:,}", ignored=ignored)
            _refuse_losses(lost_all, counts, dataset, target)
        if not written:
            raise _nothing_written(dataset, target, lost_all[0].reason)
        untrained.refuse_if_all_untrained(dataset.path)
        final = _publish(file, temporary, store, digest.hexdigest())
    return DataFile(
        path=final,
        sha256=digest.hexdigest(),
        format=target,
        rows=written,
        bytes=size,
        trained_tokens=None if counts.approximate else counts.total,
        left_out=tuple(left_out),
    )


def _publish(file: BufferedWriter, temporary: Path, store: Path, sha256: str) -> Path:
    final = store / f"{sha256}.jsonl"
    if not (final.is_file() and sha256_of(final) == sha256):  # not there, or damaged since
        publish_output_file(file, temporary, final, private=True)
    return final


def _problems_of(
    found: ScannedRow,
    method: Method | None,
    source: RowSource,
    pictures: ImageInliner | None,
    *,
    keep_unliked: bool,
) -> tuple[DatasetProblem, ...]:
    """Return what is wrong with the row, once its pictures are read into its record."""
    wrong = found.problems or _of_another_kind(found, method, source, keep_unliked=keep_unliked)
    if wrong or pictures is None or found.record is None:
        return wrong
    return pictures.inline(found.line, found.record, source.locate)


def _refuse_losses(losses: Sequence[ConversionLoss], counts: TokenCounts, dataset: Dataset, target: str) -> None:
    """Raise DatasetError if pictures are paths, and ConversionLossError if there are other losses."""
    if counts.path_rows:
        rule = f"{counts.path_rows:,} of {counts.rows:,} records show pictures by a path, which no provider can open"
        fix = "read them into the rows: --inline-images"
        raise DatasetError(DatasetProblem(str(dataset.path), None, "images", rule, fix))
    if losses:
        keep = dataset.command("convert", "--to", target, "--allow-loss", "-o", "kept.jsonl")
        remedy = f"change these records, or train on what can be kept: {keep}"
        raise ConversionLossError(target, losses, remedy=remedy)


def _nothing_written(dataset: Dataset, target: str, reason: str) -> DatasetError:
    rule = f"no record can be written as {target}: {reason}"
    return DatasetError(DatasetProblem(str(dataset.path), None, "", rule, "choose another method or dataset"))


def _of_another_kind(
    found: ScannedRow, method: Method | None, source: RowSource, *, keep_unliked: bool
) -> tuple[DatasetProblem, ...]:
    words = None
    if method is not None and found.record is not None:
        words = untrainable_record_words(found.record, method, keep_unliked=keep_unliked)
    if words is None:
        return ()
    place = source.locate(found.line)
    return (DatasetProblem(str(place.file), place.number, "", *words, place.unit),)


def strip_untrained_row_fields(record: Record) -> list[str]:
    """Remove, in place, what no model is trained on, and return the removed names."""
    gone = list(record.metadata)
    record.metadata = {}
    for message in record_messages(record):
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


def dataset_upload_format(method: Method, source: str, usual: str, also: Sequence[str] = ()) -> str:
    """Return the upload format of a dataset for a backend that takes `usual`, and leaves those of `also` unchanged.

    `source` is the dataset's own format.
    """
    match method.traits.records:
        case "pairs":
            return "openai-preference"
        case "questions" | "graded":
            return REINFORCEMENT
        case "labelled":
            return "trl"
        case "chats":
            return source if source in also else usual


def convert_dataset_for_method(
    method: Method,
    dataset: Dataset,
    target: str,
    store: Path,
    *,
    untrained: UntrainedDatasetRecords | None = None,
    pictures: ImageInliner | None = None,
) -> DataFile:
    """Prepare the dataset as the method reads it: only its questions for a method with a reward."""
    questions = method.traits.records == "questions"
    read = dataset.for_method(method)
    return prepare_dataset(
        read, target, store, questions=questions, method=method, untrained=untrained, pictures=pictures
    )
