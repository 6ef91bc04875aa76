"""The verdict on a job's curve, as `watch` prints it while the job runs and at its end."""

from __future__ import annotations

import textwrap
import time
from typing import TYPE_CHECKING, Any

from tuneport.cli.views import output
from tuneport.errors import TuneportError

if TYPE_CHECKING:
    from tuneport.curves import CurveVerdict
    from tuneport.lifecycle.schema.records import JobRecord
    from tuneport.lifecycle.service import JobService

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


def print_curve_verdict(verdict: CurveVerdict) -> None:
    """Print the verdict, at most 80 columns wide."""
    lines = [("curve: ", str(verdict)), *(("  ", told) for told in verdict.evidence)]
    if verdict.fixes:
        lines.append(("  do: ", "; ".join(verdict.fixes)))
    for lead, text in lines:
        indent = " " * (len(lead) if lead.isspace() else 4)
        for line in textwrap.wrap(text, 80, initial_indent=lead, subsequent_indent=indent, break_on_hyphens=False):
            output.print_line(line)
