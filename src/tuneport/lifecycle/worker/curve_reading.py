"""The verdict on a job's curve, from the metrics that its backend has reported so far."""

from __future__ import annotations

from tuneport.backends.base import FineTuneBackend
from tuneport.curves import CurveForgetting, CurveVerdict, judge_curve
from tuneport.errors import UnsupportedError
from tuneport.lifecycle.schema.records import JobRecord
from tuneport.types import JobStatus

TRAINING = (JobStatus.RUNNING, JobStatus.PAUSING, JobStatus.PAUSED, JobStatus.FINALIZING, JobStatus.CANCELLING)


def judge_job_curve(
    row: JobRecord, backend: FineTuneBackend, *, forgetting: CurveForgetting | None = None
) -> CurveVerdict | None:
    """Return the verdict on the metrics that the backend reports, or None if there are none: before training, and for a
    backend without metrics. `forgetting` is what an evaluation found."""
    if row.remote_id is None or not (row.job_status.terminal or row.job_status in TRAINING):
        return None
    try:
        points = backend.metrics(row.remote_id)
    except UnsupportedError:
        return None
    if not points and row.job_status.terminal and row.status != JobStatus.SUCCEEDED:
        return None  # it never trained
    return judge_curve(points, ended=row.job_status.terminal, forgetting=forgetting)
