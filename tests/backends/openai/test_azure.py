"""Azure: OpenAI's backend by another manifest, at an address of one's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import tuneport
from tests.backends.openai.test_reinforcement import GRADER, questions
from tests.support.rows import write
from tuneport.backends import open_backend
from tuneport.backends.openai.backend import OpenAIBackend
from tuneport.cli.main import main
from tuneport.errors import AuthError, ConfigError, UnsupportedError
from tuneport.lifecycle.service import JobService
from tuneport.settings import BackendSettings, ProjectFile, Settings
from tuneport.testing.contract import BackendContract, Case, contract_job_token, prepared_chats
from tuneport.testing.emulators.openai.azure import AzureEmulator
from tuneport.types import Hyperparameters, JobStatus, PreparedData, TuneSpec
from tuneport.workflows.doctor import doctor, list_backend_states

MODEL, REASONER = "gpt-4.1-mini-2025-04-14", "o4-mini-2025-04-16"


@pytest.fixture
def azure() -> Iterator[AzureEmulator]:
    with AzureEmulator(pace=0.03) as emulator:
        yield emulator


def settings_of(azure: AzureEmulator, key: str | None = None) -> Settings:
    environment = {"TUNEPORT_AZURE_BASE_URL": azure.base_url, "TUNEPORT_HOME": str(Path.cwd() / "home")}
    if key is not None:
        environment["AZURE_OPENAI_API_KEY"] = key
    project = ProjectFile(backends={"azure": BackendSettings(options={"poll_interval": 0.01})})
    return Settings.load(Path.cwd(), environment).model_copy(update={"project": project})


@pytest.fixture
def backend(azure: AzureEmulator) -> Iterator[Any]:
    opened = open_backend("azure", settings_of(azure, azure.key))
    yield opened
    opened.close()


class TestAzure(BackendContract):
    @pytest.fixture
    def case(self, azure: AzureEmulator, tmp_path: Path) -> Case:
        data = prepared_chats(tmp_path)
        return Case(
            backend=open_backend("azure", settings_of(azure, azure.key)),
            spec=TuneSpec(model=MODEL, dataset=data.training.path, suffix="mine"),
            data=data,
            jobs_started=lambda: azure.jobs_created,
            lose_reply=lambda: azure.fail("drop_after_accept", method="POST", path="/fine_tuning/jobs") and None,
            without_key=(open_backend("azure", settings_of(azure)), "AZURE_OPENAI_API_KEY"),
            secret=azure.key,
            refused=Hyperparameters(learning_rate=1e-4, lora_rank=8),
            answers_tuned=False,
        )


def test_it_is_one_class_and_the_key_is_in_its_own_header(azure: AzureEmulator, backend: Any) -> None:
    assert type(backend) is OpenAIBackend
    assert list(backend.list_jobs()) == []
    headers = azure.log[-1].request_headers
    assert headers["api-key"] == azure.key and "authorization" not in headers
    assert azure.log[-1].path == "/openai/v1/fine_tuning/jobs"


def test_wrong_key_is_told_by_its_variable(azure: AzureEmulator) -> None:
    wrong = open_backend("azure", settings_of(azure, "f" * 32))
    with pytest.raises(AuthError, match="AZURE_OPENAI_API_KEY"):
        list(wrong.list_jobs())
    wrong.close()


@pytest.mark.parametrize("kind", ["standard", "globalstandard", "GlobalStandard", "developerTier"])
def test_training_type_is_passed_on(
    azure: AzureEmulator, backend: Any, spec: TuneSpec, data: PreparedData, kind: str
) -> None:
    spec = spec.model_copy(update={"provider_options": {"trainingType": kind}})
    state = backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("t"))
    assert azure.requests("POST", "/fine_tuning/jobs")[-1].request_json()["trainingType"] == kind
    assert state.details["trainingType"] == kind


def test_training_type_of_no_such_name_is_refused_before_anything_is_sent(
    azure: AzureEmulator, backend: Any, spec: TuneSpec, data: PreparedData
) -> None:
    spec = spec.model_copy(update={"provider_options": {"trainingType": "cheap"}})
    with pytest.raises(
        ConfigError, match="trainingType is one of standard, globalstandard, developerTier, not 'cheap'"
    ):
        list(backend.prepare(spec, data))
    assert azure.log == []


def test_words_of_its_own_are_understood(
    azure: AzureEmulator, backend: Any, spec: TuneSpec, data: PreparedData
) -> None:
    azure.pace = 60
    remote_id = backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("t")).remote_id
    seen = []
    for _ in range(4):
        state = backend.fetch(remote_id)
        seen.append((state.raw_status, state.status))
        azure.advance(60)
    assert seen == [
        ("pending", JobStatus.QUEUED), ("notRunning", JobStatus.QUEUED), ("running", JobStatus.RUNNING),
        ("succeeded", JobStatus.SUCCEEDED),
    ]  # fmt: skip
    assert backend.fetch(remote_id).tuned_model == f"{MODEL}.ft-{remote_id.removeprefix('ftjob-')}"
    assert backend.fetch(remote_id).cost is None, "no price is known there"


def test_cancel_pause_and_resume_have_a_body(
    azure: AzureEmulator, backend: Any, spec: TuneSpec, data: PreparedData
) -> None:
    azure.pace = 60
    files = list(backend.prepare(spec, data))
    remote_id = backend.submit(spec, files, token=contract_job_token("t")).remote_id
    azure.advance(130)
    assert backend.pause(remote_id).status is JobStatus.PAUSED
    assert backend.resume(remote_id).status is JobStatus.RUNNING
    assert backend.cancel(remote_id).status is JobStatus.CANCELLED
    assert not any(item.status == 411 for item in azure.log)
    orders = azure.requests("POST", "/fine_tuning/jobs/*/*")
    assert [order.request_body for order in orders] == [b"{}"] * 3


def test_tuned_model_goes_on_and_answers_once_it_is_deployed(
    azure: AzureEmulator, backend: Any, spec: TuneSpec, data: PreparedData
) -> None:
    remote_id = backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("t")).remote_id
    azure.advance(100)
    tuned = backend.fetch(remote_id).tuned_model
    question = [{"role": "user", "content": "Where is my parcel?"}]
    with pytest.raises(UnsupportedError, match=f"azure has no deployment named {tuned}: deploy .*az cognitiveservices"):
        backend.complete(tuned, question)
    azure.deploy("support", tuned)
    assert backend.complete("support", question).text == "tracking"
    spec = spec.model_copy(update={"from_checkpoint": tuned})
    backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("again"))
    assert azure.requests("POST", "/fine_tuning/jobs")[-1].request_json()["model"] == tuned


def test_deployments_are_asked_for_by_their_own_names(azure: AzureEmulator) -> None:
    with JobService(settings_of(azure, azure.key)) as workspace:
        assert workspace.locate("azure/support") == ("azure", "support")
        assert workspace.locate("gpt-4.1-mini", backend="azure") == ("azure", MODEL)


def test_missing_address_is_told_by_every_door() -> None:
    settings = Settings.load(Path.cwd(), {"AZURE_OPENAI_API_KEY": "k" * 32, "TUNEPORT_HOME": str(Path.cwd())})
    with pytest.raises(ConfigError, match=r"TUNEPORT_AZURE_BASE_URL.*https://RESOURCE\.openai\.azure\.com/openai/v1"):
        open_backend("azure", settings)
    (finding,) = [row for row in doctor(settings, date.today()) if row.subject == "azure"]
    assert finding.verdict == "warn" and "TUNEPORT_AZURE_BASE_URL" in finding.fix
    (row,) = [row for row in list_backend_states(settings, date.today()) if row["name"] == "azure"]
    assert (row["key_set"], row["configured"]) == (True, False)
    data = prepared_chats(Path.cwd())
    spec = TuneSpec(model="gpt-4.1-mini", dataset=data.training.path)
    with JobService(settings) as workspace:
        with pytest.raises(ConfigError, match="no address for Azure OpenAI: set TUNEPORT_AZURE_BASE_URL"):
            workspace.plan(spec, backend="azure")


def test_key_does_not_follow_a_redirect_to_another_server(azure: AzureEmulator, backend: Any) -> None:
    with AzureEmulator() as other:
        location = f"{other.base_url}/fine_tuning/jobs"
        azure.fail("status", path="/fine_tuning/jobs", status=307, body={}, headers={"location": location})
        with pytest.raises(AuthError):
            list(backend.list_jobs())
        assert other.log and not any(azure.key in value for value in other.log[0].request_headers.values())


def test_reinforcement_from_the_command_line_to_the_end(
    azure: AzureEmulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    azure.models[REASONER] = None
    monkeypatch.setenv("TUNEPORT_AZURE_BASE_URL", azure.base_url)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", azure.key)
    rows = write(Path("questions.jsonl"), questions())
    held_out = write(Path("held_out.jsonl"), questions()[:3])
    Path("grader.json").write_text(json.dumps(GRADER))
    command = [
        "submit",
        "--yes",
        "--anyway",
        str(rows),
        "--model",
        REASONER,
        "--backend",
        "azure",
        "--grader",
        "grader.json",
        "--wait",
        "--json",
    ]
    assert main([*command, "--validation", str(held_out), "--set", "reasoning_effort=low"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["status"], document["method"]) == ("succeeded", "rft")
    assert document["dataset"]["format"] == "openai-reinforcement" and document["dataset"]["left_out"] == []
    sent = azure.requests("POST", "/fine_tuning/jobs")[-1].request_json()["method"]
    numbers = {"n_epochs": 5, "batch_size": 4, "reasoning_effort": "low"}
    assert sent["reinforcement"] == {"grader": GRADER, "hyperparameters": numbers}
    Path("grader.json").write_text("{")
    assert main(command) == 2
    assert "--grader grader.json cannot be read as JSON" in capsys.readouterr().err
    Path("grader.json").write_text(json.dumps({**GRADER, "reference": "{{item.nothing}}"}))
    before = len(azure.requests("POST", "/files"))
    assert main(command) == 2
    assert "nothing" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert len(azure.requests("POST", "/files")) == before


def test_reinforcement_from_python(azure: AzureEmulator) -> None:
    azure.models[REASONER] = None
    rows = write(Path("questions.jsonl"), questions())
    held_out = write(Path("held_out.jsonl"), questions()[:3])
    job = tuneport.submit(
        rows,
        model=REASONER,
        backend="azure",
        grader=GRADER,
        validation=held_out,
        confirm=False,
        anyway=True,
        settings=settings_of(azure, azure.key),
    )
    assert job.wait(poll_seconds=0.02).tuned_model
