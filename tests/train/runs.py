"""What the tests of the training loop ask of two runs: whether one that was broken off ended as the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.tiny import lines_of, state_of
from tuneport.train.__main__ import train_run_folder

UNTIMED = ("step", "epoch", "train_loss", "valid_loss", "train_accuracy", "valid_accuracy", "learning_rate", "extra")


def interrupt(folder: Path, after: int) -> None:
    """Train in this process until a step after `after`, as on SIGTERM or a pause: with a checkpoint of that step."""
    from tuneport.train.recipe import train
    from tuneport.train.run.run_folder import TrainingRunFolder

    run = TrainingRunFolder(folder)
    assert run.lock()
    try:
        train(run, lambda: (run.state["progress"].get("step") or 0) >= after)
    finally:
        run.clear_partial_folder()
        run.unlock()
    assert not run.finished


def weights_of(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    [file] = [*folder.glob("adapter/*.safetensors"), *folder.glob("model/*.safetensors")]
    tensors: dict[str, Any] = load_file(file)
    return tensors


def told(folder: Path) -> list[dict[str, Any]]:
    """The metrics, without what depends on the clock."""
    return [{name: row.get(name) for name in UNTIMED} for row in lines_of(folder / "metrics.jsonl")]


def assert_same_run(broken: Path, straight: Path) -> float:
    """Losses to the last bit, no line doubled or missing, tokens, weights within 1e-5; their largest difference."""
    assert state_of(broken)["status"] == state_of(straight)["status"] == "succeeded", state_of(broken)["error"]
    assert told(broken) == told(straight)
    assert state_of(broken)["trained_tokens"] == state_of(straight)["trained_tokens"]
    again, once = weights_of(broken), weights_of(straight)
    assert again.keys() == once.keys()
    apart = {name: float((again[name] - weights).abs().max()) for name, weights in once.items()}
    assert max(apart.values()) < 1e-5, apart
    return max(apart.values())


def finish(folder: Path) -> None:
    assert train_run_folder(folder) == 0, state_of(folder)["error"]
