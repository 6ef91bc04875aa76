"""plan, compare, submit, migrate, the row and what the provider receives agree on every number, and so do the steps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.emulated import LeadTo
from tests.support.tiny import preference_rows, tiny_model, write_rows
from tests.support.workspaces import write_chats
from tuneport.backends.local.request import resolve_local_request
from tuneport.estimate.training_settings import TrainingSettings
from tuneport.lifecycle.planning.planning import plan_job_on_backends
from tuneport.lifecycle.service import JobService
from tuneport.manifests import load_manifest
from tuneport.settings import Settings
from tuneport.testing.emulators import AzureEmulator, OpenAIEmulator, TogetherEmulator
from tuneport.types import Adapter, DataFile, Hyperparameters, Method, TuneSpec
from tuneport.workflows.compare import compare
from tuneport.workflows.migrate import Migration
from tuneport.workflows.plan import plan

MINI, LLAMA = "gpt-4.1-mini-2025-04-14", "llama-3.1-8b-instruct"
MODELS = {"openai": MINI, "azure": MINI, "together": LLAMA, "local": LLAMA}
SHAPES: dict[str, dict[str, Any]] = {
    "the recommendation": {},
    "a batch of one's own": {"hyperparameters": {"batch_size": 2}},
    "the provider's defaults": {"provider_defaults": True},
}
METHODS = (Method.SFT, Method.DPO)


def dataset(folder: Path, method: Method, rows: int) -> Path:
    path = folder / f"{method}-{rows}.jsonl"
    if path.exists():
        return path
    return write_rows(path, preference_rows(rows)) if method is Method.DPO else write_chats(path, rows)


def spec_of(backend: str, data: Path, method: Method, shape: dict[str, Any]) -> TuneSpec:
    return TuneSpec.model_validate({"model": MODELS[backend], "dataset": data, "method": method} | shape)


@pytest.fixture
def everywhere(
    lead_to: LeadTo[Any], isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[JobService, dict[str, Any]]]:
    """A workspace with a key for every provider that is emulated."""
    toml = "".join(f"[backends.{name}.options]\npoll_interval = 0.01\n" for name in ("openai", "azure", "together"))
    (isolated / "tuneport.toml").write_text(toml)
    started = {
        "openai": OpenAIEmulator(pace=0.01),
        "together": TogetherEmulator(pace=0.01),
        "azure": AzureEmulator(pace=0.01),
    }
    emulators = {name: lead_to(each) for name, each in started.items()}
    monkeypatch.setenv("TUNEPORT_AZURE_BASE_URL", emulators["azure"].base_url)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", emulators["azure"].key)
    with JobService(Settings.load(isolated)) as workspace:
        yield workspace, emulators


@pytest.mark.parametrize("rows", [77, 1_000, 10_000])
@pytest.mark.parametrize("method", METHODS)
def test_before_a_job_every_command_tells_the_same(
    everywhere: tuple[JobService, dict[str, Any]], isolated: Path, method: Method, rows: int
) -> None:
    workspace, _ = everywhere
    data = dataset(isolated, method, rows)
    for name, shape in SHAPES.items():
        told: dict[str, dict[str, TrainingSettings]] = {backend: {} for backend in MODELS}
        for backend in MODELS:
            # As a submit ranks, but for the choice: the weights of eight billion parameters are not on this machine.
            asked = spec_of(backend, data, method, shape)
            (choice,), _ = plan_job_on_backends(asked, workspace.settings, backends=[backend])
            found = choice.settings
            assert found is not None
            told[backend]["submit"] = found
        if "hyperparameters" not in shape:  # which compare takes none of but epochs
            for model in (MINI, LLAMA):
                result = compare(data, model=model, method=method, provider_defaults=bool(shape))
                for choice in result.choices:
                    if MODELS.get(choice.backend) == model and choice.settings is not None:
                        told[choice.backend]["compare"] = choice.settings
        if "provider_defaults" not in shape:  # a plan is for one's own machine, and has none
            numbers = shape.get("hyperparameters", {})
            for backend, settings in plan(data, model=LLAMA, method=method, hyperparameters=numbers).training.items():
                told[backend]["plan"] = settings
        for backend, by_command in told.items():
            assert len(by_command) > 1 or shape, (backend, by_command.keys())
            (first, *others) = by_command.values()
            for other in others:
                assert (other.hyperparameters, other.options, other.steps) == (
                    first.hyperparameters,
                    first.options,
                    first.steps,
                ), (name, backend, by_command)


def received(backend: str, emulator: Any) -> dict[str, Any]:
    """Return the numbers of the newest job as the provider was sent them, under its names."""
    if backend == "together":
        body = emulator.requests("POST", "/fine-tunes")[-1].request_json()
        return {**body, **body["training_type"], **body["training_method"]}
    method = emulator.requests("POST", "/fine_tuning/jobs")[-1].request_json()["method"]
    return dict(method[method["type"]].get("hyperparameters") or {})


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("backend", ["openai", "azure", "together", "fake"])
def test_what_was_told_is_sent_stored_and_trained(
    everywhere: tuple[JobService, dict[str, Any]], isolated: Path, backend: str, method: Method
) -> None:
    workspace, emulators = everywhere
    data = dataset(isolated, method, 77)
    for name, shape in SHAPES.items():
        spec = TuneSpec.model_validate(
            {"model": MODELS.get(backend, "base"), "dataset": data, "method": method} | shape
        )
        planned = workspace.plan(spec, backend=backend).chosen.settings
        row = workspace.submit(spec, backend=backend, again=True)
        row = workspace.drive(row.id, poll_seconds=0.01)
        assert row.status == "succeeded" and row.job_estimate is not None, (name, row.error)
        stored = row.job_estimate.training
        assert planned is not None and stored is not None
        assert stored == planned.model_copy(update={"remedies": ()}), name
        if backend == "fake":
            assert row.job_state is not None and row.job_state.hyperparameters == stored.hyperparameters.given()
            assert stored.steps.expected is None and stored.steps.unavailable, "it always takes six"
            continue
        body = received(backend, emulators[backend])
        assert {theirs: body.get(theirs) for theirs in stored.sent} == stored.sent, name
        sent_too = {theirs for theirs in stored.names.values() if theirs in body} - stored.sent.keys()
        if backend != "together":  # whose SDK sends its own defaults for what is left out
            assert not sent_too, (name, sent_too)
        _, seen = row.job_state, workspace.job(row.id).job_state
        assert seen is not None
        total, steps = seen.progress.total_steps, stored.steps
        if steps.expected is None:
            assert shape.get("provider_defaults") and backend != "together", (name, steps)
            continue
        assert total is not None and steps.low is not None and steps.high is not None
        assert steps.low <= total <= steps.high, (name, total, steps)
        if not stored.hyperparameters.given().get("packing", shape.get("provider_defaults")):
            assert total == steps.expected, (name, total, steps)
        assert [event.message for _, event in workspace.events(row.id) if event.type == "steps"] == []


def test_a_move_takes_the_steps_of_the_old_job(everywhere: tuple[JobService, dict[str, Any]], isolated: Path) -> None:
    """77 rows at OpenAI's own choice are 231 steps: an epoch of Together's default would have been one."""
    workspace, emulators = everywhere
    spec = spec_of("openai", dataset(isolated, Method.SFT, 77), Method.SFT, {"provider_defaults": True})
    old = workspace.drive(workspace.submit(spec, backend="openai").id, poll_seconds=0.01)
    assert old.status == "succeeded"
    migration = Migration("openai", settings=workspace.settings)
    try:
        migration.save(isolated / "saved")
        (moved,) = migration.plan("together", models=[LLAMA])
        lines = {line.name: line for line in moved.lines}
        assert (lines["steps"].old, lines["steps"].new) == ("231", "231")
        assert lines["learning_rate_multiplier"].new == "learning rate 5e-05"
        migration.start([moved])
        (row,) = migration.finish([moved])
    finally:
        migration.close()
    assert row.status == "succeeded" and row.job_state is not None and row.job_estimate is not None
    assert moved.choice is not None and moved.choice.settings is not None
    assert row.job_estimate.training == moved.choice.settings.model_copy(update={"remedies": ()})
    body = received("together", emulators["together"])
    assert {theirs: body[theirs] for theirs in row.job_estimate.training.sent} == row.job_estimate.training.sent
    assert row.job_state.progress.total_steps == 231 and body["learning_rate"] == 5e-5


@pytest.mark.parametrize("held_out", [False, True], ids=["alone", "validated"])
@pytest.mark.parametrize("method", METHODS)
def test_a_local_run_is_asked_for_what_was_planned(
    isolated: Path, settings: Settings, tmp_path: Path, method: Method, held_out: bool
) -> None:
    model = str(tiny_model(tmp_path / "model"))
    data = dataset(isolated, method, 77)
    validation = dataset(isolated, method, 12) if held_out else None
    planned = plan(data, model=model, method=method, validation=validation, settings=settings).training["local"]
    spec = TuneSpec(model=model, dataset=data, method=method, validation=validation)
    with JobService(settings) as workspace:
        submitted = workspace.plan(spec, backend="local").chosen.settings
    assert submitted is not None and submitted.hyperparameters == planned.hyperparameters
    file = DataFile(path=data, sha256="0" * 64, format="openai", rows=77, bytes=1)
    resolved = resolve_local_request(spec, file, load_manifest("local"), settings)
    asked = Hyperparameters.model_validate(resolved.hyperparameters)
    assert asked == planned.hyperparameters and planned.steps.expected == 100
    assert resolved.spec.provider_options == planned.options
    assert planned.options == ({"early_stopping": 2} if held_out and method is Method.SFT else {})


@pytest.mark.full
def test_a_real_run_takes_the_steps_that_were_told(isolated: Path, settings: Settings, tmp_path: Path) -> None:
    spec = TuneSpec(
        model=str(tiny_model(tmp_path / "model")),
        dataset=write_chats(isolated / "t.jsonl", 12),
        adapter=Adapter.LORA,
        hyperparameters=Hyperparameters(epochs=2),
    )
    with JobService(settings) as workspace:
        row = workspace.drive(workspace.submit(spec, backend="local").id, poll_seconds=0.2)
    assert row.status == "succeeded" and row.job_state is not None and row.job_estimate is not None
    steps, training = row.job_estimate.steps, row.job_estimate.training
    assert steps is not None and training is not None
    assert row.job_state.progress.total_steps == steps.expected == 6
    ran = {name: row.job_state.hyperparameters[name] for name in training.hyperparameters.given()}
    assert ran == training.hyperparameters.given(), json.dumps(ran)
