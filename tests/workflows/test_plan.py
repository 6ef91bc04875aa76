"""The plan of a run, as people and scripts see it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import FIXTURES
from tuneport.cli.main import main
from tuneport.errors import ConfigError, ModelNotOfferedError
from tuneport.types import Adapter
from tuneport.workflows.plan import plan

DATA = FIXTURES / "datasets" / "support_intents.train.jsonl"
CONFIG = {
    "hidden_size": 2048,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 8192,
    "vocab_size": 128256,
    "tie_word_embeddings": True,
}


def test_a_plan_adds_up() -> None:
    found = plan(DATA, model="llama-3.1-8b-instruct")
    assert found.adapter is Adapter.LORA and found.rows == 240
    assert found.memory is not None and found.memory.rule == "formula"
    assert found.run.micro_batch * found.accumulation == found.hyperparameters["batch_size"].value
    verdicts = {row.fit.gpu: row.fit.verdict for row in found.gpus}
    assert verdicts["T4"] == "no" and verdicts["H100 SXM"] == "yes"
    best = found.cheapest
    assert best is not None and best.fit.verdict == "yes"
    assert best.usd == min(row.usd for row in found.gpus if row.usd is not None and row.fit.verdict == "yes")
    assert "virtual_tokens" not in found.hyperparameters and "lora_rank" in found.hyperparameters
    assert found.knobs["openai"]["learning_rate_multiplier"] == 1.0
    assert json.loads(json.dumps(found.as_dict(), default=str))["cheapest_gpu"] == best.fit.gpu


def test_what_the_user_gave_stands_and_moves_the_estimate() -> None:
    usual = plan(DATA, model="llama-3.1-8b-instruct", gpus=["A100 80GB"])
    more = plan(DATA, model="llama-3.1-8b-instruct", gpus=["A100 80GB"], hyperparameters={"epochs": 9, "lora_rank": 64})
    assert more.hyperparameters["epochs"].chosen_by == "user"
    assert usual.memory and more.memory and more.memory.high_gib > usual.memory.high_gib
    (short,), (long,) = usual.gpus, more.gpus
    assert short.duration.expected_seconds and long.duration.expected_seconds
    assert long.duration.expected_seconds > short.duration.expected_seconds


def test_how_long_answers_take_is_not_made_up() -> None:
    found = plan(DATA, model="llama-3.1-8b-instruct", gpus=["A100 80GB"], method="grpo")
    [card] = found.gpus
    assert card.duration.unavailable and "depends on the answers" in card.duration.unavailable and card.usd is None
    assert found.hyperparameters["beta"].value == 0.04 and "lora_dropout" not in found.hyperparameters


def test_a_config_json_is_all_that_is_needed_of_a_model(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model.safetensors").write_bytes(b"not read")
    found = plan(DATA, model=str(folder), adapter="qlora")
    assert found.shape_from == str(folder / "config.json")
    assert found.params_b == pytest.approx(1.236, rel=0.01)
    named = plan(DATA, model="llama-3.2-1b-instruct", adapter="qlora")
    assert found.memory and named.memory and found.memory.low_gib == pytest.approx(named.memory.low_gib)


@pytest.mark.parametrize(
    ("config", "complaint"),
    [({"hidden_size": 8}, "num_hidden_layers"), (CONFIG | {"num_local_experts": 8}, "mixture of 8 experts")],
)
def test_a_shape_that_is_not_known_is_no_guess(tmp_path: Path, config: dict[str, object], complaint: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"not read")
    with pytest.raises(ConfigError, match=complaint):
        plan(DATA, model=str(folder))


def test_names_that_there_are_not() -> None:
    with pytest.raises(ConfigError, match="is not known; use one of"):
        plan(DATA, model="llama-3.1-8b-instruct", gpus=["Voodoo 2"])
    with pytest.raises((ConfigError, ModelNotOfferedError)):
        plan(DATA, model="no-such-model")


def test_the_adapters_side_by_side() -> None:
    found = plan(DATA, model="llama-3.1-8b-instruct")
    by_adapter = {row.adapter: row for row in found.adapters}
    assert set(by_adapter) == set(Adapter)
    trained = [
        by_adapter[adapter].trained or 0 for adapter in (Adapter.PROMPT, Adapter.PREFIX, Adapter.LORA, Adapter.FULL)
    ]
    assert trained == sorted(trained) and trained[0] > 0
    assert by_adapter[Adapter.QLORA].gpu == "T4" and by_adapter[Adapter.FULL].gpu != "T4"
    assert found.choice is not None and found.choice.startswith("lora")
    only_small = plan(DATA, model="llama-3.1-8b-instruct", gpus=["T4"])
    assert only_small.choice is not None and only_small.choice.startswith("qlora")
    none = plan(DATA, model="llama-3.3-70b-instruct", gpus=["T4"])
    assert none.choice is not None and "none fits" in none.choice


@pytest.mark.parametrize(
    "arguments", [[], ["--compare"], ["--adapter", "prompt"], ["--gpu", "L40S", "--set", "epochs=2"]]
)
def test_it_fits_80_columns(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["plan", str(DATA), "--model", "llama-3.1-8b-instruct", *arguments]) == 0
    printed = capsys.readouterr().out
    assert max(len(line) for line in printed.splitlines()) <= 80
    assert "240 rows" in printed
