"""What the checks find of planted defects, and what they flag for nothing.

    python benchmarks/checks.py [--shared FOLDER] [--beds NAME ...] [--variants] [--json]

Each bed is a file of about 1,500 rows with 200 defects of each of its kinds, planted by code that shares nothing with
the checks (`tests/data/planted/`). False alarms are counted on the rows of the same file that hold no defect, and on
files that hold none at all: the shared datasets, where they are at hand, less the lines in
`tests/data/planted/judgements.py`, and composed ones.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # for tests.data.planted, which is not installed

from tests.data.planted.base import CLEAN  # noqa: E402
from tests.data.planted.beds import BEDS  # noqa: E402
from tests.data.planted.conditions import CLEAN as CLEAN_ROWS  # noqa: E402
from tests.data.planted.conditions import conditions  # noqa: E402
from tests.data.planted.measuring import Tally, alarms, recognisers, run, tallies, verdicts, write  # noqa: E402

SHARED = Path(os.environ.get("TUNEPORT_SHARED", ROOT / "shared")) / "data"


def planted(
    names: Iterable[str], folder: Path, shared: Path | None
) -> tuple[dict[str, Tally], dict[str, Counter[str]]]:
    """One tally a kind, over all beds that have it; and what each recogniser of personal data flags."""
    kinds: dict[str, Tally] = {}
    recognised: dict[str, Counter[str]] = {}
    for name in names:
        bed = BEDS[name](shared)
        flagged = run(bed, folder).flagged
        for tally in tallies(bed, flagged, shared):
            if tally.kind in kinds:
                kinds[tally.kind].add(tally)
            else:
                kinds[tally.kind] = tally
        if name == "personal":
            recognised = recognisers(bed, flagged)
    return kinds, recognised


def clean(folder: Path, shared: Path | None) -> dict[str, tuple[int, dict[str, list[int]]]]:
    """By file: its rows, and the lines flagged by kind."""
    paths = [shared / name for name in CLEAN] if shared else []
    for name, make in CLEAN_ROWS.items():
        paths.append(write(folder / f"composed {name}.jsonl", make()))
    return {path.name: alarms(path) for path in paths}


def judge(folder: Path) -> dict[str, dict[str, object]]:
    """By condition of a whole file: the verdicts on the bad and the good file, and whether both are right."""
    made: dict[str, dict[str, object]] = {}
    for condition in conditions():
        bad, good = verdicts(condition, folder)
        right = bad in condition.bad_verdicts and good in condition.good_verdicts
        made[condition.name] = {"check": condition.finding, "bad": bad, "good": good, "right": right}
    return made


def print_tallies(kinds: dict[str, Tally], per_thousand: dict[str, float], variants: bool) -> None:
    print(f"{'kind':32}{'planted':>8}{'found':>7}{'recall':>8}{'false alarms':>18}{'clean files':>14}")
    for kind, tally in kinds.items():
        false = f"{len(tally.false)} of {tally.untouched:,}"
        shown = per_thousand.get("personal" if kind.startswith("personal.") else kind, 0.0)
        planted, found, note = tally.planted, tally.found, ""
        if not planted:  # every variant is a judgement: shown, and not tested
            planted, found = (sum(counts) for counts in zip(*tally.variants.values(), strict=True))
            note = "  (judgement, not counted)"
        line = f"{kind:32}{planted:8}{found:7}{found / planted:8.1%}{false:>18}{shown:10.2f} ‰{note}"
        fired = [f"{name} {count}" for name, count in tally.fired.most_common(3) if name != kind]
        print(line + (f"  as {', '.join(fired)}" if fired else ""))
        for name, (count, found) in sorted(tally.variants.items()) if variants and len(tally.variants) > 1 else ():
            note = "  (judgement, not counted)" if name in tally.lenient else ""
            print(f"    {name:28}{count:8}{found:7}{found / count:8.1%}{note}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=SHARED, help="the folder of the shared datasets")
    parser.add_argument("--beds", nargs="+", choices=list(BEDS), default=list(BEDS), help="default: all")
    parser.add_argument("--variants", action="store_true", help="show each variant of a defect")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the tables")
    arguments = parser.parse_args()
    shared = arguments.shared if arguments.shared.is_dir() else None
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="tuneport-benchmark-") as temporary:
        folder = Path(temporary)
        kinds, recognised = planted(arguments.beds, folder, shared)
        files = clean(folder, shared)
        states = judge(folder)
    seconds = time.perf_counter() - started
    rows = sum(count for count, _ in files.values())
    flagged: dict[str, int] = {}
    for _, found in files.values():
        personal = {line for kind, lines in found.items() if kind.startswith("personal.") for line in lines}
        for kind, lines in {**found, **({"personal": sorted(personal)} if personal else {})}.items():
            flagged[kind] = flagged.get(kind, 0) + len(lines)
    per_thousand = {kind: 1_000 * count / rows for kind, count in flagged.items()}
    if arguments.json:
        document = {
            "kinds": [tally.as_dict() for tally in kinds.values()],
            "personal_by_recogniser": recognised,
            "clean_rows": rows,
            "false_alarms_per_1000_clean_rows": per_thousand,
            "clean_files": {name: {"rows": count, "flagged": found} for name, (count, found) in files.items()},
            "conditions": states,
            "seconds": round(seconds, 1),
        }
        print(json.dumps(document, indent=2))
        return
    print_tallies(kinds, per_thousand, arguments.variants)
    if recognised:
        print("\npersonal data: the lines that each recogniser flags, and how many of them hold any")
    for name, counts in recognised.items():
        flagged_lines, held = counts.total(), counts.total() - counts["nothing"]
        told = ", ".join(f"{entity} {count}" for entity, count in counts.most_common(6))
        print(f"  {name:30}{flagged_lines:8}{held / flagged_lines:8.1%} held some  ({told})")
    print(f"\nclean files, {rows:,} rows{'' if shared else ' (no shared datasets at hand)'}")
    for name, (count, found) in files.items():
        lines = {line for hits in found.values() for line in hits}
        told = ", ".join(f"{kind} {len(hits)}" for kind, hits in found.items()) or "nothing flagged"
        print(f"  {name:44}{count:6,} rows {len(lines) / count:7.2%}  {told}")
    print("\nconditions of a whole file: verdict where it holds, and where it does not")
    for name, state in states.items():
        print(f"  {name:36}{state['check']:12}{state['bad']:>6}{state['good']:>6}{'' if state['right'] else '  WRONG'}")
    print(f"\n{seconds:.0f} s")


if __name__ == "__main__":
    main()
