"""What can be tuned where: the facts of the manifests, and the weights of this machine."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

import tuneport
from tests.support.tiny import tiny_model
from tuneport.errors import ConfigError, UnsupportedError
from tuneport.settings import Settings
from tuneport.workflows.models import TunableModel, TunableModels, models, serving_words, training_words

TODAY = date(2026, 11, 28)


def offers(found: TunableModels) -> dict[tuple[str, str], TunableModel]:
    return {(each.backend, each.name): each for each in found.offers}


def test_what_can_be_tuned_where(settings: Settings) -> None:
    found = models(settings=settings, today=TODAY)
    assert list(found.titles) == ["azure", "local", "openai", "together"], "no backend that only answers"
    rows = offers(found)
    mini, llama = rows["openai", "gpt-4.1-mini"], rows["together", "llama-3.1-8b-instruct"]
    assert (mini.id, mini.shuts_down) == ("gpt-4.1-mini-2025-04-14", date(2027, 1, 14))
    assert (training_words(mini), serving_words(mini)) == ("$5.00/M", "$0.80/$3.20")
    assert (training_words(llama), serving_words(llama)) == ("$0.48/M", "$3.99/hour")
    assert llama.training_minimum_usd == 4 and llama.licence == "Llama 3.1 Community" and llama.here is None
    assert training_words(rows["azure", "o4-mini-2025-04-16"]) == "$100.00/hour"
    assert training_words(rows["local", "qwen3-8b"]) == "your machine"
    assert found.needs["openai"] == "OPENAI_API_KEY" and found.no_new_jobs_from == {"openai": date(2027, 1, 6)}


def test_a_retired_model_is_not_offered(settings: Settings) -> None:
    assert ("openai", "gpt-4.1-nano") not in offers(models(settings=settings, today=TODAY))
    assert ("openai", "gpt-4.1-nano") in offers(models(settings=settings, today=date(2026, 10, 22)))


def test_the_weights_of_this_machine(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    for name in ("Qwen--Qwen3-0.6B", "me--mine"):
        tiny_model(cache / f"models--{name}" / "snapshots" / "1")
        (cache / f"models--{name}" / "refs").mkdir()
        (cache / f"models--{name}" / "refs" / "main").write_text("1")
    encoder = cache / "models--me--encoder" / "snapshots" / "1"
    encoder.mkdir(parents=True)
    (encoder / "config.json").write_text(json.dumps({"architectures": ["BertModel"]}))
    (encoder / "model.safetensors").write_bytes(b"")
    here = {each.name for each in models(local=True, settings=settings).offers}
    assert {"qwen3-0.6b", "me/mine"} <= here and "me/encoder" not in here and "qwen3-8b" not in here
    rows = offers(models(backend="local", settings=settings))
    assert rows["local", "qwen3-0.6b"].here and rows["local", "qwen3-8b"].here is False
    assert rows["local", "qwen3-8b"].download_bytes == pytest.approx(16.4e9, rel=0.01)
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002.safetensors"}}
    snapshot = cache / "models--Qwen--Qwen3-0.6B" / "snapshots" / "1"
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    rows = offers(models(backend="local", settings=settings))
    assert rows["local", "qwen3-0.6b"].here is False, "half of it is there"


def test_a_backend_that_tunes_none_or_does_not_exist(settings: Settings) -> None:
    with pytest.raises(UnsupportedError, match="tunes no models"):
        models(backend="anthropic", settings=settings)
    with pytest.raises(ConfigError, match="there is no backend 'opnai'"):
        models(backend=["openai", "opnai"], settings=settings)


def test_every_name_leads_to_its_model(settings: Settings) -> None:
    """What is printed can be typed: on its own backend, each name means this very id."""
    from tuneport.backends.routing import BackendCatalogue

    catalogue = BackendCatalogue(settings)
    found = models(settings=settings, today=TODAY).offers
    assert len(found) > 60
    assert [each for each in found if catalogue.resolve_model(each.name, each.backend) != each.id] == []


def test_it_is_a_verb_and_a_document() -> None:
    found = tuneport.models(backend="openai", today=TODAY)
    document = json.loads(json.dumps(found.as_dict()))
    assert document["data"][0]["shuts_down"] == "2027-01-14" and document["needs"] == {"openai": "OPENAI_API_KEY"}
    assert "gpt-4.1-mini" in found._repr_html_()
