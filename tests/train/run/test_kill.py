"""`kill -9` of a real trainer at random steps and moments; `LocalRun.supervise` brings it back, and nothing shows."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.tiny import chat_rows, lines_of, make_run, write_rows
from tests.support.waiting import until
from tests.train.runs import assert_same_run, finish
from tuneport.backends.local.runs.run import LocalRun

STEPS = 60
OPTIONS = {
    "precision": "fp32",
    "evaluate_every": 4,
    "save_every": 3,
    "average_weights": True,
    "prompt_loss_weight": 0.3,
}


def steps_taken(folder: Path) -> int:
    try:
        return (folder / "metrics.jsonl").read_bytes().count(b'"train_loss"')
    except FileNotFoundError:
        return 0


def killed_and_resumed(folder: Path, kills: list[tuple[str, float]]) -> list[str]:
    """Kill the trainer `at step` or `after` seconds of its life, as `kills` says; where it was, at each kill."""
    run = LocalRun(folder, [sys.executable, "-m", "tuneport.train"], lambda: os.environ | {"OMP_NUM_THREADS": "1"})
    run.start()
    where = []
    for kind, number in kills:
        if kind == "at step":
            until(lambda number=number: steps_taken(folder) >= number, pause=0.002)
            time.sleep(random.Random(number).uniform(0, 0.03))  # in the middle of a step, of a write, of a checkpoint
        else:
            time.sleep(number)
        pid = json.loads((folder / "spawn.json").read_text())["pid"]
        os.kill(pid, signal.SIGKILL)
        until(lambda: not run.is_alive())
        steps = steps_taken(folder)
        where.append(f"step {steps}" if kind == "at step" else f"{number:.1f} s, step {steps}")
        report = run.read_trainer_report()
        assert report is None or report.status != "succeeded", f"too late at {where}"
        run.supervise()
    until(lambda: (state := run.read_trainer_report()) is not None and state.status in ("succeeded", "failed"))
    until(lambda: not run.is_alive())
    assert run.read_restarts().total == len(kills)
    return where


def kill_and_compare(home: Path, model: Path, tmp_path: Path, seed: int, kills: list[tuple[str, float]]) -> None:
    spec: dict[str, Any] = {
        "validation": write_rows(tmp_path / "valid.jsonl", chat_rows(4)),
        "hyperparameters": {"epochs": STEPS // 5, "lora_dropout": 0.2},
        "provider_options": OPTIONS,
        "seed": seed,
    }
    data = write_rows(tmp_path / "train.jsonl", chat_rows(18))  # five steps an epoch, the last one smaller
    killed, straight = (make_run(home, model, data, name=name, **spec) for name in ("killed", "straight"))
    where = killed_and_resumed(killed, kills)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as many as the killed one has: sums may round otherwise
    try:
        finish(straight)
    finally:
        torch.set_num_threads(threads)
    steps = [row["step"] for row in lines_of(killed / "metrics.jsonl") if "train_loss" in row]
    assert steps == list(range(1, STEPS + 1))
    apart = assert_same_run(killed, straight)
    print(f"\nseed {seed}: killed at {', '.join(where)}; the weights differ by {apart:g} at most")
    assert sorted(path.name for path in (killed / "checkpoints").iterdir()) == sorted(
        path.name for path in (straight / "checkpoints").iterdir()
    ), "nothing is left of what was being written"


@pytest.mark.full
def test_two_kills_in_one_run_leave_no_trace(home: Path, model: Path, tmp_path: Path) -> None:
    kill_and_compare(home, model, tmp_path, 1, [("at step", 8), ("at step", 31)])


@pytest.mark.full
@pytest.mark.parametrize("seed", [11, 12, 13, 14])
def test_twenty_random_kills_leave_no_trace(home: Path, model: Path, tmp_path: Path, seed: int) -> None:
    """Five in each of four runs."""
    dice = random.Random(seed)
    steps = sorted(dice.sample(range(1, STEPS - 8, 5), 3))
    kills: list[tuple[str, float]] = [("at step", step) for step in steps]
    for _ in range(2):  # while it starts, loads, or already trains
        kills.insert(dice.randrange(len(kills) + 1), ("after", dice.uniform(0.1, 6)))
    kill_and_compare(home, model, tmp_path, seed, kills)
