"""What a run leaves behind: a folder that explains itself, weights that merge, and an adapter to go on from."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.tiny import chat_rows, lines_of, make_run, preference_rows, state_of, tiny_model, write_rows
from tuneport.errors import TrainingError, UnsupportedError
from tuneport.train.__main__ import train_run_folder
from tuneport.train.output.merge import merge_adapter
from tuneport.train.run.run_folder import TrainingRunFolder

PICKLES = {".bin", ".pt", ".pth", ".pkl"}


def scalars(folder: Path) -> dict[str, list[int]]:
    """The steps at which each curve has a point, over all event files of a run."""
    from tuneport.train.run.tensorboard import read_tensorboard_events

    found: dict[str, list[int]] = {}
    for path in sorted((folder / "tensorboard").glob("*tfevents*")):
        for _, event in read_tensorboard_events(path):
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found.setdefault(value.tag, []).append(event.step)
    return found


def test_the_folder_explains_itself(home: Path, model: Path, data: Path, tmp_path: Path) -> None:
    import hashlib

    from huggingface_hub import ModelCard, metadata_load

    valid = write_rows(tmp_path / "valid.jsonl", chat_rows(4))
    folder = make_run(home, model, data, validation=valid, hyperparameters={"epochs": 2, "max_length": None})
    assert train_run_folder(folder) == 0, state_of(folder)["error"]

    environment = json.loads((folder / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__
    assert environment["device"] == {"name": "cpu", "precision": "fp32"} and environment["cpu"]["cores"]
    facts = json.loads((folder / "data.json").read_text())
    assert facts["training"]["sha256"] == hashlib.sha256(data.read_bytes()).hexdigest()
    assert facts["training"]["rows"] == 16 and facts["validation"]["rows"] == 4
    assert 0 < facts["training"]["trained_tokens"] < facts["training"]["tokens"]

    state = state_of(folder)
    assert state["hyperparameters"]["max_length"] == facts["training"]["longest_row_tokens"]
    trainer = state["trainer"]
    assert trainer["micro_batch"] * trainer["accumulation"] == 4 and trainer["scheduler"] == "cosine"
    assert scalars(folder)["train/loss"] == list(range(1, 9)) and scalars(folder)["eval/loss"] == [4, 8]

    front = metadata_load(folder / "adapter" / "README.md")
    assert front is not None
    assert front["library_name"] == "peft" and "sft" in front["tags"]
    assert "base_model" not in front, "the hub refuses a base that it does not have"
    card = ModelCard.load(folder / "adapter" / "README.md").text
    for said in (f"`{facts['training']['sha256']}`", "validation loss", "tuneport submit train.jsonl --backend local"):
        assert said in card
    assert str(home) not in card, "the folders of this machine are nobody else's business"
    assert {path.suffix for path in (folder / "adapter").rglob("*")}.isdisjoint(PICKLES)
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()


def test_an_interrupted_curve_goes_on_without_doubles(home: Path, model: Path, data: Path) -> None:
    folder = make_run(home, model, data, hyperparameters={"epochs": 3})
    assert train_run_folder(folder) == 0
    expected = scalars(folder)["train/loss"]
    # As a kill leaves it: measured beyond the newest checkpoint, the last record torn.
    shutil.rmtree(folder / "checkpoints" / "step-12")
    shutil.rmtree(folder / "adapter")
    (folder / "state.json").unlink()
    events = next((folder / "tensorboard").glob("*tfevents*"))
    with events.open("ab") as file:
        file.write(b"\x20\0\0\0")

    assert train_run_folder(folder) == 0
    assert expected == scalars(folder)["train/loss"] == list(range(1, 13))
    assert [row["step"] for row in lines_of(folder / "metrics.jsonl")] == list(range(1, 13))


@pytest.mark.parametrize("variant", [None, "dora", pytest.param("rslora", marks=pytest.mark.full)])
def test_merged_weights_answer_as_the_adapter(
    variant: str | None, home: Path, model: Path, data: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    options = {"precision": "fp32"} | ({"lora_variant": variant} if variant else {})
    folder = make_run(home, model, data, hyperparameters={"epochs": 2}, provider_options=options)
    assert train_run_folder(folder) == 0

    target = tmp_path / "merged"
    figures = merge_adapter(TrainingRunFolder(folder), folder / "adapter", target)
    assert figures["relative_difference"] < 1e-5 and figures["same_choice"] == 1.0
    assert figures["effect_of_adapter"] > 100 * figures["mean_difference"]
    whole = AutoModelForCausalLM.from_pretrained(target)
    assert AutoTokenizer.from_pretrained(target).chat_template
    assert whole.generation_config.eos_token_id == 0 and "peft" not in json.dumps(whole.config.to_dict())
    card = (target / "README.md").read_text()
    assert "merged into the base weights (float32)" in card and "library_name: transformers" in card
    assert {path.suffix for path in target.rglob("*")}.isdisjoint(PICKLES)


def test_a_reward_model_is_merged_with_its_head(home: Path, model: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    data = write_rows(tmp_path / "pairs.jsonl", preference_rows(8))
    spec = {"method": "reward", "format": "openai-preference"}
    folder = make_run(home, model, data, hyperparameters={"epochs": 2}, **spec)
    assert train_run_folder(folder) == 0, state_of(folder)["error"]
    figures = merge_adapter(TrainingRunFolder(folder), folder / "adapter", tmp_path / "merged")
    assert figures["relative_difference"] < 1e-4
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged").config.num_labels == 1
    assert "AutoModelForSequenceClassification" in (tmp_path / "merged" / "README.md").read_text()


def test_an_adapter_over_4_bits_is_merged_into_them(home: Path, data: Path, tmp_path: Path) -> None:
    """Into the weights of before quantisation it would answer otherwise; the difference is measured here."""
    pytest.importorskip("bitsandbytes", reason="QLoRA needs bitsandbytes")
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from tuneport.train.output.merge import _logits, compare_merged_logits

    model = tiny_model(tmp_path / "tiny")
    options = {"precision": "bf16"}
    folder = make_run(
        home, model, data, adapter="qlora", hyperparameters={"epochs": 2}, provider_options=options
    )  # fmt: skip
    assert train_run_folder(folder) == 0, state_of(folder)["error"]

    figures = merge_adapter(TrainingRunFolder(folder), folder / "adapter", tmp_path / "merged")
    rows = [[1, 5, 6, 7, 8, 9], [1, 9, 8, 7]]
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype="auto").eval()
    assert merged.dtype == torch.bfloat16 and not hasattr(merged.config, "quantization_config")
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    over_16_bits = _logits(PeftModel.from_pretrained(base, str(folder / "adapter")).eval(), rows)
    otherwise = compare_merged_logits(over_16_bits, _logits(merged, rows), over_16_bits)
    assert figures["relative_difference"] < 0.05 < otherwise["relative_difference"]


def test_a_merge_that_went_wrong_is_noticed(
    home: Path, model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import PeftModel

    folder = make_run(home, model, data, hyperparameters={"epochs": 1})
    assert train_run_folder(folder) == 0

    def without_the_adapter(self: Any, **options: Any) -> Any:
        return self.unload()

    monkeypatch.setattr(PeftModel, "merge_and_unload", without_the_adapter, raising=False)
    with pytest.raises(TrainingError, match="answers differ from the adapter"):
        merge_adapter(TrainingRunFolder(folder), folder / "adapter", tmp_path / "merged")
    trained = json.loads((folder / "run.json").read_text())
    trained["spec"]["adapter"] = "prefix"
    (folder / "run.json").write_text(json.dumps(trained))
    with pytest.raises(UnsupportedError, match="is in no weight"):
        merge_adapter(TrainingRunFolder(folder), folder / "adapter", tmp_path / "merged")
    command = [
        sys.executable,
        "-m",
        "tuneport.train.output.merge",
        str(folder),
        str(folder / "adapter"),
        str(tmp_path / "m"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and json.loads(done.stdout)["error"]["code"] == "unsupported"


@pytest.mark.parametrize(
    "method", ["dpo", pytest.param("kto", marks=pytest.mark.full), pytest.param("sft", marks=pytest.mark.full)]
)
def test_training_goes_on_from_an_adapter_which_is_then_the_reference(
    method: str, home: Path, model: Path, data: Path, tmp_path: Path
) -> None:
    import math

    from safetensors.torch import load_file

    from tests.support.tiny import labelled_rows

    first = make_run(home, model, data, name="first", hyperparameters={"epochs": 3})
    assert train_run_folder(first) == 0
    spec: dict[str, Any] = {"method": method}
    if method == "dpo":
        data = write_rows(tmp_path / "pairs.jsonl", preference_rows(8))
        spec["format"] = "openai-preference"
    if method == "kto":
        data = write_rows(tmp_path / "labelled.jsonl", labelled_rows(16))
        spec["format"] = "trl"
    second = make_run(home, model, data, name="second", hyperparameters={"epochs": 2}, **spec)
    shutil.copytree(first / "adapter", second / "start")
    assert train_run_folder(second) == 0, state_of(second)["error"]

    rows = lines_of(second / "metrics.jsonl")
    if method == "dpo":
        # The policy begins as the reference: nothing is preferred yet, which the bare base would not give.
        assert rows[0]["train_loss"] == pytest.approx(math.log(2), abs=1e-6)
        assert rows[0]["extra"]["reward_margin"] == pytest.approx(0, abs=1e-5)
        assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    if method == "sft":
        assert rows[0]["train_loss"] < lines_of(first / "metrics.jsonl")[0]["train_loss"]
    assert state_of(second)["trainable_parameters"] == state_of(first)["trainable_parameters"]
    files = {path.relative_to(second).as_posix() for path in second.rglob("*") if path.is_file()}
    assert not [name for name in files if "/ref/" in name]
    before, after = (load_file(run / "adapter" / "adapter_model.safetensors") for run in (first, second))
    assert before.keys() == after.keys() and any(not torch.equal(before[name], after[name]) for name in before)
