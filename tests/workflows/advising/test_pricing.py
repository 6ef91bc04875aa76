"""Dollars beside each way, held against sums made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.support.folders import FIXTURES
from tuneport.advisor import Approach
from tuneport.data.checks import CheckReport, check_dataset
from tuneport.errors import ConfigError, ModelNotOfferedError
from tuneport.settings import Settings
from tuneport.workflows.advise import advise_option, gather_advice_facts
from tuneport.workflows.advising.pricing import AdvisedOptionPricing, price_advised_options
from tuneport.workflows.target import find_target_model

TRAIN = FIXTURES / "datasets" / "support_intents.train.jsonl"
TODAY = date(2026, 11, 26)


@pytest.fixture(scope="module")
def report() -> CheckReport:
    return check_dataset(TRAIN)


def priced(report: CheckReport, settings: Settings, backend: str = "openai", **options: Any) -> AdvisedOptionPricing:
    model = {"openai": "gpt-4.1", "together": "llama-3.1-8b-instruct"}[backend]
    asked = {"requests": 1_000_000, "tokens_per_request": (100, 10), "shots": 400, "today": TODAY} | options
    return price_advised_options(report, find_target_model(model, backend, settings), settings=settings, **asked)


def test_a_month_of_each_way_by_hand(report: CheckReport, settings: Settings) -> None:
    """gpt-4.1: base $2 and $8 per 1M (litellm's table), tuned $3 and $12, training $25 (the vendor's page)."""
    found = priced(report, settings).prices
    assert found[Approach.PROMPT].month == pytest.approx(100 * 2 + 10 * 8)
    assert found[Approach.FEW_SHOT].month == pytest.approx(500 * 2 + 10 * 8)
    assert found[Approach.FINE_TUNE].month == pytest.approx(100 * 3 + 10 * 12)
    assert found[Approach.FINE_TUNE].once == pytest.approx(report.tokens.total * 3 * 25 / 1e6)  # auto: 3 epochs
    assert found[Approach.PROMPT].month_range == (found[Approach.PROMPT].month,) * 2  # a price per token has no range
    rag = found[Approach.RAG]
    assert (rag.once, rag.month, rag.at_least) == (None, found[Approach.PROMPT].month, True)
    assert "1,000 tokens of passages in a request are $2,000.00 a month more" in rag.why


def test_training_pays_back_against_the_few_shot_prompt_or_not(report: CheckReport, settings: Settings) -> None:
    assert "paid back, by price alone: less than a day" in priced(report, settings).payback
    assert "never, because it costs $140.00 a month more" in priced(report, settings, shots=0).payback


def test_a_smaller_model_is_priced_where_it_is_named(report: CheckReport, settings: Settings) -> None:
    assert "--smaller" in priced(report, settings).prices[Approach.SMALLER_MODEL].why
    small = priced(report, settings, smaller="gpt-4.1-mini").prices[Approach.SMALLER_MODEL]
    assert small.month == pytest.approx(100 * 0.8 + 10 * 3.2) and "gpt-4.1-mini" in small.why
    with pytest.raises((ConfigError, ModelNotOfferedError)):
        priced(report, settings, smaller="no-such-model")


def test_without_the_traffic_a_month_has_no_price(report: CheckReport, settings: Settings) -> None:
    found = priced(report, settings, requests=None)
    assert found.payback == "" and found.prices[Approach.FINE_TUNE].once is not None
    assert all(each.month is None for each in found.prices.values())
    assert "--requests" in found.prices[Approach.PROMPT].why


def test_the_tokens_of_a_request_are_the_means_of_the_data(report: CheckReport, settings: Settings) -> None:
    request = priced(report, settings, tokens_per_request=None, shots=None).request
    assert request.tokens_in + request.tokens_out == pytest.approx(report.tokens.total / report.rows, abs=0.2)
    assert 1 < request.tokens_out < 10  # labels
    assert request.shots == round(8 * report.tokens.total / report.rows)  # one example of each label


def test_plain_text_is_priced_as_continued_pretraining(tmp_path: Path, settings: Settings) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps({"text": f"Paragraph {number} of it."}) + "\n" for number in range(50)))
    found = priced(check_dataset(path), settings, "together").prices
    assert found[Approach.CONTINUED_PRETRAINING].once and found[Approach.FINE_TUNE].once is None
    low, high = found[Approach.CONTINUED_PRETRAINING].month_range or (0, 0)
    assert low < high  # two pages of the provider say two prices of an endpoint


def test_a_tuned_model_that_ends_soon_says_so(report: CheckReport, settings: Settings) -> None:
    assert any("2027-01-14" in remark for remark in priced(report, settings).remarks)


def test_it_stands_in_the_document(report: CheckReport, settings: Settings) -> None:
    facts = replace(gather_advice_facts(needs=["style"], requests=1000, settings=settings), report=report)
    assert facts.price(None) is None
    facts.price("llama-3.1-8b-instruct", "together")
    document = json.loads(json.dumps(advise_option(facts).as_dict()))
    assert document["pricing"]["requests"] == 1000 and document["pricing"]["prices"]["fine-tune"]["once"] > 0
    with pytest.raises(ConfigError, match="need DATA and the base model"):
        gather_advice_facts(needs=["style"], settings=settings).price("gpt-4.1", smaller="gpt-4.1-mini")


def test_a_smaller_model_that_saves_nothing_is_not_advised(report: CheckReport, settings: Settings) -> None:
    found = priced(report, settings, smaller="gpt-4.1-mini")
    by_hand = 12 * (100 * 2 + 10 * 8 - 100 * 0.8 - 10 * 3.2) - report.tokens.total * 3 * 5 / 1e6
    assert found.saving(Approach.PROMPT) == pytest.approx(by_hand)
    assert (
        priced(report, settings, smaller="smollm2-135m-instruct").saving(Approach.PROMPT) is None
    )  # nobody counted it

    def advised(model: str, smaller: str) -> Approach:
        facts = replace(
            gather_advice_facts(needs=["cost"], prompt="works", requests=3_000_000, settings=settings), report=report
        )
        facts.known["examples"] = report.rows
        facts.price(model, "openai", smaller=smaller)
        return advise_option(facts).advice.approach

    assert advised("gpt-4.1", "gpt-4.1-mini") is Approach.SMALLER_MODEL
    assert advised("gpt-4.1-mini", "gpt-4.1") is Approach.PROMPT  # a larger one is no saving


def test_the_epochs_that_a_provider_would_choose_are_known(report: CheckReport, settings: Settings) -> None:
    facts = replace(gather_advice_facts(needs=["style"], settings=settings), report=report)
    facts.price("gpt-4.1", "openai")
    pitfall = next(each for each in advise_option(facts).advice.pitfalls if each.name == "too many epochs")
    assert pitfall.applies is False and pitfall.evidence.startswith("3: what is recommended")


def test_a_machine_whose_hour_has_a_price_is_counted_for_every_way(
    report: CheckReport, isolated: Path, monkeypatch: pytest.MonkeyPatch, gpu_here: Callable[[str], None]
) -> None:
    monkeypatch.setenv("TUNEPORT_LOCAL_USD_PER_HOUR", "0.5")
    settings = Settings.load(isolated)
    local = find_target_model("smollm2-135m-instruct", "local", settings)
    for listed, month in (("NVIDIA L4, 23034", pytest.approx(0.5 * 730)), ("", None)):
        gpu_here(listed)
        found = price_advised_options(report, local, requests=1_000, settings=settings, today=TODAY).prices
        for approach in (Approach.PROMPT, Approach.FEW_SHOT, Approach.FINE_TUNE):
            assert found[approach].month == month, (listed, approach)
    assert "its capacity is not known" in found[Approach.FINE_TUNE].why
