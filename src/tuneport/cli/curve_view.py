"""What a job's curve says, as `watch` tells it while the job runs and at its end."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tuneport.cli import output
from tuneport.errors import TuneportError

if TYPE_CHECKING:
    from tuneport.curves import CurveVerdict
    from tuneport.jobs.service import Workspace
    from tuneport.jobs.tables import JobRow

SECONDS, REMOTE_SECONDS = 2.0, 30.0
"""Between two looks at the metrics of a job that runs: here they are a file, elsewhere a request each."""


class CurveWatch:
    """Tells a line whenever the verdict on a running job's curve becomes another one."""

    def __init__(self, workspace: Workspace, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.workspace, self.clock = workspace, clock
        self._looked_at = float("-inf")
        self._told: tuple[object, ...] = ()

    def look(self, row: JobRow) -> None:
        """A provider that does not tell its metrics now is asked again later: what matters is the job."""
        if row.job_status.terminal or self.clock() - self._looked_at < self._pause(row):
            return
        verdict = last_word(self.workspace, row)
        self._looked_at = self.clock()
        if verdict is None or verdict.finding == "unclear":
            return
        current = (verdict.finding, verdict.sure)
        if current != self._told:
            self._told = current
            output.note(f"curve: {verdict}")

    def _pause(self, row: JobRow) -> float:
        from tuneport.backends import manifest_of

        return REMOTE_SECONDS if manifest_of(row.backend, self.workspace.settings).third_party else SECONDS


def last_word(workspace: Workspace, row: JobRow) -> CurveVerdict | None:
    """The verdict as of now; None where there is none, or the backend cannot be asked."""
    try:
        return workspace.verdict(row.id)
    except TuneportError:
        return None


def curve_of(row: JobRow, verdict: CurveVerdict | None) -> dict[str, Any]:
    """For a job's document: the verdict as of now, else the last one that somebody wrote down."""
    return {"curve": row.curve if verdict is None else verdict.model_dump(mode="json")}


def print_verdict(verdict: CurveVerdict) -> None:
    """At most 80 columns wide."""
    lines = [("curve: ", str(verdict)), *(("  ", told) for told in verdict.evidence)]
    if verdict.fixes:
        lines.append(("  do: ", "; ".join(verdict.fixes)))
    for lead, text in lines:
        indent = " " * (len(lead) if lead.isspace() else 4)
        print(textwrap.fill(text, 80, initial_indent=lead, subsequent_indent=indent, break_on_hyphens=False))
