"""The file of a job's metrics that OpenAI's clients look for when it has succeeded: CSV, a row a step."""

from __future__ import annotations

import csv
import hashlib
import io
import logging
import time
from collections.abc import Sequence

from tuneport.errors import ProviderError, TuneportError, UnsupportedError
from tuneport.jobs.asking import Asking, on_behalf_of
from tuneport.jobs.tables import JobRow
from tuneport.serve.files import add_results
from tuneport.serve.gateway import Gateway
from tuneport.types import MetricPoint

log = logging.getLogger(__name__)

LONGEST_WAIT = 600.0

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


def settle(gateway: Gateway, row: JobRow) -> None:
    """Make the results of a job that has succeeded a file, or settle that it has none. ProviderError where the backend
    may say it later."""
    try:
        points = gateway.workspace.metrics(row.id)
    except UnsupportedError:
        points = []
    except ProviderError as error:
        if error.retryable:
            raise
        log.warning("%s has no results: %s", row.id, error)
        points = []
    file_id = None
    if points:
        # Of the job's own id, so that whoever makes it again after a crash makes the same.
        file_id = f"file-{hashlib.sha256(row.id.encode()).hexdigest()[:24]}"
        with on_behalf_of(Asking(project=row.project)):
            add_results(gateway, file_id, "step_metrics.csv", result_csv(points))
    gateway.store.settle_results(row.id, file_id)


class Results:
    """Makes the results of jobs that ended; of a provider in trouble, later and later."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._failures: dict[str, int] = {}
        self._not_before: dict[str, float] = {}

    def settle_all(self) -> None:
        waiting = self._gateway.store.without_results()
        for known in self._failures.keys() - set(waiting):
            del self._failures[known], self._not_before[known]
        for job_id, row in self._gateway.store.jobs_by_id(waiting).items():
            if self._gateway.stopping:
                return
            if time.monotonic() < self._not_before.get(job_id, 0.0):
                continue
            try:
                settle(self._gateway, row)
            except TuneportError as error:
                failures = self._failures[job_id] = self._failures.get(job_id, 0) + 1
                self._not_before[job_id] = time.monotonic() + min(LONGEST_WAIT, 2.0**failures)
                log.warning("the results of %s cannot be made yet: %s", job_id, error)
