"""Ranking and choosing: who can run it, who cannot and why, and whose word counts."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.support.folders import FIXTURES
from tuneport.backends.together.request import build_together_job_arguments
from tuneport.data.dataset import Dataset
from tuneport.data.tokens.tokens import OTHER_VOCABULARY
from tuneport.errors import (
    AuthError,
    BudgetError,
    ConfigError,
    DatasetError,
    ModelNotOfferedError,
    TuneportError,
    UnsupportedError,
)
from tuneport.estimate.cost import OwnGPUCost, Traffic
from tuneport.installation import install_extra
from tuneport.lifecycle.planning.planning import read_job_dataset_facts
from tuneport.manifests import Manifest, OfferedModel, find_manifest_model, load_gpus, load_manifest, load_models
from tuneport.router import (
    BackendChoice,
    BackendChoiceTokens,
    DatasetFacts,
    Machine,
    Readiness,
    choose_backend,
    rank_backends,
)
from tuneport.types import Adapter, Hyperparameters, Method, Quote, RemoteFile, TuneSpec

TODAY = date(2026, 11, 24)
ALL = frozenset({"openai", "together", "local"})
READY = Readiness(with_key=ALL, installed=ALL)


def count(manifest: Manifest, model: OfferedModel) -> BackendChoiceTokens:
    return BackendChoiceTokens(training=20_000, validation=2_000, longest=120)


def ranked(
    spec: TuneSpec | None = None,
    *,
    today: date = TODAY,
    rows: int = 240,
    dataset: DatasetFacts | None = None,
    ready: Readiness | None = READY,
    machine: Machine | None = None,
    **more: Any,
) -> dict[str, BackendChoice]:
    choices = rank_backends(
        spec or TuneSpec(model="support-intents", dataset=Path("train.jsonl")),
        [load_manifest(name) for name in ("openai", "together", "local")],
        today=today,
        models=load_models(),
        dataset=dataset or DatasetFacts(rows=rows, tokens=count),
        ready=ready,
        machine=machine or Machine(memory_gib=16),
        **more,
    )
    return {choice.backend: choice for choice in choices}


def spec(model: str = "support-intents", **fields: Any) -> TuneSpec:
    return TuneSpec(model=model, dataset=Path("train.jsonl"), **fields)


def kinds(choice: BackendChoice) -> list[str]:
    return [refusal.kind for refusal in choice.refusals]


# --- ranking --------------------------------------------------------------------------------------------------------


def test_free_first_then_by_price_and_what_ends_soon_last() -> None:
    choices = ranked()
    assert list(choices) == ["local", "together", "openai"]
    assert all(choice.allowed for choice in choices.values())
    local, together, openai = choices.values()
    assert (local.model, local.quote.expected, local.epochs) == ("smollm2-135m-instruct", 0.0, 3)
    assert local.duration.expected_seconds == pytest.approx(60_000 / 300)
    assert local.memory is not None and local.memory.fits(4)
    assert (together.quote.expected, together.epochs, together.adapter) == (4.00, 3, Adapter.LORA)
    steps = [choice.steps.expected for choice in choices.values() if choice.steps is not None]
    assert steps == [90, 90, 90] and openai.epochs == 3  # one recommendation for all
    assert together.duration.unavailable and openai.duration.unavailable
    assert openai.quote.expected == pytest.approx(20_000 * 3 * 5 / 1e6)  # dearer is Together, yet OpenAI ends first
    assert openai.retires == date(2027, 1, 14)
    assert any("shut down on 2027-01-14, in 51 days" in reason for reason in openai.reasons)
    assert any("takes no new jobs from 2027-01-06, in 43 days" in reason for reason in openai.reasons)


def test_long_before_its_end_openai_ranks_by_price() -> None:
    choices = ranked(today=date(2026, 9, 1))
    assert list(choices) == ["local", "openai", "together"]


def test_traffic_adds_a_month_of_inference() -> None:
    choices = ranked(traffic=Traffic(10_000_000, 2_000_000))
    openai, together = choices["openai"], choices["together"]
    assert openai.inference is not None and openai.inference.expected == pytest.approx(14.4)
    assert together.inference is not None and together.inference.expected == pytest.approx(3.99 * 730)
    assert choices["local"].inference is not None and choices["local"].inference.expected == 0.0


def test_the_age_of_a_price_is_told() -> None:
    assert any(r.startswith("the price is of 2025-11-01, older than 120 days") for r in ranked()["openai"].reasons)
    assert not any("older than" in reason for reason in ranked(today=date(2025, 12, 1))["openai"].reasons)


def test_what_was_not_verified_is_told() -> None:
    choice = ranked(spec("qwen3-8b"))["together"]
    assert choice.allowed and any(reason.startswith("not verified for Qwen/Qwen3-8B") for reason in choice.reasons)


def test_a_choice_becomes_json() -> None:
    for choice in ranked(traffic=Traffic(1, 1)).values():
        assert json.loads(json.dumps(choice.as_dict()))["backend"] == choice.backend


# --- refusals -------------------------------------------------------------------------------------------------------


def test_not_offered_comes_with_the_line_for_a_model_that_is_known_elsewhere() -> None:
    choices = ranked(spec("llama-3.1-8b-instruct"), machine=Machine(memory_gib=80, bf16_tflops=989))
    refused = choices["openai"]
    assert list(choices)[-1] == "openai" and kinds(refused) == ["not offered"]
    assert '[models."llama-3.1-8b-instruct"]' in refused.reasons[0]
    assert choices["together"].allowed and choices["local"].allowed


def test_a_retired_model_and_a_closed_provider() -> None:
    nano = ranked(spec("gpt-4.1-nano"))["openai"]
    assert kinds(nano) == ["ended"]
    assert nano.reasons[0] == "OpenAI retired gpt-4.1-nano-2025-04-14 on 2026-10-23; choose another model"
    assert ranked(today=date(2027, 1, 5))["openai"].allowed
    closed = ranked(today=date(2027, 1, 6))["openai"]
    assert kinds(closed) == ["ended"] and "takes no new jobs since 2027-01-06" in closed.reasons[0]
    assert kinds(ranked(today=date(2027, 1, 14))["openai"]) == ["ended", "ended"]


def test_no_key_and_no_extra() -> None:
    choices = ranked(ready=Readiness(with_key=frozenset({"together"}), installed=frozenset({"openai"})))
    assert kinds(choices["openai"]) == ["key"] and "set OPENAI_API_KEY" in choices["openai"].reasons[0]
    assert kinds(choices["together"]) == ["extra"]
    assert install_extra("together") in choices["together"].reasons[0]
    assert kinds(choices["local"]) == ["extra"]
    assert all(choice.allowed for choice in ranked(ready=None).values())


def test_too_little_memory() -> None:
    big = spec("llama-3.1-8b-instruct")
    refused = ranked(big, machine=Machine(memory_gib=16, bf16_tflops=65))["local"]
    assert kinds(refused) == ["memory"] and "adapter=qlora" in refused.reasons[0]
    quantised = ranked(
        spec("llama-3.1-8b-instruct", adapter=Adapter.QLORA), machine=Machine(memory_gib=16, bf16_tflops=65)
    )
    assert quantised["local"].allowed
    unknown = ranked(big, machine=Machine(memory_gib=None, bf16_tflops=65))["local"]
    assert unknown.allowed


def test_a_run_of_days_on_the_processor_ranks_behind() -> None:
    choices = ranked(
        spec("llama-3.1-8b-instruct"),
        machine=Machine(memory_gib=64),
        dataset=DatasetFacts(rows=1_000, tokens=lambda manifest, model: BackendChoiceTokens(500_000, longest=700)),
    )
    assert list(choices)[:2] == ["together", "local"]
    assert any(reason.startswith("would take about ") and " h " in reason for reason in choices["local"].reasons)


def test_too_little_or_too_long_data() -> None:
    choices = ranked(rows=7)
    assert kinds(choices["openai"]) == ["data"]
    assert "needs at least 10 examples and the dataset has 7" in choices["openai"].reasons[0]
    assert choices["together"].allowed
    long = DatasetFacts(rows=100, tokens=lambda manifest, model: BackendChoiceTokens(10**6, longest=70_000))
    assert kinds(ranked(dataset=long)["openai"]) == ["data"]
    assert ranked(dataset=long)["together"].allowed
    large = DatasetFacts(rows=100, bytes=9 * 2**30, tokens=count)
    assert kinds(ranked(dataset=large)["openai"]) == ["data"]
    assert "data" not in kinds(ranked(dataset=long)["local"])  # which cuts such a record, and names it


def test_pictures_go_to_models_that_take_them() -> None:
    shown = DatasetFacts(rows=100, tokens=count, image_rows=6)
    choices = ranked(dataset=shown)
    assert [kinds(choices[name]) for name in ALL] == [["data"]] * 3
    told = choices["openai"].reasons[0]
    assert "gpt-4.1-mini-2025-04-14 at OpenAI takes no images, and 6 rows show some; take a model that does" in told
    assert "openai/gpt-4o-2024-08-06" in told and "together/Qwen/Qwen3-VL-8B-Instruct" in told
    assert "openai/" not in ranked(dataset=shown, today=date(2027, 1, 7))["openai"].reasons[1]
    asked = TuneSpec(model="a-model", dataset=Path("train.jsonl"))
    (unknown,) = rank_backends(asked, [load_manifest("fake")], today=TODAY, models=load_models(), dataset=shown)
    assert unknown.allowed and "6 rows show images, and it is not known whether a-model" in " ".join(unknown.warnings)
    assert ranked(spec("gpt-4o-2024-08-06"), dataset=shown)["openai"].allowed
    sees = ranked(spec("Qwen/Qwen3-VL-8B-Instruct"), dataset=shown)["together"]
    assert sees.allowed and "not known" not in " ".join(sees.warnings)
    assert not ranked(spec("Qwen/Qwen3-VL-8B-Instruct", method=Method.KTO), dataset=shown)["together"].allowed


def test_method_adapter_and_ranges() -> None:
    choices = ranked(spec(method=Method.DPO))
    assert choices["local"].allowed and choices["openai"].allowed and choices["openai"].quote.unavailable
    assert kinds(ranked(spec(adapter=Adapter.LORA))["openai"]) == ["unsupported"]
    assert kinds(ranked(spec(adapter=Adapter.QLORA))["together"]) == ["unsupported"]
    assert ranked(spec(adapter=Adapter.QLORA))["local"].allowed
    wild = ranked(spec(hyperparameters=Hyperparameters(epochs=60, batch_size=16), suffix="s" * 50))
    assert kinds(wild["openai"]) == ["unsupported"] and "epochs of 1 to 50, not 60" in wild["openai"].reasons[0]
    assert kinds(wild["together"]) == ["unsupported", "unsupported"]  # batch 8 at most, suffix of 40
    assert wild["local"].allowed


@pytest.mark.parametrize(
    ("method", "more"), [("grpo", {"reward": "a:b"}), ("rloo", {"reward": "a:b"}), ("rft", {"grader": {"type": "x"}})]
)
def test_what_answers_are_worth_can_be_learnt_here_for_an_unknown_time(method: str, more: dict[str, Any]) -> None:
    choices = ranked(spec(method=method, **more))
    assert choices["local"].allowed and choices["local"].quote.expected == 0.0
    assert (
        choices["local"].duration.unavailable
        == f"the duration of {method} depends on the answers that the model writes"
    )
    assert choices["local"].memory is not None
    assert "unsupported" in kinds(choices["together"])


def test_a_budget_refuses_what_is_dearer_or_unknown() -> None:
    choices = ranked(spec(budget=1.00))
    assert choices["local"].allowed and choices["openai"].allowed
    assert kinds(choices["together"]) == ["budget"]
    assert "would cost up to $4.00" in choices["together"].reasons[0]
    uncounted = ranked(spec(budget=1.00), dataset=DatasetFacts(rows=240))
    assert kinds(uncounted["openai"]) == ["budget"] and "is unknown" in uncounted["openai"].reasons[0]


def test_a_budget_is_held_against_the_upper_bound_of_an_approximate_count() -> None:
    def about(manifest: Manifest, model: OfferedModel) -> BackendChoiceTokens:
        return BackendChoiceTokens(training=20_000, longest=120, low=0.5, high=4.0, reason="tokens were guessed")

    dataset = DatasetFacts(rows=240, tokens=about)
    openai = ranked(dataset=dataset)["openai"]
    assert (openai.quote.low, openai.quote.expected, openai.quote.high) == pytest.approx((0.15, 0.30, 1.20))
    assert "the training price is approximate: tokens were guessed" in openai.warnings
    assert not any("approximate" in told for told in ranked()["openai"].warnings)
    refused = ranked(spec(budget=1.00), dataset=dataset)["openai"]
    assert kinds(refused) == ["budget"] and "would cost up to $1.20" in refused.reasons[0]
    together = ranked(dataset=dataset)["together"]  # the minimum, whatever the tokens
    assert together.quote.low == together.quote.high == 4.00
    assert not any("approximate" in told for told in together.warnings)


def test_provider_options_that_change_the_bill_change_the_quote() -> None:
    def quote(**fields: Any) -> Quote:
        large = DatasetFacts(
            rows=100_000,
            tokens=lambda manifest, model: BackendChoiceTokens(10**7, 10**6, validation_rows=10_000),
        )
        return ranked(spec("qwen3-8b", **fields), dataset=large)["together"].quote

    validation, length = Path("held-out.jsonl"), Hyperparameters(max_length=1024)
    assert quote().expected == quote(provider_options={"packing": True}).expected == pytest.approx(10 * 0.48)
    assert quote(validation=validation).expected == pytest.approx(11 * 0.48)
    assert quote(validation=validation, provider_options={"n_evals": 10}).expected == pytest.approx(20 * 0.48)
    assert quote(validation=validation, provider_options={"n_evals": 0}).expected == pytest.approx(10 * 0.48)
    assert quote(provider_options={"n_evals": 10}).expected == pytest.approx(10 * 0.48)  # nothing to evaluate on
    early: dict[str, Any] = {"early_stopping_enabled": True}
    for options, sent in (
        (early, 4),  # a baseline, a warm-up and the patience of two
        (early | {"early_stopping_patience": 5, "early_stopping_warmup_evals": 2}, 8),
        (early | {"n_evals": 6}, 6),
        ({"early_stopping_patience": 5}, 1),
    ):
        asked = spec("qwen3-8b", validation=validation, provider_options=options)
        files = [
            RemoteFile(id=purpose, purpose=purpose, sha256="", filename="", bytes=0)
            for purpose in ("training", "validation")
        ]
        assert build_together_job_arguments(asked, files, None)["n_evals"] == sent
        assert quote(validation=validation, provider_options=options).expected == pytest.approx((10 + sent) * 0.48)
    assert quote(validation=validation, provider_options=early | {"early_stopping_patience": "5"}).expected
    unpacked = {"packing": False}
    # Every example is padded to the length that is sent: a longest example is not known here.
    assert quote(provider_options=unpacked).expected == pytest.approx(409.6 * 0.48)
    padded = quote(provider_options=unpacked, hyperparameters=length)
    assert padded.expected == pytest.approx(102.4 * 0.48)


def test_a_length_below_a_backends_least_is_refused_before_there_is_a_job() -> None:
    short = ranked(spec(hyperparameters=Hyperparameters(max_length=512)))
    assert kinds(short["together"]) == ["unsupported"]
    assert "takes max_length of at least 1024, not 512" in short["together"].reasons[0]
    assert "max_length" not in str(short["local"].reasons)


def test_the_providers_own_defaults_are_judged_as_such() -> None:
    own = ranked(spec(provider_defaults=True))
    assert {name: choice.epochs for name, choice in own.items()} == {"together": 1, "openai": 3, "local": 3}
    together = own["together"].steps
    assert together is not None and together.too_few and together.expected == 1
    assert json.loads(json.dumps(own["together"].as_dict()))["settings"]["remedies"][0]["steps"] == 90


def test_counts_of_real_files_say_how_exact_they_are(tmp_path: Path) -> None:
    openai, together = load_manifest("openai"), load_manifest("together")
    mini, qwen = find_manifest_model(openai, "gpt-4.1-mini-2025-04-14"), find_manifest_model(together, "Qwen/Qwen3-8B")
    assert mini is not None and qwen is not None
    chats, tools = (FIXTURES / "datasets" / f"support_{name}.jsonl" for name in ("intents.train", "tools"))
    exact = read_job_dataset_facts(Dataset(chats), None, home=tmp_path).tokens(openai, mini)
    assert (exact.low, exact.high, exact.approximate) == (1.0, 1.0, False)
    called = read_job_dataset_facts(Dataset(tools), None, home=tmp_path).tokens(openai, mini)
    assert called.low < 1 < called.high and "tool definitions" in called.reason
    held_out = read_job_dataset_facts(Dataset(chats), Dataset(tools), home=tmp_path).tokens(openai, mini)
    assert (held_out.high, held_out.reason) == (called.high, called.reason) and held_out.validation_rows > 0
    other = read_job_dataset_facts(Dataset(chats), None, home=tmp_path).tokens(together, qwen)
    assert (other.low, other.high) == OTHER_VOCABULARY and "not with the model's own vocabulary" in other.reason
    pair = {
        "input": {"messages": [{"role": "user", "content": "Hi"}]},
        "preferred_output": [{"role": "assistant", "content": "Hello"}],
        "non_preferred_output": [{"role": "assistant", "content": "What"}],
    }
    path = tmp_path / "pairs.jsonl"
    path.write_text(f"{json.dumps(pair)}\n" * 20)
    pairs = read_job_dataset_facts(Dataset(path), None, home=tmp_path).tokens(together, qwen)
    assert pairs.low == pytest.approx(0.45) and "not published" in pairs.reason and "vocabulary" in pairs.reason


def test_the_method_decides_how_much_memory_a_run_needs() -> None:
    """Full-weight dpo keeps the model once more, to compare with; pairs are two texts at once."""

    def need(method: Method) -> float:
        memory = ranked(spec("llama-3.2-1b-instruct", method=method, adapter=Adapter.FULL))["local"].memory
        assert memory is not None
        return memory.expected_gib

    assert need(Method.DPO) > need(Method.SFT) * 1.15


def test_a_gpu_of_unknown_speed_is_not_taken_for_the_processor() -> None:
    machine = Machine(memory_gib=24, gpu="NVIDIA Unheard Of")
    local = ranked(spec("llama-3.2-1b-instruct"), machine=machine)["local"]
    assert local.allowed and local.duration.expected_seconds is None
    assert "NVIDIA Unheard Of" in (local.duration.unavailable or "")
    measured = ranked(spec("llama-3.2-1b-instruct"), machine=replace(machine, tokens_per_second=1000.0))["local"]
    assert measured.duration.expected_seconds


def test_a_rented_gpu_costs_its_hours() -> None:
    gpu = load_gpus().find("H100")
    machine = Machine(
        memory_gib=gpu.vram_gib, bf16_tflops=gpu.bf16_tflops, own=OwnGPUCost(offer=gpu.cheapest("Lambda"))
    )
    local = ranked(spec("llama-3.1-8b-instruct"), machine=machine)["local"]
    assert local.allowed and local.quote.expected is not None and 0 < local.quote.expected < 3.99
    assert local.quote.low is not None and local.quote.high is not None
    assert local.quote.low < local.quote.expected < local.quote.high


# --- choosing -------------------------------------------------------------------------------------------------------


def test_whose_word_counts() -> None:
    choices = list(ranked().values())
    assert choose_backend(choices).backend == "local"
    assert choose_backend(choices, project="together").backend == "together"
    assert choose_backend(choices, environment="openai", project="together").backend == "openai"
    assert choose_backend(choices, explicit="together", environment="openai", project="local").backend == "together"


def test_an_unknown_backend_names_who_said_it() -> None:
    with pytest.raises(ConfigError, match="TUNEPORT_BACKEND names the backend 'opnai'.*use one of: local, openai"):
        choose_backend(list(ranked().values()), environment="opnai")


@pytest.mark.parametrize(
    ("fields", "more", "backend", "error"),
    [
        ({"model": "gpt-4.1-mini"}, {}, "together", ModelNotOfferedError),
        ({"model": "gpt-4.1-nano"}, {}, "openai", UnsupportedError),
        ({"budget": 1.0}, {}, "together", BudgetError),
        ({}, {"rows": 5}, "openai", DatasetError),
        ({}, {"ready": Readiness(installed=ALL)}, "openai", AuthError),
        ({}, {"ready": Readiness(with_key=ALL)}, "local", ConfigError),
        ({"adapter": Adapter.LORA}, {}, "openai", UnsupportedError),
    ],
)
def test_a_named_backend_that_is_refused_raises_its_own_error(
    fields: dict[str, Any], more: dict[str, Any], backend: str, error: type[TuneportError]
) -> None:
    choices = list(ranked(spec(**fields), **more).values())
    with pytest.raises(error) as raised:
        choose_backend(choices, environment=backend)
    assert type(raised.value) is error
    assert raised.value.exit_code == 2


def test_weights_that_cannot_be_had_are_a_refusal_and_those_to_download_a_note() -> None:
    absent = replace(READY, without_weights={"local": "the weights are not here"})
    choices = ranked(ready=absent)
    assert kinds(choices["local"]) == ["weights"] and choice_of(choices).backend == "together"
    with pytest.raises(ConfigError, match="^the weights are not here$"):
        choose_backend(list(choices.values()), explicit="local")
    local = ranked(ready=replace(READY, downloads={"local": "16 GB come first"}))["local"]
    assert local.allowed and "16 GB come first" in local.warnings


def choice_of(choices: dict[str, BackendChoice]) -> BackendChoice:
    return choose_backend(list(choices.values()))


def test_all_reasons_are_told_together() -> None:
    choices = list(ranked(spec(adapter=Adapter.LORA), rows=3, ready=Readiness(installed=ALL)).values())
    with pytest.raises(UnsupportedError, match="use auto.*; also: .*at least 10 examples.*; also: no key for OpenAI"):
        choose_backend(choices, explicit="openai")


def test_when_nobody_can_everyone_says_why() -> None:
    choices = list(ranked(ready=Readiness()).values())
    with pytest.raises(UnsupportedError, match="no backend can run this job now: .*local: .*openai: |together: "):
        choose_backend(choices)
    with pytest.raises(ConfigError, match="no backend is available"):
        choose_backend([])


def test_a_model_that_no_backend_has_is_one_error_with_the_nearest_of_all() -> None:
    choices = list(ranked(spec("smollm2-135m")).values())
    with pytest.raises(ModelNotOfferedError) as raised:
        choose_backend(choices)
    told = "no backend offers 'smollm2-135m'; did you mean smollm2-135m-instruct (local)?"
    assert str(raised.value) == told and raised.value.nearest == ["smollm2-135m-instruct"]
    with pytest.raises(ModelNotOfferedError, match="did you mean smollm2-135m-bot or "):
        choose_backend(choices, names=["smollm2-135m-bot"])


def test_backends_without_the_model_are_not_among_those_that_cannot_run_it() -> None:
    choices = list(ranked(spec("llama-3.1-8b-instruct"), ready=Readiness()).values())
    with pytest.raises(UnsupportedError, match="no backend can run this job now: ") as raised:
        choose_backend(choices)
    assert "openai" not in str(raised.value) and "[models" not in str(raised.value)
