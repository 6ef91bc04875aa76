"""A redirect to another server: what was asked for may come from there, and nothing that is ours goes there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tuneport.backends.local.serving.server import ChatServerClient
from tuneport.errors import RejectedError
from tuneport.testing.contract import contract_job_token
from tuneport.testing.emulators import OpenAIEmulator, TogetherEmulator
from tuneport.testing.emulators.wire import EmulatedRequest, EmulatedResponse, EmulatorHTTPServer
from tuneport.types import PreparedData, TuneSpec

OPENAI, TOGETHER = "gpt-4.1-mini-2025-04-14", "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"
ELSEWHERE = "http://127.0.0.1:{0} redirects {1} .* to http://127.0.0.1:{2}, another server: nothing was sent there"


class Stranger:
    """Another server; it keeps whatever it is sent."""

    def __init__(self) -> None:
        self.got: list[EmulatedRequest] = []
        self.server = EmulatorHTTPServer(self._answer)
        self.url = f"http://127.0.0.1:{self.server.port}/taken?signature=s"

    def _answer(self, request: EmulatedRequest) -> EmulatedResponse:
        self.got.append(request)
        return EmulatedResponse(b"step,train_loss\n1,0.5\n", headers={"content-type": "text/csv"})


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    server = Stranger()
    yield server
    server.server.stop()


def redirect(emulator: Any, stranger: Stranger, path: str, status: int, method: str | None = None) -> None:
    emulator.fail("status", path=path, method=method, status=status, body={}, headers={"location": stranger.url})


def expected(emulator: Any, stranger: Stranger, method: str) -> str:
    return ELSEWHERE.format(emulator._port, method, stranger.server.port)


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("path", ["/files", "/fine_tuning/jobs", "/chat/completions"])
def test_openai_bodies_stay(
    openai: OpenAIEmulator, stranger: Stranger, connect: Callable[..., Any], data: PreparedData, path: str, status: int
) -> None:
    backend = connect(openai)
    spec = TuneSpec(model=OPENAI, dataset=data.training.path)
    redirect(openai, stranger, path, status, "POST")
    with pytest.raises(RejectedError, match=expected(openai, stranger, "POST")) as caught:
        if path == "/chat/completions":
            backend.complete(OPENAI, [{"role": "user", "content": "Hi"}])
        backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("t"))
    assert stranger.got == [] and "signature" not in str(caught.value) and "\n" not in str(caught.value)
    assert len(openai.requests("POST", path)) == 1 and openai.jobs_created == 0


def test_together_creation_with_a_key_in_it_stays(
    together: TogetherEmulator, stranger: Stranger, connect: Callable[..., Any], data: PreparedData
) -> None:
    backend = connect(together)
    spec = TuneSpec(model=TOGETHER, dataset=data.training.path)
    files = list(backend.prepare(spec, data))
    redirect(together, stranger, "/fine-tunes", 307, "POST")
    with pytest.raises(RejectedError, match=expected(together, stranger, "POST")):
        backend.submit(spec, files, token=contract_job_token("t"))
    assert stranger.got == [] and together.jobs_created == 0


@pytest.mark.parametrize("status", [301, 302, 307])
def test_together_storage_is_the_one_that_the_api_named(
    together: TogetherEmulator, stranger: Stranger, connect: Callable[..., Any], data: PreparedData, status: int
) -> None:
    """The address of the storage comes in a redirect, which is the API's way; the storage itself sends nobody on."""
    backend = connect(together)
    redirect(together, stranger, "/_storage/*", status, "PUT")
    with pytest.raises(RejectedError, match=expected(together, stranger, "PUT")):
        list(backend.prepare(TuneSpec(model=TOGETHER, dataset=data.training.path), data))
    assert stranger.got == []
    (file,) = backend.prepare(TuneSpec(model=TOGETHER, dataset=data.training.path), data)
    assert len(together.accepted_uploads) == 1 and file.bytes == data.training.bytes


def test_downloads_come_from_where_they_lie(
    openai: OpenAIEmulator, stranger: Stranger, connect: Callable[..., Any], tmp_path: Path
) -> None:
    backend = connect(openai)
    redirect(openai, stranger, "/files/*/content", 302)
    redirect(openai, stranger, "/files/*/content", 307)
    assert backend.save_file("file-1", tmp_path / "result.csv").read_text().startswith("step,")
    assert backend.read_file("file-1").startswith(b"step,")
    assert [request.method for request in stranger.got] == ["GET", "GET"]
    assert not any(openai.key in value for request in stranger.got for value in request.headers.values())


def test_prompts_for_a_local_server_stay(stranger: Stranger) -> None:
    sent_on = EmulatedResponse(status=307, headers={"location": stranger.url})
    first = EmulatorHTTPServer(lambda request: sent_on)
    server = ChatServerClient(f"http://127.0.0.1:{first.port}/v1", silence_seconds=5)
    with pytest.raises(
        RejectedError, match=f"redirects POST /v1/chat/completions .307. to http://127.0.0.1:{stranger.server.port}"
    ):
        server.complete("m", [{"role": "user", "content": "Hi"}], {})
    server.close()
    first.stop()
    assert stranger.got == []
