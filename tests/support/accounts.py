"""An OpenAI account with three jobs, made with OpenAI's own SDK, and Together to move to: both emulated."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import tuneport
from tests.support.folders import FIXTURES
from tests.support.tiny import preference_rows, write_rows
from tests.support.waiting import until
from tuneport.gpus import GPUListing, NvidiaGPU
from tuneport.testing.emulators import OpenAIEmulator, TogetherEmulator

if TYPE_CHECKING:
    from tuneport.workflows.migrate import Migration

TRAIN = (FIXTURES / "datasets" / "support_intents.train.jsonl").read_bytes()
TEST = (FIXTURES / "datasets" / "support_intents.test.jsonl").read_bytes()
MINI, SMALL = "gpt-4.1-mini-2025-04-14", "gpt-4o-mini-2024-07-18"
LLAMA = "llama-3.1-8b-instruct"
PATIENCE = 90.0


@dataclass
class Account:
    """`jobs` by what is peculiar to each: dpo, held_out (has a validation file), gone (its training file was deleted).

    `copy` is a copy of the file that is gone; `files` is what the account still has to give, by id.
    """

    openai: OpenAIEmulator
    together: TogetherEmulator
    copy: Path
    jobs: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    def downloads(self) -> list[str]:
        """The ids of the files that were sent whole, as often as they were."""
        sent = self.openai.requests("GET", "/files/{id}/content")
        return [exchange.path.split("/")[-2] for exchange in sent if exchange.status == 200 and not exchange.fault]


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, isolated: Path) -> Iterator[Account]:
    import openai as sdk

    (isolated / "tuneport.toml").write_text("[backends.together.options]\npoll_interval = 0.01\n")
    with OpenAIEmulator(pace=1000) as openai, TogetherEmulator(pace=0.01, serverless_tuned=True) as together:
        client = sdk.OpenAI(api_key=openai.key, base_url=openai.base_url)

        def upload(name: str, content: bytes) -> str:
            return client.files.create(file=(name, content), purpose="fine-tune").id

        lines = TRAIN.splitlines(keepends=True)
        pairs = "".join(json.dumps(row) + "\n" for row in preference_rows(20)).encode()
        lost = b"".join(lines[:60])
        copy = tmp_path / "my copy.jsonl"
        copy.write_bytes(lost)
        made = Account(openai, together, copy)
        created = client.fine_tuning.jobs.create
        dpo: Any = {"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 2, "beta": 0.2}}}
        made.jobs["dpo"] = created(
            model=MINI, training_file=upload("pairs.jsonl", pairs), method=dpo, suffix="polite"
        ).id
        faster: Any = {"type": "supervised", "supervised": {"hyperparameters": {"learning_rate_multiplier": 2}}}
        made.jobs["held_out"] = created(
            model=MINI,
            training_file=upload("support train.jsonl", b"".join(lines[:100])),
            validation_file=upload("held-out.jsonl", b"".join([*lines[:6], *TEST.splitlines(keepends=True)[:6]])),
            method=faster,
            suffix="support",
            seed=7,
            metadata={"team": "blue"},
        ).id
        forgotten = upload("old faq.jsonl", lost)
        made.jobs["gone"] = created(model=SMALL, training_file=forgotten, suffix="faq").id
        upload("draft.jsonl", lines[0] + lines[1])
        openai.advance(3100)
        for job_id in made.jobs.values():
            assert client.fine_tuning.jobs.retrieve(job_id).status == "succeeded"
        client.files.delete(forgotten)
        made.files = dict(openai.contents)
        client.close()
        monkeypatch.setenv("TUNEPORT_OPENAI_BASE_URL", openai.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", openai.key)
        monkeypatch.setenv("TUNEPORT_TOGETHER_BASE_URL", together.base_url)
        monkeypatch.setenv("TOGETHER_API_KEY", together.key)
        yield made


@pytest.fixture
def gpu_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Says which GPU this machine has: "NVIDIA L4, 23034" (name and MiB), or "" for none."""
    from tuneport.lifecycle.planning import planning

    def listed(line: str) -> None:
        name, _, mebibytes = line.rpartition(", ")
        gpus = [NvidiaGPU(0, name, "GPU-1", total_gib=int(mebibytes) / 1024)] if line else []
        monkeypatch.setattr(planning, "list_gpus", lambda: GPUListing(gpus))
        planning._nvidia_gpu.cache_clear()

    yield listed
    planning._nvidia_gpu.cache_clear()


@pytest.fixture
def opened(account: Account) -> Iterator[Callable[..., Migration]]:
    """Opens a migration from the account (or from a saved folder), and closes it."""
    from tuneport.workflows.migrate import Migration

    migrations: list[Migration] = []

    def open_one(source: str | None = "openai", **options: Any) -> Migration:
        migrations.append(Migration(source, **options))
        return migrations[-1]

    yield open_one
    for migration in migrations:
        migration.close()


@pytest.fixture
def migrate() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `tuneport migrate ...` as a process of its own."""
    running: list[subprocess.Popen[str]] = []
    environment = os.environ | {"PYTHONPATH": str(Path(tuneport.__file__).parents[1]), "COLUMNS": "80"}

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tuneport.cli.main", "migrate", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, error = process.communicate(timeout=PATIENCE * 3)
    return process.returncode, out, error


def killed_when(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    """`kill -9` as soon as `condition` holds; the process must not have ended before."""

    def told() -> object:
        return process.communicate() if process.poll() is not None else "the process runs"

    until(condition, alive=lambda: process.poll() is None, told=told)
    process.send_signal(signal.SIGKILL)
    assert process.wait(PATIENCE) == -signal.SIGKILL


def chats(path: Path, count: int = 12) -> Path:
    rows = [
        {"messages": [{"role": "user", "content": f"Number {n}?"}, {"role": "assistant", "content": f"Answer {n}."}]}
        for n in range(count)
    ]
    return write_rows(path, rows)
