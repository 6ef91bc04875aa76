"""What a command says while it is busy, and the permission to read large files."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import typer

from tuneport.cli import main
from tuneport.cli.views.live.heartbeat import print_heartbeat
from tuneport.data.containers.limits import large_files_allowed
from tuneport.data.running.underway import report_data_activity

READS_DATA = ["check", "review", "clean", "preview", "split", "convert", "compare", "plan", "submit", "eval", "advise"]
IMPATIENT = {"first_seconds": 0.05, "every_seconds": 5.0, "look_seconds": 0.01, "short_seconds": 0.02}


def test_what_goes_on_for_long_is_told_and_a_terminal_obeys_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    with print_heartbeat(**IMPATIENT), report_data_activity("reading a\x1b[2Jb.csv", lambda: 0.25):
        time.sleep(0.4)
    said = capsys.readouterr()
    assert said.err.splitlines() == ["reading a\ufffd[2Jb.csv: 0 s, 25% done"]
    assert not said.out


def test_nothing_is_told_where_nothing_is_known_or_pieces_are_short(capsys: pytest.CaptureFixture[str]) -> None:
    with print_heartbeat(**IMPATIENT):
        time.sleep(0.1)
        for _ in range(20):
            with report_data_activity("waiting for a model"):
                time.sleep(0.001)
    assert not capsys.readouterr().err


def test_every_command_that_reads_data_takes_allow_large() -> None:
    commands = typer.main.get_command(main.app).commands  # type: ignore[attr-defined]
    options = {name: {option for each in commands[name].params for option in each.opts} for name in READS_DATA}
    assert [name for name, found in options.items() if "--allow-large" not in found] == []


def test_the_permission_is_for_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["check", str(tmp_path / "none.jsonl"), "--allow-large"]) == 2
    assert large_files_allowed()
    assert main.main(["check", str(tmp_path / "none.jsonl")]) == 2
    assert not large_files_allowed()
    assert capsys.readouterr().err.count("does not exist") == 2
