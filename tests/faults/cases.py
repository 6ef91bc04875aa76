"""Which cases there are, and running one column of the table."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from tests.faults.bench import PROVIDERS, ROUTES, Run, judge, run
from tests.faults.killing import Children, KillPoint, killed_run
from tests.faults.kinds import KINDS, Kind
from tests.faults.table import Table

CREATION = {route: "POST /fine-tunes" if route == "together" else "POST /fine_tuning/jobs" for route in ROUTES}
UPLOAD = {"openai": "POST /files", "together": "PUT /_storage/{id}"}
_BINARY = ("/content", "/download", "/_storage")
SAMPLE_STRIDE = 7
"""The quick sample takes the creation and one other request for each fault, so many requests on from fault to fault."""


@cache
def clean_run(route: str) -> Run:
    """The run without any fault, which all others must equal."""
    done = run(route)
    assert judge(done, None) == []
    return done


def positions(route: str, kind: Kind, *, sample: bool = False) -> list[int]:
    """The requests at which the fault makes sense; of a second route to a provider, those that are its own."""
    labels = clean_run(route).labels
    sensible = [
        number for number, name in enumerate(labels) if kind.binary or not any(part in name for part in _BINARY)
    ]
    if route not in PROVIDERS:
        sensible = [number for number in sensible if "upload" in labels[number]]
    if not sample:
        return sensible
    other = sensible[list(KINDS).index(kind.name) * SAMPLE_STRIDE % len(sensible)]
    return sorted({other, labels.index(CREATION[route])}) if route in PROVIDERS else [other]


def run_column(route: str, kind: Kind, numbers: Iterable[int], table: Table) -> list[str]:
    """The fault at each of the requests; what went wrong, a line for each case in which something did."""
    clean, wrong = clean_run(route), []
    for number in numbers:
        complaints = judge(run(route, (kind, number)), clean, kind)
        place = clean.labels[number]
        table.add(route, place, kind.name, complaints)
        if complaints:
            wrong.append(f"{kind.name} at {place} (request {number}): {'; '.join(complaints)}")
    return wrong


def run_pairs(route: str, after: str, kinds: Iterable[Kind], table: Table) -> list[str]:
    """The answer to the request `after` is lost, and the request by which that is found out has a fault of its own."""
    clean, wrong = clean_run(route), []
    first = clean.labels.index(after)
    for kind in kinds:
        complaints = judge(run(route, (KINDS["reset after"], first), (kind, first + 1)), clean, kind)
        place = f"asking what became of {after}"
        table.add(route, place, kind.name, complaints)
        if complaints:
            wrong.append(f"{kind.name} when {place}: {'; '.join(complaints)}")
    return wrong


def run_kills(children: Children, route: str, points: Iterable[KillPoint], table: Table) -> list[str]:
    clean, wrong = clean_run(route), []
    for point in points:
        complaints = judge(killed_run(children, route, point), clean)
        place = f"write {point.number} to the store" if point.when == "write" else clean.labels[point.number]
        fault = "killed after" if point.when == "write" else f"killed {point.when}"
        table.add(route, place, fault, complaints)
        if complaints:
            wrong.append(f"{fault} {place}: {'; '.join(complaints)}")
    return wrong
