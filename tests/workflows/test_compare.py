"""Published bills, by `compare` as a whole; and what its documents carry."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.commands import Run
from tests.support.folders import FIXTURES
from tests.support.tiny import preference_rows, write_rows
from tests.support.workspaces import write_chats
from tuneport.errors import ConfigError, ModelNotOfferedError
from tuneport.estimate.cost import Traffic
from tuneport.settings import Settings
from tuneport.workflows.compare import Comparison, compare
from tuneport.workflows.comparison.csv_file import render_comparison_csv
from tuneport.workflows.comparison.page import render_comparison_page

TODAY = date(2026, 11, 26)
TRAIN = FIXTURES / "datasets" / "support_intents.train.jsonl"
OF_A_CARD = {"own_gpu": "H100", "own_hour": 4.0}


def one(settings: Settings, dataset: Path, model: str, backend: str = "openai", **more: object) -> Comparison:
    return compare(dataset, model=[model], backend=[backend], settings=settings, today=TODAY, **more)  # type: ignore[arg-type]


def test_a_published_bill_comes_out_to_the_token(shared_data: Path, settings: Settings) -> None:
    """Cainier/gpt-tokens, tests/index.js: 13 examples, gpt-3.5-turbo-1106, 4,445 trained tokens in 7 (auto) epochs."""
    path = shared_data / "gpt_tokens_fine-tuning-data.jsonl"
    document = one(settings, path, "gpt-3.5-turbo-1106", provider_defaults=True).as_dict()
    (choice,) = document["choices"]
    assert choice["training"]["billed_tokens_per_epoch"] == 635 and choice["epochs"] == 7
    assert choice["training"]["billed_tokens_per_epoch"] * choice["epochs"] == 4_445
    assert choice["training"]["expected"] == pytest.approx(4_445 * 8 / 1e6)
    assert not choice["allowed"] and "retired gpt-3.5-turbo-1106 on 2026-09-28" in choice["reasons"][0]


def test_epochs_and_steps_stand_in_every_form_of_the_table(
    run: Run, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = write_chats(tmp_path / "train.jsonl", rows=77)
    asked = ("llama-3.1-8b-instruct", "together")
    equal, own = one(settings, rows, *asked), one(settings, rows, *asked, provider_defaults=True)
    for compared, epochs, steps in ((equal, "5", "100"), (own, "1", "1!")):
        (line,) = csv.DictReader(io.StringIO(render_comparison_csv(compared)))
        assert (line["epochs"], line["steps"], line["steps_meant"]) == (epochs, steps.rstrip("!"), "100")
        page = render_comparison_page(compared)
        assert f'<td data-name="epochs">{epochs}</td>\n<td data-name="steps">{steps}</td>' in page
        cells = re.findall(r'<bdi dir="auto">([^<]*)</bdi>', compared._repr_html_())
        assert any((epochs, steps) == pair for pair in pairwise(cells))
    monkeypatch.setenv("COLUMNS", "80")
    command = ("compare", str(rows), "--model", asked[0], "--backend", asked[1], "--provider-defaults")
    _, short, _ = run(*command)
    assert re.search(r"llama-3\.1-8b-instruct \(together\) +1 +1!", short) and "the steps are too few" in short
    _, whole, _ = run(*command, "--all")
    told = " ".join(whole.split())
    assert (
        "1 optimizer step (100 are meant): the model hardly changes; leave --provider-defaults out: 100 steps" in told
    )


def test_the_cookbooks_file_counts_as_the_rule_has_it(shared_data: Path, settings: Settings) -> None:
    """The cookbook prints 8,242 for these five lines by a function that counts 2 more an example than is billed."""
    rows = (shared_data / "toy_chat_fine_tuning.jsonl").read_text(encoding="utf-8").splitlines()
    (choice,) = one(settings, shared_data / "toy_chat_fine_tuning.jsonl", "gpt-3.5-turbo-0125").choices
    assert choice.quote.billed_tokens_per_epoch == 8_242 - 2 * len(rows)


@pytest.mark.parametrize(
    ("model", "dollars", "backend"), [("gpt-4o-mini", 0.90, "openai"), ("gpt-3.5-turbo-0125", 2.40, "openai")]
)
def test_the_guides_example_in_dollars(
    model: str, dollars: float, backend: str, tmp_path: Path, settings: Settings
) -> None:
    """100,000 tokens, three epochs: $0.90 and $2.40. Here 2,000 rows of 50 tokens: 1 + 2 x (3 + 1) + 41."""
    turns = [{"role": "user", "content": "a" + " a" * 19}, {"role": "assistant", "content": "a" + " a" * 20}]
    write_rows(tmp_path / "train.jsonl", [{"messages": turns}] * 2_000)
    (choice,) = one(settings, tmp_path / "train.jsonl", model, backend, epochs=3).choices
    assert choice.quote.billed_tokens_per_epoch == 100_000
    assert choice.quote.expected == pytest.approx(dollars)


def test_a_misspelt_model_is_one_error_even_beside_one_that_is_offered(settings: Settings) -> None:
    with pytest.raises(ModelNotOfferedError) as raised:
        compare(TRAIN, model=["gpt-4.1", "gtp-4.1"], settings=settings, today=TODAY)
    assert str(raised.value) == "no backend offers 'gtp-4.1'; did you mean gpt-4.1 (azure, openai)?"
    with pytest.raises(ModelNotOfferedError, match=r"^none of openai, azure offers 'lama'; `tuneport models` lists"):
        compare(TRAIN, model="lama", backend=["openai", "azure"], settings=settings, today=TODAY)
    with pytest.raises(ModelNotOfferedError, match=r"^OpenAI does not offer gpt4o-mini; did you mean gpt-4o-mini\?$"):
        one(settings, TRAIN, "gpt4o-mini")


def test_an_example_is_cut_to_the_context_before_it_is_billed(tmp_path: Path, settings: Settings) -> None:
    long = [{"role": "user", "content": "a" + " a" * 20_000}, {"role": "assistant", "content": "a"}]
    write_rows(tmp_path / "train.jsonl", [{"messages": long}] * 12)
    (choice,) = one(settings, tmp_path / "train.jsonl", "gpt-3.5-turbo-0125").choices
    assert choice.quote.billed_tokens_per_epoch == 12 * 16_385


def test_what_is_approximate_is_a_range_and_is_there_without_a_price(tmp_path: Path, settings: Settings) -> None:
    write_rows(tmp_path / "pairs.jsonl", preference_rows(20))
    (choice,) = one(settings, tmp_path / "pairs.jsonl", "gpt-4.1-mini").choices
    quote = choice.quote
    assert quote.expected is None and "whether both answers are billed" in str(quote.unavailable)
    assert quote.billed_tokens_per_epoch and quote.billed_tokens_per_epoch_low and quote.billed_tokens_per_epoch_high
    assert quote.billed_tokens_per_epoch_low == pytest.approx(quote.billed_tokens_per_epoch / 2, abs=1)
    assert quote.billed_tokens_per_epoch_high == quote.billed_tokens_per_epoch


def test_reinforcement_is_hours_times_the_rate(tmp_path: Path, settings: Settings) -> None:
    rows = [
        {"messages": [{"role": "user", "content": f"How much is {n} and 1?"}], "answer": str(n + 1)} for n in range(12)
    ]
    write_rows(tmp_path / "rft.jsonl", rows)
    (unsaid,) = one(settings, tmp_path / "rft.jsonl", "o4-mini-2025-04-16", method="rft").choices
    assert unsaid.quote.expected is None and "by the hour ($100.00)" in str(unsaid.quote.unavailable)
    (said,) = one(settings, tmp_path / "rft.jsonl", "o4-mini-2025-04-16", method="rft", hours=1.234).choices
    assert said.quote.expected == pytest.approx(123.0)
    with pytest.raises(ConfigError, match="is not a duration"):
        one(settings, tmp_path / "rft.jsonl", "o4-mini-2025-04-16", method="rft", hours=7_200)


def test_a_document_has_base_licence_last_day_and_whose_machine(settings: Settings) -> None:
    traffic = replace(Traffic.of_requests(100_000, 1_500, 100), saved_per_request=1_200)
    found = compare(
        TRAIN,
        model=["llama-3.1-8b-instruct", "gpt-4.1-mini"],
        traffic=traffic,
        own_gpu="H100",
        own_hour=2.0,
        own_speed=4_000,
        settings=settings,
        today=TODAY,
    )
    document = json.loads(json.dumps(found.as_dict()))
    assert document["own_machine"] == {
        "gpu": "H100 SXM",
        "memory_gib": 80,
        "usd_per_hour": 2.0,
        "tokens_per_second": 4000,
    }
    by_backend = {choice["backend"]: choice for choice in document["choices"]}
    assert by_backend["local"]["licence"] == "Llama 3.1 Community" and by_backend["openai"]["licence"] == "proprietary"
    assert by_backend["local"]["inference_per_month"]["expected"] == pytest.approx(2.0 * 730)
    assert by_backend["local"]["training"]["expected"] > 0
    openai = by_backend["openai"]
    assert openai["retires"] == "2027-01-14" and openai["retires_source"].endswith("/deprecations") and openai["stale"]
    assert openai["inference_per_month"]["prompt_saving"] == pytest.approx(100_000 * 1_200 * 0.80 / 1e6)
    assert openai["base_inference_per_month"]["expected"] == pytest.approx(100_000 * (1_500 * 0.4 + 100 * 1.6) / 1e6)
    assert [choice["backend"] for choice in document["choices"]][-1] == "openai"  # it ends soonest


def test_a_day_that_nobody_can_check_says_so(settings: Settings) -> None:
    (choice,) = one(settings, TRAIN, "gpt-3.5-turbo-0613").choices
    assert "2026-10-23 (not verified: the page names gpt-3.5-turbo" in choice.reasons[0]


def test_a_machine_of_unknown_speed_is_not_the_cheapest_at_any_traffic(
    settings: Settings, gpu_here: Callable[[str], None]
) -> None:
    gpu_here("")

    def compared(**own: float) -> Comparison:
        traffic = Traffic.of_requests(100_000_000, 400, 80)
        models, backends = ["smollm2-135m-instruct", "gpt-4.1-mini"], ["local", "openai"]
        return compare(TRAIN, model=models, backend=backends, traffic=traffic, settings=settings, today=TODAY, **own)  # type: ignore[arg-type]

    unknown = compared(own_hour=2.0)
    rows = {row.choice.backend: row for row in unknown.break_even.rows}
    assert rows["local"].option is None and rows["openai"].compared
    assert unknown.break_even.cross_overs() == [] and unknown.break_even.lasting() is None
    assert "--own-speed or --own-gpu" in str(rows["local"].choice.inference)
    known = compared(own_hour=2.0, own_speed=5_000.0).break_even
    assert known.lasting() is not None and len(known.cross_overs()) == 1


def test_a_gpu_that_no_table_knows_has_its_price_and_no_duration(
    isolated: Path, monkeypatch: pytest.MonkeyPatch, gpu_here: Callable[[str], None]
) -> None:
    gpu_here("NVIDIA Unheard Of, 81559")
    monkeypatch.setenv("TUNEPORT_LOCAL_USD_PER_HOUR", "12")
    (choice,) = one(Settings.load(isolated), TRAIN, "llama-3.2-1b-instruct", "local", own_hour=9.0).choices
    assert choice.allowed and "Unheard Of" in (choice.duration.unavailable or "")


def test_a_price_of_this_machine_is_that_of_all_of_it_and_one_of_a_card_is_per_card(
    isolated: Path, monkeypatch: pytest.MonkeyPatch, gpu_here: Callable[[str], None]
) -> None:
    """The model needs three of these cards, so a machine of its size has three."""
    gpu_here("NVIDIA H100 80GB HBM3, 81559")
    monkeypatch.setenv("TUNEPORT_LOCAL_USD_PER_HOUR", "12")
    settings = Settings.load(isolated)
    for given, dollars in (({}, 12.0), ({"own_hour": 9.0}, 9.0), (OF_A_CARD, 3 * 4.0)):
        (choice,) = one(settings, TRAIN, "llama-3.3-70b-instruct", "local", **given).choices
        assert choice.inference is not None and choice.inference.expected == pytest.approx(dollars * 730)
