"""`python -m tuneport.infer --model FOLDER`: answers requests, one JSON object a line, on stdin and stdout.

Requests, each with an `id`:
- `{"op": "load_adapter", "name", "folder"}`
- `{"op": "complete", "adapter", "conversations", "stream"}` and OpenAI's `tools`, `max_tokens`, `temperature`, `top_p`,
  `stop`, `seed`: a line for each conversation when it is done, with `index`, `text`, `finish_reason`, `prompt_tokens`,
  `completion_tokens`, `seconds_to_first_token`, `seconds` and `tool_calls`; before it, with `stream`, lines with
  `index` and either `delta`, new text, or `tool_call`, the next call in OpenAI's shape
- `{"op": "score", "adapter", "conversations", "choices"}`: `index` and `log_likelihoods`, in nats, end of turn included
- `{"op": "cancel", "request"}`: the request of that id ends as it is; no answer of its own
- `{"op": "shutdown"}`

Each request ends with `{"id", "done": true}` or `{"id", "error": {"code", "message"}}`. Requests are answered together,
in whatever order they get done. The first line of all is `{"ready": true, "model", "device"}`; while there is work,
`{"working": true}` comes at least once a second of it, if no single step takes longer. The process ends when its stdin
has ended and all is answered, or nobody reads its answers.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import sys
import threading
import time
import traceback
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuneport.infer.protocol import Service

HEARTBEAT_SECONDS = 1.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tuneport.infer")
    parser.add_argument("--model", required=True, help="a folder, or the name of a base model")
    parser.add_argument("--home", type=Path, default=Path(os.environ.get("TUNEPORT_HOME") or Path.home() / ".tuneport"))
    parser.add_argument("--device-map", default="auto", help="auto, balanced, sequential, or a device")
    parser.add_argument("--precision", choices=["bf16", "fp16", "fp32"], help="what is fastest here, if left out")
    parser.add_argument("--load-in-4bit", action="store_true", help="for GPUs with too little memory")
    arguments = parser.parse_args()
    # Stdout is for the protocol alone: what a library prints goes to stderr.
    answers = Answers(os.dup(1))
    os.dup2(2, 1)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # see train/__main__.py
    lines: SimpleQueue[str | None] = SimpleQueue()
    threading.Thread(target=_read, args=(lines, answers), daemon=True).start()
    from tuneport.infer.protocol import error_of, serve

    try:
        service = serve(
            arguments.model,
            arguments.home,
            device_map=arguments.device_map,
            precision=arguments.precision,
            load_in_4bit=arguments.load_in_4bit,
        )
    except Exception as error:
        traceback.print_exc()
        answers.write({"id": None, "error": error_of(error)})
        return 1
    answers.write({"ready": True, "model": arguments.model, "device": service.engine.device.name})
    _serve(service, lines, answers)
    return 0


class Answers:
    """The pipe to whoever asks."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "w", encoding="utf-8")
        self._written = time.monotonic()

    def write(self, message: dict[str, Any]) -> None:
        """The process ends here where nobody reads any more."""
        try:
            self._file.write(json.dumps(message, ensure_ascii=False) + "\n")
            self._file.flush()
        except BrokenPipeError:
            os._exit(1)
        self._written = time.monotonic()

    def show_life(self) -> None:
        if time.monotonic() - self._written >= HEARTBEAT_SECONDS:
            self.write({"working": True})

    @property
    def unread(self) -> bool:
        """Whether the other end is closed, without writing anything."""
        poll = select.poll()
        poll.register(self._file.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _read(lines: SimpleQueue[str | None], answers: Answers) -> None:
    """Stdin to `lines`, None at its end. In a thread of its own, so that a parent's death is seen at any time."""
    with contextlib.suppress(ValueError, OSError):
        for line in sys.stdin:
            lines.put(line)
    lines.put(None)
    if answers.unread:
        os._exit(1)  # also while the model is loading, or in the middle of a long step


def _serve(service: Service, lines: SimpleQueue[str | None], answers: Answers) -> None:
    ending = False
    last: list[Any] = []  # the ids of shutdown requests, which are answered last
    while not ending or service.busy:
        with contextlib.suppress(Empty):
            while True:
                line = lines.get(block=not ending and not service.busy)
                ending = ending or line is None
                if line is not None and line.strip():
                    ending = _accept(line, service, answers, last) or ending
                if ending:
                    break
        if service.busy:
            service.step()
            answers.show_life()
    for number in last:
        answers.write({"id": number, "done": True})


def _accept(line: str, service: Service, answers: Answers, last: list[Any]) -> bool:
    """Take up one request; True if it is the last one."""
    from tuneport.infer.protocol import error_of

    number = None

    def write(fields: dict[str, Any]) -> None:
        answers.write({"id": number, **fields})

    try:
        request = json.loads(line)
        number = request.get("id")
        if request.get("op") == "shutdown":
            last.append(number)
            return True
        service.accept(request, write)
    except Exception as error:
        traceback.print_exc()
        write({"error": error_of(error)})
    return False


if __name__ == "__main__":
    sys.exit(main())
