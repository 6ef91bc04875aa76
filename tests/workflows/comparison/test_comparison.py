"""What a comparison says over time and traffic, on its page and in its file of rows."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.browser import Browser
from tests.support.document import HOSTILE, Document
from tuneport.errors import ConfigError
from tuneport.estimate.cost import InferenceQuote, MonthlyCost, Traffic
from tuneport.manifests import BasePriceManifest
from tuneport.router import BackendChoice
from tuneport.router.choice import BackendRefusal
from tuneport.types import Method, Quote
from tuneport.workflows.compare import Comparison
from tuneport.workflows.comparison import csv_file, page
from tuneport.workflows.comparison.break_even import compared_cost_of_today
from tuneport.workflows.comparison.verdict import comparison_verdict
from tuneport.workflows.comparison.words import (
    compared_months,
    cross_over_sentence,
    payback_sentence,
    why_no_break_even,
)

DAY = date(2026, 11, 26)
PRICED = date(2026, 11, 1)
TRAFFIC = Traffic.of_requests(100_000, 1_000, 100, saved_per_request=600)


def month(backend: str, model: str, parts: MonthlyCost, high: float = 1.0, **more: object) -> InferenceQuote:
    dearer = MonthlyCost(growing=parts.growing * high, machine=parts.machine * high, load=parts.load)
    return InferenceQuote.model_validate(
        {
            "backend": backend,
            "model": model,
            "expected": parts.at(),
            "low": parts.at(),
            "high": dearer.at(),
            "parts": parts,
            "parts_low": parts,
            "parts_high": dearer,
            "source": f"https://{backend}.example/prices",
            "as_of": PRICED,
        }
        | more
    )


def choice(
    backend: str, model: str, training: float, parts: MonthlyCost, base: float | None = None, **more: object
) -> BackendChoice:
    quote = Quote(backend=backend, model=model, expected=training, low=training, high=training, explanation="tokens")
    plain = None if base is None else month(backend, model, MonthlyCost(growing=base))
    values = {"quote": quote, "inference": month(backend, model, parts), "base": plain} | more
    return BackendChoice(backend=backend, title=backend.title(), model=model, **values)  # type: ignore[arg-type]


TOKENS = choice("openai", "by-tokens", 50, MonthlyCost(growing=20), base=45, retires=date(2027, 1, 14))
ENDPOINT = choice("together", "endpoint", 4, MonthlyCost(machine=2_000, load=0.002), base=40)
OWN = choice("local", "own", 0, MonthlyCost(), inference=month("local", "own", MonthlyCost(), authority="local"))
UNPRICED = InferenceQuote(backend="azure", model="unknown", unavailable="no page has it")
UNKNOWN = choice("azure", "unknown", 1, MonthlyCost(), inference=UNPRICED)


def comparison(
    *choices: BackendChoice, instead_of: InferenceQuote | None = None, traffic: Traffic = TRAFFIC
) -> Comparison:
    days: list[date | None] = [PRICED for _ in choices]
    old = [each.backend == "together" for each in choices]
    return Comparison(Path("train.jsonl"), 240, Method.SFT, traffic, list(choices), days, old, DAY, instead_of)


def sentences(made: Comparison) -> list[str]:
    return [f"{said.about}: {said.words}" for said in comparison_verdict(made.break_even, day=DAY)]


def test_the_verdict_names_the_cheapest_the_payback_and_the_risks() -> None:
    assert sentences(comparison(TOKENS, ENDPOINT, OWN, UNKNOWN)) == [
        "cheapest: over a year, endpoint (together): $4.00 for training and $2,000.00 a month, $24,004.00 in all",
        "cheapest: until it shuts down on 2027-01-14, by-tokens (openai): $50.00 for training and $20.00 a month",
        "paid back: endpoint (together) instead of endpoint, not tuned (together): never, because it costs $1,960.00 a "
        "month more; paid back within a year above 5M requests a month",
        "paid back: by-tokens (openai) instead of by-tokens, not tuned (openai): never, because it would take 2.0 "
        "months, and it shuts down in 1.6; paid back before that day above 124,150 requests a month",
        "last day: 2027-01-14, with all that is tuned from it: by-tokens (openai)",
        "old prices: Together's were read on 2026-11-01, look at the source again: endpoint (together)",
        "no price: 1 of 4 options have no known price; the table gives the reasons",
        "not compared: 1 local option, since the cost of your own machine is unknown; "
        "give it with --own-hour or --own-gpu",
    ]


def test_what_ends_within_the_year_has_no_total_of_it_and_is_no_equal_of_what_lasts() -> None:
    lasting = choice("together", "lasting", 50, MonthlyCost(growing=20), base=45)
    same, wide = (
        replace(lasting, model="same"),
        InferenceQuote.model_validate(
            TOKENS.inference.model_dump() | {"high": 200.0, "parts_high": MonthlyCost(growing=200)}  # type: ignore[union-attr]
        ),
    )
    made = comparison(lasting, same, replace(TOKENS, inference=wide), UNKNOWN)
    assert sentences(made)[0].endswith("$290.00 in all; 1 other within 2 % of it")
    assert not [said for said in sentences(made) if "a year is" in said]
    assert [row.total is None for row in made.break_even.rows] == [False, False, True, True]
    rows = list(csv.DictReader(io.StringIO(csv_file.render_comparison_csv(made), newline=""), strict=True))
    assert [row["training_and_12_months_usd"] for row in rows] == ["290", "290", "", ""]
    assert [row["training_and_12_months_usd_unavailable"] for row in rows] == [
        "", "", "it shuts down 2027-01-14, within the 12 months", "a price is unknown"
    ]  # fmt: skip
    assert "it shuts down 2027-01-14, within the 12 months" in " ".join(
        Document(page.render_comparison_page(made)).texts
    )


def test_against_what_is_paid_today() -> None:
    made = comparison(TOKENS, ENDPOINT, instead_of=compared_cost_of_today("$2,500", TRAFFIC, None))
    said = sentences(made)
    assert "today: today's bill is $2,500.00 a month" in said
    assert (
        "paid back: endpoint (together) instead of $2,500 a month (today): less than a day; then $500.00 saved a month"
        in said
    )
    crossing = made.break_even.cross_overs()
    assert [cross_over_sentence(each, made.break_even.unit) for each in crossing] == [
        "endpoint (together) becomes cheaper than $2,500 a month (today) at 80,000 requests a month",
        "endpoint (together) becomes cheaper than by-tokens (openai) at 10M requests a month",
    ]
    dear = comparison(ENDPOINT, instead_of=compared_cost_of_today("1999", TRAFFIC, None))
    assert "today: today's bill is $1,999.00 a month, less than any option" in sentences(dear)
    dear = comparison(TOKENS, ENDPOINT, instead_of=compared_cost_of_today("1999", TRAFFIC, None))
    assert "today: today's bill is $1,999.00 a month, less than any option that lasts a year" in sentences(dear)


def test_todays_bill_is_dollars_or_a_model_of_the_table() -> None:
    row = {"input_cost_per_token": 2e-6, "output_cost_per_token": 8e-6}
    prices = BasePriceManifest({"gpt-4.1": row, "together_ai/llama": row}, "1.0", PRICED)
    quote = compared_cost_of_today("gpt-4.1", TRAFFIC, prices)
    assert quote.expected == pytest.approx(100 * 2 + 10 * 8), "the whole prompt: nothing is saved without tuning"
    assert compared_cost_of_today("llama", TRAFFIC, prices).expected == quote.expected
    for words, told in (("gpt-9", "no price per token for 'gpt-9'"), ("-3", "US dollars a month"), ("nan", "dollars")):
        with pytest.raises(ConfigError, match=told):
            compared_cost_of_today(words, TRAFFIC, prices)


def test_what_cannot_be_had_is_not_compared() -> None:
    refused = replace(TOKENS, backend="azure", refusals=(BackendRefusal("ended", "takes no jobs"),))
    made = comparison(refused, ENDPOINT).break_even
    assert [row.name for row in made.rows if row.compared] == ["endpoint (together)"]
    assert made.as_dict()["pairs"] == 0
    reasons = [why_no_break_even(row) for row in comparison(OWN, UNKNOWN, replace(ENDPOINT, base=None)).break_even.rows]
    assert reasons == [
        "the cost of your own machine is unknown",
        "the monthly price is unknown: no page has it",
        "the base model's price is unknown: not asked",
    ]


def test_without_traffic_nothing_is_said_about_traffic() -> None:
    made = comparison(TOKENS, ENDPOINT, traffic=Traffic(0, 0))
    assert made.break_even.cross_overs() == []
    assert "unavailable, because the stated traffic is none" in page.render_comparison_page(made)
    assert comparison(TOKENS, traffic=Traffic.of_requests(0, 400, 80)).break_even.unit.word == "requests"


def test_without_prices_the_verdict_says_so() -> None:
    made = comparison(UNKNOWN, OWN)
    why = "unavailable, because no available option has both a training and a monthly price"
    assert sentences(made)[0] == f"cheapest: {why}" and why in page.render_comparison_page(made)


def test_the_document_holds_all_pairs_that_cross() -> None:
    document = comparison(TOKENS, ENDPOINT, OWN).as_dict()
    (crossing,) = document["break_even"]["cross_overs"]
    assert crossing["begins"] == 10_000_000 and crossing["second"] == "endpoint (together)"
    assert document["break_even"]["unit"] == "requests a month" and document["break_even"]["pairs"] == 1
    row = document["choices"][0]["break_even"]
    assert row["total_of_a_year"] is None and row["saved_per_month"]["expected"] == 25
    assert row["total_of_a_year_unavailable"] == "it shuts down 2027-01-14, within the 12 months"
    endpoint, own = (choice["break_even"] for choice in document["choices"][1:])
    assert endpoint["total_of_a_year"]["expected"] == 4 + 12 * 2_000
    assert endpoint["total_of_a_year_unavailable"] is own["total_of_a_year_unavailable"] is None
    assert "it shuts down" in row["payback_months"]["never"]


def test_the_page_holds_the_verdict_the_numbers_and_the_reasons() -> None:
    saving = replace(TOKENS, inference=month("openai", "by-tokens", MonthlyCost(growing=20), prompt_saving=12.5))
    made = comparison(saving, ENDPOINT, OWN, UNKNOWN)
    rendered = page.render_comparison_page(made)
    document = Document(rendered)
    document.expect_no_way_out()
    assert "default-src 'none'" in rendered and not any(each in rendered for each in ("url(", "@import", "<script"))
    texts = " ".join(document.texts)
    for said in comparison_verdict(made.break_even, day=DAY):
        assert said.words in texts
    assert "unavailable, because no page has it" in texts and "prices of 2026-11-01" in texts
    assert "600 tokens fewer in each request" in texts and "$12.50 · 38%" in texts
    assert {attributes.get("class") for tag, attributes in document.elements if tag == "svg"} >= {"lines wide"}
    assert sum(tag == "a" for tag, _ in document.elements) == 3, "the sources"


def saying(words: str) -> str:
    """The page of a comparison whose every text from outside is `words`, or begins or ends with them."""
    told = choice(
        f"b {words}",
        words,
        5,
        MonthlyCost(growing=20),
        inference=month("x", words, MonthlyCost(growing=20), prompt_saving=3.0, source=f"s {words}", explanation=words),
        retires=date(2027, 1, 14),
        retires_source=words,
        licence=words,
        warnings=(words,),
    )
    quote = told.quote.model_copy(update={"source": f"t {words}", "explanation": words})
    base = month("x", words, MonthlyCost(growing=45), source=f"https://x.example/ {words}")
    refused = replace(told, backend=f"c {words}", refusals=(BackendRefusal("ended", words),))
    unpriced = replace(told, backend=f"d {words}", inference=UNPRICED.model_copy(update={"unavailable": words}))
    made = comparison(replace(told, quote=quote, base=base), ENDPOINT, refused, unpriced)
    name = f"{words[:40]}.jsonl".replace("/", "_").replace("\0", "")
    return page.render_comparison_page(replace(made, dataset=Path(name)))


@pytest.mark.parametrize("words", HOSTILE, ids=range(len(HOSTILE)))
def test_nothing_from_outside_becomes_part_of_the_page(words: str) -> None:
    rendered = saying(words)
    rendered.encode("utf-8")
    document = Document(rendered)
    document.expect_no_way_out()
    assert document.structure == Document(saying("plain")).structure


@pytest.mark.parametrize(
    "source", ["javascript:alert(1)", "JavaScript:https://a.example", "data:text/html,x", "//a.example"]
)
def test_only_a_page_on_the_web_is_linked(source: str) -> None:
    quote = TOKENS.quote.model_copy(update={"source": source})
    links = [
        attributes["href"]
        for tag, attributes in Document(page.render_comparison_page(comparison(replace(TOKENS, quote=quote)))).elements
        if tag == "a"
    ]
    assert links == ["https://openai.example/prices"]


def test_one_line_an_option_that_a_reader_of_csv_understands() -> None:
    written = csv_file.render_comparison_csv(comparison(TOKENS, ENDPOINT, OWN, UNKNOWN))
    assert written.count("\r\n") == 5 and "\n" not in written.replace("\r\n", "")
    rows = list(csv.DictReader(io.StringIO(written, newline=""), strict=True))
    assert [row["backend"] for row in rows] == ["openai", "together", "local", "azure"]
    tokens, endpoint, _, unknown = rows
    assert (tokens["training_usd"], tokens["inference_usd_per_month"], tokens["last_day"]) == ("50", "20", "2027-01-14")
    assert tokens["pays_back_in_time_above_requests_per_month"] == "124149.659864"
    assert endpoint["payback_months"] == "" and endpoint["payback_never_because"].startswith("it costs $1,960.00")
    assert (
        unknown["inference_usd_per_month_unavailable"] == "no page has it" and unknown["inference_usd_per_month"] == ""
    )
    for row in rows:
        for name, cell in row.items():
            if cell and any(unit in name.split("_") for unit in ("usd", "months", "seconds", "tokens", "requests")):
                if not name.endswith(("_explanation", "_unavailable", "_source", "_because")):
                    float(cell)


@pytest.mark.parametrize(
    "words", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1", '=HYPERLINK("x","y")', 'a,b\n"c']
)
def test_no_cell_is_a_formula(words: str) -> None:
    made = comparison(choice("openai", words, 1, MonthlyCost(growing=1), warnings=(words,)))
    (row,) = csv.DictReader(io.StringIO(csv_file.render_comparison_csv(made), newline=""), strict=True)
    assert row["model"] == row["reasons"] == (words if words.startswith("a") else f"'{words}")


def test_files_appear_whole(tmp_path: Path) -> None:
    made = comparison(TOKENS, ENDPOINT)
    for write, render in (
        (made.write_html, page.render_comparison_page),
        (made.write_csv, csv_file.render_comparison_csv),
    ):
        path = tmp_path / "out"
        write(path)
        assert path.read_bytes().decode() == render(made)
    assert not list(tmp_path.glob(".tuneport-*"))


def test_how_months_are_written() -> None:
    assert [compared_months(each) for each in (0, 0.001, 0.04, 1.5, 3)] == [
        "at once", "less than a day", "1 day", "46 days", "3.0 months"
    ]  # fmt: skip
    rows = comparison(replace(ENDPOINT, base=month("together", "e", MonthlyCost(growing=2_002), 2))).break_even.rows
    assert payback_sentence(rows[0]) == "2.0 months (less than a day to 2.0 months)"


def test_the_chart_shows_the_best_of_each_backend_and_none_twice() -> None:
    alike = [choice("together", f"same-{n}", 4, MonthlyCost(machine=2_000, load=0.05 + n / 100)) for n in range(9)]
    dearer = [choice("together", f"dear-{n}", 4, MonthlyCost(growing=3_000.0 * (n + 1))) for n in range(3)]
    made = comparison(*alike, *dearer, TOKENS).break_even
    shown, unit = made.shown(4), made.unit
    assert [row.choice.model for row in shown] == ["by-tokens", "same-0", "dear-0", "dear-1"]
    assert all(before.year(unit) <= after.year(unit) for before, after in pairwise(shown))


@pytest.mark.full
def test_a_browser_shows_it_whole_on_a_phone(tmp_path: Path) -> None:
    long = choice(
        "together", "organisation/" + "a-very-long-name-" * 8, 4, MonthlyCost(machine=3_000, load=0.4), base=40
    )
    comparison(TOKENS, ENDPOINT, long, OWN, UNKNOWN).write_html(tmp_path / "report.html")
    with Browser().open((tmp_path / "report.html").as_uri()) as tab:
        for width in (360, 400, 1_200):
            tab.resize(width)
            tab.wait_for("innerWidth", width)
            assert tab.value("document.documentElement.scrollWidth") <= width
            assert tab.value("document.querySelectorAll('svg.lines').length") == 2
            boxes = "[...document.querySelectorAll('svg.lines text')].map(text => text.getBoundingClientRect())"
            assert tab.value(f"{boxes}.every(box => box.left >= 0 && box.right <= {width})"), f"text is cut at {width}"
