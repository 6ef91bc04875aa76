"""The comparison as one HTML file: verdict, charts, options with their reasons, sources with their dates."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from tuneport.data.running.writing import publish_output_file, temporary_file
from tuneport.estimate.break_even import CostRange
from tuneport.formatting import compact, duration, money
from tuneport.pages.charts import draw_bar_chart
from tuneport.pages.frame import render_html_page
from tuneport.pages.text import escape_html, html_text
from tuneport.workflows.comparison.break_even import YEAR, ComparisonBreakEven, ComparisonBreakEvenRow
from tuneport.workflows.comparison.charts import chart_over_months, chart_over_traffic, options_for_chart
from tuneport.workflows.comparison.verdict import comparison_verdict
from tuneport.workflows.comparison.words import compared_months, cross_over_sentence, payback_sentence

if TYPE_CHECKING:
    from tuneport.workflows.comparison.result import ComparisonResult

_PAGE = Path(__file__).with_name("page.html")
_CROSS_OVERS = 200


def write_comparison_html(comparison: ComparisonResult, path: Path) -> None:
    """Write the report as a file, whole or not at all. Raises StorageError if it cannot be written."""
    with temporary_file(path.parent) as (file, temporary):
        file.write(render_comparison_page(comparison).encode("utf-8"))
        publish_output_file(file, temporary, path)


def render_comparison_page(comparison: ComparisonResult) -> str:
    """Return the whole document. Everything from outside is escaped, and the page forbids scripts anyway."""
    found, traffic = comparison.break_even, comparison.traffic
    facts = [
        ("rows", f"{comparison.rows:,}"),
        ("method", comparison.method.value),
        ("requests a month", "not stated" if traffic.requests is None else compact(traffic.requests)),
        ("input tokens a month", compact(traffic.input_tokens)),
        ("output tokens a month", compact(traffic.output_tokens)),
        ("cached", f"{traffic.cached_share:.0%}"),
        ("in batches", f"{traffic.batch_share:.0%}"),
    ]
    parts = {
        "name": html_text(comparison.dataset.name, 200),
        "what": f"What it would cost to tune a model on it, and where: US dollars, computed on {comparison.day}.",
        "facts": "".join(f"<div><dt>{name}</dt><dd>{html_text(value)}</dd></div>" for name, value in facts),
        "verdict": _verdict(found, comparison.day),
        "charts": break_even_charts(found),
        "options": _options(found),
        "prompt": _prompt(found, traffic.saved_per_request),
        "sources": _sources(found),
    }
    return render_html_page(f"{comparison.dataset.name}: comparison of costs", _PAGE, parts)


def _verdict(found: ComparisonBreakEven, day: date) -> str:
    parts = []
    for about, group in groupby(comparison_verdict(found, day=day), key=lambda said: said.about):
        sentences = list(group)
        worst = max((said.kind for said in sentences), key=("pass", "warn", "fail").index)
        body = "".join(f"<p>{html_text(said.words)}</p>" for said in sentences)
        head = f'<div class="verdict">{html_text(about)}</div>'
        parts.append(f'<section class="finding wide {worst}">{head}<div>{body}</div></section>')
    return "".join(parts)


def break_even_charts(found: ComparisonBreakEven) -> str:
    """Return the charts of the options' costs over months and over traffic."""
    shown = options_for_chart(found)
    if not shown:
        return "<p>unavailable, because no available option has both a training and a monthly price</p>"
    stated = f"{compact(found.unit.stated)} {found.unit.word} a month"
    cross_overs = found.cross_overs()
    listed = "".join(
        f"<li>{html_text(cross_over_sentence(each, found.unit))}</li>" for each in cross_overs[:_CROSS_OVERS]
    )
    pairs = len(found.options()) * (len(found.options()) - 1) // 2
    upto = f"{compact(found.until)} {found.unit.word} a month"
    every = (
        f"<details><summary>all cross-overs up to {upto}: {len(cross_overs)} in {pairs} pairs</summary>"
        f"<ul>{listed}</ul></details>"
    )
    return (
        f'<section class="chart"><h3>Training and months, added up</h3>{chart_over_months(found, shown)}'
        f'<p class="quiet">US dollars spent after so many months at {html_text(stated)}; bands from the least to the '
        "most.</p></section>"
        f'<section class="chart"><h3>A month, by traffic</h3>{chart_over_traffic(found, shown)}'
        f'<p class="quiet">US dollars a month by {html_text(found.unit.word)} a month, training not counted; an '
        f"endpoint costs the same until it needs another replica.</p>{every if pairs else ''}</section>"
    )


def _options(found: ComparisonBreakEven) -> str:
    compared = [row for row in found.rows if row.compared]
    others = [row for row in found.rows if not row.compared]
    parts = [_table(compared)] if compared else []
    if others:
        summary = f"{len(others)} more: without a price, not possible, or your own machine"
        opened = "" if compared else " open"
        parts.append(f"<details{opened}><summary>{summary}</summary>{_table(others)}</details>")
    return "".join(parts)


def _table(rows: Sequence[ComparisonBreakEvenRow]) -> str:
    heads = ("option", "training", "a month", f"{YEAR} months", "paid back", "last day", "priced")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    return f'<table class="options"><thead><tr>{head}</tr></thead>{"".join(map(_row, rows))}</table>'


def _row(row: ComparisonBreakEvenRow) -> str:
    choice = row.choice
    month = choice.inference
    cells = [
        ("training", _span(choice.quote.low, choice.quote.expected, choice.quote.high)),
        ("a month", "-" if month is None else _span(month.low, month.expected, month.high)),
        (f"{YEAR} months", "-" if row.total is None else _amount(row.total)),
        ("paid back", _back(row)),
        ("last day", "-" if choice.retires is None else escape_html(choice.retires)),
        ("priced", "-" if row.priced_on is None else f"{escape_html(row.priced_on)}{', old' if row.stale else ''}"),
    ]
    drawn = "".join(f'<td data-name="{name}">{cell}</td>' for name, cell in cells)
    kind = "" if choice.allowed else ' class="refused"'
    why = "".join(f"<li>{html_text(reason)}</li>" for reason in _reasons(row))
    return (
        f'<tbody{kind}><tr><th scope="row">{html_text(row.name, 200)}</th>{drawn}</tr>'
        f'<tr class="why"><td colspan="7"><details><summary>why</summary><ul>{why}</ul></details></td></tr></tbody>'
    )


def _span(low: float | None, expected: float | None, high: float | None) -> str:
    if low is None or expected is None or high is None:
        return '<span class="quiet">unknown</span>'
    return _amount(CostRange(low, expected, high))


def _amount(span: CostRange) -> str:
    if money(span.low) == money(span.high):
        return money(span.expected)
    return f'{money(span.expected)}<br><span class="quiet">{money(span.low)} to {money(span.high)}</span>'


def _back(row: ComparisonBreakEvenRow) -> str:
    if row.payback is None:
        return "-"
    return "never" if row.payback.months is None else escape_html(compared_months(row.payback.months))


def _reasons(row: ComparisonBreakEvenRow) -> Iterable[str]:
    choice = row.choice
    yield from choice.reasons
    for name, quote in (("training", choice.quote), ("a month", choice.inference), ("the base model", choice.base)):
        if quote is not None:
            told = quote.explanation if quote.expected is not None else f"unavailable, because {quote.unavailable}"
            if told:
                yield f"{name}: {told}"
    yield f"licence of the base model: {choice.licence or 'unknown'}"
    if choice.retires is not None and choice.retires_source:
        yield f"last day by {choice.retires_source}"
    if row.option is not None and row.no_total is not None:
        yield f"{YEAR} months: unavailable, because {row.no_total}"
    before = "" if row.instead_of is None else f" (instead of {row.instead_of.name})"
    yield f"training paid back{before}: {payback_sentence(row)}"
    if choice.duration.expected_seconds is not None:
        yield f"training takes about {duration(choice.duration.expected_seconds)}: {choice.duration.explanation}"
    elif choice.duration.unavailable:
        yield f"training time: unavailable, because {choice.duration.unavailable}"


def _prompt(found: ComparisonBreakEven, saved: int) -> str:
    if not saved:
        return (
            "<p>A tuned model needs no examples and few instructions in its prompt. Say how many requests there are "
            "(--requests) and how many tokens of each it spares (--prompt-saved), to see what that is worth.</p>"
        )
    rows = [row for row in found.rows if row.compared and row.prompt_saving is not None]
    if not rows:
        return "<p>unavailable, because no option that can be compared has a known price</p>"
    rows.sort(key=lambda row: -(row.prompt_saving or 0.0))
    gaining = [row for row in rows if row.prompt_saving]
    nothing = len(rows) - len(gaining)
    drawn = draw_bar_chart(
        [(row.name, row.prompt_saving or 0.0, _share(row, found)) for row in gaining], label="saved a month"
    )
    words = f"Nothing at {nothing} more: paid by the hour, they need as many machines with the longer prompt."
    rest = f'<p class="quiet">{words}</p>' if nothing else ""
    return f"<p>{saved:,} tokens fewer in each request save a month:</p>{drawn}{rest}"


def _share(row: ComparisonBreakEvenRow, found: ComparisonBreakEven) -> str:
    saved = row.prompt_saving or 0.0
    return f"{money(saved)} · {saved / (saved + row.month(found.unit)):.0%}"


def _sources(found: ComparisonBreakEven) -> str:
    seen: dict[str, set[date]] = {}
    for row in found.rows:
        for quote in (row.choice.quote, row.choice.inference, row.choice.base):
            if quote is not None and quote.source and quote.expected is not None:
                seen.setdefault(quote.source, set()).update([quote.as_of] if quote.as_of else [])
    listed = "".join(f"<li>{_link(source)}{_read_on(days)}</li>" for source, days in sorted(seen.items()))
    return f"<ul>{listed}</ul>" if listed else "<p>none: no price is known</p>"


def _link(source: str) -> str:
    if re.fullmatch(r"https?://[^\s\"'<>]+", source):
        return f'<a href="{escape_html(source)}" rel="noopener noreferrer">{escape_html(source)}</a>'
    return html_text(source)


def _read_on(days: set[date]) -> str:
    known = sorted(day for day in days if day > date.min)
    if not known:
        return ' <span class="quiet">day unknown</span>'
    several = f"{known[0]} to {known[-1]}" if len(known) > 1 else str(known[0])
    return f' <span class="quiet">prices of {several}</span>'
