"""The traced memory: the model's own code on tensors without data, beside the formula."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tuneport.errors import UnsupportedError
from tuneport.estimate.memory import GIB, TrainingShape, estimate_memory, trained_parameters
from tuneport.estimate.memory.traced import estimate_memory_by_tracing
from tuneport.manifests import ModelDimensions
from tuneport.types import Adapter

pytest.importorskip("peft", reason="local training is an extra: pip install 'tuneport[local]'")

CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "intermediate_size": 1408,
    "vocab_size": 8000,
    "tie_word_embeddings": True,
    "max_position_embeddings": 8192,
}
SHAPE = ModelDimensions.from_config(CONFIG)
RUN = TrainingShape(micro_batch=4, length=512)
CASES = {
    "full": (Adapter.FULL, RUN),
    "lora": (Adapter.LORA, RUN),
    "lora, plain loss": (Adapter.LORA, replace(RUN, fused_loss=False, checkpointing=False)),
    "qlora": (Adapter.QLORA, RUN),
    "prefix": (Adapter.PREFIX, replace(RUN, checkpointing=False)),
    "prompt": (Adapter.PROMPT, RUN),
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "config.json"
    path.write_text(json.dumps(CONFIG))
    return path


SLOW = {"lora", "lora, plain loss", "prefix"}  # the same code as others, with other numbers


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.full) if case in SLOW else case for case in CASES]
)
def test_the_formula_agrees_with_the_models_own_code(case: str, config: Path) -> None:
    adapter, run = CASES[case]
    traced = estimate_memory_by_tracing(config, adapter, SHAPE, run)
    formula = estimate_memory(adapter, params_b=None, dimensions=SHAPE, run=run)
    assert formula is not None and traced.rule == "traced"
    assert formula.low_gib == pytest.approx(traced.low_gib, rel=0.12)
    assert sum(traced.components_gib.values()) == pytest.approx(traced.low_gib)
    assert min(traced.components_gib.values()) > 0
    if adapter is not Adapter.FULL:
        trained = trained_parameters(adapter, SHAPE, run) * 4 / GIB
        assert traced.components_gib["adapter"] == pytest.approx(trained, rel=0.01)
        # AdamW: two moments, and a counter of steps for each tensor
        assert traced.components_gib["optimizer"] == pytest.approx(2 * trained, rel=0.01)


def test_a_model_of_eight_billion_parameters_takes_no_memory_to_trace(config: Path, tmp_path: Path) -> None:
    """Two layers of its shape; the weights alone would be 3 GiB."""
    large = CONFIG | {"hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32}
    large |= {"num_key_value_heads": 8, "vocab_size": 128256, "num_hidden_layers": 2, "tie_word_embeddings": False}
    (tmp_path / "config.json").write_text(json.dumps(large))
    shape = ModelDimensions.from_config(large)
    traced = estimate_memory_by_tracing(tmp_path / "config.json", Adapter.PROMPT, shape, RUN)
    formula = estimate_memory(Adapter.PROMPT, params_b=None, dimensions=shape, run=RUN)
    assert formula is not None and formula.low_gib == pytest.approx(traced.low_gib, rel=0.05)


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (replace(RUN, optimizer="adamw_8bit"), "8-bit optimizers"),
        (replace(RUN, gpus=2, sharding="fsdp"), "several GPUs"),
        (replace(RUN, kbit_fp32=True), "fp32 residual stream"),
    ],
)
def test_what_cannot_be_traced_says_so(run: TrainingShape, why: str, config: Path) -> None:
    with pytest.raises(UnsupportedError, match=why):
        estimate_memory_by_tracing(config, Adapter.QLORA, SHAPE, run)


def test_a_model_that_transformers_does_not_know_says_so(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"model_type": "no-such-model"}))
    with pytest.raises(UnsupportedError, match="cannot be traced") as caught:
        estimate_memory_by_tracing(tmp_path / "config.json", Adapter.LORA, SHAPE, RUN)
    assert "\n" not in str(caught.value)
