"""The fake provider: its rule of time, its faults, and that any process sees the same."""

from __future__ import annotations

import json

import pytest

from tuneport.errors import NotFoundError, QuotaError, RateLimitError, RejectedError, UnavailableError
from tuneport.manifests import load_manifest
from tuneport.settings import Settings
from tuneport.testing.contract import QUESTIONS, contract_job_token
from tuneport.testing.fake.backend import FakeBackend
from tuneport.testing.fake.jobs import STAGES, ArmedFault
from tuneport.types import JobStatus, PreparedData, TuneSpec


@pytest.fixture
def fake(settings: Settings) -> FakeBackend:
    return FakeBackend(load_manifest("fake"), settings)


@pytest.fixture
def spec(data: PreparedData) -> TuneSpec:
    return TuneSpec(model="some-model", dataset=data.training.path)


def test_each_fetch_is_one_stage(fake: FakeBackend, spec: TuneSpec, data: PreparedData) -> None:
    remote_id = fake.submit(spec, list(fake.prepare(spec, data)), token=contract_job_token("t")).remote_id
    seen = [fake.fetch(remote_id).raw_status for _ in range(len(STAGES))]
    assert seen == [word for word, _ in STAGES[1:]] + ["done"]


def test_other_processes_see_the_same_jobs(
    fake: FakeBackend, settings: Settings, spec: TuneSpec, data: PreparedData
) -> None:
    remote_id = fake.submit(spec, list(fake.prepare(spec, data)), token=contract_job_token("t")).remote_id
    other = FakeBackend(load_manifest("fake"), settings)
    assert other.find(contract_job_token("t")).state == fake.find(contract_job_token("t")).state
    assert other.fetch(remote_id).raw_status == "waiting"
    assert fake.fetch(remote_id).raw_status == "training"


def test_tuned_model_answers_as_the_most_similar_row_did(fake: FakeBackend, spec: TuneSpec, data: PreparedData) -> None:
    remote_id = fake.submit(spec, list(fake.prepare(spec, data)), token=contract_job_token("t")).remote_id
    states = [fake.fetch(remote_id) for _ in STAGES]
    model = states[-1].tuned_model
    assert model is not None
    for question, answer in QUESTIONS:
        assert fake.complete(model, [{"role": "user", "content": question.lower() + " please"}]).text == answer  # type: ignore[union-attr]
    assert fake.complete("some-model", [{"role": "user", "content": "Hi"}]).text != ""  # type: ignore[union-attr]
    with pytest.raises(NotFoundError):
        fake.complete("fake:some-model::nope", [{"role": "user", "content": "Hi"}])


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("unavailable", UnavailableError),
        ("rate_limited", RateLimitError),
        ("no_quota", QuotaError),
        ("rejected", RejectedError),
        ("lost_reply", UnavailableError),
    ],
)
def test_armed_faults_are_used_up(
    fake: FakeBackend, spec: TuneSpec, data: PreparedData, kind: str, error: type[Exception]
) -> None:
    files = list(fake.prepare(spec, data))
    fake.arm(ArmedFault(on="submit", kind=kind, times=2))  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(error):
            fake.submit(spec, files, token=contract_job_token("t"))
    assert len(list(fake.list_jobs())) == (2 if kind == "lost_reply" else 0)
    assert fake.submit(spec, files, token=contract_job_token("u")).remote_id


def test_faults_can_be_written_by_hand_and_given_at_the_start(
    settings: Settings, spec: TuneSpec, data: PreparedData
) -> None:
    fake = FakeBackend(load_manifest("fake"), settings, faults=[ArmedFault(on="find", kind="unlisted")])
    fake.submit(spec, list(fake.prepare(spec, data)), token=contract_job_token("t"))
    assert [fake.find(contract_job_token("t")).answer for _ in range(2)] == ["absent", "found"]
    (fake.folder / "faults.json").write_text(json.dumps([{"on": "find", "kind": "unavailable"}]))
    assert [fake.find(contract_job_token("t")).answer for _ in range(2)] == ["unknown", "found"]


def test_job_that_fails_and_word_that_nobody_knows(fake: FakeBackend, spec: TuneSpec, data: PreparedData) -> None:
    files = list(fake.prepare(spec, data))
    fake.arm(ArmedFault(on="submit", kind="fail_job"))
    fake.arm(ArmedFault(on="submit", kind="unknown_status"))
    failing, strange = (fake.submit(spec, files, token=contract_job_token(word)).remote_id for word in "ab")
    end = [fake.fetch(failing) for _ in STAGES][-1]
    assert (end.status, end.tuned_model) == (JobStatus.FAILED, None)
    assert end.error is not None and end.error.fault == "provider"
    words = [(state.raw_status, state.status) for state in (fake.fetch(strange) for _ in STAGES)]
    assert ("simmering", JobStatus.RUNNING) in words and words[-1] == ("done", JobStatus.SUCCEEDED)


def test_pause_holds_the_job_and_cancel_ends_it(fake: FakeBackend, spec: TuneSpec, data: PreparedData) -> None:
    remote_id = fake.submit(spec, list(fake.prepare(spec, data)), token=contract_job_token("t")).remote_id
    fake.fetch(remote_id), fake.fetch(remote_id)
    assert fake.pause(remote_id).status is JobStatus.PAUSED
    assert fake.fetch(remote_id).progress == fake.fetch(remote_id).progress
    assert fake.resume(remote_id).status is JobStatus.RUNNING
    assert fake.cancel(remote_id).status is JobStatus.CANCELLED
    with pytest.raises(RejectedError):
        fake.pause(remote_id)


def test_deleted_job_is_gone_and_its_number_is_not_used_again(
    fake: FakeBackend, spec: TuneSpec, data: PreparedData
) -> None:
    files = list(fake.prepare(spec, data))
    first = fake.submit(spec, files, token=contract_job_token("a")).remote_id
    fake.delete(first)
    with pytest.raises(NotFoundError):
        fake.fetch(first)
    assert fake.submit(spec, files, token=contract_job_token("b")).remote_id != first


def test_names_cannot_leave_the_folder(fake: FakeBackend) -> None:
    for name in ("../../settings", "fakejob-1/../x", ""):
        with pytest.raises(NotFoundError):
            fake.fetch(name)
        with pytest.raises(NotFoundError):
            fake.read_file(name)
