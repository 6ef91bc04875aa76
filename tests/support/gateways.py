"""A gateway that listens on loopback, and a record of all that it was asked and answered."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event

from tests.support.waiting import until
from tuneport.lifecycle.schema.tables import JobRow
from tuneport.lifecycle.worker.poll_interval import PollTiming
from tuneport.serve.timing import GatewayTiming
from tuneport.settings import Settings
from tuneport.testing.emulators.faults import EmulatorExchange
from tuneport.types import DataFile, PreparedData, TuneSpec, now

if TYPE_CHECKING:
    from tuneport.lifecycle.store.store import Store
    from tuneport.serve import Gateway

OLD_MODEL = "gpt-4o-mini-2024-07-18"
SOON = GatewayTiming(poll_requested=0.2, poll_requested_remote=0.2, polling=PollTiming(first_rest=0.2))
"""For tests that watch a job through the gateway."""


@dataclass
class Running:
    url: str
    gateway: Gateway
    exchanges: list[EmulatorExchange] = field(default_factory=list)

    def client(self, **options: Any) -> Any:
        import openai

        return openai.OpenAI(base_url=self.url, api_key="any", max_retries=0, **options)


@contextmanager
def serving(gateway: Gateway, *, background: bool = True, port: int = 0) -> Iterator[Running]:
    import uvicorn

    from tests.support.refusals import complaints
    from tuneport.serve import create_app
    from tuneport.serve.background import start_gateway_threads as start_background

    listening = socket.create_server(("127.0.0.1", port))
    running = Running(f"http://127.0.0.1:{listening.getsockname()[1]}/v1", gateway)
    app = _recorded(create_app(gateway), running.exchanges)
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, log_level="error", lifespan="off", timeout_graceful_shutdown=5)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    if background:
        start_background(gateway)
    try:
        yield running
    finally:
        gateway.begin_shutdown()
        server.should_exit = True
        thread.join(timeout=20)
        listening.close()
        gateway.close(patience=10)
    assert complaints(running.exchanges) == []


@pytest.fixture
def serve() -> Iterator[Callable[..., Running]]:
    """Starts a gateway with the settings of the working folder; `stand_ins` is what `--map` takes."""
    pytest.importorskip("fastapi", reason="the gateway is an extra: pip install 'tuneport[serve]'")
    from tuneport.cli.commands.serve import apply_map_option
    from tuneport.serve import Gateway

    with ExitStack() as stack:

        def start(*stand_ins: str, background: bool = True, **options: Any) -> Running:
            gateway = Gateway(apply_map_option(Settings.load(), list(stand_ins)), **{"timing": SOON} | options)
            return stack.enter_context(serving(gateway, background=background))

        yield start


@pytest.fixture
def running(serve: Callable[..., Running], monkeypatch: pytest.MonkeyPatch) -> Running:
    """A gateway whose jobs go to the fake backend, where a test drives them: it takes up none by itself."""
    monkeypatch.setenv("TUNEPORT_BACKEND", "fake")
    return serve(f"{OLD_MODEL}=stand-in", background=False)


def ended(client: Any, job_id: str) -> Any:
    """The job once it has ended."""

    def look() -> Any:
        job = client.fine_tuning.jobs.retrieve(job_id)
        return job if job.status in ("succeeded", "failed", "cancelled") else None

    return until(look, pause=0.2)


def open_job(store: Store) -> str:
    """A job that nobody drives, with no event so far: it is held from the moment that it exists, since a gateway's
    poller takes up any other within milliseconds."""
    data = DataFile(path=Path("none.jsonl"), sha256="0" * 64, format="openai", rows=10, bytes=100)
    spec = TuneSpec(model="stand-in", dataset=Path("none.jsonl"))

    def hold(_mapper: object, _connection: object, row: JobRow) -> None:
        for column, value in store.leases.holder_values("the test", now(), 600).items():
            setattr(row, column, value)

    event.listen(JobRow, "before_insert", hold)
    try:
        row = store.jobs.add(spec, PreparedData(training=data), backend="fake", model="stand-in", quote=None)
    finally:
        event.remove(JobRow, "before_insert", hold)
    assert store.jobs.get(row.id).lease_owner == "the test"
    return row.id


def chats(path: Path, count: int = 10) -> Path:
    from tests.support.rows import write
    from tests.support.tiny import chat_rows

    return write(path, chat_rows(count))


def _recorded(app: Any, exchanges: list[EmulatorExchange]) -> Any:
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
            EmulatorExchange(
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
