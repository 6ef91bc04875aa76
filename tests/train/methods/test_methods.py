"""Every method with every adapter that it can have: the loss falls, what is saved loads as it was, and it answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.folders import CHECKOUT
from tests.support.tiny import labelled_rows, lines_of, make_run, preference_rows, state_of, write_rows
from tuneport.backends.local.request import check_local_request
from tuneport.errors import UnsupportedError
from tuneport.train.__main__ import train_run_folder
from tuneport.types import Adapter, Method, TuneSpec

METHODS = ("sft", "text", "dpo", "kto")
ANSWERING = ("grpo", "rloo", "rft")
ADAPTERS = ("full", "lora", "qlora", "prefix", "prompt")
TRAINED = {*((method, adapter) for method in METHODS for adapter in ADAPTERS)} | {
    *((method, adapter) for method in (*ANSWERING, "reward") for adapter in ("full", "lora", "qlora"))
}
# Each method and each adapter once in every run of the tests, the other cells with `make test-full`.
MATRIX = [
    pytest.param(method, adapter, marks=() if method == "sft" or adapter == "lora" else pytest.mark.full)
    for method in METHODS
    for adapter in ADAPTERS
]
RATES = {"full": 3e-3, "prefix": 0.05, "prompt": 0.05}


def losses(folder: Path) -> list[float]:
    return [row["train_loss"] for row in lines_of(folder / "metrics.jsonl") if "train_loss" in row]


def logits_of_peft(base: Path, adapter: Path, prompt: list[int]) -> Any:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), str(adapter))
    with torch.no_grad():
        ids = torch.tensor([prompt])
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, -1]


@pytest.mark.parametrize(("method", "adapter"), MATRIX)
def test_it_learns_loads_again_and_answers(
    method: str, adapter: str, home: Path, model: Path, data: Path, tmp_path: Path
) -> None:
    if adapter == "qlora":
        pytest.importorskip("bitsandbytes", reason="QLoRA needs bitsandbytes")
    spec: dict[str, Any] = {"adapter": adapter, "method": "sft" if method == "text" else method}
    if method == "text":
        rows = [{"text": f"The colour of banana {number} is yellow."} for number in range(16)]
        data = write_rows(tmp_path / "text.jsonl", rows)
        spec["format"] = "text"
    if method == "dpo":
        data = write_rows(tmp_path / "pairs.jsonl", preference_rows(8))
        spec["format"] = "openai-preference"
    if method == "kto":
        data = write_rows(tmp_path / "labelled.jsonl", labelled_rows(16))
        spec["format"] = "trl"
    numbers = {"epochs": 4, "learning_rate": RATES.get(adapter, 0.01), "virtual_tokens": 6}
    folder = make_run(home, model, data, hyperparameters=numbers, **spec)

    assert train_run_folder(folder) == 0, state_of(folder)["error"]

    assert sum(losses(folder)[-2:]) < sum(losses(folder)[:2])
    loads_and_answers(folder, model, adapter)


def loads_and_answers(folder: Path, model: Path, adapter: str) -> None:
    """What was saved gives the logits of PEFT's own loading, alone and in a batch, and they are not the base's."""
    import torch

    from tests.infer.answering import answer
    from tuneport.base_models import BaseModelDevice
    from tuneport.infer.batch import prefill_prompts
    from tuneport.infer.engine import InferenceEngine
    from tuneport.infer.sampling import SamplingOptions

    assert 0 < state_of(folder)["trainable_parameters"] <= state_of(folder)["total_parameters"]
    engine = InferenceEngine(folder / "model" if adapter == "full" else model, BaseModelDevice("cpu", "fp32"))
    prompt = engine.tokenizer("banana 3")["input_ids"]
    name = None
    if adapter != "full":
        name = "tuned"
        engine.load_adapter(name, folder / "adapter")
        base, _ = prefill_prompts(engine, [prompt], None)
        tuned, _ = prefill_prompts(engine, [prompt], name)
        twice, _ = prefill_prompts(engine, [prompt, prompt[:5]], name)
        assert torch.allclose(tuned[0], logits_of_peft(model, folder / "adapter", prompt), atol=1e-4)
        assert torch.allclose(tuned[0], twice[0], atol=1e-4)
        assert (tuned - base).abs().max() > 0.01
    assert list(answer(engine, [prompt], SamplingOptions(max_tokens=3), adapter=name))


LETTERS = """
def share_of_letters(prompts, completions, wanted, **columns):
    assert prompts[0][0]["role"] == "user" and len(wanted) == len(completions)
    answers = [turns[0]["content"] for turns in completions]
    return [sum(map(str.isalpha, filter(str.isascii, text))) / max(1, len(text)) for text in answers]
"""
LETTERS_GRADER = {
    "type": "python",
    "name": "letters",
    "source": """
def grade(sample, item):
    assert item["wanted"] == "letters"
    text = sample["output_text"]
    return sum(map(str.isalpha, filter(str.isascii, text))) / max(1, len(text))
""",
}


@pytest.mark.parametrize(
    ("method", "adapter"),
    [
        pytest.param(method, adapter, marks=() if (method, adapter) == ("grpo", "lora") else pytest.mark.full)
        for method in ANSWERING
        for adapter in ADAPTERS
        if (method, adapter) in TRAINED
    ],
)
def test_answers_are_worth_more_as_it_learns_from_them(
    method: str, adapter: str, home: Path, model: Path, tmp_path: Path
) -> None:
    if adapter == "qlora":
        pytest.importorskip("bitsandbytes", reason="QLoRA needs bitsandbytes")
    (tmp_path / f"letters_{method}_{adapter}.py").write_text(LETTERS)
    rows = [{"messages": [{"role": "user", "content": f"Say {n}"}], "wanted": "letters"} for n in range(8)]
    data = write_rows(tmp_path / "questions.jsonl", rows)
    options = {"precision": "fp32", "generations": 8, "max_completion_length": 8}
    spec: dict[str, Any] = {"adapter": adapter, "method": method, "format": "openai-reinforcement"}
    if method == "rft":
        spec |= {"grader": LETTERS_GRADER, "provider_options": options | {"run_grader_code": True}}
    else:
        spec |= {"reward": f"letters_{method}_{adapter}:share_of_letters", "reward_folder": str(tmp_path)}
        spec |= {"provider_options": options}
    numbers = {"epochs": 5, "learning_rate": RATES.get(adapter, 0.02), "beta": 0.01}
    folder = make_run(home, model, data, validation=data, hyperparameters=numbers, **spec)

    assert train_run_folder(folder) == 0, state_of(folder)["error"]

    steps = lines_of(folder / "metrics.jsonl")
    rewards = [row["extra"]["reward"] for row in steps if "reward" in row["extra"]]
    assert len(rewards) == 10 and sum(rewards[-2:]) / 2 > sum(rewards[:2]) / 2 + 0.1
    validation = [row["extra"]["valid_reward"] for row in steps if "valid_reward" in row["extra"]]
    assert len(validation) == 5 and validation[-1] > validation[0]
    first, last = steps[0]["extra"], [row for row in steps if "reward" in row["extra"]][-1]["extra"]
    assert first["kl"] < last["kl"] and 0 < last["completion_length"] <= 8 and last["reward_std"] >= 0
    # 10 steps of 4 questions with 8 answers, of which each is read with its prompt.
    assert 10 * 4 * 8 * 40 < state_of(folder)["trained_tokens"] < 10 * 4 * 8 * 60
    loads_and_answers(folder, model, adapter)


@pytest.mark.parametrize("adapter", Adapter)
@pytest.mark.parametrize("method", Method)
def test_every_other_cell_of_the_matrix_is_refused_before_anything_is_loaded(method: Method, adapter: Adapter) -> None:
    spec = TuneSpec(
        model="nothing-is-looked-up",
        dataset=Path("nothing-is-read.jsonl"),
        method=method,
        adapter=adapter,
        reward="module:function" if method.takes_reward else None,
        grader=LETTERS_GRADER if method is Method.RFT else None,
        provider_options={"run_grader_code": True} if method is Method.RFT else {},
    )
    if (method.value, adapter.value) in TRAINED:
        assert check_local_request(spec) is adapter
        return
    with pytest.raises(UnsupportedError, match="choose lora, qlora or full"):
        check_local_request(spec)


def test_the_readme_has_the_same_matrix() -> None:
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    head = next(line for line in readme.splitlines() if line.startswith("| method | data |"))
    columns = re.findall(r"`(\w+)`", head)
    rows = readme.split(head)[1].strip().split("\n\n")[0].splitlines()[1:]
    told = set()
    for row in rows:
        name, _, *cells = [cell.strip() for cell in row.strip("|").split("|")]
        method = "text" if "text" in name else name.strip("`")
        told |= {(method, adapter) for adapter, cell in zip(columns, cells, strict=True) if cell.startswith("yes")}
        assert all(cell.startswith(("yes", "no: ")) for cell in cells)
    assert len(rows) == len(Method) + 1 and told == TRAINED


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_modules_that_are_trained_whole_are_saved_and_loaded(
    precision: str, home: Path, model: Path, data: Path
) -> None:
    from safetensors.torch import load_file

    options = {"precision": precision, "lora_modules_to_save": ["embed_tokens"]}
    folder = make_run(home, model, data, provider_options=options)

    assert train_run_folder(folder) == 0, state_of(folder)["error"]

    saved = load_file(folder / "adapter" / "adapter_model.safetensors")
    whole = {name.split(".")[-2]: value for name, value in saved.items() if "lora_" not in name}
    base = load_file(model / "model.safetensors")["model.embed_tokens.weight"]
    # The head of this model is its embedding, and stays so.
    assert whole.keys() == {"embed_tokens", "lm_head"} and bool((whole["lm_head"] == whole["embed_tokens"]).all())
    assert (whole["embed_tokens"] - base).abs().max() > 0.01
    assert state_of(folder)["trainable_parameters"] > base.numel()
    loads_and_answers(folder, model, "lora")


@pytest.mark.parametrize("option", ["lora_target_modules", "lora_modules_to_save"])
def test_a_module_that_there_is_not_is_named_with_those_that_there_are(
    option: str, home: Path, model: Path, data: Path
) -> None:
    folder = make_run(home, model, data, provider_options={"precision": "fp32", option: ["q_proj", "wq"]})

    assert train_run_folder(folder) == 1
    error = state_of(folder)["error"]
    assert (error["code"], error["fault"]) == ("invalid_config", "user")
    assert f"{option} names wq, and the model has no such module; it has down_proj, " in error["message"]


def test_the_rarer_kind_of_answer_weighs_more() -> None:
    from tuneport.data.templates.rendering import RenderedAnswer
    from tuneport.train.methods.kto import kto_desirable_weights

    rows = [RenderedAnswer([1], [2], label) for label in (True, False, False, False)]
    assert kto_desirable_weights(rows) == (3.0, 1.0)
    assert kto_desirable_weights(rows[:2]) == (1.0, 1.0)
