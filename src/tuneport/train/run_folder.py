"""The folder of one training run, as its child process sees it. `backends/local_run.py` is the other side.

Everything here survives `kill -9` and a power cut: state is written aside and renamed, rows are appended whole,
checkpoints and adapters appear by rename. Liveness is the lock, which the system drops with the process.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from tuneport.device_queue import DeviceQueue, Place
from tuneport.devices import devices_of, pin
from tuneport.errors import ConfigError
from tuneport.types import DataFile, JobError, JobEvent, JobStatus, MetricPoint, Progress, TuneSpec, now

KEPT_CHECKPOINTS = 2  # beside the best one
ROOM_FOR_A_CHECKPOINT = 1.25  # times the size of the last one
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
        self.reward_model: dict[str, str | None] | None = request.get("reward_model")
        self.hyperparameters: dict[str, Any] = request.get("hyperparameters") or {}
        self.device_names: list[str] | None = request.get("devices")
        self.on_cpu = False
        self.place = Place(DeviceQueue(self.home), self.run_id, datetime.fromisoformat(request["created_at"]))
        self.base_facts: dict[str, Any] = request.get("base") or {}
        self.memory: dict[str, Any] = request.get("memory") or {}
        self.tuned_name: str = request.get("tuned_name") or self.run_id
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

    @property
    def pause_asked(self) -> bool:
        return (self.path / "pause").exists()

    @property
    def stop_early_asked(self) -> bool:
        return (self.path / "stop_early").exists()

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

    @property
    def gone(self) -> bool:
        """Whether the folder was deleted, even if another one of the same run is in its place."""
        if not self._locks:  # a job on another machine, which is looked after by who has the lock
            return not (self.path / "run.json").exists()
        try:
            return not os.path.samestat(os.fstat(self._locks[0]), os.stat(self.path / "lock"))
        except FileNotFoundError:
            return True

    @contextmanager
    def devices(self, count: int | Literal["auto"], stop: Callable[[], bool]) -> Iterator[tuple[str, ...] | None]:
        """Have so many devices to ourselves, after those who were submitted earlier. Yields what they are called,
        ("cuda:0",) or ("cpu",), and None where `stop` came first; ConfigError where there will never be so many.
        `auto` is all that there are, and ("cpu",) is enough for any number, whose processes then share it.

        Inside, this process and those that it starts see these devices only, as cuda:0, cuda:1 ... in this order.
        """
        found = devices_of(self.device_names, os.environ)
        if count == "auto":
            count = len(found)
        if [device.name for device in found] == ["cpu"]:
            count = 1
        if count > len(found):
            there = ", ".join(device.name for device in found)
            raise ConfigError(f"the run asks for {count} devices, and may use {there} here; ask for fewer")
        taken = self.place.take(count, found, stop, self._waits)
        self._locks += (taken or {}).values()
        try:
            if taken is None:
                yield None
                return
            if self.state.pop("waits", None) is not None:
                self.event(f"It is this run's turn, on {', '.join(taken)}")
            chosen = [device for device in found if device.name in taken]
            pin(chosen, self.device_names, os.environ)
            self.on_cpu = self.device_names is not None and chosen[0].kind == "cpu"
            yield tuple(device.name for device in chosen)
        finally:
            self.place.leave()
            for descriptor in (taken or {}).values():
                if descriptor in self._locks:
                    self._locks.remove(descriptor)
                    os.close(descriptor)

    def _waits(self, before: int) -> None:
        others = {0: "next in line", 1: "1 run before it"}.get(before, f"{before:,} runs before it")
        if "waits" not in self.state:
            self.event(f"Another run is using the device; this one waits for it ({others})")
        self.update(status=JobStatus.QUEUED, waits=f"waits for the device; {others}")

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
        self.add_event(event)

    def add_event(self, event: JobEvent) -> None:
        """An event that has its id already."""
        _append(self.path / "events.jsonl", event.model_dump_json())

    def metric(self, point: MetricPoint) -> None:
        _append(self.path / "metrics.jsonl", point.model_dump_json(exclude_none=True))

    def record(self, name: str, content: dict[str, Any]) -> None:
        """Write a JSON file of the run's for people to read."""
        write_aside(self.path / name, json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    @property
    def start(self) -> Path | None:
        """The weights from which the run goes on, where it does not begin with the base model's."""
        folder = self.path / "start"
        return folder if folder.is_dir() else None

    def newest_checkpoint(self) -> Path | None:
        found = self._checkpoints()
        return found[-1] if found else None

    def newest_step(self) -> int:
        """Of the newest checkpoint; 0 where there is none."""
        newest = self.newest_checkpoint()
        return 0 if newest is None else int(newest.name.removeprefix("step-"))

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

    def publish_checkpoint(self, written: Path, step: int, *, best: int | None = None) -> Path:
        """Keeps the newest ones and that of the step `best`. Metrics up to the step are on the disk before it is."""
        target = self.checkpoint(step)
        shutil.rmtree(target, ignore_errors=True)
        if (self.path / "metrics.jsonl").exists():
            _sync(self.path / "metrics.jsonl")
        _publish(written, target)
        self._prune(KEPT_CHECKPOINTS, best)
        return target

    def checkpoint(self, step: int) -> Path:
        return self.path / "checkpoints" / f"step-{step}"

    def make_room(self, best: int | None) -> None:
        """Before a checkpoint is written: where it would not fit beside the others, the newest and the best stay."""
        newest = self.newest_checkpoint()
        if newest is None:
            return
        size = sum(file.stat().st_size for file in newest.rglob("*") if file.is_file())
        if shutil.disk_usage(self.path).free < size * ROOM_FOR_A_CHECKPOINT:
            self.keep_only_newest(best)

    def keep_only_newest(self, best: int | None) -> None:
        self._prune(1, best)

    def publish_weights(self, written: Path, name: str) -> Path:
        target = self.path / name
        shutil.rmtree(target, ignore_errors=True)
        _publish(written, target)
        return target

    def finish(self, status: JobStatus, *, error: JobError | None = None) -> None:
        self.update(status=status, finished_at=now().isoformat(), error=error)

    def _prune(self, kept: int, best: int | None) -> None:
        for old in self._checkpoints()[:-kept]:
            if best is None or old != self.checkpoint(best):
                shutil.rmtree(old, ignore_errors=True)

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
    """Rename a finished folder into place once its bytes, and the names of its files, are on the disk."""
    for entry in [*written.rglob("*"), written]:
        if entry.is_file() or entry.is_dir():
            _sync(entry)
    target.parent.mkdir(parents=True, exist_ok=True)
    written.rename(target)
    for folder in (target.parent, target.parent.parent):  # the second one: `checkpoints` may itself be new
        _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_aside(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    _sync(path.parent)
