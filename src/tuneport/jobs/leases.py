"""Who is at a job's row: names for lease holders, and whether one on this machine is still alive."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from tuneport.errors import TuneportError
from tuneport.jobs.store import LEASE_SECONDS, LeaseLostError, Store
from tuneport.jobs.tables import JobRow

_LONGEST_MACHINE = 48


def new_owner() -> str:
    """A name that nobody has had: the machine, this process, and a number for this claim."""
    return f"{_machine()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"


def is_gone(owner: str) -> bool:
    """True where `owner` was a process of this very machine that is no more. In doubt False: its lease runs out."""
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


@cache
def _machine() -> str:
    """The host, its boot and the process namespace: a process id means the same only within all three."""
    parts = [socket.gethostname()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text()[:8])
        parts.append(os.readlink("/proc/self/ns/pid").removeprefix("pid:"))
    except OSError:
        pass  # not Linux: the host's name is all there is
    name = "/".join(parts)
    # Within a column of the store, with the process and the claim behind it.
    return name if len(name) <= _LONGEST_MACHINE else hashlib.sha256(name.encode()).hexdigest()[:_LONGEST_MACHINE]


class Lease:
    """A row that is claimed, kept by a thread while a long call (an upload, a validation) runs."""

    def __init__(self, store: Store, row: JobRow, owner: str) -> None:
        self.store, self.row, self.owner = store, row, owner
        self.lost = False

    def ensure(self) -> None:
        """Renew it now, just before something that cannot be taken back. LeaseLostError where it is another's."""
        if self.lost or not self.store.renew(self.row.id, self.owner):
            self.lost = True
            raise LeaseLostError(f"the lease on {self.row.id} was lost to another process; nothing was started")

    def write(self, **values: object) -> JobRow:
        self.row = self.store.write(self.row.id, self.owner, **values)
        return self.row


@contextmanager
def claimed(store: Store, job_id: str) -> Iterator[Lease | None]:
    """The lease on a row for the time of the block, or None where a living process holds it."""
    owner = new_owner()
    row = store.claim(job_id, owner)
    if row is None:
        holder = store.job(job_id).lease_owner
        if holder is not None and is_gone(holder):
            row = store.claim(job_id, owner, instead_of=holder)
    if row is None:
        yield None
        return
    lease, done = Lease(store, row, owner), threading.Event()

    def renew() -> None:
        while not done.wait(LEASE_SECONDS / 4):
            try:
                if not store.renew(job_id, owner):
                    lease.lost = True
                    return
            except TuneportError:
                continue  # a busy or full disk: tried again before the lease runs out

    thread = threading.Thread(target=renew, name=f"lease-{job_id}", daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        done.set()
        thread.join()
        store.release(job_id, owner)
