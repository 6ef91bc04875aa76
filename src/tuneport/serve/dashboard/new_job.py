"""The page for a new job: the dataset, its problems, the cost at each backend, and only then the button that spends."""

from __future__ import annotations

import secrets
from contextlib import nullcontext
from datetime import date
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from markupsafe import Markup, escape
from starlette.concurrency import run_in_threadpool

from tuneport.backends import training_backend_manifests
from tuneport.client_rules import ClientsMaySet, client_rule_of_field
from tuneport.data.checks.report import CheckReport
from tuneport.estimate.cost import Traffic
from tuneport.formatting import money
from tuneport.lifecycle.planning.planning import plan_job_on_backends, split_job_backend_name
from tuneport.lifecycle.schema.records import FileRecord
from tuneport.lifecycle.submitting.flags import parse_job_option_pairs, parse_job_option_texts
from tuneport.lifecycle.submitting.options import ClientOptions, list_job_option_needs
from tuneport.serve.dashboard.live import DashboardReaderMark, LivePages, LivePageView
from tuneport.serve.dashboard.offers import list_dashboard_offers
from tuneport.serve.dashboard.pages import DashboardPages, dashboard_page_routes, redirect_after_form
from tuneport.serve.gateway import Gateway
from tuneport.serve.http.access import CSRF_FIELD, check_csrf
from tuneport.serve.http.errors import Refusal, gateway_not_found_refusal, gateway_refusal_for_validation
from tuneport.serve.http.multipart import read_multipart_form
from tuneport.serve.jobs.create import create_native_job
from tuneport.serve.jobs.specs import build_client_requested_spec
from tuneport.serve.live.streams import WatchedFeed
from tuneport.serve.naming import refuse_client_model_path
from tuneport.serve.openai.files import MAX_FILE_BYTES, check_client_upload_name, store_client_file
from tuneport.serve.task_cache import GatewayTaskCache, GatewayTaskOutcome
from tuneport.serve.wire.native import SubmitJob
from tuneport.types import Adapter, Hyperparameters, Method
from tuneport.workflows.check import check
from tuneport.workflows.checking.page import check_page_parts
from tuneport.workflows.compare import Comparison, compare
from tuneport.workflows.comparison.page import break_even_charts
from tuneport.workflows.doctor import list_backend_states

LOOK_SECONDS = 0.5
WAIT_SECONDS = 1.5
"""How long a page waits for a result that may be ready soon. Checking 200,000 rows takes longer."""
_HYPERPARAMETERS = {name: "n_epochs" if name == "epochs" else name for name in Hyperparameters.model_fields}
"""Form fields by hyperparameter: the form has always called epochs `n_epochs`."""
_PLAIN = ("suffix", "adapter", "from_checkpoint", "wandb")


def router(gateway: Gateway, pages: DashboardPages, live: LivePages) -> APIRouter:
    routes, tasks = dashboard_page_routes(pages), GatewayTaskCache()

    @routes.get("/new")
    def new(request: Request) -> Response:
        files, _ = gateway.store.uploaded.page(limit=10, after=None, purpose="fine-tune", descending=True)
        return pages.render_page("new.html", request, files=files, most=MAX_FILE_BYTES)

    @routes.post("/new")
    async def upload(request: Request) -> Response:
        file_id = await _upload(gateway, request)
        return redirect_after_form(f"/new/{file_id}")

    @routes.post("/new/{file_id}/validation")
    async def upload_validation(file_id: str, request: Request) -> Response:
        training = await run_in_threadpool(_file, gateway, file_id)
        return redirect_after_form(f"/new/{training.id}?validation={await _upload(gateway, request)}")

    @routes.get("/new/{file_id}")
    def plan(
        file_id: str,
        request: Request,
        validation: Annotated[str | None, Query(max_length=40)] = None,
        model: Annotated[str, Query(max_length=200)] = "",
        epochs: Annotated[str, Query(max_length=4)] = "",
        requests: Annotated[str, Query(max_length=12)] = "25000",
        tokens_in: Annotated[str, Query(max_length=9)] = "400",
        tokens_out: Annotated[str, Query(max_length=9)] = "80",
    ) -> Response:
        training = _file(gateway, file_id)
        if model.strip():
            refuse_client_model_path(model.strip(), gateway.settings)
        held_out = None if not validation else _file(gateway, validation)
        asked = {
            "model": model.strip(),
            "epochs": _whole(epochs, "epochs") if epochs.strip() else None,
            "requests": _whole(requests, "requests"),
            "tokens_in": _whole(tokens_in, "tokens in"),
            "tokens_out": _whole(tokens_out, "tokens out"),
        }
        once = secrets.token_hex(16)

        def look(wait: float = WAIT_SECONDS) -> dict[str, Any]:
            return _plan(gateway, tasks, training, held_out, asked, wait) | {"once": once}

        def draw(_: DashboardReaderMark) -> LivePageView:
            context = look(wait=0.0)
            return LivePageView(pages.render_live_parts("plan.html", request, **context), moving=context["moving"])

        if live.is_stream_request(request):  # tasks send no notice when they are done: poll them
            return live.stream(request, draw, nullcontext(WatchedFeed()), seconds=LOOK_SECONDS)
        context = look()
        return pages.render_page(
            "plan.html", request, live=DashboardReaderMark() if context["moving"] else None, **context
        )

    @routes.post("/new/{file_id}")
    async def submit(file_id: str, request: Request) -> Response:
        fields = await pages.read_page_form(request)
        job_id = await run_in_threadpool(_submit, gateway, file_id, fields)
        return redirect_after_form(f"/jobs/{job_id}")

    return routes


def _plan(
    gateway: Gateway,
    tasks: GatewayTaskCache,
    training: FileRecord,
    held_out: FileRecord | None,
    asked: dict[str, Any],
    wait: float,
) -> dict[str, Any]:
    report = _report(gateway, tasks, training, held_out, wait)
    costs = _costs(gateway, tasks, training, held_out, asked, wait)
    names = {str(gateway.contents.path(file.sha256)): file.filename for file in (training, held_out) if file}
    found, others = None, None
    if costs.result is not None:
        states = list_backend_states(gateway.settings, date.today())
        third = {each.name: each.title for each in training_backend_manifests(gateway.settings) if each.third_party}
        found, others = list_dashboard_offers(costs.result, states, third)
    return {
        "training": training,
        "most": MAX_FILE_BYTES,
        "held_out": held_out,
        "asked": asked,
        "report": report,
        "by_name": partial(_by_name, names),
        "pieces": None if report.result is None else check_page_parts(report.result),
        "costs": costs,
        "offers": found,
        "others": others,
        "charts": None if costs.result is None else break_even_charts(costs.result.break_even),
        "method": None if report.result is None or report.result.method.writes_answers else report.result.method.value,
        "adapters": [each.value for each in Adapter],
        "switches": [
            (name, field, list_job_option_needs().get(name)) for name, field in ClientOptions.model_fields.items()
        ],
        "numbers": [
            (name, field.description or "")
            for name, field in Hyperparameters.model_fields.items()
            if name not in ("epochs", "batch_size", "learning_rate_multiplier")
        ],
        "chosen": next((offer.value for offer in [*(found or ()), *(others or ())] if offer.can_be_chosen), None),
        "moving": report.under_way or costs.under_way,
    }


async def _upload(gateway: Gateway, request: Request) -> str:
    form = await read_multipart_form(request, gateway.contents, file_field="file", max_bytes=MAX_FILE_BYTES)
    try:
        check_csrf(request, form.fields.get(CSRF_FIELD))
        if form.file is None or (form.file.bytes == 0 and form.filename == "file"):
            raise Refusal(400, "No file was chosen: go back and choose one.", param="file")
        check_client_upload_name(form.filename, form.file.bytes)
        return (await run_in_threadpool(store_client_file, gateway, form.file, form.filename, None)).id
    finally:
        form.close()


def _file(gateway: Gateway, file_id: str) -> FileRecord:
    row = gateway.store.uploaded.get(file_id)
    if row is None or row.purpose != "fine-tune":
        raise gateway_not_found_refusal(f"There is no dataset {file_id}.", "file_id")
    if not gateway.contents.has_content(row.sha256):
        raise Refusal(404, f"The content of {file_id} is gone from the gateway; upload it again.")
    return row


def _report(
    gateway: Gateway, tasks: GatewayTaskCache, training: FileRecord, held_out: FileRecord | None, wait: float
) -> GatewayTaskOutcome[CheckReport]:
    fetch = gateway.contents.fetch_content
    task = tasks.start(
        ("report", training.sha256, held_out and held_out.sha256),
        lambda: check(
            fetch(training.sha256),
            validation=None if held_out is None else fetch(held_out.sha256),
            settings=gateway.settings,
        ),
        again=False,
    )
    return task.wait_for_outcome(within=wait)


def _costs(
    gateway: Gateway,
    tasks: GatewayTaskCache,
    training: FileRecord,
    held_out: FileRecord | None,
    asked: dict[str, Any],
    wait: float,
) -> GatewayTaskOutcome[Comparison]:
    fetch = gateway.contents.fetch_content

    def work() -> Comparison:
        return compare(
            fetch(training.sha256),
            model=asked["model"] or (),
            validation=None if held_out is None else fetch(held_out.sha256),
            epochs=asked["epochs"],
            traffic=Traffic.of_requests(asked["requests"], asked["tokens_in"], asked["tokens_out"]),
            settings=gateway.settings,
        )

    key = ("costs", training.sha256, held_out and held_out.sha256, date.today(), *asked.values())
    return tasks.start(key, work, again=False).wait_for_outcome(within=wait)


def _submit(gateway: Gateway, file_id: str, fields: dict[str, str]) -> str:
    """Submit the job as an API client would: the request is accepted at once, everything else happens in the
    background."""
    from pydantic import ValidationError

    def given(name: str) -> str | None:
        return fields.get(name, "").strip() or None

    if given("choice") is None:
        raise Refusal(400, "No backend was chosen: go back and choose one.", param="choice")
    method = given("method") or "supervised"
    budget = given("budget")
    body = {
        "model": given("choice"),
        "training_file": file_id,
        "validation_file": given("validation"),
        "method": Method.of_openai(method) or method,
        "seed": _number(given("seed")),
        "budget": None if budget is None else _dollars(budget),
        "provider_defaults": given("provider_defaults") == "yes",
        "hyperparameters": {
            name: _hyperparameter(name, field, value)
            for name, field in _HYPERPARAMETERS.items()
            if (value := given(field)) is not None
        },
        "metadata": parse_job_option_texts(_lines(given("metadata")), "metadata") or None,
        "provider_options": parse_job_option_pairs(_lines(given("provider_options")), "provider options"),
    }
    body |= {name: value for name in _PLAIN if (value := given(name)) is not None}
    body |= {name: value == "yes" for name in ClientOptions.model_fields if (value := given(name)) is not None}
    try:
        asked = SubmitJob.model_validate(body)
    except ValidationError as error:
        raise gateway_refusal_for_validation([dict(row) for row in error.errors()], body) from error
    agreed = given(f"agreed:{asked.model}")
    if agreed is not None:
        asked = _within_agreed_price(gateway, asked, _number(agreed))
    request = create_native_job(gateway, asked, key=given("once"))
    gateway.wake()
    return request.id


def _within_agreed_price(gateway: Gateway, asked: SubmitJob, agreed: float | str | None) -> SubmitJob:
    """Return the job with the page's price as its budget, if it has no lower one. Raises Refusal if the job may cost
    more by now, or with the settings of the form."""
    if not isinstance(agreed, int | float) or not 0 <= agreed < 1e9:
        raise Refusal(400, f"The price on the page is no number: {agreed!r}.", param="agreed")
    given = asked.model_dump(mode="json", exclude_none=True)
    files = {"training_sha256": asked.training_file, "validation_sha256": asked.validation_file}
    hashes = {name: _file(gateway, file_id).sha256 for name, file_id in files.items() if file_id is not None}
    for sha256 in hashes.values():
        gateway.contents.fetch_content(sha256)
    spec = build_client_requested_spec(gateway, given | hashes | {"tuneport": given})
    backend, spec = split_job_backend_name(spec.model_copy(update={"model": asked.model}), gateway.settings)
    choices, _ = plan_job_on_backends(spec, gateway.settings, backends=[] if backend is None else [backend])
    highest = choices[0].highest_price
    if highest is not None and highest > agreed:
        raise Refusal(
            409,
            f"{asked.model} may cost {money(highest)} now, with these settings, and the page said {money(agreed)}. "
            "Nothing was started: go back, set the epochs above the prices, and look at them again.",
            param="choice",
        )
    return asked.model_copy(update={"budget": min(agreed, asked.budget or agreed)}) if agreed > 0 else asked


def _lines(text: str | None) -> list[str]:
    return [line.strip() for line in (text or "").splitlines() if line.strip()]


def _hyperparameter(name: str, field: str, text: str) -> bool | int | float | str:
    value = _number(text)
    rule = client_rule_of_field(Hyperparameters.model_fields[name])
    if isinstance(rule, ClientsMaySet) and rule.kind == "yes_no" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if isinstance(value, str) and not (isinstance(rule, ClientsMaySet) and value in rule.words):
        raise Refusal(400, f"{field}: {rule} was expected, not {text!r}.", param=field)
    return text if value is None else value


def _whole(text: str, what: str) -> int:
    plain = text.strip().replace(",", "")
    if not plain.isdecimal():
        raise Refusal(400, f"{what}: a whole number was expected, not {text!r}.", param=what)
    return int(plain)


def _number(text: str | None) -> int | float | str | None:
    """Return the number in `text`, or the text itself, so that validation of the whole form reports it."""
    for type_ in (int, float):
        try:
            return None if text is None else type_(text)
        except ValueError:
            continue
    return text


def _dollars(text: str) -> float:
    try:
        amount = float(text.replace("$", "").replace(",", ""))
    except ValueError:
        amount = float("nan")
    if not 0 < amount < 1e9:
        raise Refusal(400, f"The budget is an amount in US dollars above 0, not {text!r}.", param="budget")
    return amount


def _by_name(names: dict[str, str], text: str) -> str:
    """Replace the path of a file's content in `text`, which may be markup, by the file's own name."""
    for path, name in names.items():
        text = text.replace(escape(path) if isinstance(text, Markup) else path, name)
    return text
