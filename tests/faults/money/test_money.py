"""A sample of the bench of paid jobs, on the real command line; all of it: `python -m tests.faults.money`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.money.__main__ import open_server, play_all
from tests.faults.money.account import Knobs
from tests.faults.money.commands import CLOCK, ForkingRunner
from tests.faults.money.play import warm_up
from tests.faults.money.scenarios import SCENARIOS, Case, cases
from tests.faults.money.table import complaints
from tests.faults.money.wire import Server


@pytest.fixture
def server() -> Iterator[Server]:
    server = open_server()
    yield server
    server.close()


def test_one_submit_starts_one_job_or_asks_a_person(server: Server, tmp_path: Path) -> None:
    """An answer that is lost while lists lag; and one where the provider drops the mark, so that nobody can know."""
    lagging = Case("list lags", 0, 1, "openai", Knobs(answers=("reset",), lag=0.7), settle=1.0)
    unmarked = Case("mark dropped, cut", 1, 2, "openai", Knobs(answers=("half",), marks="dropped"), settle=1.0)
    with ForkingRunner(clocks=False) as runner:
        warm_up(runner, server, tmp_path, 1.0, only="openai")
        results = list(play_all([lagging, unmarked], runner, server, tmp_path))
    assert list(complaints(results)) == []
    assert [(verdict.started, verdict.once, verdict.asked) for _, verdict in results] == [
        (1, True, False),
        (1, True, True),
    ]


@pytest.mark.full
def test_a_case_of_half_of_the_scenarios(server: Server, tmp_path: Path) -> None:
    wanted = list(cases(2 * len(SCENARIOS), 7, 2.5, clocks=CLOCK is not None))[::4]
    with ForkingRunner() as runner:
        warm_up(runner, server, tmp_path, 2.5)
        results = list(play_all(wanted, runner, server, tmp_path))
    assert list(complaints(results)) == []
    assert len(results) == len(wanted) >= 10 and any(verdict.once for _, verdict in results)
