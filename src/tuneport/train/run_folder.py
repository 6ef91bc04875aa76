"""The folder of one training run, as its child process sees it. `backends/local_run.py` is the other side.

Everything here survives `kill -9`: state is written aside and renamed, rows are appended whole, checkpoints and
adapters appear by rename. Liveness is the lock, which the system drops with the process.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tuneport.types import DataFile, JobError, JobEvent, JobStatus, MetricPoint, Progress, TuneSpec, now

KEPT_CHECKPOINTS = 2
SECONDS_BETWEEN_PROGRESS_WRITES = 0.5
ANOTHER_CHILD_LIVES = 75  # exit code, EX_TEMPFAIL


class RunFolder:
    def __init__(self, path: Path) -> None:
        self.path = path
        request = json.loads((path / "run.json").read_text(encoding="utf-8"))
        self.run_id: str = request["run_id"]
        self.home = Path(request["home"])
        self.model: str = request["model"]
        self.model_name_or_path: str = request["model_name_or_path"]
        self.spec = TuneSpec.model_validate(request["spec"])
        self.training = DataFile.model_validate(request["training"])
        self.validation = DataFile.model_validate(request["validation"]) if request.get("validation") else None
        self.hyperparameters: dict[str, Any] = request.get("hyperparameters") or {}
        self._locks: list[int] = []
        self._last_write = 0.0
        self.state: dict[str, Any] = {"status": JobStatus.VALIDATING, "progress": {}, "notes": [], "error": None}
        self.read_state()

    def read_state(self) -> None:
        """As it was last written, by another process perhaps."""
        if (self.path / "state.json").exists():
            self.state |= json.loads((self.path / "state.json").read_text(encoding="utf-8"))
        self._event_number = _count_lines(self.path / "events.jsonl")

    @property
    def locks(self) -> tuple[int, ...]:
        """The open files that hold what this process has locked; who inherits them holds it, too."""
        return tuple(self._locks)

    @property
    def finished(self) -> bool:
        return JobStatus(self.state["status"]).terminal

    @property
    def cancelled(self) -> bool:
        return (self.path / "cancel").exists()

    def lock(self) -> bool:
        """Take the run for as long as this process lives. False where another child has it."""
        if not self._take(self.path / "lock"):
            return False
        write_aside(self.path / "pid", str(os.getpid()))
        return True

    def unlock(self) -> None:
        """The end of this process does it too; nothing may be written afterwards."""
        while self._locks:
            os.close(self._locks.pop())

    @contextmanager
    def device(self, stop: Callable[[], bool]) -> Iterator[bool]:
        """Have the device to ourselves; one run at a time, the others queue. Yields False where `stop` came first."""
        path = self.home / "runs" / "device.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        taken = self._take(path)
        if not taken:
            self.update(status=JobStatus.QUEUED)
            self.event("Another run is using the device; this one waits for it")
        while not taken and not stop():
            time.sleep(0.2)
            taken = self._take(path)
        try:
            yield taken
        finally:
            if taken:
                os.close(self._locks.pop())

    def update(self, **fields: Any) -> None:
        """Change the state and write it. JSON-ready values, models and statuses."""
        for name, value in fields.items():
            self.state[name] = value.model_dump(mode="json") if hasattr(value, "model_dump") else value
        self.state["updated_at"] = now().isoformat()
        write_aside(self.path / "state.json", json.dumps(self.state, default=str))
        self._last_write = time.monotonic()

    def progress(self, progress: Progress, trained_tokens: int) -> None:
        """As `update`, but not more often than a person or a poll can read."""
        self.state |= {"progress": progress.model_dump(mode="json"), "trained_tokens": trained_tokens}
        if time.monotonic() - self._last_write >= SECONDS_BETWEEN_PROGRESS_WRITES:
            self.update()

    def note(self, text: str) -> None:
        if text not in self.state["notes"]:
            self.state["notes"] = [*self.state["notes"], text]

    def event(self, message: str, *, level: str = "info", type: str = "message", **data: Any) -> None:
        self._event_number += 1
        event = JobEvent.model_validate(
            {
                "id": str(self._event_number),
                "created_at": now(),
                "level": level,
                "message": message,
                "type": type,
                "data": data,
            }
        )
        self.record(event)

    def record(self, event: JobEvent) -> None:
        """An event that has its id already."""
        _append(self.path / "events.jsonl", event.model_dump_json())

    def metric(self, point: MetricPoint) -> None:
        _append(self.path / "metrics.jsonl", point.model_dump_json(exclude_none=True))

    def newest_checkpoint(self) -> Path | None:
        found = self._checkpoints()
        return found[-1] if found else None

    def forget_after(self, step: int) -> None:
        """Drop the metrics of steps that will be taken again, and a line that a kill cut off."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return
        kept = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if row["step"] <= step:
                kept.append(line + "\n")
        write_aside(path, "".join(kept))

    @property
    def working(self) -> Path:
        """Where a checkpoint or an adapter is written before it is renamed; empty after a crash."""
        return self.path / "checkpoints" / ".writing"

    def clear_working(self) -> None:
        shutil.rmtree(self.working, ignore_errors=True)

    def publish_checkpoint(self, written: Path, step: int) -> Path:
        target = self.path / "checkpoints" / f"step-{step}"
        shutil.rmtree(target, ignore_errors=True)
        _publish(written, target)
        for old in self._checkpoints()[:-KEPT_CHECKPOINTS]:
            shutil.rmtree(old, ignore_errors=True)
        return target

    def publish_weights(self, written: Path, name: str) -> Path:
        target = self.path / name
        shutil.rmtree(target, ignore_errors=True)
        _publish(written, target)
        return target

    def finish(self, status: JobStatus, *, error: JobError | None = None) -> None:
        self.update(status=status, finished_at=now().isoformat(), error=error)

    def _checkpoints(self) -> list[Path]:
        folders = [f for f in (self.path / "checkpoints").glob("step-*") if f.name.removeprefix("step-").isdigit()]
        return sorted(folders, key=lambda folder: int(folder.name.removeprefix("step-")))

    def _take(self, path: Path) -> bool:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._locks.append(descriptor)
        return True


def _count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _append(path: Path, line: str) -> None:
    """One write of a whole line; what a killed process left unfinished at the end is closed off first."""
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        file.write(line.encode("utf-8") + b"\n")


def _publish(written: Path, target: Path) -> None:
    """Rename a finished folder into place once its bytes are on the disk."""
    for file in written.rglob("*"):
        if file.is_file():
            _sync(file)
    target.parent.mkdir(parents=True, exist_ok=True)
    written.rename(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_aside(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with aside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
