"""Stores the request for a job, or refuses it at once. `job_maker` does the rest in the background."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from tuneport.backends.hosted.http.loop_guard import current_gateway_hops
from tuneport.backends.routing import BackendCatalogue
from tuneport.data.dataset import Dataset
from tuneport.data.rows.reading_options import ReadingOptions
from tuneport.errors import DatasetError, TuneportError
from tuneport.lifecycle.contents.contents import ContentGoneError
from tuneport.lifecycle.planning.base_weights import refuse_absent_base_model
from tuneport.lifecycle.schema.records import FileRecord, RequestRecord
from tuneport.lifecycle.schema.request_context import current_store_request_context
from tuneport.lifecycle.store.files.uploaded import new_stored_file_id
from tuneport.lifecycle.submitting.options import list_job_option_needs
from tuneport.serve.documents.openai_words import ORGANIZATION, openai_document_method
from tuneport.serve.gateway import Gateway
from tuneport.serve.http.errors import Refusal, gateway_refusal_for_error
from tuneport.serve.jobs.specs import build_client_requested_spec, build_permitted_spec, route_client_start
from tuneport.serve.wire import CreateJob
from tuneport.serve.wire.native import SubmitJob

log = logging.getLogger(__name__)


def create_openai_job(gateway: Gateway, asked: CreateJob, *, key: str | None) -> RequestRecord:
    """Store a request for a job. What can be checked without a provider is refused here; `make_job_of_request` does
    the rest."""
    return _create(gateway, asked, asked.model_dump(mode="json", exclude_none=True), key)


_SAID_ALIKE = ("model", "training_file", "validation_file", "suffix", "seed", "metadata")
_FILES = {"dataset": "training_file", "validation": "validation_file"}
_JOB, _JOB_AND_STEP = re.compile(r"([\w-]+)"), re.compile(r"([\w-]+)(?::[0-9]{1,12})?")


def create_native_job(gateway: Gateway, asked: SubmitJob, *, key: str | None) -> RequestRecord:
    """Store a request in tuneport's format; what OpenAI's format lacks is kept under `tuneport`."""
    given = asked.model_dump(mode="json", exclude_none=True)
    own = {name: value for name, value in given.items() if name not in _SAID_ALIKE}
    for option, needed in list_job_option_needs().items():
        field = _FILES.get(needed.field, needed.field)
        if getattr(asked, option, False) and getattr(asked, field) is None:
            raise Refusal(400, f"'{option}' needs a '{field}'.", param=option, code="invalid_value")
    body = {name: value for name, value in given.items() if name in _SAID_ALIKE}
    if "method" not in own:
        row = require_client_training_file(gateway, asked.training_file, "training_file")
        own["method"] = _method_of(gateway, row, asked.reading())
    for name, told, form in (
        ("from_checkpoint", asked.from_checkpoint, _JOB_AND_STEP),
        ("reward", asked.reward, _JOB),
    ):
        found = None if told is None else form.fullmatch(told)
        if told is not None and (found is None or not gateway.store.jobs.by_ids([found[1]])):
            # Clients may name neither a path nor a function of this machine.
            raise Refusal(400, f"'{name}' names no job of this gateway: {told}.", param=name, code="invalid_value")
    shown = openai_document_method(own["method"], asked.hyperparameters, own.get("grader"))
    return _create(gateway, asked, body | {"method": shown, "tuneport": own}, key)


def _method_of(gateway: Gateway, row: FileRecord, reading: ReadingOptions) -> str:
    try:
        return Dataset(gateway.contents.fetch_content(row.sha256), **vars(reading)).method.value
    except (DatasetError, ContentGoneError) as error:
        raise gateway_refusal_for_file(error, {row.sha256: row.id}) from error


def gateway_refusal_for_file(error: TuneportError, ids: Mapping[str, str]) -> Refusal:
    """Return the refusal for a file error; its message names files by id, not by path."""
    refusal = gateway_refusal_for_error(error)
    refusal.message = name_client_files_by_id(refusal.message, ids)
    return refusal


def name_client_files_by_id(text: str, ids: Mapping[str, str]) -> str:
    for sha256, file_id in ids.items():
        text = re.sub(rf"(?:[^\s'\"]*/)?{sha256}\.jsonl", file_id, text)
    return text


def _create(
    gateway: Gateway, asked: CreateJob | SubmitJob, asked_for: dict[str, Any], key: str | None
) -> RequestRecord:
    if key is not None and (there := gateway.store.requests.find_by_idempotency_key(key)) is not None:
        return _earlier_request(there, asked_for)
    _refuse_nul(asked_for)
    training = require_client_training_file(gateway, asked.training_file, "training_file")
    validation = None
    if asked.validation_file is not None:
        validation = require_client_training_file(gateway, asked.validation_file, "validation_file")
    body = asked_for | {
        "training_sha256": training.sha256,
        "validation_sha256": None if validation is None else validation.sha256,
    }
    if current_gateway_hops():
        body["hops"] = list(current_gateway_hops())
    who = current_store_request_context()
    gateway.limits.count_job(who.token_id, who.address)
    start = route_client_start(gateway, asked.model, asked.backend if isinstance(asked, SubmitJob) else None)
    spec = build_client_requested_spec(gateway, body)
    opened = None if start.backend is None else gateway.workspace.backend(start.backend)
    spec = build_permitted_spec(gateway, body, spec, opened)
    if opened is not None and start.backend is not None:
        model = BackendCatalogue(gateway.settings).resolve_model(start.model, start.backend)
        opened.check(spec.model_copy(update={"model": model, "from_checkpoint": None}))
        refuse_absent_base_model(spec.model_copy(update={"model": model}), gateway.settings, opened.manifest)
    job_id = new_stored_file_id("ftjob-")
    with gateway.contents.lock_contents():  # keeps the contents until the request refers to them
        for file_id, param in ((asked.training_file, "training_file"), (asked.validation_file, "validation_file")):
            if file_id is not None:
                require_client_training_file(gateway, file_id, param)
        request = gateway.store.requests.add(
            job_id, body, backend=start.backend, tuned_model=build_gateway_model_name(asked, job_id), key=key
        )
    return request if request.id == job_id else _earlier_request(request, asked_for)


def _refuse_nul(value: Any, param: str = "") -> None:
    """Refuse NUL characters: PostgreSQL stores them within JSON, and then fails every query on that column."""
    if isinstance(value, str) and "\0" in value:
        message = f"Invalid value for '{param}': it has a NUL character, which no store takes."
        raise Refusal(400, message, param=param, code="invalid_value")
    if isinstance(value, Mapping):
        for name, inner in value.items():
            path = f"{param}.{name}" if param else name
            _refuse_nul(name, path)
            _refuse_nul(inner, path)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _refuse_nul(inner, f"{param}[{number}]")


def _earlier_request(request: RequestRecord, asked_for: dict[str, Any]) -> RequestRecord:
    """Return the earlier request with this idempotency key. Raises Refusal if it asked for something else."""
    ours = ("training_sha256", "validation_sha256", "hops")
    if {name: value for name, value in request.body.items() if name not in ours} != asked_for:
        raise Refusal(409, f"This Idempotency-Key was sent with another request before, for {request.id}.")
    return request


def build_gateway_model_name(asked: CreateJob | SubmitJob, job_id: str) -> str:
    """Return `ft:BASE:ORGANIZATION:SUFFIX:CODE`, as OpenAI names a tuned model."""
    base = asked.model.split(":")[1] if asked.model.startswith("ft:") and asked.model.count(":") >= 2 else asked.model
    return f"ft:{base}:{ORGANIZATION}:{asked.suffix or ''}:{job_id[-8:]}"


def require_client_training_file(gateway: Gateway, file_id: str, param: str) -> FileRecord:
    row = gateway.store.uploaded.get(file_id)
    if row is None:
        raise Refusal(400, f"invalid {param}: {file_id}", param=param, code="file_not_found")
    if row.purpose != "fine-tune":
        raise Refusal(400, f"File '{file_id}' does not have purpose 'fine-tune'.", param=param)
    if not gateway.contents.has_content(row.sha256):
        raise Refusal(400, f"The content of {file_id} is gone from the gateway; upload it again.", param=param)
    return row
