"""An emulator as a program of its own, and what importing one needs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.testing.emulators.by_hand import job_that_succeeds, started

TEST_TOOLS = {"pytest", "_pytest", "hypothesis", "jsonschema", "yaml"}


@pytest.mark.parametrize("provider", ["openai", "together"])
def test_it_says_where_it_is_and_ctrl_c_ends_it_without_a_traceback(provider: str) -> None:
    with started(sys.executable, provider, "--port", "0") as (process, told):
        assert told["base_url"].startswith("http://127.0.0.1:")
        assert told["key"]
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (0, "", "")


def test_the_openai_sdk_tunes_a_model_on_it(tmp_path: Path) -> None:
    with started(sys.executable, "openai", "--pace", "0.05", "--key", "sk-mine") as (_, told):
        assert told["key"] == "sk-mine"
        job = job_that_succeeds(told, tmp_path)
    assert job["status"] == "succeeded" and job["fine_tuned_model"].startswith("ft:gpt-4.1-mini-2025-04-14:")


def test_a_port_that_is_taken_is_one_line() -> None:
    with started(sys.executable, "openai") as (_, told):
        port = told["base_url"].split(":")[2].partition("/")[0]
        command = [sys.executable, "-m", "tuneport.testing.emulators", "together", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"error: cannot listen on 127.0.0.1:{port}: Address already in use; try another --port\n"


def test_importing_the_emulators_needs_no_test_tool_and_no_sdk() -> None:
    code = "import json, sys, tuneport.testing.emulators; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert "tuneport" in loaded
    assert loaded & (TEST_TOOLS | {"openai", "together", "torch", "litellm"}) == set()
