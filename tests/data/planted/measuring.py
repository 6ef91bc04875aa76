"""Recall and false alarms, by the public face of the checks alone: `tuneport.check` and the lines it flags."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tuneport
from tests.data.planted.base import QUESTIONS, real_by_line
from tests.data.planted.conditions import Condition
from tests.data.planted.judgements import JUDGED, judged_lines
from tests.data.planted.planting import Bed, Row

PERSONAL = "personal."


@dataclass
class Tally:
    """What one kind of defect came to. `untouched` rows hold no defect of any kind; `false` are flagged anyway."""

    kind: str
    planted: int = 0
    found: int = 0
    variants: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By variant: planted, found."""
    lenient: set[str] = field(default_factory=set)
    """Variants that are printed and count for nothing."""
    missed: list[int] = field(default_factory=list)
    untouched: int = 0
    false: list[int] = field(default_factory=list)
    fired: Counter[str] = field(default_factory=Counter)
    """Which kinds flagged the planted lines: for personal data, where a recogniser's name is its own affair."""

    @property
    def recall(self) -> float:
        return self.found / self.planted if self.planted else 1.0

    @property
    def false_alarms(self) -> float:
        return len(self.false) / self.untouched if self.untouched else 0.0

    def add(self, other: Tally) -> None:
        """Take in the same kind's tally of another file; lines keep their own file's numbers."""
        self.planted, self.found = self.planted + other.planted, self.found + other.found
        for variant, (planted, found) in other.variants.items():
            before = self.variants.get(variant, (0, 0))
            self.variants[variant] = (before[0] + planted, before[1] + found)
        self.lenient |= other.lenient
        self.missed += other.missed
        self.untouched, self.false = self.untouched + other.untouched, self.false + other.false
        self.fired += other.fired

    def as_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "planted": self.planted,
            "found": self.found,
            "recall": round(self.recall, 4),
            "untouched": self.untouched,
            "false_alarms": len(self.false),
            "variants": {name: {"planted": p, "found": f} for name, (p, f) in sorted(self.variants.items())},
            "not_counted": sorted(self.lenient),
            "fired": dict(self.fired),
        }


def write(path: Path, rows: Iterable[Row]) -> Path:
    """JSON lines; a row that is text is written as it is."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write((row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)) + "\n")
    return path


def run(bed: Bed, folder: Path) -> Any:
    """The report of the check on the bed's file, which is written into the folder."""
    options = dict(bed.options)
    if bed.validation:
        options["validation"] = write(folder / "validation.jsonl", bed.validation)
    return tuneport.check(write(folder / "planted.jsonl", bed.rows), **options)


def tallies(bed: Bed, flagged: Mapping[str, Iterable[int]], shared: Path | None) -> list[Tally]:
    """One tally a kind that is planted in the bed."""
    lines = {kind: set(found) for kind, found in flagged.items()}
    planted_lines = bed.lines()
    judged = judged_rows(shared)
    untouched = {line for line in range(1, len(bed.rows) + 1) if line not in planted_lines}
    made = []
    for kind in bed.kinds:
        names = [name for name in lines if name == kind or (kind.startswith(PERSONAL) and name.startswith(PERSONAL))]
        hits = set().union(*(lines[name] for name in names))
        tally = Tally(kind, untouched=len(untouched))
        for plant in bed.planted(kind):
            found = not hits.isdisjoint(plant.lines)
            before = tally.variants.get(plant.variant, (0, 0))
            tally.variants[plant.variant] = (before[0] + 1, before[1] + found)
            tally.fired.update(name for name in names if not lines[name].isdisjoint(plant.lines))
            if not plant.strict:
                tally.lenient.add(plant.variant)
                continue
            tally.planted, tally.found = tally.planted + 1, tally.found + found
            if not found:
                tally.missed.append(plant.lines[-1])
        tally.false = [line for line in sorted(hits & untouched) if not _judged(bed.rows[line - 1], names, judged)]
        made.append(tally)
    return made


def recognisers(bed: Bed, flagged: Mapping[str, Iterable[int]]) -> dict[str, Counter[str]]:
    """By recogniser of personal data: how many lines it flags that hold each planted entity, or `nothing`."""
    entity = {line: plant.variant for plant in bed.plants for line in plant.lines if plant.kind.startswith(PERSONAL)}
    return {
        kind.removeprefix(PERSONAL): Counter(entity.get(line, "nothing") for line in set(lines))
        for kind, lines in sorted(flagged.items())
        if kind.startswith(PERSONAL)
    }


def alarms(path: Path) -> tuple[int, dict[str, list[int]]]:
    """A clean file's number of rows and, by kind, the lines that are flagged and not judged to be right."""
    report = tuneport.check(path)
    found = {kind: sorted(set(lines) - judged_lines(path.name, kind)) for kind, lines in report.flagged.items()}
    return report.rows, {kind: lines for kind, lines in found.items() if lines}


def verdicts(condition: Condition, folder: Path) -> tuple[str, str]:
    """Of the file where the condition holds, and of the one where it does not; `none` where there is no such check."""
    found = []
    for rows, held_out in zip((condition.bad, condition.good), condition.validation, strict=True):
        options = dict(condition.options)
        if held_out is not None:
            options["validation"] = write(folder / "validation.jsonl", held_out())
        report = tuneport.check(write(folder / "rows.jsonl", rows()), **options)
        found.append(next((str(each.verdict) for each in report.findings if each.check == condition.finding), "none"))
    return found[0], found[1]


def judged_rows(shared: Path | None) -> dict[str, set[str]]:
    """By kind, the judged rows of the shared file that beds are made of, as they stand in a bed."""
    if shared is None:
        return {}
    rows = real_by_line(shared, QUESTIONS)
    return {
        kind: {json.dumps(rows[line]) for line in judged_lines(QUESTIONS, kind) if line in rows}
        for kind in JUDGED.get(QUESTIONS, {})
    }


def _judged(row: Row, kinds: Collection[str], judged: Mapping[str, set[str]]) -> bool:
    return any(json.dumps(row) in judged.get(kind, ()) for kind in kinds)
