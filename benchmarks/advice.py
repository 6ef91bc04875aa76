"""How often the advisor agrees with people: on the labelled scenarios of `tests/advisor/advice_scenarios.toml`.

    python benchmarks/advice.py [--scenarios FILE]

The scenarios were written and labelled apart from the advisor's rules, and only scored afterwards. A scenario counts as
agreed where the advice is its `answer` or one of its `also` (defensible as well); strictly, where it is the `answer`.
"""

from __future__ import annotations

import argparse
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuneport.advisor import Approach, Need, Situation, Task, Tried, recommend_approach

SCENARIOS = Path(__file__).parent.parent / "tests" / "advisor" / "advice_scenarios.toml"


@dataclass
class Agreement:
    """`refusals`: "do not fine-tune" by whether it was advised and whether it was the label, as (advised, label)."""

    scenarios: int = 0
    agreed: int = 0
    strict: int = 0
    refusals: Counter[tuple[bool, bool]] = field(default_factory=Counter)
    pitfalls_same: int = 0
    pitfalls: Counter[tuple[bool, bool]] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        return self.agreed / self.scenarios

    def lines(self) -> list[str]:
        return [
            f"{self.agreed} of {self.scenarios} scenarios agreed ({self.share:.1%}), {self.strict} strictly "
            f"({self.strict / self.scenarios:.1%})",
            f'"do not fine-tune": recall {recall(self.refusals):.1%}, precision {precision(self.refusals):.1%}',
            f"pitfalls that apply: the same set in {self.pitfalls_same} of {self.scenarios}, recall "
            f"{recall(self.pitfalls):.1%}, precision {precision(self.pitfalls):.1%}",
            *(f"  not agreed: {each}" for each in self.missed),
        ]


def recall(counts: Counter[tuple[bool, bool]]) -> float:
    return counts[True, True] / max(1, counts[True, True] + counts[False, True])


def precision(counts: Counter[tuple[bool, bool]]) -> float:
    return counts[True, True] / max(1, counts[True, True] + counts[True, False])


def situation_of(told: dict[str, Any]) -> Situation:
    words: dict[str, Any] = {"needs": [Need(need) for need in told["needs"]]}
    words |= {name: Tried(told[name]) for name in ("prompt", "few_shot") if name in told}
    words |= {"task": Task(told["task"])} if "task" in told else {}
    return Situation(**{**told, **words})


def score(path: Path = SCENARIOS) -> Agreement:
    found = Agreement()
    for row in tomllib.loads(path.read_text(encoding="utf-8"))["scenario"]:
        advice = recommend_approach(situation_of(row["situation"]))
        got, label = advice.approach.value, row["answer"]
        agreed = got in (label, *row["also"])
        found.scenarios += 1
        found.agreed += agreed
        found.strict += got == label
        found.refusals[not advice.fine_tune, not Approach(label).trains] += 1
        applied = {pitfall.name for pitfall in advice.pitfalls if pitfall.applies}
        known = {pitfall.name for pitfall in advice.pitfalls}
        if not set(row["pitfalls"]) <= known:
            raise ValueError(f"{row['title']}: {sorted(set(row['pitfalls']) - known)} are no pitfalls of the advisor")
        found.pitfalls.update((name in applied, name in row["pitfalls"]) for name in known)
        found.pitfalls_same += applied == set(row["pitfalls"])
        if not agreed:
            found.missed.append(f"{row['title']}: {got}, labelled {' or '.join([label, *row['also']])}")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenarios", type=Path, default=SCENARIOS)
    print("\n".join(score(parser.parse_args().scenarios).lines()))
