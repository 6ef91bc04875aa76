"""The folder of one training run, as its child process sees it. `backends/local/runs/run.py` is the other side.

Everything here survives `kill -9` and a power cut: state is written aside and renamed, rows are appended whole,
checkpoints and adapters appear by rename. Liveness is the lock, which the system drops with the process.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from tuneport import digests
from tuneport.device_queue import DeviceQueue, QueueTicket
from tuneport.devices import find_devices, pin_devices
from tuneport.errors import ConfigError
from tuneport.files import acquire_file_lock, append_line, fsync_path, publish_folder, write_atomically
from tuneport.run_protocol import (
    CANCEL,
    CHECKPOINTS,
    EVENTS,
    LOCK,
    METRICS,
    PAUSE,
    PID,
    REQUEST,
    START,
    STARTING,
    STATE,
    STOP_EARLY,
    WRITING,
    RunRequest,
    damaged_run_checkpoint_folder,
    damaged_run_checkpoint_folders,
    run_checkpoint_folder,
    run_checkpoint_folders,
)
from tuneport.types import DataFile, JobError, JobEvent, JobStatus, MetricPoint, Progress, TuneSpec, now

KEPT_CHECKPOINTS = 2  # beside the best one
ROOM_FOR_A_CHECKPOINT = 1.25  # times the size of the last one
SECONDS_BETWEEN_PROGRESS_WRITES = 0.5


class TrainingRunFolder:
    def __init__(self, path: Path) -> None:
        self.path = path
        request = RunRequest.model_validate_json((path / REQUEST).read_bytes())
        self.run_id = request.run_id or path.name
        self.home = Path(request.home)
        self.model = request.model
        self.model_name_or_path = request.model_name_or_path
        self.spec = TuneSpec.model_validate(request.spec)
        self.training = DataFile.model_validate(request.training)
        self.validation = DataFile.model_validate(request.validation) if request.validation else None
        self.reward_model = request.reward_model
        self.hyperparameters = request.hyperparameters
        self.device_names = request.devices
        self.on_cpu = False
        self.place = QueueTicket(DeviceQueue(self.home), self.run_id, request.submitted_at or now())
        self.base_facts = request.base
        self.memory = request.memory
        self.tuned_name = request.tuned_name or self.run_id
        self._locks: list[int] = []
        self._last_write = 0.0
        self.state: dict[str, Any] = {"status": JobStatus.VALIDATING, "progress": {}, "notes": [], "error": None}
        self.read_state()

    def read_state(self) -> None:
        """Read the state as last written, perhaps by another process."""
        if (self.path / STATE).exists():
            self.state |= json.loads((self.path / STATE).read_text(encoding="utf-8"))
        self._event_number = _count_lines(self.path / EVENTS)

    @property
    def locks(self) -> tuple[int, ...]:
        """Return the open files of this process's locks; a process that inherits them holds the locks, too."""
        return tuple(self._locks)

    @property
    def finished(self) -> bool:
        return JobStatus(self.state["status"]).terminal

    @property
    def cancelled(self) -> bool:
        return (self.path / CANCEL).exists()

    @property
    def pause_requested(self) -> bool:
        return (self.path / PAUSE).exists()

    @property
    def early_stop_requested(self) -> bool:
        return (self.path / STOP_EARLY).exists()

    def lock(self) -> bool:
        """Lock the run for as long as this process lives. Returns False if another child holds it."""
        if not self._take(self.path / LOCK):
            return False
        write_atomically(self.path / PID, str(os.getpid()))
        return True

    def unlock(self) -> None:
        """Unlock the run, as the end of this process does too; nothing may be written afterwards."""
        while self._locks:
            os.close(self._locks.pop())

    @property
    def folder_deleted(self) -> bool:
        """Return whether the folder was deleted, even if another one of the same run is in its place."""
        if not self._locks:  # a job on another machine, which is looked after by who has the lock
            return not (self.path / REQUEST).exists()
        try:
            return not os.path.samestat(os.fstat(self._locks[0]), os.stat(self.path / LOCK))
        except FileNotFoundError:
            return True

    @contextmanager
    def claim_devices(self, count: int | Literal["auto"], stop: Callable[[], bool]) -> Iterator[tuple[str, ...] | None]:
        """Wait for `count` devices in the order of submission, and yield their names, ("cuda:0",) or ("cpu",), or None
        if `stop` came first.

        Raises ConfigError if there will never be that many. `auto` takes all that there are; ("cpu",) is enough for any
        number, whose processes then share it. In the block, this process and its children see these devices only, as
        cuda:0, cuda:1 ... in this order.
        """
        found = find_devices(self.device_names, os.environ)
        if count == "auto":
            count = len(found)
        if [device.name for device in found] == ["cpu"]:
            count = 1
        if count > len(found):
            there = ", ".join(device.name for device in found)
            raise ConfigError(f"the run asks for {count} devices, and may use {there} here; ask for fewer")
        taken = self.place.acquire_devices(count, found, stop, self._waits)
        self._locks += (taken or {}).values()
        try:
            if taken is None:
                yield None
                return
            if self.state.pop("waits", None) is not None:
                self.log_event(f"It is this run's turn, on {', '.join(taken)}")
            chosen = [device for device in found if device.name in taken]
            pin_devices(chosen, self.device_names, os.environ)
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
            self.log_event(f"Another run is using the device; this one waits for it ({others})")
        self.update(status=JobStatus.QUEUED, waits=f"waits for the device; {others}")

    def update(self, **fields: Any) -> None:
        """Change the state (a `TrainerState`) and write it. The values are JSON-ready, models or statuses."""
        for name, value in fields.items():
            self.state[name] = value.model_dump(mode="json") if hasattr(value, "model_dump") else value
        self.state["updated_at"] = now().isoformat()
        write_atomically(self.path / STATE, json.dumps(self.state, default=str))
        self._last_write = time.monotonic()

    def update_progress(self, progress: Progress, trained_tokens: int) -> None:
        """Update the state as `update` does, but not more often than a person or a poll can read."""
        self.state |= {"progress": progress.model_dump(mode="json"), "trained_tokens": trained_tokens}
        if time.monotonic() - self._last_write >= SECONDS_BETWEEN_PROGRESS_WRITES:
            self.update()

    def report_phase(self, name: str) -> None:
        """Report the phase of a run that does not train yet. The parent reports for how long."""
        if name == "trains":  # the state tells from here on, and a full disk has room for little
            (self.path / STARTING).unlink(missing_ok=True)
            return
        said = {"phase": name, "since": now().isoformat(), "pid": os.getpid()}
        with contextlib.suppress(OSError):  # on a full disk, what has to be written fails and is told
            write_atomically(self.path / STARTING, json.dumps(said))

    def note(self, text: str) -> None:
        if text not in self.state["notes"]:
            self.state["notes"] = [*self.state["notes"], text]

    def log_event(self, message: str, *, level: str = "info", type: str = "message", **data: Any) -> None:
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
        """Add an event that has its id already."""
        append_line(self.path / EVENTS, event.model_dump_json())

    def add_metric(self, point: MetricPoint) -> None:
        append_line(self.path / METRICS, point.model_dump_json(exclude_none=True))

    def write_record(self, name: str, content: dict[str, Any]) -> None:
        """Write a JSON file of the run's for people to read."""
        write_atomically(self.path / name, json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    @property
    def starting_weights(self) -> Path | None:
        """Return the weights from which the run continues, or None if it begins with the base model's."""
        folder = self.path / START
        return folder if folder.is_dir() else None

    def newest_checkpoint(self) -> Path | None:
        found = run_checkpoint_folders(self.path)
        return found[-1][1] if found else None

    def newest_checkpoint_step(self) -> int:
        """Return the step of the newest checkpoint; 0 if there is none."""
        return max(self.checkpoint_steps(), default=0)

    def checkpoint_steps(self) -> list[int]:
        """Return the steps of the checkpoints, oldest first."""
        return [step for step, _ in run_checkpoint_folders(self.path)]

    def set_aside_checkpoint(self, step: int) -> None:
        """Keep a damaged checkpoint under another name, which no run continues from, until its step is reached
        again."""
        aside = damaged_run_checkpoint_folder(self.path, step)
        shutil.rmtree(aside, ignore_errors=True)
        self.checkpoint(step).rename(aside)
        fsync_path(aside.parent)

    def drop_metrics_after(self, step: int) -> None:
        """Drop the metrics of steps that will be taken again, and a line that a kill cut off."""
        path = self.path / METRICS
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
        write_atomically(path, "".join(kept))

    def validation_losses(self) -> dict[int, float]:
        """Return the validation losses of the evaluations so far, by step."""
        path = self.path / METRICS
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
        return {row["step"]: row["valid_loss"] for row in rows if row.get("valid_loss") is not None}

    @property
    def partial_folder(self) -> Path:
        """Return the folder in which a checkpoint or an adapter is written before it is renamed; empty after a
        crash."""
        return self.path / CHECKPOINTS / WRITING

    def clear_partial_folder(self) -> None:
        shutil.rmtree(self.partial_folder, ignore_errors=True)

    def publish_checkpoint(self, written: Path, step: int, *, best: int | None = None) -> Path:
        """Publish a checkpoint, and keep the newest ones and that of the step `best`. Metrics up to the step, and the
        digests of the files, are on the disk before it is."""
        target = self.checkpoint(step)
        shutil.rmtree(target, ignore_errors=True)
        if (self.path / METRICS).exists():
            fsync_path(self.path / METRICS)
        digests.write_digest_list(written)
        publish_folder(written, target)
        self._prune(KEPT_CHECKPOINTS, best)
        self._forget_damaged(up_to=step)
        return target

    def checkpoint(self, step: int) -> Path:
        return run_checkpoint_folder(self.path, step)

    def delete_old_checkpoints(self, best: int | None) -> None:
        """Delete checkpoints before a new one that would not fit beside them; the newest and the best stay."""
        newest = self.newest_checkpoint()
        if newest is None:
            return
        size = sum(file.stat().st_size for file in newest.rglob("*") if file.is_file())
        if shutil.disk_usage(self.path).free < size * ROOM_FOR_A_CHECKPOINT:
            self._forget_damaged()
        if shutil.disk_usage(self.path).free < size * ROOM_FOR_A_CHECKPOINT:
            self.keep_newest_checkpoint(best)

    def keep_newest_checkpoint(self, best: int | None) -> None:
        self._prune(1, best)

    def publish_weights(self, written: Path, name: str) -> Path:
        target = self.path / name
        shutil.rmtree(target, ignore_errors=True)
        digests.write_digest_list(written)
        publish_folder(written, target)
        return target

    def finish(self, status: JobStatus, *, error: JobError | None = None) -> None:
        self.update(status=status, finished_at=now().isoformat(), error=error)

    def _prune(self, kept: int, best: int | None) -> None:
        for step, old in run_checkpoint_folders(self.path)[:-kept]:
            if step != best:
                shutil.rmtree(old, ignore_errors=True)

    def _forget_damaged(self, *, up_to: int | None = None) -> None:
        for step, old in damaged_run_checkpoint_folders(self.path):
            if up_to is None or (step is not None and step <= up_to):
                shutil.rmtree(old, ignore_errors=True)

    def _take(self, path: Path) -> bool:
        descriptor = acquire_file_lock(path)
        if descriptor is not None:
            self._locks.append(descriptor)
        return descriptor is not None


def _count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0
