"""The commands jobs, show, watch, logs and metrics: the state of jobs, the same for every backend."""

from __future__ import annotations

import sys
import textwrap
from collections import Counter
from typing import Annotated

import typer

from tuneport.cli.views import output
from tuneport.cli.views.curve import (
    current_curve_verdict,
    curve_verdict_json_view,
    print_curve_verdict,
    print_loss_curves,
)
from tuneport.cli.views.following import (
    follow_job_progress,
    job_exit_code,
    poll_or_print_last_known,
    print_duplicate_jobs,
    print_outcome_and_exit,
)
from tuneport.cli.views.job import coloured_status, job_data_and_model, job_step_and_loss, print_job
from tuneport.cli.views.job_costs import print_job_costs
from tuneport.cli.views.table import Column, CommandTable
from tuneport.errors import ConfigError

Json = output.Json
LAST_METRICS = 20
"""Rows of `metrics` on a terminal; above that the curve says more than the numbers."""
JobId = Annotated[str, typer.Argument(metavar="JOB", help="A job's id, or the beginning of it.", show_default=False)]


def jobs_command(
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Most jobs to show, newest first.")] = 20,
    costs: Annotated[
        bool, typer.Option("--costs", help="Show estimated and actual cost and time of each job.")
    ] = False,
    follow_all: Annotated[bool, typer.Option("--watch", help="Follow all unfinished jobs, as `watch` does.")] = False,
    wide: output.Wide = False,
    tsv: output.Tsv = False,
    json_: Json = False,
) -> None:
    """List the jobs, with their current state at the backends."""
    from tuneport.lifecycle.document import describe_job, describe_job_question
    from tuneport.lifecycle.service import JobService

    if follow_all:
        _watch_all()
        return
    with JobService() as workspace:
        rows, trouble = workspace.refresh_all(limit=limit)
        errors, month = (workspace.accuracy(), workspace.month()) if costs else ([], None)
    for name, message in trouble.items():
        output.print_note(f"{name}: could not be asked, showing the last known state: {message}")
    if output.as_json:
        document = {"object": "list", "data": [describe_job(row) for row in rows], "trouble": trouble}
        if month is not None:
            document |= {"accuracy": [error.as_dict() for error in errors], "month": month.as_dict()}
        output.print_json_document(document)
        return
    if month is not None:
        print_job_costs(rows, errors, month)
        return
    if not rows:
        output.print_note(
            "no jobs yet; `tuneport submit DATA --model M` starts one, `tuneport demo` shows a whole journey"
        )
        return
    table = CommandTable(
        (
            Column("job"),
            Column("status"),
            Column("backend"),
            Column("data -> model", cut=True),
            Column("progress", rank=1),
            Column("loss", rank=2, right=True),
            Column("created", rank=3),
        )
    )
    for row in rows:
        table.add_row(
            row.id,
            coloured_status(row),
            row.backend,
            job_data_and_model(row),
            *job_step_and_loss(row),
            output.ago(row.created_at),
        )
    table.print()
    for row in rows:
        if (needs := describe_job_question(row)) is not None:
            output.print_note(needs["message"])


def show_command(job: JobId, json_: Json = False) -> None:
    """Show one job: its settings, its state and its results."""
    from tuneport.lifecycle.service import JobService, describe_job

    with JobService() as workspace:
        row, trouble = poll_or_print_last_known(workspace, job)
        verdict = None if trouble else current_curve_verdict(workspace, row)
    if output.print_if_json(describe_job(row) | curve_verdict_json_view(row, verdict) | {"trouble": trouble}):
        return
    print_job(row)
    if verdict is not None:
        print_curve_verdict(verdict)
    if trouble:
        output.print_note(f"{row.backend}: could not be asked, showing the last known state: {trouble}")


def watch_command(
    job: Annotated[
        str | None,
        typer.Argument(metavar="JOB", help="A job's id; left out: all unfinished ones.", show_default=False),
    ] = None,
    stop_on_overfit: Annotated[
        bool, typer.Option("--stop-on-overfit", help="Stop it when it clearly overfits, and keep its best checkpoint.")
    ] = False,
    json_: Json = False,
) -> None:
    """Follow a job, or all, to the end; continue jobs whose command was interrupted or that wait in the queue."""
    from tuneport.lifecycle.service import JobService

    if job is None:
        if stop_on_overfit:
            raise ConfigError("--stop-on-overfit is for one job; name it: tuneport watch JOB --stop-on-overfit")
        _watch_all()
        return
    with JobService() as workspace:
        row = workspace.stop_on_overfit(job) if stop_on_overfit else workspace.job(job)
        follow_job_progress(workspace, row, to_the_end=True)
        print_outcome_and_exit(workspace, workspace.job(row.id))


def _watch_all() -> None:
    """Poll all providers until every job has ended. Prints a line for each change; failed jobs set the exit code."""
    from tuneport.lifecycle.document import describe_job, describe_job_question
    from tuneport.lifecycle.service import JobService

    output.interrupted = "stopped watching; the jobs are kept: `tuneport watch` continues them"
    with JobService() as workspace:
        watched = [row.id for row in workspace.store.jobs.all(unfinished=True)]
        if watched:
            output.print_note(f"watching {len(watched):,} jobs")
        else:
            output.print_note("no unfinished jobs; `tuneport jobs` lists ended ones")
        workspace.poll(
            until_idle=True,
            on_change=lambda job_id, status, note: output.print_note(
                f"{job_id} {status}" + (f": {note}" if note else "")
            ),
            on_trouble=lambda name, message: output.print_note(f"{name}: {message}"),
        )
        rows = [workspace.job(job_id) for job_id in watched]
    for row in rows:
        print_duplicate_jobs(row)
        if (needs := describe_job_question(row)) is not None:
            output.print_note(f"{row.id}: {needs['message']}")
        if row.status == "failed":
            reason = row.job_error.message if row.job_error else "the backend gives no reason"
            output.print_note(f"error: {row.id} failed: {reason}")
    if not output.print_if_json({"object": "list", "data": [describe_job(row) for row in rows]}):
        ends = Counter(row.status for row in rows)
        output.print_line(
            ", ".join(f"{count:,} {status}" for status, count in sorted(ends.items())) or "nothing to watch"
        )
    if code := max((job_exit_code(row) for row in rows), default=0):
        raise typer.Exit(code)


def logs_command(
    job: JobId,
    after: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Only events after this position.")] = 0,
    json_: Json = False,
) -> None:
    """Print a job's events, oldest first."""
    from tuneport.lifecycle.service import JobService

    with JobService() as workspace:
        row, trouble = poll_or_print_last_known(workspace, job)
        events = workspace.events(row.id, after=after)
    if trouble:
        output.print_note(f"{row.backend}: could not be asked, showing the last known state: {trouble}")
    if output.as_json:
        rows = [{"position": position} | event.model_dump(mode="json") for position, event in events]
        output.print_json_document({"object": "list", "job": row.id, "data": rows})
        return
    for _, event in events:
        level = "" if event.level == "info" else f"{event.level}: "
        for line in _log_lines(f"{event.created_at.astimezone():%Y-%m-%d %H:%M:%S}  ", f"{level}{event.message}"):
            output.print_line(line)


def _log_lines(begins: str, message: str) -> list[str]:
    """Return an event's lines: on a terminal a long message goes on under its beginning, in a pipe it is one line."""
    if not sys.stdout.isatty():
        return [begins + message]
    return textwrap.wrap(
        message,
        width=output.console().width,
        initial_indent=begins,
        subsequent_indent=" " * len(begins),
        break_long_words=False,
        break_on_hyphens=False,
    )


def metrics_command(
    job: JobId,
    last: Annotated[
        int | None,
        typer.Option(min=0, max=2**31 - 1, help="Most rows to show, the newest; 0: all. Default on a terminal: 20."),
    ] = None,
    tsv: output.Tsv = False,
    json_: Json = False,
) -> None:
    """Print the loss curve, one row a logged step, and its verdict."""
    from tuneport.lifecycle.service import JobService

    with JobService() as workspace:
        row = workspace.job(job)
        points = workspace.metrics(row.id)
        verdict = workspace.judged(row, points) if points else None
    if output.as_json:
        data = [point.model_dump(mode="json") for point in (points[-last:] if last else points)]
        curve = None if verdict is None else verdict.model_dump(mode="json")
        output.print_json_document({"object": "list", "job": row.id, "data": data, "curve": curve})
        return
    if verdict is None:
        output.print_note(f"{row.id} is {row.status} and has logged no metrics yet")
        return
    columns = ("step", "epoch", "train loss", "valid loss", "learning rate", "tokens/s")
    table = CommandTable(tuple(Column(name, right=True) for name in columns))
    most = last if last is not None else 0 if table.whole else LAST_METRICS
    shown = points[-most:] if most else points
    for point in shown:
        table.add_row(
            str(point.step),
            *(
                output.number(value)
                for value in (
                    point.epoch,
                    point.train_loss,
                    point.valid_loss,
                    point.learning_rate,
                    point.tokens_per_second,
                )
            ),
        )
    table.print()
    if len(shown) < len(points):
        output.print_note(f"the last {len(shown):,} of {len(points):,} rows; --last 0 shows all")
    if not output.as_tsv:
        print_loss_curves(points)
        print_curve_verdict(verdict)
