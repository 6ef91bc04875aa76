"""Conditions of a whole file: rows that must draw a warning or worse, and rows like them that must pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.data.planted import prose
from tests.data.planted.base import composed
from tests.data.planted.planting import turns
from tests.data.planted.structured import MARKS, labelled, orders, prompted, unmarked

Rows = list[dict[str, Any]]
FAULTY = frozenset(("warn", "fail"))
PASSING = frozenset(("pass",))
NOT_FAILING = frozenset(("pass", "warn"))


@dataclass(frozen=True)
class Condition:
    """`finding` is the check's name; `bad` must come to one of `bad_verdicts`, `good` to one of `good_verdicts`."""

    name: str
    finding: str
    bad: Callable[[], Rows]
    good: Callable[[], Rows]
    bad_verdicts: frozenset[str] = FAULTY
    good_verdicts: frozenset[str] = PASSING
    options: dict[str, Any] = field(default_factory=dict)
    validation: tuple[Callable[[], Rows] | None, Callable[[], Rows] | None] = (None, None)
    """The held-out rows of the bad and of the good file."""


def code(count: int) -> Rows:
    """Functions, as answers to requests for them."""
    rng = Random("code")
    rows = []
    for index in range(count):
        verb, thing = rng.choice(prose.VERBS), rng.choice(prose.THINGS).split()[-1]
        told, *_ = prose.question(rng, 1)
        name = f"{verb}_{thing}_{index}"
        body = f"def {name}(values):\n    return [value * {index} for value in values if value > {rng.randint(0, 99)}]"
        rows.append(turns(f"{told} Write the Python function {name}.", f"```python\n{body}\n```"))
    return rows


def near_constant(count: int) -> Rows:
    """One question, in which only a number and a name change."""
    rng = Random("near constant")
    return [
        turns(
            f"Write a friendly reply to ticket {10_000 + index} of {rng.choice(prose.PEOPLE)} about a late parcel.",
            prose.paragraph(rng, rng.randint(2, 5)),
        )
        for index in range(count)
    ]


def mostly_constant(count: int) -> Rows:
    """Nine in ten rows ask the same in one of two forms."""
    rng = Random("mostly constant")
    rows = composed(count // 10, 31)
    while len(rows) < count:
        form = rng.choice(("Summarise the minutes of meeting {}.", "Please give me a summary of the minutes {}!"))
        rows.append(turns(form.format(rng.randint(1, 99_999)), prose.paragraph(rng, rng.randint(2, 5))))
    rng.shuffle(rows)
    return rows


def partly_marked(count: int) -> Rows:
    """Six in ten rows say in a column that a model wrote them."""
    rng = Random("partly marked")
    return [{**row, **rng.choice(MARKS)} if rng.random() < 0.6 else row for row in composed(count, 32)]


def enough(task: str, minimum: int, make: Callable[[int], Rows], given: bool = True) -> Condition:
    """A little under the card's minimum fails; the minimum does not."""
    return Condition(
        f"enough for {task}, {'given' if given else 'guessed'}",
        "sample-size",
        lambda: make(minimum)[: minimum - 3],
        lambda: make(minimum),
        frozenset(("fail",)),
        NOT_FAILING,
        {"task": task} if given else {},
    )


def shares(*weights: float) -> Callable[[], Rows]:
    return lambda: labelled(600, 33, weights)


def conditions() -> Sequence[Condition]:
    return (
        enough("classification", 50, lambda count: labelled(count, 34)),
        enough("classification", 50, lambda count: labelled(count, 34), given=False),
        enough("extraction", 100, lambda count: orders(count, 35)),
        enough("extraction", 100, lambda count: orders(count, 35), given=False),
        enough("style", 200, lambda count: composed(count, 36)),
        enough("domain", 500, lambda count: composed(count, 37)),
        enough("code", 1_000, code),
        enough("code", 1_000, code, given=False),
        Condition("one class has nearly all", "classes", shares(95, 1, 1, 1, 1, 1), shares(1, 1, 1, 1, 1, 1)),
        Condition("one class is rare", "classes", shares(20, 20, 20, 20, 19.5, 0.5), shares(12, 8, 10, 9, 11, 10)),
        Condition(
            "the question is always the same", "diversity", lambda: near_constant(400), lambda: composed(400, 38)
        ),
        Condition("nine in ten are alike", "diversity", lambda: mostly_constant(600), lambda: labelled(600, 39)),
        Condition(
            "no rows are held out",
            "hold-out",
            lambda: composed(400, 40),
            lambda: composed(400, 40),
            validation=(None, lambda: composed(80, 41)),
        ),
        Condition(
            "hardly anything is held out",
            "hold-out",
            lambda: composed(400, 40),
            lambda: composed(400, 40),
            validation=(lambda: composed(3, 41), lambda: composed(60, 41)),
        ),
        Condition(
            "some of it is held out twice over",
            "hold-out",
            lambda: composed(400, 40),
            lambda: composed(400, 40),
            validation=(lambda: composed(60, 41) + composed(400, 40)[:6], lambda: composed(60, 41)),
        ),
        Condition("most is marked as generated", "generated", lambda: partly_marked(400), lambda: composed(400, 42)),
        Condition(
            "columns that name people", "generated", lambda: partly_marked(400), lambda: unmarked(composed(400, 43), 43)
        ),
    )


CLEAN: dict[str, Callable[[], Rows]] = {
    "prose": lambda: composed(1_200, 51),
    "prose under three system prompts": lambda: prompted(composed(1_200, 52), 52),
    "labels": lambda: labelled(1_200, 53),
    "JSON": lambda: orders(1_200, 54),
}
"""Composed files without a defect: no check may flag more than one row in a hundred."""
