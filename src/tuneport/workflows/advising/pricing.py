"""The price of each option in US dollars, for one base model at a stated traffic: compare's estimates, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from itertools import islice
from typing import Any

from tuneport.advisor import Approach
from tuneport.data.checks import CheckReport
from tuneport.data.dataset import Dataset
from tuneport.data.rows.text import record_messages_as_text, split_record_answer
from tuneport.errors import TuneportError
from tuneport.estimate.cost import InferenceQuote, Traffic, base_inference_quote
from tuneport.formatting import money
from tuneport.manifests import find_manifest_model, load_base_price_manifest
from tuneport.router import BackendChoice
from tuneport.settings import Settings
from tuneport.types import Quote
from tuneport.workflows.advising.few_shot import MOST_SHOTS, SHOTS, count_probe_sample_tokens
from tuneport.workflows.compare import Comparison, compare
from tuneport.workflows.comparison.words import payback_sentence
from tuneport.workflows.target import TargetModel

SAMPLE = 1_000
"""First records whose answers are counted, to tell tokens out from tokens in."""
PASSAGES = 1_000
"""Retrieval is priced for so many tokens of passages a request: a unit, and no assumption of how many there are."""


@dataclass(frozen=True)
class MeanRequest:
    """Mean tokens of one request; `shots` are the additional ones of a few-shot prompt."""

    tokens_in: float
    tokens_out: float
    shots: int
    source: str


@dataclass(frozen=True)
class OptionPrice:
    """US dollars, once and a month. None means unknown or not applicable, and `why` gives the reason, or the origin of
    the number.

    The ranges are the least and the most that each may be.
    """

    once: float | None
    month: float | None
    why: str
    at_least: bool = False
    once_range: tuple[float, float] | None = None
    month_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class AdvisedOptionPricing:
    """`prices` by approach. `payback` says when tuning is paid back, and `remarks` what binds the model."""

    backend: str
    model: str
    requests: int | None
    request: MeanRequest
    prices: Mapping[Approach, OptionPrice]
    payback: str
    remarks: tuple[str, ...]
    epochs: int | None = None

    def saving(self, now: Approach) -> float | None:
        """Return the US dollars that the smaller model saves in a year compared with `now`, less its training, or None
        if that is unknown.

        A model on the user's own machine has a price of $0 only because its cost is not counted, so no saving is stated
        for it.
        """
        smaller, today = self.prices[Approach.SMALLER_MODEL], self.prices[now]
        if not smaller.month or not today.month or smaller.once is None:
            return None
        return 12 * (today.month - smaller.month) - smaller.once

    def as_dict(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "prices": {approach.value: asdict(price) for approach, price in self.prices.items()},
            "remarks": list(self.remarks),
        }


def price_advised_options(
    report: CheckReport,
    target: TargetModel,
    *,
    requests: int | None,
    tokens_per_request: tuple[int, int] | None = None,
    shots: int | None = None,
    smaller: str | None = None,
    epochs: int | None = None,
    validation: Dataset | None = None,
    settings: Settings,
    today: date | None = None,
) -> AdvisedOptionPricing:
    """Return the price of each option. The call needs no key and uses no network. `shots`: tokens of the few-shot
    examples, if they are known.

    An option without a price says why. Raises ModelNotOfferedError for a model that no backend offers, ConfigError if
    tokens cannot be counted.
    """
    today = today or date.today()
    request = mean_request(report, tokens_per_request, shots)

    def traffic(extra: int = 0, saved: int = 0) -> Traffic:
        return Traffic.of_requests(
            requests or 0, request.tokens_in + extra, request.tokens_out, saved_per_request=saved if requests else 0
        )

    def compared(model: str, backend: str | None) -> Comparison:
        return compare(
            report.dataset,
            model=model,
            backend=backend or (),
            validation=validation,
            epochs=epochs,
            traffic=traffic(request.shots, request.shots),
            settings=settings,
            today=today,
        )

    def base(extra: int = 0) -> InferenceQuote:
        offered = find_manifest_model(target.manifest, target.model)
        if offered is None:
            return InferenceQuote(backend=target.manifest.name, model=target.model, unavailable="it is not listed")
        prices, own = load_base_price_manifest(), comparison.machine.own
        return base_inference_quote(target.manifest, offered, traffic(extra), prices, own=own, today=today)

    comparison = compared(target.model, target.manifest.name)
    choice = comparison.choices[0]
    no_month = None if requests is not None else "a month's price needs the traffic: --requests"
    plain, passages = base(), base(PASSAGES)
    found = {
        Approach.PROMPT: _price(None, plain, no_month),
        Approach.FEW_SHOT: _price(None, choice.base, no_month),
        Approach.RAG: _retrieval(plain, passages, no_month),
        Approach.FINE_TUNE: _price(choice.quote, choice.inference, no_month),
        Approach.SMALLER_MODEL: _smaller(smaller, target.manifest.name, compared, no_month),
        Approach.CLASSIFIER: OptionPrice(0.0, None if no_month else 0.0, "runs on any processor"),
        Approach.CONTINUED_PRETRAINING: OptionPrice(None, None, "it is priced where DATA is its text"),
    }
    if report.format.format == "text":
        found[Approach.CONTINUED_PRETRAINING] = found[Approach.FINE_TUNE]
        found[Approach.FINE_TUNE] = OptionPrice(None, None, "plain text is no examples to tune with")
    return AdvisedOptionPricing(
        target.manifest.name,
        target.model,
        requests,
        request,
        found,
        "" if no_month else _payback(comparison),
        tuple(choice.reasons),
        choice.epochs,
    )


def mean_request(report: CheckReport, given: tuple[int, int] | None, shots: int | None) -> MeanRequest:
    """Return the mean request, from the check's count of all tokens and the share of the answers in the first
    records."""
    tokens = report.require_tokens()
    mean = tokens.total / max(1, tokens.rows)
    if shots is None:
        number = SHOTS if report.classes is None else min(MOST_SHOTS, len(report.classes))
        shots = round(number * mean)
    if given is not None:
        return MeanRequest(float(given[0]), float(given[1]), shots, "as given")
    counted = []
    try:
        for _, record in islice(report.dataset.records(), SAMPLE):
            counted.append(count_probe_sample_tokens([record_messages_as_text(split_record_answer(record)[1])]))
    except TuneportError:  # the check has told what is wrong with the file
        pass
    out = min(mean, sum(counted) / max(1, len(counted)))
    return MeanRequest(round(mean - out, 1), round(out, 1), shots, "means of DATA")


def _price(once: Quote | None, month: Quote | None, no_month: str | None) -> OptionPrice:
    told = []
    for what, quote in (("training", once), ("a month", month)):
        if quote is None or (what == "a month" and no_month):
            continue
        told.append(
            quote.explanation if quote.expected is not None else f"{what} unavailable, because {quote.unavailable}"
        )
    return OptionPrice(
        None if once is None else once.expected,
        None if no_month or month is None else month.expected,
        "; ".join([*told, *([no_month] if no_month else [])]),
        once_range=_range(once),
        month_range=None if no_month else _range(month),
    )


def _range(quote: Quote | None) -> tuple[float, float] | None:
    return None if quote is None or quote.low is None or quote.high is None else (quote.low, quote.high)


def _retrieval(plain: InferenceQuote, passages: InferenceQuote, no_month: str | None) -> OptionPrice:
    """Return the price of the prompts as they are, which is the least: the cost of an index and the length of its
    passages depend on the user."""
    index = "the index is yours to price"
    if no_month or plain.expected is None or passages.expected is None:
        return OptionPrice(None, None, f"{index}; {no_month or f'the model unavailable, because {plain.unavailable}'}")
    more = passages.expected - plain.expected
    cost = f"are {money(more)} a month more" if more >= 0.005 else "cost nothing more at this traffic"
    return OptionPrice(
        None, plain.expected, f"{index}; each {PASSAGES:,} tokens of passages in a request {cost}", at_least=True
    )


def _smaller(
    model: str | None, at: str, compared: Callable[[str, str | None], Comparison], no_month: str | None
) -> OptionPrice:
    """Return the price of the smaller model at the same backend if that has it, else at the best one that can have it
    and has a price."""
    if model is None:
        return OptionPrice(None, None, "name the smaller model: --smaller M")
    choices = sorted(compared(model, None).choices, key=lambda each: (each.backend != at, not _has_known_cost(each)))
    choice = next((each for each in choices if each.allowed), choices[0])
    found = _price(choice.quote, choice.inference, no_month)
    return replace(found, why=f"{choice.model} at {choice.title}: {found.why}")


def _has_known_cost(choice: BackendChoice) -> bool:
    return choice.quote.expected is not None and choice.inference is not None and choice.inference.expected is not None


def _payback(comparison: Comparison) -> str:
    """Return when the training pays back. The base model is priced with today's prompt, which has the examples in
    it."""
    row = comparison.break_even.rows[0]
    if row.payback is None:
        return ""
    return f"Tuning instead of the few-shot prompt is paid back, by price alone: {payback_sentence(row)}."
