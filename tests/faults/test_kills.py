"""`kill -9` before and after every request and after every write to the store; then a fresh process goes on."""

from __future__ import annotations

import os

import pytest

from tests.faults.bench import PROVIDERS, ROUTES
from tests.faults.cases import CREATION, UPLOAD, clean_run, run_kills
from tests.faults.killing import Children, KillPoint, kill_points
from tests.faults.table import TABLE

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the children are forked")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_killed_where_it_would_hurt_most(provider: str, children: Children) -> None:
    labels = clean_run(provider).labels
    upload = labels.index(UPLOAD[provider])
    creation = labels.index(CREATION[provider])
    points = [KillPoint("after", upload), KillPoint("before", creation), KillPoint("after", creation)]
    points += [KillPoint("write", number) for number in (2, 12, 13)]  # the last two: about the job's start
    assert run_kills(children, provider, points, TABLE) == []


@pytest.mark.full
@pytest.mark.parametrize("route", ROUTES)
def test_killed_anywhere(route: str, children: Children) -> None:
    points = kill_points(route, children, len(clean_run(route).labels))
    assert len(points) > 2 * len(clean_run(route).labels) + 20
    assert run_kills(children, route, points, TABLE) == []
