"""How fast a form with a file of 200 MB is read, and how many clients' forms are read wrongly.

The file comes in blocks of 64 KiB, as from a socket, and goes nowhere or to the disk, hashed. The forms are those that
`httpx`, `requests` and `aiohttp` make of 12 file names. `PYTHONPATH=TREE/src python benchmarks/libraries/multipart_forms.py`
prints one line of JSON.
"""  # noqa: E501

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import requests
from starlette.requests import Request

from tuneport.lifecycle.contents.contents import Contents
from tuneport.serve.http.multipart import MultipartForm, read_multipart_form

files = ["src/tuneport/serve/http/multipart.py"]
MEGABYTES, BLOCK = 200, 65_536
NAMES = [
    "a.jsonl", "two words.jsonl", "Zoë.jsonl", "数据.jsonl", "a;b.jsonl", "a=b.jsonl", "100%.jsonl", "it's.jsonl",
    "(1) [2].jsonl", "a, b.jsonl", "ünï;cödé.jsonl", 'say "hi".jsonl',
]  # fmt: skip


class Nowhere:
    """Contents that keep nothing."""

    bytes = 0

    def open_incoming(self) -> Nowhere:
        return self

    def write(self, piece: bytes) -> None:
        self.bytes += len(piece)

    def __exit__(self, *exception: object) -> None:
        pass


def request(content_type: str, blocks: list[bytes]) -> Request:
    coming = iter(blocks)

    async def receive() -> dict[str, Any]:
        block = next(coming, None)
        return {"type": "http.request", "body": block or b"", "more_body": block is not None}

    headers = [(b"content-type", content_type.encode())]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)


async def read(content_type: str, blocks: list[bytes], contents: Any) -> MultipartForm:
    form = await read_multipart_form(
        request(content_type, blocks), contents, file_field="file", max_bytes=MEGABYTES * 2**20
    )
    form.close()
    return form


def megabytes_a_second(contents: Any) -> float:
    head = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
    line = json.dumps({"messages": [{"role": "user", "content": "a question of some length " * 8}]}).encode()
    body = head + (line + b"\r\n") * (MEGABYTES * 1_000_000 // (len(line) + 2)) + b"\r\n--B--\r\n"
    blocks = [body[start : start + BLOCK] for start in range(0, len(body), BLOCK)]
    taken = []
    for _ in range(3):
        started = time.perf_counter()
        asyncio.run(read("multipart/form-data; boundary=B", blocks, contents))
        taken.append(time.perf_counter() - started)
    return len(body) / 1e6 / min(taken)


class Written(aiohttp.abc.AbstractStreamWriter):
    """Keeps what `aiohttp` would send."""

    def __init__(self) -> None:
        self.sent = io.BytesIO()

    async def write(self, chunk: Any) -> None:
        self.sent.write(chunk)

    async def write_eof(self, chunk: bytes = b"") -> None: ...
    async def drain(self) -> None: ...
    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None: ...
    def enable_chunking(self) -> None: ...
    async def write_headers(self, status_line: str, headers: Any) -> None: ...


async def client_forms(name: str) -> AsyncIterator[tuple[str, bytes]]:
    parts: Any = {"file": (name, b"{}\r\n", "application/jsonl")}
    for made in (
        httpx.Request("POST", "http://a", files=parts),
        requests.Request("POST", "http://a", files=parts).prepare(),
    ):
        body = made.read() if isinstance(made, httpx.Request) else made.body
        yield made.headers["content-type"], body
    data = aiohttp.FormData(quote_fields=False)  # else every character is quoted, and nobody can tell
    data.add_field("file", b"{}\r\n", filename=name)
    payload, written = data(), Written()
    await payload.write(written)
    yield payload.content_type, written.sent.getvalue()


async def count_wrong() -> tuple[int, int]:
    wrong = total = 0
    for name in NAMES:
        async for content_type, body in client_forms(name):
            total += 1
            contents = Nowhere()
            form = await read(content_type, [bytes([byte]) for byte in body], contents)
            wrong += form.filename != name or contents.bytes != 4
    return wrong, total


with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
    wrong, total = asyncio.run(count_wrong())
    measures = {
        f"file names read wrongly, of {total}": wrong,
        "MB a second": round(megabytes_a_second(Nowhere())),
        "MB a second, hashed and written": round(megabytes_a_second(Contents(Path(folder), contextlib.nullcontext))),
    }
print(json.dumps({"part": "multipart forms", "measures": measures}))
