"""What an account has, until when, and what of it is gone."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import date
from pathlib import Path

from rich.console import Console

from tests.support.accounts import MINI, Account
from tuneport.cli.views.migration import print_inventory
from tuneport.lifecycle.service import JobService
from tuneport.types import Hyperparameters, JobState, JobStatus, Method, TuneSpec
from tuneport.workflows.migrate import Migration
from tuneport.workflows.migration.origin import read_source_job

TODAY = date(2026, 11, 24)


def test_inventory_says_what_there_is_and_until_when(account: Account, opened: Callable[..., Migration]) -> None:
    inventory = opened().inventory(TODAY)
    assert inventory.summary == "3 jobs, 3 models answer until 2027-01-14 (51 days)"
    assert inventory.no_new_jobs_from == date(2027, 1, 6)
    items = {item.job.id: item for item in inventory.items}
    assert set(items) == set(account.jobs.values())
    assert items[account.jobs["dpo"]].job.method is Method.DPO
    assert [items[account.jobs[name]].gone for name in ("dpo", "held_out", "gone")] == [[], [], ["training"]]
    assert {item.ends.stops_answering_on for item in inventory.items} == {date(2027, 1, 14)}
    assert "draft.jsonl" in [file.filename for file in inventory.loose_files]
    document = inventory.as_dict()
    states = {file["state"] for job in document["jobs"] for file in job["files"] if file["purpose"] == "training"}
    assert states == {"there", "gone"}


def test_models_that_are_gone_or_over_are_told(account: Account, opened: Callable[..., Migration]) -> None:
    account.openai.deleted_models.add(next(iter(account.openai._tuned())))
    state_of = {item.job.tuned_model: item.model_state for item in opened().inventory(TODAY).items}
    later = opened().inventory(date(2027, 1, 14))
    assert sorted(map(str, state_of.values())) == ["answers", "answers", "gone"] or "gone" in state_of.values()
    assert {item.model_state for item in later.items} == {"ended"}
    assert later.summary == "3 jobs, no tuned model that answers"


def test_inventory_fits_80_columns_and_names_what_is_gone(account: Account, opened: Callable[..., Migration]) -> None:
    written = io.StringIO()
    print_inventory(opened().inventory(TODAY), Console(file=written, width=80, highlight=False))
    text = written.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert text.startswith("OpenAI: 3 jobs, 3 models answer until 2027-01-14 (51 days)\n")
    assert "takes no new jobs from 2027-01-06 (43 days)" in text
    assert "training GONE" in text and "--data ID=FILE" in text
    for job_id in account.jobs.values():
        assert job_id in text  # whole, so that it can be copied


def test_any_backend_that_lists_jobs_has_an_inventory(account: Account, isolated: Path) -> None:
    from tests.support.accounts import chats

    with JobService() as workspace, Migration("fake", workspace=workspace) as migration:
        spec = TuneSpec(
            model="base", dataset=chats(isolated / "train.jsonl"), validation=chats(isolated / "v.jsonl", 3)
        )
        row = workspace.submit(spec, backend="fake")
        workspace.drive(row.id, poll_seconds=0.01)
        (item,) = migration.inventory(TODAY).items
        assert item.job.tuneport_job == row.id and item.model_state == "answers"
        # What the provider does not say, our own row knows.
        assert item.job.method is Method.SFT and item.job.validation_file is not None


def test_every_provider_s_words_are_read() -> None:
    together = JobState(
        remote_id="ft-1",
        status=JobStatus.SUCCEEDED,
        raw_status="completed",
        model="meta-llama/Meta-Llama-3.1-8B-Instruct-Reference",
        hyperparameters={
            "n_epochs": 3,
            "batch_size": "max",
            "learning_rate": 1e-5,
            "packing": True,
            "random_seed": 42,
            "lr_scheduler": {"lr_scheduler_type": "cosine"},
            "training_type": {"type": "Lora", "lora_r": 16, "lora_alpha": 32},
            "training_method": {"method": "dpo", "dpo_beta": 0.1},
        },
        details={"suffix": "bot", "training_file": "file-1", "validation_file": "file-2"},
    )
    job = read_source_job("together", together)
    assert (job.method, job.adapter, job.seed, job.suffix) == (Method.DPO, "lora", 42, "bot")
    assert Hyperparameters.model_validate(job.hyperparameters).given() == {
        "epochs": 3, "learning_rate": 1e-5, "packing": True, "beta": 0.1, "lora_rank": 16, "lora_alpha": 32,
    }  # fmt: skip
    assert job.other == {"lr_scheduler": {"lr_scheduler_type": "cosine"}}
    assert job.files == [("training", "file-1"), ("validation", "file-2")]

    graded = JobState(
        remote_id="ftjob-1",
        status=JobStatus.FAILED,
        raw_status="failed",
        model=MINI,
        details={
            "method": {"type": "reinforcement", "reinforcement": {"grader": {"type": "string_check"}}},
            "metadata": {"team": "blue", "tuneport_token": "0123456789"},
            "integrations": [{"type": "wandb", "wandb": {"project": "p", "tags": ["a"], "entity": None}}],
        },
    )
    job = read_source_job("openai", graded)
    assert job.method is Method.RFT and job.grader == {"type": "string_check"}
    assert job.metadata == {"team": "blue"}  # the token of a job that tuneport made is no other job's
    assert job.wandb is not None and job.wandb.tags == ("a",)
