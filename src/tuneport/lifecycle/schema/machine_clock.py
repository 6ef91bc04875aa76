"""A clock that cannot be set: the seconds since this machine started, the same in every process.

The wall clock may jump by hours (a wrong battery clock, a virtual machine that was paused, an operator), and a wait
that keeps a job from being paid twice must not end because of it.
"""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

_THIS_PROCESS = f"process-{uuid.uuid4().hex}"


@dataclass(frozen=True)
class StoreClockReading:
    """One reading of the clock. `seconds` mean something only beside another reading of the same `clock`, which is one
    start of one machine.

    `monotonic` is a second opinion: in some containers the first counts from their own start, and it continues while a
    machine sleeps. The smaller difference counts.
    """

    clock: str
    seconds: float
    monotonic: float | None = None

    @property
    def clock_values(self) -> dict[str, float]:
        """Return what is kept of a reading, by the name of each clock."""
        second = {} if self.monotonic is None else {f"{self.clock} monotonic": self.monotonic}
        return {self.clock: self.seconds} | second


def read_store_machine_clock() -> StoreClockReading:
    """Read `/proc/uptime` and the monotonic clock, named by the boot and the time namespace.

    Elsewhere than on Linux the clock is this process's own, so a wait starts again in the next process: longer than
    needed, never shorter.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return StoreClockReading(_THIS_PROCESS, time.monotonic())
    try:
        namespace = os.readlink("/proc/self/ns/time")
    except OSError:
        namespace = ""  # kernels before 5.6 have one time for all
    return StoreClockReading(f"{boot} {namespace}".strip(), uptime, time.monotonic())
