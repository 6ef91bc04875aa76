"""Jobs that no client asked for, because they were made on the command line: what a client would have asked for to get
the same. They are the default project's, and are listed, watched, cancelled and asked like all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tuneport.jobs.tables import JobRequestRow, JobRow
from tuneport.serve.intake import shown_method
from tuneport.serve.wire import MethodTold

if TYPE_CHECKING:
    from tuneport.jobs.store import Store


def requests_for(store: Store, rows: Sequence[JobRow]) -> dict[str, JobRequestRow]:
    """By the jobs' ids; the store has none of them, and is given none."""
    if not rows:
        return {}
    prepared = [data for row in rows for data in (row.prepared["training"], row.prepared["validation"]) if data]
    files = store.files_of_contents({data["sha256"] for data in prepared})
    return {row.id: request_for(row, files) for row in rows}


def request_for(row: JobRow, files: Mapping[str, str] | None = None) -> JobRequestRow:
    """`files`: ids by content. A dataset that is no file of the gateway's is named as it was called where it lay:
    clients need some text, and this one is no file's id, as they are told if they ask for it."""
    spec = row.tune_spec

    def file(name: str, path: Path | None) -> str | None:
        data = row.prepared[name]
        return None if path is None or data is None else (files or {}).get(data["sha256"], path.name)

    method = shown_method(spec.method.value, spec.hyperparameters.given(), spec.grader)
    try:
        MethodTold.model_validate(method)
    except ValidationError:  # a grader that OpenAI has no word for
        method = shown_method("sft", spec.hyperparameters.given(), None)
    body: dict[str, Any] = {
        "model": Path(spec.model).name if spec.model.startswith(("/", "~", ".")) else spec.model,
        "training_file": file("training", spec.dataset),
        "validation_file": file("validation", spec.validation),
        "suffix": spec.suffix,
        "seed": spec.seed,
        "metadata": spec.metadata or None,
        "method": method,
        "integrations": []
        if spec.wandb is None
        else [{"type": "wandb", "wandb": spec.wandb.model_dump(mode="json", exclude_none=True)}],
    }
    return JobRequestRow(
        id=row.id,
        project=row.project,
        body=body,
        backend=row.backend,
        tuned_model=row.tuned_model or "",
        state="taken",
        created_at=row.created_at,
        results_at=row.finished_at,  # nobody makes a file of its metrics: `metrics` and `/tuneport/v1` have them
    )
