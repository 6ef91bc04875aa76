"""The cases: seeded draws of what is odd about the server, when the command is killed, and how the clock jumps.

One second of the bench stands for about a minute of life: lists lag up to the whole of the wait after an unknown
outcome, whatever that is set to.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from tests.faults.money.account import DEAD_FIRST, LOST, NOTHING, OTHER_JOB, Knobs

PROVIDERS = ("openai", "together")
LOST_AT_ONCE = tuple(how for how in LOST if how != "silence")
DAY = 86_400


@dataclass(frozen=True)
class Case:
    scenario: str
    number: int
    seed: int
    provider: str
    knobs: Knobs
    settle: float
    history: bool = False  # whether an earlier job has shown that the provider echoes marks
    kill_after: float | None = None  # seconds after the create arrived
    kill_at: int = 0  # which create that is
    kills_on: tuple[float, ...] = ()  # seconds after which the commands that go on are killed, too
    clock: tuple[str, ...] = ()  # what the clock of the day is set to, in turn
    clock_every: float = 1.0
    person: str = "truthful"  # truthful, silent, wrong
    answers: int = 1  # how often a person gives the answer at once
    commands: int = 1  # that go on with the job at once
    all_jobs: bool = False  # `watch` without a job
    cancel: bool = False  # the user cancels while nobody knows what became of the create

    @property
    def beyond(self) -> bool:
        """Whether a list may show the job only after the wait: more than is promised where marks are echoed."""
        return self.knobs.lag + self.knobs.delay > self.settle


Draw = Callable[[random.Random, Case], Case]


def _lost(draw: random.Random, case: Case, **knobs: object) -> Case:
    """One answer lost, and what else is odd."""
    return replace(case, knobs=Knobs(**({"answers": (draw.choice(LOST),)} | knobs)))  # type: ignore[arg-type]


def _lags(draw: random.Random, case: Case) -> Case:
    return _lost(draw, case, lag=draw.uniform(0.0, 1.0) * case.settle)


def _lags_longer(draw: random.Random, case: Case) -> Case:
    return _lost(draw, case, answers=(draw.choice(LOST_AT_ONCE),), lag=draw.uniform(1.2, 1.8) * case.settle)


def _late(draw: random.Random, case: Case) -> Case:
    how = draw.choice((DEAD_FIRST, "right", "silence"))
    return _lost(draw, case, answers=(how,), delay=draw.uniform(1.3, 0.9 * case.settle))


def _late_and_lagging(draw: random.Random, case: Case) -> Case:
    delay = draw.uniform(0.1, 0.6) * case.settle
    return _lost(draw, case, answers=(DEAD_FIRST,), delay=delay, lag=draw.uniform(0.0, 0.95) * (case.settle - delay))


def _unmarked(draw: random.Random, case: Case) -> Case:
    marks = draw.choice(("dropped", "dropped", "truncated"))
    return _lost(
        draw, case, marks=marks, obeys_filter=draw.random() < 0.5, others=draw.choice((0, 2)),
        others_marked=draw.random() < 0.5, lag=draw.choice((0.0, 0.0, 0.3 * case.settle)),
    )  # fmt: skip


def _unfiltered(draw: random.Random, case: Case) -> Case:
    return _lost(
        draw, case, obeys_filter=False, others=draw.choice((0, 4)), others_marked=draw.random() < 0.5, page_size=2,
        lag=draw.uniform(0.0, 0.8) * case.settle,
    )  # fmt: skip


def _pages(draw: random.Random, case: Case) -> Case:
    pages = draw.choice(("reordered", "doubled", "missing"))
    lag = draw.uniform(0.0, 0.5) * case.settle
    return _lost(draw, case, pages=pages, page_size=draw.choice((1, 2, 3)), others=4, lag=lag,
                 obeys_filter=draw.random() < 0.5)  # fmt: skip


def _others(draw: random.Random, case: Case) -> Case:
    marked, lag = draw.random() < 0.5, draw.uniform(0.0, 0.8) * case.settle
    return _lost(draw, case, others=draw.choice((2, 6)), others_marked=marked, lag=lag,
                 marks=draw.choice(("kept", "dropped")))  # fmt: skip


def _other_job(draw: random.Random, case: Case) -> Case:
    """The other job shows another mark; or none, at a provider that is known to show marks: else nobody could tell."""
    lag = draw.choice((0.0, 0.5 * case.settle))
    marked = draw.random() < 0.5 or not case.history
    return _lost(draw, case, answers=(OTHER_JOB,), others=2, others_marked=marked, lag=lag)


def _several(draw: random.Random, case: Case) -> Case:
    answers = tuple(draw.choice(LOST_AT_ONCE) for _ in range(draw.choice((3, 4))))
    lag = draw.uniform(0.0, 1.0) * case.settle
    return _lost(draw, case, answers=answers, lag=lag, honours_keys=draw.random() < 0.3)


def _never(draw: random.Random, case: Case) -> Case:
    return _lost(draw, case, answers=(NOTHING,) * draw.choice((1, 1, 2, 4)))


def _killed(draw: random.Random, case: Case) -> Case:
    knobs = Knobs(answers=("silence",), delay=draw.uniform(0.0, 0.2))
    return replace(case, knobs=knobs, kill_after=draw.uniform(0.0, 0.3), all_jobs=draw.random() < 0.3)


def _killed_lag(draw: random.Random, case: Case) -> Case:
    case = _killed(draw, case)
    return replace(case, knobs=replace(case.knobs, lag=draw.uniform(0.1, 0.95) * case.settle))


def _killed_again(draw: random.Random, case: Case) -> Case:
    """The commands that go on with it are killed as well: no restart may begin the wait anew, or forget it."""
    case = _killed_lag(draw, case)
    return replace(case, kills_on=tuple(draw.uniform(0.2, 0.4 * case.settle) for _ in range(draw.choice((2, 3)))))


def _killed_at_second(draw: random.Random, case: Case) -> Case:
    """The first create is lost and never carried out; the command is killed in the one after the wait."""
    knobs = Knobs(answers=(NOTHING, "silence"), lag=draw.uniform(0.0, 0.9) * case.settle)
    return replace(case, knobs=knobs, history=draw.random() < 0.8, kill_at=1, kill_after=draw.uniform(0.0, 0.3))


def _answered_twice(draw: random.Random, case: Case) -> Case:
    """Nothing was started, and two people say so at once."""
    knobs = Knobs(answers=(NOTHING,), marks="dropped", lag=draw.choice((0.0, 0.5 * case.settle)))
    return replace(case, knobs=knobs, history=False, person="truthful", answers=2)


def _killed_unmarked(draw: random.Random, case: Case) -> Case:
    return replace(_unmarked(draw, case), kill_after=draw.uniform(0.0, 0.3))


def _two_commands(draw: random.Random, case: Case) -> Case:
    return replace(_killed_lag(draw, case), commands=2)


def _clock(draw: random.Random, case: Case, clock: tuple[str, ...], every: float = 1.0) -> Case:
    """A jump in the wait: after a lost answer, or after a kill in create."""
    case = _killed_lag(draw, case) if draw.random() < 0.4 else _lags(draw, case)
    return replace(case, clock=clock, clock_every=every)


def _clock_on(draw: random.Random, case: Case) -> Case:
    return _clock(draw, case, ("+0", draw.choice(("+3600", f"+{10 * DAY}"))), draw.uniform(0.3, 2.0))


def _clock_back(draw: random.Random, case: Case) -> Case:
    return _clock(draw, case, ("+0", draw.choice(("-3600", f"-{10 * DAY}"))), draw.uniform(0.3, 2.0))


def _clock_flaps(draw: random.Random, case: Case) -> Case:
    clock = ("+0", "+3600", "-3600", f"+{10 * DAY}", "+0", "-7200") * 8
    return _clock(draw, case, clock, draw.uniform(0.2, 0.8))


def _wrong_person(draw: random.Random, case: Case) -> Case:
    """Says that nothing was started, which is not so. Half of the jobs show up in the lists later."""
    case = _unmarked(draw, case) if draw.random() < 0.5 else _lags_longer(draw, case)
    return replace(case, person="wrong", history=False)


def _cancelled(draw: random.Random, case: Case) -> Case:
    case = draw.choice((_killed, _killed_lag, _killed_unmarked))(draw, case)
    return replace(case, knobs=replace(case.knobs, runs=2 * case.settle), cancel=True, all_jobs=False)


def _anything(draw: random.Random, case: Case) -> Case:
    """All at once."""
    delay = draw.choice((0.0, draw.uniform(0.0, 0.4) * case.settle))
    knobs = Knobs(
        answers=tuple(draw.choice((*LOST_AT_ONCE, DEAD_FIRST, NOTHING)) for _ in range(draw.choice((1, 1, 2)))),
        lag=draw.uniform(0.0, 0.95) * (case.settle - delay), delay=delay,
        marks=draw.choice(("kept", "kept", "dropped", "truncated")), obeys_filter=draw.random() < 0.7,
        pages=draw.choice(("whole", "reordered", "doubled", "missing")), page_size=draw.choice((2, 100)),
        others=draw.choice((0, 3)), others_marked=draw.random() < 0.5, honours_keys=draw.random() < 0.3,
    )  # fmt: skip
    clock = draw.choice(((), (), ("+0", "+3600"), ("+0", f"-{DAY}", "+0")))
    kill = draw.choice((None, draw.uniform(0.0, 0.3)))
    return replace(case, knobs=knobs, clock=clock, kill_after=kill, commands=draw.choice((1, 1, 2)))


SCENARIOS: dict[str, Draw] = {
    "answer lost": lambda draw, case: _lost(draw, case),
    "list lags": _lags,
    "lags beyond the wait": _lags_longer,
    "carried out late": _late,
    "late and lagging": _late_and_lagging,
    "mark dropped, cut": _unmarked,
    "filter ignored": _unfiltered,
    "pages in disorder": _pages,
    "others' jobs alike": _others,
    "names another job": _other_job,
    "several answers lost": _several,
    "never carried out": _never,
    "killed in create": _killed,
    "killed, list lags": _killed_lag,
    "killed, mark dropped": _killed_unmarked,
    "killed again": _killed_again,
    "killed at the second": _killed_at_second,
    "two go on at once": _two_commands,
    "clock jumps on": _clock_on,
    "clock jumps back": _clock_back,
    "clock flaps": _clock_flaps,
    "person is wrong": _wrong_person,
    "answered twice": _answered_twice,
    "cancelled meanwhile": _cancelled,
    "all at once": _anything,
}


def cases(count: int, seed: int, settle: float, *, clocks: bool = True, only: tuple[str, ...] = ()) -> Iterator[Case]:
    """So many cases, scenario by scenario in turn: with one seed always the same."""
    names = [name for name in SCENARIOS if (clocks or not name.startswith("clock")) and (not only or name in only)]
    for number in range(count):
        name, own = names[number % len(names)], seed * 1_000_003 + number
        draw = random.Random(own)
        turn = number // len(names)
        case = Case(
            name, number, own, PROVIDERS[turn % 2], Knobs(), settle, history=turn // 2 % 2 == 0,
            person="silent" if draw.random() < 0.25 else "truthful",
        )  # fmt: skip
        case = SCENARIOS[name](draw, case)
        yield case if clocks else replace(case, clock=())
