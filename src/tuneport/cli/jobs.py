"""submit, jobs, show, watch, logs, metrics, cancel, chat: the life of a job, the same for every backend."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuneport.cli import output
from tuneport.errors import ConfigError, TuneportError

if TYPE_CHECKING:
    from tuneport.jobs.service import Workspace
    from tuneport.jobs.tables import JobRow

Json = output.Json
JobId = Annotated[str, typer.Argument(metavar="JOB", help="A job's id, or the beginning of it.", show_default=False)]


def register(app: typer.Typer) -> None:
    for command in (submit, jobs, show, watch, logs, metrics, cancel, chat):
        app.command()(command)


def submit(
    dataset: Annotated[Path, typer.Argument(metavar="DATA", help="The training file.", show_default=False)],
    model: Annotated[str, typer.Option("--model", "-m", help="An alias, a weights name or a provider's model id.")],
    backend: Annotated[str | None, typer.Option("--backend", "-b", help="Default: TUNEPORT_BACKEND, ...")] = None,
    validation: Annotated[Path | None, typer.Option(help="A validation file.")] = None,
    method: Annotated[str | None, typer.Option(help="sft, dpo or rft. Default: what the data is made for.")] = None,
    grader: Annotated[Path | None, typer.Option(help="rft: a JSON file with the grader, in OpenAI's shape.")] = None,
    adapter: Annotated[str, typer.Option(help="auto, lora, qlora or full.")] = "auto",
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A hyperparameter, e.g. epochs=3.")
    ] = None,
    suffix: Annotated[str | None, typer.Option(help="Goes into the tuned model's name.")] = None,
    seed: Annotated[int | None, typer.Option(help="For the order of the data and new weights.")] = None,
    budget: Annotated[float | None, typer.Option(help="US dollars; refuse a job that may cost more.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="NAME=VALUE", help="Passed on to the backend as it is.")
    ] = None,
    allow_personal_data: Annotated[bool, typer.Option(help="Upload personal data to a third party.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job to its end.")] = False,
    json_: Json = False,
) -> None:
    """Start a fine-tuning job on any backend: [bold]tuneport submit train.jsonl --model support-bot[/bold]"""
    from tuneport.data.prepare import method_of
    from tuneport.jobs.service import Workspace
    from tuneport.types import Hyperparameters, TuneSpec, validated

    values: dict[str, Any] = {
        "model": model,
        "dataset": dataset,
        "validation": validation,
        "method": method or ("rft" if grader else method_of(dataset)),
        "grader": None if grader is None else _grader(grader),
        "adapter": adapter,
        "hyperparameters": validated(Hyperparameters, _pairs(set_, "--set")),
        "suffix": suffix,
        "seed": seed,
        "budget": budget,
        "provider_options": _pairs(option, "--option"),
    }
    with Workspace() as workspace:
        spec = validated(TuneSpec, values)
        row = workspace.submit(spec, backend=backend, allow_personal_data=allow_personal_data)
        output.note(f"{row.id}: {row.model} on {row.backend}")
        _follow(workspace, row, to_the_end=wait)
        _finish(workspace.job(row.id))


def jobs(
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many, newest first.")] = 20,
    json_: Json = False,
) -> None:
    """List the jobs, with what their backends say of them now."""
    from tuneport.jobs.service import Workspace, describe

    with Workspace() as workspace:
        rows, trouble = workspace.refresh_all(limit=limit)
    for name, message in trouble.items():
        output.note(f"{name}: not asked, showing what was last known: {message}")
    if output.as_json:
        output.document({"object": "list", "data": [describe(row) for row in rows], "trouble": trouble})
        return
    if not rows:
        output.note("no jobs yet; `tuneport submit DATA --model M` starts one, `tuneport demo` shows a whole journey")
        return
    table = output.table("job", "status", "backend", "model", "progress", "created", cut=("model",))
    for row in rows:
        table.add_row(
            row.id, _coloured(row), row.backend, row.tune_spec.model, _progress(row), output.ago(row.created_at)
        )
    output.console().print(table)


def show(job: JobId, json_: Json = False) -> None:
    """Show one job: what was asked for, where it stands, what it made."""
    from tuneport.jobs.service import Workspace, describe

    with Workspace() as workspace:
        row, trouble = _refreshed(workspace, job)
    if output.as_json:
        output.document(describe(row) | {"trouble": trouble})
        return
    _print_job(row)
    if trouble:
        output.note(f"{row.backend}: not asked, showing what was last known: {trouble}")


def watch(job: JobId, json_: Json = False) -> None:
    """Follow a job to its end; go on with one whose command was interrupted."""
    from tuneport.jobs.service import Workspace

    with Workspace() as workspace:
        row = workspace.job(job)
        _follow(workspace, row, to_the_end=True)
        _finish(workspace.job(row.id))


def logs(
    job: JobId,
    after: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Only events after this position.")] = 0,
    json_: Json = False,
) -> None:
    """Print a job's events, oldest first."""
    from tuneport.jobs.service import Workspace

    with Workspace() as workspace:
        row, trouble = _refreshed(workspace, job)
        events = workspace.events(row.id, after=after)
    if trouble:
        output.note(f"{row.backend}: not asked, showing what was last known: {trouble}")
    if output.as_json:
        rows = [{"position": position} | event.model_dump(mode="json") for position, event in events]
        output.document({"object": "list", "job": row.id, "data": rows})
        return
    for _, event in events:
        level = "" if event.level == "info" else f"{event.level}: "
        print(f"{event.created_at.astimezone():%Y-%m-%d %H:%M:%S}  {level}{event.message}")


def metrics(job: JobId, json_: Json = False) -> None:
    """Print the loss curve: one row a logged step."""
    from tuneport.jobs.service import Workspace

    with Workspace() as workspace:
        row = workspace.job(job)
        points = workspace.metrics(row.id)
    if output.as_json:
        data = [point.model_dump(mode="json") for point in points]
        output.document({"object": "list", "job": row.id, "data": data})
        return
    if not points:
        output.note(f"{row.id} is {row.status} and has logged no metrics yet")
        return
    columns = ("step", "epoch", "train loss", "valid loss", "learning rate", "tokens/s")
    table = output.table(*columns, right=columns)
    for point in points:
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
    output.console().print(table)


def cancel(job: JobId, json_: Json = False) -> None:
    """Stop a job. One that has ended is left as it is."""
    from tuneport.jobs.service import Workspace, describe

    with Workspace() as workspace:
        row = workspace.cancel(job)
    if output.as_json:
        output.document(describe(row))
    elif row.job_status.terminal:
        print(f"{row.id} is {row.status}")
    else:
        print(f"{row.id} was asked to stop and is {row.status}; `tuneport watch {row.id}` follows it to the end")


def chat(
    model: Annotated[str, typer.Argument(metavar="JOB|MODEL", help="A job, a tuned model or any model.")],
    message: Annotated[
        str | None, typer.Argument(help="What to say. Left out: read from standard input, or ask on a terminal.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="A system prompt.")] = None,
    backend: Annotated[str | None, typer.Option("--backend", "-b", help="For a model that is no job's.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="At most so many tokens in the answer.")] = 512,
    temperature: Annotated[float, typer.Option(min=0, help="0 always gives the likeliest answer.")] = 0.0,
    json_: Json = False,
) -> None:
    """Talk to a tuned model, or to a base model."""
    from tuneport.jobs.service import Workspace
    from tuneport.types import Completion

    history: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    with Workspace() as workspace:
        name, model_id = workspace.locate(model, backend=backend)
        while True:
            said = message if message is not None else _next_line()
            if not said:
                if output.as_json or message is not None or not sys.stdin.isatty():
                    raise ConfigError("there is nothing to say; give a MESSAGE, or write one to standard input")
                return
            history.append({"role": "user", "content": said})
            options = {"max_tokens": max_tokens, "temperature": temperature}
            answer = workspace.backend(name).complete(model_id, history, stream=not output.as_json, **options)
            if isinstance(answer, Completion):
                output.document(answer.model_dump(mode="json") | {"backend": name})
                text = answer.text
            else:
                text = ""
                for piece in answer:
                    text += piece
                    sys.stdout.write(piece)
                    sys.stdout.flush()
                print()
            if output.as_json or message is not None or not sys.stdin.isatty():
                return
            history.append({"role": "assistant", "content": text})


def _next_line() -> str:
    if not sys.stdin.isatty():
        try:
            return sys.stdin.read().strip()
        except UnicodeDecodeError as error:
            raise ConfigError(f"standard input is not UTF-8 ({error.reason}); convert it") from error
    try:
        return input("> ").strip()
    except EOFError:
        return ""


# --- following a job ------------------------------------------------------------------------------------------------


def _follow(workspace: Workspace, row: JobRow, *, to_the_end: bool) -> None:
    """Drive the job and show how it goes: a live bar on a terminal, a line for each change elsewhere."""
    from tuneport.cli.progress import JobProgress

    kept = f"stopped watching; {row.id} is kept: `tuneport watch {row.id}` goes on with it"
    output.say_on_interrupt(kept, job=row.id)
    with JobProgress(row) as shown:
        workspace.drive(
            row.id,
            until=lambda current: not to_the_end and current.remote_id is not None,
            on_change=shown.update,
            # Without --wait a backend that is down is worth knowing now; the row stays, and `watch` goes on with it.
            patience=900.0 if to_the_end else 0.0,
        )


def _finish(row: JobRow) -> None:
    """Print the outcome, and leave with the exit code that belongs to it: 0 only for a job that was not stopped."""
    from tuneport.jobs.service import describe

    if output.as_json:
        output.document(describe(row))
    error = row.job_error
    if row.status == "failed":
        if not output.as_json:
            output.note(f"error: {row.id} failed: {error.message if error else 'the backend gives no reason'}")
        raise typer.Exit(2 if error is not None and error.fault == "user" else 3)
    if row.status == "cancelled":
        output.note(f"{row.id} was cancelled; submit it again to start anew")
        raise typer.Exit(2)
    if output.as_json:
        return
    state = row.job_state
    if row.status == "succeeded" and state is not None:
        print(f"{row.id} succeeded: {state.tuned_model}\ntry it: tuneport chat {row.id}")
    else:
        follows = "" if row.job_status.terminal else f"; `tuneport watch {row.id}` follows it"
        print(f"{row.id} is {row.status}{follows}")


def _refreshed(workspace: Workspace, job: str) -> tuple[JobRow, str | None]:
    """The row after one look at the backend, or as last known with the reason why it could not be asked."""
    row = workspace.job(job)
    try:
        return workspace.refresh(row.id), None
    except TuneportError as error:
        return workspace.job(row.id), str(error)


def _print_job(row: JobRow) -> None:
    from tuneport.jobs.service import describe

    facts = describe(row)
    quote = facts["quote"] or {}
    resolved = facts["hyperparameters"]["resolved"] or facts["hyperparameters"]["given"]
    lines = {
        "status": row.status + (f" ({facts['raw_status']})" if facts["raw_status"] not in (None, row.status) else ""),
        "backend": f"{row.backend}, as {row.remote_id}" if row.remote_id else row.backend,
        "model": row.model if row.model == facts["requested_model"] else f"{row.model} ({facts['requested_model']})",
        "tuned model": facts["tuned_model"],
        "method": f"{facts['method']}, adapter {facts['adapter']}",
        "dataset": facts["dataset"]["path"],
        "settings": ", ".join(f"{name} {value}" for name, value in resolved.items() if value is not None),
        "progress": _progress(row),
        "quote": output.money(quote["expected"]) if quote.get("expected") is not None else quote.get("unavailable"),
        "cost": None if facts["cost"] is None else output.money(facts["cost"]),
        "trained": None if facts["trained_tokens"] is None else f"{facts['trained_tokens']:,} tokens",
        "created": f"{row.created_at.astimezone():%Y-%m-%d %H:%M:%S}",
        "finished": None if row.finished_at is None else f"{row.finished_at.astimezone():%Y-%m-%d %H:%M:%S}",
        "error": None if row.job_error is None or row.status != "failed" else row.job_error.message,
        "note": row.note or _waiting_note(row),
    }
    print(row.id)
    for name, value in lines.items():
        if value not in (None, "", "-"):
            print(f"  {name:<12} {value}")


def _waiting_note(row: JobRow) -> str | None:
    if row.status in ("preparing", "submitting"):
        return f"waits for a worker: `tuneport watch {row.id}` goes on with it"
    return None


def _progress(row: JobRow) -> str:
    state = row.job_state
    if state is None or state.progress.step is None:
        return "-"
    progress = state.progress
    of = f"/{progress.total_steps}" if progress.total_steps else ""
    loss = f", loss {progress.train_loss:.3f}" if progress.train_loss is not None else ""
    return f"step {progress.step}{of}{loss}"


def _coloured(row: JobRow) -> str:
    colour = {"succeeded": "green", "failed": "red", "cancelled": "yellow"}.get(row.status, "cyan")
    return f"[{colour}]{row.status}[/{colour}]"


# --- reading options ------------------------------------------------------------------------------------------------


def _grader(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--grader {path} cannot be read as JSON: {error}; correct the file") from error


def _pairs(given: list[str] | None, option: str) -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    for item in given or []:
        name, separator, value = item.partition("=")
        if not separator or not name:
            raise ConfigError(f"{option} {item!r} is not NAME=VALUE; write for example {option} epochs=3")
        try:
            pairs[name] = json.loads(value)
        except ValueError:
            pairs[name] = value
    return pairs
