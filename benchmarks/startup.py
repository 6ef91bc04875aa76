"""What a short command costs before it does anything: `tuneport --help` and `tuneport jobs`, against their libraries.

`python benchmarks/startup.py [--rounds 11] [--jobs 100] [--imports 12]`

In turns, each in a process of its own: `import typer, rich` alone, `tuneport --help`, `tuneport jobs` with so many
ended jobs in a store made for it, and what a listing cannot do without: SQLAlchemy's mapper, and a typer command with
one option (which loads pydantic). Modules are compiled before, as an installed package's are; a first round is not
counted. Reported: median processor seconds (user and system) and wall seconds of the child, both also as a multiple of
the bare import; then, by `python -X importtime`, the top-level packages that each loads: how many modules, and their
own time. The goals are at most 2 for `--help` and 3 for `jobs`.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src")]

BARE = "import typer, rich"
TUNEPORT = "from tuneport.cli.main import run; run()"
LIBRARIES = """
import sqlalchemy.orm, typer
def command(limit: int = 20) -> None: pass
typer.run(command)
"""
CASES = {
    BARE: ["-c", "import typer, rich"],
    "tuneport --help": ["-c", TUNEPORT, "--help"],
    "tuneport jobs": ["-c", TUNEPORT, "jobs", "--limit", "1000"],
    "the libraries of jobs": ["-c", LIBRARIES],
}
GOALS = {"tuneport --help": 2.0, "tuneport jobs": 3.0}


def add_ended_jobs(home: Path, count: int) -> None:
    """Add jobs to the home's store as a submit does, and record that they succeeded."""
    from tuneport.lifecycle.store.store import Store
    from tuneport.lifecycle.worker.recording import record_job_states
    from tuneport.settings import Settings
    from tuneport.types import DataFile, JobState, JobStatus, PreparedData, TuneSpec

    spec = TuneSpec(model="llama-3.1-8b-instruct", dataset=Path("train.jsonl"))
    file = DataFile(path=Path("files/0.jsonl"), sha256="0" * 64, format="openai", rows=12, bytes=2)
    store = Store(Settings.load(home, {"TUNEPORT_HOME": str(home)}).database_url).unscoped()
    model = "meta-llama/Llama-3.1-8B-Instruct"
    rows = {}
    for _ in range(count):
        row = store.jobs.add(spec, PreparedData(training=file), backend="together", model=model, quote=None)
        rows[row.id] = row
    states = {
        job_id: JobState(remote_id=job_id, status=JobStatus.SUCCEEDED, raw_status="completed", model=model)
        for job_id in rows
    }
    record_job_states(store, states, rows)
    store.close()


def run(arguments: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Run Python once and return its processor and wall seconds."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *arguments], env=environment, check=True, capture_output=True)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - began
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, wall


def list_packages(arguments: list[str], environment: dict[str, str]) -> dict[str, tuple[int, float]]:
    """Return the top-level packages that a run imports: number of modules, and milliseconds of their own, the longest
    first."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments], env=environment, check=True, capture_output=True, text=True
    )
    found: dict[str, tuple[int, float]] = defaultdict(lambda: (0, 0.0))
    for own, module in re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", done.stderr):
        package = module.partition(".")[0]
        modules, seconds = found[package]
        found[package] = modules + 1, seconds + int(own) / 1000
    return dict(sorted(found.items(), key=lambda each: -each[1][1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--jobs", type=int, default=100, help="ended jobs in the store")
    parser.add_argument("--imports", type=int, default=12, help="packages to show for each command")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "home")
        home.mkdir()
        add_ended_jobs(home, options.jobs)
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment |= {
            "TUNEPORT_HOME": str(home), "PYTHONPYCACHEPREFIX": str(Path(folder, "compiled")),
            "PYTHONPATH": sys.path[0],
        }  # fmt: skip
        times: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for number in range(options.rounds + 1):
            for name, arguments in CASES.items():
                measured = run(arguments, environment)
                if number:
                    times[name].append(measured)
        report(times)
        for name, arguments in CASES.items():
            packages = list_packages(arguments, environment)
            many = sum(modules for modules, _ in packages.values())
            print(f"\n{name}: {many:,} modules of {len(packages):,} packages")
            for package, (modules, own) in list(packages.items())[: options.imports]:
                print(f"  {package:<20} {modules:>4} modules {own:>7.1f} ms")


def report(times: dict[str, list[tuple[float, float]]]) -> None:
    medians = {name: tuple(map(statistics.median, zip(*each, strict=True))) for name, each in times.items()}
    print(f"{'':<24} processor     ratio      wall     ratio")
    for name, (cpu, wall) in medians.items():
        by_cpu, by_wall = cpu / medians[BARE][0], wall / medians[BARE][1]
        goal = f"  goal {GOALS[name]:g}{'' if by_cpu <= GOALS[name] else ' MISSED'}" if name in GOALS else ""
        print(f"{name:<24} {cpu * 1000:6.0f} ms {by_cpu:9.2f} {wall * 1000:6.0f} ms {by_wall:9.2f}{goal}")


if __name__ == "__main__":
    main()
