"""Runs `tuneport` as processes: forked from a process that has imported it, or each on its own."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.system_packages import clock_library

ROOT = Path(__file__).parents[3]
CLOCK = clock_library()
WALL_CLOCK_ONLY = {"FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}


@dataclass
class Ran:
    """One command as it ended. `code` is minus the signal; None: it did not end in time and was killed."""

    argv: list[str]
    code: int | None
    out: str
    err: str
    began: float
    ended: float

    @property
    def text(self) -> str:
        return f"{self.out}\n{self.err}"


class Runner:
    """Runs commands, each as a process of its own (`tuneport` is started anew). Threads may share one."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def run(
        self,
        argv: list[str],
        folder: Path,
        environment: dict[str, str],
        *,
        clock: Path | None = None,
        seconds: float,
        started: Callable[[Callable[[], None]], None] = lambda kill: None,
    ) -> Ran:
        """Run a command in `folder`. `clock`: the file with its time of the day, as libfaketime reads it. `started`
        is handed what kills it."""
        number = next(self._numbers)
        out, err = folder / f"{number}.out", folder / f"{number}.err"
        began = time.monotonic()
        if clock is not None:
            environment = environment | {"FAKETIME_TIMESTAMP_FILE": str(clock)}
        code = self._run(number, argv, folder, environment, out, err, seconds, started, clock is not None)
        texts = [path.read_text(encoding="utf-8", errors="replace") if path.exists() else "" for path in (out, err)]
        return Ran(argv, code, texts[0], texts[1], began, time.monotonic())

    def _run(
        self,
        number: int,
        argv: list[str],
        folder: Path,
        environment: dict[str, str],
        out: Path,
        err: Path,
        seconds: float,
        started: Callable[[Callable[[], None]], None],
        faked: bool,
    ) -> int | None:
        program = [sys.executable, "-m", "tuneport.cli.main", *argv]
        if faked:
            environment = environment | WALL_CLOCK_ONLY | {"LD_PRELOAD": str(CLOCK)}
        with out.open("w") as stdout, err.open("w") as stderr:
            process = subprocess.Popen(program, cwd=folder, env=environment, stdout=stdout, stderr=stderr,
                                       stdin=subprocess.DEVNULL)  # fmt: skip
            started(process.kill)
            try:
                return process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                return None


class ForkingRunner(Runner):
    """The same, some hundred times a minute: forked from one process, or from one whose clock can be set."""

    def __init__(self, *, clocks: bool = True) -> None:
        super().__init__()
        self._servers = {False: _ForkServer({})}
        if clocks and CLOCK:
            self._servers[True] = _ForkServer(WALL_CLOCK_ONLY | {"LD_PRELOAD": str(CLOCK)})

    def __exit__(self, *exception: object) -> None:
        for server in self._servers.values():
            server.close()

    def prepare(self, argv: list[str], folder: Path, environment: dict[str, str]) -> None:
        """Run a command in the processes that fork the others, so that those find everything prepared."""
        command = {"argv": argv, "cwd": str(folder), "env": environment, "here": True}
        for faked, server in self._servers.items():
            out, err = folder / f"prepare-{faked}.out", folder / f"prepare-{faked}.err"
            code = server.wait(server.ask(command | {"out": str(out), "err": str(err)})[0], 300)
            if code != 0:
                raise RuntimeError(f"tuneport {' '.join(argv)} ended with {code}: {err.read_text()[-2000:]}")

    def _run(
        self,
        number: int,
        argv: list[str],
        folder: Path,
        environment: dict[str, str],
        out: Path,
        err: Path,
        seconds: float,
        started: Callable[[Callable[[], None]], None],
        faked: bool,
    ) -> int | None:
        server = self._servers[faked]
        command = {"argv": argv, "cwd": str(folder), "env": environment, "out": str(out), "err": str(err)}
        asked, process = server.ask(command)

        def kill() -> None:
            if not server.ended(asked):
                os.kill(process, signal.SIGKILL)

        started(kill)
        code = server.wait(asked, seconds)
        if code is None:
            kill()
            server.wait(asked, 10)
        return code


class _ForkServer:
    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.money.forkserver"],
            env=os.environ | environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        self._codes: dict[int, int] = {}
        self._processes: dict[int, int] = {}
        self._news = threading.Condition()
        self._gone = False
        self._numbers = itertools.count(1)
        threading.Thread(target=self._listen, daemon=True).start()

    def ask(self, document: dict[str, Any]) -> tuple[int, int]:
        """The number of the request, and the process that was forked for it (0: none was to be)."""
        with self._news:
            number = next(self._numbers)
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(document | {"id": number}) + "\n")
            self._process.stdin.flush()
            if "here" not in document and not self._news.wait_for(lambda: number in self._processes, 60):
                raise RuntimeError("the process that forks commands does not answer")
            return number, self._processes.get(number, 0)

    def ended(self, number: int) -> bool:
        with self._news:
            return number in self._codes

    def wait(self, number: int, seconds: float) -> int | None:
        with self._news:
            self._news.wait_for(lambda: self._gone or number in self._codes, seconds)
            if self._gone and number not in self._codes:
                raise RuntimeError("the process that forks commands has ended")
            return self._codes.get(number)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = json.loads(line)
            with self._news:
                if "pid" in told:
                    self._processes[told["id"]] = told["pid"]
                else:
                    self._codes[told["id"]] = told["code"]
                self._news.notify_all()
        with self._news:
            self._gone = True
            self._news.notify_all()
