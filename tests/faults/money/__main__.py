"""All cases and their table: `python -m tests.faults.money --cases 500 --seed 1`.

The exit code is 1 if any case has a complaint.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from tests.faults.money import table
from tests.faults.money.commands import CLOCK, ForkingRunner, Runner
from tests.faults.money.openai_wire import OpenAIWire
from tests.faults.money.play import Play, Played, warm_up
from tests.faults.money.scenarios import SCENARIOS, Case, cases
from tests.faults.money.together_wire import TogetherWire
from tests.faults.money.verdict import Verdict, judge
from tests.faults.money.wire import Server

SETTLE = 6.0
AT_ONCE = 40


def play_all(
    wanted: Iterable[Case], runner: Runner, server: Server, base: Path, at_once: int = AT_ONCE
) -> Iterator[tuple[Played, Verdict]]:
    """Each case played and judged, in order; `at_once` of them at a time."""

    def play(case: Case) -> tuple[Played, Verdict]:
        played = Play(case, server, runner, base).go()
        return played, judge(played)

    with ThreadPoolExecutor(at_once) as pool:
        yield from pool.map(play, wanted)


def open_server() -> Server:
    return Server({"openai": OpenAIWire(), "together": TogetherWire()})


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.money", description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--settle", type=float, default=SETTLE, help="seconds of the wait after an unknown outcome")
    parser.add_argument("--at-once", type=int, default=AT_ONCE)
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS), help="only this one; again for more")
    parser.add_argument("--case", type=int, action="append", help="only the case of this number; again for more")
    parser.add_argument("--keep", type=Path, help="a folder for what each case left: outputs, homes, ledgers")
    options = parser.parse_args()
    if not CLOCK:
        print("libfaketime is not installed: no case has a clock that jumps", file=sys.stderr)
    wanted = cases(
        options.cases, options.seed, options.settle, clocks=CLOCK is not None, only=tuple(options.scenario or ())
    )
    chosen = [case for case in wanted if not options.case or case.number in options.case]
    results, began = [], time.monotonic()
    server = open_server()
    with tempfile.TemporaryDirectory() as temporary, ForkingRunner() as runner:
        base = options.keep or Path(temporary)
        base.mkdir(parents=True, exist_ok=True)
        warm_up(runner, server, base, options.settle)
        for played, verdict in play_all(chosen, runner, server, base, options.at_once):
            results.append((played, verdict))
            if verdict.complaints:
                print(*table.complaints([(played, verdict)]), sep="\n", file=sys.stderr, flush=True)
            if options.keep:
                _keep(base, played, verdict)
    server.close()
    print("\n".join(table.lines(results)))
    print(textwrap.fill(table.EXPLAINED, 80))
    bad = sum(bool(verdict.complaints) for _, verdict in results)
    print(f"money bench: {len(results)} cases, {bad} bad, {time.monotonic() - began:.0f} s")
    return 1 if bad else 0


def _keep(base: Path, played: Played, verdict: Verdict) -> None:
    """Write down a case: commands with their outputs, the ledger, the verdict."""
    account = played.account
    document = {
        "case": asdict(played.case), "verdict": asdict(verdict), "said": played.said, "row": played.row,
        "ledger": [asdict(job) for job in account.jobs],
        "creates": [[create.at, create.token, create.key, create.job and create.job.id] for create in account.creates],
        "commands": [asdict(ran) for ran in played.ran],
    }  # fmt: skip
    (base / account.name / "case.json").write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    sys.exit(main())
