from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., tuple[int, Any, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process: exit code, stdout (parsed where it is to be JSON), stderr."""

    from tuneport.cli.main import main

    def command(*arguments: str) -> tuple[int, Any, str]:
        code = main(list(arguments))
        out, error = capsys.readouterr()
        return code, json.loads(out) if "--json" in arguments else out, error

    return command
