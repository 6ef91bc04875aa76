"""The verdict on a job's curve, as `watch` prints it while the job runs and at its end."""

from __future__ import annotations

import math
import textwrap
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tuneport.cli.views import output
from tuneport.errors import TuneportError

if TYPE_CHECKING:
    from tuneport.curves import CurveVerdict
    from tuneport.lifecycle.schema.records import JobRecord
    from tuneport.lifecycle.service import JobService
    from tuneport.types import MetricPoint

_BARS = "▁▂▃▄▅▆▇█"
_LOGARITHMIC_ABOVE = 20.0
SPARKLINE_WIDTH = 48
"""Signs of the loss's line: with the names and the two values it fits 80 columns."""
SECONDS, REMOTE_SECONDS = 2.0, 30.0
"""Pause between two reads of a running job's metrics: on this machine they are a file, elsewhere a request each."""


class CurveVerdictPrinter:
    """A watch over a running job's curve that prints a line whenever the verdict changes."""

    def __init__(self, workspace: JobService) -> None:
        self.workspace = workspace
        self._looked_at = float("-inf")
        self._told: tuple[object, ...] = ()

    def print_if_changed(self, row: JobRecord) -> None:
        """Check the curve. A provider that reports no metrics now is asked again later; the job goes on."""
        if row.job_status.terminal or time.monotonic() - self._looked_at < self._pause(row):
            return
        verdict = current_curve_verdict(self.workspace, row)
        self._looked_at = time.monotonic()
        if verdict is None or verdict.finding == "unclear":
            return
        current = (verdict.finding, verdict.sure)
        if current != self._told:
            self._told = current
            output.print_note(f"curve: {verdict}")

    def _pause(self, row: JobRecord) -> float:
        from tuneport.backends import backend_manifest

        return REMOTE_SECONDS if backend_manifest(row.backend, self.workspace.settings).third_party else SECONDS


def current_curve_verdict(workspace: JobService, row: JobRecord) -> CurveVerdict | None:
    """Return the current verdict. Returns None if there is none, or the backend cannot be asked."""
    try:
        return workspace.verdict(row.id)
    except TuneportError:
        return None


def curve_verdict_json_view(row: JobRecord, verdict: CurveVerdict | None) -> dict[str, Any]:
    """Return the verdict for a job's document: the current one, else the last stored one."""
    return {"curve": row.curve if verdict is None else verdict.model_dump(mode="json")}


def print_loss_curves(points: Sequence[MetricPoint]) -> None:
    """Print each loss as one line of bars, with its first and its last value."""
    for name, logged in (
        ("train", [point.train_loss for point in points]),
        ("valid", [point.valid_loss for point in points]),
    ):
        values = [value for value in logged if value is not None and math.isfinite(value)]
        if len(values) > 1:
            ends = f"{output.number(values[0])} to {output.number(values[-1])}"
            output.print_line(f"{name} loss  {loss_sparkline(values)}  {ends}")


def loss_sparkline(values: Sequence[float], width: int = SPARKLINE_WIDTH) -> str:
    """Return the values as bars, at most `width` of them: each is the mean of its part of the values.

    The scale is logarithmic where the highest is more than 20 times the lowest, as one peak would flatten the rest.
    """
    parts = min(width, len(values))
    bounds = [len(values) * number // parts for number in range(parts + 1)]
    means = [sum(values[low:high]) / (high - low) for low, high in pairwise(bounds)]
    if min(means) > 0 and max(means) / min(means) > _LOGARITHMIC_ABOVE:
        means = [math.log(mean) for mean in means]
    low, span = min(means), max(means) - min(means)
    return "".join(_BARS[0 if span == 0 else round((mean - low) / span * (len(_BARS) - 1))] for mean in means)


def print_curve_verdict(verdict: CurveVerdict) -> None:
    """Print the verdict, at most 80 columns wide."""
    lines = [("curve: ", str(verdict)), *(("  ", told) for told in verdict.evidence)]
    if verdict.fixes:
        lines.append(("  do: ", "; ".join(verdict.fixes)))
    for lead, text in lines:
        indent = " " * (len(lead) if lead.isspace() else 4)
        for line in textwrap.wrap(text, 80, initial_indent=lead, subsequent_indent=indent, break_on_hyphens=False):
            output.print_line(line)
