"""No job is paid, sent to a third party or paid twice before the user has agreed."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

import tuneport
from tests.support.commands import Run
from tests.support.emulated import LeadTo
from tests.support.folders import FIXTURES
from tuneport.errors import CheckFailedError, ConfigError, ConsentError
from tuneport.lifecycle.planning.planning import Plan
from tuneport.lifecycle.proposing.proposal import JobProposal
from tuneport.lifecycle.service import JobService
from tuneport.settings import Settings
from tuneport.testing.emulators import OpenAIEmulator, TogetherEmulator
from tuneport.types import TuneSpec

TRAIN = FIXTURES / "datasets" / "support_intents.train.jsonl"
MODEL = "gpt-4.1-mini"
SPEC = TuneSpec(model=MODEL, dataset=TRAIN)


@pytest.fixture
def openai(lead_to: LeadTo) -> OpenAIEmulator:
    return lead_to(OpenAIEmulator(pace=600))


def started(openai: OpenAIEmulator) -> int:
    return len(openai.requests("POST", "/files")) + len(openai.requests("POST", "/fine_tuning/jobs"))


def test_python_pays_nothing_without_a_word_for_it(openai: OpenAIEmulator) -> None:
    with pytest.raises(ConsentError, match=r"may cost \$0\.\d+, which was not agreed to; add --yes, --budget 0\.\d+"):
        tuneport.submit(TRAIN, model=MODEL, backend="openai")
    assert started(openai) == 0 and tuneport.jobs() == []


def test_the_proposal_is_shown_and_a_no_ends_it(openai: OpenAIEmulator) -> None:
    seen: list[JobProposal] = []

    def refuse(proposal: JobProposal) -> bool:
        seen.append(proposal)
        return False

    with pytest.raises(ConsentError, match="nothing was done"):
        tuneport.submit(TRAIN, model=MODEL, backend="openai", confirm=refuse)
    assert started(openai) == 0 and tuneport.jobs() == []
    told = dict(seen[0].lines())
    assert "leave this machine and go to OpenAI, a third party" in told["data"]
    assert "on openai (your choice)" in told["backend"] and told["price"].startswith("about $")
    assert "per 1M tokens" in told["serving"] and "epochs 3" in told["training"]


@pytest.mark.parametrize("said", ["budget", "variable", "tuneport.toml", "confirm", "function"])
def test_one_word_is_enough(openai: OpenAIEmulator, said: str, isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if said == "variable":
        monkeypatch.setenv("TUNEPORT_JOB_BUDGET", "2")
    if said == "tuneport.toml":
        (isolated / "tuneport.toml").write_text("[budgets]\njob = 2\n")
    given = {"budget": {"budget": 2.0}, "confirm": {"confirm": False}, "function": {"confirm": lambda proposal: True}}
    job = tuneport.submit(TRAIN, model=MODEL, backend="openai", **given.get(said, {}))  # type: ignore[arg-type]
    assert job.backend == "openai"


def test_a_standing_limit_below_the_price_does_not_agree(
    openai: OpenAIEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEPORT_JOB_BUDGET", "0.001")
    with pytest.raises(ConsentError, match=r"above the standing limit of \$0\.001"):
        tuneport.submit(TRAIN, model=MODEL, backend="openai")


def test_data_that_fails_a_check_is_not_trained(openai: OpenAIEmulator, tmp_path: Path) -> None:
    few = tmp_path / "few.jsonl"
    few.write_text("".join(TRAIN.read_text().splitlines(keepends=True)[:12]))
    with pytest.raises(CheckFailedError, match="few.jsonl fails the check sample-size"):
        tuneport.submit(few, model=MODEL, backend="openai", confirm=False)
    assert started(openai) == 0
    assert tuneport.submit(few, model=MODEL, backend="openai", confirm=False, anyway=True).id


def test_the_training_file_is_no_validation_file(openai: OpenAIEmulator, tmp_path: Path) -> None:
    copy = tmp_path / "valid.jsonl"
    copy.write_bytes(TRAIN.read_bytes())
    with pytest.raises(ConfigError, match=r"valid\.jsonl is the training file"):
        tuneport.submit(TRAIN, model=MODEL, backend="openai", validation=copy, confirm=False, anyway=True)


def test_the_same_job_is_not_paid_twice(openai: OpenAIEmulator, tmp_path: Path) -> None:
    first = tuneport.submit(TRAIN, model=MODEL, backend="openai", confirm=False)
    copy = tmp_path / "another name.jsonl"
    copy.write_bytes(TRAIN.read_bytes())
    said = {"hyperparameters": {"epochs": 3, "batch_size": 8}}  # what was recommended, written out
    for data, more in ((TRAIN, {}), (copy, {"suffix": "other"}), (TRAIN, said)):
        with pytest.raises(ConfigError, match=f"{first.id} trained the same data with the same settings on openai"):
            tuneport.submit(data, model=MODEL, backend="openai", confirm=False, **more)  # type: ignore[arg-type]
    for more in ({"hyperparameters": {"epochs": 1}}, {"provider_defaults": True}, {"seed": 7}, {"again": True}):
        assert tuneport.submit(TRAIN, model=MODEL, backend="openai", confirm=False, **more).id  # type: ignore[arg-type]


def test_a_higher_price_than_was_agreed_to_starts_nothing(lead_to: LeadTo, monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider names its own price after the upload."""
    together = lead_to(TogetherEmulator(pace=0.01))
    monkeypatch.setattr("tuneport.testing.emulators.together.jobs.MINIMUM_PRICE", 40.0)
    monkeypatch.setenv("TUNEPORT_JOB_BUDGET", "5")
    with pytest.raises(tuneport.TuneportError, match=r"\$40\.00"):
        tuneport.submit(TRAIN, model="llama-3.1-8b-instruct", backend="together").wait(poll_seconds=0.01)
    assert not together.jobs


def test_a_third_party_is_not_chosen_by_itself(openai: OpenAIEmulator, settings: Settings) -> None:
    with JobService(settings) as workspace:
        with pytest.raises(ConsentError, match=r"no backend was named.*openai \(~\$0"):
            workspace.propose(SPEC)
        shown: list[Plan] = []

        def choose(plan: Plan) -> str | None:
            shown.append(plan)
            return "openai"

        assert workspace.propose(SPEC, choose=choose).backend == "openai"
        assert shown[0].chosen.backend == "openai" and shown[0].named_by is None
        with pytest.raises(ConsentError, match="no backend was chosen"):
            workspace.propose(SPEC, choose=lambda plan: None)
        assert workspace.propose(SPEC, backend="openai").plan.named_by == "your choice"
    named = Settings.load(environment={"TUNEPORT_BACKEND": "openai", **os.environ})
    with JobService(named) as workspace:
        assert workspace.propose(SPEC).plan.named_by == "TUNEPORT_BACKEND"


def test_the_own_machine_is_taken_where_it_can(lead_to: LeadTo, settings: Settings, tmp_path: Path) -> None:
    from tests.support.tiny import tiny_model

    lead_to(TogetherEmulator())
    with JobService(settings) as workspace:
        proposal = workspace.propose(TuneSpec(model=str(tiny_model(tmp_path / "tiny")), dataset=TRAIN))
    assert proposal.backend == "local" and proposal.free_and_private
    assert dict(proposal.lines())["data"].endswith("stay on your machines")


def test_a_pipe_gets_the_line_to_add(run: Run, openai: OpenAIEmulator) -> None:
    code, document, error = run("submit", str(TRAIN), "-m", MODEL, "-b", "openai", "--json")
    assert code == 2 and document["error"]["type"] == "ConsentError" and "add --yes, --budget" in error
    assert "price" in error and started(openai) == 0
    code, _, error = run("submit", str(TRAIN), "-m", MODEL, "-b", "openai", "--budget", "1")
    assert code == 0, error
    code, _, error = run("submit", str(TRAIN), "-m", MODEL, "-b", "openai", "--yes")
    assert code == 2 and "pass --again" in error


@pytest.mark.parametrize(("answer", "code", "jobs"), [("y", 0, 1), ("n", 2, 0), ("", 2, 0)])
def test_a_terminal_asks_once(openai: OpenAIEmulator, answer: str, code: int, jobs: int) -> None:
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "tuneport.cli.main", "submit", str(TRAIN), "-m", MODEL, "-b", "openai"]
    with subprocess.Popen(command, stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        os.write(master, f"{answer}\n".encode())
        _, errors = process.communicate(timeout=120)
    os.close(master)
    os.close(slave)
    assert process.returncode == code, errors
    assert errors.count("Start this job? [y/N]") == 1
    listed = subprocess.run(
        [sys.executable, "-m", "tuneport.cli.main", "jobs", "--json"], capture_output=True, text=True
    )
    assert len(json.loads(listed.stdout)["data"]) == jobs
