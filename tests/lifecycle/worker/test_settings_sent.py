"""What was settled before a job is what its backend is sent, and what its row keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tuneport
from tests.support.emulated import LeadTo
from tests.support.workspaces import write_chats
from tuneport.lifecycle.schema import store_admin
from tuneport.lifecycle.schema.records import JobRecord
from tuneport.lifecycle.service import JobService
from tuneport.lifecycle.store.store import Store
from tuneport.settings import Settings
from tuneport.testing.emulators import OpenAIEmulator, TogetherEmulator
from tuneport.types import TuneSpec

MODELS = {"openai": "gpt-4.1-mini", "together": "llama-3.1-8b-instruct"}


@pytest.fixture
def data(isolated: Path) -> Path:
    return write_chats(isolated / "train.jsonl", rows=77)


def submitted(data: Path, backend: str, **more: Any) -> JobRecord:
    job = tuneport.submit(data, model=MODELS[backend], backend=backend, confirm=False, anyway=True, **more)
    with JobService() as workspace:
        return workspace.job(job.id)


def openai_numbers(openai: OpenAIEmulator) -> dict[str, Any]:
    body = openai.requests("POST", "/fine_tuning/jobs")[-1].request_json()
    return dict(body["method"]["supervised"]["hyperparameters"])


def together_body(together: TogetherEmulator) -> dict[str, Any]:
    return dict(together.requests("POST", "/fine-tunes")[-1].request_json())


def test_openai_is_sent_the_recommendation_and_the_row_keeps_what_was_written(lead_to: LeadTo, data: Path) -> None:
    openai = lead_to(OpenAIEmulator(pace=600))
    row = submitted(data, "openai")
    assert openai_numbers(openai) == {"n_epochs": 5, "batch_size": 4}
    assert row.tune_spec.hyperparameters.given() == {}
    estimate = row.job_estimate
    assert estimate is not None and estimate.steps is not None and estimate.training is not None
    assert (estimate.epochs, estimate.steps.expected) == (5, 100)
    assert estimate.training.sent == openai_numbers(openai)


def test_together_is_sent_it_in_its_own_words_and_packs_only_where_that_pays(lead_to: LeadTo, data: Path) -> None:
    together = lead_to(TogetherEmulator(pace=0.01))
    row = submitted(data, "together")
    body = together_body(together)
    numbers = {**body, **body["training_type"]}
    training = row.job_estimate.training if row.job_estimate is not None else None
    assert training is not None and {name: numbers[name] for name in training.sent} == training.sent
    assert (body["n_epochs"], body["batch_size"], body["packing"], body["max_seq_length"]) == (5, 4, False, 1024)
    assert body["learning_rate"] == 1e-4


def test_provider_defaults_send_what_was_given_and_no_more(lead_to: LeadTo, data: Path) -> None:
    openai, together = lead_to(OpenAIEmulator(pace=600)), lead_to(TogetherEmulator(pace=0.01))
    submitted(data, "openai", provider_defaults=True, hyperparameters={"batch_size": 2})
    assert openai_numbers(openai) == {"batch_size": 2}
    row = submitted(data, "together", provider_defaults=True)
    body = together_body(together)
    assert (body["n_epochs"], body["batch_size"], body["learning_rate"]) == (1, "max", 1e-5)
    assert row.job_estimate is not None and row.job_estimate.epochs == 1


def test_a_program_of_openais_api_keeps_its_auto_there_and_its_events_say_so(lead_to: LeadTo, data: Path) -> None:
    openai = lead_to(OpenAIEmulator(pace=600))
    spec = TuneSpec(model=MODELS["openai"], dataset=data, provider_defaults="auto")  # as the gateway's /v1 asks
    with JobService() as workspace:
        row = workspace.start(workspace.submit(spec, backend="openai").id)
        told = [event.message for _, event in workspace.events(row.id) if event.type == "settings"]
    assert openai_numbers(openai) == {}
    assert told == [
        "OpenAI itself chooses n_epochs, batch_size, learning_rate_multiplier: they are auto, as its API defines it"
    ]


def test_an_option_for_packing_stands(lead_to: LeadTo, data: Path) -> None:
    together = lead_to(TogetherEmulator(pace=0.01))
    submitted(data, "together", provider_options={"packing": True})
    assert together_body(together)["packing"] is True
    with pytest.raises(tuneport.ConfigError, match="packing is given twice"):
        submitted(data, "together", provider_options={"packing": True}, hyperparameters={"packing": False})


def test_an_earlier_tuneport_reads_the_row_after_a_downgrade(lead_to: LeadTo, data: Path, settings: Settings) -> None:
    lead_to(TogetherEmulator(pace=0.01))
    row = submitted(data, "together", hyperparameters={"packing": False})
    url = f"sqlite:///{settings.home / 'tuneport.db'}"
    store_admin.downgrade_store(url, 10)
    store = Store(url).unscoped()  # upgraded again
    earlier = store.jobs.get(row.id)
    store.close()
    assert set(earlier.spec) == {  # those of version 10: another name would be refused
        "model", "dataset", "validation", "columns", "method", "adapter", "hyperparameters", "suffix", "seed", "budget",
        "metadata", "grader", "reward", "reward_folder", "from_checkpoint", "wandb", "provider_options",
    }  # fmt: skip
    assert "packing" not in earlier.spec["hyperparameters"]
    assert earlier.estimate is not None and "training" not in earlier.estimate and earlier.estimate["epochs"] == 5
