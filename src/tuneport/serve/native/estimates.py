"""The routes of /tuneport/v1 for backends, quotes, comparisons and data reports. They read datasets, so they work in
a few threads of their own: a large file delays no other request."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import date
from functools import partial
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from tuneport.backends.routing import BackendOffers, NotPermittedError
from tuneport.data.dataset import Dataset
from tuneport.errors import TuneportError
from tuneport.estimate.cost import Traffic
from tuneport.lifecycle.planning.planning import plan_job_on_backends
from tuneport.lifecycle.schema.records import FileRecord
from tuneport.rate_limits import retry_after_headers
from tuneport.serve.gateway import Gateway
from tuneport.serve.http.errors import Refusal, gateway_not_found_refusal
from tuneport.serve.jobs.create import gateway_refusal_for_file, name_client_files_by_id, require_client_training_file
from tuneport.serve.naming import ClientCatalogue, refuse_client_model_path, route_client_model
from tuneport.serve.permitted import refuse_operator_numbers
from tuneport.serve.task_cache import RETRY_SECONDS, GatewayTaskCache
from tuneport.serve.wire.native import (
    AskComparison,
    AskDataReport,
    AskQuotes,
    Backend,
    BackendList,
    Comparison,
    DataReport,
    NotYet,
    QuoteList,
)
from tuneport.settings import Settings
from tuneport.types import Hyperparameters, Method, TuneSpec
from tuneport.validation import parse_or_config_error
from tuneport.workflows.check import check
from tuneport.workflows.compare import compare
from tuneport.workflows.doctor import list_backend_states

WAIT_SECONDS = 20.0
Wait = Annotated[float, Query(ge=0, le=60, description="Seconds to wait before the answer is 202.")]
_LATER: dict[int | str, dict[str, Any]] = {202: {"model": NotYet, "description": "Not ready: repeat the request."}}


def router(gateway: Gateway) -> APIRouter:
    routes = APIRouter(prefix="/tuneport/v1", tags=["Quotes and comparisons"])
    reports, prices = GatewayTaskCache(), GatewayTaskCache()

    async def priced(asked: AskQuotes | AskComparison, work: Callable[[], Any], wait: float) -> Any:
        """Return the result of `work`, or None if it is not ready. A result is returned once and computed again for the
        next request, since prices and measured speeds change."""
        key = "\n".join((type(asked).__name__, str(date.today()), gateway.project, asked.model_dump_json()))
        task = prices.start(key, work)
        if not await task.wait_until_done(within=wait):
            return None
        prices.drop(key)
        return task.future.result()

    @routes.get("/backends", response_model=BackendList)
    def list_backends() -> BackendList:
        """List the backends: whether each is configured, what is missing, and when it shuts down."""
        return BackendList(
            data=[Backend.model_validate(row) for row in list_backend_states(gateway.settings, date.today())]
        )

    @routes.post("/quotes", response_model=QuoteList, responses=_LATER)
    async def ask_quotes(asked: AskQuotes, wait: Wait = WAIT_SECONDS) -> QuoteList | Response:
        """Quote what a job would cost, need and take at each backend, with reasons. Nothing is started. If it takes
        longer than `wait`, the answer is 202; repeat the request to get the result."""
        found: QuoteList | None = await priced(asked, partial(_quotes, gateway, asked), wait)
        return _later() if found is None else found

    @routes.post(
        "/comparisons",
        response_model=Comparison,
        responses={200: {"content": {"text/csv": {}, "text/html": {}}, "description": "By `Accept`"}, **_LATER},
    )
    async def ask_comparison(asked: AskComparison, request: Request, wait: Wait = WAIT_SECONDS) -> Response:
        """Compare the cost of training and of a month of traffic at all backends, as JSON, table or report by
        `Accept`. If it takes longer than `wait`, the answer is 202; repeat the request to get the result."""
        answer = await priced(asked, partial(_compare, gateway, asked), wait)
        if answer is None:
            return _later()
        found, ids = answer
        # It is long: written in a thread, so that other requests are answered meanwhile.
        return await to_thread.run_sync(_written, found, ids, request.headers.get("accept", ""))

    @routes.post(
        "/data_reports", response_model=DataReport, responses={202: {"model": DataReport, "description": "Not yet"}}
    )
    async def ask_data_report(asked: AskDataReport, response: Response, wait: Wait = WAIT_SECONDS) -> DataReport:
        """Check a file and report what is good and bad about it. If it takes longer than `wait`, the answer is 202
        with an id; repeat the request to get the result. Equal requests share one computation, and the result is
        kept by the file's content."""
        report_id = await to_thread.run_sync(_report, gateway, reports, asked)
        return await _told(reports, report_id, response, wait)

    @routes.get(
        "/data_reports/{report_id}",
        response_model=DataReport,
        responses={202: {"model": DataReport, "description": "Not yet"}},
    )
    async def retrieve_data_report(report_id: str, response: Response, wait: Wait = 0.0) -> DataReport:
        return await _told(reports, report_id, response, wait)

    return routes


def _file(ending: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="comparison.{ending}"', "X-Content-Type-Options": "nosniff"}


def _written(found: Any, ids: Mapping[str, str], accept: str) -> Response:
    if "text/csv" in accept:
        from tuneport.workflows.comparison.csv_file import render_comparison_csv as csv

        return Response(csv(found), media_type="text/csv", headers=_file("csv"))
    if "text/html" in accept:
        from tuneport.workflows.comparison.page import render_comparison_page as page

        return Response(name_client_files_by_id(page(found), ids), media_type="text/html", headers=_file("html"))
    return Response(
        name_client_files_by_id(json.dumps(found.as_dict(), default=str), ids), media_type="application/json"
    )


def _later() -> Response:
    return JSONResponse(NotYet().model_dump(), 202, retry_after_headers(RETRY_SECONDS))


# --- quotes and comparisons ------------------------------------------------------------------------------------------


def _quotes(gateway: Gateway, asked: AskQuotes) -> QuoteList:
    training, validation, ids = _files(gateway, asked.training_file, asked.validation_file)
    refuse_client_model_path(asked.model, gateway.settings)
    refuse_operator_numbers(asked.hyperparameters)
    where = None if asked.backends else _route(asked.model, gateway.settings)
    try:
        reading = vars(asked.reading())
        dataset = Dataset(gateway.contents.fetch_content(training.sha256), **reading)
        method = Method(asked.method or dataset.method)
        spec = parse_or_config_error(
            TuneSpec,
            {
                "model": asked.model if where is None else where.model,
                "dataset": dataset.path,
                "validation": None if validation is None else gateway.contents.fetch_content(validation.sha256),
                **reading,
                "method": method,
                "grader": {} if method.takes_grader else None,  # which one makes no difference to what it costs
                "reward": "any:one" if method.takes_reward else None,
                "adapter": asked.adapter,
                "hyperparameters": parse_or_config_error(Hyperparameters, asked.hyperparameters),
                "budget": asked.budget,
            },
        )
        choices, rows = plan_job_on_backends(
            spec,
            gateway.settings,
            backends=asked.backends,
            history=gateway.store.statistics.read_job_history(),
            dataset=dataset,
        )
    except TuneportError as error:
        raise gateway_refusal_for_file(error, ids) from error
    return QuoteList(model=asked.model, method=method, rows=rows, data=[row.as_dict() for row in choices])


def _route(name: str, settings: Settings) -> BackendOffers | None:
    """Return the offers of a model. Returns None for weights of the hub that clients may not train: their prices are
    not secret, and nothing is downloaded."""
    try:
        return route_client_model(name, settings)
    except NotPermittedError:
        return None


def _compare(gateway: Gateway, asked: AskComparison) -> tuple[Any, Mapping[str, str]]:
    training, validation, ids = _files(gateway, asked.training_file, asked.validation_file)
    for model in asked.models:
        _route(model, gateway.settings)  # refuse unknown names and paths
    each = (asked.input_tokens_per_request, asked.output_tokens_per_request)
    if (each[0] is None) != (each[1] is None):
        raise Refusal(400, "Tokens in and out of a request belong together.", param="output_tokens_per_request")
    try:
        traffic = Traffic.stated(
            requests=asked.requests,
            per_request=None if each[0] is None or each[1] is None else (float(each[0]), float(each[1])),
            cached_share=asked.cached_share,
            batch_share=asked.batch_share,
            saved_per_request=asked.saved_per_request,
        )
        found = compare(
            Dataset(gateway.contents.fetch_content(training.sha256), **vars(asked.reading())),
            model=asked.models,
            backend=asked.backends,
            validation=None if validation is None else gateway.contents.fetch_content(validation.sha256),
            method=asked.method,
            epochs=asked.epochs,
            provider_defaults=asked.provider_defaults,
            traffic=traffic,
            instead_of=asked.instead_of,
            own_gpu=asked.own_gpu,
            own_hour=asked.own_usd_per_hour,
            own_speed=asked.own_tokens_per_second,
            hours=asked.hours,
            settings=gateway.settings,
        )
    except TuneportError as error:
        raise gateway_refusal_for_file(error, ids) from error
    return found, ids


def _files(
    gateway: Gateway, training_id: str, validation_id: str | None, param: str = "training_file"
) -> tuple[FileRecord, FileRecord | None, Mapping[str, str]]:
    training = require_client_training_file(gateway, training_id, param)
    validation = (
        None if validation_id is None else require_client_training_file(gateway, validation_id, "validation_file")
    )
    return training, validation, {row.sha256: row.id for row in (training, validation) if row is not None}


# --- data reports ----------------------------------------------------------------------------------------------------


def _report(gateway: Gateway, reports: GatewayTaskCache, asked: AskDataReport) -> str:
    file, validation, ids = _files(gateway, asked.file, asked.validation_file, "file")
    backend = asked.backend
    if asked.model is not None:
        # The model is checked here against what clients may name: `check` does not know clients, and
        # takes the model's tokenizer from a folder or from the hub.
        backend = ClientCatalogue(gateway.settings).route_model(asked.model, backend, asks=False).backend
    key = asked.model_dump_json() + file.sha256 + ("" if validation is None else validation.sha256)
    key += gateway.project  # which alone knows the file by this id
    report_id = "report-" + hashlib.sha256(key.encode()).hexdigest()[:24]

    def work() -> dict[str, Any]:
        try:
            report = check(
                Dataset(gateway.contents.fetch_content(file.sha256), **vars(asked.reading())),
                model=asked.model,
                backend=backend,
                validation=None if validation is None else gateway.contents.fetch_content(validation.sha256),
                task=asked.task,
                context=asked.context,
                settings=gateway.settings,
            )
        except TuneportError as error:
            raise gateway_refusal_for_file(error, ids) from error
        told: dict[str, Any] = json.loads(name_client_files_by_id(json.dumps(report.as_dict(), default=str), ids))
        return told

    reports.start(report_id, work, about=file.id)
    return report_id


async def _told(reports: GatewayTaskCache, report_id: str, response: Response, wait: float) -> DataReport:
    task = reports.find(report_id)
    if task is None:
        raise gateway_not_found_refusal(f"No data report {report_id!r} here; request it again.", "report_id")
    file_id, future = task.about, task.future
    if not await task.wait_until_done(within=wait):
        response.status_code = 202
        response.headers["Retry-After"] = str(RETRY_SECONDS)
        return DataReport(id=report_id, file=file_id, status="running")
    error = future.exception()
    if isinstance(error, Refusal):
        return DataReport(id=report_id, file=file_id, status="failed", error=error.message)
    return DataReport(id=report_id, file=file_id, status="completed", report=future.result())
