"""A job before it starts, as a document, in Python and in words."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import tuneport
from tests.support.commands import Run
from tests.support.emulated import LeadTo
from tests.support.folders import FIXTURES
from tests.support.tiny import tiny_model
from tests.support.workspaces import write_chats
from tuneport.errors import CheckFailedError, ConfigError, ConsentError
from tuneport.lifecycle.service import JobService
from tuneport.settings import Settings
from tuneport.testing.emulators import OpenAIEmulator
from tuneport.testing.fake.backend import ArmedFault, FakeBackend
from tuneport.types import JobStatus, TuneSpec

TRAIN = FIXTURES / "datasets" / "support_intents.train.jsonl"
MODEL = "gpt-4.1-mini"


@pytest.fixture
def openai(lead_to: LeadTo) -> OpenAIEmulator:
    return lead_to(OpenAIEmulator(pace=600))


def test_a_program_reads_what_a_person_does(openai: OpenAIEmulator) -> None:
    proposal = tuneport.propose(TRAIN, model=MODEL, backend="openai", hyperparameters={"epochs": 2})
    told = proposal.as_dict()
    assert (told["backend"], told["named_by"], told["third_party"]) == ("openai", "your choice", "OpenAI")
    assert told["rows"] == 240 and told["held_out"]["validation_rows"] == 24
    assert told["highest_usd"] == proposal.highest_price > 0 and told["quote"]["as_of"]
    assert told["hyperparameters"] == {"epochs": 2, "batch_size": 4} and "per 1M tokens" in told["serving"]
    assert told["sent"] == {"n_epochs": 2, "batch_size": 4} and told["steps"]["expected"] > 0
    assert {each["check"] for each in told["checks"]} >= {"schema", "hold-out"} and told["repeats"] is None
    assert told["terms"] and all(term["url"].startswith("https://") for term in told["terms"])
    assert "leave this machine" in proposal._repr_html_()
    assert tuneport.jobs() == [] and not openai.requests("POST", "/files")
    with pytest.raises(TypeError, match=r"propose\(\) got an unexpected keyword argument 'colour'"):
        tuneport.propose(TRAIN, model=MODEL, colour="red")  # type: ignore[call-overload]


def test_json_is_one_document_with_the_proposal(run: Run, openai: OpenAIEmulator) -> None:
    line = ("submit", str(TRAIN), "-m", MODEL, "-b", "openai", "--json")
    code, refused, error = run(*line)
    assert code == 2 and refused["error"]["type"] == "ConsentError"
    assert refused["error"]["proposal"]["highest_usd"] > 0 and refused["error"]["proposal"]["backend"] == "openai"
    code, started, error = run(*line, "--yes")
    assert code == 0, error
    assert started["proposal"] == refused["error"]["proposal"] and started["id"].startswith("job-")


def test_the_error_in_python_has_it_too(openai: OpenAIEmulator, tmp_path: Path) -> None:
    with pytest.raises(ConsentError) as refused:
        tuneport.submit(TRAIN, model=MODEL, backend="openai")
    assert refused.value.proposal is not None and refused.value.proposal["backend"] == "openai"
    few = write_chats(tmp_path / "few.jsonl")
    with pytest.raises(CheckFailedError) as failed:
        tuneport.submit(few, model=MODEL, backend="openai", confirm=False)
    checks = failed.value.as_dict()["proposal"]["checks"]  # type: ignore[index]
    assert "fail" in {each["verdict"] for each in checks}


def test_terms_are_shown_until_a_job_starts_under_them(
    openai: OpenAIEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    first = tuneport.propose(TRAIN, model=MODEL, backend="openai")
    with pytest.raises(ConsentError):
        tuneport.submit(TRAIN, model=MODEL, backend="openai")
    with caplog.at_level(logging.WARNING, logger="tuneport"):
        tuneport.submit(TRAIN, model=MODEL, backend="openai", confirm=False)
    told = [record.getMessage() for record in caplog.records if "terms that apply" in record.getMessage()]
    assert first.terms and len(told) == len(first.terms)
    assert tuneport.propose(TRAIN, model=MODEL, backend="openai").terms == ()


@pytest.mark.parametrize("hourly", [None, "0", "3"])
def test_a_rented_machine_is_not_free(
    hourly: str | None, isolated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither is one whose price is unknown since the time is."""
    if hourly is not None:
        monkeypatch.setenv("TUNEPORT_LOCAL_USD_PER_HOUR", hourly)
    model = str(tiny_model(tmp_path / "tiny"))
    with JobService(Settings.load(isolated)) as workspace:
        proposal = workspace.propose(TuneSpec(model=model, dataset=TRAIN), backend="local")
        assert proposal.free_and_private is (hourly is None or proposal.highest_price == 0)
        if hourly == "3":
            assert proposal.highest_price != 0
            with pytest.raises(ConsentError):
                workspace.submit_proposal(proposal)


def test_a_start_without_an_answer_is_a_repeat(workspace: JobService, fake: FakeBackend, dataset: Path) -> None:
    """It may be paid by now."""
    spec = TuneSpec(model="base", dataset=dataset)
    row = workspace.submit(spec, backend="fake")
    fake.arm(ArmedFault(on="submit", kind="lost_reply"))
    workspace.worker.step(row.id)
    seen = workspace.job(row.id)
    assert seen.job_status is not JobStatus.SUCCEEDED and seen.remote_id is None
    proposal = workspace.propose(spec, backend="fake")
    assert proposal.repeated is not None and proposal.repeated.id == row.id
    with pytest.raises(ConfigError, match="pass --again to train once more"):
        tuneport.submit(spec, backend="fake", confirm=False, anyway=True)
