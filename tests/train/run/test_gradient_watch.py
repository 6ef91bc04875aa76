"""Gradients that are no numbers, or too large; the same in a whole run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny import lines_of, make_run, state_of
from tuneport.train.__main__ import train_run_folder
from tuneport.train.run.gradient_watch import GradientNotFiniteError, GradientWatch


def test_an_exploding_gradient_is_told_once() -> None:
    watch = GradientWatch(0.01, scaled=False)
    calm = [1.0, 2.0, 1.5] * 5
    wild = [500.0] * 8
    told = [warning for step, norm in enumerate(calm + wild, 1) if (warning := watch.check_gradient(step, norm))]
    assert len(told) == 1 and "step 18" in told[0] and "usual 1.5" in told[0]


@pytest.mark.parametrize("norms", [[1.0] * 12 + [500.0, 1.0] * 5, [900.0, 1.0] * 4, [0.0] * 4 + [1.0] * 20])
def test_single_batches_and_beginnings_are_no_explosion(norms: list[float]) -> None:
    watch = GradientWatch(0.01, scaled=False)
    assert not any(watch.check_gradient(step, norm) for step, norm in enumerate(norms, 1))


@pytest.mark.parametrize("norm", [math.nan, math.inf])
def test_a_gradient_that_is_no_number_ends_the_run(norm: float) -> None:
    with pytest.raises(GradientNotFiniteError, match="at step 3; lower the learning rate"):
        GradientWatch(0.01, scaled=False).check_gradient(3, norm)


def test_a_scaled_loss_may_overflow_until_its_scale_is_found() -> None:
    watch = GradientWatch(0.01, scaled=True)
    for step in range(20):
        assert watch.check_gradient(step, math.inf) is None
    watch.check_gradient(20, 1.0)
    with pytest.raises(GradientNotFiniteError):
        for step in range(21, 60):
            watch.check_gradient(step, math.nan)


def test_a_broken_gradient_fails_the_run_with_one_line_and_no_checkpoint_of_it(
    home: Path, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of the step is still a number; only its gradient is not."""
    import torch

    from tuneport.train.methods.sft import AnswerSFTTrainer

    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, loss: Any) -> Any:
            return loss.clone()

        @staticmethod
        def backward(context: Any, gradient: Any) -> Any:
            return gradient * math.nan

    compute = AnswerSFTTrainer.compute_loss

    def broken_at_the_sixth(self: Any, *args: Any, **rest: Any) -> Any:
        loss = compute(self, *args, **rest)
        return Broken.apply(loss) if self.state.global_step == 5 else loss

    monkeypatch.setattr(AnswerSFTTrainer, "compute_loss", broken_at_the_sixth)
    folder = make_run(home, model, data, provider_options={"precision": "fp32", "save_every": 1})
    assert train_run_folder(folder) == 1
    error = state_of(folder)["error"]
    assert error["code"] == "gradient_not_finite" and "at step 6" in error["message"]
    assert (folder / "checkpoints" / "step-5").is_dir() and not (folder / "checkpoints" / "step-6").exists()


def test_a_wild_gradient_is_an_event(home: Path, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tuneport.train.methods.sft import AnswerSFTTrainer

    compute = AnswerSFTTrainer.compute_loss

    def wild_after_twelve(self: Any, *args: Any, **rest: Any) -> Any:
        loss = compute(self, *args, **rest)
        return loss * 1e5 if self.state.global_step >= 12 else loss

    monkeypatch.setattr(AnswerSFTTrainer, "compute_loss", wild_after_twelve)
    folder = make_run(home, model, data, hyperparameters={"epochs": 5})
    assert train_run_folder(folder) == 0
    told = [event for event in lines_of(folder / "events.jsonl") if event["type"] == "gradient"]
    assert len(told) == 1 and told[0]["level"] == "warning"
