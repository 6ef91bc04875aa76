"""Where a job moves to, it takes about the steps that it took, at the rate that it had, or its plan says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tuneport.estimate.batching import TrainedRows
from tuneport.manifests import find_manifest_model, load_manifest
from tuneport.types import Adapter, Hyperparameters, JobStatus, Method, TuneSpec
from tuneport.workflows.migration.effect import (
    NewPlace,
    OldTraining,
    carry_batching,
    carry_rate,
    read_old_training,
)
from tuneport.workflows.migration.folder import SavedAccountFolder
from tuneport.workflows.migration.origin import MigrationSourceJob

LLAMA = "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"
DATASET = Path("train.jsonl")


def place(backend: str, rows: int, tokens: int, longest: int = 60) -> NewPlace:
    model = {"together": LLAMA, "openai": "gpt-4.1-mini-2025-04-14", "local": "llama-3.1-8b-instruct"}[backend]
    manifest = load_manifest(backend)
    offered = find_manifest_model(manifest, model)
    assert offered is not None
    return NewPlace(manifest, offered, TrainedRows(rows, tokens, longest), Adapter.LORA, 8.03)


def old(
    backend: str, rows: int, steps_seen: int | None = None, *, ran: dict[str, Any] | None = None, **numbers: Any
) -> OldTraining:
    job = MigrationSourceJob(
        backend=backend, id="1", status=JobStatus.SUCCEEDED, raw_status="x", model="m", hyperparameters=ran or numbers
    )
    spec = TuneSpec(model="m", dataset=DATASET, hyperparameters=Hyperparameters.model_validate(numbers))
    return read_old_training(job, spec, load_manifest(backend), rows, steps_seen)


def batching(trained: OldTraining, given: dict[str, Any], to: NewPlace, method: Method = Method.SFT) -> dict[str, Any]:
    spec = TuneSpec(model="m", dataset=DATASET, method=method)
    found = carry_batching(trained, given, spec, to)
    return {} if found is None else found.numbers


@pytest.mark.parametrize(
    ("rows", "tokens", "given", "steps"),
    [
        (77, 3_273, {"epochs": 3, "batch_size": 1}, 231),  # what OpenAI picks for so few
        (240, 10_080, {"epochs": 3, "batch_size": 4}, 180),
        (1_000, 75_000, {"epochs": 3, "batch_size": 2}, 1_500),
        (10_000, 750_000, {"epochs": 3, "batch_size": 20}, 1_500),
    ],
)
def test_from_examples_to_packed_sequences_the_steps_are_kept(
    rows: int, tokens: int, given: dict[str, Any], steps: int
) -> None:
    trained, to = old("openai", rows, **given), place("together", rows, tokens)
    assert trained.steps == steps
    numbers = batching(trained, given, to)
    sequences = rows if not numbers["packing"] else -(-tokens // numbers["max_length"])
    took = -(-sequences // numbers["batch_size"]) * given["epochs"]
    assert 2 / 3 <= took / steps <= 3 / 2, (numbers, took)
    if rows < 10_000:
        assert took == steps, "an exact batch costs no more than another"


def test_pairs_are_not_packed_and_keep_their_batch() -> None:
    trained = old("openai", 20, epochs=2, batch_size=1)
    numbers = batching(trained, {"epochs": 2, "batch_size": 1}, place("together", 20, 2_000), Method.DPO)
    assert numbers == {"batch_size": 1, "max_length": 1024}


def test_from_packed_sequences_to_examples_the_steps_are_kept() -> None:
    given = {"epochs": 5, "batch_size": 8, "packing": True, "max_length": 4096}
    trained, to = old("together", 77, 10, **given), place("openai", 77, 3_273)
    found = carry_batching(trained, given, TuneSpec(model="m", dataset=DATASET), to)
    assert found is not None and found.numbers == {"batch_size": 38}  # 3 x 5 steps instead of ten: half the file each
    assert found.lines["packing"].new is None and "a batch counts examples" in found.lines["packing"].why
    assert found.lines["batch_size"].new == "38" and "Together.ai's packed sequences" in found.lines["batch_size"].why


def test_steps_that_are_not_known_are_not_made_up() -> None:
    given = {"epochs": 5, "batch_size": 8}
    trained, to = old("together", 77, **given), place("local", 77, 3_273)
    found = carry_batching(trained, given, TuneSpec(model="m", dataset=DATASET), to)
    assert found is not None and found.numbers == {}
    assert found.lines["batch_size"].new is None
    assert "how many steps it was is not known; tuneport's own batch is taken" in found.lines["batch_size"].why


def test_where_both_count_alike_each_number_stands_for_itself() -> None:
    given = {"epochs": 3, "batch_size": 4}
    spec = TuneSpec(model="m", dataset=DATASET)
    assert carry_batching(old("openai", 77, **given), given, spec, place("local", 77, 3_273)) is None
    assert carry_batching(old("together", 77, 9, **given), given, spec, place("together", 77, 3_273)) is None


def test_an_edited_spec_file_says_how_many_steps_are_meant() -> None:
    assert old("openai", 77, 231, ran={"epochs": 3, "batch_size": 1}, epochs=5, batch_size=4).steps == 100
    assert old("together", 77, 10, ran={"epochs": 5}, epochs=10).steps == 20
    assert old("together", 77, 10).steps == 10 and old("together", 77, 10).examples is None


@pytest.mark.parametrize(
    ("multiplier", "rate", "why"),
    [
        (1.8, 5e-5, "1.8 is what OpenAI picks itself; tuneport's rate for lora of 8 B parameters at batch 1"),
        (2.0, 5e-5, "2 is what OpenAI picks itself"),
        (0.9, 2.5e-5, "0.5 x what OpenAI picks itself (1.8 to 2); 5e-05 is tuneport's rate"),
        (6.0, 1.5e-4, "3 x what OpenAI picks itself"),
    ],
)
def test_a_multiplier_becomes_a_rate(multiplier: float, rate: float, why: str) -> None:
    trained = old("openai", 77, epochs=3, batch_size=1, learning_rate_multiplier=multiplier)
    for backend in ("together", "local"):
        found = carry_rate(multiplier, trained, 1, Method.SFT, place(backend, 77, 3_273))
        assert found is not None and found.numbers == {"learning_rate": rate}
        line = found.lines["learning_rate_multiplier"]
        assert line.new == f"learning rate {rate:g}" and line.why.startswith(why)


def test_a_multiplier_of_what_is_not_known_is_left_out_and_tuneport_s_own_multiplies() -> None:
    azure = old("azure", 77, epochs=3, batch_size=16, learning_rate_multiplier=4.0)
    found = carry_rate(4.0, azure, 16, Method.SFT, place("local", 77, 3_273))
    assert found is not None and found.numbers == {"learning_rate": 2e-4}
    assert "multiplies is not known" in found.lines["learning_rate_multiplier"].why
    here = old("local", 77, epochs=3, batch_size=16, learning_rate_multiplier=2.0)
    found = carry_rate(2.0, here, 16, Method.SFT, place("together", 77, 3_273))
    assert found is not None and found.numbers == {"learning_rate": 4e-4}
    assert carry_rate(1.8, azure, 16, Method.SFT, place("openai", 77, 3_273)) is None, "it takes multipliers, too"


def test_the_total_is_read_in_the_saved_events(tmp_path: Path) -> None:
    folder = SavedAccountFolder.create(tmp_path / "saved", "together")
    assert folder.total_steps("ft-1") is None
    path = folder.job_folder("ft-1")
    path.mkdir(parents=True)
    lines = ['{"data": {"step": 3, "total_steps": 10}}', "{", '{"data": {"total_steps": true}}', '{"data": 7}']
    (path / "events.jsonl").write_text("\n".join(lines) + "\n")
    assert folder.total_steps("ft-1") == 10
