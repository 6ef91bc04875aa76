"""Prints what each attack comes to: without a sandbox, in the sandbox as root, and as an ordinary user.

python -m tests.attacks.sandbox [--before TREE] [--alone] [--only NAME]...

`--before`: the `src` of an older tree, for two more columns. `--alone`: the sandbox without bubblewrap, as where the
kernel gives no namespaces. As root it runs both users, else the one that it is.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tuneport
from tests.attacks.sandbox.attacks import ATTACKS

ROOT = Path(__file__).parents[3]
SOURCE = str(Path(tuneport.__file__).parents[1])  # the tree that is tested, which may be a copy
Results = dict[str, str]  # by name: works or DUD without a sandbox, held or OPEN in it, ERROR where it was not tried


@dataclass(frozen=True)
class Column:
    """`user`: root or user. `kind`: control, before or after."""

    user: str
    kind: str

    def command(self, only: list[str], alone: bool) -> list[str]:
        command = [sys.executable, "-m", "tests.attacks.sandbox.column", "control" if self.kind == "control" else "run"]
        command += [word for name in only for word in ("--only", name)]
        if alone and self.kind == "after":
            command.append("--alone")
        if self.user == "user" and os.geteuid() == 0:
            command = ["unshare", "--mount", sys.executable, str(ROOT / "tests/attacks/sandbox/as_user.py"), *command]
        return command


def columns(before: str | None) -> Iterator[Column]:
    for user in ("root", "user") if os.geteuid() == 0 else ("user",):
        yield Column(user, "control")
        if before:
            yield Column(user, "before")
        yield Column(user, "after")


def results(column: Column, *, only: list[str] = [], alone: bool = False, before: str = "") -> Results:  # noqa: B006
    """Run the attacks of a column. RuntimeError where it cannot run to its end."""
    source = before if column.kind == "before" else SOURCE
    environment = os.environ | {"PYTHONPATH": f"{source}:{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        column.command(only, alone), cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the attacks as {column.user} ({column.kind}) broke off: {done.stderr.strip()[-2000:]}")
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {f"{line['group']}: {line['name']}": _word(column, line) for line in lines}


def _word(column: Column, line: dict[str, Any]) -> str:
    if column.kind == "control":
        return "works" if line["succeeded"] else "DUD"
    return "ERROR" if line["error"] else "OPEN" if line["succeeded"] else "held"


def all_results(before: str | None, *, only: list[str], alone: bool) -> dict[Column, Results]:
    wanted = list(columns(before))
    with ThreadPoolExecutor(max_workers=2) as pool:
        futures = {
            column: pool.submit(results, column, only=only, alone=alone, before=before or "") for column in wanted
        }
        return {column: future.result() for column, future in futures.items()}


def table(found: dict[Column, Results]) -> Iterator[str]:
    wide = 38
    yield "attack".ljust(wide) + "".join(f"{column.user:>7}" for column in found)
    yield "".ljust(wide) + "".join(f"{column.kind:>7}" for column in found)
    for attack in ATTACKS:
        name = f"{attack.group}: {attack.name}"
        words = [each.get(name, "") for each in found.values()]
        if any(words):
            yield name[: wide - 1].ljust(wide) + "".join(f"{word:>7}" for word in words)
    totals = [f"{sum(word in ('works', 'OPEN') for word in each.values())}/{len(each)}" for each in found.values()]
    yield "succeeded".ljust(wide) + "".join(f"{word:>7}" for word in totals)


def faults(found: dict[Column, Results]) -> list[str]:
    """Return what is wrong: attacks that succeed, that are duds, or that could not be tried."""
    good = {"control": "works", "after": "held"}
    return [
        f"{name} as {column.user}, {column.kind}: {word}"
        for column, each in found.items()
        for name, word in each.items()
        if word != good.get(column.kind, word)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.attacks.sandbox")
    parser.add_argument("--before", metavar="TREE")
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    given = parser.parse_args()
    if os.geteuid() != 0:
        print("Not root: the attacks are run as this user only.")
    found = all_results(given.before, only=given.only, alone=given.alone)
    print("\n".join(table(found)))
    return int(bool(faults(found)))


if __name__ == "__main__":
    sys.exit(main())
