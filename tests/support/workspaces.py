"""A workspace on the home of the test, with a dataset and the fake backend."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tuneport.settings import Settings
from tuneport.types import TuneSpec

if TYPE_CHECKING:
    from tuneport.lifecycle.service import JobService
    from tuneport.testing.fake.backend import FakeBackend


def write_chats(path: Path, rows: int = 12) -> Path:
    """A small chat dataset with one question and answer a row, all different."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            messages = [
                {"role": "user", "content": f"Question number {number}?"},
                {"role": "assistant", "content": f"Answer {number}."},
            ]
            file.write(json.dumps({"messages": messages}) + "\n")
    return path


@pytest.fixture
def dataset(isolated: Path) -> Path:
    return write_chats(isolated / "train.jsonl")


@pytest.fixture
def workspace(settings: Settings) -> Iterator[JobService]:
    from tuneport.lifecycle.service import JobService

    with JobService(settings) as opened:
        yield opened


@pytest.fixture
def fake(workspace: JobService) -> FakeBackend:
    from tuneport.testing.fake.backend import FakeBackend

    backend = workspace.backend("fake")
    assert isinstance(backend, FakeBackend)
    return backend


@pytest.fixture
def start(workspace: JobService, dataset: Path) -> Callable[..., str]:
    """Submit a spec to the fake backend and return the job's id; nothing has been driven yet."""

    def submit(**values: object) -> str:
        spec = TuneSpec.model_validate({"model": "base", "dataset": dataset} | values)
        return workspace.submit(spec, backend="fake").id

    return submit
