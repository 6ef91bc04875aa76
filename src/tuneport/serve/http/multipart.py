"""Parser of multipart forms as they arrive: the one file is written straight into `Contents`, the short fields into
memory.

Frameworks spool a whole upload into a temporary file first and copy it afterwards; here it is written once, and its
hash is known when its last byte has come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from tuneport.lifecycle.contents.contents import Contents, IncomingContent
from tuneport.serve.http.errors import Refusal

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
    from python_multipart import MultipartParser
    from python_multipart.exceptions import FormParserError

    boundary = _boundary(request.headers.get("content-type", ""))
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes + MAX_FIELDS * MAX_FIELD_BYTES:
        raise upload_too_large_refusal(max_bytes)
    reader = _MultipartReader(contents, file_field, max_bytes)
    try:
        parser = MultipartParser(boundary, reader.callbacks())  # type: ignore[arg-type]  # a TypedDict of theirs
        async with _MultipartFileWriter(reader) as writer:
            async for chunk in request.stream():
                parser.write(chunk)
                if len(reader.pending) >= _BUFFER:
                    await writer.next()
            parser.finalize()
            if not reader.ended:
                raise Refusal(400, "The form ends before its last part does; send it again.")
            await writer.next()
    except FormParserError as error:
        reader.form.close()
        raise Refusal(400, f"The form cannot be read: {error}.") from error
    except BaseException:
        reader.form.close()  # the client went away, the disk is full, or the file is too large
        raise
    return reader.form


def upload_too_large_refusal(max_bytes: int) -> Refusal:
    return Refusal(
        413, f"The file is too large: at most {max_bytes:,} bytes. Larger ones can be sent in parts: POST /v1/uploads."
    )


def _boundary(content_type: str) -> bytes:
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_param("boundary")
    if message.get_content_type() != "multipart/form-data" or not isinstance(boundary, str) or len(boundary) > 200:
        raise Refusal(400, "Expected a form: Content-Type multipart/form-data with a boundary.")
    return boundary.encode("latin-1", "replace")


class _MultipartFileWriter:
    """The writer of the file: it hashes and writes one block in a thread while the next arrives, in order."""

    def __init__(self, reader: _MultipartReader) -> None:
        self._reader = reader
        self._writing: asyncio.Task[None] | None = None

    async def next(self) -> None:
        """Write what is pending, once the block before it is written."""
        await self._settle()
        file, block = self._reader.form.file, self._reader.take_pending()
        if file is not None and block:
            self._writing = asyncio.create_task(run_in_threadpool(file.write, block))

    async def _settle(self) -> None:
        """Wait for the running write, even if the request is given up: its file is closed afterwards."""
        writing = self._writing
        if writing is None:
            return
        try:
            await asyncio.shield(writing)
        finally:
            if writing.done():
                self._writing = None

    async def __aenter__(self) -> _MultipartFileWriter:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._settle()


class _MultipartReader:
    """The parser's callbacks. Bytes of the file gather in `pending`, for `_MultipartFileWriter`."""

    def __init__(self, contents: Contents, file_field: str, max_bytes: int) -> None:
        self.form = MultipartForm()
        self.pending = bytearray()
        self.ended = False
        self._contents, self._file_field, self._max_bytes = contents, file_field, max_bytes
        self._header_name, self._header_value = bytearray(), bytearray()
        self._headers: dict[str, str] = {}
        self._name: str | None = None
        self._value = bytearray()
        self._received = self._parts = 0

    def callbacks(self) -> dict[str, Callable[..., None]]:
        return {
            "on_part_begin": self._part_begin,
            "on_header_field": lambda data, start, end: self._header(self._header_name, data[start:end]),
            "on_header_value": lambda data, start, end: self._header(self._header_value, data[start:end]),
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    def take_pending(self) -> bytearray:
        """Return what is pending; the caller writes it."""
        taken, self.pending = self.pending, bytearray()
        return taken

    def _part_begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_FIELDS:
            raise Refusal(400, f"The form has more than {MAX_FIELDS} parts.")
        self._headers, self._name = {}, None
        self._value.clear()

    def _header(self, target: bytearray, piece: bytes) -> None:
        target.extend(piece)
        if len(target) > MAX_HEADER_BYTES:
            raise Refusal(400, "The header of a part of the form is too long.")

    def _header_end(self) -> None:
        name, value = (text.decode("utf-8", "replace") for text in (self._header_name, self._header_value))
        self._headers[name.lower()] = value
        self._header_name.clear()
        self._header_value.clear()

    def _headers_finished(self) -> None:
        name, filename = _disposition(self._headers.get("content-disposition", ""))
        if name is None:
            raise Refusal(400, "A part of the form has no name.")
        self._name = name
        if name == self._file_field:
            if self.form.file is not None:
                raise Refusal(400, f"The form has more than one '{name}'.", param=name)
            self.form.file = self._contents.open_incoming()
            self.form.filename = filename or "file"
        elif name in self.form.fields:
            raise Refusal(400, f"The form has more than one '{name}'.", param=name)

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._name == self._file_field:
            self._received += end - start
            if self._received > self._max_bytes:
                raise upload_too_large_refusal(self._max_bytes)
            self.pending.extend(data[start:end])
            return
        self._value.extend(data[start:end])
        if len(self._value) > MAX_FIELD_BYTES:
            raise Refusal(400, f"'{self._name}' is too long.", param=self._name)

    def _part_end(self) -> None:
        if self._name is not None and self._name != self._file_field:
            self.form.fields[self._name] = self._value.decode("utf-8", "replace")

    def _end(self) -> None:
        self.ended = True


def _disposition(text: str) -> tuple[str | None, str | None]:
    """Return the part's name and its file name, cut to what follows the last slash."""
    message = Message()
    message["content-disposition"] = text
    name = message.get_param("name", header="content-disposition")
    filename = message.get_filename()
    if filename is not None:
        filename = filename.replace("\\", "/").rsplit("/", 1)[-1][:255]
    return (name if isinstance(name, str) else None), filename
