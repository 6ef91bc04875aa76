"""Files at Together: found again by content, validated over there, a refusal told by the line of the user's file."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneport.backends.hosted import id_of, listed, named_link, remote_name, timestamp
from tuneport.backends.provider_errors import Upstream
from tuneport.errors import ConfigError, DatasetError, DatasetProblem, ProviderError, TuneportError
from tuneport.types import DataFile, RemoteFile

if TYPE_CHECKING:
    from tuneport.data.containers.numbering import Place


def find_or_upload(client: Any, file: DataFile, last_path: Callable[[], str]) -> str:
    """The id of the file over there. `last_path`: of the request that the client sent last.

    An upload takes three requests, and validation begins with the third. Where an earlier one broke off before it, the
    file is there and waits for ever, so it is asked for again.
    """
    name = remote_name(file)
    for known in listed(client.files.list()).data:
        if known.filename == name and known.bytes == file.bytes and known.processing_status != "FAILED":
            found = known
            break
    else:
        with named_link(file) as link:
            found = client.files.upload(link, purpose="fine-tune", check=False)
        if last_path().endswith("/preprocess"):
            return id_of(found)
    if found.processing_status == "PENDING":
        try:
            client.post(f"/v1/files/{found.id}/preprocess", cast_to=object)
        except Exception as error:
            if getattr(getattr(error, "response", None), "status_code", None) not in (400, 409, 422):
                raise
    return id_of(found)


def is_valid(client: Any, upstream: Upstream, file_id: str, file: DataFile) -> bool:
    """False while validation lasts. DatasetError, with the place in `file`, where the service refuses the content."""
    answer = client.files.retrieve(file_id)
    id_of(answer)
    remote = answer.to_dict(mode="json")
    status = (remote.get("processing_status") or "COMPLETED").upper()
    report = remote.get("validation_report") or {}
    reason = upstream.redact(report.get("error") or "no reason given")
    if status == "INVALID_FORMAT" or report.get("valid") is False:
        raise DatasetError(problem_of(str(file.path), upstream.provider, reason))
    if status == "FAILED":
        message = f"{upstream.provider} could not validate {file_id} ({file.path}): {reason}; submit again"
        raise ProviderError(message, provider=upstream.provider, code="validation_failed")
    return status == "COMPLETED"


def problem_of(path: str, provider: str, reason: str) -> DatasetProblem:
    """From Together's words, such as "Line 7: `messages[1]` must contain a `role` field". Lines are the file's own."""
    line = re.match(r"Line (\d+)\s*:\s*", reason)
    rest = reason[line.end() :] if line else reason
    field = re.match(r"`([^`]+)`\s+", rest)
    rule = rest[field.end() :] if field else rest
    return DatasetProblem(
        path=path,
        line=int(line[1]) if line else None,
        field=field[1] if field else "",
        rule=rule.rstrip("."),
        fix=f"{provider} refuses the file; correct that record and submit again",
    )


def in_the_users_file(error: DatasetError, dataset: Path, file: DataFile, columns: Mapping[str, str]) -> DatasetError:
    """The same refusal at the place where the user wrote the record, if the dataset is as it was when it was prepared.

    Else as it is: at the line of the prepared file.
    """
    first = error.problems[0]
    if first.line is None:
        problem = DatasetProblem(str(dataset), None, first.field, first.rule, first.fix)
        return DatasetError(problem, count=error.count)
    try:
        place = _source_of(dataset, file, first.line, columns)
    except (TuneportError, OSError):  # the dataset has gone, or has become another
        place = None
    if place is None:
        return error
    problem = DatasetProblem(str(place.file), place.number, first.field, first.rule, first.fix, unit=place.unit)
    return DatasetError(problem, count=error.count)


def _source_of(dataset: Path, file: DataFile, number: int, columns: Mapping[str, str]) -> Place | None:
    """Where line `number` of the prepared file comes from; None unless that record still gives that very line."""
    from tuneport.data.containers.source import Source
    from tuneport.data.formats import load_format
    from tuneport.data.losses import write_row
    from tuneport.data.prepare import strip
    from tuneport.data.reading import detect, read_row

    with file.path.open("rb") as lines:
        wanted = next((line for index, line in enumerate(lines, start=1) if index == number), None)
    source, known, target = (
        Source(dataset, columns),
        load_format(detect(dataset, columns).format),
        load_format(file.format),
    )
    written = 0
    for line, raw in source.rows():
        record = read_row(known, line, raw, source.locate).record
        if record is None:
            continue
        strip(record)
        row, _ = write_row(target, record)
        written += row is not None
        if written == number:
            return source.locate(line) if row is not None and row + b"\n" == wanted else None
    return None


def remote_files(client: Any) -> list[RemoteFile]:
    """The account's fine-tuning files. The list has no hash: `sha256` is empty, and `purpose` always training."""
    return [
        RemoteFile(
            id=file.id,
            purpose="training",
            sha256="",
            filename=file.filename,
            bytes=file.bytes,
            created_at=timestamp(file.created_at),
        )
        for file in listed(client.files.list()).data
        if file.purpose == "fine-tune"
    ]


def save(client: Any, file_id: str, target: Path) -> Path:
    """Stream a file's content to `target`, whole or not at all."""
    part = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with client.files.with_streaming_response.content(file_id) as response:
            length = response.headers.get("content-length")
            size = 0
            with part.open("wb") as file:
                for piece in response.iter_bytes():
                    size += file.write(piece)
            if length is not None and "content-encoding" not in response.headers and size != int(length):
                raise ValueError(f"{size} of {length} bytes of {file_id} came")
        os.replace(part, target)
    except OSError as error:
        raise ConfigError(f"{target} cannot be written: {error.strerror}; free space or name another file") from error
    finally:
        part.unlink(missing_ok=True)
    return target
