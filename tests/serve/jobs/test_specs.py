"""What a client's request leads to: no third party that was not named, and no price above the operator's limit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.support.folders import FIXTURES
from tests.support.gateways import OLD_MODEL, Running
from tuneport.serve.jobs.job_maker import make_jobs_of_requests
from tuneport.testing.emulators import OpenAIEmulator, TogetherEmulator

openai = pytest.importorskip("openai", reason="the client of these tests: pip install 'tuneport[openai]'")

TRAIN = FIXTURES / "datasets" / "support_intents.train.jsonl"
MINI = "gpt-4.1-mini"


@pytest.fixture
def upstream(lead_to: Callable[[OpenAIEmulator], OpenAIEmulator]) -> OpenAIEmulator:
    """The only backend with a key."""
    return lead_to(OpenAIEmulator(pace=600))


def status_of(running: Running, model: str) -> str:
    """Ask for a job, make it, and return where it came to."""
    client = running.client()
    file = client.files.create(file=TRAIN, purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model=model, training_file=file.id)
    make_jobs_of_requests(running.gateway)
    found = client.fine_tuning.jobs.retrieve(job.id)
    if found.status == "failed":
        assert found.error is not None
        return str(found.error.message)
    return str(running.gateway.unscoped.job(job.id).backend)


def test_a_third_party_that_was_not_named_is_refused_by_name(
    serve: Callable[..., Running], upstream: OpenAIEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = serve(background=False)
    with pytest.raises(openai.BadRequestError, match=rf"third parties: openai\. Name one, as openai/{MINI}") as refused:
        status_of(running, MINI)
    assert refused.value.param == "model" and refused.value.code == "backend_not_named"
    assert status_of(running, f"openai/{MINI}") == "openai"
    assert status_of(serve(f"{OLD_MODEL}=openai/{MINI}", background=False), OLD_MODEL) == "openai"
    monkeypatch.setenv("TUNEPORT_BACKEND", "openai")
    assert status_of(serve(background=False), MINI) == "openai"
    assert not upstream.requests("POST", "/fine_tuning/jobs")


def test_this_machine_is_taken_where_it_has_the_model(
    serve: Callable[..., Running], lead_to: Callable[[TogetherEmulator], TogetherEmulator]
) -> None:
    lead_to(TogetherEmulator())
    running = serve(background=False)
    assert status_of(running, "smollm2-135m-instruct") == "local"
    client = running.client()
    file = client.files.create(file=TRAIN, purpose="fine-tune")
    client.fine_tuning.jobs.create(model="llama-3.3-70b-instruct", training_file=file.id)  # this machine has it, too
    make_jobs_of_requests(running.gateway)
    (job,) = [job for job in client.fine_tuning.jobs.list() if job.model.endswith("70b-instruct")]
    assert job.status == "failed" and job.error is not None  # but not the memory for it
    assert "no backend was named" in job.error.message and "together" in job.error.message


@pytest.mark.parametrize(
    ("limit", "asked", "told"), [(0.001, None, "0.001"), (0.001, 5.0, "0.001"), (5.0, 0.002, "0.002")]
)
def test_the_operators_limit_holds_for_every_job(
    serve: Callable[..., Running],
    upstream: OpenAIEmulator,
    isolated: Path,
    limit: float,
    asked: float | None,
    told: str,
) -> None:
    (isolated / "tuneport.toml").write_text(f'backend = "openai"\n[gateway]\njob_budget = {limit}\n')
    running = serve(background=False)
    client = running.client()
    file = client.files.create(file=TRAIN, purpose="fine-tune")
    asked_for = {"model": MINI, "training_file": file.id} | ({} if asked is None else {"budget": asked})
    answer = httpx.post(f"{running.url.removesuffix('v1')}tuneport/v1/jobs", json=asked_for)
    assert answer.status_code == 200, answer.text
    make_jobs_of_requests(running.gateway)
    found = client.fine_tuning.jobs.retrieve(answer.json()["id"])
    assert found.status == "failed" and found.error is not None and told in found.error.message
    assert "budget" in found.error.message


def test_a_job_below_the_operators_limit_keeps_it(
    serve: Callable[..., Running], upstream: OpenAIEmulator, isolated: Path
) -> None:
    (isolated / "tuneport.toml").write_text('backend = "openai"\n[gateway]\njob_budget = 5\n')
    running = serve(background=False)
    assert status_of(running, MINI) == "openai"
    (row,) = running.gateway.unscoped.store.jobs.all()
    assert row.tune_spec.budget == 5
