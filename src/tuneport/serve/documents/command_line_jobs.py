"""Synthetic requests for jobs that were created on the command line: what a client would have sent for the same job.
These jobs belong to the default project, and are listed, watched and cancelled like all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tuneport.lifecycle.job_view import JobView
from tuneport.lifecycle.schema.records import JobRecord
from tuneport.serve.documents.openai_words import openai_document_method
from tuneport.serve.wire import MethodTold

if TYPE_CHECKING:
    from tuneport.lifecycle.store.store import Store


def list_gateway_file_ids(store: Store, views: Sequence[JobView]) -> dict[str, str]:
    """Return the ids of the gateway's files that these jobs were trained on, by content hash."""
    records = [view.record for view in views if view.request is None and view.record is not None]
    data = [file for row in records for file in (row.prepared["training"], row.prepared["validation"]) if file]
    return store.uploaded.find_ids_by_content({file["sha256"] for file in data}) if data else {}


def build_client_request(row: JobRecord, files: Mapping[str, str]) -> dict[str, Any]:
    """Return what a client would have sent for the job. `files` has ids by content hash. A dataset that is not one
    of the gateway's files is given by its file name, since clients need some text; it is not a file id."""
    spec = row.tune_spec

    def file(name: str, path: Path | None) -> str | None:
        data = row.prepared[name]
        return None if path is None or data is None else files.get(data["sha256"], path.name)

    method = openai_document_method(spec.method.value, spec.hyperparameters.given(), spec.grader)
    try:
        MethodTold.model_validate(method)
    except ValidationError:  # a grader that OpenAI has no word for
        method = openai_document_method("sft", spec.hyperparameters.given(), None)
    return {
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
