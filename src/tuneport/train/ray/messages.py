"""Messages of a run on a Ray cluster, kept on the cluster's head node until the run's own machine has fetched it.

One actor a job. Ranks hand it messages and checkpoints; it writes them into the head node's log folder, from which the
dashboard serves files to all who may submit jobs. So a lost node loses no checkpoint that was reported, and results
need no way but the one by which the job came.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tuneport.files import write_atomically
from tuneport.types import now

FOLDER = "tuneport"  # in the log folder of the head node
MESSAGES_PER_FILE = 200
STARTS_WITHOUT_PROGRESS = 4
KEPT_CHECKPOINTS = 2


def ray_messages_name(number: int) -> str:
    return f"messages-{number:06}.jsonl"


def ray_chunk_name(what: str, number: int) -> str:
    return f"{what}.{number:04}"


class RayMailbox:
    """`folder` is this job's. Everything is on disk before a call returns."""

    def __init__(self, folder: str, state: dict[str, Any]) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.known_state = state
        self.count = 0
        self.checkpoints: list[dict[str, Any]] = []
        self.starts = 0
        self.failed = False

    def begin(self) -> dict[str, Any]:
        """Return the starting point of the first rank of a group of workers, and whether it should start at all."""
        self.starts += 1
        if self.starts > STARTS_WITHOUT_PROGRESS and not self.failed:
            self.fail(
                {
                    "code": "process_died",
                    "message": f"workers were lost {self.starts - 1} times without getting further (out of memory is "
                    "the usual cause; the run's log.txt has what they said)",
                    "fault": "provider",
                    "retryable": True,
                }
            )
        return {
            "failed": self.failed,
            "again": self.starts > 1,
            "checkpoint": self.checkpoints[-1] if self.checkpoints else None,
            "state": self.known_state,
        }

    def fail(self, error: dict[str, Any]) -> None:
        """Record why. The first report counts: other ranks fail next because they lost that one."""
        if not self.failed:
            self.failed = True
            self.post("failed", {"error": error})

    def post(self, kind: str, content: dict[str, Any]) -> None:
        if kind == "state":
            self.known_state = self.known_state | content
        elif kind == "checkpoint":
            self.checkpoints.append(content)
            self.starts = 1
            for old in self.checkpoints[:-KEPT_CHECKPOINTS]:
                self._drop(old)
            self.checkpoints = self.checkpoints[-KEPT_CHECKPOINTS:]
        line = json.dumps({**content, "number": self.count, "kind": kind, "at": now().isoformat()}, default=str)
        with (self.folder / ray_messages_name(self.count // MESSAGES_PER_FILE)).open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        self.count += 1

    def write(self, what: str, number: int, piece: bytes) -> None:
        write_atomically(self.folder / ray_chunk_name(what, number), piece, durable=False, private=False)

    def read(self, what: str, number: int) -> bytes:
        return (self.folder / ray_chunk_name(what, number)).read_bytes()

    def _drop(self, about: dict[str, Any]) -> None:
        for number in range(about["pieces"]):
            (self.folder / ray_chunk_name(about["what"], number)).unlink(missing_ok=True)


def delete_ray_messages(logs: Path, submission_id: str) -> None:
    """Delete what a job left in the log folder."""
    shutil.rmtree(logs / FOLDER / submission_id, ignore_errors=True)
