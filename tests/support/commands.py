from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., tuple[int, Any, str]]
Finish = Callable[..., str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process: exit code, stdout (parsed where it is to be JSON), stderr."""

    from tuneport.cli.main import main

    def command(*arguments: str) -> tuple[int, Any, str]:
        code = main(list(arguments))
        out, error = capsys.readouterr()
        return code, json.loads(out) if "--json" in arguments else out, error

    return command


@pytest.fixture
def finished(run: Run) -> Finish:
    """Submit by the command line, follow the job to its end without the pauses of `--wait`, and return its id."""

    from tuneport.lifecycle.service import JobService

    def finish(*arguments: str) -> str:
        code, document, error = run("submit", "--yes", "--anyway", *arguments, "--json")
        assert code == 0, error
        with JobService() as workspace:
            row = workspace.drive(document["id"], poll_seconds=0.05)
        assert row.status == "succeeded", row.error
        return row.id

    return finish
