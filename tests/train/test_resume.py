"""What an interruption leaves behind, and what the next child makes of it. Real kills are in `test_kill.py`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.train.tiny import make_run, state_of
from tuneport.train.__main__ import main


def test_averaged_weights_are_those_of_a_run_without_a_break(home: Path, model: Path, data: Path) -> None:
    from safetensors.torch import load_file

    runs = []
    for name in ("straight", "broken"):
        options = {"precision": "fp32", "average_weights": True, "prompt_loss_weight": 0.1}
        runs.append(make_run(home, model, data, name=name, hyperparameters={"epochs": 3}, provider_options=options))
        assert main(runs[-1]) == 0
    straight, broken = runs
    shutil.rmtree(broken / "checkpoints" / "step-12")
    shutil.rmtree(broken / "adapter")
    (broken / "state.json").unlink()  # as if killed after the second epoch
    assert main(broken) == 0

    again, once = (load_file(run / "adapter" / "adapter_model.safetensors") for run in (broken, straight))
    last = load_file(straight / "checkpoints" / "step-12" / "adapter_model.safetensors")
    assert any((once[name] - last[name]).abs().max() > 1e-4 for name in once)  # a mean, not the last weights
    for name, weights in once.items():
        assert (again[name] - weights).abs().max() < 1e-5, name


@pytest.mark.parametrize("broken", ["half a checkpoint", "half a state"])
def test_what_a_kill_leaves_half_done_is_ignored(home: Path, model: Path, data: Path, broken: str) -> None:
    folder = make_run(home, model, data, hyperparameters={"epochs": 1})
    if broken == "half a checkpoint":
        (folder / "checkpoints" / ".writing" / "checkpoint-4").mkdir(parents=True)
    else:
        (folder / ".state.json.123").write_text('{"status": "run')

    assert main(folder) == 0
    assert state_of(folder)["status"] == "succeeded"
    assert not (folder / "checkpoints" / ".writing").exists()
