"""Every declared property of every request is honoured or refused by name; what neither happens to is OpenAI's own
bookkeeping, and is listed here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest

from tests.support.gateways import OLD_MODEL, Running, chats

pytest.importorskip("openai", reason="the client of the backend: pip install 'tuneport[openai]'")

from tuneport.serve import create_app
from tuneport.serve.wire.chat import CreateChatCompletion
from tuneport.serve.wire.files import CompleteUpload, CreateUpload, ExpiresAfter, FilePurposeAsked
from tuneport.serve.wire.jobs import CreateJob
from tuneport.testing.emulators import OpenAIEmulator

TOOL = {
    "type": "function",
    "function": {"name": "f", "description": "d", "parameters": {"default": None}, "strict": True},
}
BOOKKEEPING = {
    "user": "u",
    "metadata": {"k": "v"},
    "safety_identifier": "s",
    "prompt_cache_key": "k",
    "prompt_cache_options": {"ttl": "30m", "mode": "implicit"},
    "prompt_cache_retention": "24h",
}
"""Read, and passed on to nobody: they change no answer."""
SENT_ON: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.5,
    "max_completion_tokens": 5,
    "max_tokens": 5,
    "stop": ["x"],
    "seed": 7,
    "n": 2,
    "frequency_penalty": 0.5,
    "presence_penalty": 0.5,
    "logit_bias": {"5": 1},
    "logprobs": True,
    "top_logprobs": 2,
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "n", "description": "d", "schema": {"type": "object"}, "strict": True},
    },
    "tools": [TOOL, {"type": "custom", "custom": {"name": "c", "description": "d", "format": {"type": "text"}}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "parallel_tool_calls": False,
    "functions": [{"name": "f", "description": "d", "parameters": {}}],
    "function_call": {"name": "f"},
    "reasoning_effort": "low",
    "verbosity": "low",
    "modalities": ["text", "audio"],
    "audio": {"voice": {"id": "v"}, "format": "mp3"},
    "prediction": {"type": "content", "content": "c"},
    "web_search_options": {
        "user_location": {"type": "approximate", "approximate": {"country": "DE", "city": "Ulm"}},
        "search_context_size": "low",
    },
    "moderation": {"model": "m", "policy": {"input": {"mode": "score"}, "output": {"mode": "block"}}},
    "service_tier": "flex",
}
ON_OUR_SIDE = {"model", "messages", "stream", "stream_options", "store"}
"""What `test_life_of_a_job.py` and the tests below show."""
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
MESSAGES: list[dict[str, Any]] = [
    {"role": "developer", "content": "a", "name": "n"},
    {"role": "system", "content": [{"type": "text", "text": "b"}]},
    {
        "role": "user",
        "name": "n",
        "content": [
            {"type": "text", "text": "c"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "low"}},
            {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
            {"type": "file", "file": {"filename": "f", "file_data": "AA", "file_id": "i"}},
        ],
    },
    {"role": "assistant", "content": [{"type": "refusal", "refusal": "r"}], "refusal": "r", "audio": {"id": "a"}},
    {"role": "assistant", "name": "n", "tool_calls": [CALL], "function_call": {"name": "f", "arguments": "{}"}},
    {"role": "tool", "content": "d", "tool_call_id": "c1"},
    {"role": "function", "name": "f", "content": "e"},
]


@pytest.fixture(scope="module")
def upstream() -> Iterator[OpenAIEmulator]:
    with OpenAIEmulator(key="sk-upstream") as emulator:
        yield emulator


@pytest.fixture
def at_openai(serve: Callable[..., Running], upstream: OpenAIEmulator, monkeypatch: pytest.MonkeyPatch) -> Running:
    monkeypatch.setenv("TUNEPORT_OPENAI_BASE_URL", upstream.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-upstream")
    monkeypatch.setenv("TUNEPORT_BACKEND", "openai")
    return serve(background=False)


def ask(running: Running, **more: Any) -> httpx.Response:
    body = {"model": "gpt-4.1-mini-2025-04-14", "messages": [{"role": "user", "content": "Hi"}]} | more
    return httpx.post(f"{running.url}/chat/completions", json=body)


def received(upstream: OpenAIEmulator) -> dict[str, Any]:
    body: dict[str, Any] = upstream.requests("POST", "/chat/completions")[-1].request_json()
    return body


def test_each_property_of_a_chat_is_in_one_list() -> None:
    listed = [*BOOKKEEPING, *SENT_ON, *ON_OUR_SIDE]
    assert sorted(listed) == sorted(CreateChatCompletion.model_fields)


def test_what_a_chat_asks_for_reaches_the_backend(at_openai: Running, upstream: OpenAIEmulator) -> None:
    for name, value in SENT_ON.items():
        answer = ask(at_openai, **{name: value})
        assert answer.status_code == 200, (name, answer.text)
        assert received(upstream)[name] == value, name
    for name, value in BOOKKEEPING.items():
        assert ask(at_openai, **{name: value}).status_code == 200, name
        assert name not in received(upstream), name
    assert ask(at_openai, top_k=5).status_code == 200, "a backend's own option, which OpenAI's document does not have"
    assert received(upstream)["top_k"] == 5
    assert ask(at_openai, messages=MESSAGES).status_code == 200
    assert received(upstream)["messages"] == MESSAGES
    sent_back = {"role": "assistant", "content": "x", "refusal": None, "annotations": [], "tool_calls": None}
    assert ask(at_openai, messages=[*MESSAGES, sent_back]).status_code == 200
    assert received(upstream)["messages"][-1] == {"role": "assistant", "content": "x"}


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"store": True}, "store"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 3}, "temperature"),
        ({"n": True}, "n"),
        ({"model": "x" * 5000}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": "a", "mood": "b"}]}, "messages[0].mood"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "boss", "content": "a"}]}, "messages[0].role"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
    ],
)
def test_a_chat_is_refused_by_name(at_openai: Running, changes: dict[str, Any], param: str) -> None:
    answer = ask(at_openai, **changes)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text


def test_a_backend_refuses_by_name_what_it_does_not_have(
    serve: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", "k")  # whose address nobody asks: refused before
    running = serve(background=False)
    taken = {
        "local": {"temperature", "top_p", "max_completion_tokens", "max_tokens", "stop", "seed", "tools"},
        "together": {
            "temperature", "top_p", "max_completion_tokens", "max_tokens", "stop", "seed", "n", "frequency_penalty",
            "presence_penalty", "logit_bias", "response_format", "tools", "tool_choice", "reasoning_effort",
        },
    }  # fmt: skip
    for model, names in (
        ("local/smollm2-135m-instruct", taken["local"]),
        ("together/llama-3.1-8b-instruct", taken["together"]),
    ):
        others = {"colour": "blue"} if model.startswith("local/") else {}  # Together knows its own options
        for name, value in (SENT_ON | others).items():
            if name in names:
                continue
            answer = ask(running, model=model, **{name: value})
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, name), (model, answer.text)


def test_a_job_shows_all_that_it_was_asked_for(
    serve: Callable[..., Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEPORT_BACKEND", "fake")
    running = serve(f"{OLD_MODEL}=stand-in", background=False)
    file = running.client().files.create(file=chats(tmp_path / "c.jsonl"), purpose="fine-tune")
    asked: dict[str, Any] = {
        "model": OLD_MODEL,
        "training_file": file.id,
        "validation_file": file.id,
        "seed": 3,
        "metadata": {"a": "b"},
        "integrations": [{"type": "wandb", "wandb": {"project": "p", "name": "n", "entity": "e", "tags": ["t"]}}],
        "method": {
            "type": "dpo",
            "dpo": {"hyperparameters": {"n_epochs": 2, "batch_size": 3, "learning_rate_multiplier": 0.5, "beta": 0.2}},
        },
    }
    answer = httpx.post(f"{running.url}/fine_tuning/jobs", json=asked | {"suffix": "s"})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["user_provided_suffix"] == "s" and {name: told[name] for name in asked} == asked
    old = {"n_epochs": 2, "batch_size": 3, "learning_rate_multiplier": 0.5}
    body = {"model": OLD_MODEL, "training_file": file.id, "hyperparameters": old}
    assert httpx.post(f"{running.url}/fine_tuning/jobs", json=body).json()["hyperparameters"] == old
    assert {*asked, "suffix", "hyperparameters"} == set(CreateJob.model_fields)


ROWS = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n' * 4
EXPIRY = {"anchor": "created_at", "seconds": 3600}
UPLOAD: dict[str, Any] = {
    "filename": "u.jsonl", "purpose": "fine-tune", "bytes": len(ROWS), "mime_type": "application/jsonl",
    "expires_after": EXPIRY,
}  # fmt: skip


def sent(running: Running, fields: dict[str, str], name: str = "f.jsonl") -> httpx.Response:
    given = {"purpose": "fine-tune"} | fields
    return httpx.post(f"{running.url}/files", files={"file": (name, ROWS)}, data=given)


def test_each_property_of_a_file_is_honoured(serve: Callable[..., Running]) -> None:
    running = serve(background=False)
    form = create_app(running.gateway).openapi()["paths"]["/v1/files"]["post"]["requestBody"]["content"]
    properties = form["multipart/form-data"]["schema"]["properties"]
    assert set(properties) == {"file", "purpose", "expires_after"}
    assert set(properties["expires_after"]["properties"]) == set(EXPIRY) == set(ExpiresAfter.model_fields)
    told = sent(running, {f"expires_after[{name}]": str(value) for name, value in EXPIRY.items()}).json()
    assert told["expires_at"] == told["created_at"] + 3600
    assert (told["filename"], told["purpose"], told["bytes"]) == ("f.jsonl", "fine-tune", len(ROWS))
    assert httpx.get(f"{running.url}/files/{told['id']}/content").content == ROWS
    assert "expires_at" not in sent(running, {}).json()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        *(({"purpose": purpose}, "purpose") for purpose in get_args(FilePurposeAsked) if purpose != "fine-tune"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "5"}, "expires_after.seconds"),
        ({"expires_after[anchor]": "created_at"}, "expires_after.seconds"),
        ({"expires_after[anchor]": "now", "expires_after[seconds]": "3600"}, "expires_after.anchor"),
        ({"expires_after[colour]": "blue", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"},
         "expires_after.colour"),
        ({"expires_after": "3600"}, "expires_after"),
        ({"colour": "blue"}, "colour"),
    ],
)  # fmt: skip
def test_what_a_file_is_not_to_have_is_refused_by_name(
    serve: Callable[..., Running], fields: dict[str, str], param: str
) -> None:
    running = serve(background=False)
    answer = sent(running, fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text
    assert httpx.get(f"{running.url}/files").json()["data"] == []


def test_each_property_of_an_upload_is_honoured_or_refused_by_name(serve: Callable[..., Running]) -> None:
    """`mime_type` alone changes nothing: what a file is, its rows say."""
    running = serve(background=False)

    def post(path: str, **given: Any) -> httpx.Response:
        return httpx.post(f"{running.url}/uploads{path}", **given)

    assert set(UPLOAD) == set(CreateUpload.model_fields)
    wrongs = {"filename": "u.pdf", "purpose": "vision", "bytes": 0, "mime_type": 7, "expires_after": "x"}
    for name, wrong in wrongs.items():
        answer = post("", json=UPLOAD | {name: wrong})
        param = "file" if name == "filename" else name  # as of a file that is sent at once
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text
    begun = post("", json=UPLOAD).json()
    assert {name: begun[name] for name in ("filename", "purpose", "bytes")} == {
        name: UPLOAD[name] for name in ("filename", "purpose", "bytes")
    }
    half = len(ROWS) // 2
    parts = [post(f"/{begun['id']}/parts", files={"data": piece}).json()["id"] for piece in (ROWS[half:], ROWS[:half])]
    complete = {"part_ids": parts[::-1], "md5": hashlib.md5(ROWS).hexdigest()}
    assert set(complete) == set(CompleteUpload.model_fields)
    for name, wrong in {"part_ids": ["part_none"], "md5": "0" * 32, "colour": "blue"}.items():
        answer = post(f"/{begun['id']}/complete", json=complete | {name: wrong})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, name), answer.text
    file = post(f"/{begun['id']}/complete", json=complete).json()["file"]
    assert file["expires_at"] == file["created_at"] + 3600 and file["filename"] == "u.jsonl"
    assert httpx.get(f"{running.url}/files/{file['id']}/content").content == ROWS, "in the order of part_ids"
