"""What is known of the job behind a tuned model: its spec, its data, and what its loss curve says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tuneport.curves import CurveVerdict
from tuneport.errors import NotFoundError, TuneportError, UnsupportedError
from tuneport.jobs.service import Workspace
from tuneport.types import MetricPoint, PreparedData, TuneSpec
from tuneport.workflows.evaluation.asked_models import AskedModel


@dataclass(frozen=True)
class TrainedJob:
    """`points` and `curve`: what the backend measured, and the verdict on it; none with the reason in `no_curve`."""

    id: str
    spec: TuneSpec
    data: PreparedData
    points: tuple[MetricPoint, ...] = ()
    curve: CurveVerdict | None = None
    no_curve: str = ""

    @property
    def spec_sha256(self) -> str:
        """Of the spec as JSON with sorted keys, and the training file by its contents instead of its place."""
        written = self.spec.model_dump(mode="json", exclude={"dataset", "validation"})
        written["dataset_sha256"] = self.data.training.sha256
        written["validation_sha256"] = None if self.data.validation is None else self.data.validation.sha256
        return hashlib.sha256(json.dumps(written, sort_keys=True).encode()).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        return {
            "job": self.id,
            "spec": self.spec.model_dump(mode="json", exclude_defaults=True, exclude={"metadata"}),
            "spec_sha256": self.spec_sha256,
            "training_sha256": self.data.training.sha256,
            "training_rows": self.data.training.rows,
            "curve": None if self.curve is None else self.curve.model_dump(mode="json"),
            "no_curve": self.no_curve,
        }


def trained_jobs(workspace: Workspace, asked: Sequence[AskedModel]) -> dict[str, TrainedJob]:
    """Of each model that a job of the store tuned, by the name that it is asked under. Asks the backends for metrics;
    one that has none to give, or none any more, leaves the curve out and stops nothing."""
    found = {}
    for each in asked:
        if not each.tuned or (row := workspace.store.job_of_model(each.model)) is None:
            continue
        points: Sequence[MetricPoint] = ()
        why = f"{row.backend} has no metrics of this job"
        try:
            points = workspace.metrics(row.id)
        except (UnsupportedError, NotFoundError):
            pass
        except TuneportError as error:
            why = str(error)
        curve = workspace.judged(row, points) if points else None
        data = row.prepared_data
        found[each.name] = TrainedJob(row.id, row.tune_spec, data, tuple(points), curve, "" if points else why)
    return found
