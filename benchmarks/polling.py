"""What it costs to follow many jobs of one provider, and how soon the end of one is noticed.

`python benchmarks/polling.py [--jobs 10000] [--minutes 20] [--per-minute 120]`

An OpenAI emulator in another process has the jobs; they end one after the other within `--minutes`. The poller of the
product follows them through the official SDK, with its real store on disk. Time is emulated: where the poller would
sleep, its clock and the emulator's move forward together, so that 20 minutes take as long as the work in them. Every
other job has an `estimated_finish`, which is up to a fifth wrong; the rest have none, as OpenAI's mostly do.

Reported: requests in all, and for a sweep (one look at all unfinished jobs); the delay from a job's end until the store
has it; processor seconds and peak memory of the poller's process. Asking about each job by itself would take as many
requests for a sweep as there are jobs.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tuneport.testing.emulators.openai.emulator import OpenAIEmulator  # noqa: E402
from tuneport.testing.emulators.openai.jobs import STATES, EmulatedOpenAIJob  # noqa: E402
from tuneport.testing.emulators.server import emulated_route  # noqa: E402
from tuneport.testing.emulators.timeline import EmulatedJobPlan, EmulatedTimeline  # noqa: E402
from tuneport.testing.emulators.wire import EmulatedRequest, EmulatedResponse  # noqa: E402

KEY = "sk-benchmark"
MODEL = "gpt-4.1-mini-2025-04-14"
ROW = b'{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]}\n'


class ManyJobs(OpenAIEmulator):
    """The emulator for 10,000 jobs: it looks only at the jobs of the page that is asked for, and keeps no log."""

    def __init__(self, count: int, minutes: float) -> None:
        super().__init__(key=KEY, exact_tokens=False)
        self.counts = {"list": 0, "retrieve": 0, "events": 0}
        dice = random.Random(7)
        content = ROW * 12
        first = EmulatedOpenAIJob(
            id="ftjob-0", base=MODEL, start=MODEL, method="supervised", options={}, organization="benchmark",
            plan=EmulatedJobPlan(),
            hyperparameters={"n_epochs": 1}, training_file="file-1", training_content=content, validation_file=None,
            validation_content=None, suffix=None, seed=1, metadata={}, integrations=[], code="00000000",
            timeline=EmulatedTimeline(STATES, self.now(), 1.0), exact_tokens=False, checkpoint_codes=["a", "b", "c"],
        )  # fmt: skip
        for number in range(count):
            # Started within the last half hour; ends uniformly spread over the minutes to come.
            age, left = dice.uniform(0, 1800), dice.uniform(0, minutes * 60)
            job = EmulatedOpenAIJob(**{name: getattr(first, name) for name in EmulatedOpenAIJob.__dataclass_fields__})
            job.id, job.code = f"ftjob-{number:06}", f"{number:08}"
            job.timeline = EmulatedTimeline(STATES, self.now() - age, (age + left) / len(STATES))
            job.__dict__.update(rows=first.rows, validation_error=None, trained_tokens=first.trained_tokens)
            self.jobs[job.id] = job
        self.order = list(reversed(self.jobs))
        self.place = {job_id: place for place, job_id in enumerate(self.order)}

    def apply_elapsed_time(self) -> None:
        """Nothing at once: see `_show`."""

    def _show(self, job: EmulatedOpenAIJob) -> dict[str, Any]:
        if not job.fine_tuned_model and job.status(self.now()) == "succeeded":
            job.fine_tuned_model, job.result_file = job.model_name(), "file-2"
        shown = super()._show(job)
        number = int(job.id[-6:])
        if number % 2:
            return shown | {"estimated_finish": None}
        if shown["estimated_finish"] is not None:
            wrong = random.Random(number).uniform(-0.2, 0.2) * job.timeline.pace * len(STATES)
            shown["estimated_finish"] += int(wrong)
        return shown

    @emulated_route("GET", "/fine_tuning/jobs")
    def list_jobs(self, request: EmulatedRequest) -> dict[str, Any]:
        after, limit = request.query.get("after"), int(request.query.get("limit", 20))
        start = self.place[after] + 1 if after else 0
        page = [self._show(self.jobs[job_id]) for job_id in self.order[start : start + limit]]
        return {"object": "list", "data": page, "has_more": start + limit < len(self.order)}

    def _record(self, request: EmulatedRequest, response: EmulatedResponse | None, fault: str | None) -> None:
        kind = request.path.removeprefix("/v1/fine_tuning/jobs")
        self.counts["list" if not kind else "events" if kind.endswith("/events") else "retrieve"] += 1

    def _command(self, method: str, command: str, options: dict[str, Any]) -> dict[str, Any]:
        return super()._command(method, command, options) | {"counts": self.counts}


def serve(count: int, minutes: float) -> None:
    with ManyJobs(count, minutes) as emulator:
        print(json.dumps({"origin": emulator.origin, "base_url": emulator.base_url}), flush=True)
        sys.stdin.read()  # until the parent goes


class EmulatedTime:
    """A clock for poller and emulator alike: sleeping moves it forward."""

    def __init__(self, origin: str) -> None:
        self.origin, self.offset = origin, 0.0

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.offset)

    def sleep(self, seconds: float) -> bool:
        self.offset += seconds
        self.ask("advance", {"seconds": seconds})
        return False

    def ask(self, command: str = "", body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.origin}/_emulator/{command}".rstrip("/"), data=data)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=20.0, help="emulated, in which all the jobs end")
    parser.add_argument("--per-minute", type=float, help="requests; default: the product's")
    parser.add_argument("--seconds", type=float, default=90.0, help="real, after which it stops")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.jobs, options.minutes)
        return
    command = [sys.executable, __file__, "--serve", "--jobs", str(options.jobs), "--minutes", str(options.minutes)]
    with (
        tempfile.TemporaryDirectory() as home,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child,
    ):
        try:
            assert child.stdout is not None
            report(json.loads(child.stdout.readline()), Path(home), options)
        finally:
            child.kill()


def report(server: dict[str, str], home: Path, options: argparse.Namespace) -> None:
    from tuneport.lifecycle.service import JobService
    from tuneport.lifecycle.worker.provider_polling import REQUESTS_PER_MINUTE, ProviderPoller
    from tuneport.settings import Settings
    from tuneport.types import JobState

    environment = {
        "TUNEPORT_HOME": str(home), "TUNEPORT_OPENAI_BASE_URL": server["base_url"], "OPENAI_API_KEY": KEY,
    }  # fmt: skip
    workspace = JobService(Settings.load(home, environment))
    add_rows(workspace, options.jobs)
    clock = EmulatedTime(server["origin"])
    delays: list[float] = []

    def on_change(job_id: str, state: JobState) -> None:
        if state.status.terminal and state.finished_at is not None:
            delays.append((clock.now() - state.finished_at).total_seconds())

    poller = ProviderPoller(
        workspace.worker, "openai", clock=clock.now, sleep=clock.sleep, dice=random.Random(1).random,
        on_change=on_change, on_trouble=lambda name, message: print(f"{name}: {message}", file=sys.stderr),
    )  # fmt: skip
    if options.per_minute:
        from tuneport.rate_limits import RateLimiter

        per_minute, seconds = options.per_minute, lambda: clock.now().timestamp()
        poller.limiter = RateLimiter(per_minute, burst=per_minute / 6, clock=seconds, sleep=clock.sleep)
    began, cpu, sweeps = time.monotonic(), time.process_time(), 0
    started = clock.now()
    before = 0
    while workspace.store.jobs.count_unfinished() and time.monotonic() - began < options.seconds:
        wait = poller.poll_due_jobs()
        listed = clock.ask()["counts"]["list"]
        sweeps += listed > before
        before = listed
        clock.sleep(wait)
    cpu, wall = time.process_time() - cpu, time.monotonic() - began
    counts = clock.ask()["counts"]
    emulated = (clock.now() - started).total_seconds()
    unfinished = workspace.store.jobs.count_unfinished()
    delays.sort()
    rate = options.per_minute or REQUESTS_PER_MINUTE
    print(f"{options.jobs:,} jobs, {len(delays):,} ended and noticed, {unfinished:,} unfinished")
    print(f"{emulated / 60:.1f} emulated minutes in {wall:.0f} s; budget {rate:g} requests a minute")
    print(
        f"requests         {sum(counts.values()):,}: {', '.join(f'{value:,} {name}' for name, value in counts.items())}"
    )
    print(
        f"for a sweep      {counts['list'] / max(1, sweeps):.0f} list requests ({sweeps} sweeps); "
        f"one by one {options.jobs:,}"
    )
    if delays:
        p99 = delays[min(len(delays) - 1, int(len(delays) * 0.99))]
        median, worst = statistics.median(delays), delays[-1]
        print(f"noticed after    median {median:.0f} s, p99 {p99:.0f} s, worst {worst:.0f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"processor        {cpu:.1f} s ({cpu / max(1, sweeps):.2f} s a sweep), peak memory {peak:.0f} MB")
    workspace.close()


def add_rows(workspace: Any, count: int) -> None:
    """The jobs as if they had been submitted: the store's rows, without 10,000 submits."""
    from sqlalchemy import insert

    from tuneport.lifecycle.schema.tables import JobRow
    from tuneport.types import DataFile, PreparedData, TuneSpec, now

    spec = TuneSpec(model="gpt-4.1-mini", dataset=Path("train.jsonl")).model_dump(mode="json")
    file = DataFile(path=Path("files/0.jsonl"), sha256="0" * 64, format="openai", rows=12, bytes=2)
    prepared = PreparedData(training=file).model_dump(mode="json")
    moment = now()
    rows = [
        {
            "id": f"job-{number:012x}", "token": f"{number:032x}", "project": "default",
            "backend": "openai", "model": MODEL, "spec": spec,
            "prepared": prepared, "status": "running", "remote_id": f"ftjob-{number:06}", "submit_attempts": 1,
            "created_at": moment, "updated_at": moment, "due_at": moment,
        }
        for number in range(count)
    ]  # fmt: skip
    with workspace.store.database.transaction() as session:
        session.execute(insert(JobRow), rows)


if __name__ == "__main__":
    main()
