"""`kill -9` of any gateway at any moment, at random, while clients bring fifty jobs: nothing is lost, nothing doubled.

`TUNEPORT_KILL_SEED=N` repeats a run's choices; how they meet the processes differs each time.
"""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.support.fleet import ENDED, Fleet, complaints, dataset, emulator
from tests.support.waiting import until

pytest.importorskip("fastapi", reason="the gateway is an extra: pip install 'tuneport[serve]'")
pytest.importorskip("openai", reason="the backend of these tests: pip install 'tuneport[openai]'")
pytestmark = pytest.mark.full

JOBS, KILLS, GATEWAYS = 50, 200, 3
LONGEST_LIFE = 0.6  # seconds between two kills, at most


class Clients:
    """Threads that bring the jobs, and one that reads files all the while, whoever answers."""

    def __init__(self, fleet: Fleet, dice: random.Random) -> None:
        self.fleet, self.dice = fleet, dice
        self.jobs: dict[int, str] = {}
        self.files: dict[str, int] = {}
        self.wrong: list[str] = []
        self.read = 0
        self.finished = threading.Event()

    def bring(self, numbers: list[int], pause: float) -> None:
        for number in numbers:
            file_id = self._insist(lambda place, number=number: self.fleet.upload(number, place=place))
            self.files[file_id] = number
            create = lambda place, number=number, file_id=file_id: self.fleet.create(number, file_id, place=place)  # noqa: E731
            self.jobs[number] = self._insist(create)
            time.sleep(pause * self.dice.random())

    def _insist(self, ask):  # type: ignore[no-untyped-def]
        while True:
            try:
                return ask(self.dice.randrange(GATEWAYS))
            except httpx.HTTPError:
                time.sleep(0.05)

    def watch_files(self) -> None:
        """Whatever a list shows is whole, or is told to be cut off by the connection that breaks."""
        while not self.finished.wait(0.2):
            try:
                place = self.dice.randrange(GATEWAYS)
                page = self.fleet.ask("GET", "/v1/files", place=place, params={"limit": 5})
                for file in page["data"]:
                    answer = self.fleet.http.get(self.fleet.url(place, f"/v1/files/{file['id']}/content"))
                    number = int(file["filename"].removesuffix(".jsonl"))
                    if answer.status_code != 200 or answer.content != dataset(number):
                        self.wrong.append(f"{file['id']} is not whole: {answer.status_code}")
                    self.read += 1
            except (httpx.HTTPError, ValueError, AssertionError):
                continue  # results of jobs, which have other names; or the gateway has died


def test_two_hundred_kills_over_fifty_jobs(tmp_path: Path) -> None:
    seed = int(os.environ.get("TUNEPORT_KILL_SEED", random.SystemRandom().randrange(10**6)))
    print(f"TUNEPORT_KILL_SEED={seed}")
    dice = random.Random(seed)
    began = time.monotonic()
    with emulator(pace=0.5) as provider, Fleet(tmp_path, provider.base_url, count=GATEWAYS) as fleet:
        for place in range(GATEWAYS):
            fleet.start(place)
        fleet.ready(0)
        clients = Clients(fleet, random.Random(seed + 1))
        threads = [threading.Thread(target=clients.bring, args=(list(range(start, JOBS, 2)), 2.0)) for start in (0, 1)]
        threads.append(threading.Thread(target=clients.watch_files))
        for thread in threads:
            thread.start()
        kills = 0
        while kills < KILLS:
            time.sleep(LONGEST_LIFE * dice.random())
            place = dice.randrange(GATEWAYS)
            assert fleet.alive(place), f"a gateway ended by itself:\n{fleet.log()}"
            fleet.kill(place)
            kills += 1
            fleet.start(place)
        killed = time.monotonic() - began
        for thread in threads[:2]:
            thread.join(60)
            assert not thread.is_alive(), fleet.log()
        clients.finished.set()
        threads[2].join(30)
        fleet.ready(0)

        def left() -> list[int]:
            return [number for number, job in clients.jobs.items() if fleet.status(job, place=0) not in ENDED]

        until(lambda: not left(), told=lambda: (left(), fleet.log()))
        assert {fleet.status(job, place=0) for job in clients.jobs.values()} == {"succeeded"}
        assert len(clients.jobs) == len(set(clients.jobs.values())) == JOBS
        until(lambda: complaints(fleet, provider, clients.jobs, place=0) == [])
        assert clients.wrong == [] and clients.read > 20
        contents = list((tmp_path / "home" / "contents").glob("??/*.jsonl"))
        assert len(contents) >= JOBS
        for path in contents:
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem
        print(
            f"{kills} kills in {killed:.0f} s over {JOBS} jobs, all ended after {time.monotonic() - began:.0f} s; "
            f"{provider.jobs_created} jobs and {len(provider.accepted_uploads)} uploads at the provider; "
            f"{clients.read} files read meanwhile"
        )
