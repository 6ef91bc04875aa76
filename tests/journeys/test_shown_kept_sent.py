"""One spec trains the same thing: what compare and submit show, what the row keeps and what a backend receives are the
same numbers, whatever the backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.emulated import LeadTo
from tests.support.workspaces import write_chats
from tuneport.lifecycle.service import JobService
from tuneport.lifecycle.submitting.options import JobOptions
from tuneport.settings import Settings
from tuneport.testing.emulators import OpenAIEmulator, TogetherEmulator
from tuneport.types import Hyperparameters, TuneSpec
from tuneport.workflows.compare import compare

MODELS = {"openai": "gpt-4.1-mini", "together": "llama-3.1-8b-instruct"}


def received(emulator: Any) -> dict[str, Any]:
    """The numbers of the job that the provider was asked for, by its own names."""
    if isinstance(emulator, OpenAIEmulator):
        body = emulator.requests("POST", "/fine_tuning/jobs")[-1].request_json()
        return dict(body["method"]["supervised"]["hyperparameters"])
    body = emulator.requests("POST", "/fine-tunes")[-1].request_json()
    return {**body["training_type"], **body["training_method"], **body}


@pytest.mark.parametrize(
    ("rows", "given", "own"),
    [(77, {}, False), (77, {}, True), (77, {"batch_size": 2}, False), (77, {"epochs": 1}, True), (1_000, {}, False)],
)
@pytest.mark.parametrize("backend", ["openai", "together"])
def test_what_is_shown_is_what_is_kept_and_sent(
    lead_to: LeadTo, isolated: Path, backend: str, rows: int, given: dict[str, int], own: bool
) -> None:
    emulator = lead_to(OpenAIEmulator(pace=0.01) if backend == "openai" else TogetherEmulator(pace=0.01))
    spec = TuneSpec(
        model=MODELS[backend],
        dataset=write_chats(isolated / "train.jsonl", rows=rows),
        hyperparameters=Hyperparameters.model_validate(given),
        provider_defaults=own,
    )
    settings = Settings.load(isolated)
    with JobService(settings) as workspace:
        proposal = workspace.propose(spec, backend=backend, options=JobOptions(anyway=True))
        row = workspace.start(workspace.submit_proposal(proposal, confirm=False).id)
        shown, kept = proposal.plan.chosen.settings, row.job_estimate
    assert shown is not None and kept is not None and kept.training is not None
    assert kept.training == shown.model_copy(update={"remedies": ()})
    body = received(emulator)
    assert {name: body[name] for name in shown.sent} == shown.sent
    asked = {"n_epochs" if name == "epochs" else name for name in given}
    if own:
        assert set(shown.sent) == asked
    elif backend == "openai":
        assert set(shown.sent) == {"n_epochs", "batch_size"}
    if "batch_size" not in given:
        (choice,) = compare(
            spec.dataset, model=spec.model, backend=backend, epochs=given.get("epochs"), provider_defaults=own,
            settings=settings,
        ).choices  # fmt: skip
        assert choice.settings == shown


def test_every_backend_trains_as_often_and_about_as_many_steps(isolated: Path) -> None:
    data = write_chats(isolated / "train.jsonl", rows=77)
    choices = compare(data, model=["gpt-4.1-mini", "llama-3.1-8b-instruct"], settings=Settings.load(isolated)).choices
    assert {choice.backend for choice in choices} == {"openai", "azure", "together", "local"}
    assert {choice.epochs for choice in choices} == {5}
    assert {choice.steps.expected for choice in choices if choice.steps is not None} == {100}
