"""A request ends: a server that sends a byte now and then is given up, and one that is slow but of use is not."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.drip import MODES, answering_slowly, dripping
from tests.support.emulated import CLASSES, KEYS, settings_for
from tests.support.folders import FIXTURES
from tests.support.waiting import until
from tuneport.backends.hosted.http import deadlines
from tuneport.backends.hosted.http.deadlines import SHORTEST_SECONDS, ProviderRequestDeadline, limit_requests_in_total
from tuneport.backends.local.serving.server import ChatServerClient
from tuneport.errors import UnavailableError
from tuneport.lifecycle.webhooks.endpoints import WebhookEndpoint
from tuneport.lifecycle.webhooks.posting import post_webhook
from tuneport.manifests import load_manifest
from tuneport.testing.contract import contract_job_token, prepared_chats
from tuneport.types import RemoteFile, TuneSpec

TRAIN = FIXTURES / "datasets" / "support_intents.train.jsonl"
CHAT = [{"role": "user", "content": "Hi"}]
GIVEN_UP = "gave no answer within the time limit"
MOST = 5.0  # seconds; the limits below are some tenths


@pytest.fixture
def opened() -> Iterator[Callable[..., Any]]:
    """A backend that talks to an address. Its pauses between tries are left out."""
    backends = []

    def open_one(name: str, origin: str, **options: Any) -> Any:
        settings = settings_for(name, f"{origin}/v1", key=KEYS[name], **options)
        backend = CLASSES[name](load_manifest(name), settings, sleep=lambda seconds: None)
        backends.append(backend)
        return backend

    yield open_one
    for backend in backends:
        backend.close()


@pytest.mark.parametrize("mode", MODES)
def test_nobody_knows_what_became_of_a_creation_whose_answer_drips(
    opened: Callable[..., Any], mode: str, tmp_path: Path
) -> None:
    with dripping(mode) as server:
        backend = opened("openai", server.origin, timeout=0.3)
        spec = TuneSpec(model="gpt-4.1-mini-2025-04-14", dataset=prepared_chats(tmp_path).training.path)
        files = [RemoteFile(id="file-1", purpose="training", sha256="", filename="", bytes=1)]
        began = time.monotonic()
        with pytest.raises(UnavailableError, match=GIVEN_UP):
            backend.submit(spec, files, token=contract_job_token("t"))
        assert time.monotonic() - began < MOST and len(server.asked) == 1


@pytest.mark.parametrize("mode", MODES)
def test_a_read_that_drips_is_given_up(opened: Callable[..., Any], mode: str) -> None:
    with dripping(mode) as server:
        began = time.monotonic()
        with pytest.raises(UnavailableError, match=GIVEN_UP):
            opened("together", server.origin, timeout=0.1).fetch("ft-1")
        assert time.monotonic() - began < MOST


def test_a_download_and_a_chat_that_drip_are_given_up(opened: Callable[..., Any], tmp_path: Path) -> None:
    target = tmp_path / "results" / "result.csv"
    target.parent.mkdir()
    with dripping("body", content_type="application/octet-stream") as server:
        with pytest.raises(UnavailableError, match=GIVEN_UP):
            opened("openai", server.origin, timeout=0.1).save_file("file-1", target)
    with dripping("body", content_type="text/event-stream") as server:
        pieces = opened("openai", server.origin, completion_timeout=0.3).complete("m", CHAT, stream=True)
        began = time.monotonic()
        with pytest.raises(UnavailableError, match=GIVEN_UP):
            list(pieces)
        assert time.monotonic() - began < MOST
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize(("name", "mode"), [("openai", "lines"), ("openai", "events"), ("together", "lines")])
def test_a_read_that_is_called_a_stream_is_given_up(opened: Callable[..., Any], name: str, mode: str) -> None:
    """Nobody asked for one: the server's word for its answer switches no limit off."""
    with dripping(mode, content_type="text/event-stream") as server:
        began = time.monotonic()
        with pytest.raises(UnavailableError, match=GIVEN_UP):
            opened(name, server.origin, timeout=0.1).fetch("ftjob-1")
        assert time.monotonic() - began < MOST


@pytest.mark.parametrize("mode", ["lines", "comments"])
def test_a_stream_of_lines_that_are_no_events_is_given_up(opened: Callable[..., Any], mode: str) -> None:
    with dripping(mode, content_type="text/event-stream") as server:
        pieces = opened("openai", server.origin, completion_timeout=0.3).complete("m", CHAT, stream=True)
        began = time.monotonic()
        with pytest.raises(UnavailableError, match=GIVEN_UP):
            list(pieces)
        assert time.monotonic() - began < MOST


def test_a_stream_of_events_ends(opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "MOST_STREAM_SECONDS", 0.6)
    with dripping("events", content_type="text/event-stream") as server:
        pieces = opened("openai", server.origin, completion_timeout=0.3).complete("m", CHAT, stream=True)
        began = time.monotonic()
        with pytest.raises(UnavailableError, match=GIVEN_UP):
            list(pieces)
        assert 0.5 < time.monotonic() - began < MOST


def test_an_event_that_comes_in_two_parts_is_progress() -> None:
    allowance = ProviderRequestDeadline(1.0)
    allowance.expect_event_stream(encoded=False)
    for part, progress in (
        (b"da", False),
        (b"ta: {}", True),
        (b"\n\n: data:\n", False),
        (b"data", False),
        (b":", True),
    ):
        allowance._waited = 0.5
        allowance.count_received_bytes(part)
        assert (allowance._waited == 0.0) is progress, part


def test_a_stream_may_take_as_long_as_lines_come(openai: Any, opened: Callable[..., Any]) -> None:
    openai.fail("drip", path="/chat/completions", seconds=16 * 0.1)  # between one event and the next
    backend = opened("openai", openai.origin, completion_timeout=0.5)
    began = time.monotonic()
    assert "".join(
        backend.complete("gpt-4.1-mini-2025-04-14", [{"role": "user", "content": "one two three"}], stream=True)
    )
    assert time.monotonic() - began > 0.5


def test_a_slow_download_is_not_cut_off(opened: Callable[..., Any], tmp_path: Path) -> None:
    """It takes three times the limit of an answer, and moves all the while."""
    with answering_slowly(b"y" * 300_000, content_type="text/csv", write_rate=300_000) as origin:
        target = opened("openai", origin, timeout=0.3).save_file("file-1", tmp_path / "result.csv")
        assert target.stat().st_size == 300_000


@pytest.mark.full
def test_a_slow_upload_is_not_cut_off(opened: Callable[..., Any]) -> None:
    """The same; the system sends up to 2.5 MB by itself, while the client already waits for the answer."""
    answer = json.dumps({"id": "file-1", "object": "file", "bytes": 1}).encode()
    with answering_slowly(answer, content_type="application/json", read_rate=2_000_000) as origin:
        backend = opened("openai", origin, timeout=10)
        began = time.monotonic()
        made = backend.client.files.create(file=("x.jsonl", b"x" * 30_000_000), purpose="fine-tune")
        assert made.id == "file-1" and time.monotonic() - began > 12


def test_tries_of_one_read_share_a_minute() -> None:
    assert ProviderRequestDeadline(50).seconds == 50
    with limit_requests_in_total(30):
        assert 29 < ProviderRequestDeadline(50).seconds <= 30 and ProviderRequestDeadline(5).seconds == 5
    with limit_requests_in_total(1):
        assert ProviderRequestDeadline(50).seconds == SHORTEST_SECONDS
    assert ProviderRequestDeadline(50).seconds == 50


def test_servers_of_local_models_and_receivers_of_webhooks_are_given_up() -> None:
    with dripping("head") as server:
        asking = ChatServerClient(f"{server.origin}/v1", silence_seconds=0.3, look_seconds=0.3)
        for ask in (asking.list_models, lambda: asking.complete("m", CHAT, {})):
            with pytest.raises(UnavailableError, match="cannot be reached: "):
                ask()
        asking.close()
        import asyncio

        endpoint = WebhookEndpoint("here", server.origin, b"k" * 32, (), allow_private=True)
        outcome = asyncio.run(post_webhook(endpoint, "id", b"{}", most_seconds=0.3))
        assert not outcome.delivered and "did not answer within" in (outcome.error or "")


@pytest.mark.full
def test_every_command_answers_within_a_minute_of_its_first_request(isolated: Path) -> None:
    """By default settings, each in a process of its own, all at once: a byte each 0.3 s, in all three ways."""
    commands = {
        "openai": ["submit", "--yes", "--anyway", str(TRAIN), "--model", "gpt-4.1-mini", "--wait"],
        "together": ["submit", "--yes", "--anyway", str(TRAIN), "--model", "llama-3.1-8b-instruct", "--wait"],
    }
    tuneport = str(Path(sys.executable).with_name("tuneport"))
    running: list[tuple[subprocess.Popen[str], Path, bool]] = []
    with contextlib.ExitStack() as servers:
        for mode in MODES:
            server = servers.enter_context(dripping(mode, 0.3))
            environment = os.environ | {"OPENAI_API_KEY": KEYS["openai"], "TOGETHER_API_KEY": KEYS["together"]}
            environment |= {f"TUNEPORT_{name.upper()}_BASE_URL": f"{server.origin}/v1" for name in KEYS}
            for name, submit in commands.items():
                for number, command in enumerate((submit, ["files"])):
                    place = isolated / f"{mode}-{name}-{number}"
                    place.mkdir()
                    with (place / "said").open("w") as said:
                        process = subprocess.Popen(
                            [tuneport, *command, "--backend", name],
                            env=environment | {"TUNEPORT_HOME": str(place / "home")},
                            stdin=subprocess.DEVNULL,
                            stdout=said,
                            stderr=subprocess.STDOUT,
                            text=True,
                        )
                    running.append((process, place / "said", command is submit))
        try:
            for process, said, goes_on in running:
                until(lambda said=said: "time limit" in said.read_text(), 200, told=said.read_text)  # type: ignore[misc]
                if not goes_on:  # `submit --wait` is patient with a provider that is down, and says so
                    assert process.wait(60) in (0, 3), (process.args, said.read_text())
        finally:
            for process, *_ in running:
                process.kill()
                process.wait()
