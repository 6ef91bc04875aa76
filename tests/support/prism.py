"""Prism on this machine: a published document as a mock server, or as a validating proxy before an emulator."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.system_packages import prism_program

STARTUP_SECONDS = 120.0


@contextmanager
def prism(document: Path, log: Path, *, upstream: str | None = None) -> Iterator[str]:
    """Start Prism with `document` and yield its address: a mock server, or a validating proxy in front of `upstream`.

    Either refuses a request that the document does not have (4xx); the proxy also an answer (5xx).
    """
    program = prism_program()
    if program is None:
        pytest.skip("Prism is not installed: python -m tests.support.system_packages installs it where there is npm")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kind = ["mock", str(document)] if upstream is None else ["proxy", str(document), upstream]
    command = [*program, *kind, "--errors", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        try:
            _await(port, process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=20)


def _await(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"Prism did not start: {log.read_text()[-2000:]}")


class Heard:
    """What a backend's client asked and was told, by the hooks of its HTTP client."""

    def __init__(self, backend: Any) -> None:
        self.asked: list[tuple[str, str]] = []
        self.complaints: list[str] = []
        backend.client._client.event_hooks["response"].append(self._hear)

    def _hear(self, response: Any) -> None:
        request = response.request
        self.asked.append((request.method, request.url.path))
        if "stoplight.io/prism/errors" not in (said := response.read().decode("utf-8", "replace")):
            return
        told = json.loads(said)
        detail = [
            told.get("detail"),
            *(f"{row.get('location')}: {row['message']}" for row in told.get("validation", [])),
        ]
        self.complaints.append(f"{request.method} {request.url.path}: {response.status_code} {detail}")
