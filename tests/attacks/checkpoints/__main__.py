"""All damages, and their table: `python -m tests.attacks.checkpoints`. The exit code is 1 if any ends wrongly."""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
from pathlib import Path

from tests.attacks.checkpoints.bench import Bench
from tests.attacks.checkpoints.damages import DAMAGES, QUICK

WIDTH = 80


def run() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.attacks.checkpoints", description=__doc__.partition(":")[0])
    parser.add_argument("--quick", action="store_true", help="only those of the quick suite")
    parser.add_argument("--only", default="", metavar="TEXT", help="those whose name holds it")
    parser.add_argument("--seeds", type=int, default=1, help="of each damage")
    options = parser.parse_args()
    chosen = [damage for damage in DAMAGES if damage.name in QUICK or not options.quick]
    chosen = [damage for damage in chosen if options.only in damage.name]
    wrong = tried = 0
    print(f"{'damage':<44} {'ended':<10} verdict")
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            bench = Bench(Path(folder))
        for damage in chosen:
            for seed in range(options.seeds):
                with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                    try:
                        found = bench.try_one(damage, seed)
                        ended, verdict = found.ended, found.wrong
                    except Exception as error:
                        ended, verdict = "-", f"{type(error).__name__}: {error}"
                tried, wrong = tried + 1, wrong + bool(verdict)
                print(f"{damage.name[:44]:<44} {ended:<10} {verdict or 'as it must'}"[:WIDTH], flush=True)
    print(f"{tried} damages, {wrong} violations")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(run())
