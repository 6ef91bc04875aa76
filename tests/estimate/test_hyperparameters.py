"""The rules that fill in `auto`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.hyperparameters import Finished, Rows, mean, points, print_table, recommended
from tuneport.data.templates.rendering import RenderedExample
from tuneport.estimate.hyperparameters import (
    openai_auto_epochs,
    recommend_hyperparameter_options,
    recommend_hyperparameters,
    recommended_epochs,
    recommended_learning_rate,
    resolve_hyperparameters,
)
from tuneport.types import Adapter, Hyperparameters, Method


@pytest.mark.parametrize(
    ("rows", "epochs"),
    [(25, 4), (13, 7), (103, 3), (10, 10), (4, 25), (1, 25), (33, 3), (34, 3), (8_333, 3), (8_334, 2), (30_000, 1)],
)
def test_openais_auto_epochs(rows: int, epochs: int) -> None:
    assert openai_auto_epochs(rows) == epochs


def test_no_rows_have_no_epochs() -> None:
    with pytest.raises(ValueError, match="rows must be at least 1"):
        openai_auto_epochs(0)


@given(
    rows=st.integers(1, 10**6),
    params_b=st.one_of(st.none(), st.floats(0.01, 1000)),
    adapter=st.sampled_from(Adapter),
    method=st.sampled_from(Method),
    longest=st.one_of(st.none(), st.integers(1, 200_000)),
    context=st.one_of(st.none(), st.integers(512, 131_072)),
)
def test_everything_becomes_a_number_within_the_cards_ranges(
    rows: int, params_b: float | None, adapter: Adapter, method: Method, longest: int | None, context: int | None
) -> None:
    chosen = resolve_hyperparameters(
        recommend_hyperparameters(
            Hyperparameters(),
            rows=rows,
            params_b=params_b,
            adapter=adapter,
            method=method,
            longest_tokens=longest,
            context=context,
        )
    )
    numbers = chosen.model_dump()
    assert numbers.pop("learning_rate_multiplier") == "auto"  # the rate is absolute
    # The provider's to choose, and what depends on how it counts its batch.
    others = {"compute_multiplier", "eval_interval", "eval_samples", "reasoning_effort", "packing"}
    assert {name for name, value in numbers.items() if value == "auto"} == others
    assert 1e-5 <= numbers["learning_rate"] <= (0.02 if adapter.has_virtual_tokens else 5e-4)
    assert 1 <= numbers["epochs"] <= 5
    assert 4 <= numbers["batch_size"] <= 32
    assert 0.05 <= numbers["warmup_ratio"] <= 0.1
    assert numbers["lora_alpha"] == 2 * numbers["lora_rank"]
    assert context is None or numbers["max_length"] <= context
    assert longest is None or (context is not None and longest > context) or numbers["max_length"] >= longest


def test_larger_models_and_all_weights_get_lower_rates() -> None:
    rates = [recommended_learning_rate(size, Adapter.LORA, 16) for size in (0.135, 8, 70)]
    assert rates == sorted(rates, reverse=True) == [5e-4, 2e-4, 1e-4]
    for size in (0.135, 8, 70):
        assert recommended_learning_rate(size, Adapter.FULL, 16) < recommended_learning_rate(size, Adapter.LORA, 16)


def test_more_data_means_fewer_epochs_and_larger_batches() -> None:
    rows = (20, 240, 5_000, 100_000)
    assert [recommended_epochs(count) for count in rows] == [5, 3, 2, 1]
    batches = [
        resolve_hyperparameters(recommend_hyperparameters(Hyperparameters(), rows=count)).batch_size for count in rows
    ]
    assert batches == [4, 8, 32, 32]


def test_what_the_user_gave_stands() -> None:
    given = Hyperparameters(epochs=40, learning_rate=1.0, batch_size=1, lora_rank=128, max_length=64, weight_decay=0)
    chosen = resolve_hyperparameters(recommend_hyperparameters(given, rows=100, batch_size_max=8, lora_rank_max=16))
    for name, value in given.given().items():
        assert getattr(chosen, name) == value
    assert chosen.lora_alpha == 256  # follows the rank that was given
    reasons = recommend_hyperparameters(given, rows=100)
    assert reasons["epochs"].chosen_by == "user" and reasons["lora_alpha"].chosen_by == "rule"


def test_a_models_own_limits_bound_the_choice() -> None:
    chosen = resolve_hyperparameters(
        recommend_hyperparameters(Hyperparameters(), rows=10_000, batch_size_max=1, lora_rank_max=8)
    )
    assert (chosen.batch_size, chosen.lora_rank) == (1, 8)


def test_a_multiplier_scales_the_recommended_rate() -> None:
    plain = recommend_hyperparameters(Hyperparameters(), rows=1_000, params_b=8)
    doubled = recommend_hyperparameters(Hyperparameters(learning_rate_multiplier=2), rows=1_000, params_b=8)
    assert doubled["learning_rate"].value == pytest.approx(2 * plain["learning_rate"].value)
    assert doubled["learning_rate_multiplier"].value == 2
    assert "2 times" in doubled["learning_rate"].because
    assert resolve_hyperparameters(
        recommend_hyperparameters(Hyperparameters(learning_rate_multiplier=2), rows=1_000, params_b=8)
    ).learning_rate == pytest.approx(doubled["learning_rate"].value)


def test_a_few_long_examples_are_told_beside_the_length_that_they_ask_for() -> None:
    one_long = recommend_hyperparameters(Hyperparameters(), rows=500, longest_tokens=8_000, usual_tokens=700)[
        "max_length"
    ]
    assert one_long.value == 8_000 and "99 % have at most 700" in one_long.because
    alike = recommend_hyperparameters(Hyperparameters(), rows=500, longest_tokens=8_000, usual_tokens=7_990)[
        "max_length"
    ]
    assert alike.value == 8_000 and "99 %" not in alike.because


def test_options_have_reasons_and_what_was_given_stands() -> None:
    own = recommend_hyperparameter_options(Adapter.LORA, batch=32, micro_batch=8)
    assert {name: row.value for name, row in own.items()} == {
        "lr_scheduler_type": "cosine",
        "gradient_accumulation_steps": 4,
        "lora_target_modules": "all-linear",
    }
    given = recommend_hyperparameter_options(
        Adapter.LORA, batch=8, micro_batch=8, scheduler="linear", targets=["q", "v"]
    )
    assert given["lr_scheduler_type"].value == "linear" and given["lora_target_modules"].value == "q, v"
    assert {row.chosen_by for row in given.values()} == {"user", "rule"}
    assert "lora_target_modules" not in recommend_hyperparameter_options(Adapter.FULL, batch=8, micro_batch=8)


def test_the_benchmark_goes_on_where_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = Rows(
        "data", 1, [RenderedExample([1, 2, 3], [-100, 2, 3], "", [])] * 40, [RenderedExample([4, 5], [-100, 5], "", [])]
    )
    planned = list(points(rows))
    assert planned[0] == ("recommended", recommended(rows) | {"keeps_best": True}) and len(planned) == 1 + 6
    path = tmp_path / "cache" / "points.jsonl"
    for number, (_, numbers) in enumerate(planned):
        assert Finished(path).find(rows, numbers) is None
        Finished(path).add(rows, numbers, {"loss": 1.04 if number == 0 else 1.0, "before": 2.0, "seconds": 1.0})
    results = [(kind, numbers, Finished(path).find(rows, numbers)) for kind, numbers in planned]
    assert all(point is not None for _, _, point in results)
    print_table([([rows], results)], markdown=True)
    assert "+4.0%" in (told := capsys.readouterr().out) and "MISSED" not in told and "points" not in told
    print_table([([rows], [*results[:-1], (*results[-1][:2], None)])], markdown=True)
    assert "not run" in (told := capsys.readouterr().out) and "(5 points)" in told
    print_table([([rows, replace(rows, seed=2)], results)], markdown=True)
    assert "40, 1, 2 seeds" in capsys.readouterr().out
    assert mean([{"before": 2.0, "loss": 1.0}, {"before": 4.0, "loss": 2.0}]) == {"before": 3.0, "loss": 1.5}
    assert mean([{"before": 2.0, "loss": 1.0}, None]) is None, "a mean over some of the seeds is no score"
    assert Finished(path).find(replace(rows, seed=2), planned[0][1]) is None
    other = Rows("data", 1, rows.training[:-1], rows.held_out)
    assert Finished(path).find(other, planned[0][1]) is None


def test_a_run_that_keeps_its_best_epoch_may_go_fast() -> None:
    def rate(adapter: Adapter, batch: int, **more: bool) -> float:
        return recommended_learning_rate(0.135, adapter, batch, **more)

    assert rate(Adapter.LORA, 4) == 2.5e-4 and rate(Adapter.LORA, 4, keeps_best=True) == 5e-4
    assert rate(Adapter.FULL, 4, keeps_best=True) == rate(Adapter.FULL, 4), "not measured"
    assert recommend_hyperparameters(Hyperparameters(), rows=50, keeps_best=True)["learning_rate"].value == 2e-4
