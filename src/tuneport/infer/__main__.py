"""`python -m tuneport.infer --model FOLDER`: answers requests, one JSON object a line, on stdin and stdout.

Requests, each with an `id`:
- `{"op": "load_adapter", "name", "folder"}`
- `{"op": "complete", "adapter", "conversations", "stream"}` and OpenAI's `tools`, `max_tokens`, `temperature`, `top_p`,
  `stop`, `seed`: a line for each conversation when it is done, with `index`, `text`, `finish_reason`, `prompt_tokens`,
  `completion_tokens` and `tool_calls`; before it, with `stream`, lines with `index` and `delta`
- `{"op": "score", "adapter", "conversations", "choices"}`: `index` and `log_likelihoods`, in nats, end of turn included
- `{"op": "shutdown"}`

Each request ends with `{"id", "done": true}` or `{"id", "error": {"code", "message"}}`. The first line of all is
`{"ready": true, "model", "device"}`. The process ends with its stdin.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuneport.infer.protocol import Service


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tuneport.infer")
    parser.add_argument("--model", required=True, help="a folder, or the name of a base model")
    parser.add_argument("--home", type=Path, default=Path(os.environ.get("TUNEPORT_HOME") or Path.home() / ".tuneport"))
    arguments = parser.parse_args()
    # Stdout is for the protocol alone: what a library prints goes to stderr.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # see train/__main__.py
    from tuneport.infer.protocol import error_of, serve

    try:
        service = serve(arguments.model, arguments.home)
    except Exception as error:
        traceback.print_exc()
        _write(answers, {"id": None, "error": error_of(error)})
        return 1
    _write(answers, {"ready": True, "model": arguments.model, "device": service.engine.device.name})
    for line in sys.stdin:
        if line.strip() and not _answer(line, service, answers):
            break
    return 0


def _answer(line: str, service: Service, answers: IO[str]) -> bool:
    """Handle one request; False after the last one."""
    number = None

    def write(fields: dict[str, Any]) -> None:
        _write(answers, {"id": number, **fields})

    try:
        request = json.loads(line)
        number = request.get("id")
        if request.get("op") != "shutdown":
            service.handle(request, write)
        write({"done": True})
        return bool(request.get("op") != "shutdown")
    except BrokenPipeError:
        return False
    except Exception as error:
        from tuneport.infer.protocol import error_of

        traceback.print_exc()
        write({"error": error_of(error)})
        return True


def _write(answers: IO[str], message: dict[str, Any]) -> None:
    answers.write(json.dumps(message, ensure_ascii=False) + "\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main())
