"""The memory estimate against published measurements and the reference card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.measured_rows import scored
from benchmarks.memory import score
from tests.support.folders import SHARED
from tuneport.estimate.memory import MemoryEstimate, TrainingShape, estimate_memory
from tuneport.estimate.memory.estimate import memory_rule_of_thumb
from tuneport.estimate.memory.sizing import (
    estimate_gpu_fits,
    largest_fitting_batch,
    largest_fitting_length,
)
from tuneport.estimate.memory.tensors import adapter_parameters, embedding_parameters, linear_parameters
from tuneport.manifests import ModelDimensions, load_gpus, load_models
from tuneport.types import Adapter


def dimensions(name: str) -> ModelDimensions:
    found = load_models().weights[name].dimensions
    assert found is not None
    return found


def formula(adapter: Adapter, name: str, run: TrainingShape | None = None) -> MemoryEstimate:
    estimate = estimate_memory(adapter, params_b=None, dimensions=dimensions(name), run=run)
    assert estimate is not None and estimate.rule == "formula"
    return estimate


@pytest.mark.parametrize(
    "name", [name for name, row in load_models().weights.items() if row.dimensions is not None and row.params_b]
)
def test_the_dimensions_in_the_catalogue_add_up_to_the_size(name: str) -> None:
    row = load_models().weights[name]
    total = linear_parameters(dimensions(name)) + embedding_parameters(dimensions(name))
    assert total / 1e9 == pytest.approx(row.params_b, rel=0.002)  # norms and biases are left out


def test_trained_parameters_of_an_adapter() -> None:
    """PEFT prints 18,350,080 trainable for Llama-3.2-3B, rank 64, q and v."""
    assert adapter_parameters(dimensions("llama-3.2-3b-instruct"), 64, ("q", "v")) == 18_350_080


MEASURED = Path(SHARED) / "facts" / "memory_measured.csv"


@pytest.mark.skipif(not MEASURED.is_file(), reason="the measured rows are not in the shared folder")
def test_the_measured_rows_of_current_libraries() -> None:
    """The issue's bounds: 8 % on average, and the safe figure too low in fewer than 5 % of the rows."""
    rows, left_out = scored(MEASURED, score)
    current = [found for found in rows if found.row.current and found.row.single_gpu]
    assert len(current) >= 10 and {found.row.adapter for found in current} >= {Adapter.FULL, Adapter.PREFIX}
    assert sum(abs(found.error) for found in current) / len(current) < 0.04
    assert max(abs(found.error) for found in current) < 0.12
    assert not any(found.under_predicted for found in current)
    older = [each for each in rows if not each.row.current and each.row.single_gpu and each.row.tier == "B"]
    assert len(older) > 100 and sum(abs(found.error) for found in older) / len(older) < 0.20
    assert len(left_out) < 90


def test_a_row_that_cannot_be_taken_is_named(tmp_path: Path) -> None:
    columns = "id,source,model,params_b,hidden,layers,vocab,method,rank,targets,weights_dtype,optimizer,micro_batch,"
    columns += "seq_len,grad_ckpt,attn,gpus,sharding,gpu,peak_gb,peak_kind,tokens_per_s,notes"
    good = dict.fromkeys(columns.split(","), "") | {"id": "good", "model": "Llama-3.2-1B", "params_b": "1.236"}
    good |= {"method": "lora", "rank": "8", "micro_batch": "1", "seq_len": "512", "gpus": "1", "peak_gb": "4"}
    bad = {
        "not measured": {"peak_gb": ""},
        "no length": {"seq_len": ""},
        "two ranks": {"rank": "8 or 16"},
        "no batch": {"micro_batch": "0"},
        "other": {"method": "ia3"},
    }
    lines = [columns, *(",".join((good | {"id": name} | change).values()) for name, change in bad.items())]
    path = tmp_path / "rows.csv"
    path.write_text("\n".join([*lines, ",".join(good.values()), "short"]))
    found, left_out = scored(path, score)
    assert [each.row.id for each in found] == ["good"]
    assert [name for name, _ in left_out] == [*bad, "short"] and all(reason for _, reason in left_out)


@pytest.mark.parametrize(
    ("adapter", "params_b", "gigabytes"),
    [
        (Adapter.FULL, 1, 8),
        (Adapter.FULL, 7, 56),
        (Adapter.LORA, 7, 18),
        (Adapter.LORA, 13, 32),
        (Adapter.LORA, 70, 160),
        (Adapter.QLORA, 7, 8),
        (Adapter.QLORA, 70, 48),
        (Adapter.LORA, 10, 25),
        (Adapter.QLORA, 140, 96),
    ],
)
def test_the_cards_table(adapter: Adapter, params_b: float, gigabytes: float) -> None:
    estimate = memory_rule_of_thumb(adapter, params_b)
    assert estimate.expected_gib * 2**30 / 1e9 == pytest.approx(gigabytes)
    assert estimate.low_gib < estimate.expected_gib < estimate.high_gib


def test_without_dimensions_the_rule_of_thumb_and_without_a_size_nothing() -> None:
    estimate = estimate_memory(Adapter.LORA, params_b=20.9, dimensions=None)
    assert estimate is not None and estimate.rule == "rule of thumb"
    assert estimate_memory(Adapter.LORA, params_b=None, dimensions=None) is None


def test_the_formula_moves_the_right_way() -> None:
    llama = "llama-3.1-8b-instruct"
    base = formula(Adapter.LORA, llama, TrainingShape())
    assert formula(Adapter.QLORA, llama).expected_gib < base.expected_gib < formula(Adapter.FULL, llama).expected_gib
    assert formula(Adapter.LORA, llama, TrainingShape(length=4096)).expected_gib > base.expected_gib
    assert formula(Adapter.LORA, llama, TrainingShape(checkpointing=False)).expected_gib > base.expected_gib
    assert formula(Adapter.LORA, llama, TrainingShape(fused_loss=False)).expected_gib > base.expected_gib
    assert formula(Adapter.LORA, llama, TrainingShape(lora_rank=64)).expected_gib > base.expected_gib
    assert sum(base.components_gib.values()) == pytest.approx(base.low_gib)


def test_it_fits_only_where_the_high_estimate_does() -> None:
    estimate = formula(Adapter.LORA, "llama-3.1-8b-instruct")
    assert estimate.fits(24) and not estimate.fits(16)
    assert not estimate.fits(estimate.expected_gib)


RUNS = st.builds(
    TrainingShape,
    micro_batch=st.integers(1, 16),
    length=st.integers(16, 8192),
    examples=st.sampled_from(["single", "pairs", "labelled", "ranked", "rollouts"]),
    checkpointing=st.booleans(),
    fused_loss=st.booleans(),
    attention=st.sampled_from(["fused", "eager"]),
    lora_rank=st.integers(1, 128),
    dora=st.booleans(),
    lora_dropout=st.sampled_from([0.0, 0.05]),
    optimizer=st.sampled_from(["adamw", "adamw_fused", "adamw_8bit", "paged_adamw_8bit"]),
    full_weights=st.sampled_from(["bf16", "fp32"]),
    autocast=st.booleans(),
)
SOME = st.sampled_from(["smollm2-135m-instruct", "qwen2.5-7b-instruct", "llama-3.3-70b-instruct"])


@given(st.sampled_from(list(Adapter)), SOME, RUNS)
def test_parts_add_up_and_none_is_negative(adapter: Adapter, name: str, run: TrainingShape) -> None:
    estimate = formula(adapter, name, run)
    assert sum(estimate.components_gib.values()) == pytest.approx(estimate.low_gib)
    assert min(estimate.components_gib.values()) >= 0
    assert 0 < estimate.low_gib < estimate.reserved_gib < estimate.expected_gib < estimate.high_gib


@given(st.sampled_from(list(Adapter)), SOME, RUNS)
def test_more_of_anything_never_needs_less(adapter: Adapter, name: str, run: TrainingShape) -> None:
    estimate = formula(adapter, name, run).high_gib
    more = [replace(run, micro_batch=run.micro_batch + 1), replace(run, length=run.length * 2)]
    more += [replace(run, lora_rank=run.lora_rank * 2), replace(run, virtual_tokens=run.virtual_tokens * 2)]
    more += [replace(run, generation_batch=(run.generation_batch or run.micro_batch) + 1)]
    more += [replace(run, base_weights="fp32", autocast=False)] if adapter is not Adapter.FULL and run.autocast else []
    for larger in more:
        assert formula(adapter, name, larger).high_gib >= estimate


@given(st.sampled_from(list(Adapter)), SOME, RUNS, st.integers(2, 64))
def test_what_is_shared_out_is_less_for_each_but_never_nothing(
    adapter: Adapter, name: str, run: TrainingShape, gpus: int
) -> None:
    ways = ("ddp", "zero1", "zero2", "fsdp")
    shared = [formula(adapter, name, replace(run, gpus=gpus, sharding=way)).components_gib for way in ways]
    assert all(min(parts.values()) >= 0 for parts in shared)
    for part in ("weights", "optimizer", "adapter", "reference model"):
        each = [parts.get(part, 0.0) for parts in shared]
        assert each == sorted(each, reverse=True)
    assert shared[-1]["weights"] == pytest.approx(shared[0]["weights"] / gpus)


def test_mistaken_units_are_noticed() -> None:
    """GiB, not GB or MiB; bytes, not bits; tokens, not characters: the weights of a known model say which."""
    weights = formula(Adapter.LORA, "llama-3.1-8b-instruct").components_gib["weights"]
    assert weights == pytest.approx(8.03e9 * 2 / 2**30, rel=0.01)
    for wrong in ({"micro_batch": 0}, {"length": -1}, {"lora_rank": 0}, {"gpus": 0}, {"generation_batch": -1}):
        with pytest.raises(ValueError, match="it must be at least"):
            TrainingShape(**wrong)
    one = formula(
        Adapter.PROMPT, "llama-3.1-8b-instruct", TrainingShape(micro_batch=1, checkpointing=False, virtual_tokens=1)
    )
    two = formula(
        Adapter.PROMPT, "llama-3.1-8b-instruct", TrainingShape(micro_batch=2, checkpointing=False, virtual_tokens=1)
    )
    assert two.components_gib["activations"] == pytest.approx(2 * one.components_gib["activations"])


def test_the_largest_that_fits_fits_and_one_more_does_not() -> None:
    shape, run = dimensions("llama-3.1-8b-instruct"), TrainingShape(length=2048, micro_batch=1)
    batch = largest_fitting_batch(Adapter.LORA, shape, run, 48)
    assert batch > 1
    assert formula(Adapter.LORA, "llama-3.1-8b-instruct", replace(run, micro_batch=batch)).fits(48)
    assert not formula(Adapter.LORA, "llama-3.1-8b-instruct", replace(run, micro_batch=batch + 1)).fits(48)
    length = largest_fitting_length(Adapter.LORA, shape, run, 24)
    assert length % 64 == 0 and formula(Adapter.LORA, "llama-3.1-8b-instruct", replace(run, length=length)).fits(24)
    assert not formula(Adapter.LORA, "llama-3.1-8b-instruct", replace(run, length=length + 64)).fits(24)
    assert largest_fitting_length(Adapter.LORA, shape, run, 80, context=4096) == 4096
    assert largest_fitting_batch(Adapter.FULL, shape, run, 24) == 0


def test_every_gpu_has_a_verdict() -> None:
    shape = dimensions("llama-3.1-8b-instruct")
    found = estimate_gpu_fits(Adapter.LORA, shape, TrainingShape(micro_batch=1), load_gpus().gpus)
    counts = {fit.gpu: fit.count for fit in found if fit.verdict == "yes"}
    assert counts["T4"] == 2 and counts["L40S"] == 1
    alone = estimate_gpu_fits(Adapter.LORA, shape, TrainingShape(micro_batch=1), load_gpus().gpus, counts=(1,))
    assert {fit.gpu: fit.verdict for fit in alone}["T4"] == "no"
    large = estimate_gpu_fits(
        Adapter.FULL, dimensions("llama-3.3-70b-instruct"), TrainingShape(), [load_gpus().find("A100 80GB SXM")]
    )
    assert large[0].verdict == "no"


def test_sharding_needs_several_gpus_and_divides_what_is_static() -> None:
    with pytest.raises(ValueError, match="more than one GPU"):
        TrainingShape(sharding="fsdp")
    one = formula(Adapter.FULL, "llama-3.1-8b-instruct")
    eight = formula(Adapter.FULL, "llama-3.1-8b-instruct", TrainingShape(gpus=8, sharding="fsdp"))
    assert one.low_gib / 8 < eight.low_gib < one.low_gib / 3
