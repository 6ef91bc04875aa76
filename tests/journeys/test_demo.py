"""The whole journey with the real model: what `make demo` runs. Takes minutes, so it is in `make test-full`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TUNEPORT = [sys.executable, "-m", "tuneport.cli.main"]

MODEL = "smollm2-135m-instruct"

pytestmark = pytest.mark.full


def test_the_demo_trains_a_real_model_that_beats_every_way_of_asking_the_base(isolated: Path) -> None:
    """One seed; `benchmarks/demo.py` gives the mean of three. The bound leaves room for a seed's luck on 80 rows."""
    done = subprocess.run([*TUNEPORT, "demo", "--json"], capture_output=True, text=True, env=os.environ | {})
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    accuracy = {score["name"]: score["accuracy"] for score in document["scores"]}
    assert set(accuracy) == {"base", "base, few-shot", "base, likelihood", "tuned"}
    best_base = max(accuracy["base"], accuracy["base, few-shot"], accuracy["base, likelihood"])
    assert accuracy["tuned"] >= 0.75
    assert accuracy["tuned"] >= best_base + 0.15
    assert all(score["total"] == 80 for score in document["scores"])
    assert document["decision"]["ruling"] in ("ship", "not sure") and "it is better" in str(document["decision"])
    page = Path(document["report"]).read_text(encoding="utf-8")
    assert f"{accuracy['tuned']:.1%}" in page and f"{accuracy['base, few-shot']:.1%}" in page
    assert (Path(document["adapter"]) / "adapter_model.safetensors").stat().st_size > 1_000_000
    assert document["job"]["status"] == "succeeded" and document["job"]["trained_tokens"] > 0
    assert {row["backend"] for row in document["comparison"]["choices"]} == {"local", "openai", "together"}
    chat = [*TUNEPORT, "chat", document["job"]["id"], "My parcel never came and tracking has not moved for a week."]
    answer = subprocess.run([*chat, "--json"], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["text"]


@pytest.mark.parametrize(
    "name",
    [
        "alpaca_en_demo.json",
        "dpo_en_demo.json",
        "glaive_toolcall_en_demo.json",
        "gpt_tokens_fine-tuning-data.jsonl",
        "toy_chat_fine_tuning.jsonl",
    ],
)
def test_real_datasets_are_checked_converted_and_trained_on(shared_data: Path, isolated: Path, name: str) -> None:
    """The files as they are, with small batches since two cores train. Training is stopped after a few steps."""
    path = str(shared_data / name)
    checked = subprocess.run([*TUNEPORT, "check", path, "--json"], capture_output=True, text=True)
    report = json.loads(checked.stdout)
    assert report["findings"][0]["check"] == "schema" and report["findings"][0]["verdict"] == "pass"
    target = "openai-preference" if report["method"] == "dpo" else "openai"
    subprocess.run([*TUNEPORT, "convert", path, "--to", target, "-o", "out.jsonl"], check=True, capture_output=True)
    assert sum(1 for _ in Path("out.jsonl").open()) == report["rows"]

    from tuneport.lifecycle.service import JobService

    started = subprocess.run(
        [
            *TUNEPORT,
            "submit",
            "--yes",
            "--anyway",
            path,
            "--no-validation",
            "--model",
            MODEL,
            "--backend",
            "local",
            "--set",
            "batch_size=1",
            "--json",
        ],
        capture_output=True,
        text=True,
    )
    assert started.returncode == 0, started.stderr
    job = json.loads(started.stdout)
    assert job["method"] == report["method"]
    with JobService() as workspace:
        # Of the others, a second step is a row of up to 8,000 tokens: minutes on two cores.
        steps = 2 if name.startswith(("alpaca", "gpt_tokens")) else 1
        row = workspace.drive(job["id"], until=lambda row: len(workspace.metrics(row.id)) >= steps, poll_seconds=0.5)
        cuts = [event.message for _, event in workspace.events(row.id) if "cut at the end" in event.message]
        if name.startswith("glaive"):  # one record is longer than this model's context: trained on as far as it fits
            what = "1 record of the training file is over the limit of 8,192 tokens and cut at the end"
            assert cuts == [f"{what}: line 244 by 3,440"]
        else:
            assert not cuts
        assert row.status in ("running", "finalizing", "succeeded"), row.job_error
        losses = [point.train_loss for point in workspace.metrics(row.id)]
        assert all(loss is not None and loss == loss for loss in losses)
        workspace.cancel(row.id)
        assert workspace.drive(row.id, poll_seconds=0.5).status in ("cancelled", "succeeded")
