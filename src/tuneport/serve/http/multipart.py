"""Multipart forms, read as they arrive: the one file is written straight into `Contents`, the short fields into memory.

Frameworks spool a whole upload into a temporary file first and copy it afterwards; here it is written once, and its
hash is known when its last byte has come.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from email.message import Message
from typing import TYPE_CHECKING

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from tuneport.lifecycle.contents.contents import Contents, IncomingContent
from tuneport.serve.http.errors import Refusal

if TYPE_CHECKING:
    from multipart import MultipartSegment

MAX_FIELDS = 20
MAX_FIELD_BYTES = 16_384
MAX_HEADER_BYTES = 8_192
_BUFFER = 1 << 20


@dataclass
class MultipartForm:
    """A parsed form. `file` is written but not kept yet: close it, or keep it. `filename` is the client's name,
    without folders."""

    fields: dict[str, str] = field(default_factory=dict)
    file: IncomingContent | None = None
    filename: str = ""

    def close(self) -> None:
        if self.file is not None:
            self.file.__exit__()


async def read_multipart_form(
    request: Request, contents: Contents, *, file_field: str, max_bytes: int
) -> MultipartForm:
    """Read a form. Raises Refusal if the body is not a form, or as soon as it exceeds `max_bytes`."""
    from multipart import MultipartError, ParserLimitReached, PushMultipartParser

    boundary = _boundary(request.headers.get("content-type", ""))
    length, most = request.headers.get("content-length", ""), max_bytes + MAX_FIELDS * MAX_FIELD_BYTES
    if length.isdecimal() and int(length) > most:
        raise upload_too_large_refusal(max_bytes)
    reader = _FormReader(contents, file_field, max_bytes)
    received = 0
    try:
        parser = PushMultipartParser(boundary, max_header_size=MAX_HEADER_BYTES)
        try:
            async for chunk in request.stream():
                received += len(chunk)
                if received > most:  # also before the first part and after the last one, which the parser skips
                    raise upload_too_large_refusal(max_bytes)
                for event in parser.parse(chunk) if chunk else ():
                    reader.take(event)
                if len(reader.pending) >= _BUFFER or not chunk:
                    await reader.write_pending()
        finally:
            await reader.settle()
        try:
            parser.close()
        except MultipartError as error:
            raise Refusal(400, "The form ends before its last part does; send it again.") from error
    except BaseException as error:  # the client went away, the disk is full, or the file is too large
        reader.form.close()
        if isinstance(error, ParserLimitReached):
            raise Refusal(400, "The header of a part of the form is too long.") from error
        if isinstance(error, MultipartError):
            raise Refusal(400, f"The form cannot be read: {error}.") from error
        raise
    return reader.form


def upload_too_large_refusal(max_bytes: int) -> Refusal:
    return Refusal(
        413, f"The file is too large: at most {max_bytes:,} bytes. Larger ones can be sent in parts: POST /v1/uploads."
    )


def _boundary(content_type: str) -> bytes:
    # By `email`, since `multipart` cuts a boundary at `=` or `/` that has no quotes, as some clients send it.
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_param("boundary")
    if message.get_content_type() != "multipart/form-data" or not isinstance(boundary, str) or len(boundary) > 200:
        raise Refusal(400, "Expected a form: Content-Type multipart/form-data with a boundary.")
    return boundary.encode("latin-1", "replace")


class _FormReader:
    """The parser's events as a form. Bytes of the file gather in `pending`."""

    def __init__(self, contents: Contents, file_field: str, max_bytes: int) -> None:
        self.form = MultipartForm()
        self.pending = bytearray()
        self._contents, self._file_field, self._max_bytes = contents, file_field, max_bytes
        self._part: MultipartSegment
        self._value = bytearray()
        self._parts = 0
        self._writing: asyncio.Task[None] | None = None

    async def write_pending(self) -> None:
        """Hash and write the pending bytes in a thread while the next ones arrive, after those before them."""
        await self.settle()
        block, self.pending = self.pending, bytearray()
        if self.form.file is not None and block:
            self._writing = asyncio.create_task(run_in_threadpool(self.form.file.write, block))

    async def settle(self) -> None:
        """Wait for the running write, even if the request is given up: its file is closed afterwards."""
        if self._writing is not None:
            await asyncio.shield(self._writing)

    def take(self, event: MultipartSegment | bytes | None) -> None:
        """Take the head of a part, some of its bytes, or its end, which is None."""
        if event is None:
            if self._part.name != self._file_field:
                self.form.fields[self._part.name] = self._value.decode("utf-8", "replace")
        elif isinstance(event, bytes):
            self._data(event)
        else:
            self._head(event)

    def _head(self, part: MultipartSegment) -> None:
        self._parts += 1
        if self._parts > MAX_FIELDS:
            raise Refusal(400, f"The form has more than {MAX_FIELDS} parts.")
        if not part.name:
            raise Refusal(400, "A part of the form has no name.")
        if part.name in self.form.fields or (part.name == self._file_field and self.form.file is not None):
            raise Refusal(400, f"The form has more than one '{part.name}'.", param=part.name)
        if part.name == self._file_field:
            self.form.file = self._contents.open_incoming()
            self.form.filename = _filename(part) or "file"
        self._part = part
        self._value.clear()

    def _data(self, data: bytes) -> None:
        name, received = self._part.name, self._part.bytes_received
        if name == self._file_field:
            if received > self._max_bytes:
                raise upload_too_large_refusal(self._max_bytes)
            self.pending += data
        elif received > MAX_FIELD_BYTES:
            raise Refusal(400, f"'{name}' is too long.", param=name)
        else:
            self._value += data


def _filename(part: MultipartSegment) -> str:
    """Return the name of a part's file, cut to what follows the last slash."""
    name: str | None = part.filename
    if name is None:  # `filename*=utf-8''...`, as some clients send it, which `multipart` does not read
        message = Message()
        message["content-disposition"] = dict(part.headerlist)["Content-Disposition"]
        name = message.get_filename("")
    return name.replace("\\", "/").rsplit("/", 1)[-1][:255]
