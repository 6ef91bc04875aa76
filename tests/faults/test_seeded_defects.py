"""The bench bites: backends with a defect of the kind that it is there to find, and what it says of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.faults.bench import judge, run
from tests.faults.cases import CREATION, clean_run
from tests.faults.kinds import KINDS
from tuneport.backends.hosted.backend import HostedBackend, remote_file_name
from tuneport.backends.openai.backend import OpenAIBackend
from tuneport.backends.together.backend import TogetherBackend
from tuneport.errors import ProviderError, QuotaError
from tuneport.manifests import Manifest
from tuneport.types import DataFile, Found, JobEvent, JobState, RemoteFile, TuneSpec


class NeverFinds(OpenAIBackend):
    """What any exception read as "no such job" comes to."""

    def find(self, token: str) -> Found:
        return Found.absent(marks_seen=True)


class FindsTooSoon(OpenAIBackend):
    """Believes a list that lags at once."""

    def __init__(self, manifest: Manifest, *arguments: Any, **options: Any) -> None:
        super().__init__(manifest.model_copy(update={"settle_seconds": 0.0}), *arguments, **options)


class RetriesOfTheSdk(OpenAIBackend):
    def _connect(self, key: str) -> Any:
        return super()._connect(key).with_options(max_retries=2)


class RetriesCreation(TogetherBackend):
    def submit(self, spec: TuneSpec, files: Sequence[RemoteFile], *, token: str) -> JobState:
        return self._read(lambda: super(RetriesCreation, self).submit(spec, files, token=token))


class UploadsAnew(OpenAIBackend):
    def _find_or_upload(self, file: DataFile) -> str:
        def upload() -> str:
            with file.path.open("rb") as content:
                return str(self.client.files.create(file=(remote_file_name(file), content), purpose="fine-tune").id)

        return self._read(upload)


class NumbersEvents(TogetherBackend):
    """Ids that differ from call to call, so that every event is new each time."""

    calls = 0

    def events(self, remote_id: str, *, after: str | None = None) -> list[JobEvent]:
        type(self).calls += 1
        events = super().events(remote_id)
        return [event.model_copy(update={"id": f"{self.calls}-{number}"}) for number, event in enumerate(events)]


class SwallowsEvents(OpenAIBackend):
    def events(self, remote_id: str, *, after: str | None = None) -> list[JobEvent]:
        try:
            return list(super().events(remote_id, after=after))
        except ProviderError:
            return []


class Impatient(OpenAIBackend):
    """Sleeps half a second whatever the server asks."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        sleep = options["sleep"]
        super().__init__(*arguments, **{**options, "sleep": lambda seconds: sleep(0.5)})
        self._cooldown.check = lambda kind: None  # type: ignore[method-assign]


class RetriesQuota(OpenAIBackend):
    def _once(self, call: Callable[[], Any], *lane: Any) -> Any:
        try:
            return super()._once(call, *lane)
        except QuotaError as error:
            raise ProviderError(str(error), provider=self.name, code=error.code, retryable=True) from error


class GivesUp(TogetherBackend):
    """No retries at all."""

    def _read(self, call: Callable[[], Any], *lane: Any, **within: Any) -> Any:
        return self._once(call, *lane)


SEEDED: list[tuple[type[HostedBackend], str, str, str]] = [
    (NeverFinds, "reset after", CREATION["openai"], "2 remote jobs"),
    (RetriesOfTheSdk, "reset after", CREATION["openai"], "2 remote jobs"),
    (RetriesCreation, "502 html after", CREATION["together"], "2 remote jobs"),
    (UploadsAnew, "closed after", "POST /files", "3 uploads were stored"),
    (NumbersEvents, "500", CREATION["together"], "too many"),
    (SwallowsEvents, "insufficient_quota", "GET /fine_tuning/jobs/{id}/events #4", "lost"),
    (Impatient, "429 seconds", "GET /fine_tuning/jobs/{id}", "asked were 20 s"),
    (RetriesQuota, "insufficient_quota", "GET /files/{id}", "tried again"),
    (GivesUp, "503", "GET /fine-tunes/{id}/metrics", "the user was troubled"),
]


@pytest.mark.parametrize(
    ("make", "fault", "place", "complaint"), SEEDED, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_seeded_defect_is_found(make: type[HostedBackend], fault: str, place: str, complaint: str) -> None:
    provider = "openai" if issubclass(make, OpenAIBackend) else "together"
    position = run(provider, make=make).labels.index(place)  # a defect may leave requests out
    found = judge(run(provider, (KINDS[fault], position), make=make), clean_run(provider), KINDS[fault])
    assert complaint in "; ".join(found)


@pytest.mark.parametrize(("make", "jobs"), [(OpenAIBackend, 1), (FindsTooSoon, 2)])
def test_a_list_that_lags_is_believed_only_after_a_while(make: type[HostedBackend], jobs: int) -> None:
    position = clean_run("openai").labels.index(CREATION["openai"])
    done = run("openai", (KINDS["reset after"], position), make=make, list_lag=1000.0)
    assert done.emulator.jobs_created == jobs
