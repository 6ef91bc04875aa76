"""Requests to the engine: reads them, renders the conversations, writes the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tuneport import infer_protocol as protocol
from tuneport.base_models import locate_base_model, materialise_base_model
from tuneport.data.formats.contract import RecordProblems
from tuneport.data.formats.openai.messages import read_openai_messages
from tuneport.data.formats.shared.tools import read_format_tools
from tuneport.data.rows.records import Message, Tool
from tuneport.errors import ConfigError, TuneportError, UnsupportedError
from tuneport.infer.engine import InferenceEngine
from tuneport.infer.model.placement import (
    available_inference_hardware,
    is_inference_out_of_memory,
    loaded_inference_weight_bytes,
    place_inference_model,
)
from tuneport.infer.requests import GenerationRequest
from tuneport.infer.sampling import DEFAULT_MAX_TOKENS, SamplingOptions
from tuneport.infer.scheduler import DecodingScheduler
from tuneport.infer.scoring import score_choices_by_inference
from tuneport.infer.tool_calls import Call, ToolCallStreamParser, split_tool_calls

Write = Callable[[protocol.Reply], None]


def load_inference_service(
    model: str, home: Path, *, device_map: str = "auto", precision: str | None = None, load_in_4bit: bool = False
) -> InferenceService:
    """Load the model. Raises ConfigError if it is missing, broken or too large."""
    folder = materialise_base_model(locate_base_model(model, home=home), home=home)
    machine = available_inference_hardware(precision)
    size = loaded_inference_weight_bytes(folder, machine.best)
    return InferenceService(
        InferenceEngine(folder, place_inference_model(machine, size, device_map=device_map, load_in_4bit=load_in_4bit))
    )


class InferenceService:
    """Requests as they come in; `step` goes on with all of them at once. `write` is called with the fields of each line
    of a request's answer; the last line has `done` or `error`."""

    def __init__(self, engine: InferenceEngine) -> None:
        self.engine = engine
        self.scheduler = DecodingScheduler(engine)
        self._requests: dict[str, GenerationRequest] = {}

    @property
    def busy(self) -> bool:
        return self.scheduler.busy

    def step(self) -> None:
        self.scheduler.step()

    def accept_request(self, request: protocol.Request, write: Write) -> None:
        """Take a request up. TuneportError for what it gets wrong."""
        match request:
            case protocol.LoadAdapter():
                self.engine.load_adapter(request.name, Path(request.folder))
                write(protocol.Done())
            case protocol.Complete():
                self._complete(request, write)
            case protocol.Score():
                self._score(request, write)
            case protocol.Cancel():
                if (cancelled := self._requests.get(request.request)) is not None:
                    self.scheduler.cancel(cancelled)

    def _complete(self, request: protocol.Complete, write: Write) -> None:
        problems = RecordProblems()
        tools = read_format_tools(request.tools or [], problems)
        _refuse(problems)

        readers = [ToolCallStreamParser() for _ in request.conversations]  # used where there are tools, in a stream

        def tell(index: int, told: Iterable[str | Call]) -> None:
            for each in told:
                if isinstance(each, str):
                    write(protocol.Delta(index=index, text=each))
                else:
                    write(protocol.Called(index=index, call=each))

        def on_delta(index: int, delta: str) -> None:
            tell(index, readers[index].parse_delta(delta) if tools else [delta])

        def on_answer(done: protocol.GeneratedAnswer) -> None:
            if tools:
                if request.stream:
                    reader = readers[done.index]
                    tell(done.index, reader.finish())
                    done.text, done.tool_calls = reader.text, reader.calls
                else:
                    done.text, done.tool_calls = split_tool_calls(done.text)
                if done.tool_calls and done.finish_reason == "stop":
                    done.finish_reason = "tool_calls"  # an answer that was cut off may lack a call: that is told first
            write(done)

        def on_end(error: Exception | None) -> None:
            self._requests.pop(request.id, None)
            write(_ended(error))

        asked = GenerationRequest(
            self.engine,
            [self._prompt(messages, tools) for messages in request.conversations],
            request.adapter,
            parse_sampling_options(request),
            on_answer=on_answer,
            on_end=on_end,
            on_delta=on_delta if request.stream else None,
        )
        self._requests[request.id] = asked
        self.scheduler.add(asked)

    def _score(self, request: protocol.Score, write: Write) -> None:
        choices = [self.engine.renderer.answer_ids(choice) for choice in request.choices]
        prompts = [self._prompt(messages, []) for messages in request.conversations]
        if not prompts or not choices:
            raise ConfigError("scoring needs at least one conversation and one choice")
        if not self.engine.has_adapter(request.adapter):
            raise ConfigError(f"no adapter {request.adapter} is loaded; send load_adapter first")

        def steps() -> Iterator[None]:
            for index, values in score_choices_by_inference(self.engine, prompts, choices, request.adapter):
                write(protocol.Scores(index=index, log_likelihoods=[*values]))
                yield

        self.scheduler.add_task(steps(), lambda error: write(_ended(error)))

    def _prompt(self, conversation: Any, tools: Sequence[Tool]) -> list[int]:
        problems = RecordProblems()
        messages: list[Message] = read_openai_messages(conversation, "messages", problems)
        _refuse(problems)
        if not messages:
            raise ConfigError("a conversation needs at least one message")
        return self.engine.renderer.prompt_ids(messages, tools)


def parse_sampling_options(request: protocol.Complete) -> SamplingOptions:
    """Parse the options of a request. Raises ConfigError that names a number out of range."""

    def within(name: str, value: float | None, low: float, high: float) -> float | None:
        if value is not None and not low <= value <= high:
            raise ConfigError(f"{name} is {value!r}; it must be a number from {low:g} to {high:g}")
        return value

    max_tokens = within("max_tokens", request.max_tokens, 1, 2**31)
    temperature, top_p = within("temperature", request.temperature, 0, 2), within("top_p", request.top_p, 0, 1)
    seed = within("seed", request.seed, -(2**63), 2**63 - 1)
    stop = request.stop or []
    return SamplingOptions(
        max_tokens=DEFAULT_MAX_TOKENS if max_tokens is None else int(max_tokens),
        temperature=1.0 if temperature is None else temperature,
        top_p=1.0 if top_p is None else top_p,
        stop=tuple([stop] if isinstance(stop, str) else [text for text in stop if text]),
        seed=None if seed is None else int(seed),
    )


def _ended(error: Exception | None) -> protocol.Done | protocol.Failed:
    return protocol.Done() if error is None else inference_failure(error)


def inference_failure(error: Exception) -> protocol.Failed:
    text = " ".join(str(error).split())
    if isinstance(error, UnsupportedError):
        return protocol.Failed(code="unsupported", message=text)
    if isinstance(error, TuneportError):
        return protocol.Failed(code="invalid_request", message=text)
    if isinstance(error, KeyError | TypeError):
        what = f"the request is malformed: {type(error).__name__}: {text}"
        return protocol.Failed(code="invalid_request", message=what)
    if is_inference_out_of_memory(error):
        what = f"not enough memory for this request; ask for less at once ({text})"
        return protocol.Failed(code="out_of_memory", message=what)
    return protocol.Failed(code="inference_failed", message=f"{type(error).__name__}: {text}")


def _refuse(problems: RecordProblems) -> None:
    if problems:
        first = problems[0]
        raise ConfigError(f"{first.field}: {first.rule}; {first.fix}")
