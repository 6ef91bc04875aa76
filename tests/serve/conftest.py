"""A gateway that listens on loopback, and a record of all that it was asked and answered."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.emulators.faults import Exchange
from tests.serve.refusals import complaints
from tuneport.cli.serve import with_stand_ins
from tuneport.jobs.store import Store
from tuneport.settings import Settings
from tuneport.types import DataFile, PreparedData, TuneSpec

pytest.importorskip("fastapi", reason="the gateway is an extra: pip install 'tuneport[serve]'")

import uvicorn

from tuneport.serve import Gateway, create_app

OLD_MODEL = "gpt-4o-mini-2024-07-18"
PATIENCE_SECONDS = 240.0


@dataclass
class Running:
    url: str
    gateway: Gateway
    exchanges: list[Exchange] = field(default_factory=list)

    def client(self, **options: Any) -> Any:
        import openai

        return openai.OpenAI(base_url=self.url, api_key="any", max_retries=0, **options)


@contextmanager
def serving(gateway: Gateway, *, background: bool = True, port: int = 0) -> Iterator[Running]:
    listening = socket.create_server(("127.0.0.1", port))
    running = Running(f"http://127.0.0.1:{listening.getsockname()[1]}/v1", gateway)
    app = _recorded(create_app(gateway), running.exchanges)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    if background:
        gateway.start()
    try:
        yield running
    finally:
        gateway.let_go()
        server.should_exit = True
        thread.join(timeout=20)
        listening.close()
        gateway.close(patience=10)
    assert complaints(running.exchanges) == []


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Running]]:
    """Starts a gateway with the settings of the working folder; `stand_ins` is what `--map` takes."""
    monkeypatch.setattr("tuneport.serve.gateway.HURRY_SECONDS", 0.2)
    monkeypatch.setattr("tuneport.serve.gateway.HURRY_REMOTE_SECONDS", 0.2)
    with ExitStack() as stack:

        def start(*stand_ins: str, background: bool = True, **options: Any) -> Running:
            gateway = Gateway(with_stand_ins(Settings.load(), list(stand_ins)), **options)
            return stack.enter_context(serving(gateway, background=background))

        yield start


def until(condition: Callable[[], Any], *, pause: float = 0.2) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(pause)
    return found


def ended(client: Any, job_id: str) -> Any:
    """The job once it has ended."""

    def look() -> Any:
        job = client.fine_tuning.jobs.retrieve(job_id)
        return job if job.status in ("succeeded", "failed", "cancelled") else None

    return until(look)


def open_job(store: Store) -> str:
    """A job that nobody drives, with no event so far."""
    data = DataFile(path=Path("none.jsonl"), sha256="0" * 64, format="openai", rows=10, bytes=100)
    spec = TuneSpec(model="stand-in", dataset=Path("none.jsonl"))
    row = store.add_job(spec, PreparedData(training=data), backend="fake", model="stand-in", quote=None)
    assert store.claim(row.id, "the test", seconds=600) is not None
    return row.id


def chats(path: Path, count: int = 10) -> Path:
    from tests.data.rows import write
    from tests.train.tiny import chat_rows

    return write(path, chat_rows(count))


def _recorded(app: Any, exchanges: list[Exchange]) -> Any:
    async def recording(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        asked, told, answer = bytearray(), bytearray(), {}

        async def receive_too() -> Any:
            message = await receive()
            asked.extend(message.get("body", b""))
            return message

        async def send_too(message: Any) -> None:
            if message["type"] == "http.response.start":
                answer.update(message)
            told.extend(message.get("body", b""))
            await send(message)

        await app(scope, receive_too, send_too)
        exchanges.append(
            Exchange(
                method=scope["method"],
                path=scope["path"],
                query={},
                request_headers={name.decode(): value.decode() for name, value in scope["headers"]},
                request_body=bytes(asked),
                status=answer.get("status"),
                response_headers={name.decode(): value.decode() for name, value in answer.get("headers", [])},
                response_body=bytes(told),
                fault=None,
            )
        )

    return recording
