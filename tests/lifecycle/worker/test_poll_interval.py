"""When a job is asked about again: numbers in, numbers out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tuneport.lifecycle.worker.poll_interval import JITTER, LONGEST, SHORTEST, expected_job_finish, next_job_poll_delay
from tuneport.types import JobState, JobStatus, Progress

BORN = datetime(2026, 11, 24, tzinfo=UTC)


def state(**values: object) -> JobState:
    given = {"remote_id": "r", "status": JobStatus.RUNNING, "raw_status": "running", "model": "m", "created_at": BORN}
    return JobState.model_validate(given | values)


def wait(age: float, **values: object) -> float:
    return next_job_poll_delay(state(**values), BORN, BORN + timedelta(seconds=age))


def test_it_grows_with_age_between_its_bounds() -> None:
    waits = [wait(age) for age in (0, 60, 600, 3600, 7200, 86_400)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (SHORTEST, LONGEST)
    assert wait(3600) == 180.0


def test_it_shrinks_towards_the_expected_end_and_grows_again_behind_it() -> None:
    end = BORN + timedelta(hours=2)
    before = [wait(7200 - left, estimated_finish=end) for left in (3600, 600, 120, 20, 0)]
    assert before == sorted(before, reverse=True) and before[-1] == SHORTEST
    late = [wait(7200 + over, estimated_finish=end) for over in (0, 120, 600, 86_400)]
    assert late == sorted(late) and late[-1] == LONGEST


def test_without_a_word_of_the_provider_the_steps_done_tell() -> None:
    half = state(progress=Progress(step=50, total_steps=100))
    assert expected_job_finish(half, BORN, BORN + timedelta(minutes=10)) == BORN + timedelta(minutes=20)
    left = state(progress=Progress(seconds_left=30.0))
    assert expected_job_finish(left, BORN, BORN) == BORN + timedelta(seconds=30)
    assert expected_job_finish(state(), BORN, BORN + timedelta(hours=1)) is None


def test_a_paused_job_is_seldom_asked_about() -> None:
    assert wait(0, status=JobStatus.PAUSED) == LONGEST


@pytest.mark.parametrize("dice", [0.0, 0.5, 1.0])
def test_jitter_is_a_tenth_either_way(dice: float) -> None:
    moment = BORN + timedelta(hours=1)
    got = next_job_poll_delay(state(), BORN, moment, random=lambda: dice)
    assert got == pytest.approx(180.0 * (1 + JITTER * (2 * dice - 1)))
