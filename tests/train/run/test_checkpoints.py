"""What an interruption leaves behind, and what the next child makes of it. Real kills are in `test_kill.py`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.tiny import lines_of, make_run, state_of, write_rows
from tuneport.train.__main__ import train_run_folder


def test_averaged_weights_are_those_of_a_run_without_a_break(home: Path, model: Path, data: Path) -> None:
    from safetensors.torch import load_file

    runs = []
    for name in ("straight", "broken"):
        options = {"precision": "fp32", "average_weights": True, "prompt_loss_weight": 0.1}
        runs.append(make_run(home, model, data, name=name, hyperparameters={"epochs": 3}, provider_options=options))
        assert train_run_folder(runs[-1]) == 0
    straight, broken = runs
    shutil.rmtree(broken / "checkpoints" / "step-12")
    shutil.rmtree(broken / "adapter")
    (broken / "state.json").unlink()  # as if killed after the second epoch
    assert train_run_folder(broken) == 0

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

    assert train_run_folder(folder) == 0
    assert state_of(folder)["status"] == "succeeded"
    assert not (folder / "checkpoints" / ".writing").exists()


@pytest.mark.full
def test_learning_from_answers_goes_on_where_it_was_killed(home: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "resumed_reward.py").write_text("def one(prompts, completions, **columns): return [1.0] * len(prompts)")
    questions = [{"messages": [{"role": "user", "content": f"Say {number}"}]} for number in range(8)]
    folder = make_run(
        home,
        model,
        write_rows(tmp_path / "questions.jsonl", questions),
        format="openai-reinforcement",
        hyperparameters={"epochs": 3},
        method="grpo",
        reward="resumed_reward:one",
        reward_folder=str(tmp_path),
        provider_options={"precision": "fp32", "generations": 2, "max_completion_length": 4},
    )
    assert train_run_folder(folder) == 0
    tokens = state_of(folder)["trained_tokens"]
    shutil.rmtree(folder / "checkpoints" / "step-6")
    shutil.rmtree(folder / "adapter")
    (folder / "state.json").unlink()  # as if killed after the second epoch
    assert train_run_folder(folder) == 0
    assert [row["step"] for row in lines_of(folder / "metrics.jsonl")] == list(range(1, 7))
    # Other answers may be drawn than in the first run; their prompts and the steps before are counted as they were.
    assert abs(state_of(folder)["trained_tokens"] - tokens) <= 2 * 4 * 2 * 4
