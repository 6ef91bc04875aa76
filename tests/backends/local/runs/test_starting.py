"""A trainer that never begins is told of and ended; one that only takes long is left alone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tuneport.backends.local.runs import starting as local_starting
from tuneport.backends.local.runs.run import LocalRun
from tuneport.backends.local.runs.state import read_local_job_state

SPINS = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("OpenBLAS is stuck", flush=True)
while True: pass
"""
READS = """
import sys, time
content = open(sys.argv[1], "rb")
while True:
    content.seek(0)
    content.read(1 << 22)
    time.sleep(0.02)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., LocalRun]]:
    """A run whose child is the script; what still lives at the end is killed."""
    made: list[LocalRun] = []

    def begin(
        script: str, *arguments: str, still_limit: Mapping[str, timedelta] = local_starting.STILL_LIMIT
    ) -> LocalRun:
        folder = tmp_path / "home" / "runs" / f"run-{len(made):016x}"
        folder.mkdir(parents=True)
        request = {"run_id": folder.name, "model": "tiny", "model_name_or_path": "tiny", "spec": {}}
        (folder / "run.json").write_text(json.dumps(request))
        command = [sys.executable, "-c", script, *arguments]
        made.append(LocalRun(folder, command, lambda: os.environ, seconds_to_die=0.3, still_limit=still_limit))
        made[-1].start()
        return made[-1]

    yield begin
    for run in made:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(json.loads((run.folder / "spawn.json").read_text())["pid"], signal.SIGKILL)


IMPATIENT = {local_starting.NOT_UP: timedelta(seconds=3)}


def looked_after(run: LocalRun, until: Callable[[], Any], seconds: float) -> bool:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        run.supervise()
        if until():
            return True
        time.sleep(0.05)
    return False


def failed(run: LocalRun) -> bool:
    reported = run.read_trainer_report()
    return reported is not None and reported.status == "failed"


def test_a_trainer_that_only_spins_is_ended_with_one_line(start: Callable[..., LocalRun]) -> None:
    run = start(SPINS, still_limit=IMPATIENT)
    assert looked_after(run, lambda: failed(run), 60)
    reported = run.read_trainer_report()
    assert reported is not None and reported.error is not None
    error = reported.error
    assert error.code == "never_began" and error.retryable and error.fault == "provider"
    for part in ("starts its process", "OpenBLAS is stuck", f"tuneport resume {run.id}"):
        assert part in error.message
    assert "\n" not in error.message and not run.is_alive()
    assert run.events()[-1].message == error.message


def test_a_trainer_that_reads_for_long_is_left_alone(start: Callable[..., LocalRun], tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(bytes(1 << 22))
    run = start(READS, str(tmp_path / "weights"), still_limit=IMPATIENT)
    assert not looked_after(run, lambda: failed(run), 1.6)
    assert run.is_alive()


def test_where_it_stands_is_told_and_for_how_long(start: Callable[..., LocalRun]) -> None:
    run = start("import time; time.sleep(600)")
    assert read_local_job_state(run).details["phase"] == "the trainer starts its process"
    stamp = datetime.now(UTC)
    spawn = json.loads((run.folder / "spawn.json").read_text())
    (run.folder / "spawn.json").write_text(json.dumps(spawn | {"spawned_at": str(stamp - timedelta(minutes=8))}))
    said = {"phase": "loads its libraries", "since": str(stamp - timedelta(minutes=7)), "pid": 1}
    (run.folder / "starting.json").write_text(json.dumps(said))
    assert read_local_job_state(run).details["phase"] == "the trainer loads its libraries, for 7 min now"
    (run.folder / "starting.json").write_text(json.dumps(said | {"phase": "trains"}))
    assert "phase" not in read_local_job_state(run).details


def test_a_trainer_of_an_earlier_version_is_left_alone(start: Callable[..., LocalRun]) -> None:
    """It tells of no phases, and its state says that it trains."""
    run = start("import time; time.sleep(600)", still_limit=IMPATIENT)
    (run.folder / "state.json").write_text('{"status": "running"}')
    assert not looked_after(run, lambda: failed(run), 1.4)
    assert run.is_alive() and "phase" not in read_local_job_state(run).details
