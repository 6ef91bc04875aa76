"""`tuneport serve` as a process: it dies at any moment, and what clients were promised is there afterwards."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.commands import Run

pytest.importorskip("fastapi", reason="the gateway is an extra: pip install 'tuneport[serve]'")
openai = pytest.importorskip("openai", reason="the client of these tests: pip install 'tuneport[openai]'")

import httpx  # noqa: E402

from tests.support.gateways import OLD_MODEL, chats, ended, open_job  # noqa: E402
from tests.support.streaming import blocks  # noqa: E402
from tests.support.waiting import until  # noqa: E402
from tuneport.lifecycle.store.store import Store  # noqa: E402
from tuneport.settings import Settings  # noqa: E402
from tuneport.types import JobEvent, now  # noqa: E402


class Process:
    """The command, and where it listens."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tuneport.cli.main", "serve", "--port", "0", "--json"]
        command += ["--map", f"{OLD_MODEL}=stand-in"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        text = ""
        while "}" not in text:
            line = self.process.stdout.readline()
            assert line, self.process.communicate()
            text += line
        self.url = json.loads(text)["base_url"]
        self.client = openai.OpenAI(base_url=self.url, api_key="any", max_retries=0)
        until(self._answers)

    def _answers(self) -> bool:
        try:
            return bool(self.client.models.list())
        except openai.APIConnectionError:
            return False

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=120)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("TUNEPORT_BACKEND", "fake")
    processes: list[Process] = []

    def start() -> Process:
        processes.append(Process())
        return processes[-1]

    yield start
    for running in processes:
        if running.process.poll() is None:
            running.process.kill()
        running.process.communicate()


@pytest.mark.full
def test_killed_at_once_it_forgets_no_job_and_doubles_none(started: Any, tmp_path: Path) -> None:
    first = started()
    file = first.client.files.create(file=chats(tmp_path / "c.jsonl"), purpose="fine-tune")
    jobs = [first.client.fine_tuning.jobs.create(model=OLD_MODEL, training_file=file.id).id for _ in range(4)]
    time.sleep(0.05)
    assert first.end(signal.SIGKILL) == -signal.SIGKILL

    second = started()
    assert [row.id for row in second.client.fine_tuning.jobs.list()] == jobs[::-1]
    for job in jobs:
        assert ended(second.client, job).status == "succeeded"
    assert second.end(signal.SIGTERM) == 0
    remote = list((tmp_path / "home" / "fake" / "jobs").glob("*.json"))
    assert len(remote) == len(jobs), "each was started once over there"


@pytest.mark.full
def test_watchers_of_a_job_miss_and_repeat_no_event_when_it_dies(started: Any, settings: Settings) -> None:
    """Events are written all the while; the gateway is killed in the middle of a stream, and started again."""
    store = Store(settings.database_url).unscoped()
    job_id = open_job(store)
    enough = threading.Event()
    written: list[str] = []

    def write() -> None:
        while not enough.wait(0.01):
            event = JobEvent(id=f"number {len(written) + 1}", created_at=now(), message=f"number {len(written) + 1}")
            store.events.add(job_id, [event], origin="tuneport")
            written.append(event.message)

    def address() -> str:
        return str(running.url.removesuffix("/v1")) + f"/tuneport/v1/jobs/{job_id}/events"

    writer = threading.Thread(target=write)
    writer.start()
    running, read, lives = started(), [], 1
    while not enough.is_set() or len(read) < len(written):
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(len(read))}
        most = len(read) + 40
        with suppress(httpx.TransportError), httpx.stream("GET", address(), headers=headers, timeout=60) as answer:
            assert answer.status_code == 200
            for row in blocks(answer.iter_lines()):
                if row.event == "message":
                    read.append(row.data["message"])
                    assert row.id == str(len(read))
                if len(read) == most and lives < 3:
                    running.end(signal.SIGKILL)
                elif len(read) >= most and lives == 3 and not enough.is_set():
                    enough.set()
                    writer.join()
                if len(read) == len(written) and enough.is_set():
                    break
        if running.process.poll() is not None:
            running, lives = started(), lives + 1
    assert read == written and lives == 3
    with httpx.stream("GET", address(), headers={"Accept": "text/event-stream"}, timeout=60) as answer:
        lines = answer.iter_lines()
        next(lines)
        assert running.end(signal.SIGTERM) == 0, "a stream keeps no gateway from ending"
        assert [row for row in blocks(lines) if row.event == "end"] == [], "the client comes back to the next one"
    store.close()


@pytest.mark.full
def test_sigterm_lets_an_upload_and_a_job_finish_what_they_are_at(started: Any, tmp_path: Path) -> None:
    first = started()
    data = chats(tmp_path / "c.jsonl", 200).read_bytes()
    file = first.client.files.create(file=("c.jsonl", data), purpose="fine-tune")
    head = b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n--x\r\n'
    head += b'Content-Disposition: form-data; name="file"; filename="half.jsonl"\r\n\r\n'
    body, port = head + data + b"\r\n--x--\r\n", urlsplit(first.url).port
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(
            f"POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        )
        connection.sendall(body[: len(body) // 2])
        job = first.client.fine_tuning.jobs.create(model=OLD_MODEL, training_file=file.id).id
        first.process.send_signal(signal.SIGTERM)
        until(lambda: not _accepts(port), pause=0.05)  # nothing new is taken
        assert first.process.poll() is None, "the upload is still on its way"
        connection.sendall(body[len(body) // 2 :])
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert first.process.wait(timeout=60) == 0
    uploaded = json.loads(answer.partition(b"\r\n\r\n")[2])["id"]

    second = started()
    assert second.client.files.content(uploaded).read() == data
    assert ended(second.client, job).status == "succeeded"
    assert second.end(signal.SIGTERM) == 0
    assert len(list((tmp_path / "home" / "fake" / "jobs").glob("*.json"))) == 1


def _accepts(port: int | None) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_it_listens_here_only_and_says_what_is_wrong(run: Run) -> None:
    code, document, _ = run("serve", "--host", "0.0.0.0", "--json")
    assert code == 2 and "`tuneport token create NAME` first" in document["error"]["message"]
    code, document, _ = run("serve", "--require-token", "--json")
    assert code == 2 and "`tuneport token create NAME` first" in document["error"]["message"]
    assert run("token", "create", "gone")[0] == 0 and run("token", "revoke", "gone")[0] == 0
    code, document, _ = run("serve", "--host", "0.0.0.0", "--json")
    assert code == 2 and "token create" in document["error"]["message"], "a revoked one lets nobody in"
    code, document, _ = run("serve", "--host", "0.0.0.0", "--no-require-token", "--json")
    assert code == 2 and "--no-require-token is for this machine only" in document["error"]["message"]
    code, document, _ = run("serve", "--map", "nonsense", "--json")
    assert code == 2 and "--map" in document["error"]["message"]


def test_a_port_in_use_is_one_line(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, document, _ = run("serve", "--port", str(taken.getsockname()[1]), "--json")
    assert code == 2 and "--port" in document["error"]["message"]
