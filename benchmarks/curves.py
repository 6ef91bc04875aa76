"""How often the verdict on a loss curve is right: on recorded real runs, and on generated curves with a known truth.

    python benchmarks/curves.py [--seed 2026] [--per-kind 12] [--wrong] [--markdown]

Prints the confusion table of both, how soon an overfitted run would have been stopped while it ran, whether one would
have been stopped that should not, and how far the best step is from the true one. Exits 1 below the promise: 90 %
right, no overfitted curve called healthy. The real runs are those of `record_curves.py`; half of them, and the
generator's seed 1, are what thresholds were chosen by; the table keeps them apart.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a script, it finds its neighbours
from benchmarks.generated_curves import curves  # noqa: E402
from tuneport.curves import CurveFinding, CurveVerdict, judge_curve  # noqa: E402
from tuneport.types import MetricPoint  # noqa: E402

RECORDED = Path(__file__).parent.parent / "fixtures" / "curves"
TUNING_SEED = 1
GOAL = 0.90


@dataclass(frozen=True)
class Case:
    name: str
    truth: CurveFinding
    points: Sequence[MetricPoint]
    turn: float | None = None
    tuned_by: bool = False

    @property
    def evaluated(self) -> list[int]:
        return [point.step for point in self.points if point.valid_loss is not None]


@dataclass(frozen=True)
class Judged:
    case: Case
    verdict: CurveVerdict
    stopped_at: int | None
    """The step at which a live job would have been stopped."""

    @property
    def right(self) -> bool:
        return self.verdict.finding is self.case.truth


def recorded(folder: Path = RECORDED) -> list[Case]:
    found = []
    for path in sorted(folder.glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        points = [MetricPoint.model_validate(point) for point in document["points"]]
        run = document["run"]
        found.append(Case(path.stem, CurveFinding(run["truth"]), points, tuned_by=run["tuned_by"]))
    return found


def generated(seed: int, per_kind: int) -> list[Case]:
    return [
        Case(curve.name, CurveFinding(curve.truth), curve.points, curve.turn, tuned_by=seed == TUNING_SEED)
        for curve in curves(seed, per_kind)
    ]


def judged(case: Case) -> Judged:
    return Judged(case, judge_curve(case.points), stopped_at(case))


def stopped_at(case: Case) -> int | None:
    """As a poller would have seen it: after each evaluation, or every twentieth of them where they are many."""
    steps = case.evaluated
    for step in steps[:: max(1, len(steps) // 60)]:
        known = [point for point in case.points if point.step <= step]
        if judge_curve(known, ended=False).sure:
            return step
    return None


def table(found: Iterable[Judged]) -> list[list[str]]:
    counts = Counter((each.case.truth, each.verdict.finding) for each in found)
    kinds = [kind for kind in CurveFinding if any(kind in pair for pair in counts)]
    lines = [["truth", *(kind.value for kind in kinds), "right"]]
    for truth in kinds:
        row = [counts[truth, said] for said in kinds]
        if sum(row):
            share = counts[truth, truth] / sum(row)
            lines.append([truth.value, *(str(count) if count else "" for count in row), f"{share:.0%} of {sum(row)}"])
    return lines


def show(title: str, found: Sequence[Judged], *, markdown: bool) -> None:
    right = sum(each.right for each in found)
    print(f"\n{title}: {right} of {len(found)} right ({right / max(1, len(found)):.1%})\n")
    lines = table(found)
    if markdown:
        lines.insert(1, ["---", *["---:"] * (len(lines[0]) - 1)])
    for line in lines:
        print("| " + " | ".join(line) + " |" if markdown else "  ".join(f"{cell:>15}" for cell in line))


def show_stops(found: Sequence[Judged]) -> None:
    overfitted = [each for each in found if each.case.truth is CurveFinding.OVERFITTING]
    stopped = [each for each in overfitted if each.stopped_at is not None]
    wrongly = [
        each for each in found if each.stopped_at is not None and each.case.truth is not CurveFinding.OVERFITTING
    ]
    print(f"\nlive: {len(stopped)} of {len(overfitted)} overfitted runs are stopped", end="")
    if stopped:
        shares = sorted((each.stopped_at or 0) / each.case.points[-1].step for each in stopped)
        print(f", the middle one after {shares[len(shares) // 2]:.0%} of its steps", end="")
    others = len(found) - len(overfitted)
    print(f"; of {others} others {len(wrongly)}" + "".join(f", {each.case.name}" for each in wrongly))
    off = [distance(each) for each in overfitted]
    print(
        f"best step: within one evaluation of the true one in {sum(d <= 1 for d in off)} of {len(off)} overfitted runs"
    )


def distance(each: Judged) -> int:
    """Evaluations between the named best step and the true one: of a real run the lowest measured."""
    steps = each.case.evaluated
    if each.case.turn is not None:
        wanted = each.case.turn * each.case.points[-1].step
        true = min(range(len(steps)), key=lambda index: abs(steps[index] - wanted))
        width = max(1, len(steps) // 20)  # of a batch's losses, one a step, neighbours tell nothing apart
    else:
        losses = [point.valid_loss for point in each.case.points if point.valid_loss is not None]
        true, width = losses.index(min(losses)), 1
    named = min(range(len(steps)), key=lambda index: abs(steps[index] - (each.verdict.best_step or 0)))
    return abs(named - true) // width


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--per-kind", type=int, default=12, help="generated curves of each kind")
    parser.add_argument("--wrong", action="store_true", help="list what was judged wrongly, and why")
    parser.add_argument("--markdown", action="store_true", help="print the tables for RESULTS.md")
    arguments = parser.parse_args()
    began = time.monotonic()
    real = [judged(case) for case in recorded()]
    made = [judged(case) for case in generated(arguments.seed, arguments.per_kind)]
    unseen = [each for each in [*real, *made] if not each.case.tuned_by]
    for title, found in (
        ("Real runs that thresholds were chosen by", [each for each in real if each.case.tuned_by]),
        ("Real runs that only judge", [each for each in real if not each.case.tuned_by]),
        (f"Generated, seed {arguments.seed}", made),
        ("All that only judge", unseen),
    ):
        show(title, found, markdown=arguments.markdown)
    show_stops([*real, *made])
    missed = [
        each
        for each in [*real, *made]
        if each.case.truth is CurveFinding.OVERFITTING and each.verdict.finding is CurveFinding.HEALTHY
    ]
    share = sum(each.right for each in unseen) / max(1, len(unseen))
    seconds = time.monotonic() - began
    print(f"overfitted and called healthy: {len(missed)}; {len(real) + len(made)} curves in {seconds:.0f} s")
    for each in [*real, *made] if arguments.wrong else ():
        if not each.right or (each.stopped_at is not None and each.case.truth is not CurveFinding.OVERFITTING):
            stop = "" if each.stopped_at is None else f" [stopped at {each.stopped_at}]"
            print(f"{each.case.name}, {each.case.truth}, was called {each.verdict.summary}{stop}")
            print("   ", "; ".join(each.verdict.evidence), each.verdict.numbers)
    return 0 if share >= GOAL and not missed else 1


if __name__ == "__main__":
    sys.exit(main())
