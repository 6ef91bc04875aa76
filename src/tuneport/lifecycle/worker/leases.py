"""Lease holders: their names, and whether one on this machine is still alive."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from tuneport.errors import TuneportError
from tuneport.lifecycle.schema.records import JobRecord
from tuneport.lifecycle.store.part import LeasedPart
from tuneport.lifecycle.store.store import LeaseLostError, Store

_LONGEST_MACHINE = 48


def new_lease_owner() -> str:
    """Return a new name for a holder: the machine, this process, and a number for this claim."""
    return f"{_machine()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"


def has_lease_owner_ended(owner: str) -> bool:
    """Return True if `owner` was a process of this very machine that has ended. In doubt it is False: the lease runs
    out."""
    machine, _, rest = owner.rpartition(":")[0].rpartition(":")
    if machine != _machine() or not rest.isdigit():
        return False
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def describe_lease_owner(owner: str | None) -> str:
    """Return in words who holds a lease: a gateway or another command of this machine, or a process elsewhere.
    `owner` is None if the lease was released meanwhile."""
    if owner is None:
        return "another process"
    machine, _, process = owner.rpartition(":")[0].rpartition(":")
    if not process.isdigit():
        return "another process"
    if machine != _machine():
        return f"another process on {machine.partition('/')[0]}"
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        words = []  # not Linux, or it has just ended
    who = "the gateway, `tuneport serve`" if "serve" in words else "another command of this machine"
    return f"{who} (process {process})"


@cache
def _machine() -> str:
    """Return the host, its boot and the process namespace: a process id means the same only within all three."""
    parts = [socket.gethostname()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text()[:8])
        parts.append(os.readlink("/proc/self/ns/pid").removeprefix("pid:"))
    except OSError:
        pass  # not Linux: the host's name is all there is
    name = "/".join(parts)
    # Within a column of the store, with the process and the claim behind it.
    return name if len(name) <= _LONGEST_MACHINE else hashlib.sha256(name.encode()).hexdigest()[:_LONGEST_MACHINE]


class JobLease:
    """A claimed row, renewed by a thread while a long call (an upload, a validation) runs."""

    def __init__(self, store: Store, row: JobRecord, owner: str) -> None:
        self.store, self.row, self.owner = store, row, owner
        self.lost = False

    def mark_lost(self) -> None:
        self.lost = True

    def renew_now(self) -> None:
        """Renew the lease now, just before an action that cannot be undone. Raises LeaseLostError if another worker
        holds it."""
        if self.lost or not self.store.leases.renew(self.row.id, self.owner):
            self.lost = True
            raise LeaseLostError(f"the lease on {self.row.id} was lost to another process; nothing was started")

    def write(self, **values: object) -> JobRecord:
        self.row = self.store.leases.write(self.row.id, self.owner, **values)
        return self.row


@contextmanager
def claim_job_lease(store: Store, job_id: str) -> Iterator[JobLease | None]:
    """Hold the lease on a row for the time of the block; yield None if a living process holds it."""
    owner = new_lease_owner()
    row = store.leases.claim(job_id, owner)
    if row is None:
        holder = store.jobs.get(job_id).lease_owner
        if holder is not None and has_lease_owner_ended(holder):
            row = store.leases.claim(job_id, owner, instead_of=holder)
    if row is None:
        yield None
        return
    lease = JobLease(store, row, owner)
    try:
        with keep_lease_renewed(store.leases, job_id, owner, on_lost=lease.mark_lost):
            yield lease
    finally:
        store.leases.release(job_id, owner)


@contextmanager
def keep_lease_renewed(
    part: LeasedPart, row_id: str, owner: str, *, on_lost: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Keep a lease for the time of the block, however long that is. `on_lost` is told once if another worker holds
    it."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(part.seconds / 4):
            try:
                if not part.renew(row_id, owner):
                    on_lost()
                    return
            except TuneportError:
                continue  # a busy or full disk: tried again before the lease runs out

    thread = threading.Thread(target=renew, name=f"lease-{row_id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
