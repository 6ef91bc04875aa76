"""Files at Together: found again by content, validated over there, a refusal told by the line of the user's file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneport.backends.hosted.backend import (
    check_provider_list,
    link_with_remote_name,
    parse_provider_time,
    read_provider_id,
    remote_file_name,
)
from tuneport.backends.hosted.http.answers import parse_provider_count, parse_provider_text
from tuneport.backends.hosted.provider_errors import ProviderConnection
from tuneport.backends.hosted.upload_turns import find_lost_provider_upload, provider_upload_may_be_there
from tuneport.backends.openai.uploads import ProviderUploadJournal, SentUploadParts
from tuneport.errors import ConfigError, DatasetError, DatasetProblem, ProviderError, TuneportError
from tuneport.files import replace_file_atomically
from tuneport.types import DataFile, RemoteFile

if TYPE_CHECKING:
    from tuneport.data.containers.numbering import RowPosition
    from tuneport.data.dataset import Dataset


def find_or_upload_together_file(
    client: Any,
    file: DataFile,
    journal: ProviderUploadJournal,
    last_path: Callable[[], str],
    *,
    once: Callable[[Callable[[], Any]], Any],
    sleep: Callable[[float], None],
) -> str:
    """Return the id of the remote file. `last_path`: of the request that the client sent last.

    An upload takes three requests, and validation begins with the third. If an earlier upload broke off before it, the
    file is there and waits for ever, so it is asked for again. If no answer came, the file is looked for, by the calls
    that `once` makes, until it would be listed; empty files that such a try has left are removed.
    """
    name = remote_file_name(file)

    def entries() -> list[Any]:
        return [
            known for known in once(lambda: check_provider_list(client.files.list()).data) if known.filename == name
        ]

    def whole() -> Any:
        return next((each for each in entries() if each.bytes == file.bytes and _usable(each)), None)

    found, unsure = _journalled(client, journal, file) or whole(), journal.sent.unsure
    if found is None and unsure:
        found = find_lost_provider_upload(whole, sleep)
    if found is None:
        if unsure:
            _remove_empty(client, entries())
        journal.write(SentUploadParts(unsure=True))
        try:
            with link_with_remote_name(file) as link:
                found = client.files.upload(link, purpose="fine-tune", check=False)
        except Exception as error:
            if not provider_upload_may_be_there(error):
                journal.write(SentUploadParts())
            raise
        journal.write(SentUploadParts(file_id=read_provider_id(found)))
        if unsure:
            _remove_empty(client, entries())
        if last_path().endswith("/preprocess"):
            return read_provider_id(found)
    journal.write(SentUploadParts(file_id=read_provider_id(found)))
    if found.processing_status == "PENDING":
        try:
            client.post(f"/v1/files/{found.id}/preprocess", cast_to=object)
        except Exception as error:
            if getattr(getattr(error, "response", None), "status_code", None) not in (400, 409, 422):
                raise
    return read_provider_id(found)


def _journalled(client: Any, journal: ProviderUploadJournal, file: DataFile) -> Any:
    """Return the file that an earlier call uploaded, though lists may not show it yet."""
    if (known := journal.sent.file_id) is None:
        return None
    try:
        remote = client.files.retrieve(known)
    except Exception as error:
        if getattr(error, "status_code", None) not in (400, 403, 404):
            raise
        return None  # deleted, or of another account at the same address
    return remote if remote.bytes == file.bytes and _usable(remote) else None


def _usable(remote: Any) -> bool:
    return bool(remote.processing_status != "FAILED")


def _remove_empty(client: Any, entries: Iterable[Any]) -> None:
    """Delete the empty files that a try of ours with a lost answer has left. Their name is the content's."""
    for each in entries:
        if each.bytes == 0:
            with suppress(Exception):  # it does no harm, and `tuneport files` shows it
                client.files.delete(each.id)


def is_together_file_valid(client: Any, upstream: ProviderConnection, file_id: str, file: DataFile) -> bool:
    """Return False while validation lasts. Raises DatasetError, with the place in `file`, if the service refuses the
    content."""
    answer = client.files.retrieve(file_id)
    read_provider_id(answer)
    remote = answer.to_dict(mode="json", warnings=False)
    status = (remote.get("processing_status") or "COMPLETED").upper()
    report = remote.get("validation_report") or {}
    reason = upstream.redact(report.get("error") or "no reason given")
    if status == "INVALID_FORMAT" or report.get("valid") is False:
        raise DatasetError(parse_together_file_problem(str(file.path), upstream.provider, reason))
    if status == "FAILED":
        message = f"{upstream.provider} could not validate {file_id} ({file.path}): {reason}; submit again"
        raise ProviderError(message, provider=upstream.provider, code="validation_failed")
    return status == "COMPLETED"


def parse_together_file_problem(path: str, provider: str, reason: str) -> DatasetProblem:
    """Parse Together's message, such as "Line 7: `messages[1]` must contain a `role` field". Lines are the file's
    own."""
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


def locate_in_users_file(error: DatasetError, dataset: Dataset, file: DataFile) -> DatasetError:
    """Return the refusal at the place where the user wrote the record, if the dataset has not changed since.

    Else returns it unchanged: at the line of the prepared file.
    """
    first = error.problems[0]
    if first.line is None:
        problem = DatasetProblem(str(dataset.path), None, first.field, first.rule, first.fix)
        return DatasetError(problem, count=error.count)
    try:
        place = _source_of(dataset, file, first.line)
    except (TuneportError, OSError):  # the dataset has gone, or has become another
        place = None
    if place is None:
        return error
    problem = DatasetProblem(str(place.file), place.number, first.field, first.rule, first.fix, unit=place.unit)
    return DatasetError(problem, count=error.count)


def _source_of(dataset: Dataset, file: DataFile, number: int) -> RowPosition | None:
    """Return where line `number` of the prepared file comes from, or None if that record no longer gives that very
    line."""
    from tuneport.data.conversion.conversion_loss import write_converted_row
    from tuneport.data.conversion.prepare import strip_untrained_row_fields
    from tuneport.data.formats import load_dataset_format
    from tuneport.data.reading import read_dataset_row

    with file.path.open("rb") as lines:
        wanted = next((line for index, line in enumerate(lines, start=1) if index == number), None)
    source, known, target = dataset.open(), dataset.known, load_dataset_format(file.format)
    written = 0
    for line, raw in source.rows():
        record = read_dataset_row(known, line, raw, source.locate).record
        if record is None:
            continue
        strip_untrained_row_fields(record)
        row, _ = write_converted_row(target, record)
        written += row is not None
        if written == number:
            return source.locate(line) if row is not None and row + b"\n" == wanted else None
    return None


def list_together_files(client: Any) -> list[RemoteFile]:
    """Return the account's fine-tuning files. The list has no hash: `sha256` is empty, and `purpose` always
    training."""
    return [
        RemoteFile(
            id=file.id,
            purpose="training",
            sha256="",
            filename=parse_provider_text(file.filename) or "",
            bytes=parse_provider_count(file.bytes) or 0,
            created_at=parse_provider_time(file.created_at),
        )
        for file in check_provider_list(client.files.list()).data
        if file.purpose == "fine-tune"
    ]


def save_together_file(client: Any, file_id: str, target: Path) -> Path:
    """Stream a file's content to `target`, whole or not at all."""
    try:
        with client.files.with_streaming_response.content(file_id) as response:
            length = response.headers.get("content-length")
            size = 0
            with replace_file_atomically(target, durable=False, private=False) as file:
                for piece in response.iter_bytes():
                    size += file.write(piece)
                if length is not None and "content-encoding" not in response.headers and size != int(length):
                    raise ValueError(f"{size} of {length} bytes of {file_id} came")
    except OSError as error:
        raise ConfigError(f"{target} cannot be written: {error.strerror}; free space or name another file") from error
    return target
