"""The gateway before a provider of the bench: the same Idempotency-Key is one job, there and at the provider."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.money.__main__ import open_server
from tests.faults.money.account import Account, Knobs
from tests.faults.money.play import MODELS, prepare

BOUNDARY = "bench-of-paid-jobs"


@contextmanager
def gateway(folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """`tuneport serve` as a process; its address."""
    errors = folder / "serve.err"
    with errors.open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "tuneport.cli.main", "serve", "--port", "0"],
            cwd=folder, env=environment | {"TUNEPORT_BACKEND": "openai"}, stdout=err, stderr=err,
        )  # fmt: skip
    try:
        until = time.monotonic() + 60
        while not (found := re.search(r"http://127\.0\.0\.1:\d+", errors.read_text())):
            assert process.poll() is None and time.monotonic() < until, errors.read_text()
            time.sleep(0.1)
        yield found[0]
    finally:
        process.terminate()
        process.wait(30)


def ask(address: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(address, body, {"Authorization": "Bearer none", **headers})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def upload(address: str, content: bytes) -> str:
    head = 'Content-Disposition: form-data; name="file"; filename="train.jsonl"\r\n\r\n'
    purpose = 'Content-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
    body = f"--{BOUNDARY}\r\n{purpose}--{BOUNDARY}\r\n{head}".encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    status, file = ask(f"{address}/v1/files", body, kind)
    assert status == 200, file
    return str(file["id"])


@pytest.mark.full
def test_a_key_sent_again_is_one_job_at_the_gateway_and_at_the_provider(tmp_path: Path) -> None:
    server = open_server()
    account = Account("gateway", 1, Knobs(answers=("reset",), lag=1.0), phase=1)
    environment = prepare(tmp_path / "gateway", "openai", server.open("openai", account), settle=3.0)
    environment |= {name: os.environ[name] for name in ("VIRTUAL_ENV",) if name in os.environ}
    with gateway(tmp_path / "gateway", environment) as address:
        file = upload(address, (tmp_path / "gateway" / "train.jsonl").read_bytes())

        def create(key: str, **more: Any) -> tuple[int, dict[str, Any]]:
            body = json.dumps({"model": MODELS["openai"], "training_file": file, **more}).encode()
            headers = {"Content-Type": "application/json", "Idempotency-Key": key}
            return ask(f"{address}/v1/fine_tuning/jobs", body, headers)

        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: create("one"), range(4)))
        assert {status for status, _ in answers} == {200}, answers
        assert len({job["id"] for _, job in answers}) == 1
        assert create("one", seed=5)[0] == 409
        job = f"{address}/v1/fine_tuning/jobs/{answers[0][1]['id']}"
        until = time.monotonic() + 60
        while ask(job, None, {})[1]["status"] != "succeeded" and time.monotonic() < until:
            time.sleep(0.5)
        assert ask(job, None, {})[1]["status"] == "succeeded"
        assert create("one")[1]["id"] == answers[0][1]["id"]
    server.close()
    assert len(account.ours()) == 1
    assert [create.key is not None for create in account.creates] == [True]
