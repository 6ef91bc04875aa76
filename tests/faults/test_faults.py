"""Every fault at every request of a run: one remote job, one row, no file twice, no event lost, waits as asked."""

from __future__ import annotations

import pytest

from tests.faults.bench import PROVIDERS, ROUTES, judge
from tests.faults.cases import CREATION, UPLOAD, clean_run, positions, run_column, run_pairs
from tests.faults.kinds import KINDS
from tests.faults.table import TABLE


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_run_without_faults_makes_every_kind_of_request(provider: str) -> None:
    clean = clean_run(provider)
    assert judge(clean, clean) == []
    assert list(clean.report.results) == ["drive", "metrics", "checkpoints", "result", "delete files"]
    steps = {"openai": 6, "together": 2}  # Together packs the 12 rows into one sequence
    assert clean.report.results["delete files"] == 0 and len(clean.report.results["metrics"]) == steps[provider]
    assert clean.report.results["result"]
    wanted = {
        "openai": ["POST /files", "GET /files/{id}/content", "GET /fine_tuning/jobs/{id}/checkpoints"],
        "together": ["PUT /_storage/{id}", "POST /fine-tunes/estimate-price #2", "GET /finetune/download"],
    }
    assert set(wanted[provider]) <= set(clean.labels)


SAMPLE = [
    (route, name)
    for number, name in enumerate(KINDS)
    for route in (PROVIDERS if name.endswith("after") else [ROUTES[number % len(ROUTES)]])
]
"""A lost answer at every provider, which is what costs money; each other fault at one of them by turns. The whole bench
plays all of them everywhere."""


@pytest.mark.parametrize(("route", "name"), SAMPLE)
def test_a_sample_of_requests(route: str, name: str) -> None:
    kind = KINDS[name]
    assert run_column(route, kind, positions(route, kind, sample=True), TABLE) == []


@pytest.mark.full
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("route", ROUTES)
def test_every_request(route: str, name: str) -> None:
    kind = KINDS[name]
    assert run_column(route, kind, positions(route, kind), TABLE) == []


TELLING = ("object", "insufficient_quota")
"""Faults that a careless client takes for "there is no such thing"."""


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_lost_answer_and_trouble_when_asking_what_became_of_it(provider: str) -> None:
    kinds = [KINDS[name] for name in TELLING]
    assert run_pairs(provider, CREATION[provider], kinds, TABLE) == []
    assert run_pairs(provider, UPLOAD[provider], kinds, TABLE) == []


@pytest.mark.full
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_lost_answer_and_every_trouble_when_asking_what_became_of_it(provider: str) -> None:
    assert run_pairs(provider, CREATION[provider], KINDS.values(), TABLE) == []
    assert run_pairs(provider, UPLOAD[provider], KINDS.values(), TABLE) == []
