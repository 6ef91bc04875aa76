"""A run that is broken off in the middle of its epochs ends as one that was not, whatever it trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny import chat_rows, labelled_rows, lines_of, make_run, preference_rows, state_of, write_rows
from tests.train.runs import assert_same_run, finish, interrupt, told

LOOP = {"precision": "fp32", "evaluate_every": 2, "save_every": 4}
DROPOUT = {"epochs": 3, "lora_dropout": 0.2}


def pair(home: Path, model: Path, data: Path, **spec: Any) -> tuple[Path, Path]:
    broken, straight = (make_run(home, model, data, name=name, **spec) for name in ("broken", "straight"))
    return broken, straight


@pytest.fixture
def uneven(tmp_path: Path) -> Path:
    """Eighteen rows in batches of four: an epoch is five steps, the last one of two rows."""
    return write_rows(tmp_path / "uneven.jsonl", chat_rows(18))


@pytest.fixture
def valid(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "valid.jsonl", chat_rows(4))


@pytest.mark.full
def test_packs_dropout_sampled_prompts_and_the_average_go_on(
    home: Path, model: Path, uneven: Path, valid: Path
) -> None:
    options = LOOP | {"average_weights": True, "prompt_loss_weight": 0.3}
    broken, straight = pair(
        home, model, uneven, validation=valid, hyperparameters=DROPOUT, provider_options=options, seed=7
    )
    for step in (2, 3, 6, 9):  # within an epoch, at its end, at an evaluation, and two in a row
        interrupt(broken, step)
    finish(broken)
    finish(straight)
    assert_same_run(broken, straight)
    steps = [row["step"] for row in told(straight) if row["valid_loss"] is not None]
    assert steps == [2, 4, 6, 8, 10, 12, 14, 15]


def test_moments_in_8_bits_go_on(home: Path, model: Path, uneven: Path) -> None:
    import torch

    options = LOOP | {"optimizer": "adamw_8bit"}
    broken, straight = pair(home, model, uneven, adapter="full", provider_options=options)
    interrupt(broken, 3)
    (kept,) = (torch.load(path, weights_only=True)["state"] for path in broken.glob("**/optimizer.pt"))
    moments = [each["__bnb_optimizer_quant_state__"]["state1"].dtype for each in kept.values()]
    assert torch.uint8 in moments, "bitsandbytes leaves those of the smallest weights in 32 bits"
    finish(broken)
    finish(straight)
    assert_same_run(broken, straight)


@pytest.mark.full
def test_rows_grouped_by_length_go_on_in_the_same_order(
    home: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, where batches are padded."""
    from tuneport.train.methods import sft

    def on_gpu(*args: Any) -> dict[str, Any]:
        return arguments(*args) | {"train_sampling_strategy": "group_by_length"}

    arguments = sft.training_arguments
    monkeypatch.setattr(sft, "training_arguments", on_gpu)
    monkeypatch.setattr(sft.packing, "rows_per_pack", lambda rows, batch_size: 1)
    rows = chat_rows(40)
    for number, row in enumerate(rows):
        row["messages"][1]["content"] += " and so on" * (number % 7)
    data = write_rows(tmp_path / "lengths.jsonl", rows)
    broken, straight = pair(home, model, data, hyperparameters=DROPOUT)
    for step in (4, 13, 17):
        interrupt(broken, step)
    finish(broken)
    finish(straight)
    assert_same_run(broken, straight)


@pytest.mark.parametrize(
    ("method", "adapter"),
    [
        ("dpo", "lora"),
        ("sft", "full"),
        *(
            pytest.param(*pair, marks=pytest.mark.full)
            for pair in (("kto", "lora"), ("reward", "lora"), ("sft", "prefix"), ("sft", "prompt"))
        ),
    ],
)
def test_every_method_goes_on(home: Path, model: Path, uneven: Path, tmp_path: Path, method: str, adapter: str) -> None:
    rows = {"dpo": preference_rows, "kto": labelled_rows, "reward": preference_rows}
    spec: dict[str, Any] = {"method": method, "adapter": adapter}
    if method in rows:
        uneven = write_rows(tmp_path / "rows.jsonl", rows[method](14))
        spec["format"] = "trl" if method == "kto" else "openai-preference"
        spec["validation"] = write_rows(tmp_path / "held_out.jsonl", rows[method](4))
    broken, straight = pair(home, model, uneven, hyperparameters={"learning_rate": 1e-3}, **spec)
    for step in (1, 4):
        interrupt(broken, step)
    finish(broken)
    finish(straight)
    assert_same_run(broken, straight)
    validated = [row["step"] for row in told(straight) if row["valid_loss"] is not None]
    assert validated == ([4, 8] if method in rows else [])


@pytest.mark.full
def test_early_stopping_publishes_the_best_and_keeps_it(home: Path, model: Path, uneven: Path, tmp_path: Path) -> None:
    """The validation rows contradict the training: every step but the first ones makes them worse."""
    rows = chat_rows(4)
    for row in rows:
        row["messages"][2]["content"] = {"red": "yellow", "yellow": "red"}[row["messages"][2]["content"]]
    valid = write_rows(tmp_path / "contrary.jsonl", rows)
    options = {"precision": "fp32", "evaluate_every": 3, "save_every": 3, "early_stopping": 3}
    spec = {"validation": valid, "hyperparameters": {"epochs": 30}}
    broken, straight = pair(home, model, uneven, provider_options=options, **spec)
    finish(straight)
    state = state_of(straight)
    validated = {row["step"]: row["valid_loss"] for row in told(straight) if row["valid_loss"] is not None}
    best = min(validated, key=lambda step: validated[step])
    assert state["best_step"] == best
    assert max(validated) == best + 9 == max(row["step"] for row in told(straight)) < 150
    names = {path.name for path in (straight / "checkpoints").iterdir()}
    assert names == {f"step-{step}" for step in (best, best + 6, best + 9)}
    published = (straight / "adapter" / "adapter_model.safetensors").read_bytes()
    assert published == (straight / "checkpoints" / f"step-{best}" / "adapter_model.safetensors").read_bytes()
    assert any(f"step {best}, of the lowest validation loss" in note for note in state["notes"])
    assert any(event["message"].startswith("Stopped early") for event in lines_of(straight / "events.jsonl"))

    for step in (best, best + 5):
        interrupt(broken, step)
    finish(broken)
    assert_same_run(broken, straight)

    # Killed between its early end and its last word: it trains no step more.
    again = state_of(broken) | {"status": "running"}
    (broken / "state.json").write_text(__import__("json").dumps(again))
    finish(broken)
    assert_same_run(broken, straight)


def test_without_early_stopping_the_last_weights_are_published_and_the_best_is_named(
    home: Path, model: Path, uneven: Path, tmp_path: Path
) -> None:
    rows = chat_rows(4)
    for row in rows:
        row["messages"][2]["content"] = {"red": "yellow", "yellow": "red"}[row["messages"][2]["content"]]
    valid = write_rows(tmp_path / "contrary.jsonl", rows)
    folder = make_run(home, model, uneven, validation=valid, hyperparameters={"epochs": 6})
    finish(folder)
    best = state_of(folder)["best_step"]
    assert best < 30
    names = {path.name for path in (folder / "checkpoints").iterdir()}
    assert names == {f"step-{step}" for step in (best, 25, 30)}
    published = (folder / "adapter" / "adapter_model.safetensors").read_bytes()
    assert published == (folder / "checkpoints" / "step-30" / "adapter_model.safetensors").read_bytes()
    assert any(f"lowest at step {best}" in note for note in state_of(folder)["notes"])


def test_with_an_average_the_evaluation_is_of_what_is_published(
    home: Path, model: Path, uneven: Path, valid: Path
) -> None:
    """The last evaluation, repeated on the saved adapter, gives the same loss."""
    options = {"precision": "fp32", "average_weights": True, "early_stopping": 50, "prompt_loss_weight": 0.0}
    folder = make_run(home, model, uneven, validation=valid, provider_options=options, hyperparameters={"epochs": 4})
    finish(folder)
    validated = [row["valid_loss"] for row in told(folder) if row["valid_loss"] is not None]
    assert validation_loss(model, folder / "adapter", valid) == pytest.approx(min(validated), abs=2e-3)


def validation_loss(model: Path, adapter: Path, valid: Path) -> float:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from tuneport.data.reading import read_records
    from tuneport.data.tokens.tokenizer import training_template_renderer
    from tuneport.types import Method

    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    tuned = PeftModel.from_pretrained(base, str(adapter)).eval()
    rows: Any = training_template_renderer(model, None).render_for(
        Method.SFT, read_records(valid, "openai"), path=str(valid)
    )
    total, count = 0.0, 0
    for row in rows:
        ids = torch.tensor([row.input_ids[: row.useful_length]])
        labels = torch.tensor([row.labels[: row.useful_length]])
        with torch.no_grad():
            trained = int((labels[0, 1:] != -100).sum())
            total += float(tuned(input_ids=ids, labels=labels).loss) * trained
            count += trained
    return total / count


def test_checkpoints_within_an_epoch_come_as_time_goes_by(
    home: Path, model: Path, uneven: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tuneport.train.run import checkpoints

    saved: list[int] = []
    save = checkpoints.CheckpointSchedule.on_save

    def on_save(self: Any, args: Any, state: Any, control: Any, **rest: Any) -> None:
        saved.append(state.global_step)
        save(self, args, state, control, **rest)

    monkeypatch.setattr(checkpoints.CheckpointSchedule, "on_save", on_save)
    finish(make_run(home, model, uneven, name="short"))
    assert saved == [5, 10], "each epoch, where epochs take less than five minutes"
    saved.clear()
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    monkeypatch.setattr(checkpoints, "SAVINGS_SHARE_OF_TIME", float("inf"))
    finish(make_run(home, model, uneven, name="long"))
    assert saved == list(range(1, 11))
