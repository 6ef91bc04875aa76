"""Two gateways on one PostgreSQL: jobs through both, each once; one dies in the middle and the other goes on."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import fsspec
import pytest
from sqlalchemy import create_engine, event

from tests.support.fleet import ENDED, Fleet, complaints, dataset, emulator
from tests.support.waiting import until
from tests.support.workspaces import write_chats
from tuneport.lifecycle.service import JobService
from tuneport.lifecycle.store.requests import JobRequestClaim
from tuneport.settings import Settings
from tuneport.types import TuneSpec

pytest.importorskip("fastapi", reason="the gateway is an extra: pip install 'tuneport[serve]'")
pytest.importorskip("openai", reason="the backend of these tests: pip install 'tuneport[openai]'")
pytestmark = pytest.mark.full


@pytest.fixture
def database(postgres: str) -> str:
    """Without a table, on the same server."""
    address, name = postgres.rpartition("/")[0], f"fleet_{os.urandom(4).hex()}"
    with create_engine(postgres, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    return f"{address}/{name}"


@pytest.mark.parametrize("apart", [False, True], ids=["one home", "homes of their own and a bucket"])
def test_one_is_killed_and_the_other_finishes_its_jobs(
    tmp_path: Path, database: str, apart: bool, request: pytest.FixtureRequest
) -> None:
    files_url = None
    if apart:
        request.getfixturevalue("at_s3")(request.getfixturevalue("s3"))
        fsspec.filesystem("s3").mkdir("fleet")
        files_url = "s3://fleet/of/two"
    with (
        emulator(pace=1.5) as provider,
        Fleet(tmp_path, provider.base_url, database=database, files_url=files_url) as fleet,
    ):
        for place in (0, 1):
            fleet.start(place)
        for place in (0, 1):
            fleet.ready(place)
        files = {number: fleet.upload(number, place=number % 2) for number in range(8)}
        # What was uploaded at one is used at the other.
        jobs = {number: fleet.create(number, file_id, place=1 - number % 2) for number, file_id in files.items()}
        assert jobs[3] == fleet.create(3, files[3], place=1), "the same key gives the same job, wherever it is sent"
        assert fleet.listed(place=0) == fleet.listed(place=1) == list(jobs.values())[::-1]
        content = fleet.http.get(fleet.url(1, f"/v1/files/{files[0]}/content")).content
        assert hashlib.sha256(content).digest() == hashlib.sha256(dataset(0)).digest()

        until(lambda: provider.jobs_created >= 2, told=fleet.log)
        cancelled = jobs[7]  # created at 0, cancelled at 1
        fleet.ask("POST", f"/v1/fine_tuning/jobs/{cancelled}/cancel", place=1)
        fleet.kill(0)
        with pytest.raises(AssertionError):
            fleet.ready(0, patience=0.5)

        def ended() -> bool:
            return all(fleet.status(job_id, place=1) in ENDED for job_id in jobs.values())

        began = time.monotonic()
        until(ended, told=fleet.log)
        states = {number: fleet.status(job_id, place=1) for number, job_id in jobs.items()}
        print(f"all ended {time.monotonic() - began:.0f} s after the kill: {states}")
        assert states.pop(7) == "cancelled" and set(states.values()) == {"succeeded"}
        if 7 not in {int((job.metadata or {})["number"]) for job in provider.jobs.values()}:
            jobs.pop(7)  # cancelled before it was one over there
            assert provider.jobs_created == 7
        else:
            until(lambda: complaints(fleet, provider, jobs, place=1) == [])
            return
        assert provider.jobs_created == 7 and sorted({job.metadata["number"] for job in provider.jobs.values()}) == [  # type: ignore[index]
            str(number) for number in range(7)
        ]


@pytest.mark.parametrize("before", [1, 2, 3])
def test_a_request_that_becomes_a_job_while_it_is_listed_is_listed_once(
    tmp_path: Path, database: str, before: int
) -> None:
    """PostgreSQL shows each statement what others have committed meanwhile."""
    variables = {"TUNEPORT_DATABASE_URL": database, "TUNEPORT_HOME": str(tmp_path / "home")}
    settings = Settings.load(tmp_path, variables)
    statements = 0

    with JobService(settings) as workspace:
        store = workspace.store
        store.requests.add("ftjob-1", {"model": "m"}, backend="fake", tuned_model="ft:m", key=None)
        request = store.requests.claim_oldest("me")
        assert request is not None
        claim = JobRequestClaim(request.id, "me", request.created_at)
        spec = TuneSpec(model="base", dataset=write_chats(tmp_path / "chats.jsonl"))

        def becomes_a_job(*_: object) -> None:
            nonlocal statements
            statements += 1
            if statements == before:
                workspace.submit(spec, backend="fake", claim=claim)

        event.listen(store.database.engine, "before_cursor_execute", becomes_a_job)
        try:
            found, more = store.listing.page(limit=20)
        finally:
            event.remove(store.database.engine, "before_cursor_execute", becomes_a_job)
    assert statements > 3 and ([each.id for each in found], more) == ([request.id], False)
