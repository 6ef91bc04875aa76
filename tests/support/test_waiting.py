"""A test that gives up says what it waited for, how long, and what was there instead."""

from __future__ import annotations

import re
import time

import pytest

from tests.support.waiting import until


def test_the_value_comes_back_as_soon_as_it_is_true() -> None:
    seen: list[int] = []
    assert until(lambda: seen.append(0) or len(seen) >= 3 and seen, pause=0) == [0, 0, 0]  # type: ignore[func-returns-value]


def test_giving_up_says_what_was_waited_for_and_what_was_there() -> None:
    job, wanted = {"status": "queued", "step": 2}, 7
    with pytest.raises(AssertionError) as caught:
        until(
            lambda: (now := job)["status"] == "running" and now["step"] >= wanted,
            0.05,
            told=lambda: "the log: no device is free",
        )
    first, *seen = str(caught.value).splitlines()
    told = re.fullmatch(r"gave up after (\d\.\d) s of waiting for: (.*)", first)
    assert told and told[2] == "(now := job)['status'] == 'running' and now['step'] >= wanted"
    assert [line.strip() for line in seen] == [
        "(now := job)['status'] is 'queued'",
        "now['step'] is 2",
        "wanted is 7",
        "the log: no device is free",
    ]


def test_two_conditions_on_a_line_are_told_apart() -> None:
    first, second = (lambda: 1 > 2), (lambda number=5: number == 6 or not number)
    for condition, text in ((first, "1 > 2"), (second, "number == 6 or not number\n  number is 5")):
        with pytest.raises(AssertionError, match=rf"waiting for: {re.escape(text)}"):
            until(condition, 0)


def test_a_function_is_told_by_its_name_and_its_last_value() -> None:
    def answers() -> list[int]:
        return []

    with pytest.raises(AssertionError, match=r"answers\n  it was last \[\]"):
        until(answers, 0)


def test_nobody_waits_for_what_has_ended() -> None:
    began = time.monotonic()
    with pytest.raises(AssertionError, match="^it ended after"):
        until(list, alive=lambda: False)
    assert time.monotonic() - began < 20
    looks: list[int] = []
    assert until(lambda: looks.append(0) or len(looks) == 2, alive=lambda: False)  # type: ignore[func-returns-value]
