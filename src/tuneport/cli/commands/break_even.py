"""The answer of a comparison: a sentence, cards and a short table; below the whole table verdict and cross-overs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.padding import Padding

from tuneport.cli.views import output

if TYPE_CHECKING:
    from rich.console import Console

    from tuneport.types import Quote
    from tuneport.workflows.compare import Comparison
    from tuneport.workflows.comparison.break_even import ComparisonBreakEvenRow

CROSS_OVERS = 4
ROWS = 8
_COLOURS = {"pass": "green", "warn": "yellow", "fail": "red"}


def print_comparison_answer(comparison: Comparison, *, console: Console) -> None:
    """Print the answer, up to three cards, and the best option of each backend, at most 80 columns wide."""
    from tuneport.workflows.comparison.words import compared_steps, compared_training

    console.print(escape(comparison.answer), style="bold")
    if comparison.rival is not None:
        console.print(f"Without any training, {escape(str(comparison.rival))}.", style="dim")
    for card in comparison.cards:
        console.print(f"\n[cyan]{escape(card.title)}[/cyan]")
        choice = card.row.choice
        price = f"{quoted_price(choice.inference)} a month, {quoted_price(choice.quote)} for the training"
        console.print(Padding(f"[bold]{escape(card.row.name)}[/bold]: {price}", (0, 0, 0, 2), expand=False))
        for note in card.notes:
            console.print(Padding(f"[dim]{escape(note)}[/dim]", (0, 0, 0, 2), expand=False))
    console.print()
    found = comparison.break_even
    amounts = ("epochs", "steps", "train", "month")
    table = output.console_table("option", *amounts, "shuts down", right=amounts)
    table.columns[0].no_wrap = False  # a long name goes on in the next line, so that no number is cut
    shown = best_rows(comparison)
    for row in shown:
        table.add_row(
            escape(row.name),
            "-" if row.choice.epochs is None else str(row.choice.epochs),
            compared_steps(row.choice),
            quoted_price(row.choice.quote),
            quoted_price(row.choice.inference),
            row.choice.retires.isoformat() if row.choice.retires else "-",
            style="" if row.choice.allowed else "dim",
        )
    if found.today is not None:
        now = found.today.monthly_cost(found.unit.stated).expected
        table.add_row(escape(found.today.name), "-", "-", "-", output.money(now), "-", style="dim")
    console.print(table)
    left = len(found.rows) - len(shown)
    more = f"{output.counted(left, 'more option')}, " if left else ""
    models = {row.choice.model for row in shown}
    size = " A price says nothing about quality: tuneport eval compares the models." if len(models) > 1 else ""
    console.print(compared_training([row.choice for row in shown]), style="dim")
    console.print(
        f"A month is {_month(comparison)}. ~ marks an estimate. --all shows "
        f"{more}bounds, licences, reasons and the break-even.{size}",
        style="dim",
    )


def _month(comparison: Comparison) -> str:
    """Return the month's traffic, and the tokens of a request where it is stated in requests."""
    traffic, unit = comparison.traffic, comparison.break_even.unit
    month = f"{output.compact(unit.stated)} {unit.word}"
    if traffic.requests is None:
        return month
    each = f"{traffic.tokens_in_per_request:,.0f} tokens in and {traffic.tokens_out_per_request:,.0f} out"
    return f"{month} of {each} each (--requests, --tokens-per-request)"


def best_rows(comparison: Comparison) -> list[ComparisonBreakEvenRow]:
    """Return the rows of the cards, then the best of each backend, then the next best; at most `ROWS` of them."""
    rows = comparison.break_even.rows
    first = [card.row for card in comparison.cards]
    backends: list[ComparisonBreakEvenRow] = []
    for row in rows:
        if all(row.choice.backend != other.choice.backend for other in [*first, *backends]):
            backends.append(row)
    chosen = [*first, *backends]
    chosen += [row for row in rows if row.compared and all(row is not other for other in chosen)]
    return chosen[: max(ROWS, len(first) + len(backends))]


def quoted_price(quote: Quote | None) -> str:
    """Return the expected price, marked if it is an estimate; none where the bounds are too far apart for one."""
    if quote is None or quote.expected is None:
        return "-"
    if quote.vague:
        return "unclear"
    return ("" if quote.low == quote.high else "~") + output.money(quote.expected, short=quote.expected >= 1000)


def print_break_even(comparison: Comparison, *, console: Console) -> None:
    """Print a few sentences, each under its heading, at most 80 columns wide."""
    from rich.table import Table

    from tuneport.formatting import compact
    from tuneport.workflows.comparison.charts import options_for_chart
    from tuneport.workflows.comparison.verdict import comparison_verdict
    from tuneport.workflows.comparison.words import cross_over_sentence

    found = comparison.break_even
    lines = [(_COLOURS[said.kind], said.about, said.words) for said in comparison_verdict(found, day=comparison.day)]
    crossing = found.cross_overs(options_for_chart(found))
    lines += [("cyan", "cross-over", cross_over_sentence(each, found.unit)) for each in crossing[:CROSS_OVERS]]
    if len(crossing) > CROSS_OVERS:
        lines.append(
            ("cyan", "cross-over", f"and {len(crossing) - CROSS_OVERS} more: --html shows them, --json has all")
        )
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=14)
    grid.add_column()
    before = ""
    for colour, about, words in lines:
        grid.add_row("" if about == before else f"[{colour}]{escape(about)}[/{colour}]", escape(words))
        before = about
    console.print(f"\n[bold]Break-even[/bold] at {compact(found.unit.stated)} {found.unit.word} a month")
    console.print(grid)
