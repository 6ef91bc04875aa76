"""Many jobs for few requests: lists where they pay, single calls where they do not, and no storm when all is down."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tuneport.backends.openai.backend import OpenAIBackend
from tuneport.errors import AuthError, NotFoundError, ProviderError, RateLimitError, UnavailableError
from tuneport.manifests import load_manifest
from tuneport.settings import Settings
from tuneport.testing.contract import contract_job_token, prepared_chats
from tuneport.testing.emulators import TogetherEmulator
from tuneport.types import JobState, JobStatus, TuneSpec

MODEL = "gpt-4.1-mini-2025-04-14"


def state(number: int, status: JobStatus = JobStatus.RUNNING) -> JobState:
    return JobState(remote_id=f"j{number}", status=status, raw_status=status.value, model="m")


class Listed(OpenAIBackend):
    """An account of `count` jobs whose calls are counted; every real call is replaced by the list in memory."""

    def __init__(self, settings: Settings, count: int, *, ended: frozenset[int] = frozenset()) -> None:
        super().__init__(load_manifest("openai"), settings)
        self.count, self.ended = count, ended
        self.pages = self.fetched = 0
        self.error: ProviderError | None = None

    def list_jobs(self) -> Iterator[JobState]:
        for number in range(self.count):
            if number % 100 == 0:
                self.pages += 1
            yield self._of(number)

    def _of(self, number: int) -> JobState:
        return state(number, JobStatus.SUCCEEDED if number in self.ended else JobStatus.RUNNING)

    def fetch(self, remote_id: str) -> JobState:
        self.fetched += 1
        if self.error is not None:
            raise self.error
        return self._of(int(remote_id[1:]))


def test_ten_thousand_jobs_are_a_hundred_requests(settings: Settings) -> None:
    backend = Listed(settings, 10_000, ended=frozenset(range(0, 10_000, 7)))
    answers = dict(backend.fetch_many(f"j{number}" for number in range(10_000)))
    assert len(answers) == 10_000 and not any(isinstance(answer, ProviderError) for answer in answers.values())
    assert answers["j7"].status is JobStatus.SUCCEEDED  # type: ignore[union-attr]
    assert (backend.pages, backend.fetched) == (100, 0)


def test_the_work_grows_with_the_jobs_and_not_with_their_square(settings: Settings) -> None:
    class Id(str):
        compared = 0
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            Id.compared += 1
            return str.__eq__(self, other)

    backend = Listed(settings, 2_000)
    assert len(dict(backend.fetch_many([Id(f"j{number}") for number in range(2_000)]))) == 2_000
    assert Id.compared < 20 * 2_000, "a look-up compares with one id or a few, a scan with a thousand on the average"


def test_few_jobs_of_a_large_account_cost_no_walk_through_it(settings: Settings) -> None:
    backend = Listed(settings, 100_000)
    wanted = [f"j{number}" for number in range(99_000, 99_010)]
    assert list(dict(backend.fetch_many(wanted))) == wanted
    assert backend.pages <= len(wanted) + 3 and backend.fetched == len(wanted)


def test_an_ended_job_is_fetched_again_only_where_lists_are_partial(settings: Settings) -> None:
    backend = Listed(settings, 10, ended=frozenset({3}))
    dict(backend.fetch_many([f"j{number}" for number in range(10)]))
    assert backend.fetched == 0
    backend.__class__ = type("Partial", (Listed,), {"lists_are_partial": True})
    dict(backend.fetch_many([f"j{number}" for number in range(10)]))
    assert backend.fetched == 1


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (RateLimitError("slow down", provider="openai"), 1),
        (AuthError("no key", provider="openai"), 1),
        (UnavailableError("down", provider="openai"), 3),
        (NotFoundError("no such job", provider="openai"), 50),
    ],
)
def test_trouble_with_the_provider_is_found_out_once(settings: Settings, error: ProviderError, asked: int) -> None:
    backend = Listed(settings, 0)
    backend.error = error
    answers = dict(backend.fetch_many([f"j{number}" for number in range(50)]))
    assert len(answers) == 50 and all(answer is error for answer in answers.values())
    assert backend.fetched == asked


def test_one_bad_job_hides_no_other(settings: Settings) -> None:
    class OneBad(Listed):
        def list_jobs(self) -> Iterator[JobState]:
            raise UnavailableError("the list is broken", provider=self.name)

        def fetch(self, remote_id: str) -> JobState:
            if remote_id == "j3":
                raise UnavailableError("this one is broken", provider=self.name)
            return super().fetch(remote_id)

    answers = dict(OneBad(settings, 10).fetch_many([f"j{number}" for number in range(10)]))
    assert [name for name, answer in answers.items() if isinstance(answer, ProviderError)] == ["j3"]


def test_together_answers_all_in_one_call_and_ended_ones_once_more(
    together: TogetherEmulator, connect: Callable[..., Any], tmp_path: Any
) -> None:
    backend, together.pace = connect(together), 600
    data = prepared_chats(tmp_path)
    together.pace = 0.01
    spec = TuneSpec(model="meta-llama/Meta-Llama-3.1-8B-Instruct-Reference", dataset=data.training.path)
    files = list(backend.prepare(spec, data))
    together.pace = 600
    ids = [backend.submit(spec, files, token=contract_job_token(str(number))).remote_id for number in range(6)]
    backend.cancel(ids[0])
    together.advance(3600)
    before = len(together.log)
    answers = dict(backend.fetch_many(ids))
    ended = [answer for answer in answers.values() if answer.status.terminal]
    assert set(answers) == set(ids) and ended
    assert len(together.log) - before == 1 + len(ended)
