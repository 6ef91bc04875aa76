"""Which checkpoint a run goes on from, without training: real archives and safetensors files in a real run folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.tiny import chat_rows, lines_of, make_run, state_of, write_rows
from tuneport import digests
from tuneport.train.__main__ import train_run_folder
from tuneport.train.run.checkpoint_integrity import (
    CheckpointsDamagedError,
    discard_training_checkpoint,
    newest_whole_checkpoint,
)
from tuneport.train.run.run_folder import TrainingRunFolder

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def run(home: Path, data: Path) -> TrainingRunFolder:
    return TrainingRunFolder(make_run(home, "tiny", data))


@pytest.fixture
def checkpoint(run: TrainingRunFolder) -> Callable[..., Path]:
    """Publishes one as a trainer does, or as a version without digests did."""
    import torch
    from safetensors.torch import save_file

    def make(step: int, *, listed: bool = True) -> Path:
        written = run.partial_folder / f"checkpoint-{step}"
        written.mkdir(parents=True)
        for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
            torch.save({"step": step, "numbers": torch.arange(100.0)}, written / name)
        save_file({"weight": torch.full((8, 8), float(step))}, written / WEIGHTS)
        (written / "trainer_state.json").write_text(json.dumps({"global_step": step}))
        (written / "tuneport.json").write_text(json.dumps({"tokens": step} | ({"digests": True} if listed else {})))
        folder = run.publish_checkpoint(written, step)
        if not listed:
            (folder / digests.LIST).unlink()
        return folder

    return make


def flipped(path: Path, at: int = -40) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(bytes(content))


def warnings(run: TrainingRunFolder) -> list[str]:
    path = run.path / "events.jsonl"
    return [row["message"] for row in lines_of(path) if row["level"] == "warning"] if path.exists() else []


def test_the_newest_is_taken_where_all_are_whole(run: TrainingRunFolder, checkpoint: Callable[..., Path]) -> None:
    assert newest_whole_checkpoint(run) == (0, False)
    checkpoint(4)
    checkpoint(8)
    assert newest_whole_checkpoint(run) == (8, True) and warnings(run) == []


@pytest.mark.parametrize("name", ["optimizer.pt", WEIGHTS, "tuneport.json"])
def test_a_damaged_one_is_set_aside_and_told_of(
    run: TrainingRunFolder, checkpoint: Callable[..., Path], name: str
) -> None:
    checkpoint(4)
    flipped(checkpoint(8) / name, at=-2)
    assert newest_whole_checkpoint(run) == (4, True)
    (told,) = warnings(run)
    assert f"step 8 is damaged ({name} is not as it was written" in told and "goes on from step 4" in told
    assert run.checkpoint_steps() == [4] and (run.path / "checkpoints" / "damaged-step-8" / name).is_file()
    checkpoint(8)
    assert not (run.path / "checkpoints" / "damaged-step-8").exists(), "its step was reached again"


def test_a_deleted_list_is_damage(run: TrainingRunFolder, checkpoint: Callable[..., Path]) -> None:
    checkpoint(4)
    (checkpoint(8) / digests.LIST).unlink()
    assert newest_whole_checkpoint(run)[0] == 4
    assert "SHA256SUMS is missing" in warnings(run)[0]


def test_one_of_another_step_is_damage(run: TrainingRunFolder, checkpoint: Callable[..., Path]) -> None:
    older, newer = checkpoint(4), checkpoint(8)
    for path in newer.iterdir():
        path.write_bytes((older / path.name).read_bytes())
    assert newest_whole_checkpoint(run)[0] == 4
    assert "trainer_state.json is of step 4" in warnings(run)[0]


def test_where_none_is_whole_a_person_decides(run: TrainingRunFolder, checkpoint: Callable[..., Path]) -> None:
    for step in (4, 8):
        flipped(checkpoint(step) / "optimizer.pt")
    with pytest.raises(CheckpointsDamagedError) as refused:
        newest_whole_checkpoint(run)
    assert f"tuneport resume {run.run_id}" in str(refused.value) and "\n" not in str(refused.value)
    assert run.checkpoint_steps() == [4, 8], "nothing is touched"
    run.state["start_anew"] = True
    assert newest_whole_checkpoint(run) == (0, False)
    assert all("starts anew from step 0" in told for told in warnings(run)) and len(warnings(run)) == 2


def test_one_of_an_earlier_version_is_used_and_called_unverified(
    run: TrainingRunFolder, checkpoint: Callable[..., Path]
) -> None:
    checkpoint(4, listed=False)
    assert newest_whole_checkpoint(run) == (4, False)
    assert warnings(run) == ["The checkpoint of step 4 has no digests: not verified"]


@pytest.mark.parametrize("name", ["optimizer.pt", "rng_state.pth", "scheduler.pt", WEIGHTS, "trainer_state.json"])
@pytest.mark.parametrize("how", ["emptied", "cut", "missing"])
def test_one_of_an_earlier_version_is_read_as_far_as_it_can_be(
    run: TrainingRunFolder, checkpoint: Callable[..., Path], name: str, how: str
) -> None:
    checkpoint(4, listed=False)
    path = checkpoint(8, listed=False) / name
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(b"" if how == "emptied" else path.read_bytes()[: path.stat().st_size // 2])
    assert newest_whole_checkpoint(run) == (4, False)
    assert "step 8 is damaged" in warnings(run)[0]


def test_a_flipped_bit_in_an_archive_of_an_earlier_version_is_found(
    run: TrainingRunFolder, checkpoint: Callable[..., Path]
) -> None:
    checkpoint(4, listed=False)
    path = checkpoint(8, listed=False) / "optimizer.pt"
    flipped(path, at=path.read_bytes().index(b"\x00\x00\x80?\x00\x00\x00@"))  # 1.0, 2.0 of its numbers
    assert newest_whole_checkpoint(run)[0] == 4


def test_one_that_cannot_be_loaded_is_given_up_for_an_older_one(
    run: TrainingRunFolder, checkpoint: Callable[..., Path]
) -> None:
    checkpoint(4, listed=False)
    checkpoint(8, listed=False)
    discard_training_checkpoint(run, 8, "it cannot be loaded: RuntimeError: size mismatch")
    assert run.checkpoint_steps() == [4]
    with pytest.raises(CheckpointsDamagedError):
        discard_training_checkpoint(run, 4, "it cannot be loaded: RuntimeError: size mismatch")
    assert run.checkpoint_steps() == [4], "nothing is touched"


@pytest.mark.full
def test_a_damaged_best_checkpoint_is_not_published(home: Path, model: Path, tmp_path: Path) -> None:
    """The best whole one is, though the run was killed between its early end and its last word."""
    rows = chat_rows(4)
    for row in rows:
        row["messages"][2]["content"] = {"red": "yellow", "yellow": "red"}[row["messages"][2]["content"]]
    valid = write_rows(tmp_path / "contrary.jsonl", rows)
    options = {"precision": "fp32", "evaluate_every": 3, "save_every": 3, "early_stopping": 2}
    data = write_rows(tmp_path / "train.jsonl", chat_rows(8))
    folder = make_run(home, model, data, validation=valid, hyperparameters={"epochs": 12}, provider_options=options)
    assert train_run_folder(folder) == 0
    state, best = state_of(folder), state_of(folder)["best_step"]
    flipped(folder / "checkpoints" / f"step-{best}" / WEIGHTS)
    (folder / "state.json").write_text(json.dumps(state | {"status": "running"}))
    assert train_run_folder(folder) == 0, state_of(folder)["error"]
    losses = {row["step"]: row["valid_loss"] for row in lines_of(folder / "metrics.jsonl") if "valid_loss" in row}
    whole = [step for step in TrainingRunFolder(folder).checkpoint_steps() if step != best]
    chosen = min(whole, key=lambda step: losses[step])
    published = (folder / "adapter" / WEIGHTS).read_bytes()
    assert published == (folder / "checkpoints" / f"step-{chosen}" / WEIGHTS).read_bytes()
    told = warnings(TrainingRunFolder(folder))
    assert any(f"step {best} is damaged" in line for line in told), told
    assert any(f"that of step {chosen} has the lowest validation loss" in line for line in told), told
