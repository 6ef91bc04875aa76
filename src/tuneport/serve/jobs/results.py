"""The metrics file of a job that OpenAI's clients look for when it has succeeded: CSV, a row a step."""

from __future__ import annotations

import csv
import hashlib
import io
import logging
import time
from collections.abc import Sequence

from tuneport.errors import ProviderError, TuneportError, UnsupportedError
from tuneport.lifecycle.schema.records import JobRecord
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
"""The columns of OpenAI's `step_metrics.csv`. OpenAI has two validation losses, of a sample and of the whole file;
our backends report one, of the whole file."""


def build_gateway_result_csv(points: Sequence[MetricPoint]) -> bytes:
    """Return the CSV with a row for each step; training and validation values of a step share a row."""
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


def settle_gateway_job_results(gateway: Gateway, row: JobRecord) -> None:
    """Store the results of a succeeded job as a file, or record that it has none. Raises ProviderError if the
    backend may have them later."""
    try:
        points = gateway.unscoped.metrics(row.id)
    except UnsupportedError:
        points = []
    except ProviderError as error:
        if error.retryable:
            raise
        log.warning("%s has no results: %s", row.id, error)
        points = []
    file_id = None
    if points:
        # Derived from the job's id, so that a repeat after a crash makes the same file.
        file_id = f"file-{hashlib.sha256(row.id.encode()).hexdigest()[:24]}"
        add_gateway_result_file(gateway, row.project, file_id, "step_metrics.csv", build_gateway_result_csv(points))
    gateway.unscoped.store.requests.mark_results_settled(row.id, file_id)


class GatewayJobResultWriter:
    """The writer of the results of ended jobs; it retries a provider in trouble with growing delays."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._failures: dict[str, int] = {}
        self._not_before: dict[str, float] = {}

    def write_due_results(self) -> None:
        waiting = self._gateway.unscoped.store.requests.list_jobs_without_results()
        for known in self._failures.keys() - set(waiting):
            del self._failures[known], self._not_before[known]
        for job_id, row in self._gateway.unscoped.store.jobs.by_ids(waiting).items():
            if self._gateway.stopping:
                return
            if time.monotonic() < self._not_before.get(job_id, 0.0):
                continue
            try:
                settle_gateway_job_results(self._gateway, row)
            except TuneportError as error:
                failures = self._failures[job_id] = self._failures.get(job_id, 0) + 1
                self._not_before[job_id] = time.monotonic() + min(LONGEST_WAIT, 2.0**failures)
                log.warning("the results of %s cannot be made yet: %s", job_id, error)


def add_gateway_result_file(gateway: Gateway, project: str, file_id: str, name: str, content: bytes) -> None:
    """Store a job's results as a file of the API. An existing file of that id is kept."""
    contents = gateway.contents
    with contents.open_incoming() as incoming:
        incoming.write(content)
        incoming.flush()
        with contents.lock_contents():
            gateway.unscoped.store.scoped(project).uploaded.add(
                incoming.keep(),
                filename=name,
                purpose="fine-tune-results",
                bytes=incoming.bytes,
                file_id=file_id,
            )
