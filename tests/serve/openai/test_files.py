"""Files and uploads: what is kept is what was sent, whole or not at all."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.support.gateways import Running
from tests.support.waiting import until
from tuneport.serve import background
from tuneport.serve.openai import files

openai = pytest.importorskip("openai", reason="the client of these tests: pip install 'tuneport[openai]'")


@pytest.fixture
def running(serve: Callable[..., Running]) -> Running:
    return serve(background=False)


def contents(running: Running) -> list[Path]:
    return [path for path in running.gateway.contents.folder.rglob("*") if path.is_file() and path.name != "lock"]


def test_pages_by_cursor_in_both_orders(running: Running) -> None:
    client = running.client()
    made = [client.files.create(file=(f"{n}.jsonl", b"{}\n" * (n + 1)), purpose="fine-tune").id for n in range(5)]
    assert [row.id for row in client.files.list(limit=2)] == made[::-1]
    assert [row.id for row in client.files.list(limit=2, order="asc")] == made
    page = client.files.list(limit=2)
    assert page.has_more and (page.first_id, page.last_id) == (made[4], made[3])
    assert client.files.list(purpose="fine-tune-results").data == []


def test_content_is_kept_once_and_as_long_as_it_is_needed(running: Running) -> None:
    client = running.client()
    first, second = (client.files.create(file=(name, b"{}\n"), purpose="fine-tune") for name in ("a.jsonl", "b.jsonl"))
    assert len(contents(running)) == 1
    client.files.delete(first.id)
    assert client.files.content(second.id).read() == b"{}\n"
    client.files.delete(second.id)
    assert contents(running) == []


@pytest.mark.parametrize(
    ("file", "purpose", "message"),
    [
        (("a.csv", b"x"), "fine-tune", "Must be .jsonl"),
        (("a.jsonl", b""), "fine-tune", "is empty"),
        (("a.jsonl", b"{}"), "assistants", "is not one of"),
    ],
)
def test_refused_files_leave_nothing(running: Running, file: tuple[str, bytes], purpose: str, message: str) -> None:
    with pytest.raises(openai.BadRequestError, match=message):
        running.client().files.create(file=file, purpose=purpose)  # type: ignore[arg-type]
    assert contents(running) == []


def test_no_path_of_a_client_reaches_the_disk(running: Running) -> None:
    client = running.client()
    for name in ("../../etc/passwd.jsonl", "..\\..\\boot.jsonl", "/etc/cron.d/x.jsonl"):
        row = client.files.create(file=(name, b"{}\n"), purpose="fine-tune")
        assert "/" not in row.filename and "\\" not in row.filename
    assert [path.parent.parent for path in contents(running)] == [running.gateway.contents.folder]
    # As it is sent, without a client's own tidying: an id is looked up in the store and never made a path.
    for target in (
        "/v1/files/..%2f..%2ftuneport.db/content",
        "/v1/files/../../tuneport.db",
        "/v1/files/..%5c../content",
    ):
        assert _raw(running, f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").startswith("HTTP/1.1 404")


def _raw(running: Running, request: str) -> str:
    host, port = running.url.split("/")[2].split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(request.encode())
        return connection.recv(65_536).decode()


def test_too_large_is_told_and_leaves_nothing(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 1_000_000)
    body = b"{}\n" * 700_000

    def pieces():  # type: ignore[no-untyped-def]
        yield b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    answer = httpx.post(f"{running.url}/files", content=pieces(), headers=headers)  # of no stated length
    assert answer.status_code == 413 and "in parts" in answer.json()["error"]["message"]
    assert contents(running) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--B\r\nno header at all",
        b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{}\n',  # cut off
        b"--B\r\nContent-Disposition: form-data\r\n\r\nx\r\n--B--\r\n",
        b'--B\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n--B--\r\n',  # without a file
    ],
)
def test_forms_that_are_none(running: Running, body: bytes) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    answer = httpx.post(f"{running.url}/files", content=body, headers=headers)
    assert answer.status_code == 400 and answer.json()["error"]["type"] == "invalid_request_error"
    assert contents(running) == []


def test_upload_in_parts(running: Running) -> None:
    client = running.client()
    body = b'{"messages": []}\n' * 1000
    upload = client.uploads.create(bytes=len(body), filename="a.jsonl", mime_type="text/jsonl", purpose="fine-tune")
    second = client.uploads.parts.create(upload.id, data=body[5000:])
    first = client.uploads.parts.create(upload.id, data=body[:5000])
    with pytest.raises(openai.BadRequestError, match="md5"):
        client.uploads.complete(upload.id, part_ids=[first.id, second.id], md5="0" * 32)
    with pytest.raises(openai.BadRequestError, match="bytes"):
        client.uploads.complete(upload.id, part_ids=[first.id])
    digest = hashlib.md5(body).hexdigest()
    done = client.uploads.complete(upload.id, part_ids=[first.id, second.id], md5=digest)
    assert done.status == "completed" and client.files.content(done.file.id).read() == body
    again = client.uploads.complete(upload.id, part_ids=[first.id, second.id], md5=digest)
    assert again.file.id == done.file.id, "asked again, as after a lost answer"
    with pytest.raises(openai.BadRequestError, match="completed"):
        client.uploads.cancel(upload.id)
    background.remove_unneeded_gateway_files(running.gateway)
    assert len(contents(running)) == 1, "the parts are gone"


def test_cancelled_and_expired_uploads_leave_nothing(running: Running) -> None:
    client = running.client()
    upload = client.uploads.create(bytes=3, filename="a.jsonl", mime_type="text/jsonl", purpose="fine-tune")
    client.uploads.parts.create(upload.id, data=b"{}\n")
    assert client.uploads.cancel(upload.id).status == "cancelled"
    late = running.gateway.unscoped.store.uploads.add(
        filename="a.jsonl", purpose="fine-tune", bytes=3, file_seconds=None, upload_seconds=0
    )
    with pytest.raises(openai.BadRequestError, match="expired"):
        client.uploads.parts.create(late.id, data=b"{}\n")
    background.remove_unneeded_gateway_files(running.gateway)
    assert contents(running) == []


def test_a_file_that_expires_is_gone(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    client = running.client()
    row = client.files.create(
        file=("a.jsonl", b"{}\n"), purpose="fine-tune", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert row.expires_at == row.created_at + 3600
    with pytest.raises(openai.BadRequestError, match="3600"):
        client.files.create(
            file=("a.jsonl", b"{}\n"), purpose="fine-tune", expires_after={"anchor": "created_at", "seconds": 5}
        )
    from datetime import timedelta

    from tuneport.lifecycle.store.files import uploaded

    later = uploaded.now() + timedelta(seconds=3601)
    monkeypatch.setattr(uploaded, "now", lambda: later)
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(row.id)
    background.remove_unneeded_gateway_files(running.gateway)
    assert contents(running) == []


def test_a_client_that_goes_away_leaves_nothing(running: Running) -> None:
    host, port = running.url.split("/")[2].split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n"
            b"Content-Type: multipart/form-data; boundary=B\r\n\r\n"
            b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{}\n'
        )
        until(lambda: contents(running), pause=0.05)
    until(lambda: not contents(running), pause=0.05)


def test_a_content_without_a_row_is_removed_in_time(running: Running) -> None:
    """What a process left that died between a file's arrival and its row, or between a row's end and its file's."""
    import os

    client, store = running.client(), running.gateway.contents
    kept = client.files.create(file=("a.jsonl", b"{}\n"), purpose="fine-tune")
    with store.open_incoming() as incoming:
        incoming.write(b"nobody's\n")
        incoming.flush()
        orphan = incoming.keep()
    background.remove_unneeded_gateway_files(running.gateway)
    assert store.has_content(orphan), "it may be on its way to a row"
    for path in contents(running):
        os.utime(path, (0, 0))
    background.remove_unneeded_gateway_files(running.gateway)
    assert not store.has_content(orphan) and client.files.content(kept.id).read() == b"{}\n"
