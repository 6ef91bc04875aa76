"""A job without a validation file holds rows out of its own dataset."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import httpx
import pytest

import tuneport
from tests.support.commands import Run
from tests.support.folders import FIXTURES
from tests.support.gateways import Running
from tests.support.workspaces import write_chats
from tuneport.data.dataset import Dataset
from tuneport.errors import ConfigError
from tuneport.lifecycle.proposing.held_out import JobData, hold_out_rows
from tuneport.lifecycle.service import JobService
from tuneport.lifecycle.submitting.hold_out import HoldOut
from tuneport.types import Method, TuneSpec

TRAIN = FIXTURES / "datasets" / "support_intents.train.jsonl"
SUBMIT = ("submit", str(TRAIN), "-m", "fake-small", "-b", "fake", "--yes")


def rows(path: Path | None) -> list[str]:
    assert path is not None
    return path.read_text(encoding="utf-8").splitlines()


def data_of(home: Path, share: HoldOut = "auto", dataset: Path = TRAIN, **more: object) -> JobData:
    spec = TuneSpec.model_validate({"model": "m", "dataset": dataset} | more)
    return hold_out_rows(spec, None, share, home=home)


def test_a_tenth_is_held_out_and_every_row_is_on_one_side(tmp_path: Path) -> None:
    found = data_of(tmp_path)
    train, validation = rows(found.spec.dataset), rows(found.spec.validation)
    assert sorted([*train, *validation]) == sorted(rows(TRAIN)) and 20 <= len(validation) <= 28
    assert found.held_out is not None and found.held_out.share == 0.1
    assert found.held_out.source == TRAIN and found.held_out.sha256 == Dataset(TRAIN).digest()
    assert (found.held_out.train_rows, found.held_out.validation_rows) == (len(train), len(validation))
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(written) == 3 and {stat.S_IMODE(file.stat().st_mode) for file in written} == {0o600}


def test_the_same_content_gives_the_same_files(tmp_path: Path) -> None:
    first = data_of(tmp_path).spec
    before = (first.dataset.stat().st_mtime_ns, first.dataset.stat().st_ino)
    shutil.copy(TRAIN, copy := tmp_path / "other name.jsonl")
    again = data_of(tmp_path, dataset=copy)
    assert (again.spec.dataset, again.spec.validation) == (first.dataset, first.validation)
    assert (first.dataset.stat().st_mtime_ns, first.dataset.stat().st_ino) == before
    assert again.held_out is not None and again.held_out.source == copy
    first.dataset.unlink()
    assert rows(data_of(tmp_path).spec.dataset)
    assert data_of(tmp_path, 0.2).spec.dataset != first.dataset


@pytest.mark.parametrize("why", ["few", "validation", "checkpoint", "rewards", "text", "alike", "none"])
def test_some_jobs_hold_nothing_out_by_default(tmp_path: Path, why: str) -> None:
    dataset, more = TRAIN, {}
    if why == "few":
        dataset = write_chats(tmp_path / "few.jsonl", rows=199)
    if why == "validation":
        more = {"validation": FIXTURES / "datasets" / "support_intents.test.jsonl"}
    if why == "checkpoint":
        more = {"from_checkpoint": "job-1"}
    if why == "rewards":
        more = {"method": Method.GRPO, "reward": "rewards:exact"}
    if why == "text":
        dataset = tmp_path / "text.jsonl"
        dataset.write_text("".join(json.dumps({"text": f"The {n}th text of many."}) + "\n" for n in range(250)))
    if why == "alike":
        dataset = tmp_path / "alike.jsonl"
        dataset.write_text(rows(TRAIN)[0] + "\n" + "".join([rows(TRAIN)[0] + "\n"] * 250))
    found = data_of(tmp_path, None if why == "none" else "auto", dataset, **more)
    assert found.held_out is None and found.spec.dataset == dataset
    assert not (tmp_path / "splits").exists() or not list((tmp_path / "splits").iterdir())


def test_a_share_that_is_named_is_held_out_of_few_rows_too(run: Run, tmp_path: Path) -> None:
    few = write_chats(tmp_path / "few.jsonl", rows=60)
    line = ("submit", str(few), "-m", "fake-small", "-b", "fake", "--yes", "--anyway")
    code, job, error = run(*line, "--validation", "20%", "--json")
    assert code == 0, error
    assert job["held_out"]["validation_rows"] == 12 and job["dataset"]["rows"] == 48
    assert "12 of 60 rows of few.jsonl (20%)" in " ".join(error.split())
    code, _, error = run(*line, "--validation", "90%")
    assert code == 2 and "a share of 0.9 cannot be held out" in error
    (tmp_path / "10%").write_bytes(few.read_bytes())
    code, _, error = run(*line, "--validation", str(tmp_path / "10%"))
    assert code == 2 and "is the training file" in error


def test_the_command_says_what_it_holds_out_and_show_does(run: Run) -> None:
    code, job, error = run(*SUBMIT, "--json")
    assert code == 0, error
    words = " ".join(error.split())
    assert "of 240 rows of support_intents.train.jsonl (10%): not trained on" in words and "--no-validation" in words
    assert job["dataset"]["rows"] + job["held_out"]["validation_rows"] == 240
    _, shown, _ = run("show", job["id"])
    assert "of 240 rows of support_intents.train.jsonl (10%) are held out" in " ".join(shown.split())
    with JobService() as workspace:
        assert "are held out for validation" in " ".join(event.message for _, event in workspace.events(job["id"]))
    code, _, error = run(*SUBMIT)
    assert code == 2 and f"{job['id']} trained the same data" in error  # the same rows are held out
    code, whole, _ = run(*SUBMIT, "--no-validation", "--json")
    assert code == 0 and whole["dataset"]["rows"] == 240
    assert whole["validation"] is None and whole["held_out"] is None
    code, _, error = run(*SUBMIT, "--no-validation", "--validation", "10%")
    assert code == 2 and "--validation and --no-validation say the opposite" in error


def test_python_says_it_with_a_number(isolated: Path) -> None:
    def held_out(**given: object) -> int | None:
        job = tuneport.submit(TRAIN, model="base", backend="fake", confirm=False, again=True, **given)  # type: ignore
        found = job.as_dict()["held_out"]
        return None if found is None else int(found["validation_rows"])

    tenth = held_out()
    assert tenth and held_out(validation=True) == held_out(validation="10%") == held_out(validation=0.1) == tenth
    fifth = held_out(validation=0.2)
    assert fifth and fifth > tenth + 15
    assert held_out(validation=False) is None and held_out(validation=0) is None
    assert held_out(validation=FIXTURES / "datasets" / "support_intents.test.jsonl") is None
    whole = tuneport.submit(TuneSpec(model="base", dataset=TRAIN), backend="fake", confirm=False, again=True)
    assert whole.as_dict()["held_out"] is None  # a spec says all of its job
    with pytest.raises(ConfigError, match=r"a share of 0\.7 cannot be held out"):
        held_out(validation=0.7)


def test_what_the_check_points_at_is_where_the_user_sees_it(workspace: JobService, tmp_path: Path) -> None:
    """The lines are those of the whole file."""
    marked = tmp_path / "marked.jsonl"
    lines = rows(write_chats(tmp_path / "chats.jsonl", rows=300))
    lines[298] = lines[298].replace("Answer 298.", "Dear {{name}}, yes.")
    marked.write_text("\n".join(lines) + "\n")
    spec = TuneSpec(model="base", dataset=marked)
    with_rows = workspace.propose(spec, backend="fake", hold_out="auto")
    assert with_rows.held_out is not None and with_rows.source == marked and with_rows.check is not None
    assert (299,) in [evidence.lines for found in with_rows.check for evidence in found.evidence]
    assert "pass" in [found.verdict for found in with_rows.check if found.check == "hold-out"]
    without = workspace.propose(spec, backend="fake")
    assert without.check is not None
    assert "--validation 10%" in str([found.message for found in without.check if found.check == "hold-out"])


def test_a_job_of_a_file_is_what_the_file_says(run: Run, tmp_path: Path) -> None:
    spec = tmp_path / "spec.toml"
    spec.write_text(f'model = "fake-small"\ndataset = "{TRAIN}"\n')
    code, job, error = run("submit", "--spec", str(spec), "-b", "fake", "--yes", "--json")
    assert code == 0 and job["held_out"] is None and job["dataset"]["rows"] == 240, error


def test_the_gateway_shows_it_of_a_job_of_the_command_line(run: Run, running: Running) -> None:
    code, job, error = run(*SUBMIT, "--json")
    assert code == 0, error
    shown = httpx.get(f"{running.url.removesuffix('v1')}tuneport/v1/jobs/{job['id']}").json()
    assert shown["held_out"] == job["held_out"] and shown["held_out"]["share"] == 0.1


def test_other_names_of_columns_and_another_container(workspace: JobService, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    lines = [f"What is number {n}?,It is the number {n} of three hundred." for n in range(300)]
    table.write_text("question,reply\n" + "\n".join(lines) + "\n")
    columns = {"instruction": "question", "output": "reply"}
    proposal = workspace.propose(
        TuneSpec(model="base", dataset=table, columns=columns), backend="fake", hold_out="auto"
    )
    assert proposal.data.training.rows == 270 and proposal.source == table
    assert proposal.data.validation is not None and proposal.data.validation.rows == 30
    assert proposal.check is not None and proposal.failed_checks == []
    assert proposal.spec.columns == columns and '"question"' in rows(proposal.spec.dataset)[0]
    row = workspace.submit_proposal(proposal, confirm=False)
    assert workspace.drive(row.id, poll_seconds=0.01).status == "succeeded"
