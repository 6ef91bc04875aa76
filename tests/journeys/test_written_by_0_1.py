"""What tuneport of 2026-11-26 wrote (commit 15ff788) opens and works: a store, a `tuneport.toml`, a gateway's jobs.

`written_by_0_1/store.sql` is a dump of a store in which that tuneport ran two jobs by the Python API (one was
cancelled) and one of a client of its gateway, at the fake backend. Its run folders are in `tests/test_run_protocol.py`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.gateways import Running
from tuneport.backends import backend_manifest
from tuneport.cli.main import main
from tuneport.manifests import find_manifest_model
from tuneport.settings import Settings

openai = pytest.importorskip("openai", reason="the client of these tests: pip install 'tuneport[openai]'")

WRITTEN = Path(__file__).parent / "written_by_0_1"
SUCCEEDED, CANCELLED, OF_A_CLIENT = "job-3dbc2c653e5c", "job-d7e2cda9b13d", "ftjob-Y92oQsinXxzkJWrYyZL1GzX7"


@pytest.fixture
def home(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = isolated / "home"
    home.mkdir()
    dump = (WRITTEN / "store.sql").read_text().replace("HOME", str(home)).replace("WORK", str(isolated))
    connection = sqlite3.connect(home / "tuneport.db")
    connection.executescript(dump)
    connection.close()
    (isolated / "tuneport.toml").write_text((WRITTEN / "project.toml").read_text())
    monkeypatch.setenv("TUNEPORT_HOME", str(home))
    monkeypatch.setenv("TEAM_WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    monkeypatch.setenv("MINE_API_KEY", "sk-mine")
    monkeypatch.chdir(isolated)
    return home


def test_the_command_line_shows_its_jobs(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "--json"]) == 0
    told = {job["id"]: job["status"] for job in json.loads(capsys.readouterr().out)["data"]}
    assert told == {SUCCEEDED: "succeeded", CANCELLED: "cancelled", OF_A_CLIENT: "succeeded"}
    for job in told:
        for command in (["show", job], ["logs", job]):
            assert main(command) == 0, capsys.readouterr().err
    capsys.readouterr()
    assert main(["show", SUCCEEDED, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["model"], shown["status"], shown["dataset"]["rows"]) == ("base", "succeeded", 12)


def test_every_key_of_its_tuneport_toml_is_read(home: Path) -> None:
    settings = Settings.load()
    assert settings.backend == "fake" and settings.aliases("support")["fake"] == "base"
    mine = find_manifest_model(backend_manifest("mine", settings), "plain")
    assert mine is not None and mine.methods == ("sft", "dpo")
    gateway = settings.project.gateway
    assert (gateway.requests_per_minute, gateway.jobs_per_minute) == (1000, 50)
    assert (gateway.failures_per_minute, gateway.endpoint_usd_per_hour) == (30, 2.5)
    assert settings.project.backends["local"].options == {"engine": "tuneport", "executor": "process"}
    assert settings.project.webhooks["team"].secret_env == "TEAM_WEBHOOK_SECRET"


def test_the_gateway_goes_on_with_its_jobs(home: Path, serve: Callable[..., Running]) -> None:
    client = serve(background=False).client()
    job = client.fine_tuning.jobs.retrieve(OF_A_CLIENT)
    assert (job.status, job.fine_tuned_model) == ("succeeded", "ft:support:tuneport::yZL1GzX7")
    assert [each.id for each in client.fine_tuning.jobs.list()] == [OF_A_CLIENT, CANCELLED, SUCCEEDED]
    assert len(list(client.fine_tuning.jobs.list_events(OF_A_CLIENT))) > 5
    headers = {"Idempotency-Key": "k1"}
    again = {"model": "support", "training_file": job.training_file, "metadata": {"a": "b"}}
    assert client.fine_tuning.jobs.create(**again, extra_headers=headers).id == OF_A_CLIENT
