"""The file of a job's metrics that OpenAI's clients look for when it has succeeded: CSV, a row a step."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Sequence

from tuneport.errors import ProviderError, TuneportError, UnsupportedError
from tuneport.jobs.tables import JobRequestRow, JobRow
from tuneport.serve.files import add_results
from tuneport.serve.gateway import Gateway
from tuneport.types import JobStatus, MetricPoint

log = logging.getLogger(__name__)

COLUMNS = (
    "step",
    "train_loss",
    "train_accuracy",
    "valid_loss",
    "valid_mean_token_accuracy",
    "full_valid_loss",
    "full_valid_mean_token_accuracy",
)
"""Those of `step_metrics.csv` at OpenAI. Which of the two valid_loss columns holds a loss of the whole validation file
depends on the backend; ours have one loss, and it is of the whole file."""


def result_csv(points: Sequence[MetricPoint]) -> bytes:
    """A row for each step; steps that are told twice (training, then validation) share one."""
    rows: dict[int, dict[str, float]] = {}
    for point in points:
        row = rows.setdefault(point.step, {"step": point.step})
        values = {
            "train_loss": point.train_loss,
            "train_accuracy": point.train_accuracy,
            "valid_loss": point.valid_loss,
            "valid_mean_token_accuracy": point.valid_accuracy,
            "full_valid_loss": point.extra.get("full_valid_loss", point.valid_loss),
            "full_valid_mean_token_accuracy": point.extra.get("full_valid_mean_token_accuracy", point.valid_accuracy),
        }
        row.update({name: value for name, value in values.items() if value is not None})
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows[step] for step in sorted(rows))
    return text.getvalue().encode()


def settle(gateway: Gateway, request: JobRequestRow, row: JobRow) -> JobRequestRow:
    """The request as it is once its job's results are a file, where the job has succeeded and has any."""
    if row.job_status is not JobStatus.SUCCEEDED or request.results_at is not None:
        return request
    try:
        points = gateway.workspace.metrics(row.id)
    except UnsupportedError:
        points = []
    except ProviderError as error:
        log.warning("the metrics of %s cannot be read yet: %s", row.id, error)
        return request
    file_id = None
    if points:
        file_id = add_results(gateway, "step_metrics.csv", [result_csv(points)]).id
    if gateway.store.settle_results(request.id, file_id):
        request.results_file = file_id
        return request
    if file_id is not None:  # another one was faster: the client has been told of its file
        gateway.store.remove_uploaded(file_id)
    return gateway.store.job_request(request.id) or request


def settle_all(gateway: Gateway) -> None:
    """Make the results of jobs that ended while nobody looked."""
    for job_id in gateway.store.without_results():
        if gateway.stopping:
            return
        request, row = gateway.store.job_request(job_id), gateway.store.jobs_by_id([job_id]).get(job_id)
        if request is None or row is None:
            continue
        try:
            settle(gateway, request, row)
        except TuneportError as error:
            log.warning("the results of %s cannot be made: %s", job_id, error)
