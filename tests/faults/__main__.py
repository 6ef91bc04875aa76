"""All cases, in several processes, and their table: `python -m tests.faults`. The exit code is 1 if any is bad.

Half of the time is waiting for timeouts: there are two processes for each core.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor

from tests.faults.bench import PROVIDERS, ROUTES
from tests.faults.cases import CREATION, UPLOAD, clean_run, positions, run_column, run_kills, run_pairs
from tests.faults.killing import Children, kill_points
from tests.faults.kinds import KINDS
from tests.faults.table import Table

KILLS, PAIRS = "kills", "pairs"
LONGEST = (KILLS, "timeout before", "timeout after", PAIRS)
"""Columns that take a minute or more: they begin first, so that no process is left with one at the end."""


def column(route: str, name: str) -> Table:
    """The cases of one fault, or of all kill points, or of all pairs of faults."""
    table = Table()
    if name == KILLS:
        with Children() as children:
            run_kills(children, route, kill_points(route, children, len(clean_run(route).labels)), table)
    elif name == PAIRS:
        for lost in (CREATION[route], UPLOAD[route]):
            run_pairs(route, lost, KINDS.values(), table)
    else:
        run_column(route, KINDS[name], positions(route, KINDS[name]), table)
    return table


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--processes", type=int, default=2 * (os.cpu_count() or 1))
    parser.add_argument(
        "--fault", action="append", choices=[*KINDS, KILLS, PAIRS], help="only this one; again for more"
    )
    options = parser.parse_args()
    names = options.fault or [*KINDS, KILLS, PAIRS]
    wanted = [(route, name) for route in ROUTES for name in names if name != PAIRS or route in PROVIDERS]
    wanted.sort(key=lambda column: column[1] not in LONGEST)
    whole = Table()
    with ProcessPoolExecutor(options.processes) as pool:
        for (route, name), table in zip(wanted, pool.map(column, *zip(*wanted, strict=True)), strict=True):
            whole.cells.update(table.cells)
            print(f"{route}, {name}: {table.summary()}", file=sys.stderr, flush=True)
    print("\n".join(whole.lines()))
    return 1 if whole.bad else 0


if __name__ == "__main__":
    sys.exit(main())
