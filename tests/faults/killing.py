"""Runs whose process is killed (`kill -9`) at a request or after a write to the store, and started again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from tests.faults.bench import MEMORY, START, Run, look, new_emulator
from tests.faults.journey import Report, Trouble, provider_of
from tuneport.lifecycle.store.store import Store

PATIENCE = 60.0  # real seconds for a child to get to where it is killed
CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class KillPoint:
    """before: the request has arrived and is never acted on. after: it was acted on, the answer is held back.

    write: the store has just committed that many writes. `number` counts requests from 0 and writes from 1.
    """

    when: Literal["before", "after", "write"]
    number: int

    def __str__(self) -> str:
        return f"killed after write {self.number}" if self.when == "write" else f"killed {self.when}"


class Children:
    """A process that forks the children. It has imported everything, so that a child starts at once."""

    def __enter__(self) -> Children:
        path = os.pathsep.join([str(CHECKOUT / "src"), str(CHECKOUT)])
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=CHECKOUT,
            env={**os.environ, "PYTHONPATH": path},
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server.stdin and self._server.stdout
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()

    def start(self, route: str, base_url: str, folder: Path, start: float, writes: int | None = None) -> int:
        """Begin a run and return its process id; `ended` must be called before the next one."""
        wanted = {"route": route, "base_url": base_url, "folder": str(folder), "start": start, "writes": writes}
        assert self._server.stdin
        self._server.stdin.write(json.dumps(wanted) + "\n")
        self._server.stdin.flush()
        return self._number()

    def ended(self) -> int:
        return self._number()

    def _number(self) -> int:
        assert self._server.stdout
        line = self._server.stdout.readline()
        if not line:
            raise RuntimeError("the process that forks the children has died")
        return int(line)


def killed_run(children: Children, route: str, point: KillPoint) -> Run:
    """A run that dies at the point and is started again, by a fresh process, until its end."""
    emulator = new_emulator(route)
    done = Run(provider_of(route), emulator)
    folder = Path(tempfile.mkdtemp(prefix="tuneport-kills-", dir=MEMORY))
    with emulator:
        try:
            status = _until_killed(children, route, done, folder, point)
            if status != -signal.SIGKILL:
                done.stuck = f"the point of the kill was never reached (exit status {status})"
                return done
            emulator.clear_faults()
            children.start(route, emulator.base_url, folder, emulator.now())
            if status := children.ended():
                done.stuck = f"the second process ended with {status}"
                return done
            done.report = _report(folder / "report.json")
            store = Store(f"sqlite:///{folder / 'home' / 'tuneport.db'}").unscoped()
            look(done, store)
            store.close()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return done


def _until_killed(children: Children, route: str, done: Run, folder: Path, point: KillPoint) -> int:
    emulator = done.emulator
    if point.when == "write":
        children.start(route, emulator.base_url, folder, START, writes=point.number)
        return children.ended()
    held = emulator.fail("slow" if point.when == "after" else "hang", path="**", skip=point.number, seconds=600)
    process = children.start(route, emulator.base_url, folder, START)
    reached = held.reached.wait(PATIENCE)
    if reached:
        os.kill(process, signal.SIGKILL)
    held.release.set()
    return children.ended()


def _report(path: Path) -> Report:
    content = json.loads(path.read_text())
    return Report([Trouble(**trouble) for trouble in content["troubles"]], content["results"])


def kill_points(route: str, children: Children, requests: int) -> list[KillPoint]:
    """All there are: before and after each of the run's requests, and after each of its writes to the store."""
    emulator = new_emulator(route)
    folder = Path(tempfile.mkdtemp(prefix="tuneport-kills-", dir=MEMORY))
    try:
        with emulator:
            children.start(route, emulator.base_url, folder, START)
            assert children.ended() == 0
        writes = json.loads((folder / "report.json").read_text())["writes"]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    at_requests = [KillPoint(when, number) for number in range(requests) for when in ("before", "after")]  # type: ignore[arg-type]
    return at_requests + [KillPoint("write", number) for number in range(1, writes + 1)]
