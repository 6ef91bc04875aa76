"""The lines below a comparison's table: verdict, break-even and cross-overs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

if TYPE_CHECKING:
    from rich.console import Console

    from tuneport.workflows.compare import Comparison

CROSS_OVERS = 4
_COLOURS = {"pass": "green", "warn": "yellow", "fail": "red"}


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
