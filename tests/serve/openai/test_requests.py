"""What is refused, and how: OpenAI's envelope, the parameter by name, before anything is started."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.gateways import OLD_MODEL, Running, chats
from tuneport.errors import ModelNotOfferedError
from tuneport.serve.http.body_limits import BodyLimits
from tuneport.serve.naming import route_client_model
from tuneport.settings import Settings

openai = pytest.importorskip("openai", reason="the client of these tests: pip install 'tuneport[openai]'")


@pytest.fixture
def file_id(running: Running, tmp_path: Path) -> str:
    return str(running.client().files.create(file=chats(tmp_path / "c.jsonl"), purpose="fine-tune").id)


@pytest.mark.parametrize(
    ("changes", "param", "code"),
    [
        ({"training_file": "file-none"}, "training_file", "file_not_found"),
        ({"validation_file": "file-none"}, "validation_file", "file_not_found"),
        ({"model": ""}, "model", "invalid_value"),
        ({"colour": "blue"}, "colour", "unknown_parameter"),
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs", "invalid_value"),
        ({"hyperparameters": {"lora_rank": 4}}, "hyperparameters.lora_rank", "unknown_parameter"),
        ({"suffix": "x" * 65}, "suffix", "invalid_value"),
        ({"seed": -1}, "seed", "invalid_value"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k", "invalid_value"),
        ({"metadata": {"k": "\0"}}, "metadata.k", "invalid_value"),
        ({"suffix": "a\0b"}, "suffix", "invalid_value"),
        (
            {"integrations": [{"type": "wandb", "wandb": {"project": "p", "tags": ["\0"]}}]},
            "integrations[0].wandb.tags[0]",
            "invalid_value",
        ),
        ({"metadata": {f"k{n}": "v" for n in range(17)}}, "metadata", "invalid_value"),
        ({"method": {"type": "ppo"}}, "method.type", "invalid_value"),
        ({"method": {"type": "reinforcement"}}, "method", "invalid_value"),
        ({"method": {"type": "supervised", "dpo": {}}}, "method", "invalid_value"),
    ],
)
def test_refused_by_name(running: Running, file_id: str, changes: dict[str, Any], param: str, code: str) -> None:
    body = {"model": OLD_MODEL, "training_file": file_id} | changes
    answer = httpx.post(f"{running.url}/fine_tuning/jobs", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, param, code), error
    assert error["type"] == "invalid_request_error"
    assert running.client().fine_tuning.jobs.list().data == []


def test_weights_that_are_not_here_are_told_before_there_is_a_job(
    running: Running, file_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    body = {"model": "local/llama-3.1-8b-instruct", "training_file": file_id}
    answer = httpx.post(f"{running.url}/fine_tuning/jobs", json=body)
    assert answer.status_code == 400, answer.text
    assert "(about 16.1 GB) are not on this machine" in answer.json()["error"]["message"]
    assert running.client().fine_tuning.jobs.list().data == []


@pytest.mark.parametrize(
    ("name", "told"), [("gpt-4.1-mni", "did you mean gpt-4.1-mini"), ("zzz", "serve --map NAME=BACKEND/MODEL")]
)
def test_a_misspelt_model_gets_the_nearest(name: str, told: str) -> None:
    with pytest.raises(ModelNotOfferedError) as refused:
        route_client_model(name, Settings.load())
    assert told in str(refused.value) and "smollm" not in str(refused.value)


def test_no_json_object(running: Running) -> None:
    for body, kind in (("[]", "application/json"), ("{}", "text/plain")):
        answer = httpx.post(f"{running.url}/fine_tuning/jobs", content=body, headers={"Content-Type": kind})
        error = answer.json()["error"]
        assert answer.status_code == 400 and "Content-Type: application/json" in error["message"], error


@pytest.mark.parametrize("key", ['a"b', "a\\b", "a[b", "\0"])
def test_a_filter_that_would_find_nothing_is_refused(running: Running, key: str) -> None:
    answer = httpx.get(f"{running.url}/fine_tuning/jobs", params={f"metadata[{key}]": "v"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "metadata")


def test_a_model_that_nobody_has(serve: Callable[..., Running], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("TUNEPORT_BACKEND", "local")
    client = serve(background=False).client()
    file = client.files.create(file=chats(tmp_path / "c.jsonl"), purpose="fine-tune")
    with pytest.raises(openai.BadRequestError, match="gpt-4o-mini") as refused:
        client.fine_tuning.jobs.create(model=OLD_MODEL, training_file=file.id)
    assert refused.value.code == "model_not_available" and refused.value.param == "model"


def test_what_is_not_there(running: Running) -> None:
    client = running.client()
    for call in (
        lambda: client.fine_tuning.jobs.retrieve("ftjob-none"),
        lambda: client.fine_tuning.jobs.cancel("ftjob-none"),
        lambda: client.fine_tuning.jobs.list_events("ftjob-none"),
        lambda: client.fine_tuning.jobs.list(after="ftjob-none"),
        lambda: client.files.list(after="file-none"),
        lambda: client.models.delete("ft:none"),
        lambda: client.chat.completions.create(model="ft:none", messages=[{"role": "user", "content": "Hi"}]),
    ):
        with pytest.raises(openai.NotFoundError):
            call()
    answer = httpx.get(f"{running.url}/nothing")
    assert answer.status_code == 404 and "Unknown request URL" in answer.json()["error"]["message"]


def test_the_same_idempotency_key_is_the_same_job(running: Running, file_id: str) -> None:
    client = running.client()
    made = [
        client.fine_tuning.jobs.create(
            model=OLD_MODEL, training_file=file_id, extra_headers={"Idempotency-Key": "one"}
        ).id
        for _ in range(3)
    ]
    assert len(set(made)) == 1 and len(client.fine_tuning.jobs.list().data) == 1
    client.files.delete(file_id)
    again = client.fine_tuning.jobs.create(
        model=OLD_MODEL, training_file=file_id, extra_headers={"Idempotency-Key": "one"}
    )
    assert again.id == made[0], "whatever has become of the file"
    with pytest.raises(openai.ConflictError, match="another request"):
        client.fine_tuning.jobs.create(
            model=OLD_MODEL, training_file=file_id, seed=5, extra_headers={"Idempotency-Key": "one"}
        )


def test_the_same_key_side_by_side_is_the_same_job(running: Running, file_id: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    client = running.client()

    def create(number: int) -> str:
        headers = {"Idempotency-Key": f"key {number % 2}"}
        return str(client.fine_tuning.jobs.create(model=OLD_MODEL, training_file=file_id, extra_headers=headers).id)

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(create, range(16)))
    assert len(set(made)) == 2


def test_other_sites_and_other_names_are_refused(running: Running) -> None:
    for headers in (
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example:8321"},
        {"Origin": "null"},
    ):
        assert httpx.get(f"{running.url}/models", headers=headers).status_code == 403
    assert httpx.get(f"{running.url}/models", headers={"Origin": "http://localhost:3000"}).status_code == 200


def test_a_gateway_that_asks_itself_refuses(
    serve: Callable[..., Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEPORT_BACKEND", "openai")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    running = serve(background=False)
    running.gateway.settings.environment["TUNEPORT_OPENAI_BASE_URL"] = _secret(running.url)
    with pytest.raises(openai.BadRequestError, match="its own backend"):
        running.client().chat.completions.create(model="gpt-4.1-mini", messages=[{"role": "user", "content": "Hi"}])


def _secret(text: str) -> Any:
    from pydantic import SecretStr

    return SecretStr(text)


def test_a_body_without_end_is_refused(serve: Callable[..., Running]) -> None:
    running = serve(background=False, body_limits=BodyLimits(chat=1000))
    answer = httpx.post(f"{running.url}/chat/completions", json={"model": "m", "messages": [{"x": "y" * 2000}]})
    told = {"message": "The body is too large: at most 1,000 bytes.", "type": "invalid_request_error"}
    assert answer.status_code == 413 and answer.json()["error"] == told | {"param": None, "code": None}
    for kind in ("application/json", "multipart/form-data; boundary=B"):
        unstated = httpx.post(
            f"{running.url}/chat/completions", content=iter([b'{"model": "', b"m" * 2000]),
            headers={"Content-Type": kind},
        )  # fmt: skip
        assert unstated.status_code == 413 and unstated.json() == answer.json()


def test_every_answer_has_a_request_id(running: Running) -> None:
    raw = running.client().models.with_raw_response.list()
    assert raw.headers["x-request-id"].startswith("req_")


def test_where_a_name_leads(monkeypatch: pytest.MonkeyPatch, isolated: Path) -> None:
    (isolated / "tuneport.toml").write_text('[models.bot]\ntogether = "llama-3.1-8b-instruct"\n')
    assert route_client_model("bot", Settings.load()).backend is None, "together has no key here"
    monkeypatch.setenv("TOGETHER_API_KEY", "k")
    assert route_client_model("bot", Settings.load()).backend == "together"
    assert route_client_model("local/smollm2-135m-instruct", Settings.load()).backend == "local"
    monkeypatch.setenv("TUNEPORT_BACKEND", "fake")
    assert route_client_model("bot", Settings.load()).backend == "fake"


def test_a_name_is_no_path(running: Running, file_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNEPORT_BACKEND")
    for name in (str(tmp_path), "~", "..", f"local/{tmp_path}", "local/../x"):
        with pytest.raises(ModelNotOfferedError):
            route_client_model(name, Settings.load())
    client = running.client()
    with pytest.raises(openai.BadRequestError, match="no backend offers"):
        client.fine_tuning.jobs.create(model=str(tmp_path), training_file=file_id)


def test_whom_to_ask_is_not_guessed(serve: Callable[..., Running], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", "k")
    client = serve(f"{OLD_MODEL}=llama-3.1-8b-instruct", background=False).client()
    with pytest.raises(openai.BadRequestError, match="together, local|local, together"):
        client.chat.completions.create(model=OLD_MODEL, messages=[{"role": "user", "content": "Hi"}])


def test_many_slow_chats_leave_room_for_the_rest(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from tuneport.serve.openai import chat

    go, begun = threading.Event(), threading.Semaphore(0)

    def slow(gateway: Any, asked: Any) -> dict[str, Any]:
        begun.release()
        assert go.wait(60)
        return {}

    monkeypatch.setattr(chat, "_answer", slow)
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    with ThreadPoolExecutor(chat.MOST_CHATS) as pool:
        asked = [
            pool.submit(httpx.post, f"{running.url}/chat/completions", json=body, timeout=90)
            for _ in range(chat.MOST_CHATS)
        ]
        for _ in asked:
            assert begun.acquire(timeout=60)
        assert httpx.get(f"{running.url}/files").status_code == 200
        assert httpx.post(f"{running.url}/chat/completions", json=body).status_code == 429
        go.set()
        assert {one.result().status_code for one in asked} == {200}
