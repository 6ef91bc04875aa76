"""Requests to the engine: reads them, renders the conversations, writes the answers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tuneport.base_models import locate, materialise
from tuneport.data.formats.contract import Problems
from tuneport.data.formats.openai_messages import read_messages
from tuneport.data.formats.tools import read_tools
from tuneport.data.records import Message, Tool
from tuneport.errors import ConfigError, TuneportError, UnsupportedError
from tuneport.infer.engine import Engine
from tuneport.infer.limits import Limits
from tuneport.infer.placement import place, this_machine, weight_bytes_of
from tuneport.infer.requests import Answer, Request
from tuneport.infer.sampling import DEFAULT_MAX_TOKENS, Options
from tuneport.infer.scheduler import Scheduler, is_out_of_memory
from tuneport.infer.scoring import score
from tuneport.infer.tool_calls import CallReader, split_calls

Write = Callable[[dict[str, Any]], None]


def serve(
    model: str, home: Path, *, device_map: str = "auto", precision: str | None = None, load_in_4bit: bool = False
) -> Service:
    """Load the model. ConfigError where it is nowhere or broken, or does not fit."""
    folder = materialise(locate(model, home=home), home=home)
    machine = this_machine(precision)
    size = weight_bytes_of(folder, machine.best)
    return Service(Engine(folder, place(machine, size, device_map=device_map, load_in_4bit=load_in_4bit)))


class Service:
    """Requests as they come in; `step` goes on with all of them at once. `write` is called with the fields of each line
    of a request's answer, the last of which has `done` or `error`."""

    def __init__(self, engine: Engine, limits: Limits | None = None) -> None:
        self.engine = engine
        self.scheduler = Scheduler(engine, limits)
        self._requests: dict[str, Request] = {}

    @property
    def busy(self) -> bool:
        return self.scheduler.busy

    def step(self) -> None:
        self.scheduler.step()

    def accept(self, request: dict[str, Any], write: Write) -> None:
        """Take a request up. TuneportError for what it gets wrong."""
        match request.get("op"):
            case "load_adapter":
                self.engine.load_adapter(str(request["name"]), Path(request["folder"]))
                write({"done": True})
            case "complete":
                self._complete(request, write)
            case "score":
                self._score(request, write)
            case "cancel":
                if (cancelled := self._requests.get(str(request["request"]))) is not None:
                    self.scheduler.cancel(cancelled)
            case other:
                raise ConfigError(f"{other!r} is no request; send load_adapter, complete, score, cancel or shutdown")

    def _complete(self, request: dict[str, Any], write: Write) -> None:
        number = str(request.get("id"))
        problems = Problems()
        tools = read_tools(request.get("tools") or [], problems)
        _refuse(problems)

        readers = [CallReader() for _ in request["conversations"]]  # used where there are tools, in a stream

        def on_delta(index: int, delta: str) -> None:
            for fields in readers[index].read(delta) if tools else [{"delta": delta}]:
                write({"index": index} | fields)

        def on_answer(done: Answer) -> None:
            fields = dataclasses.asdict(done)
            if tools and request.get("stream"):
                reader = readers[done.index]
                for rest in reader.finish():
                    write({"index": done.index} | rest)
                text, calls = reader.text, reader.calls
            else:
                text, calls = split_calls(done.text) if tools else (done.text, [])
            if calls:
                # An answer that was cut off may lack a call: that is told first.
                reason = "tool_calls" if done.finish_reason == "stop" else done.finish_reason
                fields |= {"finish_reason": reason, "tool_calls": calls}
            write(fields | {"text": text})

        def on_end(error: Exception | None) -> None:
            self._requests.pop(number, None)
            write(_ended(error))

        asked = Request(
            self.engine,
            [self._prompt(messages, tools) for messages in request["conversations"]],
            request.get("adapter"),
            options_of(request),
            on_answer=on_answer,
            on_end=on_end,
            on_delta=on_delta if request.get("stream") else None,
        )
        self._requests[number] = asked
        self.scheduler.add(asked)

    def _score(self, request: dict[str, Any], write: Write) -> None:
        choices = [self.engine.renderer.answer_ids(choice) for choice in request["choices"]]
        prompts = [self._prompt(messages, []) for messages in request["conversations"]]
        adapter = request.get("adapter")
        if not prompts or not choices:
            raise ConfigError("scoring needs at least one conversation and one choice")
        if not self.engine.knows(adapter):
            raise ConfigError(f"no adapter {adapter} is loaded; send load_adapter first")

        def steps() -> Iterator[None]:
            for index, values in score(self.engine, prompts, choices, adapter):
                write({"index": index, "log_likelihoods": values})
                yield

        self.scheduler.add_task(steps(), lambda error: write(_ended(error)))

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


def _ended(error: Exception | None) -> dict[str, Any]:
    return {"done": True} if error is None else {"error": error_of(error)}


def error_of(error: Exception) -> dict[str, str]:
    text = " ".join(str(error).split())
    match error:
        case UnsupportedError():
            return {"code": "unsupported", "message": text}
        case TuneportError():
            return {"code": "invalid_request", "message": text}
        case KeyError() | TypeError() | json.JSONDecodeError():
            return {"code": "invalid_request", "message": f"the request is malformed: {type(error).__name__}: {text}"}
    if is_out_of_memory(error):
        return {
            "code": "out_of_memory",
            "message": f"not enough memory for this request; ask for less at once ({text})",
        }
    return {"code": "inference_failed", "message": f"{type(error).__name__}: {text}"}


def _refuse(problems: Problems) -> None:
    if problems:
        first = problems[0]
        raise ConfigError(f"{first.field}: {first.rule}; {first.fix}")
