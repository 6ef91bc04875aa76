"""A bed is a file with planted defects: rows, and for each defect its kind and the lines that hold it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

Row = dict[str, Any] | str
"""An OpenAI chat row; text is written to the file as it is, for rows that are no JSON."""

Spoil = Callable[[dict[str, Any], Random], tuple[str, Row] | None]
"""Makes a defect of a copy of a clean row: the variant's name and the row; None where the row has no place for it."""


@dataclass(frozen=True)
class Plant:
    """One defect. It is found when any of its lines is flagged with its kind.

    `strict` is False for a variant that careful people would judge differently: it is printed and not tested.
    """

    kind: str
    variant: str
    lines: tuple[int, ...]
    strict: bool = True


@dataclass
class Bed:
    name: str
    rows: list[Row]
    plants: list[Plant]
    validation: list[Row] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    originals: dict[int, dict[str, Any]] = field(default_factory=dict)
    """By line, the clean row that a planted one was made from."""

    @property
    def kinds(self) -> list[str]:
        return sorted({plant.kind for plant in self.plants})

    def lines(self) -> set[int]:
        """All lines that hold, or are one side of, a defect of any kind."""
        return {line for plant in self.plants for line in plant.lines}

    def planted(self, kind: str) -> list[Plant]:
        return [plant for plant in self.plants if plant.kind == kind]


@dataclass(frozen=True)
class Planting:
    """`beside`: the clean row stays, and the spoiled copy of it is one more row; the defect is the pair.

    `leak`: the clean row stays, and the spoiled copy goes to the validation file.
    """

    kind: str
    spoil: Spoil
    count: int = 200
    where: str = "in place"
    lenient: frozenset[str] = frozenset()


def grow(name: str, base: Sequence[dict[str, Any]], plantings: Sequence[Planting], seed: int, **options: Any) -> Bed:
    """Plant each kind into rows of their own, drawn at random, and shuffle. The same seed gives the same bed.

    Raises ValueError where the base has too few rows that lend themselves to a kind.
    """
    rng = Random(f"{name} {seed}")
    entries: list[tuple[Row, dict[str, Any] | None, int]] = [(row, None, -1) for row in base]
    labels: list[tuple[str, str, bool]] = []
    validation: list[Row] = []
    free = rng.sample(range(len(base)), len(base))
    for planting in plantings:
        done, passed = 0, []
        while done < planting.count:
            if not free:
                raise ValueError(f"{name}: {len(base)} rows give only {done} places for {planting.kind}")
            index = free.pop()
            spoiled = planting.spoil(copy.deepcopy(base[index]), rng)
            if spoiled is None:
                passed.append(index)
                continue
            variant, row = spoiled
            plant = len(labels)
            labels.append((planting.kind, variant, variant not in planting.lenient))
            if planting.where == "in place":
                entries[index] = (row, base[index], plant)
                done += 1
                continue
            entries[index] = (base[index], None, plant)
            if planting.where == "leak":
                validation.append(row)
            else:
                entries.append((row, base[index], plant))
            done += 1
        free = passed + free
    rng.shuffle(entries)
    lines: dict[int, list[int]] = {}
    originals = {}
    for line, (_, original, plant) in enumerate(entries, start=1):
        if plant >= 0:
            lines.setdefault(plant, []).append(line)
        if original is not None:
            originals[line] = original
    plants = [Plant(kind, variant, tuple(lines[i]), strict) for i, (kind, variant, strict) in enumerate(labels)]
    return Bed(name, [row for row, _, _ in entries], plants, validation, options, originals)


def answer(row: dict[str, Any]) -> str:
    """The text of the last message, which is the assistant's in every base row."""
    content = row["messages"][-1]["content"]
    return content if isinstance(content, str) else ""


def asked(row: dict[str, Any]) -> str:
    """The text of the user, all turns."""
    return "\n".join(message["content"] for message in row["messages"] if message["role"] == "user")


def with_answer(row: dict[str, Any], text: str) -> dict[str, Any]:
    row["messages"][-1]["content"] = text
    return row


def turns(*texts: str, system: str | None = None, **more: Any) -> dict[str, Any]:
    """An OpenAI row: user and assistant in turn."""
    messages = [] if system is None else [{"role": "system", "content": system}]
    messages += [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]
    return {"messages": messages, **more}
