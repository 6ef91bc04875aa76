"""Which cases there are, and running one column of the table."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from tests.faults.bench import Run, judge, run
from tests.faults.killing import Children, KillPoint, killed_run
from tests.faults.kinds import KINDS, Kind
from tests.faults.table import Table

CREATION = {"openai": "POST /fine_tuning/jobs", "together": "POST /fine-tunes"}
_BINARY = ("/content", "/download", "/_storage")
SAMPLE_STRIDE = 7
"""The quick sample takes the creation and one other request for each fault, so many requests on from fault to fault."""


@cache
def clean_run(provider: str) -> Run:
    """The run without any fault, which all others must equal."""
    done = run(provider)
    assert judge(done, None) == []
    return done


def positions(provider: str, kind: Kind, *, sample: bool = False) -> list[int]:
    """The requests at which the fault makes sense."""
    labels = clean_run(provider).labels
    sensible = [
        number for number, name in enumerate(labels) if kind.binary or not any(part in name for part in _BINARY)
    ]
    if not sample:
        return sensible
    other = sensible[list(KINDS).index(kind.name) * SAMPLE_STRIDE % len(sensible)]
    return sorted({other, labels.index(CREATION[provider])})


def run_column(provider: str, kind: Kind, numbers: Iterable[int], table: Table) -> list[str]:
    """The fault at each of the requests; what went wrong, a line for each case in which something did."""
    clean, wrong = clean_run(provider), []
    for number in numbers:
        complaints = judge(run(provider, (kind, number)), clean, kind)
        place = clean.labels[number]
        table.add(provider, place, kind.name, complaints)
        if complaints:
            wrong.append(f"{kind.name} at {place} (request {number}): {'; '.join(complaints)}")
    return wrong


def run_pairs(provider: str, after: str, kinds: Iterable[Kind], table: Table) -> list[str]:
    """The answer to the request `after` is lost, and the request by which that is found out has a fault of its own."""
    clean, wrong = clean_run(provider), []
    first = clean.labels.index(after)
    for kind in kinds:
        complaints = judge(run(provider, (KINDS["reset after"], first), (kind, first + 1)), clean, kind)
        place = f"asking what became of {after}"
        table.add(provider, place, kind.name, complaints)
        if complaints:
            wrong.append(f"{kind.name} when {place}: {'; '.join(complaints)}")
    return wrong


def run_kills(children: Children, provider: str, points: Iterable[KillPoint], table: Table) -> list[str]:
    clean, wrong = clean_run(provider), []
    for point in points:
        complaints = judge(killed_run(children, provider, point), clean)
        place = f"write {point.number} to the store" if point.when == "write" else clean.labels[point.number]
        fault = "killed after" if point.when == "write" else f"killed {point.when}"
        table.add(provider, place, fault, complaints)
        if complaints:
            wrong.append(f"{fault} {place}: {'; '.join(complaints)}")
    return wrong
