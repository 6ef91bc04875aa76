"""Reads a form as it arrives: its one file goes straight into `Contents`, its short fields into memory.

Frameworks spool a whole upload into a temporary file first, to copy it afterwards; here it is written once, and its
hash is known when its last byte has come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from tuneport.jobs.contents import Contents, Incoming
from tuneport.serve.errors import Refusal

MAX_FIELDS = 20
MAX_FIELD_BYTES = 16_384
MAX_HEADER_BYTES = 8_192
_BUFFER = 1 << 20


@dataclass
class Form:
    """`file` is written and not kept yet: close it, or keep it. `filename` is as the client wrote it: a name only."""

    fields: dict[str, str] = field(default_factory=dict)
    file: Incoming | None = None
    filename: str = ""

    def close(self) -> None:
        if self.file is not None:
            self.file.__exit__()


async def read_form(request: Request, contents: Contents, *, file_field: str, max_bytes: int) -> Form:
    """Refusal for what is no form, and for more bytes than `max_bytes`, told as soon as that is known."""
    from python_multipart import MultipartParser
    from python_multipart.exceptions import FormParserError

    boundary = _boundary(request.headers.get("content-type", ""))
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes + MAX_FIELDS * MAX_FIELD_BYTES:
        raise too_large(max_bytes)
    reader = _Reader(contents, file_field, max_bytes)
    try:
        parser = MultipartParser(boundary, reader.callbacks())  # type: ignore[arg-type]  # a TypedDict of theirs
        async with _Writer(reader) as writer:
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
        reader.form.close()  # the client went away, the disk is full, it is too large
        raise
    return reader.form


def too_large(max_bytes: int) -> Refusal:
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


class _Writer:
    """Hashes and writes, in a thread, what has come, while more comes: one block at a time, in order."""

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader
        self._writing: asyncio.Task[None] | None = None

    async def next(self) -> None:
        """Begin with what is pending, once what came before it is written."""
        await self._settle()
        file, block = self._reader.form.file, self._reader.taken()
        if file is not None and block:
            self._writing = asyncio.create_task(run_in_threadpool(file.write, block))

    async def _settle(self) -> None:
        """What is being written is waited for even by a request that is given up: its file is closed afterwards."""
        writing = self._writing
        if writing is None:
            return
        try:
            await asyncio.shield(writing)
        finally:
            if writing.done():
                self._writing = None

    async def __aenter__(self) -> _Writer:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._settle()


class _Reader:
    """The parser's callbacks. Bytes of the file gather in `pending`, for `_Writer`."""

    def __init__(self, contents: Contents, file_field: str, max_bytes: int) -> None:
        self.form = Form()
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

    def taken(self) -> bytearray:
        """What is pending, which is then the caller's to write."""
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
            raise Refusal(400, "A part of the form has too long a header.")

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
            self.form.file = self._contents.incoming()
            self.form.filename = filename or "file"
        elif name in self.form.fields:
            raise Refusal(400, f"The form has more than one '{name}'.", param=name)

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._name == self._file_field:
            self._received += end - start
            if self._received > self._max_bytes:
                raise too_large(self._max_bytes)
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
    """The part's name and its file's name, of which only what stands behind the last slash is kept."""
    message = Message()
    message["content-disposition"] = text
    name = message.get_param("name", header="content-disposition")
    filename = message.get_filename()
    if filename is not None:
        filename = filename.replace("\\", "/").rsplit("/", 1)[-1][:255]
    return (name if isinstance(name, str) else None), filename
