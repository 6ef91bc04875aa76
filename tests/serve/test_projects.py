"""Two projects on one gateway: what is one's does not exist for the other, on any route."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the gateway is an extra: pip install 'tuneport[serve]'")
openai = pytest.importorskip("openai", reason="the client of these tests: pip install 'tuneport[openai]'")

import httpx  # noqa: E402
from fastapi.testclient import TestClient  # noqa: E402

from tests.support.gateways import SOON, Running, chats, ended, serving  # noqa: E402
from tests.support.waiting import until  # noqa: E402
from tuneport.backends import backend_manifest  # noqa: E402
from tuneport.lifecycle.store.store import NoScopeError, Store, UnknownJobError  # noqa: E402
from tuneport.serve import Gateway, create_app  # noqa: E402
from tuneport.serve.native import models as native_models  # noqa: E402
from tuneport.settings import Settings  # noqa: E402
from tuneport.types import (  # noqa: E402
    Deployment,  # noqa: E402
    JobEvent,
    Progress,
    RemoteFile,
    now,
)

MARK = "ours-alone"


@dataclass
class Two:
    running: Running
    secrets: dict[str, str]
    file: str
    job: str
    model: str
    upload: str

    def sdk(self, name: str, **options: Any) -> Any:
        return openai.OpenAI(base_url=self.running.url, api_key=self.secrets[name], max_retries=0, **options)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    """A job of the project `ours` that has ended, and tokens of two projects."""
    folder = tmp_path_factory.mktemp("two")
    environment = {"TUNEPORT_HOME": str(folder / "home"), "TUNEPORT_BACKEND": "fake", "HF_HUB_OFFLINE": "1"}
    gateway = Gateway(Settings.load(folder, environment), timing=SOON)
    secrets = {
        "ours": gateway.unscoped.store.tokens.add("ours", scope="admin", project="ours")[1],
        "theirs": gateway.unscoped.store.tokens.add("theirs", scope="admin", project="theirs")[1],
        "all": gateway.unscoped.store.tokens.add("all", scope="admin")[1],
    }
    with serving(gateway) as running:
        made = Two(running, secrets, "", "", "", "")
        ours = made.sdk("ours")
        path = chats(folder / f"{MARK}.jsonl")
        made.file = ours.files.create(file=path, purpose="fine-tune").id
        made.upload = ours.uploads.create(
            filename=f"{MARK}.jsonl", bytes=10, purpose="fine-tune", mime_type="application/jsonl"
        ).id
        job = ours.fine_tuning.jobs.create(
            model="m", training_file=made.file, suffix=MARK, metadata={"mark": MARK},
            extra_headers={"Idempotency-Key": "one"},
        )  # fmt: skip
        done = ended(ours, job.id)
        assert done.status == "succeeded"
        until(lambda: ours.fine_tuning.jobs.retrieve(job.id).result_files)
        made.job, made.model = job.id, done.fine_tuned_model
        yield made


def test_lists_leave_out_what_is_another_projects(two: Two) -> None:
    ours, theirs = two.sdk("ours"), two.sdk("theirs")
    assert [job.id for job in ours.fine_tuning.jobs.list()] == [two.job]
    assert {file.filename for file in ours.files.list()} == {f"{MARK}.jsonl", "step_metrics.csv"}
    assert two.model in {model.id for model in ours.models.list()}
    assert list(theirs.fine_tuning.jobs.list()) == [] and list(theirs.files.list()) == []
    assert two.model not in {model.id for model in theirs.models.list()}


def test_every_route_answers_as_for_an_id_that_there_never_was(two: Two) -> None:
    """All that the gateway's own document lists, with the ids of the other project: the answers hold none of its
    data, and change nothing."""
    document = create_app(two.running.gateway).openapi()
    ids = {
        "file_id": two.file,
        "upload_id": two.upload,
        "fine_tuning_job_id": two.job,
        "job_id": two.job,
        "model": two.model,
    }
    bodies: dict[str, Any] = {
        "/v1/fine_tuning/jobs": {"model": "m", "training_file": two.file},
        "/v1/uploads/{upload_id}/complete": {"part_ids": ["part_1"]},
        "/v1/chat/completions": {"model": two.model, "messages": [{"role": "user", "content": "Hi"}]},
    }
    headers = {"Authorization": f"Bearer {two.secrets['theirs']}"}
    address = two.running.url.removesuffix("/v1")
    tried = 0
    for path, methods in document["paths"].items():
        if path.startswith(("/healthz", "/readyz", "/metrics")):
            continue
        concrete = path
        for name in [part.partition("}")[0] for part in path.split("{")[1:]]:
            concrete = concrete.replace("{" + name + "}", ids.get(name, two.job))
        for method in methods:
            asked = httpx.stream(method, f"{address}{concrete}", headers=headers, json=bodies.get(path), timeout=60)
            with asked as told:
                # A stream has no end; what it begins with is all that there is.
                live = told.headers.get("content-type", "").startswith("text/event-stream")
                text = next(told.iter_text()) if live else told.read().decode()
            tried += 1
            assert MARK not in text.replace(two.model, ""), (method, path)
            if concrete != path:
                assert told.status_code == 404, (method, path, text)
    assert tried >= 20
    ours = two.sdk("ours")
    assert ours.files.retrieve(two.file).id == two.file and ours.models.retrieve(two.model).id == two.model


@pytest.mark.parametrize("form", ["{model}", "fake/{remote}", "{remote}", "{model}:ckpt-step-1", "fake/{model}"])
def test_another_projects_model_is_out_of_reach_by_any_of_its_names(two: Two, form: str) -> None:
    row = two.running.gateway.unscoped.store.jobs.get(two.job)
    assert row.tuned_model is not None
    name = form.format(model=two.model, remote=row.tuned_model)
    theirs = two.sdk("theirs")
    data = theirs.files.create(file=(f"{MARK}.jsonl", b"x\n"), purpose="fine-tune")
    with pytest.raises(openai.NotFoundError):
        theirs.models.retrieve(name)
    with pytest.raises((openai.NotFoundError, openai.BadRequestError)):
        theirs.chat.completions.create(model=name, messages=[{"role": "user", "content": "Hi"}])
    with pytest.raises(openai.BadRequestError):
        theirs.fine_tuning.jobs.create(model=name, training_file=data.id)
    assert theirs.files.delete(data.id).deleted


def test_another_projects_endpoints_are_not_told_of(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """They lie in one account at the provider. The gateway lists them with a project's own models, and stops none."""
    gateway = two.running.gateway
    row = gateway.unscoped.store.jobs.get(two.job)
    up = Deployment(id="endpoint-of-ours", model=str(row.tuned_model), status="ready", raw_status="UP")
    monkeypatch.setattr(type(gateway.unscoped.backend("fake")), "deployments", lambda self: [up])
    notice = backend_manifest("azure", gateway.settings).deployment
    needing = backend_manifest("fake", gateway.settings).model_copy(update={"deployment": notice})
    known = native_models.backend_manifest
    monkeypatch.setattr(
        native_models, "backend_manifest", lambda name, of: needing if name == "fake" else known(name, of)
    )
    address = f"{two.running.url.removesuffix('/v1')}/tuneport/v1/models"

    def told(name: str, **headers: str) -> str:
        headers = {"Authorization": f"Bearer {two.secrets[name]}"} | headers
        return httpx.get(address, params={"endpoints": "true"}, headers=headers).text

    assert "endpoint-of-ours" in told("ours") and "endpoint-of-ours" in told("all", **{"OpenAI-Project": "ours"})
    for asker in ("theirs", "all"):
        assert "endpoint-of-ours" not in told(asker) and two.model not in told(asker)


def test_the_same_idempotency_key_of_two_projects_is_no_clash(two: Two, tmp_path: Path) -> None:
    theirs = two.sdk("theirs")
    file = theirs.files.create(file=chats(tmp_path / "t.jsonl"), purpose="fine-tune")
    given = {"model": "m", "training_file": file.id, "extra_headers": {"Idempotency-Key": "one"}}
    job = theirs.fine_tuning.jobs.create(**given)
    assert job.id != two.job and theirs.fine_tuning.jobs.create(**given).id == job.id
    theirs.fine_tuning.jobs.cancel(job.id) if ended(theirs, job.id) is None else None
    row = two.running.gateway.unscoped.store.jobs.get(job.id)
    assert row.project == "theirs", "the job made of the request is its project's"
    two.running.gateway.unscoped.store.scoped("theirs").uploaded.remove(file.id)


def test_a_content_that_two_projects_have_stays_as_long_as_one_has_it(two: Two) -> None:
    content = two.sdk("ours").files.content(two.file).content
    theirs = two.sdk("theirs")
    same = theirs.files.create(file=("mine.jsonl", content), purpose="fine-tune")
    assert theirs.files.delete(same.id).deleted
    assert two.sdk("ours").files.content(two.file).content == content


def test_a_thread_that_forgets_its_request_sees_nothing_rather_than_everything(two: Two) -> None:
    gateway = two.running.gateway
    app, told = create_app(gateway), list[object]()

    def look() -> None:
        for ask in (lambda: gateway.store.jobs.all(), lambda: gateway.workspace):
            try:
                told.append(ask())
            except NoScopeError as error:
                told.append(error)

    @app.get("/tuneport/v1/forgetful")
    def forgetful() -> list[str]:
        """A route that is written later, by somebody who thinks of no projects."""
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        return [row.id for row in gateway.store.jobs.all()]

    client = TestClient(app, base_url="http://127.0.0.1")
    for name, seen in (("ours", {two.job}), ("theirs", set())):
        answer = client.get("/tuneport/v1/forgetful", headers={"Authorization": f"Bearer {two.secrets[name]}"})
        assert seen <= set(answer.json()) and (name == "ours" or two.job not in answer.json())
    assert len(told) == 4 and all(isinstance(each, NoScopeError) for each in told), told


def test_a_store_shows_nothing_until_it_is_said_whose(two: Two) -> None:
    opened = Store(two.running.gateway.settings.database_url)
    event = JobEvent(id="told", created_at=now(), message="told")
    file = RemoteFile(id="file-1", purpose="training", sha256="0" * 64, filename="tuneport-1.jsonl", bytes=1)
    asked = (
        opened.jobs.all, lambda: opened.jobs.get(two.job), lambda: opened.jobs.by_ids([two.job]),
        lambda: opened.jobs.request_cancel(two.job), lambda: opened.listing.get(two.job),
        lambda: opened.listing.page(limit=1), lambda: opened.requests.get(two.job),
        lambda: opened.requests.find_by_idempotency_key("one"), lambda: opened.requests.cancel(two.job),
        lambda: opened.uploaded.get(two.file), lambda: opened.uploaded.remove(two.file),
        lambda: opened.uploads.get(two.upload), lambda: opened.uploads.cancel(two.upload),
        lambda: opened.snapshots.read_snapshots([two.job]), lambda: opened.models.find_job(two.model),
        opened.models.list_tuned_models, lambda: opened.events.list_job_events(two.job),
        lambda: opened.events.list_newest_events(two.job, before=None, limit=1),
        lambda: opened.events.read_job_progress(two.job), lambda: opened.events.last_backend_id(two.job),
        lambda: opened.events.add(two.job, [event]), lambda: opened.events.mark_stored(two.job),
        lambda: opened.events.list_due_jobs("fake"), lambda: opened.files.list_job_files(two.job),
        lambda: opened.files.add(two.job, file), opened.files.list_all_files, opened.files.list_backends,
        lambda: opened.files.list_files_to_delete("fake"), lambda: opened.files.claim_deletion("fake", "file-1"),
        lambda: opened.files.is_being_deleted("fake", "file-1"), lambda: opened.files.mark_deleted("fake", "file-1"),
    )  # fmt: skip
    for ask in asked:
        with pytest.raises(NoScopeError):
            ask()
    theirs, ours = opened.scoped("theirs"), opened.scoped("ours")
    assert ours.jobs.by_ids([two.job]) and not theirs.jobs.by_ids([two.job])
    assert ours.snapshots.read_snapshots([two.job]) and not theirs.snapshots.read_snapshots([two.job])
    assert two.job in {row.id for row in opened.unscoped().jobs.all()}
    assert ours.events.list_job_events(two.job) and not theirs.events.list_job_events(two.job)
    assert ours.events.list_newest_events(two.job, before=None, limit=1)
    assert not theirs.events.list_newest_events(two.job, before=None, limit=1)
    assert ours.events.last_backend_id(two.job) and theirs.events.last_backend_id(two.job) is None
    assert theirs.events.read_job_progress(two.job) == Progress()
    for write in (lambda: theirs.events.add(two.job, [event]), lambda: theirs.files.add(two.job, file)):
        with pytest.raises(UnknownJobError):
            write()
    assert ours.files.list_job_files(two.job) and not theirs.files.list_job_files(two.job)
    assert two.job in {each.job_id for each in ours.files.list_all_files()}
    assert two.job not in {each.job_id for each in theirs.files.list_all_files()}
    assert ours.files.list_backends() == ["fake"] and not opened.scoped("nobody").files.list_backends()
    for housekeeping in (
        lambda: ours.files.claim_deletion("fake", "file-1"),
        lambda: ours.files.mark_deleted("fake", "file-1"),
        lambda: ours.events.list_due_jobs("fake"),
    ):
        with pytest.raises(NoScopeError, match="all projects"):
            housekeeping()
    opened.close()


def test_which_project_an_administrator_asks_for(two: Two) -> None:
    everywhere = two.sdk("all")
    assert list(everywhere.fine_tuning.jobs.list()) == [], "the default project's"
    assert [job.id for job in two.sdk("all", project="ours").fine_tuning.jobs.list()] == [two.job]
    assert two.sdk("ours", project="ours").fine_tuning.jobs.retrieve(two.job).id == two.job
    with pytest.raises(openai.AuthenticationError) as refused:
        two.sdk("theirs", project="ours").fine_tuning.jobs.list()
    assert refused.value.code == "mismatched_project"
    for name in ("..", "a b", "x" * 65):
        with pytest.raises(openai.AuthenticationError):
            two.sdk("all", project=name).files.list()


def test_what_was_done_and_what_it_cost_is_written_down(two: Two) -> None:
    def entries(name: str, **asked: Any) -> list[dict[str, Any]]:
        headers = {"Authorization": f"Bearer {two.secrets[name]}"}
        told = httpx.get(f"{two.running.url.removesuffix('/v1')}/tuneport/v1/audit", params=asked, headers=headers)
        return list(told.json()["data"])

    mine = [entry for entry in entries("ours", limit=1000) if entry["subject"] in (two.job, two.file)]
    assert [entry["action"] for entry in mine[::-1]] == ["file.create", "job.create", "job.reserve", "job.end"]
    created, ended_ = mine[-2], mine[0]
    assert created["name"] == "ours" and created["address"] == "127.0.0.1"
    assert created["request_id"].startswith("req_") and two.secrets["ours"].split("-")[1] == created["token_id"]
    assert (
        ended_["name"] == "tuneport" and ended_["usd"] == two.running.gateway.unscoped.store.jobs.get(two.job).cost_usd
    )
    assert {entry["project"] for entry in entries("ours")} == {"ours"}
    assert {entry["project"] for entry in entries("theirs", project="ours")} == {"theirs"}
    assert {"ours", "theirs", "default"} <= {entry["project"] for entry in entries("all", limit=1000)}

    paged, after = [], None
    while page := entries("all", limit=3, **({} if after is None else {"after": after})):
        paged += page
        after = page[-1]["id"]
    assert [entry["id"] for entry in paged] == [entry["id"] for entry in entries("all", limit=1000)]
    text = json.dumps(paged)
    assert not any(secret in text for secret in two.secrets.values()) and MARK not in text
