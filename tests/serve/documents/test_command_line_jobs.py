"""Jobs of the command line in the hands of OpenAI's clients: listed, watched, asked and deleted like theirs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tuneport
from tests.support.gateways import OLD_MODEL, Running, chats, ended
from tuneport.serve import AccessRules

openai = pytest.importorskip("openai", reason="the client of these tests: pip install 'tuneport[openai]'")


def submitted(run: Any, data: Path) -> str:
    code, told, errors = run("submit", "--yes", "--anyway", str(data), "-m", "stand-in", "-b", "fake", "--json")
    assert code == 0, errors
    return str(told["id"])


def test_they_are_among_those_of_clients(
    serve: Callable[..., Running],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run: Any,
) -> None:
    monkeypatch.setenv("TUNEPORT_BACKEND", "fake")
    running = serve(f"{OLD_MODEL}=stand-in")
    client, data = running.client(), chats(tmp_path / "mine.jsonl")
    wishes: dict[str, Any] = {"hyperparameters": {"epochs": 2}, "suffix": "s", "seed": 4, "metadata": {"team": "blue"}}
    ours = tuneport.submit(data, model="stand-in", backend="fake", confirm=False, anyway=True, **wishes).id
    file = client.files.create(file=data, purpose="fine-tune")
    theirs = client.fine_tuning.jobs.create(model=OLD_MODEL, training_file=file.id, metadata={"team": "red"}).id
    plain = submitted(run, chats(tmp_path / "other.jsonl", 11))

    paged = [job.id for job in client.fine_tuning.jobs.list(limit=1)]
    assert paged == [plain, theirs, ours] and paged == [job.id for job in client.fine_tuning.jobs.list()]
    assert [job.id for job in client.fine_tuning.jobs.list(metadata={"team": "blue"})] == [ours]
    assert [job.id for job in client.fine_tuning.jobs.list(extra_query={"metadata": "null"})] == [plain]
    assert [job.id for job in client.fine_tuning.jobs.list(after=theirs)] == [ours]

    job = ended(client, ours)
    assert (job.status, job.model, job.seed, job.metadata) == ("succeeded", "stand-in", 4, {"team": "blue"})
    assert (job.hyperparameters.n_epochs, job.user_provided_suffix) == (2, "s")
    assert job.training_file == "mine.jsonl" and job.result_files == []
    told = [event.message for event in client.fine_tuning.jobs.list_events(ours, limit=100)]
    assert told[-2:] == ["Validating training file: mine.jsonl", f"Created fine-tuning job: {ours}"] and len(told) > 3
    assert client.fine_tuning.jobs.checkpoints.list(ours).object == "list"
    stored = Path(running.gateway.unscoped.store.jobs.get(ours).prepared["training"]["path"])
    again = client.files.create(file=("same.jsonl", stored.read_bytes()), purpose="fine-tune")
    assert client.fine_tuning.jobs.retrieve(ours).training_file == again.id, "once there is a file of that content"

    assert job.fine_tuned_model in {model.id for model in client.models.list()}
    question = [{"role": "user", "content": "Hi"}]
    assert client.chat.completions.create(model=job.fine_tuned_model, messages=question).choices
    further = client.fine_tuning.jobs.create(model=job.fine_tuned_model, training_file=file.id)
    assert ended(client, further.id).status == "succeeded"
    assert (
        running.gateway.unscoped.store.jobs.get(further.id).spec["from_checkpoint"]
        == running.gateway.unscoped.store.jobs.get(ours).remote_id
    )
    with pytest.raises(openai.BadRequestError, match="already completed"):
        client.fine_tuning.jobs.cancel(ours)
    assert client.models.delete(job.fine_tuned_model).deleted
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model=job.fine_tuned_model, messages=question)

    conformance = pytest.importorskip("tests.support.conformance", reason="needs jsonschema and PyYAML")
    document = conformance.specification("openai")
    if document is None:
        pytest.skip("the published document is not here (TUNEPORT_SPECS)")
    assert [told for exchange in running.exchanges for told in document.complaints(exchange)] == []


def test_they_are_the_default_project_s(
    serve: Callable[..., Running],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run: Any,
) -> None:
    monkeypatch.setenv("TUNEPORT_BACKEND", "fake")
    running = serve(background=False, access=AccessRules(require_token=True))
    job = submitted(run, chats(tmp_path / "mine.jsonl"))
    clients = {
        project: openai.OpenAI(
            base_url=running.url, max_retries=0,
            api_key=running.gateway.unscoped.store.tokens.add(project, scope="submit", project=project)[1],
        )
        for project in ("default", "other")
    }  # fmt: skip
    assert [each.id for each in clients["default"].fine_tuning.jobs.list()] == [job]
    assert list(clients["other"].fine_tuning.jobs.list()) == []
    for call in ("retrieve", "cancel", "pause", "list_events"):
        with pytest.raises(openai.NotFoundError):
            getattr(clients["other"].fine_tuning.jobs, call)(job)
    assert clients["default"].fine_tuning.jobs.cancel(job).id == job
