"""What a run takes while it runs, seen from outside: every process below this one that was not there before."""

from __future__ import annotations

import contextlib
import glob
import os
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

FOLDERS = tempfile.gettempdir() + "/tuneport-code-*"


class Watch:
    """A context manager; its figures are the highest that were seen."""

    def __init__(self, victim: Callable[[], int]) -> None:
        self.victim = victim
        self._reset()

    def _reset(self) -> None:
        self.memory = self.nameless = self.disk = self.processes = self.threads = 0
        self.traced, self.received = False, b""

    def __enter__(self) -> Watch:
        self._reset()
        self.before = set(below(os.getpid()))
        self.nameless_before = shmem()
        self.folders_before = set(glob.glob(FOLDERS))
        self.stop = threading.Event()
        self.looking = threading.Thread(target=self._look)
        self.looking.start()
        return self

    def serve_from(self, port: int) -> None:
        """Connect to a port for as long as the run lasts; `received` is what was sent."""
        self.calling = threading.Thread(target=self._call, args=(port,))
        self.calling.start()

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.looking.join()

    def _look(self) -> None:
        while not self.stop.wait(0.02):
            there = [process for process in below(os.getpid()) if process not in self.before]
            self.processes = max(self.processes, len(there))
            self.threads = max(self.threads, sum(threads_of(process) for process in there))
            self.memory = max(self.memory, sum(private(process) for process in there))
            self.nameless = max(self.nameless, shmem() - self.nameless_before)
            self.disk = max(self.disk, written(there, self.folders_before))
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{self.victim()}/status").read_text()
                self.traced |= "TracerPid:\t0\n" not in status

    def _call(self, port: int) -> None:
        while not self.stop.wait(0.05):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.5) as client:
                self.received += client.recv(4096)


def below(process: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{process}/task"):
            with contextlib.suppress(OSError):
                for child in Path(f"/proc/{process}/task/{thread}/children").read_text().split():
                    found += [int(child), *below(int(child))]
    return found


def threads_of(process: int) -> int:
    with contextlib.suppress(OSError):
        return len(os.listdir(f"/proc/{process}/task"))
    return 0


def private(process: int) -> int:
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss_Anon:"))
    return 0


def shmem() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Shmem:")).split()[1]) << 10


def written(processes: list[int], older: set[str]) -> int:
    """Return the bytes in the folders of runs: in their own root folders, or in the folder for temporary files."""
    total = 0
    for process in processes:
        with contextlib.suppress(OSError):
            room = os.statvfs(f"/proc/{process}/root/sandbox")
            total = max(total, (room.f_blocks - room.f_bfree) * room.f_frsize)
    for folder in set(glob.glob(FOLDERS)) - older:
        if "-control-" in folder and f"-control-{os.getpid()}-" not in folder:
            continue  # of another column, which runs at the same time
        for name in glob.glob(f"{folder}/**", recursive=True):
            with contextlib.suppress(OSError):
                total += os.lstat(name).st_blocks * 512
    return total
