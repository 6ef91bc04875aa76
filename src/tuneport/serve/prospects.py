"""/tuneport/v1: what a job would cost and where, before there is one, and what can be used. Reads datasets, so it works
in few threads of its own: a large file keeps no other request waiting."""

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

from tuneport.data.prepare import method_of
from tuneport.errors import TuneportError
from tuneport.estimate.cost import Traffic
from tuneport.jobs.asking import asking
from tuneport.jobs.planning import quotes
from tuneport.jobs.tables import UploadedFileRow
from tuneport.serve.errors import Refusal, not_found
from tuneport.serve.gateway import Gateway
from tuneport.serve.intake import Route, by_ids, file_refusal, refuse_path, route, training_file
from tuneport.serve.shared_work import RETRY_SECONDS, SharedWork, is_done
from tuneport.serve.wire.own import (
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
from tuneport.types import Hyperparameters, Method, TuneSpec, validated
from tuneport.workflows.check import check
from tuneport.workflows.compare import compare
from tuneport.workflows.doctor import backends

WAIT_SECONDS = 20.0
Wait = Annotated[float, Query(ge=0, le=60, description="Seconds; then the answer is 202.")]
_LATER: dict[int | str, dict[str, Any]] = {202: {"model": NotYet, "description": "Not yet: ask the same again."}}


def router(gateway: Gateway) -> APIRouter:
    routes = APIRouter(prefix="/tuneport/v1", tags=["Prospects"])
    reports: SharedWork[dict[str, Any]] = SharedWork()
    prices: SharedWork[Any] = SharedWork()

    async def priced(asked: AskQuotes | AskComparison, work: Callable[[], Any], wait: float) -> Any:
        """What `work` gives; None: not yet. Once it was told it is made anew for whoever asks, since prices and what
        this machine has learnt of its runs change."""
        key = "\n".join((type(asked).__name__, str(date.today()), str(asking().project), asked.model_dump_json()))
        future = prices.ask(key, asked.training_file, work)
        if not await is_done(future, within=wait):
            return None
        prices.drop(key)
        return future.result()

    @routes.get("/backends", response_model=BackendList)
    def list_backends() -> BackendList:
        """Which are configured, what is missing, and when they end."""
        return BackendList(data=[Backend.model_validate(row) for row in backends(gateway.settings, date.today())])

    @routes.post("/quotes", response_model=QuoteList, responses=_LATER)
    async def ask_quotes(asked: AskQuotes, wait: Wait = WAIT_SECONDS) -> QuoteList | Response:
        """What a job would cost, need and take at each backend, with the reasons; nothing is started. What takes longer
        than `wait` is answered with 202, goes on, and is there when the same is asked again."""
        found: QuoteList | None = await priced(asked, partial(_quotes, gateway, asked), wait)
        return _later() if found is None else found

    @routes.post(
        "/comparisons",
        response_model=Comparison,
        responses={200: {"content": {"text/csv": {}, "text/html": {}}, "description": "By `Accept`"}, **_LATER},
    )
    async def ask_comparison(asked: AskComparison, request: Request, wait: Wait = WAIT_SECONDS) -> Response:
        """Training and a month of traffic, everywhere, side by side: JSON, or a table or report by `Accept`. What takes
        longer than `wait` is answered with 202, goes on, and is there when the same is asked again."""
        answer = await priced(asked, partial(_compare, gateway, asked), wait)
        if answer is None:
            return _later()
        found, ids = answer
        # It is long, and written in a thread: meanwhile others are answered.
        return await to_thread.run_sync(_written, found, ids, request.headers.get("accept", ""))

    @routes.post(
        "/data_reports", response_model=DataReport, responses={202: {"model": DataReport, "description": "Not yet"}}
    )
    async def ask_data_report(asked: AskDataReport, response: Response, wait: Wait = WAIT_SECONDS) -> DataReport:
        """What is good and bad about a file. One that takes longer than `wait` is answered with 202 and an id to ask
        for again; the same question is worked at once only, and kept by the file's content."""
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
        from tuneport.workflows.comparison.csv_file import render as csv

        return Response(csv(found), media_type="text/csv", headers=_file("csv"))
    if "text/html" in accept:
        from tuneport.workflows.comparison.page import render as page

        return Response(by_ids(page(found), ids), media_type="text/html", headers=_file("html"))
    return Response(by_ids(json.dumps(found.as_dict(), default=str), ids), media_type="application/json")


def _later() -> Response:
    return JSONResponse(NotYet().model_dump(), 202, {"Retry-After": str(RETRY_SECONDS)})


# --- quotes and comparisons ------------------------------------------------------------------------------------------


def _quotes(gateway: Gateway, asked: AskQuotes) -> QuoteList:
    training, validation, ids = _files(gateway, asked.training_file, asked.validation_file)
    refuse_path(asked.model, gateway.settings)
    where: Route | None = None if asked.backends else route(asked.model, gateway.settings)
    try:
        path = gateway.contents.fetch(training.sha256)
        method = Method(asked.method or method_of(path, columns=asked.columns))
        spec = validated(
            TuneSpec,
            {
                "model": asked.model if where is None else where.model,
                "dataset": path,
                "validation": None if validation is None else gateway.contents.fetch(validation.sha256),
                "columns": asked.columns,
                "method": method,
                "grader": {} if method is Method.RFT else None,  # which one makes no difference to what it costs
                "reward": "any:one" if method.takes_reward else None,
                "adapter": asked.adapter,
                "hyperparameters": validated(Hyperparameters, asked.hyperparameters),
                "budget": asked.budget,
            },
        )
        choices, rows = quotes(spec, gateway.settings, backends=asked.backends, history=gateway.store.history())
    except TuneportError as error:
        raise file_refusal(error, ids) from error
    return QuoteList(model=asked.model, method=method.value, rows=rows, data=[row.as_dict() for row in choices])


def _compare(gateway: Gateway, asked: AskComparison) -> tuple[Any, Mapping[str, str]]:
    training, validation, ids = _files(gateway, asked.training_file, asked.validation_file)
    for model in asked.models:
        route(model, gateway.settings)  # a name that nobody has, or a path, is refused
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
            gateway.contents.fetch(training.sha256),
            models=asked.models,
            backends=asked.backends,
            validation=None if validation is None else gateway.contents.fetch(validation.sha256),
            columns=asked.columns,
            method=asked.method,
            epochs=asked.epochs,
            traffic=traffic,
            instead_of=asked.instead_of,
            own_gpu=asked.own_gpu,
            own_usd_per_hour=asked.own_usd_per_hour,
            own_tokens_per_second=asked.own_tokens_per_second,
            hours=asked.hours,
            settings=gateway.settings,
        )
    except TuneportError as error:
        raise file_refusal(error, ids) from error
    return found, ids


def _files(
    gateway: Gateway, training_id: str, validation_id: str | None, param: str = "training_file"
) -> tuple[UploadedFileRow, UploadedFileRow | None, Mapping[str, str]]:
    training = training_file(gateway, training_id, param)
    validation = None if validation_id is None else training_file(gateway, validation_id, "validation_file")
    return training, validation, {row.sha256: row.id for row in (training, validation) if row is not None}


# --- data reports ----------------------------------------------------------------------------------------------------


def _report(gateway: Gateway, reports: SharedWork[dict[str, Any]], asked: AskDataReport) -> str:
    file, validation, ids = _files(gateway, asked.file, asked.validation_file, "file")
    if asked.model is not None:
        refuse_path(asked.model, gateway.settings)
    key = asked.model_dump_json() + file.sha256 + ("" if validation is None else validation.sha256)
    key += str(asking().project)  # which alone knows the file by this id
    report_id = "report-" + hashlib.sha256(key.encode()).hexdigest()[:24]

    def work() -> dict[str, Any]:
        try:
            report = check(
                gateway.contents.fetch(file.sha256),
                model=asked.model,
                backend=asked.backend,
                format=asked.format,
                validation=None if validation is None else gateway.contents.fetch(validation.sha256),
                task=asked.task,
                context=asked.context,
                columns=asked.columns,
                settings=gateway.settings,
            )
        except TuneportError as error:
            raise file_refusal(error, ids) from error
        told: dict[str, Any] = json.loads(by_ids(json.dumps(report.as_dict(), default=str), ids))
        return told

    reports.ask(report_id, file.id, work)
    return report_id


async def _told(reports: SharedWork[dict[str, Any]], report_id: str, response: Response, wait: float) -> DataReport:
    there = reports.find(report_id)
    if there is None:
        raise not_found(f"No data report {report_id!r} here; ask for it again.", "report_id")
    file_id, future = there.about, there.future
    if not await is_done(future, within=wait):
        response.status_code = 202
        response.headers["Retry-After"] = str(RETRY_SECONDS)
        return DataReport(id=report_id, file=file_id, status="running")
    error = future.exception()
    if isinstance(error, Refusal):
        return DataReport(id=report_id, file=file_id, status="failed", error=error.message)
    return DataReport(id=report_id, file=file_id, status="completed", report=future.result())
