"""Whole runs: a folder with a request in, weights and a story of how they came about out."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny import (
    busy_cpu,
    chat_rows,
    lines_of,
    make_run,
    preference_rows,
    state_of,
    tiny_model,
    write_rows,
)
from tests.support.waiting import until
from tuneport.train.__main__ import train_run_folder
from tuneport.train.speed import packing


def losses(folder: Path) -> list[float]:
    return [row["train_loss"] for row in lines_of(folder / "metrics.jsonl") if "train_loss" in row]


def logits(folder: Path, adapter: Path | None = None) -> Any:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter is not None:
        loaded = PeftModel.from_pretrained(loaded, str(adapter))
    tokens = AutoTokenizer.from_pretrained(folder)("banana 3", return_tensors="pt")
    with torch.no_grad():
        return loaded(**tokens).logits


def test_a_run_learns_and_tells_everything(home: Path, model: Path, data: Path, tmp_path: Path) -> None:
    valid = write_rows(tmp_path / "valid.jsonl", chat_rows(4))
    numbers = {"epochs": 3, "warmup_ratio": 0.1}
    folder = make_run(home, model, data, validation=valid, hyperparameters=numbers)

    assert train_run_folder(folder) == 0

    state = state_of(folder)
    assert state["status"] == "succeeded" and state["error"] is None
    assert state["progress"]["step"] == state["progress"]["total_steps"] == 12
    assert state["hyperparameters"]["learning_rate"] == 0.01
    assert 0 < state["trainable_parameters"] < state["total_parameters"]
    assert (state["device"], state["precision"]) == ("cpu", "fp32")
    assert state["started_at"] < state["finished_at"]
    rows = lines_of(folder / "metrics.jsonl")
    assert [row["step"] for row in rows if "train_loss" in row] == list(range(1, 13))
    assert [row["step"] for row in rows if "valid_loss" in row] == [4, 8, 12]
    assert losses(folder)[-1] < losses(folder)[0] * 0.7
    assert all(row["tokens_per_second"] > 0 for row in rows if "train_loss" in row)
    events = lines_of(folder / "events.jsonl")
    assert [event["id"] for event in events] == [str(number) for number in range(1, len(events) + 1)]
    said = [event["message"] for event in events]
    assert "Fine-tuning job started" in said and "New fine-tuned model created" in said
    assert any(message.startswith("Step 6/12: training loss=") for message in said)
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["step-12", "step-8"]
    assert (folder / "adapter" / "adapter_model.safetensors").is_file()
    assert state["trained_tokens"] == 3 * sum(tokens_of(model, data))


def tokens_of(model: Path, data: Path) -> list[int]:
    """All tokens of each row up to the end of its answer."""
    from tests.support.tiny import tiny_tokenizer

    tokenizer = tiny_tokenizer()
    return [
        len(tokenizer.apply_chat_template(row["messages"])["input_ids"]) - 1  # without the last newline
        for row in lines_of(data)
    ]


def test_the_adapter_changes_the_model_as_trained(home: Path, model: Path, data: Path) -> None:
    folder = make_run(home, model, data)
    assert train_run_folder(folder) == 0

    tuned, again, base = logits(model, folder / "adapter"), logits(model, folder / "adapter"), logits(model)
    assert (tuned == again).all()
    assert (tuned - base).abs().max() > 0.01
    # The last checkpoint is the same weights.
    assert (logits(model, folder / "checkpoints" / "step-8") == tuned).all()


def test_the_same_seed_gives_the_same_weights(home: Path, model: Path, data: Path) -> None:
    first, second, other = (
        make_run(home, model, data, name=name, seed=seed, hyperparameters={"epochs": 1})
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert [train_run_folder(folder) for folder in (first, second, other)] == [0, 0, 0]

    assert losses(first) == losses(second) != losses(other)


def test_qlora_trains(home: Path, model: Path, data: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="QLoRA needs bitsandbytes")
    folder = make_run(home, model, data, adapter="qlora", hyperparameters={"epochs": 3})

    assert train_run_folder(folder) == 0
    assert losses(folder)[-1] < losses(folder)[0]


def test_a_quantised_model_passes_gradients_after_an_evaluation(model: Path) -> None:
    """bitsandbytes repacks 4-bit weights in evaluation, for a kernel that has no backward pass."""
    pytest.importorskip("bitsandbytes", reason="QLoRA needs bitsandbytes")
    import torch
    from peft import get_peft_model

    from tuneport.base_models import choose_base_model_device
    from tuneport.train.model.loading import DEFAULTS, build_lora_config, load_trainable_model
    from tuneport.types import Adapter

    network = get_peft_model(
        load_trainable_model(model, choose_base_model_device("bf16"), Adapter.QLORA), build_lora_config(dict(DEFAULTS))
    )
    ids = torch.arange(8)[None]
    network.eval()
    with torch.no_grad():
        network(input_ids=ids)
    network.train()
    network(input_ids=ids, labels=ids).loss.backward()
    first = network.base_model.model.model.layers[0].self_attn.q_proj.lora_B["default"].weight
    assert first.grad is not None and first.grad.abs().max() > 0


def test_full_fine_tuning_writes_a_whole_model(home: Path, model: Path, data: Path) -> None:
    folder = make_run(home, model, data, adapter="full", hyperparameters={"epochs": 3, "learning_rate": 3e-3})

    assert train_run_folder(folder) == 0
    assert losses(folder)[-1] < losses(folder)[0]
    assert (logits(folder / "model") - logits(model)).abs().max() > 0.01


def test_dpo_learns_to_prefer(home: Path, model: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "pairs.jsonl", preference_rows(8))
    folder = make_run(
        home, model, data, format="openai-preference", method="dpo", hyperparameters={"epochs": 3, "beta": 0.1}
    )

    assert train_run_folder(folder) == 0, state_of(folder)["error"]
    rows = lines_of(folder / "metrics.jsonl")
    assert rows[0]["train_loss"] == pytest.approx(0.693, abs=0.02)  # -log sigmoid(0): nothing preferred yet
    assert rows[-1]["train_loss"] < 0.5
    assert rows[-1]["extra"]["reward_margin"] > 0


def test_packed_and_padded_runs_learn_the_same(
    home: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = chat_rows(8)
    for number, row in enumerate(rows):
        row["messages"][1]["content"] += " and so on" * (5 * number)
    data = write_rows(tmp_path / "mixed.jsonl", rows)
    packed = make_run(home, model, data, name="packed", validation=data)
    assert train_run_folder(packed) == 0
    monkeypatch.setattr(packing, "enable_packed_attention", lambda model, rows: False)
    padded = make_run(home, model, data, name="padded", validation=data)
    assert train_run_folder(padded) == 0

    assert not any("padded" in note for note in state_of(packed)["notes"])
    assert any("padded" in note for note in state_of(padded)["notes"])
    for name in ("train_loss", "valid_loss"):
        one, other = (
            [row[name] for row in lines_of(folder / "metrics.jsonl") if name in row] for folder in (packed, padded)
        )
        assert one == pytest.approx(other, rel=1e-3) and one
    assert state_of(packed)["trained_tokens"] == state_of(padded)["trained_tokens"]


def test_a_run_waits_for_the_device_and_can_be_cancelled_there(home: Path, model: Path, data: Path) -> None:
    import fcntl

    folder = make_run(home, model, data)
    with busy_cpu(home).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        def cancel_when_queued() -> None:
            until(lambda: (folder / "state.json").exists() and state_of(folder)["status"] == "queued")
            (folder / "cancel").touch()

        watcher = threading.Thread(target=cancel_when_queued)
        watcher.start()
        assert train_run_folder(folder) == 0
        watcher.join()
    assert state_of(folder)["status"] == "cancelled"
    assert not (folder / "adapter").exists()


def test_cancel_stops_at_the_next_step(home: Path, model: Path, data: Path) -> None:
    folder = make_run(home, model, data, hyperparameters={"epochs": 500})

    def cancel_after_two_steps() -> None:
        until(lambda: (folder / "metrics.jsonl").exists() and len(lines_of(folder / "metrics.jsonl")) >= 2)
        (folder / "cancel").touch()

    watcher = threading.Thread(target=cancel_after_two_steps)
    watcher.start()
    assert train_run_folder(folder) == 0
    watcher.join()

    assert state_of(folder)["status"] == "cancelled"
    assert len(losses(folder)) < 1000
    assert not (folder / "adapter").exists()
    assert lines_of(folder / "events.jsonl")[-1]["message"] == "Fine-tuning job cancelled"


def test_a_second_child_leaves_the_run_to_the_first(home: Path, model: Path, data: Path) -> None:
    from tuneport.train.run.run_folder import TrainingRunFolder

    folder = make_run(home, model, data)
    first = TrainingRunFolder(folder)
    assert first.lock()

    assert train_run_folder(folder) == 75
    assert not (folder / "state.json").exists()


def test_a_finished_run_is_not_run_again(home: Path, model: Path, data: Path) -> None:
    folder = make_run(home, model, data, hyperparameters={"epochs": 1})
    assert train_run_folder(folder) == 0
    before = (folder / "state.json").read_bytes()

    assert train_run_folder(folder) == 0
    assert (folder / "state.json").read_bytes() == before


@pytest.mark.parametrize(
    ("what", "code", "says"),
    [
        ("model", "invalid_config", "is not on this machine"),
        ("broken model", "invalid_config", "cannot be loaded"),
        ("template", "unsupported", "no chat template"),
        ("missing", "invalid_training_file", "does not exist"),
        ("json", "invalid_training_file", "train.jsonl:3"),
        ("length", "invalid_training_file", "within the limit of 10"),
        ("learning rate", "loss_not_finite", "lower the learning rate"),
    ],
)
def test_what_goes_wrong_is_one_clear_line(
    what: str, code: str, says: str, home: Path, model: Path, data: Path, tmp_path: Path
) -> None:
    numbers: dict[str, Any] = {}
    name: Path | str = model
    match what:
        case "model":
            name = "nobody/nothing"
        case "broken model":
            name = tiny_model(tmp_path / "broken")
            (name / "model.safetensors").write_bytes(b"no safetensors")
        case "template":
            name = tiny_model(tmp_path / "plain", template=None)
        case "missing":
            data = tmp_path / "nowhere.jsonl"
        case "json":
            lines = data.read_text().splitlines()
            data.write_text("\n".join([*lines[:2], lines[2][:-5], *lines[3:]]))
        case "length":
            numbers["max_length"] = 10
        case "learning rate":
            numbers["learning_rate"] = 1e30
    folder = make_run(home, name, data, hyperparameters=numbers)

    assert train_run_folder(folder) == 1
    state = state_of(folder)
    assert state["status"] == "failed"
    assert state["error"]["code"] == code
    assert says in state["error"]["message"] and "\n" not in state["error"]["message"]
    assert state["error"]["fault"] == "user"
    assert lines_of(folder / "events.jsonl")[-1]["level"] == "error"


def test_a_full_disk_keeps_the_earlier_checkpoint(
    home: Path, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from tuneport.train.run import run_folder

    folder = make_run(home, model, data, hyperparameters={"epochs": 3})
    publish = run_folder.publish_folder

    def full_at_the_second(written: Path, target: Path) -> None:
        if target.name == "step-8":
            raise OSError(errno.ENOSPC, "No space left on device")
        publish(written, target)

    monkeypatch.setattr(run_folder, "publish_folder", full_at_the_second)
    assert train_run_folder(folder) == 1

    assert state_of(folder)["error"]["code"] == "no_disk_space"
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-4"]


def test_the_loss_that_is_told_is_that_of_answers(home: Path, model: Path, data: Path) -> None:
    numbers = {"epochs": 1}
    plain = make_run(home, model, data, name="plain", hyperparameters=numbers)
    options = {"precision": "fp32", "prompt_loss_weight": 1.0}
    weighted = make_run(home, model, data, name="weighted", hyperparameters=numbers, provider_options=options)
    assert train_run_folder(plain) == train_run_folder(weighted) == 0

    first = lines_of(weighted / "metrics.jsonl")[0]
    assert first["train_loss"] == pytest.approx(losses(plain)[0], rel=1e-4)
    assert first["extra"]["objective"] > first["train_loss"] * 3  # the prompts are several times as long


def test_notes_tell_what_was_rendered_otherwise(home: Path, model: Path, tmp_path: Path) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "Q"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "R"},
        {"role": "assistant", "content": "A"},
    ]
    data = write_rows(tmp_path / "tools.jsonl", [{"messages": messages}] * 4)
    folder = make_run(home, model, data, hyperparameters={"epochs": 1})

    assert train_run_folder(folder) == 0
    assert any("cannot show tools" in note for note in json.loads((folder / "state.json").read_text())["notes"])
