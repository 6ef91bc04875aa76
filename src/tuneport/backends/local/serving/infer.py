"""Talks to `python -m tuneport.infer`: JSON lines both ways, one child for each base model, kept while it is used.

The child ends with its stdin, so it never outlives this process, however that dies.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import math
import os
import queue
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tuneport import private
from tuneport.backends.streaming import Chunk, ChunkStream, openai_token_usage
from tuneport.data.running.underway import report_data_activity
from tuneport.errors import RejectedError, TrainingError, TuneportError, UnsupportedError
from tuneport.infer_protocol import (
    OPTIONS,
    Called,
    Cancel,
    Complete,
    Delta,
    Done,
    Failed,
    GeneratedAnswer,
    LoadAdapter,
    Ready,
    Reply,
    Request,
    Score,
    Scores,
    decode_inference_reply,
    encode_inference_message,
)
from tuneport.types import Completion

Indexed = TypeVar("Indexed", GeneratedAnswer, Scores)
CONVERSATIONS_PER_REQUEST = 64
MAX_CHILDREN = 2  # each holds a model in memory; an idle one makes room for a third


class LocalInferenceProcess:
    """One child and the requests to it. Threads may share it; the child answers their requests together.

    `startup_seconds` bounds the loading of the model, `silence_seconds` the time without any word from the child
    while it owes an answer (it speaks up between two steps). Past either it is killed. `users` hold it: see
    `InferenceProcessPool.use_process`.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        *,
        startup_seconds: float,
        silence_seconds: float,
    ) -> None:
        self.model = command[-1]
        self.users = 0
        self.silence_seconds = silence_seconds
        self.waiting: dict[str, queue.SimpleQueue[Reply | None]] = {}
        self._adapters: set[str] = set()
        self._numbers = itertools.count(1)
        # A thread of its own writes: any caller that drops an answer, or the garbage collector, may put here.
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._ready = threading.Event()
        self._ended = threading.Event()
        self._complaint = ""
        self._log: deque[str] = deque(maxlen=50)
        self._last_heard = time.monotonic()
        try:
            self._child = subprocess.Popen(
                list(command),
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for this process, which then closes the child
                umask=private.CHILD_UMASK,
            )
        except OSError as error:
            raise TrainingError(f"the inference process for {self.model} cannot be started: {error}") from error
        self._parent = os.getpid()
        atexit.register(self.close)
        tasks = (self._read_log, self._read_answers, self._write)
        self._threads = [threading.Thread(target=task, daemon=True) for task in tasks]
        for thread in self._threads:
            thread.start()
        self._startup_deadline = time.monotonic() + startup_seconds

    @property
    def alive(self) -> bool:
        return self._child.poll() is None and not self._complaint and not self._ended.is_set()

    def load_adapter(self, name: str, folder: Path) -> None:
        if name not in self._adapters:
            for _ in self.send_request(LoadAdapter(name=name, folder=str(folder))):
                pass
            self._adapters.add(name)

    def send_request(self, request: Request) -> LocalInferenceStream:
        """Send one request, at once, and return its answers, which come one by one. Raises TrainingError if the child
        dies, hangs or fails, RejectedError and UnsupportedError if the request is at fault.

        Answers that are closed or dropped half-way cancel the request.
        """
        self._await_ready()
        number = str(next(self._numbers))
        answers = LocalInferenceStream(self, number)
        if not self.waiting:
            self._last_heard = time.monotonic()
        self.waiting[number] = answers.inbox
        if self._ended.is_set():
            answers.close()
            raise self._died()
        request.id = number
        self._send(request)
        return answers

    def forget_request(self, number: str) -> None:
        """Stop waiting for a request's answers, and let the child stop at it."""
        if self.waiting.pop(number, None) is not None:
            self._send(Cancel(request=number))

    def build_refusal(self, failed: Failed) -> TuneportError:
        message = f"local inference with {self.model}: {failed.message}"
        match failed.code:
            case "unsupported":
                return UnsupportedError(message)
            case "invalid_request":
                return RejectedError(message, provider="local", code="invalid_request")
        return TrainingError(message)

    def close(self) -> None:
        if os.getpid() != self._parent:
            return  # a forked process leaves the child to its parent
        atexit.unregister(self.close)
        self._outbox.put(None)
        for stop, seconds in ((None, 0.5), (self._child.terminate, 2.0), (self._child.kill, 10.0)):
            if stop is not None:
                stop()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(timeout=seconds)
                break
        for thread in self._threads:
            thread.join(timeout=1)
        for pipe in (self._child.stdout, self._child.stderr):
            if pipe:
                pipe.close()

    def _kill(self) -> None:
        self._child.kill()
        self._child.wait()

    def _await_ready(self) -> None:
        with report_data_activity(f"loading {self.model}"):
            ready = self._ready.wait(timeout=max(0.0, self._startup_deadline - time.monotonic()))
        if not ready:
            self._kill()
            raise TrainingError(f"the model {self.model} was not loaded in time, so its process was stopped")
        if not self.alive:
            raise self._died()

    def _send(self, request: Request) -> None:
        self._outbox.put(encode_inference_message(request))

    def _write(self) -> None:
        assert self._child.stdin is not None
        with contextlib.suppress(OSError), self._child.stdin as pipe:  # of a child that died its answers tell
            while (line := self._outbox.get()) is not None:
                pipe.write(line)
                pipe.flush()

    def next_answer(self, answers: queue.SimpleQueue[Reply | None]) -> Reply:
        while True:
            patience = self._last_heard + self.silence_seconds - time.monotonic()
            try:
                with report_data_activity(f"waiting for {self.model}"):
                    answer = answers.get(timeout=max(0.01, patience))
            except queue.Empty:
                if time.monotonic() - self._last_heard < self.silence_seconds:
                    continue  # it has spoken meanwhile, of this or another request
                self._kill()
                raise TrainingError(
                    f"the inference process for {self.model} said nothing for {self.silence_seconds:g} s and was "
                    "stopped; ask for fewer tokens or fewer prompts at a time"
                ) from None
            if answer is None:
                raise self._died()
            return answer

    def _read_answers(self) -> None:
        assert self._child.stdout is not None
        with contextlib.suppress(ValueError):  # closed under our feet by `close`
            for line in self._child.stdout:
                self._last_heard = time.monotonic()
                reply = decode_inference_reply(line)
                if reply is None:
                    self._log.append(line.decode("utf-8", errors="replace").strip())
                elif isinstance(reply, Ready):
                    self._ready.set()
                elif (receiver := self.waiting.get(reply.id or "")) is not None:
                    receiver.put(reply)
                elif isinstance(reply, Failed) and reply.id is None:
                    self._complaint = reply.message
        self._child.wait()
        self._ended.set()
        self._ready.set()
        for receiver in list(self.waiting.values()):
            receiver.put(None)

    def _read_log(self) -> None:
        assert self._child.stderr is not None
        with contextlib.suppress(ValueError):
            for line in self._child.stderr:
                text = line.decode("utf-8", errors="replace").rsplit("\r", 1)[-1].strip()
                if text:
                    self._log.append(text)

    def _died(self) -> TrainingError:
        if self._complaint:
            return TrainingError(f"local inference with {self.model}: {self._complaint}")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(timeout=5)
        self._threads[0].join(timeout=1)
        code = self._child.returncode
        said = self._log[-1] if self._log else "it said nothing"
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        hint = " (out of memory is the usual cause)" if code == -9 else ""
        return TrainingError(f"the inference process for {self.model} {how}{hint}: {said}")


class LocalInferenceStream:
    """The answers to one request, in the order in which the child sends them."""

    def __init__(self, process: LocalInferenceProcess, number: str) -> None:
        self.inbox: queue.SimpleQueue[Reply | None] = queue.SimpleQueue()
        self._process, self._number, self._over = process, number, False

    def __iter__(self) -> Iterator[Reply]:
        return self

    def __next__(self) -> Reply:
        if self._over:
            raise StopIteration
        try:
            answer = self._process.next_answer(self.inbox)
        except TuneportError:
            self.close()
            raise
        if not isinstance(answer, Failed | Done):
            return answer
        self._over = True
        self._process.waiting.pop(self._number, None)
        if isinstance(answer, Failed):
            raise self._process.build_refusal(answer)
        raise StopIteration

    def close(self) -> None:
        """Cancel the request, from any thread; a thread that waits for an answer gets the end of the stream."""
        if not self._over:
            self._over = True
            self._process.forget_request(self._number)
            self.inbox.put(Done())

    def __del__(self) -> None:
        self.close()


class LocalInferencePool:
    """The children of one backend, one for each base model."""

    def __init__(self, start: Callable[[Path], LocalInferenceProcess]) -> None:
        self._start = start
        self._children: dict[str, LocalInferenceProcess] = {}  # least recently used first
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def use_process(self, name: str, folder: Path) -> Iterator[LocalInferenceProcess]:
        """Provide the child that holds the model called `name`, starting one from `folder` if needed. While in use it
        is not evicted."""
        child = self._take(name, folder)
        try:
            yield child
        finally:
            with self._lock:
                child.users -= 1

    def _take(self, name: str, folder: Path) -> LocalInferenceProcess:
        with self._lock:
            child = self._children.pop(name, None)
            if child is not None and not child.alive:
                child.close()
                child = None
            if child is None:
                idle = [other for other, process in self._children.items() if not process.users]
                for other in idle[: max(0, len(self._children) + 1 - MAX_CHILDREN)]:
                    self._children.pop(other).close()
                child = self._start(folder)
            self._children[name] = child
            child.users += 1
            return child

    def close(self) -> None:
        with self._lock:
            for child in self._children.values():
                child.close()
            self._children.clear()


@dataclass(frozen=True)
class ChildServedModel:
    """A child, and the name of the adapter in it; None is its base model."""

    child: LocalInferenceProcess
    adapter: str | None

    def complete_many(
        self, model: str, conversations: Sequence[Sequence[dict[str, Any]]], fields: Mapping[str, Any]
    ) -> Iterator[Completion]:
        return complete_chats_in_child(self.child, self.adapter, model, conversations, fields)

    def stream(self, messages: Sequence[dict[str, Any]], fields: Mapping[str, Any]) -> ChunkStream:
        chats = [list(messages)]
        answers = self.child.send_request(Complete(adapter=self.adapter, conversations=chats, stream=True, **fields))
        return ChunkStream(_chunks(answers), answers.close)

    def score(self, conversations: Sequence[Sequence[dict[str, Any]]], choices: Sequence[str]) -> Iterator[list[float]]:
        for start in range(0, len(conversations), CONVERSATIONS_PER_REQUEST):
            part = [list(messages) for messages in conversations[start : start + CONVERSATIONS_PER_REQUEST]]
            asked = self.child.send_request(Score(adapter=self.adapter, conversations=part, choices=list(choices)))
            for scores in order_child_answers(asked, Scores, len(part), self.child.model):
                yield [-math.inf if value is None else value for value in scores.log_likelihoods]


def _chunks(answers: LocalInferenceStream) -> Generator[Chunk]:
    """Yield the child's lines of one streamed answer, as OpenAI's chunks."""
    calls = 0
    with contextlib.closing(answers):
        for answer in answers:
            if isinstance(answer, Delta):
                yield Chunk.from_delta(content=answer.text)
            elif isinstance(answer, Called):
                call = answer.call
                arguments = call["function"]["arguments"]
                begun = call | {"index": calls, "function": call["function"] | {"arguments": ""}}
                yield Chunk.from_delta(tool_calls=[begun])
                yield Chunk.from_delta(tool_calls=[{"index": calls, "function": {"arguments": arguments}}])
                calls += 1
            elif isinstance(answer, GeneratedAnswer):
                yield Chunk.from_delta(
                    answer.finish_reason, openai_token_usage(answer.prompt_tokens, answer.completion_tokens)
                )


def child_completion_fields(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return OpenAI's options as the child takes them. Raises UnsupportedError for an option that would be ignored."""
    given = {name: value for name, value in options.items() if value is not None}
    if "max_completion_tokens" in given:
        given["max_tokens"] = given.pop("max_completion_tokens")
    if unknown := sorted(given.keys() - OPTIONS):
        raise UnsupportedError(
            f"the backend local does not take {', '.join(unknown)} for a completion; it takes "
            f"{', '.join(sorted(OPTIONS))}",
            param=unknown[0],
        )
    return given


def complete_chats_in_child(
    child: LocalInferenceProcess,
    adapter: str | None,
    model: str,
    conversations: Sequence[Sequence[dict[str, Any]]],
    fields: Mapping[str, Any],
) -> Iterator[Completion]:
    """Yield the answers in the order of the chats, named as from `model`.

    The child always has the next request while it answers one, so that no slot in its batch stays empty.
    """
    asked: deque[tuple[LocalInferenceStream, int]] = deque()
    for start in range(0, len(conversations), CONVERSATIONS_PER_REQUEST):
        part = [list(messages) for messages in conversations[start : start + CONVERSATIONS_PER_REQUEST]]
        answers = child.send_request(Complete(adapter=adapter, conversations=part, stream=False, **fields))
        asked.append((answers, len(part)))
        if len(asked) > 1:
            yield from _completions(*asked.popleft(), child, model)
    while asked:
        yield from _completions(*asked.popleft(), child, model)


def _completions(
    answers: Iterator[Reply], count: int, child: LocalInferenceProcess, model: str
) -> Iterator[Completion]:
    for answer in order_child_answers(answers, GeneratedAnswer, count, child.model):
        yield Completion(
            text=answer.text,
            model=model,
            finish_reason=answer.finish_reason,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            tool_calls=answer.tool_calls,
            seconds_to_first_token=answer.seconds_to_first_token,
            seconds=answer.seconds,
        )


def order_child_answers(answers: Iterator[Reply], kind: type[Indexed], count: int, model: str) -> Iterator[Indexed]:
    """Yield answers by their `index`, each as soon as those before it are there. Raises TrainingError if one is
    missing."""
    early: dict[int, Indexed] = {}
    due = 0
    for answer in answers:
        if isinstance(answer, kind):
            early[answer.index] = answer
        while due in early:
            yield early.pop(due)
            due += 1
    if due < count:
        raise TrainingError(f"the inference process for {model} answered {due} of {count} prompts; ask again")
