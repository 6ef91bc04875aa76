"""Nothing in a home is ever readable by other users, under any umask, and a home of old is mended."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.attacks.privacy import watcher
from tests.support.folders import FIXTURES
from tests.support.waiting import until
from tuneport import private
from tuneport.backends.local.runs.process import spawn_local_run
from tuneport.backends.local.runs.runs import LocalRunStore
from tuneport.run_protocol import RunRequest

TRAIN = str(FIXTURES / "datasets" / "support_intents.train.jsonl")
SUBMIT = ["submit", "--yes", "--anyway", TRAIN, "--model", "fake-small", "--backend", "fake"]
STRANGER = 12345
_RUN = """
import json, os, sys
os.umask(int(sys.argv[1], 8))
from tuneport.cli.main import main
for arguments in json.loads(sys.argv[2]):
    code = main(arguments)
    assert code == 0, (arguments, code)
"""


@contextmanager
def watched(home: Path) -> Iterator[list[list[object]]]:
    found: list[list[object]] = []
    process = subprocess.Popen(
        [sys.executable, watcher.__file__, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "watching\n"
    try:
        yield found
    finally:
        written, _ = process.communicate("")
        *rows, looks = map(json.loads, written.splitlines())
        assert looks > 3, "it had no time to look"
        found += rows


@pytest.fixture
def place() -> Iterator[Path]:
    """Where other users can come as far as the home."""
    folder = Path(tempfile.mkdtemp(prefix="tuneport-private-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def run(mask: int, commands: list[list[str]], home: Path, **more: str) -> None:
    environment = os.environ | {"TUNEPORT_HOME": str(home)} | more
    subprocess.run([sys.executable, "-c", _RUN, oct(mask), json.dumps(commands)], env=environment, check=True)


def by_a_stranger(what: str) -> int:
    """The exit code of a shell command that another user runs; skips where we are not allowed to be another one."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user, who then tries to read the home")
    return subprocess.run(["sh", "-c", what], user=STRANGER, group=STRANGER, extra_groups=[], check=False,
                          capture_output=True, cwd="/").returncode  # fmt: skip


def test_a_home_is_closed_from_the_first_moment(place: Path) -> None:
    """Under the umask that forbids nothing; -o FILE follows it."""
    home, out = place / "home", place / "out.jsonl"
    with watched(home) as found:
        run(0, [SUBMIT, ["token", "create", "me"], ["doctor"], ["convert", TRAIN, "--to", "alpaca", "-o", str(out),
            "--allow-loss"]], home)  # fmt: skip
    assert found == [] and (home / "tuneport.db").exists() and list((home / "files").iterdir())
    assert stat.S_IMODE(out.stat().st_mode) == 0o666
    assert by_a_stranger(f"cat {out}") == 0
    assert by_a_stranger(f"ls {home}") != 0 and by_a_stranger(f"cat {home}/tuneport.db") != 0


def test_an_old_home_is_mended_once_and_in_one_line(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    home = place / "home"
    for folder in (home, home / "files", home / "evaluations"):
        folder.mkdir()
        folder.chmod(0o755)
    for name in ("tuneport.db", "files/a.jsonl", "evaluations/answers.sqlite", "files/linked"):
        (home / name).touch()
        (home / name).chmod(0o644)
    os.link(home / "files" / "linked", place / "meant-for-others")
    private.make_home_private(home)
    private.make_home_private(home)
    assert [str(home) in line for line in caplog.messages] == [True]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (home, *home.rglob("*"))}
    assert modes == {"home": 0o700, "files": 0o700, "evaluations": 0o700, "tuneport.db": 0o600, "a.jsonl": 0o600,
                     "answers.sqlite": 0o600, "linked": 0o644}  # fmt: skip


def test_a_folder_of_a_project_keeps_its_own_mode(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    home = place / "project"
    home.mkdir()
    for path in (home, home / "runs", home / "src"):
        path.mkdir(exist_ok=True)
        path.chmod(0o755)
    private.make_home_private(home)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (home, home / "runs", home / "src")] == [0o755, 0o700, 0o755]
    assert "runs in it" in caplog.text


def test_a_folder_that_a_group_shares_on_purpose_stays_the_group_s(place: Path) -> None:
    home = place / "home"
    home.mkdir()
    home.chmod(0o2775)
    private.make_home_private(home)
    private.make_private_folder(home / "files" / "deeper")
    with open(home / "files" / "it", "w", opener=private.private_file_opener):
        pass
    modes = [
        stat.S_IMODE(path.stat().st_mode) for path in (home, home / "files", home / "files/deeper", home / "files/it")
    ]
    assert modes == [0o2770, 0o2770, 0o2770, 0o660]
    other = place / "team"
    other.mkdir()
    other.chmod(0o755)
    (other / "plain").mkdir()
    private.make_private_folder(other / "plain" / "home")
    assert stat.S_IMODE((other / "plain" / "home").stat().st_mode) == 0o700


@pytest.mark.parametrize(("mode", "folder", "file"), [(0o2770, 0o2770, 0o660), (0o700, 0o700, 0o600)])
def test_what_training_writes_is_shared_where_the_home_is(place: Path, mode: int, folder: int, file: int) -> None:
    """The run's folder, its request, its log, and what libraries write that take no mode."""
    home = place / "home"
    home.mkdir()
    home.chmod(mode)
    runs, run_id = LocalRunStore(home / "runs"), "run-0123456789abcdef"
    runs.create(run_id, RunRequest(model="m"))
    run = home / "runs" / run_id
    code = "import os; os.makedirs('checkpoint/part'); open('checkpoint/part/model.safetensors', 'w').close()"
    spawn_local_run([sys.executable, "-c", code], run, dict(os.environ), run / "log.txt")
    weights = run / "checkpoint" / "part" / "model.safetensors"
    until(lambda: weights.exists())
    assert modes(run, run / "checkpoint", weights.parent) == [folder] * 3
    assert modes(run / "run.json", run / "log.txt", weights) == [file] * 3


def test_a_home_that_others_can_replace_is_told(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    place.chmod(0o777)
    (place / "home").mkdir(mode=0o700)
    private.make_home_private(place / "home")
    assert "everybody can write to" in caplog.text
    if os.geteuid() == 0:
        os.chown(place / "home", STRANGER, STRANGER)
        private.make_home_private(place / "home")
        assert "belongs to another user (uid 12345)" in caplog.text


def test_the_umask_is_read_and_not_set() -> None:
    before = os.umask(0o027)
    try:
        assert private.process_umask() == 0o027
    finally:
        os.umask(before)


def test_opening_a_result_leaves_what_its_links_lead_to(place: Path) -> None:
    """A link to the store among downloaded weights would else open the store to everybody."""
    store, result = place / "tuneport.db", place / "result"
    (result / "part").mkdir(parents=True, mode=0o700)
    (inner := place / "inner").mkdir(mode=0o700)
    for file in (store, inner / "key", result / "part" / "model.safetensors"):
        file.touch(0o600)
    (result / "part" / "a.json").symlink_to(store)
    (result / "inner").symlink_to(inner)
    (result / "nowhere").symlink_to(place / "gone")
    before, mask = modes(store, inner, inner / "key"), private.process_umask()
    private.restore_umask_permissions(result)
    assert modes(store, inner, inner / "key") == before
    weights = result / "part" / "model.safetensors"
    assert modes(weights, weights.parent) == [0o666 & ~mask, 0o777 & ~mask]


def modes(*paths: Path) -> list[int]:
    return [stat.S_IMODE(path.stat().st_mode) for path in paths]
