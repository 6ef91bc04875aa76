"""The verdict on a job's curve, from what its backend measured so far."""

from __future__ import annotations

from tuneport.backends.base import FineTuneBackend
from tuneport.curves import CurveVerdict, Forgetting, judge
from tuneport.errors import UnsupportedError
from tuneport.jobs.tables import JobRow
from tuneport.types import JobStatus

TRAINING = (JobStatus.RUNNING, JobStatus.PAUSING, JobStatus.PAUSED, JobStatus.FINALIZING, JobStatus.CANCELLING)


def verdict_of(row: JobRow, backend: FineTuneBackend, *, forgetting: Forgetting | None = None) -> CurveVerdict | None:
    """Asks the backend for the metrics. None where there can be none: before training, and of a backend without any.
    `forgetting` is what an evaluation found."""
    if row.remote_id is None or not (row.job_status.terminal or row.job_status in TRAINING):
        return None
    try:
        points = backend.metrics(row.remote_id)
    except UnsupportedError:
        return None
    if not points and row.job_status.terminal and row.status != JobStatus.SUCCEEDED:
        return None  # it never trained
    return judge(points, ended=row.job_status.terminal, forgetting=forgetting)
