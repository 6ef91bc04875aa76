"""The command migrate: list an account with its dates, copy it, move its jobs to another backend, and compare."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuneport.cli.views import output
from tuneport.errors import ConfigError, TuneportError

if TYPE_CHECKING:
    from tuneport.lifecycle.schema.records import JobRecord
    from tuneport.workflows.migrate import Migration
    from tuneport.workflows.migration.plan import MigrationMovePlan
    from tuneport.workflows.migration.saving import MigrationSaveReport

NOT_ALL = 3
"""The exit code if the provider is the reason that something is missing or a job did not succeed."""


def migrate_command(
    from_: Annotated[
        str | None, typer.Option("--from", "-f", metavar="BACKEND", help="The account. Default: the configured one.")
    ] = None,
    save: Annotated[Path | None, typer.Option(metavar="DIR", help="Download files, jobs and results to DIR.")] = None,
    saved: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Work from an earlier --save; the account is not asked.")
    ] = None,
    to: Annotated[str | None, typer.Option(metavar="BACKEND", help="Plan the same jobs there, and start them.")] = None,
    job: Annotated[
        list[str] | None, typer.Option("--job", metavar="ID", help="Only this job; may be repeated. Default: all.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", metavar="[OLD=]NEW", help="The replacement for the (old) model there."),
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option("--data", metavar="ID=FILE", help="Your copy of a job's lost training file.")
    ] = None,
    allow_loss: Annotated[
        bool, typer.Option("--allow-loss", help="Migrate anyway: drop what the new format cannot hold.")
    ] = False,
    allow_personal_data: Annotated[
        bool, typer.Option("--allow-personal-data", help="Upload personal data to a third party.")
    ] = False,
    budget: Annotated[
        float | None, typer.Option(min=0, help="US dollars for all jobs together; refuse what may cost more.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Start what is planned, without asking.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also move jobs whose earlier move failed.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow the jobs to their ends, then compare the models.")
    ] = False,
    rows: Annotated[int, typer.Option(min=1, help="Held-out rows to compare on, at most.")] = 50,
    allow_large: output.AllowLarge = False,
    json_: output.Json = False,
) -> None:
    """Leave a provider: [bold]tuneport migrate --from openai --to together[/bold]

    Without --save or --to, it lists jobs and files, how long they stay available, and which can still be downloaded.

    Nothing starts before you say yes. Run the same command again to go on: no job starts twice.
    """
    from tuneport.workflows.migrate import Migration
    from tuneport.workflows.migration.plan import parse_migration_data_options

    if save is not None and saved is not None:
        raise ConfigError("--save downloads and --saved reads what was downloaded; give one of them")
    for_moving = {
        "--model": model,
        "--data": data,
        "--allow-loss": allow_loss,
        "--allow-personal-data": allow_personal_data,
        "--budget": budget is not None,
        "--yes": yes,
        "--again": again,
        "--wait": wait,
    }
    if to is None and (given := [option for option, value in for_moving.items() if value]):
        raise ConfigError(f"{given[0]} needs --to BACKEND")
    with Migration(from_, saved=saved) as migration:
        if to is not None:
            copies = parse_migration_data_options(data or (), "--data")
            code = _move(
                migration,
                to,
                save,
                job or [],
                model or [],
                copies,
                allow_loss,
                allow_personal_data,
                budget,
                yes,
                again,
                wait,
                rows,
            )
        elif save is not None:
            report = _save(migration, save, job or [])
            if output.as_json:
                output.print_json_document(report.as_dict())
            code = NOT_ALL if report.missing else 0
        elif saved is not None:
            code = _verify(migration)
        else:
            code = _inventory(migration)
    if code:
        raise typer.Exit(code)


def _inventory(migration: Migration) -> int:
    from tuneport.cli.views.migration import print_inventory

    inventory = migration.inventory()
    if not output.print_if_json(inventory.as_dict()):
        print_inventory(inventory, output.console())
    return 0


def _verify(migration: Migration) -> int:
    """Check a saved folder: read each file and compare its hash."""
    assert migration.folder is not None
    folder = migration.folder
    records, files = list(folder.records()), list(folder.files())
    damaged = [file for file in files if folder.has_file(file.id) is None]
    if output.as_json:
        output.print_json_document(
            {
                "object": "tuneport.saved",
                "folder": str(folder.path),
                "backend": folder.backend,
                "jobs": [record.model_dump(mode="json") for record in records],
                "files": [file.model_dump(mode="json") for file in files],
                "damaged": [file.id for file in damaged],
            }
        )
    else:
        from tuneport.cli.views.migration import print_saved_folder

        print_saved_folder(folder, records, files, damaged, output.console())
    return 2 if damaged else 0


# --- save -----------------------------------------------------------------------------------------------------------


def _save(migration: Migration, folder: Path | None, jobs: list[str], *, shortly: bool = False) -> MigrationSaveReport:
    from tuneport.cli.views.migration import SaveProgressView, print_save_report

    output.interrupted = "stopped; what was saved stays, and the same command goes on"
    with SaveProgressView() as shown:
        report = migration.save(folder, jobs=jobs, on_progress=shown.update)
    if not output.as_json:
        print_save_report(report, output.console(), shortly=shortly)
    return report


# --- move -----------------------------------------------------------------------------------------------------------


def _move(
    migration: Migration,
    to: str,
    save: Path | None,
    jobs: list[str],
    models: list[str],
    data: dict[str, Path],
    allow_loss: bool,
    allow_personal_data: bool,
    budget: float | None,
    yes: bool,
    again: bool,
    wait: bool,
    rows: int,
) -> int:
    from tuneport.cli.views.migration import print_migration_total, print_move_plan
    from tuneport.workflows.migration.plan import limit_migration_budget

    migration.workspace.backend(to)  # an unknown name is refused before any download
    report = _save(migration, save, jobs, shortly=True) if migration.from_account else None
    console = output.console()
    plans = migration.plan(
        to,
        jobs=jobs,
        models=models,
        data=data,
        allow_loss=allow_loss,
        allow_personal_data=allow_personal_data,
        again=again,
        on_plan=(lambda plan: None) if output.as_json else (lambda plan: print_move_plan(plan, console)),
    )
    ready = [plan for plan in plans if plan.state == "ready"]
    begun = [plan for plan in plans if plan.state == "started"]
    if not output.as_json:
        print_migration_total(plans, to, console)
    started: list[JobRecord] = []
    comparisons: list[dict[str, Any]] = []
    if budget is not None and ready:
        limit_migration_budget(plans, budget)
    agreed = ready if ready and _confirmed(ready, to, yes) else []
    if agreed or (begun and (yes or wait)):
        started, comparisons = _run(migration, [*begun, *agreed], allow_personal_data, wait, rows)
    if len(agreed) < len(ready):
        output.print_note("nothing new was started; --yes starts it")
    if output.as_json:
        from tuneport.lifecycle.service import describe_job

        output.print_json_document(
            {
                "object": "tuneport.migration",
                "from": migration.source,
                "to": to,
                "folder": str(migration.folder.path if migration.folder else ""),
                "saved": None if report is None else report.as_dict(),
                "plans": [plan.as_dict() for plan in plans],
                "jobs": [describe_job(row) for row in started],
                "comparisons": comparisons,
            }
        )
    return _exit_code(plans, started)


def _confirmed(ready: list[MigrationMovePlan], to: str, yes: bool) -> bool:
    if yes:
        return True
    if output.as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    number = "this job" if len(ready) == 1 else f"these {len(ready)} jobs"
    return output.ask_yes_or_no(f"Start {number} on {to}?", otherwise="nothing new was started")


def _run(
    migration: Migration, going: list[MigrationMovePlan], allow_personal_data: bool, wait: bool, rows: int
) -> tuple[list[JobRecord], list[dict[str, Any]]]:
    """Start, or continue, each job; with `wait`, follow it to the end. A failure of one does not stop the others."""
    from tuneport.cli.commands.submit import print_binding_terms
    from tuneport.cli.views.live.progress import JobProgress
    from tuneport.cli.views.migration import print_comparisons, print_started_moves

    output.interrupted = "stopped; the same command goes on, and starts no job twice"
    trouble: list[TuneportError] = []

    def tell(plan: MigrationMovePlan, error: TuneportError) -> None:
        trouble.append(error)
        output.print_note(f"error: {plan.job.id}: {error}")

    migration.start(
        going,
        allow_personal_data=allow_personal_data,
        on_row=lambda plan, row: output.print_note(f"{plan.job.id} -> {row.id} on {row.backend}"),
        on_change=lambda row: output.raise_if_interrupted(),
        on_trouble=tell,
        show_terms=print_binding_terms,
    )
    moved = [plan for plan in going if plan.row is not None]
    if wait:
        for plan in moved:
            assert plan.row is not None
            with JobProgress() as shown:
                try:
                    migration.finish([plan], on_change=shown.update)
                except TuneportError as error:
                    tell(plan, error)
    started = [plan.row for plan in moved if plan.row is not None]
    if not output.as_json:
        print_started_moves(moved, started, output.console())
    comparisons = list(migration.compare(moved, most=rows)) if wait else []
    if not output.as_json:
        print_comparisons(comparisons, output.console())
    if trouble and all(row.remote_id is None for row in started):
        raise trouble[0]
    return started, [comparison.as_dict() for comparison in comparisons]


def _exit_code(plans: list[MigrationMovePlan], started: list[JobRecord]) -> int:
    ended = [row for row in started if row.status in ("failed", "cancelled")]
    if ended:
        faults = [row.job_error.fault if row.job_error else "provider" for row in ended]
        return 2 if all(fault == "user" for fault in faults) else NOT_ALL
    if any(row.remote_id is None and row.waits_since is None for row in started):
        return NOT_ALL
    return 2 if any(plan.state == "stopped" for plan in plans) else 0
