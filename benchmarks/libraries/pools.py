"""How long worker processes take: to convert, to check much and little, and to end after `kill -9` of their parent.

Each runs in a process of its own, as a command does. `PYTHONPATH=TREE/src python benchmarks/libraries/pools.py` prints
one line of JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

files = [
    "src/tuneport/data/running/ordered_map.py",
    "src/tuneport/data/running/parallel.py",
    "src/tuneport/data/running/worker_pool.py",
]
MANY, FEW = 60_000, 100
REPEAT = 3
CONVERT = "import tuneport, sys; tuneport.convert(sys.argv[1], 'openai', sys.argv[1] + '.out.jsonl')"
CHECK = "import tuneport, sys; tuneport.check(sys.argv[1])"


def rows(path: Path, count: int) -> str:
    with path.open("w") as file:
        for number in range(count):
            answer = f"I have looked into it: parcel {number} left the house on day {number % 31}. " * (1 + number % 5)
            file.write(json.dumps({"instruction": f"Where is parcel {number}?", "output": answer}) + "\n")
    return str(path)


def seconds_of(code: str, path: str, repeat: int = REPEAT) -> float:
    """Return the least of the repeats: others share the machine."""
    found = []
    for _ in range(repeat):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code, path], check=True, stdout=subprocess.DEVNULL)
        found.append(time.perf_counter() - began)
    return round(min(found), 3)


def seconds_to_end(path: str) -> float:
    """Return how long processes live on after their parent was killed in the midst of a check."""
    with subprocess.Popen([sys.executable, "-c", CHECK, path], stderr=subprocess.DEVNULL) as run:
        parent = psutil.Process(run.pid)
        while len(parent.children()) < 2:
            time.sleep(0.05)
        time.sleep(3.0)  # they have begun to work
        children = parent.children(recursive=True)
        run.kill()
        began = time.perf_counter()
        _, living = psutil.wait_procs(children, timeout=60.0)
        for process in living:
            process.kill()
        return round(time.perf_counter() - began, 3)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        many, few = rows(Path(folder, "many.jsonl"), MANY), rows(Path(folder, "few.jsonl"), FEW)
        measures = {
            f"seconds to convert {MANY:,} rows": seconds_of(CONVERT, many),
            f"seconds to check {MANY:,} rows": seconds_of(CHECK, many, 1),
            f"seconds to convert {FEW} rows": seconds_of(CONVERT, few),
            f"seconds to check {FEW} rows": seconds_of(CHECK, few),
            "seconds that workers live on after kill -9 of their parent": seconds_to_end(many),
        }
    print(json.dumps({"part": "pools", "measures": measures}))


if __name__ == "__main__":
    main()
