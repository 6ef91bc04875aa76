"""The plan of a run, as people and scripts see it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.folders import FIXTURES
from tuneport.cli.main import main
from tuneport.errors import ConfigError, ModelNotOfferedError, UnsupportedError
from tuneport.types import Adapter, Method
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


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    row = {"prompt": "Which day is it?", "chosen": "Monday.", "rejected": "I do not know, and I do not care."}
    path.write_text("\n".join(json.dumps(row | {"prompt": f"{number}: Which day is it?"}) for number in range(40)))
    return path


def test_a_plan_adds_up() -> None:
    found = plan(DATA, model="llama-3.1-8b-instruct")
    assert found.adapter is Adapter.LORA and found.rows == 240
    assert found.memory.rule == "formula"
    assert found.run.micro_batch * found.accumulation == found.hyperparameters["batch_size"].value
    where = {row.fit.gpu: row for row in found.gpus}
    assert where["T4"].fit.count == 2 and where["T4"].fit.run.sharding == "fsdp" and where["T4"].name == "2 x T4"
    assert where["H100 SXM"].fit.verdict == "yes" and where["H100 SXM"].fit.count == 1
    best = found.cheapest
    assert best is not None and best.fit.verdict == "yes"
    assert best.usd == min(row.usd for row in found.gpus if row.usd is not None and row.fit.verdict == "yes")
    assert "virtual_tokens" not in found.hyperparameters and "lora_rank" in found.hyperparameters
    assert found.settings["local"]["lr_scheduler_type"] == "cosine"
    assert {"local", "together"} <= set(found.offered_by) and "openai" not in found.offered_by
    assert [*found.settings] == [*found.training] == found.offered_by, (
        "of a backend that lacks the model nothing is told"
    )
    steps = found.training["local"].steps
    assert (steps.expected, steps.explanation) == (90, "240 rows / batch 8 = 30 x 3 epochs")
    sent = found.settings["together"]
    # At 512, as before, Together refuses the job after the upload; and packed it would take three steps.
    assert (sent["n_epochs"], sent["batch_size"], sent["max_seq_length"], sent["packing"]) == (3, 8, 1024, False)
    assert found.training["together"].steps.expected == 90
    assert found.as_dict()["knobs"] == found.as_dict()["settings"]
    with pytest.warns(DeprecationWarning, match="settings"):
        assert found.knobs is found.settings
    assert found.options["gradient_accumulation_steps"].value == found.accumulation
    assert json.loads(json.dumps(found.as_dict(), default=str))["cheapest"] == best.name


def test_a_run_with_a_validation_file_is_planned_as_it_will_train() -> None:
    """It keeps its best epoch, and so a small batch does not lower its rate."""
    usual = plan(DATA, model="llama-3.1-8b-instruct").hyperparameters
    kept = plan(DATA, model="llama-3.1-8b-instruct", validation=DATA).hyperparameters
    assert (usual["learning_rate"].value, kept["learning_rate"].value) == (1.4e-4, 2e-4)
    assert usual["max_length"].value < 100, "the trainer takes the longest example, not 512"
    assert "longest example" in usual["max_length"].because


def test_what_the_user_gave_stands_and_moves_the_estimate() -> None:
    usual = plan(DATA, model="llama-3.1-8b-instruct", gpu=["A100 80GB"])
    more = plan(DATA, model="llama-3.1-8b-instruct", gpu=["A100 80GB"], hyperparameters={"epochs": 9, "lora_rank": 64})
    assert more.hyperparameters["epochs"].chosen_by == "user"
    assert more.memory.high_gib > usual.memory.high_gib
    (short,), (long,) = usual.gpus, more.gpus
    assert short.duration.expected_seconds and long.duration.expected_seconds
    assert long.duration.expected_seconds > short.duration.expected_seconds


def test_options_of_a_run_move_the_estimate() -> None:
    def high(**options: object) -> float:
        return plan(DATA, model="llama-3.1-8b-instruct", gpu=["A100 80GB"], options=options).memory.high_gib

    usual = high()
    assert high(gradient_checkpointing=False) > usual
    assert high(lora_target_modules=["q_proj", "v_proj"]) < usual
    assert high(lora_variant="dora") > usual
    assert high(precision="fp32") > 1.8 * usual
    assert high(optimizer="adamw_8bit") == high(optimizer="paged_adamw_8bit") < usual
    found = plan(DATA, model="llama-3.1-8b-instruct", options={"lora_target_modules": ["q_proj"]})
    assert found.options["lora_target_modules"].value == "q" and found.run.lora_targets == ("q",)
    with pytest.raises(UnsupportedError, match="does not take the option"):
        high(no_such_option=1)
    with pytest.raises(UnsupportedError, match=r"does not take the option preciison; did you mean precision\?$"):
        high(preciison="bf16")
    with pytest.raises(ConfigError, match="does not know the module lm_head"):
        high(lora_target_modules=["lm_head"])
    with pytest.raises(ConfigError, match="does not cover lora_modules_to_save"):
        high(lora_modules_to_save=["embed_tokens"])


def test_several_workers_share_a_model_that_one_does_not_hold() -> None:
    def on_a100(**options: object) -> tuple[str, int, str]:
        [card] = plan(DATA, model="llama-3.1-8b-instruct", adapter="full", gpu=["A100 80GB SXM"], options=options).gpus
        return card.fit.verdict, card.fit.count, card.fit.run.sharding

    assert on_a100() == ("yes", 2, "fsdp")
    assert on_a100(workers=8) == ("yes", 8, "fsdp")
    assert on_a100(workers=1) == ("no", 1, "none")
    assert on_a100(workers=8, sharding="ddp")[0] == "no"
    [small] = plan(DATA, model="llama-3.2-1b-instruct", gpu=["L4"], options={"workers": 4}).gpus
    assert (small.fit.verdict, small.fit.count, small.fit.run.sharding) == ("yes", 4, "ddp")
    [one] = plan(DATA, model="llama-3.2-1b-instruct", gpu=["L4"]).gpus
    assert one.duration.expected_seconds and small.duration.expected_seconds
    assert small.duration.expected_seconds < one.duration.expected_seconds


@pytest.mark.parametrize("method", list(Method))
@pytest.mark.parametrize("adapter", ["full", "lora", "qlora"])
def test_every_method_is_planned(method: Method, adapter: str, pairs: Path) -> None:
    data = pairs if method in (Method.DPO, Method.REWARD) else DATA
    own: dict[Method, dict[str, object]] = {
        Method.RFT: {"messages": [{"role": "user", "content": "What is 2 + 2?"}], "answer": "4"},
        Method.KTO: {"prompt": "What is 2 + 2?", "completion": "4", "label": True},
    }
    if method in own:
        data = pairs.with_name("own.jsonl")
        data.write_text("\n".join([json.dumps(own[method])] * 40))
    found = plan(data, model="llama-3.2-1b-instruct", method=method, adapter=adapter, gpu=["A100 80GB"])
    parts = found.memory.components_gib
    compares = method in (Method.DPO, Method.KTO, Method.GRPO, Method.RLOO, Method.RFT)
    assert ("reference model" in parts) == (compares and adapter == "full")
    if method.writes_answers:
        assert found.run.length > 512 and found.run.generation_batch >= 4 * found.hyperparameters["batch_size"].value
        [card] = found.gpus
        assert card.duration.unavailable and "depends on the answers" in card.duration.unavailable and card.usd is None


def test_how_long_answers_take_is_not_made_up() -> None:
    found = plan(DATA, model="llama-3.1-8b-instruct", gpu=["A100 80GB"], method="grpo")
    assert found.hyperparameters["beta"].value == 0.04 and "lora_dropout" not in found.hyperparameters
    longer = plan(
        DATA, model="llama-3.1-8b-instruct", method="grpo", options={"max_completion_length": 4096, "generations": 16}
    )
    assert longer.memory.components_gib["generation cache"] > found.memory.components_gib["generation cache"] * 8


def test_the_reference_takes_time(pairs: Path) -> None:
    [dpo] = plan(pairs, model="llama-3.1-8b-instruct", method="dpo", gpu=["A100 80GB"]).gpus
    [reward] = plan(pairs, model="llama-3.1-8b-instruct", method="reward", gpu=["A100 80GB"]).gpus
    assert dpo.duration.expected_seconds and reward.duration.expected_seconds
    loading = 30
    assert dpo.duration.expected_seconds - loading > 1.2 * (reward.duration.expected_seconds - loading)


def test_a_config_json_is_all_that_is_needed_of_a_model(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model.safetensors").write_bytes(b"not read")
    found = plan(DATA, model=str(folder), adapter="qlora")
    assert found.model.known_from == str(folder / "config.json")
    assert found.model.params_b == pytest.approx(1.236, rel=0.01)
    named = plan(DATA, model="llama-3.2-1b-instruct", adapter="qlora")
    assert found.memory.low_gib == pytest.approx(named.memory.low_gib)


def test_the_models_own_code_is_traced_where_it_is_at_hand(tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="local training is an extra: pip install 'tuneport[local]'")
    folder = tmp_path / "model"
    folder.mkdir()
    small = CONFIG | {"hidden_size": 256, "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 2}
    (folder / "config.json").write_text(json.dumps(small | {"model_type": "llama", "intermediate_size": 1024}))
    (folder / "model.safetensors").write_bytes(b"not read")
    found = plan(DATA, model=str(folder), adapter="prompt", exact=True)
    assert found.traced is not None and found.traced.low_gib == pytest.approx(found.memory.low_gib, rel=0.12)
    (folder / "config.json").write_text(json.dumps(small | {"model_type": "no-such-model"}))
    found = plan(DATA, model=str(folder), exact=True)
    assert found.traced is None and found.not_traced and "cannot be traced" in found.not_traced


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
        plan(DATA, model="llama-3.1-8b-instruct", gpu=["Voodoo 2"])
    with pytest.raises((ConfigError, ModelNotOfferedError)):
        plan(DATA, model="no-such-model")


def test_the_ways_side_by_side() -> None:
    found = plan(DATA, model="llama-3.1-8b-instruct", compare=True)
    ways = {(way.name, way.adapter): way for way in found.ways}
    assert {adapter for name, adapter in ways if name == "sft"} == set(Adapter)
    trained = [ways["sft", adapter].trained or 0 for adapter in (Adapter.PROMPT, Adapter.PREFIX, Adapter.LORA)]
    assert trained == sorted(trained) and trained[0] > 0
    assert ways["sft", Adapter.FULL].trained == ways["sft", Adapter.FULL].total
    for name in ("dpo", "rlhf"):
        assert "preference pairs" in (ways[name, Adapter.LORA].needs or "")
    rlhf = ways["rlhf", Adapter.LORA]
    assert [stage.method for stage in rlhf.stages] == [Method.REWARD, Method.GRPO]
    assert rlhf.usd is None and rlhf.unavailable and rlhf.memory == rlhf.stages[1].memory
    assert found.chosen is ways["sft", Adapter.LORA] and found.choice and "few for moving all weights" in found.choice


def test_the_choice_depends_on_the_gpus_and_the_budget() -> None:
    def chosen(model: str = "llama-3.1-8b-instruct", **given: object) -> tuple[str | None, str]:
        found = plan(DATA, model=model, compare=True, **given)  # type: ignore[arg-type]
        return found.chosen and found.chosen.adapter.value, found.choice or ""

    one = {"workers": 1}
    assert chosen(gpu=["T4"], options=one)[0] == "qlora"
    adapter, why = chosen("llama-3.3-70b-instruct", gpu=["T4"], options=one)
    assert adapter is None and "none fits" in why
    assert chosen(budget=10.0)[0] == "lora"
    adapter, why = chosen(budget=0.0001)
    assert adapter is None and "stays within $0.00" in why and "is about" in why


def test_pairs_are_for_preference_tuning(pairs: Path) -> None:
    found = plan(pairs, model="llama-3.1-8b-instruct", method="dpo", compare=True)
    assert found.chosen is not None and (found.chosen.name, found.chosen.adapter) == ("dpo", Adapter.LORA)
    assert all((way.needs is None) == (way.name in ("dpo", "rlhf")) for way in found.ways)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--compare"],
        ["--compare", "--budget", "0.01"],
        ["--adapter", "prompt"],
        ["--gpu", "L40S", "--set", "epochs=2", "--option", "workers=2"],
        ["--method", "grpo", "--adapter", "full"],
    ],
)
def test_it_fits_80_columns(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["plan", str(DATA), "--model", "llama-3.1-8b-instruct", *arguments]) == 0
    printed = capsys.readouterr().out
    assert max(len(line) for line in printed.splitlines()) <= 80
    assert "240 rows" in printed


def test_a_budget_alone_chooses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(DATA), "--model", "llama-3.1-8b-instruct", "--budget", "5"]) == 2
    assert "--compare" in capsys.readouterr().err
