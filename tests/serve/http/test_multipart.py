"""Forms as clients send them, and forms that are none: what is read, and what is refused with which words."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
from starlette.requests import Request

from tuneport.lifecycle.contents.contents import Contents, IncomingContent
from tuneport.serve.http import multipart
from tuneport.serve.http.errors import Refusal
from tuneport.serve.http.multipart import MultipartForm, read_multipart_form

FORM = "multipart/form-data; boundary=B"
Read = Callable[..., MultipartForm]


def part(name: str, content: bytes, more: str = "") -> bytes:
    return f'--B\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + content + b"\r\n"


FILE = part("file", b"{}\n", '; filename="a.jsonl"')


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(content_type: str, body: bytes, *, block: int = 10, max_bytes: int = 1000) -> MultipartForm:
        blocks = iter([body[start : start + block] for start in range(0, len(body), block)])

        async def receive() -> dict[str, Any]:
            piece = next(blocks, None)
            return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

        headers = [(b"content-type", content_type.encode("latin-1"))]
        request = Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)
        contents = Contents(tmp_path, nullcontext)
        return asyncio.run(read_multipart_form(request, contents, file_field="file", max_bytes=max_bytes))

    return read


def kept(form: MultipartForm) -> bytes:
    assert form.file is not None
    form.file.flush()
    return form.file._contents.path(form.file.keep()).read_bytes()


@pytest.mark.parametrize("block", [1, 2, 7, 4096])
def test_a_form_is_the_same_in_whatever_blocks_it_comes(read: Read, block: int) -> None:
    content = b"\r\n--\r\n--C\r\n-\r--B\n" * 20
    body = part("purpose", "für alle".encode()) + part("file", content, '; filename="a.jsonl"') + part("empty", b"")
    form = read(FORM, b"\r\n" + body + b"--B--\r\n", block=block)
    assert form.fields == {"purpose": "für alle", "empty": ""}
    assert form.filename == "a.jsonl" and kept(form) == content


@pytest.mark.parametrize(
    "name", ["a.jsonl", "two words.jsonl", "数据.jsonl", "a;b=c.jsonl", "100%.jsonl", 'say "hi".jsonl']
)
def test_names_of_files_as_clients_write_them(read: Read, name: str) -> None:
    files: Any = {"file": (name, b"{}\n")}
    one, other = (
        httpx.Request("POST", "http://a", files=files),
        requests.Request("POST", "http://a", files=files).prepare(),
    )
    extended = part("file", b"{}\n", "; filename*=utf-8''" + "".join(f"%{byte:02X}" for byte in name.encode()))
    for content_type, body in (
        (one.headers["content-type"], one.read()),
        (other.headers["content-type"], other.body),
        (FORM, extended + b"--B--\r\n"),
    ):
        form = read(content_type, body)
        assert form.filename == name and kept(form) == b"{}\n"


@pytest.mark.parametrize("name", ["../../a.jsonl", "C:\\data\\a.jsonl", "..\\a.jsonl", "/etc/a.jsonl"])
def test_a_name_has_no_folders(read: Read, name: str) -> None:
    form = read(FORM, part("file", b"x", f'; filename="{name}"') + b"--B--\r\n")
    assert form.filename == "a.jsonl"
    form.close()


@pytest.mark.parametrize("boundary", ["----=_Part_0_1.2", '"----=_Part_0_1.2"'])
def test_a_boundary_may_lack_its_quotes(read: Read, boundary: str) -> None:
    body = (FILE + b"--B--\r\n").replace(b"--B", b"------=_Part_0_1.2")
    assert kept(read(f"multipart/form-data;charset=utf-8; boundary={boundary}", body)) == b"{}\n"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The form ends before its last part does; send it again."),
        (FILE, "The form ends before"),
        (FILE + b"--B-", "The form ends before"),
        (b"--B\r\nContent-Disposition: form-data\r\n\r\nx\r\n--B--\r\n", "A part of the form has no name."),
        (b"--B\r\nno header at all\r\n\r\nx\r\n--B--\r\n", "The form cannot be read: Malformed segment header."),
        (b"--B\r\nX-Long: " + b"x" * 9000, "The header of a part of the form is too long."),
        (b"--B\r\n" + b"X-Many: x\r\n" * 1000, "The header of a part of the form is too long."),
        (FILE + FILE + b"--B--\r\n", "The form has more than one 'file'."),
        (part("a", b"") + part("a", b"") + b"--B--\r\n", "The form has more than one 'a'."),
        (part("a", b"x" * 16_385) + b"--B--\r\n", "'a' is too long."),
        (b"".join(part(str(n), b"") for n in range(21)) + b"--B--\r\n", "The form has more than 20 parts."),
        (part("file", b"x" * 1001) + b"--B--\r\n", "The file is too large: at most 1,000 bytes."),
        (b"\r\n" * 200_000 + FILE + b"--B--\r\n", "The file is too large"),
        (FILE + b"--B--\r\n" + b"\r\n" * 200_000, "The file is too large"),
    ],
)
def test_what_is_no_form_is_refused_and_leaves_nothing(read: Read, tmp_path: Path, body: bytes, message: str) -> None:
    with pytest.raises(Refusal) as caught:
        read(FORM, body, block=1000)
    told = caught.value.body()["error"]["message"]
    assert told.startswith(message), told
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_slow_disk_gets_the_blocks_in_their_order(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    write, waits = IncomingContent.write, iter([0.2, 0.1, 0.0])

    def slow(file: IncomingContent, block: bytes) -> None:
        time.sleep(next(waits))
        write(file, block)

    monkeypatch.setattr(IncomingContent, "write", slow)
    content = bytes(range(256)) * 10_000  # three blocks
    form = read(FORM, part("file", content) + b"--B--\r\n", block=65_536, max_bytes=len(content))
    assert kept(form) == content and list(waits) == []


def test_limits_are_the_largest_that_pass(read: Read) -> None:
    body = b"".join(part(str(n), b"x" * multipart.MAX_FIELD_BYTES) for n in range(19)) + part("file", b"x" * 1000)
    form = read(FORM, body + b"--B--\r\n", block=4096)
    assert len(form.fields) == 19 and len(kept(form)) == 1000


@pytest.mark.parametrize(
    "kind", ["application/json", "multipart/form-data", "multipart/mixed; boundary=B", FORM + "x" * 200]
)
def test_other_types_are_no_forms(read: Read, kind: str) -> None:
    with pytest.raises(Refusal, match="multipart/form-data with a boundary"):
        read(kind, FILE + b"--B--\r\n")
