"""A real run of a tiny model, killed in its middle; its copies, damaged; and whether each ends as it must."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.attacks.checkpoints.damages import Damage, steps
from tests.support.tiny import chat_rows, make_run, tiny_model, write_rows
from tuneport.backends.local.runs.run import LocalRun
from tuneport.data.conversion.prepare import convert_dataset_for_method
from tuneport.data.dataset import Dataset
from tuneport.train.__main__ import train_run_folder
from tuneport.types import Method

RUN = "run-00000000000000ab"
STEPS_BEFORE_THE_KILL = 9  # of 16: checkpoints of the steps 4 and 8 are there
PATIENCE = 300.0


@dataclass(frozen=True)
class Outcome:
    """`wrong`: what is not as it must be, or an empty string."""

    damage: str
    ended: str
    told: str
    wrong: str


class Bench:
    """`folder` holds the killed run (`killed`) and the final weights of one that was left alone."""

    def __init__(self, folder: Path) -> None:
        import torch

        # As many threads as the killed one has, for sums to round alike; one, as several only wait for each other here.
        torch.set_num_threads(1)
        self.folder = folder
        self.model = tiny_model(folder / "model")
        self.rows = write_rows(folder / "rows.jsonl", chat_rows(16))
        _kill(self._made("killed"))
        straight = self._made("straight")
        assert train_run_folder(straight) == 0, _state(straight)["error"]
        self.weights = _weights(straight)

    def _made(self, name: str) -> Path:
        home = self.folder / name
        home.mkdir()
        original = home / "original.jsonl"
        original.write_bytes(self.rows.read_bytes())
        prepared = convert_dataset_for_method(Method.SFT, Dataset(original), "openai", home / "files").path
        run = make_run(home, self.model, prepared, name=RUN, hyperparameters={"epochs": 4, "lora_dropout": 0.2})
        request = json.loads((run / "run.json").read_text())
        request["spec"] |= {"dataset": str(original)}
        request["spec"]["provider_options"] |= {"save_every": 4}
        (run / "run.json").write_text(json.dumps(request))
        return run

    def try_one(self, damage: Damage, seed: int = 0) -> Outcome:
        """Damage a copy of the killed run, let it go on, and judge it."""
        home = self.copied("killed", self.folder / "case")
        run = home / "runs" / RUN
        (data,) = (home / "files").glob("*.jsonl")
        before = len(_events(run))
        damage.do(run, data, random.Random(f"{damage.name} {seed}"))
        code = train_run_folder(run)
        state, new = _state(run), _events(run)[before:]
        told = [event for event in new if event["level"] in ("warning", "error")]
        ended = str(state["status"])
        return Outcome(damage.name, ended, " | ".join(row["message"] for row in told), self._wrong(damage, run, code))

    def copied(self, name: str, home: Path) -> Path:
        """A copy of one of the two homes, whose run knows where it is."""
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(self.folder / name, home)
        request = home / "runs" / RUN / "run.json"
        request.write_text(request.read_text().replace(str(self.folder / name), str(home)))
        return home

    def resumed(self) -> str:
        """Let the case that was tried last go on as `tuneport resume` does; what is wrong with its end, or nothing."""
        run = self.folder / "case" / "runs" / RUN
        backend = LocalRun(run, [sys.executable, "-m", "tuneport.train"], lambda: os.environ | {"OMP_NUM_THREADS": "1"})
        backend.resume()
        deadline = time.monotonic() + PATIENCE
        while _state(run)["status"] not in ("succeeded", "failed"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        if _state(run)["status"] == "failed":
            return str(_state(run)["error"]["message"])
        return "" if _same(_weights(run), self.weights) else "other weights"

    def warnings(self) -> list[str]:
        """What the case that was tried last has told."""
        events = _events(self.folder / "case" / "runs" / RUN)
        return [event["message"] for event in events if event["level"] == "warning"]

    def _wrong(self, damage: Damage, run: Path, code: int) -> str:
        state = _state(run)
        told = " ".join(event["message"] for event in _events(run) if event["level"] in ("warning", "error"))
        if damage.ends == "stop":
            if state["status"] != "failed":
                return f"it {state['status']} on damaged files"
            message = state["error"]["message"]
            named = "Error:" not in message and ("damaged" in message or "no checkpoint of the run is whole" in message)
            return "" if named and "\n" not in message and steps(run) else f"does not say so: {message[:80]}"
        if state["status"] != "succeeded" or code:
            return f"{state['status']}: {(state['error'] or {}).get('message', '')[:80]}"
        if not _same(_weights(run), self.weights):
            return "other weights, " + ("told" if told else "without a word")
        if damage.ends == "silent":
            return "told of damage where there is none" if told else ""
        return "" if "damaged" in told else "not told"


def _kill(run: Path) -> None:
    """Train in a process that rests before each step, and kill it -9 once it has taken `STEPS_BEFORE_THE_KILL` steps.

    Forked before this process has trained: importing torch anew would take longer than all the rest.
    """
    import tuneport.train.recipe  # noqa: F401
    from tuneport.train.run.reporting import TrainingReporter

    child = os.fork()
    if not child:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        TrainingReporter.on_step_begin = lambda self, *args, **rest: time.sleep(0.05)  # type: ignore[method-assign]
        try:
            train_run_folder(run)
        finally:
            os._exit(1)
    deadline = time.monotonic() + PATIENCE
    while _taken(run) < STEPS_BEFORE_THE_KILL and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    shutil.rmtree(run / "checkpoints" / ".writing", ignore_errors=True)
    assert _state(run)["status"] == "running" and [path.name for path in steps(run)] == ["step-4", "step-8"]


def _taken(run: Path) -> int:
    path = run / "metrics.jsonl"
    return path.read_bytes().count(b'"train_loss"') if path.exists() else 0


def _weights(run: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    found: dict[str, Any] = load_file(run / "adapter" / "adapter_model.safetensors")
    return found


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(bool((one[name] == other[name]).all()) for name in one)


def _state(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "state.json").read_text())
    return found


def _events(run: Path) -> list[dict[str, Any]]:
    path = run / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
