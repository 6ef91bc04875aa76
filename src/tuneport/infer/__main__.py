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
from typing import IO, Any


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tuneport.infer")
    parser.add_argument("--model", required=True, help="a folder, or the name of a base model")
    parser.add_argument("--home", type=Path, default=Path(os.environ.get("TUNEPORT_HOME") or Path.home() / ".tuneport"))
    arguments = parser.parse_args()
    # Stdout is for the protocol alone: what a library prints goes to stderr.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see train/__main__.py
    from tuneport.infer.protocol import error_of, serve

    try:
        service = serve(arguments.model, arguments.home)
    except Exception as error:
        traceback.print_exc()
        _write(answers, {"id": None, "error": error_of(error)})
        return 1
    _write(answers, {"ready": True, "model": arguments.model, "device": service.engine.device.name})
    for line in sys.stdin:
        if not line.strip():
            continue
        number = None
        try:
            request = json.loads(line)
            number = request.get("id")
            if request.get("op") == "shutdown":
                _write(answers, {"id": number, "done": True})
                return 0
            service.handle(request, lambda fields, number=number: _write(answers, {"id": number, **fields}))
            _write(answers, {"id": number, "done": True})
        except BrokenPipeError:
            return 0
        except Exception as error:
            traceback.print_exc()
            _write(answers, {"id": number, "error": error_of(error)})
    return 0


def _write(answers: IO[str], message: dict[str, Any]) -> None:
    answers.write(json.dumps(message, ensure_ascii=False) + "\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main())
