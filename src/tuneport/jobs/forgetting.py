"""What an evaluation found a job's model to have forgotten, kept in the home for every later word on its loss curve."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from tuneport.curves import Forgetting
from tuneport.data.writing import aside, publish


def keep_forgetting(home: Path, job_id: str, found: Forgetting | None) -> None:
    """In place of what was kept of the job before; None: it was asked, and nothing is shown to be forgotten.

    StorageError where it cannot be written.
    """
    path = _path(home, job_id)
    if found is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with aside(path.parent) as (file, temporary):
        file.write(found.model_dump_json().encode())
        publish(file, temporary, path)


def kept_forgetting(home: Path, job_id: str) -> Forgetting | None:
    """As the last evaluation found it. None where none has asked, or nothing was shown; a file that cannot be read
    counts as none, because the verdict on the curve stands without it."""
    try:
        return Forgetting.model_validate_json(_path(home, job_id).read_bytes())
    except (OSError, ValidationError):
        return None


def _path(home: Path, job_id: str) -> Path:
    return home / "evaluations" / "forgetting" / f"{job_id}.json"
