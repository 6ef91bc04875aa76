"""One local training run: a folder that a child process writes and that any process may read.

The parent writes `run.json` (the request), `spawn.json` (the child's process, and when it was started),
`restarts.json`, `cancel`, `pause` and `stop_early`; the child writes everything else (see `run_protocol.py`). Whoever
finds the child dead before its end starts it again, unless `pause` is there, and it goes on from its newest checkpoint;
`spawn.lock` keeps two processes that look at once from starting two children. While the child is dead, and only then,
the parent may write the child's files.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from tuneport.backends.local.runs import process as local_process
from tuneport.backends.local.runs import starting as local_starting
from tuneport.device_queue import TICKET_VARIABLE, DeviceQueue
from tuneport.errors import ProviderError, RejectedError
from tuneport.files import append_line, cut_partial_line, fsync_path, hold_file_lock, is_file_locked, write_atomically
from tuneport.run_protocol import (
    CANCEL,
    EVENTS,
    FINISHED,
    LOCK,
    LOG,
    METRICS,
    PAUSE,
    RAY,
    REQUEST,
    RESTARTS,
    RESTARTS_WITHOUT_PROGRESS,
    SLURM,
    SPAWN,
    SPAWN_LOCK,
    STATE,
    STOP_EARLY,
    RestartCounts,
    RunRequest,
    SpawnRecord,
    TrainerState,
    run_checkpoint_folders,
)
from tuneport.types import JobError, JobEvent, MetricPoint, Model, now
from tuneport.validation import first_error

STARTING_GRACE = timedelta(seconds=30)  # between writing `spawn.json` and knowing the child's pid
CANCEL_GRACE = timedelta(seconds=20)  # between SIGTERM and SIGKILL: a step on a CPU may take that long
CANCEL_GRACE_ELSEWHERE = timedelta(seconds=120)  # the same where the child has to stop a job on a cluster
_LOG_CHARACTERS = 600
STOPS_ELSEWHERE = 3  # children that may try to stop a cluster's job before a person has to
BOOKS = (RAY,)  # what a child has on a cluster, for as long as it has

_Row = TypeVar("_Row", bound=Model)
_Record = TypeVar("_Record", RunRequest, TrainerState)


@dataclass(frozen=True)
class LocalRun:
    """`command` and `environment` are what starts the child; the command gets the folder as its last argument.

    A cancelled child on this machine is killed after `cancel_grace`. One that makes no progress in a phase before the
    training for as long as `still_limit` says has `seconds_to_die` after SIGTERM to end, and as long after SIGKILL.
    """

    folder: Path
    command: Sequence[str]
    environment: Callable[[], Mapping[str, str]]
    cancel_grace: timedelta = CANCEL_GRACE
    seconds_to_die: float = local_process.SECONDS_TO_DIE
    still_limit: Mapping[str, timedelta] = field(default_factory=lambda: local_starting.STILL_LIMIT)

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def cancel_requested(self) -> bool:
        return (self.folder / CANCEL).exists()

    @property
    def pause_requested(self) -> bool:
        return (self.folder / PAUSE).exists()

    def read_request(self) -> RunRequest:
        """Read `run.json`. Raises ProviderError if it is damaged."""
        request = self._read_json(REQUEST)
        if request is None or not isinstance(request.get("model"), str):
            raise self._damaged(REQUEST, "it is missing or names no model")
        return self._validated(RunRequest, REQUEST, request)

    def read_trainer_report(self) -> TrainerState | None:
        """Return the child's last report, or None before its first. Raises ProviderError if the file is damaged."""
        content = self._read_json(STATE)
        if content is None:
            return None
        return self._validated(TrainerState, STATE, content)

    def is_alive(self) -> bool:
        """Return whether a child is at work, or about to be."""
        if self._seen_alive():
            return True
        with hold_file_lock(self.folder / SPAWN_LOCK):
            return self._holds_its_lock()

    def _seen_alive(self) -> bool:
        spawn = self._spawn()
        if spawn is None:
            return False
        if spawn.pid is None:
            return now() - spawn.spawned_at < STARTING_GRACE
        return (
            spawn.boot_id == local_process.machine_boot_id()
            and local_process.local_run_process_start(spawn.pid) == spawn.started
        )

    def _holds_its_lock(self) -> bool:
        """Return whether a child holds its lock, under `spawn.lock`.

        Testing the child's lock means holding it for a moment, in which a child that wants it would give up, so no
        child may be starting meanwhile.
        """
        return self._seen_alive() or is_file_locked(self.folder / LOCK)

    def supervise(self) -> None:
        """Start a child that was never started, restart a dead one, end a cancelled one, or give up on a hopeless one.

        A run that is to pause is left alone.
        """
        if self._seen_alive() or self._finished():
            self._kill_if_cancel_is_overdue()
            self._end_if_stuck()
            return
        with hold_file_lock(self.folder / SPAWN_LOCK):
            if self._seen_alive() or self._finished():
                return
            spawn = self._spawn()
            self._kill_leftovers(spawn)  # which may hold the child's lock, inherited from it
            if self._holds_its_lock():
                return
            if self.cancel_requested:
                self._end_cancelled()
            elif self.pause_requested:
                self._hold()
            elif spawn is None:
                self._start()
            elif self._status() == "paused":
                self._go_on()
            else:
                self._restart()

    def cancel(self) -> None:
        """Ask the child to stop; `supervise` insists later. A run without a child is cancelled at once."""
        with hold_file_lock(self.folder / SPAWN_LOCK):
            alive = self._holds_its_lock()
            if self._finished():
                return
            if not self.cancel_requested:
                write_atomically(self.folder / CANCEL, now().isoformat())
            if not alive:
                self._end_cancelled()
                return
            self._signal(signal.SIGTERM)
        self._kill_if_cancel_is_overdue()

    def pause(self) -> None:
        """Ask the child to make a checkpoint after its step and to end. A run without a child pauses at once."""
        with hold_file_lock(self.folder / SPAWN_LOCK):
            alive = self._holds_its_lock()
            if self._finished():
                raise self._over("pause")
            if not self.pause_requested:
                write_atomically(self.folder / PAUSE, now().isoformat())
            if not alive:
                self._hold()

    def stop_early(self) -> None:
        """Ask the child to end after its step, with its best weights. A dead child does so when it is restarted."""
        with hold_file_lock(self.folder / SPAWN_LOCK):
            if not self._finished():
                write_atomically(self.folder / STOP_EARLY, now().isoformat())

    def resume(self) -> None:
        """Start the child of a paused run again, and of one that failed because something was missing that may be there
        now.

        A run that is still about to pause is started by `supervise` afterwards. Raises RejectedError if it succeeded,
        was cancelled, or would only fail again.
        """
        with hold_file_lock(self.folder / SPAWN_LOCK):
            alive, finished = self._holds_its_lock(), self._finished()
            if finished:
                reported = self.read_trainer_report()
                error = None if reported is None else reported.error
                if alive or error is None or not error.retryable:
                    raise self._over("resume")
            (self.folder / PAUSE).unlink(missing_ok=True)
            fsync_path(self.folder)
            if finished or (not alive and self._status() == "paused"):
                self._go_on()

    def events(self) -> list[JobEvent]:
        return list(self._rows(EVENTS, JobEvent))

    def metrics(self) -> list[MetricPoint]:
        """Return one point a step, in order. Lines of one step are joined; the later value counts, since a run that
        resumed may have measured a step twice."""
        by_step: dict[int, dict[str, Any]] = {}
        for point in self._rows(METRICS, MetricPoint):
            said = point.model_dump(exclude_none=True)
            before = by_step.setdefault(point.step, {})
            before |= said | {"extra": before.get("extra", {}) | point.extra}
        return [MetricPoint.model_validate(by_step[step]) for step in sorted(by_step)]

    def checkpoint_folders(self) -> list[tuple[int, Path]]:
        """Return step and folder of each complete checkpoint, oldest first."""
        return run_checkpoint_folders(self.folder)

    def read_restarts(self) -> RestartCounts:
        try:
            return RestartCounts.model_validate_json((self.folder / RESTARTS).read_bytes())
        except (OSError, ValidationError):
            return RestartCounts()  # damaged: counting anew costs three more attempts, no more

    def find_slurm_job_id(self) -> str | None:
        """Return the id of the newest Slurm job of a run that trains there."""
        try:
            submission = self._read_json(SLURM) or {}
        except ProviderError:
            return None
        return submission.get("job_id")

    def read_log_tail(self, lines: int = 3) -> str:
        """Return the last line of the child's log, or an empty string."""
        try:
            with (self.folder / LOG).open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - 8192))
                text = log.read().decode("utf-8", errors="replace")
        except OSError:
            return ""
        # A progress bar rewrites its line with carriage returns: only the last state of it counts.
        said = [line.rsplit("\r", 1)[-1].strip() for line in text.replace("\r\n", "\n").split("\n")]
        tail = " | ".join([line for line in said if line][-lines:])
        return re.sub(r"[\x00-\x1f\x7f]", " ", re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", tail))[-_LOG_CHARACTERS:]

    # --- what changes the folder; under `spawn.lock`, with the child dead -------------------------------------------

    def start(self) -> None:
        """Start the child unless it was started before. Raises OSError if the system cannot."""
        with hold_file_lock(self.folder / SPAWN_LOCK):
            if self._spawn() is None and not self._finished():
                self._start()

    def _start(self) -> None:
        # A model on disk needs no hub: looking there would only take time, or fail.
        on_disk = Path(self.read_request().model_name_or_path or "None").is_dir()
        environment = {**self.environment(), **({"HF_HUB_OFFLINE": "1"} if on_disk else {})}
        path = self.folder / SPAWN
        before = path.read_bytes() if path.exists() else None
        intent = SpawnRecord(spawned_at=now(), memory_kills=local_process.count_local_run_memory_kills())
        write_atomically(path, intent.model_dump_json())
        try:
            pid = self._spawn_in_the_queue(environment)
        except OSError:
            self._forget_spawn(before)
            raise
        started = None
        try:
            started = local_process.local_run_process_start(pid) or ""
            identity = {"pid": pid, "started": started, "boot_id": local_process.machine_boot_id()}
            write_atomically(path, intent.model_copy(update=identity).model_dump_json())
        except OSError:
            # This child could not be told from another one later, and the caller starts anew after the error.
            local_process.kill_local_run_processes(pid, started)
            self._forget_spawn(before)
            raise

    def _spawn_in_the_queue(self, environment: Mapping[str, str]) -> int:
        """Start the child with its ticket in the queue for devices, dated by the run's submission."""
        submitted = self.read_request().submitted_at or now()
        with DeviceQueue(self.folder.parent.parent).ticket(self.id, submitted) as ticket:
            return local_process.spawn_local_run(
                [*self.command, str(self.folder)],
                self.folder,
                {**environment, TICKET_VARIABLE: "" if ticket is None else str(ticket)},
                self.folder / LOG,
                keep=() if ticket is None else (ticket,),
            )

    def _forget_spawn(self, before: bytes | None) -> None:
        path = self.folder / SPAWN
        if before is None:
            path.unlink(missing_ok=True)
            return
        with contextlib.suppress(OSError):  # on a full disk the intent stays: it counts as dead after its grace
            write_atomically(path, before.decode("utf-8"))

    def _restart(self) -> None:
        self.read_trainer_report()  # a damaged state is for a person to look at: the run may have ended well
        restarts = self.read_restarts()
        steps = [step for step, _ in self.checkpoint_folders()]
        newest = steps[-1] if steps else 0
        restarts = restarts.as_of_checkpoint(newest)
        if restarts.without_progress >= RESTARTS_WITHOUT_PROGRESS:
            self._finish("failed", self._died(restarts))
            return
        counted = {"total": restarts.total + 1, "without_progress": restarts.without_progress + 1}
        write_atomically(self.folder / RESTARTS, restarts.model_copy(update=counted).model_dump_json())
        where = f"step {newest}" if steps else "the beginning"
        said = f"; it last said: {self.read_log_tail(lines=1)}" if self.read_log_tail() else ""
        said += self._take_fewer_rows()
        cut_partial_line(self.folder / METRICS)
        self._append_event("warning", f"the trainer died; starting it again from {where}{said}", "restart")
        self._start()

    def _take_fewer_rows(self) -> str:
        """Halve the child's batch if the kernel seems to have killed it for lack of memory, and return a message."""
        spawn, kills = self._spawn(), local_process.count_local_run_memory_kills()
        rows = None if (reported := self.read_trainer_report()) is None else reported.micro_batch
        if spawn is None or spawn.memory_kills is None or kills is None or kills <= spawn.memory_kills:
            return ""
        killed = f"; the kernel has killed {kills - spawn.memory_kills} process(es) for lack of memory since it started"
        if rows is None or rows < 2:
            return f"{killed}, it may be one of them"
        self._write_state(micro_batch_limit=rows // 2)
        return f"{killed}, and as it may be one of them, it takes at most {rows // 2} rows at once instead of {rows}"

    def _hold(self) -> None:
        """Mark the run as paused, if its child could not; what runs on a cluster is stopped first."""
        if self._status() == "paused" or self._stops_elsewhere():
            return
        steps = [step for step, _ in self.checkpoint_folders()]
        self._append_event("info", f"Paused at step {steps[-1] if steps else 0}", "pause")
        self._write_state(status="paused")

    def _go_on(self) -> None:
        """Start the child of a paused or failed run; it queues for the device like any other."""
        before = self._read_json(STATE) or {}
        forgotten: dict[str, Any] = {"error": None, "finished_at": None}
        if (before.get("error") or {}).get("code") == "out_of_memory":
            forgotten["micro_batch_limit"] = None  # there may be more of it now
        if (before.get("error") or {}).get("code") == "no_whole_checkpoint":
            forgotten["start_anew"] = True  # it was told what that costs
        (self.folder / RESTARTS).unlink(missing_ok=True)
        self._append_event("info", "Resumed", "resume")
        self._write_state(status="queued", **forgotten)
        try:
            self._start()
        except OSError:
            write_atomically(self.folder / STATE, json.dumps(before))
            raise

    def _end_cancelled(self) -> None:
        if not self._stops_elsewhere():
            self._finish("cancelled", None)

    def _stops_elsewhere(self) -> bool:
        """Return whether a child was started to stop the run's job on a cluster, which only a child can do."""
        if not self._elsewhere():
            return False
        restarts = self.read_restarts()
        if restarts.stops < STOPS_ELSEWHERE:
            counted = restarts.model_copy(update={"stops": restarts.stops + 1})
            write_atomically(self.folder / RESTARTS, counted.model_dump_json())
            self._start()
            return True
        said = self.read_log_tail(1)
        self._append_event("warning", f"the job on the cluster could not be stopped; stop it there: {said}", "cluster")
        return False

    def _elsewhere(self) -> bool:
        return any((self.folder / book).exists() for book in BOOKS)

    def _died(self, restarts: RestartCounts) -> JobError:
        said = self.read_log_tail()
        message = (
            f"the training process died {restarts.without_progress + 1} times without getting further "
            f"(out of memory is the usual cause; the whole log is {self.folder / LOG})"
        )
        return JobError(
            code="process_died", message=f"{message}: {said}" if said else message, fault="provider", retryable=True
        )

    def _finish(self, status: Literal["failed", "cancelled"], error: JobError | None) -> None:
        self._append_event("error" if error else "info", error.message if error else "cancelled", status)
        told = None if error is None else error.model_dump(mode="json")
        self._write_state(status=status, finished_at=now().isoformat(), error=told)

    def _write_state(self, **fields: Any) -> None:
        try:
            content = self._read_json(STATE) or {}
        except ProviderError:
            content = {}
        content = {"status": "queued"} | content | fields | {"updated_at": now().isoformat()}
        write_atomically(self.folder / STATE, json.dumps(content))

    def _append_event(self, level: Literal["info", "warning", "error"], message: str, kind: str) -> None:
        stamp = now()
        event = JobEvent(
            id=f"{kind}-{int(stamp.timestamp() * 1000)}", created_at=stamp, level=level, message=message, type=kind
        )
        append_line(self.folder / EVENTS, event.model_dump_json())

    # --- reading ----------------------------------------------------------------------------------------------------

    def _finished(self) -> bool:
        try:
            reported = self.read_trainer_report()
        except ProviderError:
            return False
        return reported is not None and reported.status in FINISHED

    def _status(self) -> str | None:
        reported = self.read_trainer_report()
        return None if reported is None else reported.status

    def _over(self, verb: str) -> RejectedError:
        reported = self.read_trainer_report()
        status, error = ("over", None) if reported is None else (reported.status, reported.error)
        because = f": {error.message}" if error is not None else ""
        return RejectedError(
            f"the local run {self.id} has ended ({status}{because}); there is nothing to {verb}", provider="local"
        )

    def _kill_if_cancel_is_overdue(self) -> None:
        try:
            requested = datetime.fromtimestamp((self.folder / CANCEL).stat().st_mtime, UTC)
        except FileNotFoundError:
            return
        spawn = self._spawn()
        asked = requested if spawn is None else max(requested, spawn.spawned_at)
        if now() - asked >= (CANCEL_GRACE_ELSEWHERE if self._elsewhere() else self.cancel_grace):
            self._signal(signal.SIGKILL)

    def describe_start_progress(self) -> str | None:
        """Return the progress of a trainer before it trains, as text, or None if it trains already, or does not run."""
        if not self._watches_start():
            return None
        spawn = self._spawn()
        found = local_starting.read_local_start_progress(self.folder, spawn, self.still_limit)
        return None if found is None else found.description

    def _watches_start(self) -> bool:
        """Return whether a child that works on this machine itself is alive."""
        if self._finished() or not self._seen_alive():
            return False
        return self.read_request().options.get("executor") in (None, "process")

    def _end_if_stuck(self) -> None:
        """End a child that makes no progress before training: TERM, then KILL; the run has failed then."""
        if self.cancel_requested or not self._watches_start():
            return
        found = local_starting.read_local_start_progress(self.folder, self._spawn(), self.still_limit)
        if found is None or not found.overdue:
            return
        with hold_file_lock(self.folder / SPAWN_LOCK):
            spawn = self._spawn()
            if not self._seen_alive() or spawn is None or spawn.pid is None:
                return
            self._signal(signal.SIGTERM)
            local_process.wait_for_local_run_end(spawn.pid, spawn.started, most_seconds=self.seconds_to_die)
            self._signal(signal.SIGKILL)
            local_process.wait_for_local_run_end(spawn.pid, spawn.started, most_seconds=self.seconds_to_die)
            if self._seen_alive() or self._finished():
                return
            said = f"; it last said: {tail}" if (tail := self.read_log_tail()) else ""
            message = (
                f"{found.stuck_reason}{said}; look at {self.folder / LOG} and at what limits its memory (ulimit -v, "
                f"cgroups), then go on with it: tuneport resume {self.id}"
            )
            self._finish("failed", JobError(code="never_began", message=message, fault="provider", retryable=True))

    def _signal(self, number: signal.Signals) -> None:
        spawn = self._spawn()
        if spawn is not None and spawn.pid is not None and spawn.boot_id == local_process.machine_boot_id():
            local_process.signal_local_run_processes(spawn.pid, spawn.started or "", number)

    def _kill_leftovers(self, spawn: SpawnRecord | None) -> None:
        if spawn is not None and spawn.pid is not None and spawn.boot_id == local_process.machine_boot_id():
            local_process.kill_leftover_run_processes(spawn.pid)

    def _spawn(self) -> SpawnRecord | None:
        try:
            return SpawnRecord.model_validate_json((self.folder / SPAWN).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError):
            # Damaged: something unknown was started once; the lock alone decides.
            return SpawnRecord(spawned_at=datetime.fromtimestamp(0, UTC))

    def _read_json(self, name: str) -> dict[str, Any] | None:
        try:
            content = json.loads((self.folder / name).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise self._damaged(name, str(error)) from error
        if not isinstance(content, dict):
            raise self._damaged(name, "it holds no JSON object")
        return content

    def _validated(self, kind: type[_Record], name: str, content: Mapping[str, Any]) -> _Record:
        try:
            return kind.model_validate(content)
        except ValidationError as error:
            raise self._damaged(name, first_error(error)) from error

    def _rows(self, name: str, kind: type[_Row]) -> Iterator[_Row]:
        """Yield the lines of a file that the child may be writing to: the last one only if it ends in a newline."""
        try:
            lines = (self.folder / name).read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return
        for number, line in enumerate(lines, start=1):
            try:
                yield kind.model_validate_json(line)
            except ValidationError as error:
                raise self._damaged(name, f"line {number}: {first_error(error)}") from error

    def _damaged(self, name: str, what: str) -> ProviderError:
        return ProviderError(
            f"{self.folder / name} of the local run {self.id} is damaged ({what}); "
            "look at the folder, then delete the run and submit it again",
            provider="local",
            code="damaged_run",
        )
