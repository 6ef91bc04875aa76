"""One recommendation for all backends, in each one's terms, and the steps that it makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tuneport.estimate.batching import TrainedRows
from tuneport.estimate.cost import training_quote
from tuneport.estimate.settling import keeps_best_epoch, settle_training
from tuneport.estimate.training_settings import TrainingSettings, TrainingSteps
from tuneport.manifests import Manifest, OfferedModel, load_manifest
from tuneport.types import Adapter, Hyperparameters, Quote, TuneSpec

MODELS = {
    "together": "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference",
    "openai": "gpt-4.1-mini-2025-04-14",
    "azure": "gpt-4.1-mini-2025-04-14",
}
SMALL = TrainedRows(rows=77, tokens=3_273, longest=60)
BACKENDS = ["together", "openai", "azure", "local"]


def offered(manifest: Manifest) -> OfferedModel:
    own = OfferedModel(id="m", params_b=0.135, context=8_192, source="tuneport")
    return next((row for row in manifest.models if row.id == MODELS.get(manifest.name)), own)


def settled(
    backend: str, data: TrainedRows = SMALL, *, spec: dict[str, Any] | None = None, **hyperparameters: Any
) -> TrainingSettings:
    manifest = load_manifest(backend)
    model = offered(manifest)

    def price(numbers: Hyperparameters, epochs: int) -> Quote:
        length = None if numbers.max_length == "auto" else numbers.max_length
        return training_quote(
            manifest,
            model,
            tokens_per_epoch=data.tokens,
            epochs=epochs,
            rows=data.rows,
            packing=numbers.packing is not False or manifest.training.packing is None,
            max_length=length,
        )

    job = TuneSpec(model="m", dataset=Path("d"), hyperparameters=Hyperparameters(**hyperparameters), **(spec or {}))
    return settle_training(job, manifest, model, data, adapter=Adapter.LORA, price=price)


@pytest.mark.parametrize("backend", BACKENDS)
def test_77_rows_take_the_same_epochs_and_steps_everywhere(backend: str) -> None:
    found = settled(backend)
    assert (found.epochs, found.hyperparameters.epochs, found.hyperparameters.batch_size) == (5, 5, 4)
    assert (found.steps.expected, found.steps.meant) == (100, 100)
    assert not found.steps.too_few and found.remedies == ()
    assert found.steps.explanation == "77 rows / batch 4 = 20 x 5 epochs"


@pytest.mark.parametrize(
    ("rows", "tokens", "longest", "steps", "meant", "packing", "length", "batch", "usd"),
    [
        (77, 3_273, 60, 100, 100, False, 1_024, 4, 4.0),
        (240, 10_080, 64, 90, 90, False, 1_024, 8, 4.0),
        (1_000, 75_000, 400, 111, 96, True, 1_024, 2, 4.0),
        (10_000, 750_000, 800, 734, 626, True, 1_024, 2, 4.0),
        (50_000, 10_000_000, 1_500, 1_628, 1_563, True, 1_536, 4, 4.8),
    ],
)
def test_sequences_are_packed_only_where_enough_steps_are_left_and_that_costs_nothing(
    rows: int,
    tokens: int,
    longest: int,
    steps: int,
    meant: int,
    packing: bool,
    length: int,
    batch: int,
    usd: float,
) -> None:
    data = TrainedRows(rows=rows, tokens=tokens, longest=longest)
    found = settled("together", data)
    numbers = found.hyperparameters
    assert (found.steps.expected, found.steps.meant) == (steps, meant)
    assert (numbers.packing, numbers.max_length, numbers.batch_size) == (packing, length, batch)
    assert found.steps.low is not None and found.steps.high is not None
    assert found.steps.low <= steps <= found.steps.high
    billed = (tokens if packing else rows * length) * found.epochs
    assert max(4.0, billed / 1e6 * 0.48) == pytest.approx(usd)


def test_the_numbers_go_under_the_backends_own_names() -> None:
    assert settled("together").sent == {
        "n_epochs": 5,
        "batch_size": 4,
        "packing": False,
        "learning_rate": 1e-4,
        "warmup_ratio": 0.05,
        "weight_decay": 0.01,
        "max_seq_length": 1_024,
        "lora_r": 16,
        "lora_alpha": 32.0,
        "lora_dropout": 0.05,
    }
    assert settled("openai").sent == {"n_epochs": 5, "batch_size": 4}


def test_auto_stays_where_the_provider_publishes_no_rate() -> None:
    found = settled("openai")
    assert found.hyperparameters.learning_rate_multiplier == "auto"
    assert found.chosen_by["learning_rate_multiplier"] == "backend"
    assert found.because["learning_rate_multiplier"] == "OpenAI publishes no rate and picks one"
    assert found.because["warmup_ratio"] == "OpenAI takes no warmup_ratio"
    assert settled("openai", learning_rate_multiplier=2).sent["learning_rate_multiplier"] == 2


def test_a_multiplier_scales_the_recommended_rate_where_rates_are_absolute() -> None:
    found = settled("together", learning_rate_multiplier=2)
    assert found.hyperparameters.learning_rate == pytest.approx(2e-4)
    assert found.hyperparameters.learning_rate_multiplier == "auto"
    assert found.chosen_by["learning_rate"] == "user"


def test_the_local_trainer_finds_the_longest_example_itself() -> None:
    found = settled("local")
    assert found.hyperparameters.max_length == "auto" and found.chosen_by["max_length"] == "backend"
    assert "the longest example (60 tokens)" in found.because["max_length"]
    assert settled("local", max_length=64).hyperparameters.max_length == 64


def test_what_the_user_gave_stands_and_few_steps_have_a_remedy_with_its_price() -> None:
    found = settled("together", packing=True, batch_size=8)
    assert (found.hyperparameters.packing, found.hyperparameters.batch_size) == (True, 8)
    assert found.steps.expected == 5 and found.steps.too_few
    first = found.remedies[0]
    assert (first.words, first.steps) == ("--set packing=false", 50)
    assert first.quote is not None and first.quote.expected == 4.0


@pytest.mark.parametrize(
    ("given", "words", "steps"),
    [
        ({"batch_size": 64}, "--set batch_size=4", 100),
        ({"epochs": 1}, "--set epochs=5", 100),
    ],
)
def test_remedies_are_smaller_batches_and_more_epochs(given: dict[str, int], words: str, steps: int) -> None:
    found = settled("openai", **given)
    assert found.steps.too_few
    assert (words, steps) in [(each.words, each.steps) for each in found.remedies]
    prices = [each.quote.expected for each in found.remedies if each.quote is not None]
    assert prices == sorted(prices, key=lambda usd: usd or 0)


def test_a_remedy_makes_the_steps_that_it_promises() -> None:
    for given in ({"packing": True}, {"batch_size": 8, "epochs": 1}, {"packing": True, "batch_size": 8}):
        for remedy in settled("together", **given).remedies:
            assert settled("together", **{**given, **remedy.changes}).steps.expected == remedy.steps


def test_the_providers_own_defaults_are_left_to_it() -> None:
    found = settled("together", spec={"provider_defaults": True})
    assert found.sent == {} and found.epochs == 1
    assert found.steps.expected == 1 and found.steps.too_few
    assert [(each.words, each.steps) for each in found.remedies] == [("leave --provider-defaults out", 100)]
    openai = settled("openai", spec={"provider_defaults": True})
    assert (openai.sent, openai.epochs, openai.steps.expected) == ({}, 3, None)
    assert openai.steps.unavailable == "OpenAI picks the batch" and not openai.steps.too_few
    assert settled("openai", spec={"provider_defaults": True}, batch_size=1).steps.expected == 231
    assert settled("local", spec={"provider_defaults": True}) == settled("local")  # it is tuneport's own trainer


def test_auto_stays_the_services_own_only_where_its_api_defines_it() -> None:
    asked = {"provider_defaults": "auto"}
    assert settled("openai", spec=asked).sent == settled("azure", spec=asked).sent == {}
    assert settled("together", spec=asked) == settled("together")


def test_preferences_count_by_rows_and_may_be_packed() -> None:
    found = settled("together", TrainedRows(1_000, 75_000, 400), spec={"method": "dpo"})
    assert "packing" not in found.sent and found.sent["dpo_beta"] == 0.1
    assert (found.steps.low, found.steps.expected) == (57, 750)  # half as many pairs as rows in a batch


def test_rollouts_leave_out_a_batch_that_is_not_full() -> None:
    found = settled("local", TrainedRows(10), spec={"method": "grpo", "reward": "a:b"})
    assert (found.steps.expected, found.steps.meant) == (10, 15)


def test_a_checkpoint_keeps_its_own_adapter() -> None:
    assert not {"lora_r", "lora_alpha", "lora_dropout"} & settled("together", spec={"from_checkpoint": "j"}).sent.keys()
    assert settled("together", spec={"from_checkpoint": "j"}, lora_rank=8).sent["lora_r"] == 8


def test_what_has_no_knob_stands_so_that_the_backend_refuses_it() -> None:
    assert settled("openai", lora_rank=8).hyperparameters.lora_rank == 8
    assert settled("local", packing=True).hyperparameters.packing is True


def test_limits_bound_what_is_recommended() -> None:
    assert settled("together", TrainedRows(20, 600, 30)).hyperparameters.max_length == 1_024
    assert settled("together", max_length=512).hyperparameters.max_length == 512  # refused later, by its name


def test_unknown_tokens_leave_the_steps_of_packed_rows_unknown() -> None:
    unknown = TrainedRows(77)
    assert settled("together", unknown).hyperparameters.packing is False  # these can be counted
    packed = settled("together", unknown, packing=True)
    assert packed.steps.expected is None and packed.steps.unavailable == "the tokens of the dataset were not counted"


def test_a_backend_without_rules_gets_what_was_given() -> None:
    manifest = load_manifest("fake").model_copy(update={"training": Manifest.model_fields["training"].default})
    job = TuneSpec(model="m", dataset=Path("d"), hyperparameters=Hyperparameters(batch_size=3))
    found = settle_training(job, manifest, offered(manifest), SMALL, adapter=Adapter.LORA)
    assert found.hyperparameters == job.hyperparameters and found.epochs == 5
    assert found.steps.unavailable is not None and "states no rules" in found.steps.unavailable


def test_the_best_epoch_is_kept_where_the_trainer_can() -> None:
    job = TuneSpec(model="m", dataset=Path("d"), validation=Path("v"))
    assert keeps_best_epoch(job, load_manifest("local"))
    assert not keeps_best_epoch(job, load_manifest("together"))
    assert not keeps_best_epoch(job.model_copy(update={"validation": None}), load_manifest("local"))
    found = settled("local", spec={"validation": Path("v")})
    assert found.options == {"early_stopping": 2}
    assert found.hyperparameters.learning_rate == 2 * settled("local").hyperparameters.learning_rate  # type: ignore[operator]


@pytest.mark.parametrize(
    ("expected", "meant", "few"), [(29, 29, True), (30, 90, False), (30, 91, True), (None, 100, False)]
)
def test_few_steps_are_below_30_or_a_third_of_those_meant(expected: int | None, meant: int, few: bool) -> None:
    assert TrainingSteps(expected=expected, meant=meant).too_few is few


def test_settings_are_stored_and_read_as_they_are() -> None:
    found = settled("together", packing=True)
    assert TrainingSettings.model_validate_json(found.model_dump_json()) == found
