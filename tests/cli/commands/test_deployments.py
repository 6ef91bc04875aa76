"""deploy, undeploy, deployments, download: with the command that stops the money in what they print."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

import tuneport
from tests.support.commands import Finish, Run
from tests.support.emulated import LeadTo
from tests.support.folders import FIXTURES
from tuneport.cli.commands import deployments
from tuneport.testing.emulators import TogetherEmulator
from tuneport.types import EndpointOffer

TRAIN = str(FIXTURES / "datasets" / "support_intents.train.jsonl")


@pytest.fixture
def together(lead_to: LeadTo, isolated: Path) -> TogetherEmulator:
    (isolated / "tuneport.toml").write_text("[backends.together.options]\npoll_interval = 0.01\n")
    return lead_to(TogetherEmulator())


@pytest.fixture
def job(finished: Finish, together: TogetherEmulator) -> str:
    return finished(TRAIN, "--model", "support-intents", "--backend", "together")


def test_endpoint_from_the_command_line(
    run: Run, together: TogetherEmulator, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, error = run("chat", job, "Where is my parcel?")
    assert code == 2 and "$3.99" in error and "($2,913 a month)" in error
    assert f"`tuneport deploy {job}`" in error and f"`tuneport download {job} -o FOLDER`" in error
    together.pace = 60
    # Of this module alone: other threads sleep, too.
    monkeypatch.setattr(deployments, "time", SimpleNamespace(sleep=lambda seconds: together.advance(20)))
    code, out, error = run("deploy", job, "--wait", "--max-usd-per-hour", "4")
    assert code == 0, error
    id = next(iter(together.endpoints))
    assert f"tuneport undeploy {id}" in out and "$3.99 an hour" in out and "is ready" in out
    assert "$3.99 an hour" in error and "30 minutes without a request" in error
    code, document, _ = run("deployments", "--json")
    (row,) = document["data"]
    assert (row["id"], row["backend"], row["status"], row["usd_per_hour"]) == (id, "together", "ready", 3.99)
    code, out, _ = run("deployments")
    assert id in out and "$3.99" in out and "at most" in out and "tuneport undeploy" in out
    code, answer, error = run("chat", job, "Where is my parcel?", "--json")
    assert code == 0 and answer["text"], error
    code, out, _ = run("undeploy", id)
    assert code == 0 and "costs nothing more" in out
    assert together.running() == []
    code, out, error = run("deployments")
    assert (code, out) == (0, "") and "no endpoints" in error
    code, _, error = run("undeploy", id)
    assert code == 2 and "no backend has an endpoint" in error
    assert run("undeploy", id, "--backend", "together", "--json")[:2] == (
        0,
        {"id": id, "backend": "together", "status": "stopped"},
    )


def test_what_so_far_is_at_most(run: Run, together: TogetherEmulator, job: str) -> None:
    code, document, error = run("deploy", job, "--inactive-timeout", "0", "--yes", "--json")
    assert code == 0 and document["stop"].startswith("tuneport undeploy ep_"), error
    assert "never stops by itself" in error
    endpoint = next(iter(together.endpoints.values()))
    endpoint.created -= 7200
    (row,) = run("deployments", "--json")[1]["data"]
    assert row["usd_so_far_at_most"] == pytest.approx(2 * 3.99, rel=0.05)


def test_too_dear_is_refused_with_nothing_started(run: Run, together: TogetherEmulator, job: str) -> None:
    code, document, _ = run("deploy", job, "--max-usd-per-hour", "1", "--json")
    assert code == 2 and document["error"]["type"] == "BudgetError"
    assert together.endpoints == {}


def test_backend_that_cannot_be_asked_is_named(run: Run, together: TogetherEmulator, job: str) -> None:
    together.fail("status", path="/v3/whoami", status=403, times=None)
    code, document, error = run("deployments", "--json")
    assert code == 0 and document["data"] == [] and "together" in document["trouble"] and "not asked" in error
    code, _, error = run("deployments", "--backend", "fake")
    assert code == 2 and "fake" in error


def test_weights_from_the_command_line(run: Run, together: TogetherEmulator, job: str, isolated: Path) -> None:
    code, out, error = run("download", job)
    assert code == 0, error
    assert (isolated / job / "adapter_config.json").is_file()
    assert f"tuneport chat {isolated / job} --backend local" in out
    code, document, _ = run("download", job, "--merged", "-o", "whole", "--json")
    assert code == 0 and (isolated / "whole" / "config.json").is_file()
    assert (document["merged"], document["backend"]) == (True, "together") and document["bytes"] > 0
    (isolated / "mine").mkdir()
    (isolated / "mine" / "file").write_text("")
    code, _, error = run("download", job, "-o", "mine")
    assert code == 2 and "not an empty folder" in error
    assert run("download", job, "-o", "whole", "--merged")[0] == 0, "it is there already"
    theirs = next(iter(together.jobs))
    code, document, error = run("download", theirs, "--backend", "together", "-o", "theirs", "--json")
    assert code == 0 and document["job"] == theirs, error


def test_model_that_tuneport_did_not_tune_can_be_deployed(
    run: Run, together: TogetherEmulator, job: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = next(iter(together.jobs.values())).output_name
    monkeypatch.setenv("TUNEPORT_HOME", str(tmp_path / "another-home"))
    code, document, error = run("deploy", model, "--backend", "together", "--yes", "--json")
    assert code == 0 and document["model"] == model, error
    code, _, error = run("deploy", "nobody/knows", "--backend", "together")
    assert code == 2 and "no tuned model nobody/knows" in error


def test_job_without_weights_says_so(run: Run, together: TogetherEmulator) -> None:
    together.next_job(pace=600)
    _, document, _ = run(
        "submit", "--yes", "--anyway", TRAIN, "--model", "support-intents", "--backend", "together", "--json"
    )
    code, _, error = run("download", document["id"])
    assert code == 3 and "once it has succeeded" in error


def test_an_endpoint_costs_nothing_before_it_is_agreed_to(run: Run, together: TogetherEmulator, job: str) -> None:
    code, _, error = run("deploy", job)
    assert code == 2 and "$3.99 an hour, $2,912.70 for a whole month; it stops after 30 minutes" in error
    assert "add --yes, --max-usd-per-hour 3.99" in error
    shown: list[EndpointOffer] = []

    def refuse(offer: EndpointOffer) -> bool:
        shown.append(offer)
        return False

    with pytest.raises(tuneport.ConsentError, match="the answer was no"):
        tuneport.deploy(job, confirm=refuse)
    with pytest.raises(tuneport.ConsentError, match="which was not agreed to"):
        tuneport.job(job).deploy()
    assert shown[0].usd_per_hour == 3.99 and not together.requests("POST", "/endpoints")
    assert tuneport.deploy(job, max_usd_per_hour=4).usd_per_hour == 3.99
    assert tuneport.deploy(job).usd_per_hour == 3.99  # it is up: nothing more is paid
