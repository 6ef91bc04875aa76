"""The views of a migration, for 80 columns, the most urgent first."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from datetime import date
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from tuneport.cli.views import output
from tuneport.cli.views.live_line import other_live_display

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from tuneport.lifecycle.schema.records import JobRecord
    from tuneport.scoring.accuracy import AccuracyScore
    from tuneport.workflows.migration.comparison import MigrationAnswerComparison
    from tuneport.workflows.migration.folder import SavedAccountFolder, SavedFile, SavedJob
    from tuneport.workflows.migration.inventory import MigrationInventory, MigrationInventoryItem
    from tuneport.workflows.migration.plan import MigrationMovePlan
    from tuneport.workflows.migration.saving import AccountSaveProgress, MigrationSaveReport

JOBS_SHOWN = 40
MISSING_SHOWN = 20
_SHOWN_TEXT = 300
_COLOURS = {"answers": "green", "not listed": "yellow", "gone": "red", "ended": "red"}


# --- inventory ------------------------------------------------------------------------------------------------------


def print_inventory(inventory: MigrationInventory, console: Console) -> None:
    console.print(f"[bold]{escape(inventory.title)}: {escape(inventory.summary)}[/bold]")
    day = inventory.no_new_jobs_from
    if day is not None:
        when = "takes no new jobs since" if day <= inventory.today else "takes no new jobs from"
        console.print(f"{escape(inventory.title)} {when} {day}{_days_left(day, inventory.today)}.")
    for what, reason in inventory.trouble.items():
        console.print(f"[yellow]{what} are not known: {escape(reason)}[/yellow]")
    for item in inventory.items[:JOBS_SHOWN]:
        console.print()
        _print_item(item, inventory, console)
    if len(inventory.items) > JOBS_SHOWN:
        console.print(f"\n... and {len(inventory.items) - JOBS_SHOWN:,} older jobs: --json lists them all", style="dim")
    if inventory.loose_files:
        size = output.size(sum(file.bytes for file in inventory.loose_files))
        console.print(f"\n{output.counted(len(inventory.loose_files), 'more file')} of no job here ({size}).")
    gone = [item for item in inventory.items if item.gone]
    if gone:
        files = sum(len(item.gone) for item in gone)
        console.print(
            f"\n[red]{output.counted(files, 'file')} of {output.counted(len(gone), 'job')} can no longer be had[/red]: "
            f"deleted at {escape(inventory.title)}. If you have a copy, --data ID=FILE uses it."
        )
    name = inventory.backend
    console.print(
        f"\nSave it all:   tuneport migrate --from {name} --save {name}-backup\n"
        f"Move it:       tuneport migrate --from {name} --to BACKEND",
        style="dim",
    )


def _print_item(item: MigrationInventoryItem, inventory: MigrationInventory, console: Console) -> None:
    job = item.job
    day = item.ends.stops_answering_on
    told = {
        None: job.status.value if job.status.value == job.raw_status else f"{job.status.value} ({job.raw_status})",
        "answers": "answers" if day is None else f"answers until {day}",
        "not listed": "may answer" if day is None else f"answers until {day}",
        "ended": f"stopped answering on {day}",
        "gone": "the model is gone",
    }[item.model_state]
    colour = _COLOURS.get(item.model_state or "", "dim")
    method = job.method.value if job.method else "-"
    made = f"{job.created_at:%Y-%m-%d}" if job.created_at else ""
    console.print(f"[bold]{escape(job.id)}[/bold]  {method:<4} {made}  [{colour}]{told}[/{colour}]", no_wrap=True)
    _print_indented(job.tuned_model or job.model, console)
    files = []
    for purpose, file_id in job.files:
        listed = next((file for file in inventory.files if file.id == file_id), None)
        state = item.files[file_id]
        size = "" if listed is None else f" ({output.size(listed.bytes)})"
        files.append(f"[red]{purpose} GONE[/red]" if state == "gone" else f"{purpose}{size}")
    console.print(
        Padding("files: " + (", ".join(files) if files else "none named"), (0, 0, 0, 2), expand=False), style="dim"
    )


# --- save -----------------------------------------------------------------------------------------------------------


class SaveProgressView:
    """A context manager that shows progress on stderr: a bar on a terminal, elsewhere a line for about every tenth."""

    def __init__(self) -> None:
        self.live = sys.stderr.isatty()
        self._display = ExitStack()
        self.progress: Progress | None = None
        self.task: Any = None
        self.tenth = 0

    def __enter__(self) -> SaveProgressView:
        if self.live:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._display.enter_context(other_live_display())
            self.progress = Progress(
                TextColumn("saving"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[facts]}", markup=False),
                TimeRemainingColumn(),
                console=output.console(stderr=True),
                transient=True,
            )
            self.progress.start()
            self.task = self.progress.add_task("", total=None, facts="")
        return self

    def __exit__(self, *exception: object) -> None:
        if self.progress is not None:
            self.progress.stop()
        self._display.close()

    def update(self, saved: AccountSaveProgress) -> None:
        output.raise_if_interrupted()
        facts = f"{saved.report.fetched:,} files, {output.size(saved.report.bytes)}"
        if self.progress is not None:
            self.progress.update(self.task, completed=saved.done, total=saved.total, facts=facts)
            return
        tenth = saved.done * 10 // saved.total
        if tenth != self.tenth:
            self.tenth = tenth
            output.print_note(f"saved {saved.done:,} of {saved.total:,}: {facts} fetched")


def print_save_report(report: MigrationSaveReport, console: Console, *, shortly: bool = False) -> None:
    """Print the report of a saved account. `shortly` leaves missing things to the plans."""
    kept = f", {report.kept:,} were there already" if report.kept else ""
    fetched = f"{output.counted(report.fetched, 'file')} fetched ({output.size(report.bytes)})"
    console.print(f"[bold]{output.counted(report.jobs, 'job')} saved[/bold] in {escape(str(report.folder))}")
    console.print(f"{fetched}{kept}.")
    if shortly:
        return
    console.print("It holds training data: it is readable by you only; keep it so.", style="dim")
    if report.missing:
        console.print(f"[red]{output.counted(len(report.missing), 'thing')} could not be had:[/red]")
    for job_id, lost in report.missing[:MISSING_SHOWN]:
        of = f" of {job_id}" if job_id else ""
        console.print(Padding(f"- {escape(lost.what)}{escape(of)}: {escape(lost.reason)}", (0, 0, 0, 2), expand=False))
    if len(report.missing) > MISSING_SHOWN:
        console.print(f"  - and {len(report.missing) - MISSING_SHOWN:,} more: --json lists them all", style="dim")


def print_saved_folder(
    folder: SavedAccountFolder,
    records: Sequence[SavedJob],
    files: Sequence[SavedFile],
    damaged: Sequence[SavedFile],
    console: Console,
) -> None:
    size = output.size(sum({file.sha256: file.bytes for file in files}.values()))
    right = "all as they were saved" if not damaged else f"[red]{len(damaged)} damaged or gone[/red]"
    console.print(
        f"[bold]Saved from {escape(folder.backend)}: {output.counted(len(records), 'job')}, "
        f"{output.counted(len(files), 'file')}[/bold] ({size}), {right}."
    )
    for file in damaged:
        console.print(
            Padding(
                f"- {escape(file.purpose)} {escape(file.id)}: files/{escape(file.path)}", (0, 0, 0, 2), expand=False
            )
        )
    for record in records[:JOBS_SHOWN]:
        job = record.job
        console.print(f"\n[bold]{escape(job.id)}[/bold]  {job.status.value}", no_wrap=True)
        _print_indented(job.tuned_model or job.model, console)
        for lost in record.missing:
            _print_indented(f"{lost.what}: {lost.reason}", console, style="red")
    if damaged:
        console.print("\n`tuneport migrate --save` with the same folder downloads damaged files again.", style="dim")
    else:
        console.print(f"\nMove it:  tuneport migrate --saved {escape(str(folder.path))} --to BACKEND", style="dim")


# --- plans ----------------------------------------------------------------------------------------------------------


def print_move_plan(plan: MigrationMovePlan, console: Console) -> None:
    job = plan.job
    console.print()
    console.print(f"[bold]{escape(job.id)}[/bold]", no_wrap=True)
    _print_indented(job.tuned_model or job.model, console)
    grid = _grid()
    if plan.row is not None:
        grid.add_row("now", f"[cyan]{plan.row.id}[/cyan] on {plan.backend}, {plan.row.status}: started earlier")
        console.print(Padding(grid, (0, 0, 0, 2), expand=False))
        return
    if plan.model.name is not None:
        known = plan.choice.model if plan.choice is not None and plan.choice.model else plan.model.name
        named = f"{plan.model.name} ({known})" if known != plan.model.name else known
        grid.add_row("model", f"{escape(job.model)} → [bold]{escape(named)}[/bold] {_dimmed_reason(plan.model.reason)}")
    elif plan.model.reason:
        grid.add_row("model", f"{escape(job.model)} → [red]?[/red] {_dimmed_reason(plan.model.reason)}")
        for number, suggestion in enumerate(plan.model.suggestions, start=1):
            grid.add_row("", f"{number}. {escape(suggestion.name)}: {escape(suggestion.reason)}")
    for line in plan.lines:
        new = "[yellow]no equivalent[/yellow]" if line.new is None else escape(line.new)
        value = escape(line.old) if line.fate == "same" else f"{escape(line.old)} → {new}"
        grid.add_row(
            line.name.replace("learning_rate_multiplier", "lr multiplier"), f"{value} {_dimmed_reason(line.why)}"
        )
    if plan.training is not None:
        grid.add_row("data", _data(plan))
        for loss in plan.losses:
            grid.add_row("", f"[yellow]lost:[/yellow] {escape(str(loss))}")
    if plan.choice is not None:
        grid.add_row("price", _price(plan))
        if plan.choice.duration.expected_seconds:
            grid.add_row("time", f"about {output.duration(plan.choice.duration.expected_seconds)} here")
    console.print(Padding(grid, (0, 0, 0, 2), expand=False))
    for note in plan.notes:
        console.print(Padding(f"- {escape(note)}", (0, 0, 0, 2), expand=False), style="dim")
    for problem in plan.problems:
        console.print(Padding(f"[red]stops:[/red] {escape(problem)}", (0, 0, 0, 2), expand=False))


def _data(plan: MigrationMovePlan) -> str:
    assert plan.training is not None
    same = plan.source_format == plan.training.format
    form = plan.training.format if same else f"{plan.source_format} → {plan.training.format}"
    held_out = f", {plan.validation_rows:,} held out" if plan.validation_rows else ", no validation file"
    left = f"; not trained on: {', '.join(plan.training.left_out)}" if plan.training.left_out else ""
    return escape(f"{plan.training.rows:,} rows, {form}{held_out}{left}")


def _price(plan: MigrationMovePlan) -> str:
    assert plan.choice is not None
    quote = plan.choice.quote
    if quote.expected is None:
        return f"[yellow]unknown[/yellow] {_dimmed_reason(quote.unavailable or '')}"
    most = "" if quote.high in (None, quote.expected) else f", at most {output.money(quote.high)}"
    explained = quote.explanation.partition("; approximate, which makes no difference")[0]
    dated = explained + (f"; price of {quote.as_of}" if quote.as_of else "")
    return f"[bold]{output.money(quote.expected)}[/bold]{most} {_dimmed_reason(dated)}"


def print_migration_total(plans: Sequence[MigrationMovePlan], to: str, console: Console) -> None:
    from tuneport.workflows.migration.plan import total_migration_quote

    counted = {state: sum(plan.state == state for plan in plans) for state in ("ready", "started", "stopped")}
    console.print()
    if not plans:
        console.print("There is no job that made a model; --job ID moves one that did not.")
        return
    parts = []
    if counted["ready"]:
        expected, high, unknown = total_migration_quote(plans)
        price = output.money(expected) + (f", at most {output.money(high)}" if high > expected else "")
        price += f", and {output.counted(unknown, 'price')} unknown" if unknown else ""
        parts.append(f"{output.counted(counted['ready'], 'job')} ready for {to}: {price}")
    if counted["started"]:
        parts.append(f"{counted['started']} started earlier")
    if counted["stopped"]:
        parts.append(f"[red]{counted['stopped']} cannot start yet[/red]")
    console.print(f"[bold]{'; '.join(parts)}[/bold]")
    warnings = [warning for plan in plans if plan.choice is not None for warning in plan.choice.warnings]
    for warning in dict.fromkeys(warnings):
        console.print(Padding(f"- {escape(warning)}", (0, 0, 0, 2), expand=False), style="dim")


def print_started_moves(plans: Iterable[MigrationMovePlan], rows: Sequence[JobRecord], console: Console) -> None:
    console.print()
    for plan, row in zip(plans, rows, strict=True):
        state = row.job_state
        made = f": {state.tuned_model}" if state is not None and state.tuned_model else ""
        colour = {"succeeded": "green", "failed": "red", "cancelled": "red"}.get(row.status, "cyan")
        console.print(f"{escape(plan.job.id)} → {row.id}  [{colour}]{row.status}[/{colour}]", no_wrap=True)
        reason = row.job_error.message if row.status == "failed" and row.job_error else made.removeprefix(": ")
        _print_indented(reason or row.note or "", console)
    waiting = [row for row in rows if row.remote_id is None and row.waits_since is not None]
    if waiting:
        many = "1 job waits" if len(waiting) == 1 else f"{len(waiting)} jobs wait"
        console.print(f"{many} for a free slot there; `tuneport watch {waiting[0].id}` or --wait continues")
    if any(not row.job_status.terminal for row in rows):
        console.print("`tuneport jobs` shows them; the same command with --wait follows and compares", style="dim")


# --- comparison -----------------------------------------------------------------------------------------------------


def print_comparisons(comparisons: Sequence[MigrationAnswerComparison], console: Console) -> None:
    if not comparisons:
        return
    console.print("\n[bold]Old and new on the same held-out prompts[/bold]: exact match, 95 % interval")
    for comparison in comparisons:
        console.print()
        console.print(f"[bold]{escape(comparison.job)} → {comparison.row}[/bold]", no_wrap=True)
        if comparison.note:
            _print_indented(comparison.note, console)
            continue
        of = f" of {comparison.of:,}" if comparison.of != comparison.rows else ""
        grid = _grid()
        grid.add_row("rows", f"{comparison.rows:,}{of}")
        grid.add_row("old", _score_line(comparison.old_score, comparison.old.unavailable, comparison.old.model))
        grid.add_row("new", _score_line(comparison.new_score, comparison.new.unavailable, comparison.new.model))
        if comparison.agreement is not None:
            grid.add_row("agree", f"{_share(comparison.agreement)}  the same answer from both")
        console.print(Padding(grid, (0, 0, 0, 2), expand=False))
        for example in comparison.examples:
            _print_example(example, console)


def _print_example(example: dict[str, str], console: Console) -> None:
    grid = _grid()
    for name in ("prompt", "reference", "old", "new"):
        if name in example:
            text = " ".join(example[name].split())
            text = text if len(text) <= _SHOWN_TEXT else text[:_SHOWN_TEXT] + " ..."
            grid.add_row(name, escape(text))
    console.print(Padding(grid, (1, 0, 0, 2), expand=False))


def _score_line(score: AccuracyScore | None, unavailable: str | None, model: str) -> str:
    if score is None:
        return f"[yellow]not asked or no answer[/yellow]: {escape(unavailable or '')}"
    return f"{_share(score)}  {escape(model)}"


def _share(score: AccuracyScore) -> str:
    return f"{score.accuracy:>6.1%} ({score.low:.0%} to {score.high:.0%})"


# --- small things ---------------------------------------------------------------------------------------------------


def _grid() -> Table:
    """Return a grid of names and values; long values wrap within their column."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    return grid


def _dimmed_reason(reason: str) -> str:
    return f"[dim]({escape(reason)})[/dim]" if reason else ""


def _print_indented(text: str, console: Console, style: str = "") -> None:
    if text:
        console.print(Padding(escape(text), (0, 0, 0, 2), expand=False), style=style)


def _days_left(day: date, today: date) -> str:
    left = (day - today).days
    return "" if left <= 0 else f" ({output.counted(left, 'day')})"
