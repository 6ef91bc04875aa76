"""Forgetting that an evaluation found in a job's model, kept in the home for later verdicts on its loss curve."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from tuneport import private
from tuneport.curves import CurveForgetting
from tuneport.data.running.writing import publish_output_file, temporary_file


def store_job_forgetting(home: Path, job_id: str, found: CurveForgetting | None) -> None:
    """Store the finding in place of the job's previous one; None means that it was measured and nothing is shown to be
    forgotten.

    Raises StorageError if it cannot be written.
    """
    path = _path(home, job_id)
    if found is None:
        path.unlink(missing_ok=True)
        return
    private.make_private_folder(path.parent)
    with temporary_file(path.parent) as (file, temporary):
        file.write(found.model_dump_json().encode())
        publish_output_file(file, temporary, path, private=True)


def read_stored_job_forgetting(home: Path, job_id: str) -> CurveForgetting | None:
    """Return the finding of the last evaluation, or None if there was none or nothing was shown. An unreadable file
    counts as none, because the verdict on the curve stands without it."""
    try:
        return CurveForgetting.model_validate_json(_path(home, job_id).read_bytes())
    except (OSError, ValidationError):
        return None


def _path(home: Path, job_id: str) -> Path:
    return home / "evaluations" / "forgetting" / f"{job_id}.json"
