"""The progress of a job: a live bar on a terminal, one line a change when piped."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from tuneport.cli.views import output
from tuneport.cli.views.live_line import other_live_display

if TYPE_CHECKING:
    from rich.progress import Progress

    from tuneport.lifecycle.schema.records import JobRecord


_TELL_AGAIN_SECONDS = 30.0


class JobProgress:
    """A context manager that shows a job's progress on stderr; `update` takes the job's row after each step."""

    def __init__(self) -> None:
        self.live = sys.stderr.isatty()
        self._display = ExitStack()
        self.shown: tuple[Any, ...] = ()
        self.told_at = 0.0
        self.progress: Progress | None = None
        self.task: Any = None

    def __enter__(self) -> JobProgress:
        if self.live:
            from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

            self._display.enter_context(other_live_display())
            self.progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.fields[status]:<11}", markup=False),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[facts]}", markup=False),
                console=output.console(stderr=True),
                transient=False,
            )
            self.progress.start()
            self.task = self.progress.add_task("", total=None, status="starting", facts="")
        return self

    def __exit__(self, *exception: object) -> None:
        if self.progress is not None:
            self.progress.stop()
        self._display.close()

    def update(self, row: JobRecord) -> None:
        output.raise_if_interrupted()
        state = row.job_state
        step = None if state is None else state.progress.step
        total = None if state is None else state.progress.total_steps
        facts = row.note or _over_budget(row) or _facts(row)
        if self.progress is not None:
            if row.status == "succeeded" and total:
                step = total
            self.progress.update(self.task, status=row.status, completed=step or 0, total=total, facts=facts)
            return
        # Piped: a line for a new status or note, and for about every tenth of the way.
        tenth = None if not (step and total) else step * 10 // total
        waits = None if state is None else state.details.get("waits") or state.details.get("phase")
        current = (row.status, row.note or _over_budget(row) is not None, tenth, waits)
        # Repeat lasting trouble: silence would look like a hang.
        lasts = row.note is not None and time.monotonic() - self.told_at >= _TELL_AGAIN_SECONDS
        if current != self.shown or lasts:
            self.shown, self.told_at = current, time.monotonic()
            output.print_note(f"{row.id} {row.status}" + (f": {facts}" if facts else ""))


def _over_budget(row: JobRecord) -> str | None:
    from tuneport.lifecycle.accounting.budgets import project_job_cost

    projected = None if row.budget_usd is None else project_job_cost(row)
    return f"over budget: {projected}" if projected is not None and projected.over_budget else None


def _facts(row: JobRecord) -> str:
    state = row.job_state
    if state is None:
        return ""
    if state.progress.step is None:
        return str(state.details.get("waits") or state.details.get("phase") or "")
    progress = state.progress
    parts = [f"step {progress.step}" + (f"/{progress.total_steps}" if progress.total_steps else "")]
    if progress.train_loss is not None:
        parts.append(f"loss {progress.train_loss:.3f}")
    if not row.job_status.terminal:
        if phase := state.details.get("phase"):
            return f"{parts[0]}  {phase}"
        if progress.tokens_per_second is not None:
            parts.append(f"{progress.tokens_per_second:,.0f} tokens/s")
        if progress.seconds_left is not None:
            parts.append(f"{output.duration(progress.seconds_left)} left")
    return "  ".join(parts)


class AnswerProgress:
    """A context manager that shows the progress of answers on stderr: a bar on a terminal, else a line for about
    every tenth. `update` takes a model, its answers so far, and how many there will be."""

    def __init__(self) -> None:
        self._display = ExitStack()
        self._progress: Progress | None = None
        self._tasks: dict[str, Any] = {}
        self._tenths: dict[str, int] = {}

    def __enter__(self) -> AnswerProgress:
        if sys.stderr.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (
                TextColumn("{task.description:<24}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
            )
            self._display.enter_context(other_live_display())
            self._progress = Progress(*columns, TimeRemainingColumn(), console=output.console(stderr=True))
            self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._progress is not None:
            self._progress.stop()
        self._display.close()

    def update(self, model: str, answered: int, of: int) -> None:
        output.raise_if_interrupted()
        if self._progress is not None:
            if model not in self._tasks:
                self._tasks[model] = self._progress.add_task(model, total=of)
            self._progress.update(self._tasks[model], completed=answered)
            return
        tenth = answered * 10 // of
        if tenth > self._tenths.get(model, 0):
            self._tenths[model] = tenth
            output.print_note(f"{model}: {answered:,} of {of:,} answers")
