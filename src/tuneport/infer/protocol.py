"""Requests to the engine: reads them, renders the conversations, writes the answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from tuneport.base_models import choose_device, locate, materialise
from tuneport.data.formats.contract import Problems
from tuneport.data.formats.openai_messages import read_messages
from tuneport.data.formats.tools import read_tools
from tuneport.data.records import Message, Tool
from tuneport.errors import ConfigError, TuneportError, UnsupportedError
from tuneport.infer.answering import DEFAULT_MAX_TOKENS, Options, answer, score
from tuneport.infer.engine import Engine

Write = Callable[[dict[str, Any]], None]

_TOOL_CALL = re.compile(r"<tool_call>\s*(\{.*?\})\s*</tool_call>", re.DOTALL)


def serve(model: str, home: Path) -> Service:
    """Load the model. ConfigError where it is nowhere or broken."""
    return Service(Engine(materialise(locate(model, home=home), home=home), choose_device()))


class Service:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def handle(self, request: dict[str, Any], write: Write) -> None:
        """Answer one request. Raises TuneportError for what the request gets wrong."""
        match request.get("op"):
            case "load_adapter":
                self.engine.load_adapter(str(request["name"]), Path(request["folder"]))
            case "complete":
                self._complete(request, write)
            case "score":
                self._score(request, write)
            case other:
                raise ConfigError(f"{other!r} is no request; send load_adapter, complete, score or shutdown")

    def _complete(self, request: dict[str, Any], write: Write) -> None:
        problems = Problems()
        tools = read_tools(request.get("tools") or [], problems)
        _refuse(problems)
        prompts = [self._prompt(messages, tools) for messages in request["conversations"]]
        if not prompts:
            return
        on_delta = None
        if request.get("stream"):

            def on_delta(index: int, delta: str) -> None:
                write({"index": index, "delta": delta})

        with self.engine.using(request.get("adapter")):
            for done in answer(self.engine, prompts, options_of(request), on_delta):
                text, calls = split_calls(done.text) if tools else (done.text, [])
                fields: dict[str, Any] = {
                    "index": done.index,
                    "text": text,
                    "finish_reason": "tool_calls" if calls else done.finish_reason,
                    "prompt_tokens": done.prompt_tokens,
                    "completion_tokens": done.completion_tokens,
                }
                write(fields | ({"tool_calls": calls} if calls else {}))

    def _score(self, request: dict[str, Any], write: Write) -> None:
        choices = [self.engine.renderer.answer_ids(choice) for choice in request["choices"]]
        prompts = [self._prompt(messages, []) for messages in request["conversations"]]
        if not prompts or not choices:
            raise ConfigError("scoring needs at least one conversation and one choice")
        with self.engine.using(request.get("adapter")):
            for index, values in score(self.engine, prompts, choices):
                write({"index": index, "log_likelihoods": values})

    def _prompt(self, conversation: Any, tools: Sequence[Tool]) -> list[int]:
        problems = Problems()
        messages: list[Message] = read_messages(conversation, "messages", problems)
        _refuse(problems)
        if not messages:
            raise ConfigError("a conversation needs at least one message")
        return self.engine.renderer.prompt_ids(messages, tools)


def options_of(request: dict[str, Any]) -> Options:
    """ConfigError names the number that is out of range."""

    def number(name: str, default: float, low: float, high: float) -> float:
        value = request.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ConfigError(f"{name} is {value!r}; it must be a number from {low:g} to {high:g}")
        return value

    stop = request.get("stop") or []
    return Options(
        max_tokens=int(number("max_tokens", DEFAULT_MAX_TOKENS, 1, 2**31)),
        temperature=number("temperature", 1.0, 0.0, 2.0),
        top_p=number("top_p", 1.0, 0.0, 1.0),
        stop=tuple([stop] if isinstance(stop, str) else [text for text in stop if text]),
        seed=None if request.get("seed") is None else int(number("seed", 0, -(2**63), 2**63 - 1)),
    )


def split_calls(text: str) -> tuple[str, list[dict[str, Any]]]:
    """An answer's text and its calls in OpenAI's shape, where it wrote them as `<tool_call>{json}</tool_call>`.

    A call that is no JSON object stays in the text.
    """
    calls: list[dict[str, Any]] = []

    def take(match: re.Match[str]) -> str:
        try:
            call = json.loads(match[1])
        except ValueError:
            return match[0]
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            return match[0]
        arguments = call.get("arguments", {})
        function = {
            "name": call["name"],
            "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False),
        }
        calls.append({"id": f"call_{len(calls) + 1}", "type": "function", "function": function})
        return ""

    rest = _TOOL_CALL.sub(take, text)
    return (rest.strip() if calls else text), calls


def error_of(error: Exception) -> dict[str, str]:
    text = " ".join(str(error).split())
    match error:
        case UnsupportedError():
            return {"code": "unsupported", "message": text}
        case TuneportError():
            return {"code": "invalid_request", "message": text}
        case KeyError() | TypeError() | json.JSONDecodeError():
            return {"code": "invalid_request", "message": f"the request is malformed: {type(error).__name__}: {text}"}
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in text:
        return {
            "code": "out_of_memory",
            "message": f"not enough memory for this request; ask for less at once ({text})",
        }
    return {"code": "inference_failed", "message": f"{type(error).__name__}: {text}"}


def _refuse(problems: Problems) -> None:
    if problems:
        first = problems[0]
        raise ConfigError(f"{first.field}: {first.rule}; {first.fix}")
