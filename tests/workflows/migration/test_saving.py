"""What was saved is whole, right, private, and fetched once, whatever happens on the way."""

from __future__ import annotations

import hashlib
import json
import stat
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.accounts import Account, chats, finished, killed_when
from tuneport.errors import AuthError, ConfigError, UnavailableError
from tuneport.lifecycle.service import JobService
from tuneport.lifecycle.submitting.spec_file import format_job_spec_file, read_job_spec_file
from tuneport.types import TuneSpec
from tuneport.workflows.migrate import Migration
from tuneport.workflows.migration import saving
from tuneport.workflows.migration.folder import SavedAccountFolder


def complete(folder: Path, account: Account) -> dict[str, str]:
    """Check that all that the account has is in the folder, byte for byte; where each file lies, by id."""
    index = [json.loads(line) for line in (folder / "files" / "index.jsonl").read_text().splitlines()]
    assert sorted(row["id"] for row in index) == sorted(account.files)
    for row in index:
        content = (folder / "files" / row["path"]).read_bytes()
        assert content == account.files[row["id"]]
        assert row["sha256"] == hashlib.sha256(content).hexdigest() and row["path"].startswith(row["sha256"])
        assert row["bytes"] == len(content)
    for job_id in account.jobs.values():
        record = json.loads((folder / "jobs" / job_id / "job.json").read_text())
        assert record["complete"] and record["job"]["id"] == job_id
        for name in ("events.jsonl", "metrics.jsonl"):
            lines = (folder / "jobs" / job_id / name).read_text().splitlines()
            assert len(lines) > 3 and all(map(json.loads, lines))
        assert json.loads((folder / "jobs" / job_id / "checkpoints.json").read_text())
    return {row["id"]: row["path"] for row in index}


def test_all_is_saved_and_a_second_run_fetches_nothing(
    account: Account, opened: Callable[..., Migration], tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    report = opened().save(folder)
    complete(folder, account)
    assert report.jobs == 3 and report.fetched == len(account.files) == 7 and report.kept == 0
    ((job_id, lost),) = report.missing
    assert job_id == account.jobs["gone"] and lost.gone and "deleted" in lost.reason
    assert set(Counter(account.downloads()).values()) == {1}
    asked = len(account.openai.log)
    again = opened().save(folder)
    assert (again.fetched, again.kept) == (0, 7)
    assert sorted(account.downloads()) == sorted(account.files)
    # Only the lists, and whether the file that was gone has come back.
    later = Counter(exchange.path.split("/")[2] for exchange in account.openai.log[asked:])
    assert sum(later.values()) <= 5, later


def test_what_is_saved_can_be_submitted_again(
    account: Account, opened: Callable[..., Migration], tmp_path: Path
) -> None:
    opened().save(tmp_path / "backup")
    spec = read_job_spec_file(tmp_path / "backup" / "jobs" / account.jobs["held_out"] / "spec.toml")
    assert spec.model_dump(exclude={"dataset", "validation"}, exclude_defaults=True) == {
        "model": "gpt-4.1-mini-2025-04-14",
        "hyperparameters": {"epochs": 3, "batch_size": 1, "learning_rate_multiplier": 2.0},
        "suffix": "support",
        "seed": 7,
        "metadata": {"team": "blue"},
    }
    assert spec.validation is not None
    with JobService() as workspace:
        row = workspace.submit(spec.model_copy(update={"model": "m"}), backend="fake")
    assert row.prepared_data.training.rows == 100
    with pytest.raises(ConfigError, match="names no dataset; write there where yours is"):
        read_job_spec_file(tmp_path / "backup" / "jobs" / account.jobs["gone"] / "spec.toml")


def test_only_the_owner_can_read_it_and_no_key_is_in_it(
    account: Account,
    opened: Callable[..., Migration],
    tmp_path: Path,
    isolated: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-0123456789")
    monkeypatch.setenv("OTHER_ACCESS_TOKEN", "other-secret-0123456789")
    monkeypatch.setenv("MY_LOGIN", "my-secret-0123456789")
    table = '[backends.mine]\nlike = "openai"\nbase_url = "http://127.0.0.1:9/v1"\napi_key_env = "MY_LOGIN"\n'
    (isolated / "tuneport.toml").write_text(table)
    account.openai.key = "sk-secret-0123456789"
    job = account.openai.jobs[account.jobs["dpo"]]
    job.plan.events.append(
        {
            "object": "fine_tuning.job.event",
            "id": "ftevent-leak",
            "created_at": 1,
            "level": "warn",
            "message": "called with sk-secret-0123456789 for other-secret-0123456789, my-secret-0123456789",
            "type": "message",
        }
    )
    folder = tmp_path / "backup"
    opened().save(folder)
    paths = list(folder.rglob("*"))
    assert len(paths) > 20
    for path in [folder, *paths]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path
        assert path.is_dir() or b"-secret-" not in path.read_bytes(), path
    assert "for [key], [key]" in (folder / "jobs" / account.jobs["dpo"] / "events.jsonl").read_text()


@pytest.mark.parametrize("harm", ["cut", "changed", "removed"])
def test_a_damaged_file_is_fetched_anew(
    account: Account, opened: Callable[..., Migration], tmp_path: Path, harm: str
) -> None:
    folder = tmp_path / "backup"
    opened().save(folder)
    paths = complete(folder, account)
    file_id = next(file_id for file_id, content in account.files.items() if len(content) > 1000)
    path = folder / "files" / paths[file_id]
    if harm == "removed":
        path.unlink()
    else:
        content = path.read_bytes()
        path.write_bytes(content[:-7] if harm == "cut" else content[:-7] + b"#######")
    assert opened().save(folder).fetched == 1
    complete(folder, account)
    assert Counter(account.downloads())[file_id] == 2 and len(account.downloads()) == 8


def test_a_file_that_is_not_as_long_as_listed_is_not_taken(
    account: Account, opened: Callable[..., Migration], tmp_path: Path
) -> None:
    file_id = account.openai.jobs[account.jobs["held_out"]].training_file
    account.openai.contents[file_id] = account.openai.contents[file_id][:-50]
    report = opened().save(tmp_path / "backup")
    lost = {missing.id: missing for _, missing in report.missing}[file_id]
    assert "bytes where it lists" in lost.reason and not lost.gone
    account.openai.contents[file_id] = account.files[file_id]
    assert opened().save(tmp_path / "backup").fetched == 1
    complete(tmp_path / "backup", account)


def test_faults_on_the_way_are_ridden_out_or_told(
    account: Account, opened: Callable[..., Migration], tmp_path: Path
) -> None:
    account.openai.fail("cut", path="/files/*/content")
    account.openai.fail("status", path="/files/*/content", status=503, headers={"retry-after": "0"})
    account.openai.fail("drop", path="/fine_tuning/jobs/*/events")
    account.openai.fail("status", path="/fine_tuning/jobs/*/checkpoints", status=400)
    report = opened().save(tmp_path / "backup")
    assert sorted(lost.what for _, lost in report.missing) == ["checkpoints", "training file"]
    opened().save(tmp_path / "backup")  # what was told as missing is asked for again
    complete(tmp_path / "backup", account)


def test_a_refused_key_and_a_provider_that_is_down_end_it(
    account: Account, opened: Callable[..., Migration], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migration = opened()
    assert migration.account  # the lists could be read
    account.openai.fail("status", path="/files/*/content", status=401, times=None)
    with pytest.raises(AuthError):
        migration.save(tmp_path / "backup")
    account.openai.clear_faults()
    monkeypatch.setattr(migration.workspace.backend("openai"), "_sleep", lambda seconds: None)
    account.openai.fail("status", path="/files/*/content", status=503, times=None)
    with pytest.raises(UnavailableError):
        migration.save(tmp_path / "backup")
    account.openai.clear_faults()
    migration.save(tmp_path / "backup")
    complete(tmp_path / "backup", account)


def test_a_provider_that_wants_a_pause_gets_it_and_is_not_down(
    account: Account, opened: Callable[..., Migration], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migration, clock, waits = opened(), [0.0], list[float]()
    assert migration.account
    monkeypatch.setattr(migration.workspace.backend("openai")._cooldown, "_monotonic", lambda: clock[0])  # type: ignore[attr-defined]
    monkeypatch.setattr(saving, "_THREADS", 1)

    def wait(saver: Any, seconds: float) -> bool:
        waits.append(seconds)
        clock[0] += seconds
        return False

    monkeypatch.setattr(saving.MigrationAccountSaver, "_wait", wait)
    headers = {"retry-after": "600"}
    account.openai.fail("status", path="/files/*/content", status=429, headers=headers)
    account.openai.fail("status", path="/fine_tuning/jobs/*/events", status=429, headers=headers)
    report = migration.save(tmp_path / "backup")
    assert waits == [600.0, 600.0] and [lost.gone for _, lost in report.missing] == [True]
    complete(tmp_path / "backup", account)


def test_an_error_ends_the_pauses_of_other_threads() -> None:
    stopped, ended = threading.Event(), list[bool]()

    def refuse() -> None:
        raise AuthError("no", provider="openai")

    with pytest.raises(AuthError):
        list(saving._in_threads([("pause", lambda: ended.append(stopped.wait(60))), ("b", refuse)], stop=stopped.set))
    assert ended == [True]


def test_killed_while_saving_nothing_is_missing_and_nothing_fetched_twice(
    account: Account, migrate: Callable[..., Any], tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    index = folder / "files" / "index.jsonl"

    def halfway() -> bool:
        """Some files are here, and the others are asked for and do not come."""
        lines = len(index.read_bytes().splitlines()) if index.exists() else 0
        return stuck.skip == 0 and 0 < lines == len(account.downloads())

    stuck = account.openai.fail("hang", path="/files/*/content", skip=3, times=None, seconds=3600)
    killed_when(migrate("--from", "openai", "--save", str(folder)), halfway)
    before = len(account.downloads())
    account.openai.clear_faults()
    code, out, error = finished(migrate("--from", "openai", "--save", str(folder), "--json"))
    assert code == 3, error  # one training file is gone for good
    complete(folder, account)
    report = json.loads(out)
    assert [lost["job"] for lost in report["missing"]] == [account.jobs["gone"]]
    assert (report["files_kept"], report["files_fetched"]) == (before, 7 - before)
    assert Counter(account.downloads()) == Counter(
        account.files.keys()
    )  # each file was sent once, in both runs together


def test_edited_specs_stay_as_they_are(account: Account, opened: Callable[..., Migration], tmp_path: Path) -> None:
    opened().save(tmp_path / "backup")
    path = tmp_path / "backup" / "jobs" / account.jobs["held_out"] / "spec.toml"
    path.write_text(path.read_text().replace("epochs = 3", "epochs = 4"))
    opened().save(tmp_path / "backup")
    assert read_job_spec_file(path).hyperparameters.epochs == 4


def test_tuneport_s_own_copy_stands_in_for_a_deleted_upload(
    account: Account, opened: Callable[..., Migration], isolated: Path, tmp_path: Path
) -> None:
    with JobService() as workspace:
        row = workspace.submit(TuneSpec(model="base", dataset=chats(isolated / "train.jsonl")), backend="fake")
        workspace.drive(row.id, poll_seconds=0.01)
        (upload,) = workspace.store.files.list_job_files(row.id)
        workspace.backend("fake").delete_file(upload.id)
        (item,) = Migration("fake", workspace=workspace).inventory().items
        assert item.gone == ["training"]
        report = Migration("fake", workspace=workspace).save(tmp_path / "backup")
        assert (report.missing, report.fetched) == ([], 1)
    (file,) = SavedAccountFolder.load(tmp_path / "backup").files()
    assert file.source == "tuneport" and file.sha256 == upload.sha256


def test_folders_of_others_are_refused(account: Account, opened: Callable[..., Migration], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="holds other things"):
        opened().save(tmp_path / "mine")
    opened().save(tmp_path / "backup", jobs=[account.jobs["dpo"]])
    with pytest.raises(ConfigError, match="saved from openai, not together"):
        opened("together").save(tmp_path / "backup")
    saved = SavedAccountFolder.load(tmp_path / "backup")
    with saved.lock_folder(), pytest.raises(ConfigError, match="another `tuneport migrate` works in"):
        opened().save(tmp_path / "backup")
    assert [record.job.id for record in saved.records()] == [account.jobs["dpo"]]


def test_a_journal_s_cut_line_is_no_harm(account: Account, opened: Callable[..., Migration], tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    opened().save(folder)
    index = folder / "files" / "index.jsonl"
    index.write_bytes(index.read_bytes()[:-40])
    assert opened().save(folder).fetched == 1
    assert [len(SavedAccountFolder.load(folder).files()), len(index.read_text().splitlines())] == [7, 8]
    assert all(SavedAccountFolder.load(folder).has_file(file_id) for file_id in account.files)


@pytest.mark.parametrize("job_id", ["../../escaped", ".hidden", "run/1", "a b:c"])
def test_no_id_leads_out_of_the_folder(tmp_path: Path, job_id: str) -> None:
    folder = SavedAccountFolder.create(tmp_path / "backup", "openai")
    inside = folder.job_folder(job_id).resolve()
    assert inside.parent == (tmp_path / "backup" / "jobs").resolve()
    assert folder.job_folder("plain-1").name == "plain-1"


def test_spec_files_hold_any_text(tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    awkward = 'quote " backslash \\ newline \n tab \t del \x7f umlaut ü emoji 🙂'
    values = {
        "model": awkward,
        "dataset": "d.jsonl",
        "method": "rft",
        "grader": {"type": "multi", "graders": {"a b": {"type": "string_check", "on": True, "weight": 0.5}}},
        "metadata": {awkward: awkward},
        "hyperparameters": {"epochs": 3},
    }
    path.write_text(format_job_spec_file(values, ["a comment"]), encoding="utf-8")
    spec = read_job_spec_file(path)
    assert spec.model == awkward and spec.metadata == {awkward: awkward} and spec.grader == values["grader"]
    assert spec.dataset == (tmp_path / "d.jsonl").resolve()
    path.write_text('model = "m"\ndataset = "d.jsonl"\nepoch = 3\n')
    with pytest.raises(ConfigError, match=r"spec\.toml.*epoch"):
        read_job_spec_file(path)
