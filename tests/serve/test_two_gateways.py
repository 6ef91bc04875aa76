"""Two gateways on one PostgreSQL: jobs through both, each once; one dies in the middle and the other goes on."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import fsspec
import pytest
from sqlalchemy import create_engine

from tests.jobs.conftest import postgres  # noqa: F401
from tests.serve.fleet import ENDED, Fleet, complaints, dataset, emulator, wait_until
from tests.serve.s3 import at_s3, s3  # noqa: F401

pytest.importorskip("fastapi", reason="the gateway is an extra: pip install 'tuneport[serve]'")
pytest.importorskip("openai", reason="the backend of these tests: pip install 'tuneport[openai]'")
pytestmark = pytest.mark.full


@pytest.fixture
def database(postgres: str) -> str:  # noqa: F811
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

        wait_until(lambda: provider.jobs_created >= 2, patience=60, told=fleet.log)
        cancelled = jobs[7]  # created at 0, cancelled at 1
        fleet.ask("POST", f"/v1/fine_tuning/jobs/{cancelled}/cancel", place=1)
        fleet.kill(0)
        with pytest.raises(AssertionError):
            fleet.ready(0, patience=0.5)

        def ended() -> bool:
            return all(fleet.status(job_id, place=1) in ENDED for job_id in jobs.values())

        began = time.monotonic()
        wait_until(ended, patience=240, told=fleet.log)
        states = {number: fleet.status(job_id, place=1) for number, job_id in jobs.items()}
        print(f"all ended {time.monotonic() - began:.0f} s after the kill: {states}")
        assert states.pop(7) == "cancelled" and set(states.values()) == {"succeeded"}
        if 7 not in {int((job.metadata or {})["number"]) for job in provider.jobs.values()}:
            jobs.pop(7)  # cancelled before it was one over there
            assert provider.jobs_created == 7
        else:
            wait_until(lambda: complaints(fleet, provider, jobs, place=1) == [], patience=60,
                       told=lambda: complaints(fleet, provider, jobs, place=1))  # fmt: skip
            return
        assert provider.jobs_created == 7 and sorted({job.metadata["number"] for job in provider.jobs.values()}) == [  # type: ignore[index]
            str(number) for number in range(7)
        ]
