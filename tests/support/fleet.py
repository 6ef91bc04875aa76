"""Several gateways as processes over one store, and a client of theirs that lives with their deaths."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from tests.support.folders import CHECKOUT
from tests.support.tiny import chat_rows
from tests.support.waiting import PATIENCE_SECONDS, until
from tuneport.testing.emulators import OpenAIEmulator

MODELS = [f"base-{number}" for number in range(17)]
"""The manifest has three jobs of one model at once: so many models take fifty jobs."""
KEY = "sk-of-the-fleet"
ENDED = ("succeeded", "failed", "cancelled")


def free_ports(count: int) -> list[int]:
    """Return ports that the system gives to nobody who asks for any: a gateway that is killed finds its own again."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(20_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports += [port] if port not in ports else []
    return ports


def emulator(**options: Any) -> OpenAIEmulator:
    return OpenAIEmulator(key=KEY, exact_tokens=False, models=dict.fromkeys(MODELS), **options)


class Fleet:
    """`start` and `kill` a gateway by its place. All have one store and one home, or with `files_url` homes of their
    own and one store of files."""

    def __init__(
        self,
        folder: Path,
        base_url: str,
        *,
        count: int = 2,
        database: str | None = None,
        files_url: str | None = None,
    ) -> None:
        self.folder, self.ports, self.processes = folder, free_ports(count), dict[int, int]()
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("TUNEPORT_")}
        self.environment |= {
            "PYTHONPATH": os.pathsep.join([str(CHECKOUT / "src"), str(CHECKOUT)]),
            "TUNEPORT_HOME": str(folder / "home"),
            "TUNEPORT_BACKEND": "ours",
            "OURS_API_KEY": KEY,
            "HF_HUB_OFFLINE": "1",
            # The emulator lists a job at once: what it does not list after this time was never started.
            "TUNEPORT_SETTLE_SECONDS": "5",
        }
        self.apart = files_url is not None
        if files_url is not None:
            self.environment["TUNEPORT_FILES_URL"] = files_url
        if database is not None:
            self.environment["TUNEPORT_DATABASE_URL"] = database
        (folder / "tuneport.toml").write_text(
            f'[backends.ours]\nlike = "openai"\nbase_url = "{base_url}"\napi_key_env = "OURS_API_KEY"\n'
        )
        # One connection a request: a pooled one may belong to a gateway that is no more.
        limits = httpx.Limits(max_keepalive_connections=0)
        self.http = httpx.Client(timeout=20, limits=limits, trust_env=False)

    def __enter__(self) -> Fleet:
        self.zygote = subprocess.Popen(
            [sys.executable, "-m", "tests.support.zygote"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT, env=self.environment,
        )  # fmt: skip
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for place in list(self.processes):
            self.kill(place)
        assert self.zygote.stdin is not None and self.zygote.stdout is not None
        self.zygote.stdin.close()
        self.zygote.wait()
        self.zygote.stdout.close()
        self.http.close()

    def start(self, place: int) -> None:
        asked = {
            "arguments": ["serve", "--port", str(self.ports[place]), "--json"],
            "environment": self.environment | ({"TUNEPORT_HOME": str(self.home(place))} if self.apart else {}),
            "folder": str(self.folder),
        }
        assert self.zygote.stdin is not None and self.zygote.stdout is not None
        self.zygote.stdin.write(json.dumps(asked) + "\n")
        self.zygote.stdin.flush()
        self.processes[place] = int(self.zygote.stdout.readline())

    def home(self, place: int) -> Path:
        return self.folder / (f"home-{place}" if self.apart else "home")

    def kill(self, place: int, number: int = signal.SIGKILL) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.processes.pop(place), number)

    def alive(self, place: int) -> bool:
        with suppress(ProcessLookupError, KeyError):
            os.kill(self.processes[place], 0)
            return True
        return False

    def url(self, place: int, path: str) -> str:
        return f"http://127.0.0.1:{self.ports[place]}{path}"

    def ready(self, place: int, *, patience: float = PATIENCE_SECONDS) -> None:
        def answers() -> bool:
            with suppress(httpx.HTTPError):
                return self.http.get(self.url(place, "/readyz")).status_code == 200
            return False

        until(answers, patience, pause=0.1, told=lambda: f"gateway {place} says:\n{self.log()}")

    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text()[-4000:] if path.exists() else ""

    def ask(self, method: str, path: str, *, place: int, **options: Any) -> dict[str, Any]:
        answer = self.http.request(method, self.url(place, path), **options)
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"
        found: dict[str, Any] = answer.json()
        return found

    # --- what a client does, for one job ----------------------------------------------------------------------------

    def upload(self, number: int, *, place: int) -> str:
        file = (f"{number}.jsonl", dataset(number))
        answer = self.ask("POST", "/v1/files", place=place, files={"file": file}, data={"purpose": "fine-tune"})
        return str(answer["id"])

    def create(self, number: int, file_id: str, *, place: int) -> str:
        body = {"model": MODELS[number % len(MODELS)], "training_file": file_id, "metadata": {"number": str(number)}}
        header = {"Idempotency-Key": f"job-{number}"}
        return str(self.ask("POST", "/v1/fine_tuning/jobs", place=place, json=body, headers=header)["id"])

    def status(self, job_id: str, *, place: int) -> str:
        return str(self.ask("GET", f"/v1/fine_tuning/jobs/{job_id}", place=place)["status"])

    def listed(self, *, place: int) -> list[str]:
        """All jobs by cursor, newest first."""
        found: list[str] = []
        while True:
            cursor = {"after": found[-1]} if found else {}
            page = self.ask("GET", "/v1/fine_tuning/jobs", place=place, params={"limit": 20, **cursor})
            found += [job["id"] for job in page["data"]]
            if not page["has_more"]:
                return found

    def events(self, job_id: str, *, place: int) -> list[dict[str, Any]]:
        """All of them, oldest first."""
        found: list[dict[str, Any]] = []
        while True:
            cursor = {"after": found[-1]["id"]} if found else {}
            path = f"/v1/fine_tuning/jobs/{job_id}/events"
            page = self.ask("GET", path, place=place, params={"limit": 100, **cursor})
            found += page["data"]
            if not page["has_more"]:
                return found[::-1]


def dataset(number: int) -> bytes:
    """Each job's own, so that each is uploaded to the provider once."""
    rows = chat_rows(10)
    rows[0]["messages"][0]["content"] = f"Name the colour, number {number}."
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def complaints(fleet: Fleet, provider: OpenAIEmulator, jobs: dict[int, str], *, place: int) -> list[str]:
    """What is wrong, on either side, once all have ended: `jobs` are the ids that clients were given, by number."""
    wrong = []
    if provider.jobs_created != len(jobs):
        wrong.append(f"{provider.jobs_created} jobs were started at the provider, of {len(jobs)}")
    if twice := len(provider.accepted_uploads) - len(set(provider.accepted_uploads)):
        wrong.append(f"{twice} files were uploaded twice")
    there = {str((job.metadata or {}).get("number")): job for job in provider.jobs.values()}
    if sorted(fleet.listed(place=place)) != sorted(jobs.values()):
        wrong.append("the list of jobs is not that of the jobs which were created")
    for number, job_id in jobs.items():
        remote = there.get(str(number))
        if remote is None:
            wrong.append(f"job {number} never reached the provider")
            continue
        told = [event["message"] for event in fleet.events(job_id, place=place)]
        said = [event["message"] for event in remote.events(provider.now())][::-1]
        kept = [message for message in told if message in set(said)]
        if kept != said:
            wrong.append(f"job {number}: {len(said)} events there, here {kept}")
        # Each interrupted submit is told of by itself, in the same words.
        once = [message for message in told if not message.endswith("it is started again")]
        if len(set(once)) != len(once):
            wrong.append(f"job {number}: an event is told twice: {told}")
    return wrong
