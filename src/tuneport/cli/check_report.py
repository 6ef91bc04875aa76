"""How a data report looks in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from tuneport.cli import output

if TYPE_CHECKING:
    from rich.console import Console

    from tuneport.data.checks import CheckReport

EVIDENCE_SHOWN = 3
CLASSES_SHOWN = 12
_COLOURS = {"pass": "green", "warn": "yellow", "fail": "red"}


def print_report(report: CheckReport, console: Console | None = None) -> None:
    """A line a check, its evidence and what to do under those that did not pass; fits 80 columns."""
    console = console or output.console()
    console.print(
        f"{report.rows:,} records, {escape(report.format.format)} ({report.format.confidence:.0%} sure), "
        f"{report.task}, {report.tokens.total:,} tokens"
    )
    grid = Table.grid(padding=(0, 1, 0, 0), pad_edge=False)
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column()
    for finding in report.findings:
        verdict = finding.verdict.value
        grid.add_row(f"[{_COLOURS[verdict]}]{verdict}[/]", f"[bold]{finding.check}[/bold]", escape(finding.message))
        if verdict == "pass":
            continue
        for evidence in finding.evidence[:EVIDENCE_SHOWN]:
            grid.add_row("", "", f"[dim]{escape(str(evidence))}[/dim]")
        if len(finding.evidence) > EVIDENCE_SHOWN:
            grid.add_row("", "", f"[dim]and {len(finding.evidence) - EVIDENCE_SHOWN} more: --json has them[/dim]")
        if finding.fix:
            grid.add_row("", "", f"→ {escape(finding.fix)}")
    if report.classes and len(report.classes) <= CLASSES_SHOWN:
        counts = ", ".join(f"{name} {count}" for name, count in report.classes.items())
        grid.add_row("", "", f"[dim]{escape(counts)}[/dim]")
    console.print(grid)
