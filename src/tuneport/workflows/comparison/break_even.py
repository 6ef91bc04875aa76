"""Break-even of a comparison's options over time and traffic: what pays back when, and which option becomes cheaper
where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from itertools import combinations
from typing import Any

from tuneport.errors import ConfigError
from tuneport.estimate.break_even import (
    CostCrossover,
    CostRange,
    Payback,
    ServingCostOption,
    TrafficCost,
    cost_crossover,
    payback_time,
    payback_traffic,
)
from tuneport.estimate.cost import HOURS_PER_MONTH, InferenceQuote, MonthlyCost, Traffic, per_token_quote
from tuneport.formatting import money
from tuneport.manifests import BasePriceManifest, Offer, load_manifest, load_models, manifest_names
from tuneport.router import BackendChoice

YEAR = 12
"""Totals are counted over this many months, and training should pay within them."""
MOST_SCALE = 10_000
"""Cross-overs are looked for up to so many times the stated traffic."""
DAYS_PER_MONTH = HOURS_PER_MONTH / 24


@dataclass(frozen=True)
class ComparisonTrafficUnit:
    """The unit of traffic: requests if they are stated, else the tokens of a month. `stated` is how many of them."""

    word: str
    stated: float

    @classmethod
    def of_traffic(cls, traffic: Traffic) -> ComparisonTrafficUnit:
        if traffic.requests is not None:
            return cls("requests", traffic.requests)
        if traffic.input_tokens:
            return cls("input tokens", traffic.input_tokens)
        return cls("output tokens", traffic.output_tokens)


@dataclass(frozen=True)
class ComparisonBreakEvenRow:
    """A choice of the comparison. `option` is None if a price of it is unknown. `uncounted`: your own machine, whose
    cost is not known.

    `saved` is what it saves a month, and `payback` when its training has come back, both compared with `instead_of`;
    `pays_from` is the least traffic that brings it back within a year and before the model shuts down. `total` is
    training and a year; it is None, too, for a model that shuts down within the year. `prompt_saving`: US dollars a
    month that the shorter prompt saves.
    """

    choice: BackendChoice
    name: str
    priced_on: date | None
    stale: bool
    option: ServingCostOption | None = None
    uncounted: bool = False
    instead_of: ServingCostOption | None = None
    payback: Payback | None = None
    saved: CostRange | None = None
    pays_from: float | None = None
    total: CostRange | None = None
    prompt_saving: float | None = None

    @property
    def compared(self) -> bool:
        """Return whether its numbers may be compared with others': it is available, and its costs are counted."""
        return self.option is not None and not self.uncounted and self.choice.allowed

    @property
    def stops_when_idle(self) -> bool:
        """Return whether it is quoted for the stated traffic only."""
        return self.choice.inference is not None and self.choice.inference.stops_when_idle

    @property
    def offer(self) -> Offer | None:
        """Return the offer of the rented card that it is served from, or None if it is served otherwise."""
        return None if self.choice.inference is None else self.choice.inference.offer

    def month(self, unit: ComparisonTrafficUnit) -> float:
        """Return expected US dollars at the stated traffic; 0 if a price is unknown."""
        return 0.0 if self.option is None else self.option.monthly_cost(unit.stated).expected

    @property
    def ends(self) -> bool:
        """Return whether it shuts down within the year."""
        return self.option is not None and self.option.months_left is not None and self.option.months_left < YEAR

    @property
    def no_total(self) -> str | None:
        """Return why there is no total of a year, or None if there is one."""
        if self.total is not None:
            return None
        return f"it shuts down {self.choice.retires}, within the {YEAR} months" if self.ends else "a price is unknown"

    def year(self, unit: ComparisonTrafficUnit) -> float:
        """Return expected US dollars of training and twelve such months, which is the order of all rows, also of those
        that end sooner; 0 if a price is unknown."""
        return 0.0 if self.option is None else self.option.training.expected + YEAR * self.month(unit)

    def as_dict(self) -> dict[str, Any]:
        return {
            "instead_of": self.instead_of.name if self.instead_of else None,
            "saved_per_month": asdict(self.saved) if self.saved else None,
            "payback_months": asdict(self.payback) if self.payback else None,
            "pays_back_in_time_from": self.pays_from,
            "total_of_a_year": asdict(self.total) if self.total else None,
            "total_of_a_year_unavailable": self.no_total,
            "prompt_saving_per_month": self.prompt_saving,
        }


@dataclass(frozen=True)
class ComparisonBreakEven:
    """The break-even of a comparison: `rows` in its order; `today` is today's solution, if it is stated."""

    unit: ComparisonTrafficUnit
    rows: list[ComparisonBreakEvenRow]
    today: ServingCostOption | None

    @property
    def until(self) -> float:
        """Return the highest traffic considered, in units a month."""
        return self.unit.stated * MOST_SCALE

    def cross_overs(self, options: Sequence[ServingCostOption] | None = None) -> list[CostCrossover]:
        """Return the pairs, among `options` or all that can be compared, whose order changes with the traffic; lowest
        traffic first."""
        if not self.until:
            return []
        found = [cost_crossover(one, other, self.until) for one, other in combinations(options or self.options(), 2)]
        return sorted(
            (each for each in found if each.begins is not None), key=lambda each: each.at or each.begins or 0.0
        )

    def options(self) -> list[ServingCostOption]:
        """Return the options whose cost is known at any traffic: not those that stop when idle."""
        rows = [row.option for row in self.rows if row.compared and row.option is not None and not row.stops_when_idle]
        return [*rows, *([] if self.today is None else [self.today])]

    def as_dict(self) -> dict[str, Any]:
        count = len(self.options())
        return {
            "unit": f"{self.unit.word} a month",
            "stated": self.unit.stated,
            "looked_up_to": self.until,
            "pairs": count * (count - 1) // 2,
            "cross_overs": [asdict(each) for each in self.cross_overs()],
        }

    def lasting(self) -> ComparisonBreakEvenRow | None:
        """Return the option with the lowest total of a year, of those available for the whole of it."""
        return self._least(row for row in self._compared() if not row.ends)

    def ending(self) -> ComparisonBreakEvenRow | None:
        """Return an option that costs less than that a month, but shuts down within the year."""
        found = self._least(row for row in self._compared() if row.ends)
        best = self.lasting()
        if found is None or best is None:
            return found
        return found if found.month(self.unit) < best.month(self.unit) else None

    def as_dear_as(self, row: ComparisonBreakEvenRow) -> int:
        """Return how many others last a year and cost as much over it, within 2 %."""
        return sum(other is not row and not other.ends and self._alike(row, other) for other in self._compared())

    def shown(self, most: int) -> list[ComparisonBreakEvenRow]:
        """Return rows for a chart: the best of each backend, then the next best that cost something else."""
        ordered = sorted(self._compared(), key=self._year)
        seen: list[ComparisonBreakEvenRow] = []
        for first in (True, False):
            for row in ordered:
                alike = [other for other in seen if other.choice.backend == row.choice.backend]
                if (
                    row not in seen
                    and not row.stops_when_idle
                    and len(seen) < most
                    and not any(first or self._alike(row, other) for other in alike)
                ):
                    seen.append(row)
        return sorted(seen, key=self._year)

    def _compared(self) -> list[ComparisonBreakEvenRow]:
        return [row for row in self.rows if row.compared]

    def _year(self, row: ComparisonBreakEvenRow) -> float:
        return row.year(self.unit)

    def _least(self, rows: Iterable[ComparisonBreakEvenRow]) -> ComparisonBreakEvenRow | None:
        return min(rows, key=self._year, default=None)

    def _alike(self, row: ComparisonBreakEvenRow, other: ComparisonBreakEvenRow) -> bool:
        one, two = self._year(row), self._year(other)
        return abs(one - two) <= 0.02 * max(one, two)


def compare_break_even(
    choices: Sequence[BackendChoice],
    priced_on: Sequence[date | None],
    stale: Sequence[bool],
    traffic: Traffic,
    *,
    day: date,
    today: InferenceQuote | None = None,
) -> ComparisonBreakEven:
    """Hold every choice against what is done `today` (its price at the whole traffic), else against its own base model
    with the prompt of today."""
    unit = ComparisonTrafficUnit.of_traffic(traffic)
    now = None if today is None else comparison_break_even_option(f"{today.model} (today)", today, unit)
    rows = [
        _row(choice, when, old, unit, day, now) for choice, when, old in zip(choices, priced_on, stale, strict=True)
    ]
    return ComparisonBreakEven(unit, rows, now)


def compared_cost_of_today(words: str, traffic: Traffic, prices: BasePriceManifest) -> InferenceQuote:
    """Return today's cost of the answers. `words` is a month's bill in US dollars ("$2000"), or a model that the table
    of base models' prices has."""
    amount = words.strip().removeprefix("$").replace(",", "")
    try:
        usd = float(amount)
    except ValueError:
        usd = None
    if usd is not None:
        if not 0 <= usd < 1e12:
            raise ConfigError(f"today's bill of {words!r} is none; give US dollars a month, for example $2000")
        parts = MonthlyCost(growing=usd)
        return InferenceQuote(
            backend="today",
            model=f"{money(usd, short=True)} a month",
            expected=usd,
            low=usd,
            high=usd,
            explanation="as given",
            parts=parts,
            parts_low=parts,
            parts_high=parts,
        )
    found = prices.find(words, *(load_manifest(name).price_table_prefix + words for name in manifest_names()))
    if found is None:
        raise ConfigError(
            f"{prices.title} has no price per token for {words!r}; write its name as that table does "
            "(gpt-4.1, together_ai/...), or give today's bill in US dollars a month, for example $2000"
        )
    whole = replace(traffic, saved_per_request=0)
    return per_token_quote("today", found.name, found.price, whole, source=prices.url, as_of=prices.as_of)


def comparison_break_even_option(
    name: str,
    month: InferenceQuote,
    unit: ComparisonTrafficUnit,
    training: CostRange = CostRange(0.0, 0.0, 0.0),
    months_left: float | None = None,
) -> ServingCostOption | None:
    """Return the option, or None if the month's price is unknown."""
    if month.parts is None or month.parts_low is None or month.parts_high is None:
        return None
    low, expected, high = (_cost(parts, unit) for parts in (month.parts_low, month.parts, month.parts_high))
    return ServingCostOption(name, low, expected, high, training, months_left)


def _cost(parts: MonthlyCost, unit: ComparisonTrafficUnit) -> TrafficCost:
    stated = unit.stated or 1.0
    capacity = stated / parts.load if parts.load and parts.machine else None
    return TrafficCost(per_unit=parts.growing / stated, step=parts.machine, capacity=capacity)


def _row(
    choice: BackendChoice,
    priced_on: date | None,
    stale: bool,
    unit: ComparisonTrafficUnit,
    day: date,
    today: ServingCostOption | None,
) -> ComparisonBreakEvenRow:
    name = f"{compared_model_name(choice)} ({served_at(choice)})"
    row = ComparisonBreakEvenRow(choice, name, priced_on, stale)
    month, training = choice.inference, choice.quote
    if month is None or training.expected is None or training.low is None or training.high is None:
        return row
    left = None if choice.retires is None else max(0.0, (choice.retires - day).days / DAYS_PER_MONTH)
    made = comparison_break_even_option(
        name, month, unit, CostRange(training.low, training.expected, training.high), left
    )
    if made is None:
        return row
    spent = made.monthly_cost(unit.stated)
    paid = made.training
    total = CostRange(*(once + YEAR * each for once, each in zip(_three(paid), _three(spent), strict=True)))
    uncounted = paid.high == 0 and spent.high == 0 and month.authority == "local"
    base = (
        None
        if choice.base is None
        else comparison_break_even_option(
            f"{compared_model_name(choice)}, not tuned ({choice.backend})", choice.base, unit
        )
    )
    row = replace(row, option=made, uncounted=uncounted, prompt_saving=month.prompt_saving)
    row = row if row.ends else replace(row, total=total)
    before, until = today or base, unit.stated * MOST_SCALE
    if before is None or uncounted:
        return row
    return replace(
        row,
        instead_of=before,
        payback=payback_time(made, before, unit.stated),
        saved=before.monthly_cost(unit.stated) - spent,
        pays_from=None
        if row.stops_when_idle or not until or left == 0
        else payback_traffic(made, before, min(YEAR, left or YEAR), until),
    )


def _three(span: CostRange) -> tuple[float, float, float]:
    return span.low, span.expected, span.high


def served_at(choice: BackendChoice) -> str:
    """Return the backend, or the rented card; and whether that stops when idle."""
    month = choice.inference
    if month is None:
        return choice.backend
    if month.offer is not None:
        return month.serving.removesuffix(", always up")
    return f"{choice.backend}, stopped when idle" if month.stops_when_idle else choice.backend


def compared_model_name(choice: BackendChoice) -> str:
    """Return the weights' own name if they have one, else the id without its organisation."""
    model = choice.model or ""
    return load_models().name_of(choice.backend, model) or model.rsplit("/", 1)[-1]
