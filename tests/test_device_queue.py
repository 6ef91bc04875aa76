"""The queue for devices, with a real process for each who waits: some are killed, some are slow, none is overtaken."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import until
from tuneport import device_queue
from tuneport.device_queue import TICKET_VARIABLE, DeviceQueue, QueueTicket
from tuneport.devices import Device

MONDAY = datetime(2026, 11, 23, 9, tzinfo=UTC)
WAIT = """
import json, os, sys, time
from datetime import datetime
from pathlib import Path
from tuneport.device_queue import DeviceQueue, QueueTicket
from tuneport.devices import Device
home, run_id, submitted, count, names, go = sys.argv[1:7]
log = os.open(f"{home}/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def say(what, **more):
    os.write(log, (json.dumps({"what": what, "run": run_id, "pid": os.getpid(), **more}) + "\\n").encode())
place = QueueTicket(DeviceQueue(Path(home)), run_id, datetime.fromisoformat(submitted))
devices = [Device(name) for name in names.split(",")]
taken = place.acquire_devices(int(count), devices, lambda: False, lambda before: say("waits", before=before))
say("has", names=list(taken))
while go and not Path(go).exists():
    time.sleep(0.01)
say("leaves", names=list(taken))
"""


class Waiters:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.children: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self,
        run_id: str,
        *,
        count: int = 1,
        names: str = "cpu",
        minute: int = 0,
        until: str = "",
        uuid: str = "",
        **more: Any,
    ) -> None:
        """A run that was submitted in that minute. It keeps its devices until the file `until` appears."""
        submitted = (MONDAY + timedelta(minutes=minute)).isoformat()
        go = str(self.home / until) if until else ""
        arguments = [str(self.home), run_id, submitted, str(count), names, go]
        self.children[run_id] = subprocess.Popen([sys.executable, "-c", WAIT, *arguments], **more)

    def said(self, what: str) -> list[dict[str, Any]]:
        path = self.home / "log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [row for row in map(json.loads, lines) if row["what"] == what]

    def having(self) -> list[str]:
        """Who had devices, in that order."""
        return [row["run"] for row in self.said("has")]

    def waits(self, run_id: str, before: int) -> None:
        until(lambda: {"run": run_id, "before": before}.items() <= self.last(run_id).items())

    def last(self, run_id: str) -> dict[str, Any]:
        return next((row for row in reversed(self.said("waits")) if row["run"] == run_id), {})

    def go(self, name: str) -> None:
        (self.home / name).touch()

    def kill(self, run_id: str) -> None:
        self.children[run_id].kill()
        self.children[run_id].wait()


@pytest.fixture
def waiters(tmp_path: Path) -> Iterator[Waiters]:
    home = tmp_path / "machine"
    home.mkdir()
    started = Waiters(home)
    yield started
    for child in started.children.values():
        child.kill()
        child.wait()


def test_first_submitted_first_served_whoever_is_up_first(waiters: Waiters) -> None:
    waiters.start("holder", until="go")
    until(lambda: waiters.having() == ["holder"])
    for minute in (5, 2, 4, 1, 3):
        waiters.start(f"run-{minute}", minute=minute)
    waiters.waits("run-5", 4)
    waiters.waits("run-1", 0)
    assert DeviceQueue(waiters.home).waiting() == [f"run-{minute}" for minute in (1, 2, 3, 4, 5)]
    waiters.go("go")
    until(lambda: len(waiters.having()) == 6)
    assert waiters.having() == ["holder", *(f"run-{minute}" for minute in (1, 2, 3, 4, 5))]
    until(lambda: len(waiters.said("leaves")) == 6)
    assert DeviceQueue(waiters.home).waiting() == []


def test_the_killed_leave_no_hole(waiters: Waiters) -> None:
    waiters.start("holder", until="never")
    until(lambda: waiters.having() == ["holder"])
    for minute in (1, 2, 3):
        waiters.start(f"run-{minute}", minute=minute)
    waiters.waits("run-3", 2)
    waiters.kill("run-1")  # the head of the queue
    waiters.waits("run-3", 1)
    waiters.start("run-1", minute=1)  # started again, it has its old place
    waiters.waits("run-3", 2)
    waiters.kill("run-2")
    waiters.kill("holder")
    until(lambda: len(waiters.having()) == 3)
    assert waiters.having() == ["holder", "run-1", "run-3"]


def test_who_waits_for_two_devices_is_not_overtaken_for_one_of_them(waiters: Waiters) -> None:
    both = "cpu:0,cpu:1"
    waiters.start("holder", names=both, until="go")
    until(lambda: waiters.having() == ["holder"])
    waiters.start("pair", names=both, count=2, minute=1, until="go-pair")
    waiters.waits("pair", 0)
    waiters.start("single", names=both, minute=2)
    waiters.waits("single", 1)
    waiters.start("elsewhere", names="cpu:2", minute=3)  # a device that nobody before it wants
    until(lambda: "elsewhere" in waiters.having())
    waiters.go("go")
    until(lambda: "pair" in waiters.having())
    assert "single" not in waiters.having()
    waiters.go("go-pair")
    until(lambda: "single" in waiters.having())
    assert waiters.said("has")[2]["names"] == ["cpu:0", "cpu:1"]


def test_a_place_is_taken_before_its_process_is_up(waiters: Waiters, tmp_path: Path) -> None:
    queue = DeviceQueue(waiters.home)
    with queue.ticket("slow", MONDAY) as ticket:
        assert ticket is not None
        waiters.start("quick", minute=1)
        waiters.waits("quick", 1)
        environment = os.environ | {TICKET_VARIABLE: str(ticket)}
        waiters.start("slow", pass_fds=(ticket,), env=environment)
    until(lambda: len(waiters.having()) == 2)
    assert waiters.having() == ["slow", "quick"]
    with queue.ticket("crashed", MONDAY):  # by one who died before starting anything
        pass
    assert queue.waiting() == []


def test_who_stops_waiting_leaves_the_queue(waiters: Waiters) -> None:
    waiters.start("holder", until="never")
    until(lambda: waiters.having() == ["holder"])
    place = QueueTicket(DeviceQueue(waiters.home), "mine", MONDAY)
    told: list[int] = []
    assert place.acquire_devices(1, [Device("cpu")], lambda: bool(told), told.append) is None
    assert told == [0] and DeviceQueue(waiters.home).waiting() == ["mine"]
    place.leave()
    place.leave()
    assert DeviceQueue(waiters.home).waiting() == []


def test_two_devices_are_both_used_and_never_twice_whoever_is_killed(waiters: Waiters) -> None:
    """Twenty runs, every fourth of which wants both, while a third of all is killed at random moments."""
    seeded = random.Random(7)
    devices = "cpu:0,cpu:1"
    for minute in range(20):
        waiters.start(f"run-{minute}", names=devices, count=2 if minute % 4 == 3 else 1, minute=minute)
        if minute % 3 == 0:
            time.sleep(seeded.random() / 20)
            waiters.children[f"run-{seeded.randrange(minute + 1)}"].send_signal(signal.SIGKILL)
    for child in waiters.children.values():
        child.wait(timeout=120)
    killed = {name for name, child in waiters.children.items() if child.returncode != 0}
    assert {row["run"] for row in waiters.said("leaves")} >= waiters.children.keys() - killed
    held: dict[str, str] = {}
    for line in (waiters.home / "log").read_text().splitlines():
        row = json.loads(line)
        for name in row.get("names", ()):
            if row["what"] == "leaves":
                assert held.pop(name) == row["run"]
            else:
                assert name not in held or held[name] in killed, (row, held)
                held[name] = row["run"]
    assert {name for row in waiters.said("has") for name in row["names"]} == {"cpu:0", "cpu:1"}


def test_a_gpu_is_one_for_all_homes_and_users(
    waiters: Waiters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    monkeypatch.setattr(device_queue, "GPU_LOCKS", shared / "tuneport-devices")
    shared.mkdir()
    other = QueueTicket(DeviceQueue(tmp_path / "other home"), "other", MONDAY)
    gpu = [Device("cuda:0", "GPU-1")]
    taken = other.acquire_devices(1, gpu, lambda: False, lambda before: None)
    assert taken is not None
    assert (shared / "tuneport-devices").stat().st_mode & 0o7777 == 0o1777
    assert (shared / "tuneport-devices" / "GPU-1.lock").stat().st_mode & 0o777 == 0o644

    mine = QueueTicket(DeviceQueue(tmp_path / "my home"), "mine", MONDAY)
    told: list[int] = []
    assert mine.acquire_devices(1, gpu, lambda: bool(told), told.append) is None
    mine.leave()
    os.close(taken["cuda:0"])
    again = mine.acquire_devices(1, gpu, lambda: False, told.append)
    assert again is not None and told == [0]
    os.close(again["cuda:0"])


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_another_user_may_lock_a_gpu(tmp_path: Path) -> None:
    code = """
import os, sys
from tuneport import device_queue
from pathlib import Path
device_queue.GPU_LOCKS = Path(sys.argv[1])
os.umask(0o077)
if len(sys.argv) > 2: os.setuid(int(sys.argv[2]))
print(device_queue._take_shared(device_queue.GPU_LOCKS / "GPU-1.lock") is not None)
"""
    # Not below the test's own folder, which only its user may enter.
    folder = Path(f"/tmp/tuneport-test-{os.getpid()}")
    try:
        nobody = str(pwd.getpwnam("nobody").pw_uid)
        for arguments in ([], [nobody], []):
            done = subprocess.run([sys.executable, "-c", code, str(folder), *arguments], capture_output=True, text=True)
            assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    finally:
        with contextlib.suppress(FileNotFoundError):
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
