"""A damaged store ends each command rightly, or with one line and an exit code that says whose turn it is."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.attacks.stores.damage import damage
from tests.support.folders import FIXTURES
from tuneport.cli.main import main
from tuneport.lifecycle.service import JobService
from tuneport.settings import Settings
from tuneport.types import TuneSpec

COMMANDS = (["jobs"], ["show", "job-"], ["logs", "job-"], ["jobs", "--costs", "--json"], ["store"], ["metrics", "job-"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of one job, in one file."""
    home = tmp_path_factory.mktemp("whole")
    settings = Settings(home=home)
    with JobService(settings) as workspace:
        data = FIXTURES / "datasets" / "support_intents.train.jsonl"
        job = workspace.submit(TuneSpec(model="fake-small", dataset=data), backend="fake")
        workspace.start(job.id)
    with sqlite3.connect(home / "tuneport.db") as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()
    return home / "tuneport.db"


def ends_rightly(whole: Path, home: Path, seed: int, commands: int, capsys: pytest.CaptureFixture[str]) -> list[str]:
    wrong = []
    for number in range(commands):
        for old in home.glob("tuneport.db*"):
            old.unlink()
        shutil.copyfile(whole, home / "tuneport.db")
        told = damage(home / "tuneport.db", seed)
        command = COMMANDS[(seed + number) % len(COMMANDS)]
        code = main(command)
        out, error = capsys.readouterr()
        lines = [line for line in error.splitlines() if line.startswith("error:")]
        if code not in (0, 2, 3) or (code and len(lines) != 1) or "Traceback" in error or "a bug in" in error + out:
            wrong.append(f"{seed} {told}: {' '.join(command)} ended with {code}: {error[-300:]}")
    return wrong


def attack(whole: Path, seeds: range, commands: int, capsys: pytest.CaptureFixture[str]) -> None:
    home = Settings.load().home
    shutil.copytree(whole.parent / "fake", home / "fake")
    wrong = [each for seed in seeds for each in ends_rightly(whole, home, seed, commands, capsys)]
    assert not wrong, f"{len(wrong)} of {len(seeds) * commands}:\n" + "\n".join(wrong[:40])


def test_damaged_stores_end_in_one_line(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attack(whole, range(15), 1, capsys)


@pytest.mark.full
def test_many_damaged_stores_end_in_one_line(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attack(whole, range(1000, 1240), 3, capsys)
