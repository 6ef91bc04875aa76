"""The comparison as one HTML file: verdict, charts, options with their reasons, sources with their dates."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneport.data.running.writing import publish_output_file, temporary_file
from tuneport.formatting import compact, duration, money
from tuneport.lifecycle.proposing.training_lines import few_steps_warning
from tuneport.pages.templates import render_template
from tuneport.workflows.comparison.break_even import YEAR, ComparisonBreakEven, ComparisonBreakEvenRow
from tuneport.workflows.comparison.charts import chart_over_months, chart_over_traffic, options_for_chart
from tuneport.workflows.comparison.verdict import comparison_verdict
from tuneport.workflows.comparison.words import (
    compared_months,
    compared_steps,
    compared_training,
    cross_over_sentence,
    payback_sentence,
)

if TYPE_CHECKING:
    from markupsafe import Markup

    from tuneport.workflows.comparison.result import ComparisonResult

_CROSS_OVERS = 200


def write_comparison_html(comparison: ComparisonResult, path: Path) -> None:
    """Write the report as a file, whole or not at all. Raises StorageError if it cannot be written."""
    with temporary_file(path.parent) as (file, temporary):
        file.write(render_comparison_page(comparison).encode("utf-8"))
        publish_output_file(file, temporary, path)


def render_comparison_page(comparison: ComparisonResult) -> str:
    """Return the whole document. Everything from outside is escaped, and the page forbids scripts anyway."""
    found, traffic = comparison.break_even, comparison.traffic
    said = groupby(comparison_verdict(found, day=comparison.day), key=lambda each: each.about)
    verdict = [(about, list(sentences)) for about, sentences in said]
    return render_template(
        "workflows/comparison/page.html",
        title=f"{comparison.dataset.name}: comparison of costs",
        name=comparison.dataset.name,
        day=comparison.day,
        facts=[
            ("rows", f"{comparison.rows:,}"),
            ("method", comparison.method.value),
            ("requests a month", "not stated" if traffic.requests is None else compact(traffic.requests)),
            ("input tokens a month", compact(traffic.input_tokens)),
            ("output tokens a month", compact(traffic.output_tokens)),
            ("cached", f"{traffic.cached_share:.0%}"),
            ("in batches", f"{traffic.batch_share:.0%}"),
        ],
        answer=comparison.answer,
        rival=comparison.rival,
        cards=[
            (card.title, card.row.name, money(card.month), money(card.training), card.notes)
            for card in comparison.cards
        ],
        verdict=[
            (about, max((each.kind for each in sentences), key=("pass", "warn", "fail").index), sentences)
            for about, sentences in verdict
        ],
        charts=break_even_charts(found),
        compared=[_row(row) for row in found.rows if row.compared],
        others=[_row(row) for row in found.rows if not row.compared],
        trained=compared_training(comparison.choices),
        year=YEAR,
        saved=traffic.saved_per_request,
        savings=_savings(found),
        sources=_sources(found),
    )


def break_even_charts(found: ComparisonBreakEven) -> Markup:
    """Return the charts of the options' costs over months and over traffic."""
    shown = options_for_chart(found)
    cross_overs = found.cross_overs()
    return render_template(
        "workflows/comparison/charts.html",
        shown=shown,
        over_months=chart_over_months(found, shown) if shown else None,
        over_traffic=chart_over_traffic(found, shown) if shown else None,
        stated=found.unit.stated,
        traffic=compact(found.unit.stated),
        unit=found.unit.word,
        until=compact(found.until),
        cross_overs=len(cross_overs),
        sentences=[cross_over_sentence(each, found.unit) for each in cross_overs[:_CROSS_OVERS]],
        pairs=len(found.options()) * (len(found.options()) - 1) // 2,
    )


def _row(row: ComparisonBreakEvenRow) -> dict[str, Any]:
    """Return the cells of `page.html`, by name. Amounts are as `_range` gives them, or None if the row has none."""
    choice, month = row.choice, row.choice.inference
    return {
        "name": row.name,
        "allowed": choice.allowed,
        "epochs": "-" if choice.epochs is None else choice.epochs,
        "steps": compared_steps(choice),
        "training": _range(choice.quote.low, choice.quote.expected, choice.quote.high),
        "month": None
        if month is None
        else ["unclear"]
        if month.vague
        else _range(month.low, month.expected, month.high),
        "total": None if row.total is None else _range(row.total.low, row.total.expected, row.total.high),
        "back": _back(row),
        "retires": choice.retires or "-",
        "priced": "-" if row.priced_on is None else f"{row.priced_on}{', old' if row.stale else ''}",
        "reasons": list(_reasons(row)),
    }


def _range(low: float | None, expected: float | None, high: float | None) -> list[str]:
    """Return the amount and, if they are not the same, its bounds; nothing if it is unknown."""
    if low is None or expected is None or high is None:
        return []
    return [money(each) for each in ((expected,) if money(low) == money(high) else (expected, low, high))]


def _back(row: ComparisonBreakEvenRow) -> str:
    if row.payback is None:
        return "-"
    return "never" if row.payback.months is None else compared_months(row.payback.months)


def _reasons(row: ComparisonBreakEvenRow) -> Iterable[str]:
    choice = row.choice
    yield from choice.reasons
    if choice.settings is not None:
        steps = choice.settings.steps
        yield f"steps: {steps.explanation or f'unavailable, because {steps.unavailable}'}"
        if few := few_steps_warning(choice.settings, choice.quote):
            yield few
    for name, quote in (("training", choice.quote), ("a month", choice.inference), ("the base model", choice.base)):
        if quote is not None:
            told = quote.explanation if quote.expected is not None else f"unavailable, because {quote.unavailable}"
            if told:
                yield f"{name}: {told}"
    yield f"licence of the base model: {choice.licence or 'unknown'}"
    if choice.retires is not None and choice.retires_source:
        yield f"shutdown date by {choice.retires_source}"
    if row.option is not None and row.no_total is not None:
        yield f"{YEAR} months: unavailable, because {row.no_total}"
    before = "" if row.instead_of is None else f" (instead of {row.instead_of.name})"
    yield f"training paid back{before}: {payback_sentence(row)}"
    if choice.duration.expected_seconds is not None:
        yield f"training takes about {duration(choice.duration.expected_seconds)}: {choice.duration.explanation}"
    elif choice.duration.unavailable:
        yield f"training time: unavailable, because {choice.duration.unavailable}"


def _savings(found: ComparisonBreakEven) -> list[tuple[str, float, str]]:
    """Return what a shorter prompt saves a month at each option with a known price, largest first."""
    rows = [row for row in found.rows if row.compared and row.prompt_saving is not None]
    saved = sorted(((row, row.prompt_saving or 0.0) for row in rows), key=lambda each: -each[1])
    return [
        (row.name, usd, f"{money(usd)} · {usd / (usd + row.month(found.unit)):.0%}" if usd else "")
        for row, usd in saved
    ]


def _sources(found: ComparisonBreakEven) -> list[tuple[str, bool, str]]:
    """Return each source of a price, whether a reader may follow it, and the days when it was read."""
    seen: dict[str, set[date]] = {}
    for row in found.rows:
        for quote in (row.choice.quote, row.choice.inference, row.choice.base):
            if quote is not None and quote.source and quote.expected is not None:
                seen.setdefault(quote.source, set()).update([quote.as_of] if quote.as_of else [])
    return [
        (source, re.fullmatch(r"https?://[^\s\"'<>]+", source) is not None, _read_on(days))
        for source, days in sorted(seen.items())
    ]


def _read_on(days: set[date]) -> str:
    known = sorted(day for day in days if day > date.min)
    if not known:
        return "day unknown"
    return f"prices of {known[0]} to {known[-1]}" if len(known) > 1 else f"prices of {known[0]}"
