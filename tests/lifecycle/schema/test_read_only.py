"""A home that cannot be written shows what it holds, and says in one line that nothing can be changed."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.folders import FIXTURES
from tuneport.cli.main import main
from tuneport.lifecycle.service import JobService
from tuneport.settings import Settings
from tuneport.types import TuneSpec

SOMEBODY = 12345
TRAIN = FIXTURES / "datasets" / "support_intents.train.jsonl"


@pytest.fixture
def home() -> Iterator[Path]:
    """With one job, in a place that other users can reach."""
    folder = Path(tempfile.mkdtemp(prefix="tuneport-read-only-"))
    folder.chmod(0o755)
    home = folder / "home"
    with JobService(Settings(home=home)) as workspace:
        workspace.start(workspace.submit(TuneSpec(model="fake-small", dataset=TRAIN), backend="fake").id)
    yield home
    for place in (home, *home.rglob("*")):
        if place.is_dir():
            place.chmod(0o700)
    shutil.rmtree(folder)


def close(home: Path) -> None:
    """The home of somebody who may only read it."""
    for place in (*home.rglob("*"), home):
        if os.geteuid() == 0:
            os.chown(place, SOMEBODY, SOMEBODY)
        place.chmod(0o500 if place.is_dir() else 0o400)


def as_somebody(home: Path, *arguments: str) -> tuple[int, str]:
    """The command by an ordinary user: its exit code, and all that it wrote."""
    with tempfile.TemporaryFile() as written:
        child = os.fork()
        if child == 0:
            code = 70
            try:
                for stream in (1, 2):
                    os.dup2(written.fileno(), stream)
                import sys

                sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
                if os.geteuid() == 0:
                    os.setgroups([])
                    os.setgid(SOMEBODY)
                    os.setuid(SOMEBODY)
                os.environ["TUNEPORT_HOME"] = str(home)
                os.chdir("/")
                code = main(list(arguments))
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        written.seek(0)
        return code, written.read().decode()


def test_it_can_be_read_and_says_that_it_cannot_be_changed(home: Path) -> None:
    close(home)
    for command in (
        ("jobs",),
        ("show", "job-"),
        ("logs", "job-"),
        ("metrics", "job-"),
        ("jobs", "--costs"),
        ("store",),
    ):
        code, written = as_somebody(home, *command)
        assert code == 0, (command, written)
        assert "fake" in written or command[0] in ("store", "metrics"), (command, written)
    for command in (
        ("submit", "--yes", "--anyway", str(TRAIN), "--model", "fake-small", "--backend", "fake"),
        ("token", "create", "me"),
    ):
        code, written = as_somebody(home, *command)
        errors = [line for line in written.splitlines() if line.startswith("error:")]
        assert code == 2 and len(errors) == 1 and "read-only" in written and "a bug in" not in written, (
            command,
            written,
        )


def test_what_is_in_the_write_ahead_log_alone_is_shown(home: Path) -> None:
    """As a `kill -9` leaves it, on a disk that cannot be written afterwards."""
    copy = home.with_name("copied")
    copy.mkdir()
    connection = sqlite3.connect(home / "tuneport.db")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("UPDATE jobs SET note = 'only in the log'")
    connection.commit()
    for name in ("tuneport.db", "tuneport.db-wal"):
        shutil.copyfile(home / name, copy / name)
    connection.close()
    close(copy)
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    code, written = as_somebody(copy, "show", "job-")
    assert code == 0 and "only in the log" in written, written
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
    copy.chmod(0o700)
