"""Requests as the local backend sends them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tuneport.errors import ConfigError
from tuneport.infer.protocol import InferenceService, parse_sampling_options
from tuneport.infer.tool_calls import ToolCallStreamParser, split_tool_calls
from tuneport.infer_protocol import Cancel, Complete, Done, Reply, decode_inference_request

CHAT = [{"role": "user", "content": "Hello"}]


def handle(engine: Any, **request: Any) -> list[Reply]:
    written: list[Reply] = []
    service = InferenceService(engine)
    service.accept_request(decode_inference_request(json.dumps(request)), written.append)
    while service.busy:
        service.step()
    return written


def test_a_child_answers_over_its_pipes(model: Path, adapter: Path, tmp_path: Path) -> None:
    requests = [
        {"id": "1", "op": "load_adapter", "name": "tuned", "folder": str(adapter)},
        {"id": "2", "op": "complete", "conversations": [CHAT, CHAT], "max_tokens": 3, "temperature": 0},
        {"id": "3", "op": "complete", "adapter": "tuned", "conversations": [CHAT], "max_tokens": 3, "stream": True},
        {"id": "4", "op": "score", "adapter": None, "conversations": [CHAT], "choices": ["yes", "no"]},
        {"id": "5", "op": "complete", "adapter": "other", "conversations": [CHAT]},
        {"id": "6", "op": "sing"},
    ]
    lines = [json.dumps(request) for request in requests]
    child = subprocess.run(
        [sys.executable, "-m", "tuneport.infer", "--model", str(model), "--home", str(tmp_path)],
        input="\n".join([*lines[:2], "no json", *lines[2:]]) + "\n",
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    assert child.returncode == 0, child.stderr[-2000:]
    answers = [json.loads(line) for line in child.stdout.splitlines()]

    assert answers[0] == {"reply": "ready", "model": str(model), "device": "cpu"}
    by_id: dict[Any, list[dict[str, Any]]] = {}
    for message in answers[1:]:
        by_id.setdefault(message.pop("id", None), []).append(message)
    assert by_id["1"] == [{"reply": "done"}]
    assert [row.get("index") for row in by_id["2"]] == [0, 1, None] and by_id["2"][0]["text"] == by_id["2"][1]["text"]
    assert by_id[None][0]["code"] == "invalid_request"
    assert by_id["3"][-2]["text"] == "".join(row["text"] for row in by_id["3"] if row["reply"] == "delta")
    assert len(by_id["4"][0]["log_likelihoods"]) == 2 and max(by_id["4"][0]["log_likelihoods"]) < 0
    assert "no adapter other" in by_id["5"][0]["message"]
    assert [(row["code"], "sing" in row["message"]) for row in by_id["6"]] == [("invalid_request", True)]


def test_a_model_that_is_nowhere_is_said_before_the_first_request(tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-m", "tuneport.infer", "--model", str(tmp_path / "nowhere"), "--home", str(tmp_path)],
        input="",
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    assert child.returncode == 1
    (line,) = child.stdout.splitlines()
    assert "id" not in json.loads(line) and "is not on this machine" in json.loads(line)["message"]


def test_tool_calls_come_back_in_openais_shape(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    text = 'Let me see. <tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>'
    rest, calls = split_tool_calls(text)

    assert rest == "Let me see."
    function = {"name": "weather", "arguments": '{"city": "Oslo"}'}
    assert calls == [{"id": calls[0]["id"], "type": "function", "function": function}]
    assert calls[0]["id"] != split_tool_calls(text)[1][0]["id"], "a conversation may hold many"


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_growing_answer_tells_the_same_text_and_calls(size: int) -> None:
    call = '<tool_call>\n{"name": "f", "arguments": {"n": %d}}\n</tool_call>'
    text = f" a <tool  b <tool_call>{{no}}</tool_call>\n{call % 1}\n{call % 2} c {call % 3} <tool_call>{{"
    reader = ToolCallStreamParser()
    told = [each for start in range(0, len(text), size) for each in reader.parse_delta(text[start : start + size])]
    told += reader.finish()
    assert "".join(each for each in told if isinstance(each, str)) == reader.text == split_tool_calls(text)[0]
    assert reader.text == " a <tool  b <tool_call>{no}</tool_call>\n\n c  <tool_call>{"
    found = [each["function"]["arguments"] for each in told if not isinstance(each, str)]
    assert found == ['{"n": 1}', '{"n": 2}', '{"n": 3}'] and len(reader.calls) == 3


@pytest.mark.parametrize(
    "text", ["plain", "<tool_call>{broken}</tool_call>", '<tool_call>{"arguments": {}}</tool_call>']
)
def test_what_is_no_call_stays_text(text: str) -> None:
    assert split_tool_calls(text) == (text, [])


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"op": "sing"}, "Invalid value 'sing'"),
        ({"op": "complete"}, "`conversations`"),
        ({"op": "complete", "conversations": [CHAT], "seed": True}, "seed"),
        ({"op": "complete", "conversations": [[]]}, "at least one message"),
        ({"op": "complete", "conversations": [[{"role": "wizard", "content": "x"}]]}, "is not a role"),
        ({"op": "complete", "conversations": [CHAT], "temperature": 3}, "temperature"),
        ({"op": "complete", "conversations": [CHAT], "max_tokens": 0}, "max_tokens"),
        ({"op": "complete", "conversations": [CHAT], "tools": [{"type": "function"}]}, "name"),
        ({"op": "score", "conversations": [CHAT], "choices": []}, "at least one"),
    ],
)
def test_a_bad_request_says_what_is_wrong(engine: Any, request_: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        handle(engine, **request_)


def test_no_conversations_are_no_answers(engine: Any) -> None:
    assert handle(engine, op="complete", conversations=[]) == [Done()]


def test_a_request_that_is_cancelled_ends(engine: Any) -> None:
    written: list[Reply] = []
    service = InferenceService(engine)
    service.accept_request(
        Complete(id="7", conversations=[CHAT] * 3, max_tokens=400, temperature=0.0),
        written.append,
    )
    for _ in range(3):
        service.step()
    assert not written and service.busy
    service.accept_request(Cancel(request="7"), written.append)
    service.accept_request(Cancel(request="8"), written.append)
    service.step()
    assert written == [Done()] and not service.busy


def test_options_have_openais_defaults() -> None:
    options = parse_sampling_options(Complete(conversations=[], stop="###"))

    assert (options.temperature, options.top_p, options.stop, options.max_tokens) == (1.0, 1.0, ("###",), 512)
