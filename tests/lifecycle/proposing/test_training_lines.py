"""A job's numbers and steps, as they are read before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.tiny import tiny_model
from tests.support.workspaces import write_chats
from tuneport.backends.local.request import resolve_local_request
from tuneport.lifecycle.service import JobService
from tuneport.manifests import load_manifest
from tuneport.settings import Settings
from tuneport.types import Hyperparameters, TuneSpec

MODELS = {"openai": "gpt-4.1-mini", "together": "llama-3.1-8b-instruct", "local": "smollm2-135m-instruct"}


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    monkeypatch.setenv("TOGETHER_API_KEY", "x")


def lines(isolated: Path, backend: str, *, rows: int = 77, own: bool = False, **numbers: object) -> dict[str, str]:
    spec = TuneSpec(
        model=MODELS[backend],
        dataset=write_chats(isolated / "train.jsonl", rows=rows),
        hyperparameters=Hyperparameters.model_validate(numbers),
        provider_defaults=own,
    )
    with JobService(Settings.load(isolated)) as workspace:
        return dict(workspace.propose(spec, backend=backend).lines())


def test_steps_and_what_is_sent_are_told_in_the_providers_words(keys: None, isolated: Path) -> None:
    openai = lines(isolated, "openai")
    assert openai["steps"] == "100 (77 rows / batch 4 = 20 x 5 epochs)"
    assert openai["sends"] == "n_epochs 5, batch_size 4"
    assert openai["auto"] == "learning_rate_multiplier: OpenAI publishes no rate and picks one"
    together = lines(isolated, "together")
    assert together["steps"] == openai["steps"] and "WARNING" not in together
    assert together["sends"].startswith("n_epochs 5, batch_size 4, packing false, learning_rate 0.0001, ")
    assert "max_seq_length 1024" in together["sends"]
    local = lines(isolated, "local")
    assert local["steps"] == openai["steps"] and local["trains with"].startswith("epochs 5, batch_size 4, ")


def test_few_steps_are_a_warning_with_the_remedy_and_its_price(keys: None, isolated: Path) -> None:
    told = lines(isolated, "together", packing=True, batch_size=8)
    assert told["WARNING"] == (
        "5 optimizer steps (100 are meant): the model hardly changes; --set packing=false: 50 steps, still $4.00"
    )
    openai = lines(isolated, "openai", batch_size=64)["WARNING"]
    assert "10 optimizer steps (100 are meant)" in openai and "--set batch_size=4: 100 steps, still $" in openai
    assert lines(isolated, "local", rows=5)["WARNING"].endswith("; train on more rows")


def test_the_providers_defaults_are_told_as_such(keys: None, isolated: Path) -> None:
    together = lines(isolated, "together", own=True)
    assert together["sends"] == "no numbers: the provider's defaults"
    assert "Together.ai's own, as far as it says: epochs 1, batch_size max" in together["auto"]
    assert "leave --provider-defaults out: 100 steps, still $4.00" in together["WARNING"]
    assert lines(isolated, "openai", own=True)["steps"] == "not known, because OpenAI picks the batch"


def test_a_folder_of_weights_is_shown_with_the_rate_that_its_run_takes(isolated: Path, tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "tiny")
    data = write_chats(isolated / "train.jsonl", rows=77)
    settings = Settings.load(isolated)
    with JobService(settings) as workspace:
        proposal = workspace.propose(TuneSpec(model=str(model), dataset=data), backend="local")
    shown = proposal.plan.chosen.settings
    run = resolve_local_request(proposal.spec, proposal.data.training, load_manifest("local"), settings).hyperparameters
    assert shown is not None and shown.hyperparameters.model_dump() == run | {"packing": "auto"}
    assert run["learning_rate"] == 2.5e-4  # of a small model; one of an unknown size would get 1e-4
