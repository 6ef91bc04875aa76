"""The answer of a comparison: one sentence, and cards for the cheapest option now, the cheapest that lasts and the
cheapest on a machine of one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tuneport.formatting import compact, money
from tuneport.manifests import Confidence
from tuneport.types import Quote
from tuneport.workflows.comparison.break_even import ComparisonBreakEven, ComparisonBreakEvenRow
from tuneport.workflows.comparison.serving_forms import is_lasting_offer
from tuneport.workflows.comparison.words import payback_sentence

_TAKEN_AWAY = {
    "community": "another owner's machine, which may be taken away",
    "marketplace": "another owner's machine, which may be taken away",
    "serverless": "billed while it works; the first request after a pause waits",
}

_LASTING = "cheapest that lasts"
_TODAY = " (today)"


@dataclass(frozen=True)
class ComparisonCard:
    """The option that answers one or several of the questions. `month` and `training` are in US dollars."""

    titles: tuple[str, ...]
    row: ComparisonBreakEvenRow
    month: float
    training: float
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        return ", ".join(self.titles)

    def as_dict(self) -> dict[str, Any]:
        return {
            "titles": list(self.titles),
            "backend": self.row.choice.backend,
            "model": self.row.choice.model,
            "serving": self.row.choice.inference.serving if self.row.choice.inference else "",
            "name": self.row.name,
            "usd_per_month": self.month,
            "training_usd": self.training,
            "notes": list(self.notes),
        }


def comparison_cards(found: ComparisonBreakEven) -> list[ComparisonCard]:
    """Return the cards, one for each option; the answer to two questions has both titles."""
    rows = [row for row in found.rows if row.compared and not _is_vague(row)]
    picked: dict[str, tuple[list[str], ComparisonBreakEvenRow]] = {}
    for title, fits in _QUESTIONS:
        row = _cheapest(rows, found, fits)
        if row is not None:
            picked.setdefault(row.name, ([], row))[0].append(title)
    return [_card(tuple(titles), row, found) for titles, row in picked.values()]


def comparison_answer(found: ComparisonBreakEven, cards: Sequence[ComparisonCard]) -> str:
    """Return one sentence: what costs least at the stated traffic, and whether that beats what is used today."""
    at = f"at {compact(found.unit.stated)} {found.unit.word} a month"
    if not cards:
        return f"No price is known {at} of an option that is possible here; the table gives the reasons."
    lasting = next((card for card in cards if _LASTING in card.titles), None)
    least = min(cards, key=lambda card: card.month)
    best = lasting or cards[0]
    price = f"{_about(best.row.choice.inference)} a month and {_about(best.row.choice.quote)} for the training"
    if found.today is None:
        if lasting is None:
            return f"Cheapest, {at}: {best.row.name}, {price}, but {best.notes[0]}."
        return f"Cheapest that lasts, {at}: {best.row.name}, {price}."
    now = found.today.monthly_cost(found.unit.stated).expected
    name = found.today.name.removesuffix(_TODAY)
    today = f"{'what you use' if name.startswith('$') else name} ({money(now)} a month)"
    if least.month >= now:
        return f"Keep {today}: {at} every option costs as much or more, from {money(least.month)} on."
    if lasting is not None and lasting.month < now:
        return f"Instead of {today}, {at}: {lasting.row.name}, {price}."
    return (
        f"Keep {today}: {at} all that lasts costs as much or more. {least.row.name} costs less, {money(least.month)} a "
        f"month, but {least.notes[0]}."
    )


def _about(quote: Quote | None) -> str:
    if quote is None or quote.expected is None:
        return "an unknown price"
    return f"{'' if quote.low == quote.high else 'about '}{money(quote.expected)}"


def _lasts(row: ComparisonBreakEvenRow) -> bool:
    return not row.ends and (row.offer is None or is_lasting_offer(row.offer))


def _is_hosted_by_you(row: ComparisonBreakEvenRow) -> bool:
    month = row.choice.inference
    return month is not None and month.authority == "local"


_QUESTIONS: tuple[tuple[str, Callable[[ComparisonBreakEvenRow], bool]], ...] = (
    ("cheapest now", lambda row: True),
    (_LASTING, _lasts),
    ("cheapest that you host", _is_hosted_by_you),
)


def _cheapest(
    rows: list[ComparisonBreakEvenRow], found: ComparisonBreakEven, fits: Callable[[ComparisonBreakEvenRow], bool]
) -> ComparisonBreakEvenRow | None:
    fitting = [row for row in rows if fits(row)]
    return min(fitting, key=lambda row: (row.year(found.unit), row.name), default=None)


def _is_vague(row: ComparisonBreakEvenRow) -> bool:
    month = row.choice.inference
    return month is not None and month.vague


def _card(titles: tuple[str, ...], row: ComparisonBreakEvenRow, found: ComparisonBreakEven) -> ComparisonCard:
    training = row.choice.quote.expected or 0.0
    return ComparisonCard(titles, row, row.month(found.unit), training, tuple(_notes(row)))


def _notes(row: ComparisonBreakEvenRow) -> list[str]:
    said = []
    offer, month = row.offer, row.choice.inference
    if row.ends:
        said.append(f"it shuts down on {row.choice.retires}, tuned models included")
    said += [warning for warning in row.choice.warnings if warning.startswith("new jobs are refused")]
    if offer is not None:
        if offer.confidence is Confidence.UNVERIFIED:
            said.append(f"its price is not verified: {offer.provider}'s of {offer.as_of}, from another page")
        if offer.kind in _TAKEN_AWAY:
            said.append(_TAKEN_AWAY[offer.kind])
    elif month is not None and month.stops_when_idle:
        said.append("stopped when idle: the first request after that waits until it is up again")
    if row.stale and row.priced_on is not None and (offer is None or offer.confidence is not Confidence.UNVERIFIED):
        said.append(f"the price is of {row.priced_on}: look at the source again")
    # Against the same model untuned, on the same rented card, a payback would say nothing.
    if row.instead_of is not None and row.payback is not None and row.instead_of.name.endswith(_TODAY):
        before = row.instead_of.name.removesuffix(_TODAY)
        said.append(f"training paid back, instead of {before}: {payback_sentence(row)}")
    return said
