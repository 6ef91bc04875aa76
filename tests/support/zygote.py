"""Forks gateways that start at once: `python -m tests.support.zygote` imports everything one time, before.

A line of JSON on stdin (`arguments` of the tuneport command, `environment`, `folder`) starts a process; the answer is
its process id. Nobody waits for it: it vanishes from the process table when it ends.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import httpx  # noqa: F401
import openai.resources.fine_tuning  # noqa: F401
import uvicorn  # noqa: F401

import tuneport.backends.openai.backend  # noqa: F401
import tuneport.lifecycle.service  # noqa: F401
import tuneport.serve.jobs.job_maker  # noqa: F401
import tuneport.serve.jobs.results  # noqa: F401
from tuneport.cli.main import main


def serve_requests() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        asked = json.loads(line)
        process = os.fork()
        if process == 0:
            _become(asked)
        print(process, flush=True)


def _become(asked: dict) -> None:
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for descriptor, name in ((1, "output"), (2, "log")):
            file = os.open(Path(asked["folder"]) / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(file, descriptor)
        os.environ.clear()
        os.environ.update(asked["environment"])
        os.chdir(asked["folder"])
        code = main(asked["arguments"])
    finally:
        os._exit(code)


if __name__ == "__main__":
    serve_requests()
