"""Uploaded files: deleted when their job is done and nobody else needs them, and never forgotten by a crash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.emulated import LeadTo
from tests.support.workspaces import write_chats
from tuneport.backends.local.backend import LocalBackend
from tuneport.errors import ConfigError
from tuneport.lifecycle.schema.tables import JobRow
from tuneport.lifecycle.service import JobService
from tuneport.lifecycle.submitting.options import JobOptions
from tuneport.settings import ProjectFile, Settings
from tuneport.testing.emulators import OpenAIEmulator, TogetherEmulator
from tuneport.types import TuneSpec

MODEL = "gpt-4.1-mini-2025-04-14"


@pytest.fixture
def openai(lead_to: LeadTo) -> OpenAIEmulator:
    return lead_to(OpenAIEmulator(pace=0.02))


@pytest.fixture
def submit(hosted: JobService, isolated: Path) -> Callable[..., str]:
    dataset = write_chats(isolated / "train.jsonl")

    def add(delete_files: bool | None = True, **values: object) -> str:
        spec = TuneSpec.model_validate({"model": MODEL, "dataset": dataset} | values)
        return hosted.submit(spec, backend="openai", delete_files=delete_files).id

    return add


def uploads(openai: OpenAIEmulator) -> list[str]:
    return [file["filename"] for file in openai.files.values() if file["purpose"] == "fine-tune"]


def finish(workspace: JobService, job_id: str) -> str:
    return workspace.drive(job_id, poll_seconds=0.02).status


def test_a_done_job_leaves_no_file_if_that_was_wished(
    hosted: JobService, openai: OpenAIEmulator, submit: Callable[..., str], isolated: Path
) -> None:
    validation = write_chats(isolated / "validation.jsonl", rows=11)
    job_id = submit(validation=validation)
    assert finish(hosted, job_id) == "succeeded"
    assert uploads(openai) == []
    told = [event.message for _, event in hosted.events(job_id) if event.message.startswith("Deleted")]
    assert len(told) == 2
    assert [file["purpose"] for file in openai.files.values()] == ["fine-tune-results"], "what is not ours stays"
    kept = submit(delete_files=False)
    assert finish(hosted, kept) == "succeeded" and len(uploads(openai)) == 1


def test_the_default_is_in_the_projects_file(hosted: JobService, submit: Callable[..., str]) -> None:
    project = ProjectFile.model_validate({"delete_files": True, "backends": {"together": {"delete_files": False}}})
    settings = hosted.settings.model_copy(update={"project": project})
    assert settings.delete_files("openai") and not settings.delete_files("together")
    hosted.settings = settings
    assert hosted.job(submit(delete_files=None)).delete_files
    assert not hosted.job(submit(delete_files=False)).delete_files


def test_a_file_that_another_unfinished_job_needs_stays_until_that_has_ended(
    hosted: JobService, openai: OpenAIEmulator, submit: Callable[..., str]
) -> None:
    first, second = submit(), submit(delete_files=False)  # the second has a row, and has uploaded nothing yet
    assert finish(hosted, first) == "succeeded"
    assert len(uploads(openai)) == 1
    assert finish(hosted, second) == "succeeded"
    assert uploads(openai) == []
    assert openai.jobs_created == 2


def test_a_file_that_a_job_of_another_store_needs_stays(
    hosted: JobService, openai: OpenAIEmulator, submit: Callable[..., str], isolated: Path
) -> None:
    job_id = submit()
    hosted.start(job_id)
    (file,) = hosted.store.files.list_job_files(job_id)
    openai.next_job(pace=3600)
    other = hosted.backend("openai").client.fine_tuning.jobs.create(model=MODEL, training_file=file.id)
    assert finish(hosted, job_id) == "succeeded"
    assert len(uploads(openai)) == 1
    hosted.backend("openai").cancel(other.id)
    hosted.remote_files.delete_unneeded_files("openai")
    assert uploads(openai) == []


def test_the_copy_on_this_machine_stays_while_a_job_elsewhere_is_still_to_upload_it(
    hosted: JobService, openai: OpenAIEmulator, submit: Callable[..., str]
) -> None:
    """The local backend's file and the prepared one are the same file."""
    elsewhere = submit(delete_files=False)
    row = hosted.job(elsewhere)
    local = hosted.backend("local")
    assert isinstance(local, LocalBackend)
    ended = hosted.store.jobs.add(
        row.tune_spec,
        row.prepared_data,
        backend="local",
        model=MODEL,
        quote=None,
        options=JobOptions(delete_files=True),
    )
    file = local.files.add(row.prepared_data.training, "training")
    hosted.store.files.add(ended.id, file)
    hosted.store.schedule.record_many({ended.id: {"status": "succeeded", "due_at": None}})
    for remove in (
        lambda: hosted.remote_files.delete_unneeded_files("local"),
        lambda: _delete(hosted, file.id, file.filename),
    ):
        remove()
        assert row.prepared_data.training.path.is_file()
    hosted.start(elsewhere)
    assert (
        hosted.remote_files.delete_unneeded_files("local") == [file.id] and not row.prepared_data.training.path.exists()
    )


def _delete(workspace: JobService, file_id: str, filename: str) -> None:
    with pytest.raises(ConfigError, match="has not ended"):
        workspace.remote_files.delete_file("local", file_id, filename)


@pytest.mark.parametrize("kind", ["drop", "drop_after_accept"])
def test_a_lost_answer_forgets_no_file(
    hosted: JobService, openai: OpenAIEmulator, submit: Callable[..., str], kind: str
) -> None:
    job_id = submit()
    openai.fail(kind, method="DELETE", path="/files/{id}", times=None)  # type: ignore[arg-type]
    hosted.backend("openai")._sleep = lambda seconds: None  # type: ignore[attr-defined]
    assert finish(hosted, job_id) == "succeeded", "the job's end is the job's; its files are another matter"
    assert any("is not deleted at openai yet" in event.message for _, event in hosted.events(job_id))
    openai.clear_faults()
    hosted.remote_files.delete_unneeded_files("openai")
    assert uploads(openai) == [] and hosted.store.files.list_files_to_delete("openai") == []


KILLED = textwrap.dedent("""
    import os, signal, sys
    from tuneport.backends.openai.backend import OpenAIBackend
    from tuneport.lifecycle.service import JobService

    original = OpenAIBackend.delete_file

    def dies(self, file_id):
        if sys.argv[2] == "after":
            original(self, file_id)
        os.kill(os.getpid(), signal.SIGKILL)

    OpenAIBackend.delete_file = dies
    JobService().drive(sys.argv[1], poll_seconds=0.02)
""")


@pytest.mark.parametrize("where", ["before", "after"])
def test_killed_while_deleting_the_next_one_deletes(
    hosted: JobService, openai: OpenAIEmulator, submit: Callable[..., str], where: str
) -> None:
    job_id = submit()
    done = subprocess.run([sys.executable, "-c", KILLED, job_id, where], env=os.environ.copy(), timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert hosted.job(job_id).status == "succeeded"
    assert hosted.worker.step(job_id).status == "succeeded"
    assert uploads(openai) == [] and hosted.store.files.list_files_to_delete("openai") == []


def test_a_file_that_is_being_deleted_is_uploaded_anew(
    hosted: JobService, openai: OpenAIEmulator, submit: Callable[..., str]
) -> None:
    """Deleted between the list that found it and the submit that names it: then the submit would be refused."""
    first = submit()
    assert hosted.drive(first, until=lambda row: row.remote_id is not None, poll_seconds=0.02)
    (file,) = hosted.store.files.list_job_files(first)
    with hosted.store.database.transaction() as session:
        session.get(JobRow, first).status = "succeeded"  # type: ignore[union-attr]
    assert hosted.store.files.claim_deletion("openai", file.id) == []
    second = submit()
    row = hosted.worker.step(second)
    assert row.status == "preparing" and "uploaded again" in str(row.note)
    hosted.backend("openai").delete_file(file.id)
    hosted.store.files.mark_deleted("openai", file.id)
    assert finish(hosted, second) == "succeeded"


def test_the_list_says_what_lies_where_and_whose_it_is(
    hosted: JobService, openai: OpenAIEmulator, submit: Callable[..., str], isolated: Path
) -> None:
    openai.pace = 600
    job_id = submit(delete_files=False)
    hosted.start(job_id)
    mine = isolated / "mine.jsonl"
    mine.write_text("{}\n")
    with mine.open("rb") as content:
        foreign = hosted.backend("openai").client.files.create(file=content, purpose="fine-tune").id
    entries, trouble = hosted.files()
    assert trouble == {}
    by_id = {entry.id: entry for entry in entries}
    (file,) = hosted.store.files.list_job_files(job_id)
    assert by_id[file.id].where == "both" and by_id[file.id].in_use and by_id[file.id].ours
    assert by_id[file.id].jobs == ((job_id, hosted.job(job_id).status),)
    assert by_id[foreign].where == "provider" and not by_id[foreign].ours
    with pytest.raises(ConfigError, match="is used by .* which has not ended"):
        hosted.remote_files.delete_file("openai", file.id, file.filename)
    assert len(uploads(openai)) == 2
    hosted.backend("openai").delete_file(file.id)  # by other hands
    assert {entry.id: entry.where for entry in hosted.files()[0]}[file.id] == "gone"
    openai.stop()
    entries, trouble = hosted.files()
    assert "openai" in trouble and file.id in {entry.id for entry in entries}


def test_a_closed_service_leaves_no_orphan_and_names_who_takes_the_job(
    hosted: JobService, openai: OpenAIEmulator, submit: Callable[..., str]
) -> None:
    openai.refuse = "training_not_available"
    first, second = submit(delete_files=False), submit(delete_files=False)
    row = hosted.start(first)
    assert row.status == "failed" and row.job_error is not None
    assert len(uploads(openai)) == 1, "the second job still means to use it"
    message = row.job_error.message
    assert "winding the service down" in message
    assert "together: llama-3.1-8b-instruct, a stand-in, $4.00 (needs TOGETHER_API_KEY)" in message
    assert "`tuneport submit " in message and "--backend local --no-validation --method sft`" in message
    listed = row.job_error.details["alternatives"]
    assert {entry["backend"] for entry in listed} == {"azure", "together", "local"}
    event = next(event for _, event in hosted.events(first) if event.type == "failed")
    assert event.data["alternatives"] == listed and event.message == message
    hosted.start(second)
    assert uploads(openai) == []


def test_an_alias_is_its_own_stand_in(hosted: JobService, openai: OpenAIEmulator, submit: Callable[..., str]) -> None:
    openai.refuse = "training_not_available"
    row = hosted.start(submit(model="support-intents", suffix="it's mine", seed=3))
    assert row.job_error is not None
    entry = next(entry for entry in row.job_error.details["alternatives"] if entry["backend"] == "together")
    assert entry["same_name"] and entry["model"] == "llama-3.1-8b-instruct" and entry["usd"] == 4.0
    assert "--model support-intents --backend together" in entry["command"]
    assert "--suffix 'it'\"'\"'s mine' --seed 3" in entry["command"]


def test_together_s_files_go_the_same_way(monkeypatch: pytest.MonkeyPatch, isolated: Path) -> None:
    with TogetherEmulator(pace=0.02) as together:
        monkeypatch.setenv("TUNEPORT_TOGETHER_BASE_URL", together.base_url)
        monkeypatch.setenv("TOGETHER_API_KEY", together.key)
        (isolated / "tuneport.toml").write_text(
            "delete_files = true\n[backends.together.options]\npoll_interval = 0.02\n"
        )
        with JobService(Settings.load(isolated)) as workspace:
            spec = TuneSpec(model="llama-3.1-8b-instruct", dataset=write_chats(isolated / "train.jsonl"))
            job_id = workspace.submit(spec, backend="together").id
            assert finish(workspace, job_id) == "succeeded"
            assert list(workspace.backend("together").list_files()) == []
