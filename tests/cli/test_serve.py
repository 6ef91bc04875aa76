"""`tuneport serve` as a process: it dies at any moment, and what clients were promised is there afterwards."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run

pytest.importorskip("fastapi", reason="the gateway is an extra: pip install 'tuneport[serve]'")
openai = pytest.importorskip("openai", reason="the client of these tests: pip install 'tuneport[openai]'")

from tests.serve.conftest import OLD_MODEL, chats, ended, until  # noqa: E402


class Process:
    """The command, and where it listens."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tuneport.cli.main", "serve", "--port", "0", "--json"]
        command += ["--map", f"{OLD_MODEL}=stand-in"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        text = ""
        while "}" not in text:
            line = self.process.stdout.readline()
            assert line, self.process.communicate()
            text += line
        self.url = json.loads(text)["base_url"]
        self.client = openai.OpenAI(base_url=self.url, api_key="any", max_retries=0)
        until(self._answers)

    def _answers(self) -> bool:
        try:
            return bool(self.client.models.list())
        except openai.APIConnectionError:
            return False

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=120)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("TUNEPORT_BACKEND", "fake")
    processes: list[Process] = []

    def start() -> Process:
        processes.append(Process())
        return processes[-1]

    yield start
    for running in processes:
        if running.process.poll() is None:
            running.process.kill()
        running.process.communicate()


def test_killed_at_once_it_forgets_no_job_and_doubles_none(started: Any, tmp_path: Path) -> None:
    first = started()
    file = first.client.files.create(file=chats(tmp_path / "c.jsonl"), purpose="fine-tune")
    jobs = [first.client.fine_tuning.jobs.create(model=OLD_MODEL, training_file=file.id).id for _ in range(4)]
    time.sleep(0.05)
    assert first.end(signal.SIGKILL) == -signal.SIGKILL

    second = started()
    assert [row.id for row in second.client.fine_tuning.jobs.list()] == jobs[::-1]
    for job in jobs:
        assert ended(second.client, job).status == "succeeded"
    assert second.end(signal.SIGTERM) == 0
    remote = list((tmp_path / "home" / "fake" / "jobs").glob("*.json"))
    assert len(remote) == len(jobs), "each was started once over there"


def test_it_listens_here_only_and_says_what_is_wrong(run: Run) -> None:
    code, document, _ = run("serve", "--host", "0.0.0.0", "--json")
    assert code == 2 and "127.0.0.1" in document["error"]["message"]
    code, document, _ = run("serve", "--map", "nonsense", "--json")
    assert code == 2 and "--map" in document["error"]["message"]


def test_a_port_in_use_is_one_line(run: Run) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, document, _ = run("serve", "--port", str(taken.getsockname()[1]), "--json")
    assert code == 2 and "--port" in document["error"]["message"]
