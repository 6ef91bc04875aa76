"""One case from its submit to its last look: what a user does, and the person whom tuneport asks."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults.money.account import Account, Knobs
from tests.faults.money.commands import ForkingRunner, Ran, Runner
from tests.faults.money.scenarios import Case
from tests.faults.money.wire import Server

MODELS = {"openai": "gpt-4.1-mini-2025-04-14", "together": "Qwen/Qwen3.5-4B"}
TIMEOUT = 1.0
"""After how many seconds without an answer a command gives a request up."""
ROUNDS = 4
"""How often a user goes on with a job that is not clear yet."""
ENDED = ("succeeded", "failed", "cancelled")


@dataclass
class Played:
    """All that can be judged: commands, the ledger, and what the person said and when."""

    case: Case
    account: Account
    ran: list[Ran] = field(default_factory=list)
    job: str | None = None
    row: dict[str, Any] = field(default_factory=dict)  # as `show --json` gives it at the end
    asked: list[Ran] = field(default_factory=list)  # the commands that asked a person
    said: list[tuple[float, str]] = field(default_factory=list)  # when, and what a person answered
    seconds: float = 0.0


class Play:
    """`base` is the folder of all cases; each gets its own, with home, dataset and tuneport.toml."""

    def __init__(self, case: Case, server: Server, runner: Runner, base: Path) -> None:
        self.case, self.runner = case, runner
        name = f"{case.scenario.replace(' ', '-').replace(',', '').replace(chr(39), '')}-{case.number}"
        self.folder = base / name
        self.account = Account(name, case.seed)
        self.environment = prepare(self.folder, case.provider, server.open(case.provider, self.account), case.settle)
        self.played = Played(case, self.account)
        self.answered = 0  # how many commands had run when a person answered last
        self.clock = self.folder / "clock" if case.clock else None
        if self.clock is not None:
            self.clock.write_text("+0\n")

    def run(self, *argv: str, seconds: float = 30.0, started: Callable[[Any], None] = lambda kill: None) -> Ran:
        ran = self.runner.run(
            [*argv], self.folder, self.environment, clock=self.clock, seconds=seconds, started=started
        )
        self.played.ran.append(ran)
        return ran

    def go(self) -> Played:
        began = time.monotonic()
        case, played = self.case, self.played
        if case.history:
            self.run(*self._submit(), seconds=60)
            assert len(self.account.ours(phase=0)) == 1, played.ran[-1].text
            played.ran.clear()
        self.account.knobs, self.account.phase = case.knobs, 1
        over = threading.Event()
        if self.clock is not None:
            threading.Thread(target=self._turn_clock, args=(over,), daemon=True).start()
        try:
            self._live()
            self._look_later()
        finally:
            over.set()
        played.seconds = time.monotonic() - began
        return played

    # --- the user ---------------------------------------------------------------------------------------------------

    def _submit(self) -> list[str]:
        case = self.case
        return ["submit", "--yes", "--anyway", "--again", "train.jsonl", "--model", MODELS[case.provider],
                "--backend", case.provider, "--wait", "--json"]  # fmt: skip

    def _patience(self) -> float:
        return 60.0 + 4 * self.case.settle

    def _live(self) -> None:
        def started(kill: Callable[[], None]) -> None:
            if self.case.kill_after is not None:
                self.account.kill_after, self.account.kill_at = self.case.kill_after, self.case.kill_at
                self.account.killer = kill

        submitted = self.run(*self._submit(), seconds=self._patience(), started=started)
        self.account.killer = None
        # The line of the new job, not that of an earlier one that it repeats.
        told = re.search(r"^(job-[0-9a-f]{6,}): ", submitted.text, re.MULTILINE)
        if told is None:
            return
        self.played.job = told[1]
        if self.case.cancel:
            self.run("cancel", told[1], "--json")
        for seconds in self.case.kills_on:
            self.run("watch", told[1], "--json", seconds=self._patience(), started=partial(_after, seconds))
        for _ in range(ROUNDS):
            if (self._told_status() or self._status()) in ENDED:
                return
            if (question := self._question()) is not None:
                self.played.asked.append(question)
                if not self._answer():
                    return
            self._go_on()

    def _go_on(self) -> None:
        argv = ["watch", "--json"] if self.case.all_jobs else ["watch", str(self.played.job), "--json"]
        with ThreadPoolExecutor(self.case.commands) as pool:
            for _ in range(self.case.commands):
                pool.submit(self.run, *argv, seconds=self._patience())

    def _status(self) -> str:
        shown = self.run("show", str(self.played.job), "--json")
        try:
            self.played.row = json.loads(shown.out)
        except ValueError:
            return "unreadable"
        return str(self.played.row.get("status"))

    def _told_status(self) -> str | None:
        """The status as the command that ran last printed it, where that was the job's document."""
        try:
            told = json.loads(self.played.ran[-1].out)
        except ValueError:
            return None
        if not isinstance(told, dict) or told.get("id") != self.played.job:
            return None
        self.played.row = told
        return str(told.get("status"))

    # --- the person -------------------------------------------------------------------------------------------------

    def _question(self) -> Ran | None:
        """The newest command that asks a person, where the job still waits for one."""
        asking = [ran for ran in self.played.ran[self.answered :] if "tuneport resolve" in ran.text]
        followed = [ran for ran in asking if ran.argv[0] in ("submit", "watch")]
        return (followed or asking)[-1] if asking and self.played.row.get("status") == "submitting" else None

    def _answer(self) -> bool:
        """Answer as the case's person does; False: not at all."""
        case, job = self.case, str(self.played.job)
        if case.person == "silent":
            return False
        self._wait_for_the_server()
        running = self.account.ours()
        if case.person == "wrong" or not running:
            self.played.said.append((time.monotonic(), "not started"))
            argv = ["resolve", job, "--not-started", "--json"]
            with ThreadPoolExecutor(case.answers) as pool:
                for _ in range(case.answers):
                    pool.submit(self.run, *argv, seconds=self._patience())
        else:
            self.played.said.append((time.monotonic(), running[0].id))
            self.run("resolve", job, "--started", running[0].id, "--json", seconds=self._patience())
        self.answered = len(self.played.ran)
        return True

    # --- afterwards -------------------------------------------------------------------------------------------------

    def _wait_for_the_server(self) -> None:
        """Until what arrived has been carried out."""
        until = time.monotonic() + 2 * self.case.settle + 10
        while self.account.pending and time.monotonic() < until:
            time.sleep(0.1)

    def _look_later(self) -> None:
        """When lists show everything: the commands that a user looks with."""
        self._wait_for_the_server()
        time.sleep(max(0.0, self.account.all_listed_at() + 0.2 - time.monotonic()))
        if self.played.job is None:
            return
        self._status()
        if len(self.account.ours()) > 1 and self.played.row.get("status") in ENDED:
            self.run("watch", self.played.job, "--json")
        self.run("logs", self.played.job, "--json")

    def _turn_clock(self, over: threading.Event) -> None:
        """The first jump comes after the create has arrived: a jump before it is none in the wait."""
        assert self.clock is not None
        while not any(create.phase == 1 for create in list(self.account.creates)):
            if over.wait(0.05):
                return
        for setting in self.case.clock:
            part = self.clock.with_suffix(".part")
            part.write_text(setting + "\n")
            part.rename(self.clock)
            if over.wait(self.case.clock_every):
                return


def _after(seconds: float, kill: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, kill)
    timer.daemon = True
    timer.start()


def prepare(folder: Path, provider: str, address: str, settle: float) -> dict[str, str]:
    """A working folder with a dataset and short time-outs; the environment for commands in it."""
    folder.mkdir(parents=True)
    rows = (
        {"messages": [{"role": "user", "content": f"Question {number}?"},
                      {"role": "assistant", "content": f"Answer {number}."}]}
        for number in range(12)
    )  # fmt: skip
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "tuneport.toml").write_text(f"[backends.{provider}.options]\ntimeout = {TIMEOUT}\npoll_interval = 0.1\n")
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "MONEY_BENCH_BEFORE") if name in os.environ}
    return kept | {
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "TUNEPORT_HOME": str(folder / "home"),
        f"TUNEPORT_{provider.upper()}_BASE_URL": address + ("/v1" if provider == "openai" else ""),
        f"{provider.upper()}_API_KEY": "sk-bench-0123456789abcdef0123",
        "TUNEPORT_SETTLE_SECONDS": str(settle),
        "HF_HUB_OFFLINE": "1",
    }


def warm_up(runner: ForkingRunner, server: Server, base: Path, settle: float, *, only: str | None = None) -> None:
    """Let the forking processes run a plain job of each provider, so that their children begin at once."""
    for provider, model in MODELS.items():
        if only not in (None, provider):
            continue
        account = Account(f"prepare-{provider}", 0, Knobs())
        folder = base / account.name
        environment = prepare(folder, provider, server.open(provider, account), settle)
        argv = [
            "submit",
            "--yes",
            "--anyway",
            "--again",
            "train.jsonl",
            "--model",
            model,
            "--backend",
            provider,
            "--wait",
            "--json",
        ]
        runner.prepare(argv, folder, environment)
