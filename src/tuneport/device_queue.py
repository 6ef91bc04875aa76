"""The devices of this machine, the runs that hold them, and the queue of those that wait: files whose locks the system
drops with their holders, so that `kill -9` at any moment leaves no hole and nothing to clean up.

    HOME/devices/mutex                 held for a moment to read or change the rest
    HOME/devices/cpu.lock              held by the run that has that device; a GPU's is in `GPU_LOCKS`
    HOME/devices/queue/TIME-RUN        a ticket: held while its run waits; TIME is when the run was submitted

A ticket is made by the process that starts a run's process and handed down to it locked, so the order is that of
submission whichever process is up first. What a ticket asks for is written into it once its process knows. The first in
line is never overtaken by one that would take a device from it: it waits for several GPUs while others could use those
that are free. Only the standard library is used here: a waiting process is to cost next to nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tuneport import private
from tuneport.devices import Device
from tuneport.files import hold_file_lock, lock_open_file

GPU_LOCKS = Path("/tmp/tuneport-devices")
"""GPUs belong to the machine: runs of all homes and all users lock them here. A CPU can be shared, so each home has its
own lock for it."""

TICKET_VARIABLE = "TUNEPORT_QUEUE_TICKET"
"""Tells a run's process the number of the open file that is its ticket."""

SECONDS_BETWEEN_LOOKS = 0.2  # of the first in line; the others look less often
_LONGEST_SECONDS_BETWEEN_LOOKS = 5.0
_LONGEST_SECONDS_UNTIL_STOPPED = 1.0


@dataclass(frozen=True)
class DeviceRequest:
    """The request of a ticket: `count` of the devices `names`."""

    count: int
    names: tuple[str, ...]


class DeviceQueue:
    """The devices and the queue of one home."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "devices"
        self.tickets = self.folder / "queue"

    @contextlib.contextmanager
    def ticket(self, run_id: str, submitted: datetime) -> Iterator[int | None]:
        """Provide a locked ticket to hand down to the process of a run, or None if an older process of the run still
        has it.

        The caller holds it until the block ends; it stays in the queue as long as any process has it open.
        """
        private.make_private_folder(self.tickets)
        with self.mutex():
            for path in self._paths():
                _remove_if_nobody_holds(path)
            descriptor = _take(self.tickets / ticket_name(run_id, submitted))
        try:
            yield descriptor
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def waiting(self) -> list[str]:
        """Return the ids of the runs that wait, in the order of their turns."""
        if not self.tickets.is_dir():
            return []
        with self.mutex():
            return [path.name.partition("-")[2] for path in self._paths() if not _remove_if_nobody_holds(path)]

    @contextlib.contextmanager
    def mutex(self) -> Iterator[None]:
        with hold_file_lock(self.folder / "mutex"):
            yield

    def device_lock_path(self, device: str, uuid: str = "") -> Path:
        if device.startswith("cpu"):
            return self.folder / f"{device.replace(':', '-')}.lock"
        return GPU_LOCKS / f"{uuid.replace('/', '_') or device}.lock"

    def _paths(self) -> list[Path]:
        return sorted(self.tickets.iterdir())


class QueueTicket:
    """A run's ticket in the queue, as its process sees it: from `acquire_devices` until it has them or gives up."""

    def __init__(self, queue: DeviceQueue, run_id: str, submitted: datetime) -> None:
        self.queue = queue
        self.path = queue.tickets / ticket_name(run_id, submitted)
        self._descriptor = _inherited(self.path)

    def leave(self) -> None:
        """Leave the queue. Idempotent."""
        if self._descriptor is not None:
            with self.queue.mutex():
                self.path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None

    def acquire_devices(
        self, count: int, devices: Sequence[Device], stop: Callable[[], bool], tell: Callable[[int], None]
    ) -> dict[str, int] | None:
        """Wait for `count` of `devices`, and return them with the open files that lock them. Returns None if `stop`
        came first.

        `tell` is called with the number of runs before this one whenever that changes.
        """
        request = DeviceRequest(count, tuple(device.name for device in devices))
        locks = {device.name: self.queue.device_lock_path(device.name, device.uuid) for device in devices}
        told = None
        while not stop():
            taken, before = self._try(request, locks)
            if taken is not None:
                return taken
            if told != before:
                told = before
                tell(before)
            _sleep(min(SECONDS_BETWEEN_LOOKS * (before + 1), _LONGEST_SECONDS_BETWEEN_LOOKS), stop)
        return None

    def _try(self, request: DeviceRequest, locks: dict[str, Path]) -> tuple[dict[str, int] | None, int]:
        """Return the devices if they are free and no earlier run needs them (else None), and the number of earlier
        runs."""
        self.queue.tickets.mkdir(parents=True, exist_ok=True)
        with self.queue.mutex():
            if self._descriptor is None:  # started by hand, or an older process of this run had the ticket
                self._descriptor = _take(self.path)
                if self._descriptor is None:
                    return None, 0
            _write_request(self._descriptor, request)
            before = [path for path in self.queue._paths() if path < self.path and not _remove_if_nobody_holds(path)]
            free = _lock_free_ones(locks)
            chosen: Sequence[str] = ()
            try:
                left = [name for name in request.names if name in free]
                for path in before:
                    left = _remaining_after(_read_request(path), left)
                if len(left) < request.count:
                    return None, len(before)
                chosen = left[: request.count]
                self.path.unlink(missing_ok=True)
                os.close(self._descriptor)
                self._descriptor = None
                return {name: free[name] for name in chosen}, len(before)
            finally:
                for name, descriptor in free.items():
                    if name not in chosen:
                        os.close(descriptor)


def ticket_name(run_id: str, submitted: datetime) -> str:
    """Return the ticket's file name. Names sort by time of submission."""
    return f"{submitted.astimezone(UTC):%Y%m%dT%H%M%S%f}-{run_id}"


def _remaining_after(request: DeviceRequest | None, free: list[str]) -> list[str]:
    """Return the devices of `free` that an earlier run leaves: all that it does not need.

    While it waits for more devices, everything that it could use is kept for it. A request that is not known yet (its
    process is starting) keeps everything.
    """
    if request is None:
        return []
    wanted = [name for name in request.names if name in free]
    gone = wanted[: request.count]
    return [name for name in free if name not in gone]


def _lock_free_ones(locks: dict[str, Path]) -> dict[str, int]:
    free = {}
    for name, path in locks.items():
        if (descriptor := _take_shared(path) if path.parent == GPU_LOCKS else _take(path)) is not None:
            free[name] = descriptor
    return free


def _take(path: Path) -> int | None:
    """Open the file, creating it if needed, and lock it. Returns None if another process holds it."""
    return lock_open_file(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))


def _take_shared(path: Path) -> int | None:
    """Open and lock a file that every user may lock, whichever user made it.

    Another user's file is opened read-only, because systems forbid more in /tmp and a lock needs no more. Returns None
    if another process holds it.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    before = os.umask(0)
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path.parent, 0o777 | stat.S_ISVTX)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o644))
    finally:
        os.umask(before)
    return lock_open_file(os.open(path, flags))


def _remove_if_nobody_holds(path: Path) -> bool:
    """Remove the ticket of a process that died, and return whether it did. Call it under the mutex."""
    descriptor = _take(path)
    if descriptor is None:
        return False
    path.unlink(missing_ok=True)
    os.close(descriptor)
    return True


def _inherited(path: Path) -> int | None:
    """Return the ticket that the parent locked for this process, or None if it has none or another run's."""
    number = os.environ.pop(TICKET_VARIABLE, "")
    if not number.isdigit():
        return None
    try:
        if not os.path.samestat(os.fstat(int(number)), os.stat(path)):
            return None
    except OSError:
        return None
    os.set_inheritable(int(number), False)
    return int(number)


def _write_request(descriptor: int, request: DeviceRequest) -> None:
    text = json.dumps({"count": request.count, "names": request.names}).encode()
    if os.pread(descriptor, len(text) + 1, 0) != text:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text, 0)


def _read_request(path: Path) -> DeviceRequest | None:
    try:
        content = json.loads(path.read_bytes())
        return DeviceRequest(int(content["count"]), tuple(content["names"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _sleep(seconds: float, stop: Callable[[], bool]) -> None:
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0 and not stop():
        time.sleep(min(left, _LONGEST_SECONDS_UNTIL_STOPPED))
