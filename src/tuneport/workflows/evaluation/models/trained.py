"""The job behind a tuned model: its spec, its data, and what its loss curve says."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tuneport.curves import CurveVerdict
from tuneport.data.reading import read_records
from tuneport.errors import NotFoundError, TuneportError, UnsupportedError
from tuneport.lifecycle.service import JobService
from tuneport.scoring.examples import Example, make_scoring_tool_example
from tuneport.types import DataFile, MetricPoint, PreparedData, TuneSpec
from tuneport.workflows.evaluation.models.asked_models import EvaluatedModel


@dataclass(frozen=True)
class TrainedModelJob:
    """`points` and `curve`: what the backend measured, and the verdict on it; none with the reason in `no_curve`.

    `validation_rows`: how many of the rows that it is measured on are in its validation file.
    """

    id: str
    spec: TuneSpec
    data: PreparedData
    points: tuple[MetricPoint, ...] = ()
    curve: CurveVerdict | None = None
    no_curve: str = ""
    validation_rows: int = 0

    @property
    def spec_sha256(self) -> str:
        """Return the SHA-256 of the spec as JSON with sorted keys, and with the training file's contents instead of its
        path."""
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
            "validation_rows": self.validation_rows,
        }


def jobs_behind_evaluated_models(
    workspace: JobService, asked: Sequence[EvaluatedModel], rows: Sequence[Example] = ()
) -> dict[str, TrainedModelJob]:
    """Return the job of each model that a job of the store tuned, by the name that it is asked under; `rows` are what
    it is measured on. It asks the backends for metrics; if one has none to give, or none any more, the curve is left
    out."""
    found = {}
    for each in asked:
        if not each.tuned or (row := workspace.store.models.find_job(each.model)) is None:
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
        seen = _rows_in(data.validation, rows)
        found[each.name] = TrainedModelJob(
            row.id, row.tune_spec, data, tuple(points), curve, "" if points else why, seen
        )
    return found


def _rows_in(file: DataFile | None, rows: Sequence[Example]) -> int:
    """Return how many of the rows ask what a record of the file asks; 0 if the file no longer exists."""
    if file is None or not file.path.exists():
        return 0
    times = Counter(json.dumps(row.messages) for row in rows)
    examples = (make_scoring_tool_example(record) for _, record in read_records(file.path))
    return sum(times.pop(json.dumps(each.messages), 0) for each in examples if each is not None)
