"""A gateway with every backend, no task in the background until a test starts it, and an uploaded file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.attacks.gateway.generated import QUESTIONS, Answer, Attack, send, upload
from tests.support.gateways import Running

pytest.importorskip("fastapi", reason="the gateway is an extra: pip install 'tuneport[serve]'")

TINY = "tiny"


@dataclass
class Target:
    running: Running
    file_id: str
    weights: Path
    """What the operator calls `tiny`: an empty folder until a test needs weights."""
    token: str | None = None

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.running.url)
        assert parts.hostname is not None and parts.port is not None
        return parts.hostname, parts.port

    @property
    def home(self) -> Path:
        return self.running.gateway.settings.home

    def send(self, attack: Attack) -> Answer:
        return send(self.address, attack.method, attack.path, attack.body, self.token)

    def jobs(self) -> int:
        """How many there are, those that were only written down included."""
        told = send(self.address, "GET", "/v1/fine_tuning/jobs", token=self.token)
        return len(json.loads(told.text)["data"])


@pytest.fixture
def target(
    serve: Callable[..., Running],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., Target]]:
    for name in ("TOGETHER_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "k")
    for name in ("TOGETHER", "OPENAI"):  # nobody listens there
        monkeypatch.setenv(f"TUNEPORT_{name}_BASE_URL", "http://127.0.0.1:9/v1")
    weights = tmp_path / "operators" / "weights"
    weights.mkdir(parents=True)
    (weights / "config.json").write_text('{"model_type": "llama"}')
    (weights / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")  # no tensors

    def start(scope: str | None = None) -> Target:
        running = serve(f"{TINY}=local/{weights}", background=False)
        found = Target(running, "", weights)
        if scope is not None:
            found.token = running.gateway.unscoped.store.tokens.add("ci", scope=scope)[1]
        found.file_id = upload(found.address, QUESTIONS, found.token)
        return found

    yield start
