"""A disk that fills: a real, small file system, on which the trainer runs out of room."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny import chat_rows, lines_of, make_run, state_of, write_rows
from tests.train.runs import assert_same_run, finish
from tuneport.backends.local.runs.run import LocalRun
from tuneport.train.__main__ import train_run_folder
from tuneport.train.run.reporting import TrainingReporter

SPEC: dict[str, Any] = {
    "adapter": "full",  # so that a checkpoint is of a megabyte
    "hyperparameters": {"epochs": 3, "learning_rate": 1e-3},
    "provider_options": {"precision": "fp32", "save_every": 2},
}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small-disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "uneven.jsonl", chat_rows(18))  # 15 steps in three epochs


def fill(disk: Path, leave: int) -> None:
    free = shutil.disk_usage(disk).free - leave
    with (disk / "ballast").open("ab") as ballast:
        os.posix_fallocate(ballast.fileno(), ballast.tell(), free)


def fill_at(monkeypatch: pytest.MonkeyPatch, disk: Path, step: int, leave: int) -> None:
    begin = TrainingReporter.on_step_begin

    def on_step_begin(self: Any, args: Any, state: Any, control: Any, **rest: Any) -> Any:
        if state.global_step == step:
            fill(disk, leave)
        return begin(self, args, state, control, **rest)

    monkeypatch.setattr(TrainingReporter, "on_step_begin", on_step_begin)


@pytest.mark.parametrize(
    ("at", "leave"), [(7, 0), *(pytest.param(3, leave, marks=pytest.mark.full) for leave in (40_000, 700_000))]
)
def test_a_full_disk_costs_the_steps_since_the_last_checkpoint_and_no_more(
    home: Path,
    small_disk: Path,
    model: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    at: int,
    leave: int,
) -> None:
    """With nothing left, with room for some lines, and with room for the weights but not for the optimizer."""
    broken, straight = make_run(small_disk, model, data, **SPEC), make_run(home, model, data, name="straight", **SPEC)
    with monkeypatch.context() as patch:
        fill_at(patch, small_disk, at, leave)
        assert train_run_folder(broken) == 1

    error = state_of(broken)["error"]
    assert error["code"] == "no_disk_space" and error["retryable"] and "\n" not in error["message"]
    assert "make room, then resume the job" in error["message"]
    assert lines_of(broken / "events.jsonl")[-1]["message"] == error["message"]
    steps = [row["step"] for row in lines_of(broken / "metrics.jsonl")]
    assert steps == list(range(1, len(steps) + 1)) and at <= len(steps) < 15
    [left] = (broken / "checkpoints").iterdir()
    assert len(steps) - 2 <= int(left.name.removeprefix("step-")) <= len(steps), "whole, and nothing beside it"

    (small_disk / "ballast").unlink()
    LocalRun(
        broken, ["true"], lambda: dict(os.environ)
    ).resume()  # its child would be the trainer; here it is this process
    assert state_of(broken)["status"] == "queued" and state_of(broken)["error"] is None
    finish(broken)
    finish(straight)
    assert_same_run(broken, straight)


def test_short_of_room_fewer_checkpoints_are_kept(
    home: Path, small_disk: Path, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two and a half checkpoints' room: the second is given up before the third is written, never the newest."""
    straight = make_run(home, model, data, name="straight", **SPEC)
    finish(straight)
    newest = straight / "checkpoints" / "step-15"
    size = sum(-(-file.stat().st_size // 4096) * 4096 for file in newest.iterdir())
    tight = make_run(small_disk, model, data, name="tight", **SPEC)
    fill(small_disk, int(size * 2.5))
    finish(tight)
    assert_same_run(tight, straight)
    assert (tight / "checkpoints" / "step-15").is_dir()


def test_a_disk_without_room_for_a_word_leaves_the_run_as_it_was(
    small_disk: Path, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even an older checkpoint can be given up to say it: nothing that is there is harmed."""
    folder = make_run(small_disk, model, data, **SPEC)
    with monkeypatch.context() as patch:
        fill_at(patch, small_disk, 1, 0)
        with pytest.raises(OSError, match="No space left"):
            train_run_folder(folder)
    state = json.loads((folder / "state.json").read_text())
    assert state["status"] == "running"
    for line in (folder / "metrics.jsonl").read_text().splitlines()[:1]:
        assert json.loads(line)["step"] == 1
    (small_disk / "ballast").unlink()
    finish(folder)
    assert [row["step"] for row in lines_of(folder / "metrics.jsonl")] == list(range(1, 16))


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name(
    home: Path, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Power may fail at any moment: first the bytes and names of its files, and the metrics up to it, then the rename,
    then the folder that it is renamed in."""
    done: list[tuple[str, str]] = []
    sync, rename = os.fsync, Path.rename

    def fsync(descriptor: int) -> None:
        done.append(("sync", os.readlink(f"/proc/self/fd/{descriptor}")))
        sync(descriptor)

    def renamed(self: Path, target: Path) -> Path:
        done.append(("rename", str(target)))
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", renamed)
    folder = make_run(home, model, data, hyperparameters={"epochs": 1})
    finish(folder)
    for target in (folder / "checkpoints" / "step-5", folder / "adapter"):
        moment = done.index(("rename", str(target)))
        before = {path for what, path in done[:moment] if what == "sync"}
        written = folder / "checkpoints" / ".writing" / ("checkpoint-5" if target.name == "step-5" else "weights")
        assert {str(written), *(str(written / file.relative_to(target)) for file in target.rglob("*"))} <= before
        assert str(folder / "metrics.jsonl") in before
        assert done[moment + 1] == ("sync", str(target.parent))
