"""A trainer that has not begun to train: its phase, since when, and whether it still makes progress.

The trainer writes each phase to `starting.json`. Whoever looks after the run compares what the system says of its
processes with the last look, kept in `watched.json`: a large model on a slow disk loads for an hour and reads all the
while, and a process that only spins reads nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ValidationError

from tuneport.files import write_atomically
from tuneport.run_protocol import STARTING, STATE, SpawnRecord, StartPhase
from tuneport.types import now

WATCHED = "watched.json"
NOT_UP, LIBRARIES, TRAINS = "starts its process", "loads its libraries", "trains"
WITHOUT_LIMIT = (TRAINS, "waits for a device")
STILL_LIMIT = {NOT_UP: timedelta(minutes=10), "is up": timedelta(minutes=10), LIBRARIES: timedelta(minutes=10)}
"""How long a phase may go on without reading, growing or ending. Computing is no sign of progress here."""
QUIET_LIMIT = timedelta(minutes=30)
"""The same in other phases, where computing is one, for a while:"""
COMPUTING_LIMIT = timedelta(hours=2)
_MIB = 1 << 20


class ProcessActivity(BaseModel):
    """`watched.json`: the most that was seen of the trainer's processes, and when that last grew."""

    pid: int
    phase: str
    read_mib: int = 0
    memory_mib: int = 0
    cpu_seconds: float = 0.0
    grown_at: datetime
    computed_at: datetime
    cpu_then: float = 0.0


@dataclass(frozen=True)
class LocalStartProgress:
    phase: str
    since: datetime
    overdue: bool
    cpu_share: float

    @property
    def description(self) -> str:
        minutes = int((now() - self.since).total_seconds() // 60)
        return f"the trainer {self.phase}" + (f", for {minutes} min now" if minutes else "")

    @property
    def stuck_reason(self) -> str:
        minutes = (now() - self.since).total_seconds() / 60
        return (
            f"the trainer never began: it {self.phase}, for {minutes:.0f} min, and neither reads nor takes memory any "
            f"more (it uses {self.cpu_share:.0%} of a core); it was ended"
        )


def local_run_start_phase(folder: Path, spawn: SpawnRecord | None) -> StartPhase | None:
    """Return the phase that the child of this start has reached, or None if nothing was started, or it reports no
    phases."""
    if spawn is None:
        return None
    with contextlib.suppress(OSError, ValidationError, ValueError):
        said = StartPhase.model_validate_json((folder / STARTING).read_bytes())
        if said.since >= spawn.spawned_at:
            return said
    with contextlib.suppress(OSError):
        if (folder / STATE).stat().st_mtime >= spawn.spawned_at.timestamp():
            return None  # a trainer of an earlier version, which is past its start
    return StartPhase(phase=NOT_UP, since=spawn.spawned_at)


def read_local_start_progress(
    folder: Path, spawn: SpawnRecord | None, still_limit: Mapping[str, timedelta] = STILL_LIMIT
) -> LocalStartProgress | None:
    """Return the trainer's progress since the last look, or None if no process runs. `still_limit`: by phase."""
    found = local_run_start_phase(folder, spawn)
    if spawn is None or spawn.pid is None or found is None or found.phase in WITHOUT_LIMIT:
        return None
    limit, moment = still_limit.get(found.phase), now()
    if moment - found.since < (limit or QUIET_LIMIT) / 10:
        return LocalStartProgress(
            found.phase, found.since, overdue=False, cpu_share=0.0
        )  # too early to write anything down
    read, memory, cpu = measure_local_run_processes(spawn.pid)
    seen = _watched(folder)
    if seen is None or (seen.pid, seen.phase) != (spawn.pid, found.phase):
        seen = ProcessActivity(pid=spawn.pid, phase=found.phase, grown_at=moment, computed_at=moment, cpu_then=cpu)
    if read > seen.read_mib or memory > seen.memory_mib:
        grown = {"read_mib": max(read, seen.read_mib), "memory_mib": max(memory, seen.memory_mib)}
        seen = seen.model_copy(update={**grown, "grown_at": moment, "computed_at": moment, "cpu_then": cpu})
    elif cpu >= seen.cpu_seconds + 1.0:
        seen = seen.model_copy(update={"computed_at": moment})
    seen = seen.model_copy(update={"cpu_seconds": cpu})
    with contextlib.suppress(OSError):
        write_atomically(folder / WATCHED, seen.model_dump_json())
    still, quiet = moment - seen.grown_at, moment - seen.computed_at
    overdue = still >= limit if limit is not None else quiet >= QUIET_LIMIT or still >= COMPUTING_LIMIT
    share = (cpu - seen.cpu_then) / max(1.0, still.total_seconds())
    return LocalStartProgress(found.phase, found.since, overdue, share)


def measure_local_run_processes(leader: int) -> tuple[int, int, float]:
    """Return MiB read and in memory, and seconds of CPU, of the processes in the group that `leader` leads.

    Zeros if the system does not say: then only phases are progress.
    """
    read = memory = 0
    ticks = 0
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            if int(fields[2]) != leader:
                continue
            ticks += int(fields[11]) + int(fields[12])
            memory += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
            counted = dict(line.split(": ") for line in (entry / "io").read_text().splitlines())
            read += int(counted["rchar"]) + int(counted["read_bytes"])
    return read // _MIB, memory // _MIB, ticks / os.sysconf("SC_CLK_TCK")


def _watched(folder: Path) -> ProcessActivity | None:
    try:
        return ProcessActivity.model_validate(json.loads((folder / WATCHED).read_bytes()))
    except (OSError, ValueError):
        return None
