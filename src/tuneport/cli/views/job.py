"""The view of a job."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tuneport.cli.views import output
from tuneport.cli.views.job_costs import budget_line, cost_line, time_line

if TYPE_CHECKING:
    from rich.text import Text

    from tuneport.lifecycle.schema.records import JobRecord


_DATA_SUFFIX = re.compile(r"\.(jsonl?|csv|tsv|parquet)(\.(gz|zst))?$")


def print_job(row: JobRecord) -> None:
    from tuneport.data.rows.reading_options import ReadingOptions
    from tuneport.lifecycle.accounting.steps import job_steps_text
    from tuneport.lifecycle.service import describe_job

    facts = describe_job(row)
    quote = facts["quote"] or {}
    resolved = facts["hyperparameters"]["resolved"] or facts["hyperparameters"]["given"]
    lines = {
        "status": row.status + (f" ({facts['raw_status']})" if facts["raw_status"] not in (None, row.status) else ""),
        "backend": f"{row.backend}, as {row.remote_id}" if row.remote_id else row.backend,
        "model": row.model if row.model == facts["requested_model"] else f"{row.model} ({facts['requested_model']})",
        "tuned model": facts["tuned_model"],
        "method": f"{facts['method']}, adapter {facts['adapter']}",
        "dataset": facts["dataset"]["path"],
        "validation": _validation(row, facts["validation"]),
        **ReadingOptions.of_spec(row.tune_spec).shown(),
        "not used": _left_out(facts["dataset"]["left_out"]),
        "settings": ", ".join(f"{name} {value}" for name, value in resolved.items() if value is not None),
        "progress": job_progress_text(row),
        "steps": job_steps_text(row),
        "quote": _quote_line(quote),
        "budget": budget_line(row),
        "cost": cost_line(row),
        **row.job_options.shown(),
        "stopped early": stopped_line(row),
        "time": time_line(row),
        "trained": None if facts["trained_tokens"] is None else f"{facts['trained_tokens']:,} tokens",
        "weights": _weights(facts["details"]),
        "created": f"{row.created_at.astimezone():%Y-%m-%d %H:%M:%S}",
        "finished": None if row.finished_at is None else f"{row.finished_at.astimezone():%Y-%m-%d %H:%M:%S}",
        "model deleted": None if row.deleted_at is None else f"{row.deleted_at.astimezone():%Y-%m-%d %H:%M:%S}",
        "error": None if row.job_error is None or row.status != "failed" else row.job_error.message,
        "note": row.note or _waiting_note(row),
        "second job": ", ".join(facts["duplicates"]),
    }
    output.print_line(row.id)
    for name, value in lines.items():
        if value not in (None, "", "-"):
            output.print_line(f"  {name:<13} {value}")
        if name == "settings":
            for each, reason in _chosen(facts["details"], resolved):
                output.print_line(f"  {'':<13} {each}, {reason}")


def stopped_line(row: JobRecord) -> str | None:
    from tuneport.lifecycle.worker.stopping import StoppedEarly

    return None if row.stopped_early is None else str(StoppedEarly.model_validate(row.stopped_early))


def _validation(row: JobRecord, path: str | None) -> str | None:
    from tuneport.lifecycle.submitting.hold_out import find_held_out_rows

    held_out = find_held_out_rows(row.tune_spec.dataset)
    return path if held_out is None else f"{held_out} are held out"


def _chosen(details: Mapping[str, Any], resolved: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the settings that the user did not give: each number in use, and the rule that chose it."""
    reasons = details.get("hyperparameter_reasons") or {}
    chosen = [
        (f"{name} {resolved[name]}", reason)
        for name, reason in reasons.items()
        if name in resolved and reason != "as given"
    ]
    return chosen + [(name.replace("_", " "), str(value)) for name, value in (details.get("trainer") or {}).items()]


def _weights(details: Mapping[str, Any]) -> str | None:
    trained, total, share = (
        details.get(f"{name}") for name in ("trainable_parameters", "total_parameters", "trainable_share")
    )
    return None if share is None else f"{trained:,} of {total:,} trained ({share:.2%})"


def _left_out(columns: list[str]) -> str | None:
    from tuneport.formatting import listed_names

    return f"{listed_names(columns)} (columns that are not trained on)" if columns else None


def _waiting_note(row: JobRecord) -> str | None:
    if row.status in ("preparing", "submitting"):
        return f"waits for a worker; `tuneport watch {row.id}` continues it"
    state = row.job_state
    return None if state is None else state.details.get("waits")


def job_progress_text(row: JobRecord) -> str:
    step, loss = job_step_and_loss(row)
    return step if loss == "-" else f"{step}, loss {loss}"


def job_step_and_loss(row: JobRecord) -> tuple[str, str]:
    """Return how far a job is and its last loss in words, a dash for what is unknown."""
    state = row.job_state
    if state is None or state.progress.step is None:
        return "-", "-"
    progress = state.progress
    of = f"/{progress.total_steps}" if progress.total_steps else ""
    return f"step {progress.step}{of}", "-" if progress.train_loss is None else f"{progress.train_loss:.3f}"


def job_data_and_model(row: JobRecord) -> str:
    """Return the training file and the model of a job, each without its folder."""
    name = str(row.tune_spec.dataset).rstrip("/").rpartition("/")[2]
    return f"{_DATA_SUFFIX.sub('', name)} -> {row.tune_spec.model.rpartition('/')[2]}"


def coloured_status(row: JobRecord) -> Text:
    from rich.text import Text

    return Text(row.status, {"succeeded": "green", "failed": "red", "cancelled": "yellow"}.get(row.status, "cyan"))


def _quote_line(quote: Mapping[str, Any]) -> str | None:
    if quote.get("expected") is None:
        return quote.get("unavailable")
    told = output.money(quote["expected"])
    if quote.get("authority") == "provider":
        told += ", the provider's own"
    if quote.get("by_table") is not None:
        told += f" (the published table came to {output.money(quote['by_table'])})"
    return told
