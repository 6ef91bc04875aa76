"""The same dataset on every backend and model: what each choice costs, and when it shuts down."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from tuneport.estimate.cost import InferenceQuote, Traffic
from tuneport.router import BackendChoice, Machine
from tuneport.types import Method
from tuneport.workflows.comparison.break_even import ComparisonBreakEven, compare_break_even
from tuneport.workflows.comparison.cards import ComparisonCard, comparison_answer, comparison_cards
from tuneport.workflows.comparison.rivals import PromptRival, cheapest_rival


@dataclass(frozen=True)
class ComparisonResult:
    """`choices` best first. `priced_on` gives the day of the oldest price in a choice, by its place in the list.

    `instead_of`: what is done today, at the same traffic. `day`: when all this was computed. `machine`: what stands
    for one's own in it.
    """

    dataset: Path
    rows: int
    method: Method
    traffic: Traffic
    choices: list[BackendChoice]
    priced_on: list[date | None]
    stale: list[bool]
    day: date
    instead_of: InferenceQuote | None = None
    machine: Machine = Machine()

    @cached_property
    def break_even(self) -> ComparisonBreakEven:
        """Return the break-even of the options over time and traffic."""
        return compare_break_even(
            self.choices, self.priced_on, self.stale, self.traffic, day=self.day, today=self.instead_of
        )

    @cached_property
    def cards(self) -> list[ComparisonCard]:
        """Return the cheapest option now, the cheapest that lasts, and the cheapest on a machine of one's own."""
        return comparison_cards(self.break_even)

    @cached_property
    def answer(self) -> str:
        """Return in one sentence what costs least, and whether that beats what is used today."""
        return comparison_answer(self.break_even, self.cards)

    @cached_property
    def rival(self) -> PromptRival | None:
        """Return the cheapest small model of today that could be prompted instead, with today's prompt."""
        return cheapest_rival(replace(self.traffic, saved_per_request=0), today=self.day)

    def as_dict(self) -> dict[str, Any]:
        rows = []
        for choice, day, stale, row in zip(self.choices, self.priced_on, self.stale, self.break_even.rows, strict=True):
            priced = {"priced_on": day and day.isoformat(), "stale": stale}
            rows.append(choice.as_dict() | priced | {"break_even": row.as_dict()})
        return {
            "dataset": str(self.dataset),
            "rows": self.rows,
            "method": self.method.value,
            "traffic_per_month": vars(self.traffic),
            "own_machine": {
                "gpu": self.machine.gpu or None,
                "memory_gib": self.machine.memory_gib,
                "usd_per_hour": self.machine.own.usd_hourly if self.machine.own else None,
                "tokens_per_second": self.machine.own.tokens_per_second if self.machine.own else None,
            },
            "instead_of": self.instead_of.model_dump(mode="json") if self.instead_of else None,
            "answer": self.answer,
            "rival": None if self.rival is None else self.rival.as_dict(),
            "cards": [card.as_dict() for card in self.cards],
            "choices": rows,
            "break_even": self.break_even.as_dict(),
        }
