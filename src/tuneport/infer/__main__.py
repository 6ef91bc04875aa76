"""`python -m tuneport.infer --model FOLDER`: answers the requests of `infer_protocol` on stdin, on stdout."""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import sys
import threading
import time
import traceback
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, TYPE_CHECKING

from tuneport.heavy_imports import heavy_imports
from tuneport.infer_protocol import (
    Ready,
    Reply,
    Working,
    decode_inference_request,
    encode_inference_message,
    parse_inference_request_id,
)

if TYPE_CHECKING:
    from tuneport.infer.protocol import InferenceService

HEARTBEAT_SECONDS = 1.0


def run_inference_child() -> int:
    parser = argparse.ArgumentParser(prog="python -m tuneport.infer")
    parser.add_argument("--model", required=True, help="a folder, or the name of a base model")
    parser.add_argument("--home", type=Path, default=Path(os.environ.get("TUNEPORT_HOME") or Path.home() / ".tuneport"))
    parser.add_argument("--device-map", default="auto", help="auto, balanced, sequential, or a device")
    parser.add_argument("--precision", choices=["bf16", "fp16", "fp32"], help="default: the fastest here")
    parser.add_argument("--load-in-4bit", action="store_true", help="for GPUs with too little memory")
    arguments = parser.parse_args()
    # Stdout is for the protocol alone: what a library prints goes to stderr.
    answers = InferenceReplyPipe(os.dup(1))
    os.dup2(2, 1)
    requests = take_over_stdin()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # see train/__main__.py
    lines: SimpleQueue[bytes | None] = SimpleQueue()
    threading.Thread(target=_read, args=(requests, lines, answers), daemon=True).start()
    with heavy_imports():
        from tuneport.data.templates.limits import bound_template_memory
        from tuneport.infer.protocol import inference_failure, load_inference_service

    bound_template_memory()
    try:
        service = load_inference_service(
            arguments.model,
            arguments.home,
            device_map=arguments.device_map,
            precision=arguments.precision,
            load_in_4bit=arguments.load_in_4bit,
        )
    except Exception as error:
        traceback.print_exc()
        answers.write(inference_failure(error))
        return 1
    answers.write(Ready(model=arguments.model, device=service.engine.device.name))
    _serve(service, lines, answers)
    return 0


class InferenceReplyPipe:
    """The pipe to the parent."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "wb")
        self._written = time.monotonic()

    def write(self, reply: Reply) -> None:
        self.write_line(encode_inference_message(reply))

    def write_line(self, line: bytes) -> None:
        """Write a line. Ends the process if the reader has gone."""
        try:
            self._file.write(line)
            self._file.flush()
        except BrokenPipeError:
            os._exit(1)
        self._written = time.monotonic()

    def send_heartbeat(self) -> None:
        if time.monotonic() - self._written >= HEARTBEAT_SECONDS:
            self.write(Working())

    @property
    def reader_is_gone(self) -> bool:
        """Return whether the other end is closed, without writing anything."""
        poll = select.poll()
        poll.register(self._file.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def take_over_stdin() -> IO[bytes]:
    """Return the requests sent to this process, and leave an empty stdin to anything else that reads it: a line of the
    protocol must not answer a library that asks something."""
    requests = os.fdopen(os.dup(0), "rb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return requests


def _read(requests: IO[bytes], lines: SimpleQueue[bytes | None], answers: InferenceReplyPipe) -> None:
    """Put requests into `lines`, and None at their end. Runs in a thread of its own, so that a parent's death is seen
    at any time."""
    with contextlib.suppress(ValueError, OSError):
        for line in requests:
            lines.put(line)
    lines.put(None)
    if answers.reader_is_gone:
        os._exit(1)  # also while the model is loading, or in the middle of a long step


def _serve(service: InferenceService, lines: SimpleQueue[bytes | None], answers: InferenceReplyPipe) -> None:
    ending = False
    while not ending or service.busy:
        with contextlib.suppress(Empty):
            while not ending:
                line = lines.get(block=not service.busy)
                ending = line is None
                if line is not None and line.strip():
                    _accept(line, service, answers)
        if service.busy:
            service.step()
            answers.send_heartbeat()


def _accept(line: bytes, service: InferenceService, answers: InferenceReplyPipe) -> None:
    from tuneport.infer.protocol import inference_failure

    number = None

    def write(reply: Reply) -> None:
        reply.id = number
        answers.write(reply)

    try:
        request = decode_inference_request(line)
        number = request.id
        service.accept_request(request, write)
    except Exception as error:
        traceback.print_exc()
        number = parse_inference_request_id(line) if number is None else number
        write(inference_failure(error))


if __name__ == "__main__":
    sys.exit(run_inference_child())
