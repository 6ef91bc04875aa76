"""All cases and their table: `python -m tests.attacks.files`. The exit code is 1 if any breaks a promise."""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from pathlib import Path

from tests.attacks.files import archives, bench, datasets, models


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.attacks.files", description=__doc__.partition(":")[0])
    parser.add_argument("--every", action="store_true", help="each file with all ten commands, not with five")
    parser.add_argument("--kind", action="append", choices=["data", "model", "archive"], help="only this one")
    parser.add_argument("--case", help="only cases with this in their name")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    kinds = options.kind or ["data", "model", "archive"]

    def chosen(names: object) -> list[str]:
        return [name for name in names if options.case is None or options.case in name]  # type: ignore[attr-defined]

    every = list(bench.data_commands(""))
    commands = (lambda name, rng: every) if options.every else bench.three_and_two
    with tempfile.TemporaryDirectory() as temporary:
        streams = []
        if "data" in kinds:
            streams.append(bench.data_cases(chosen(datasets.CASES), commands, options.seed))
        if "model" in kinds:
            from tests.support.tiny import tiny_model

            sound = tiny_model(Path(temporary) / "sound")
            streams.append(bench.model_cases(sound, chosen(models.CASES), ["preview", "plan", "chat"]))
        if "archive" in kinds:
            streams.append(bench.archive_cases(chosen(archives.CASES)))
        print(f"{'case':<42} {'command':<8} {'ended':<8} {'s':>5} {'MiB':>5}")
        count = bad = 0
        for found in itertools.chain(*streams):
            count, bad = count + 1, bad + bool(found.faults)
            line = f"{found.case[:42]:<42} {found.command:<8} {found.ended:<8} {found.seconds:>5.1f}"
            print(f"{line} {found.peak >> 20:>5}", flush=True)
            for fault in found.faults:
                print(f"    VIOLATION {fault}", flush=True)
    print(f"{count} cases, {bad} violations")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
