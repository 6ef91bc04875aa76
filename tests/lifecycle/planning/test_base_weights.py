"""A base model that is not on this machine is found out before there is a job."""

from __future__ import annotations

from pathlib import Path

import pytest

import tuneport
from tests.support.commands import Run
from tests.support.folders import FIXTURES
from tuneport.backends import backend_manifest
from tuneport.backends.local import presence
from tuneport.backends.local.presence import BaseModelPresence
from tuneport.errors import ConfigError, UnsupportedError
from tuneport.lifecycle.planning import base_weights
from tuneport.lifecycle.planning.base_weights import find_absent_base_models
from tuneport.lifecycle.service import JobService
from tuneport.settings import Settings
from tuneport.types import TuneSpec

TRAIN = FIXTURES / "datasets" / "support_intents.train.jsonl"
LLAMA = TuneSpec(model="llama-3.1-8b-instruct", dataset=TRAIN)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def test_no_row_is_written_for_weights_that_are_not_here(run: Run) -> None:
    told = r"weights of llama-3.1-8b-instruct \(about 16.1 GB\) are not on this machine, and HF_HUB_OFFLINE forbids"
    with pytest.raises(ConfigError, match=told):
        tuneport.submit(TRAIN, model=LLAMA.model, backend="local", confirm=False, anyway=True)
    code, _, error = run("submit", "--yes", "--anyway", str(TRAIN), "-m", LLAMA.model, "--backend", "local")
    assert code == 2 and "hf download meta-llama/Llama-3.1-8B-Instruct --local-dir FOLDER" in error
    with pytest.raises(UnsupportedError, match="no backend can run this job now: local: the weights of llama-3.1-8b"):
        tuneport.submit(TRAIN, model=LLAMA.model, confirm=False, anyway=True)
    assert tuneport.jobs() == []


def test_what_will_be_downloaded_is_in_the_proposal(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(model: str, *, home: Path, ask_hub: bool) -> BaseModelPresence:
        assert ask_hub, "the hub says whether it has the model, and how large it is"
        return BaseModelPresence(False, 988_000_000)

    monkeypatch.setattr(base_weights, "find_base_model_presence", absent)
    spec = LLAMA.model_copy(update={"model": "qwen2.5-0.5b-instruct"})
    with JobService(settings) as workspace:
        lines = workspace.propose(spec, backend="local").lines()
    told = "the weights of qwen2.5-0.5b-instruct are not on this machine and are downloaded first (about 988 MB)"
    assert ("note", told) in lines


def test_ranking_for_a_page_asks_no_hub(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(presence, "_ask_hub", lambda name: pytest.fail("the hub was asked"))
    found = find_absent_base_models(LLAMA, settings, [backend_manifest("local", settings)], ask_hub=False)
    assert not found.refusals and "about 16.1 GB" in found.downloads["local"]


def test_a_cluster_has_disks_of_its_own(settings: Settings) -> None:
    manifests = [backend_manifest(name, settings) for name in ("local", "together")]
    elsewhere = LLAMA.model_copy(update={"provider_options": {"executor": "slurm"}})
    assert find_absent_base_models(elsewhere, settings, manifests, ask_hub=True).refusals == {}
    assert find_absent_base_models(LLAMA, settings, manifests, ask_hub=True).refusals.keys() == {"local"}
