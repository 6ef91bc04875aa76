"""Curves in W&B and MLflow, by the libraries themselves, without a network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.tiny import lines_of, make_run, state_of


def trained(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, as ever: both libraries keep state and threads for as long as their process lives."""
    command = [sys.executable, "-m", "tuneport.train", str(folder)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "MLFLOW_"))}
    return subprocess.run(command, env=clean | environment, capture_output=True, text=True)


@pytest.mark.full
def test_wandb_has_the_curve_under_the_run_s_own_id(home: Path, model: Path, data: Path) -> None:
    pytest.importorskip("wandb", reason="pip install wandb")
    folder = make_run(home, model, data, name="run-w", wandb={"project": "bots", "name": "mine", "tags": ["a"]})
    done = trained(folder, WANDB_MODE="offline", WANDB_SILENT="true")
    assert done.returncode == 0, state_of(folder)["error"]
    (offline,) = (folder / "wandb").glob("offline-run-*-run-w")
    recorded = next(offline.glob("*.wandb")).read_bytes()
    for said in (b"train/loss", b"learning_rate", b"bots", b"mine"):
        assert said in recorded

    refused = make_run(home, model, data, name="run-x", wandb={"project": "bots"})
    done = trained(refused, WANDB_SILENT="true", HOME=str(home))
    error = state_of(refused)["error"]
    assert done.returncode == 1 and error["fault"] == "user"
    assert "W&B could not be started" in error["message"] and "WANDB_API_KEY" in error["message"]


@pytest.mark.full
def test_mlflow_is_told_where_its_server_is_named(
    home: Path, model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason="pip install mlflow-skinny")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database would need more of mlflow than mlflow-skinny
    from mlflow import MlflowClient

    uri = f"file://{tmp_path / 'mlflow'}"
    folder = make_run(home, model, data, name="run-m")
    assert trained(folder, MLFLOW_TRACKING_URI=uri, MLFLOW_ALLOW_FILE_STORE="true").returncode == 0, state_of(folder)[
        "error"
    ]
    assert not state_of(folder)["notes"]
    run_id = (folder / "mlflow_run_id").read_text()
    points = MlflowClient(uri).get_metric_history(run_id, "loss")
    assert [point.step for point in points] == [row["step"] for row in lines_of(folder / "metrics.jsonl")]

    unreachable = make_run(home, model, data, name="run-n")
    environment = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    assert trained(unreachable, **environment).returncode == 0
    assert "MLflow could not be started" in json.dumps(state_of(unreachable)["notes"])
