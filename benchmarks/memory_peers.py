"""Other estimators of training memory from PyPI, asked through their own public functions, for comparison."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.measured_rows import MeasuredRow
from tuneport.estimate.memory import ALL_LINEAR
from tuneport.estimate.memory.tensors import linear_parameters
from tuneport.types import Adapter

MIB_IN_GIB = 1024
SCOPES = {("q", "v"): "conservative", ("q", "k", "v", "o"): "attention"}
MODULES = {name: f"{name}_proj" for name in ALL_LINEAR}


@dataclass(frozen=True)
class Peer:
    """`estimate` gives the GiB of a row, in its own total, or None where it cannot take the row."""

    name: str
    estimate: Callable[[MeasuredRow], float | None]


def installed_peers() -> list[Peer]:
    peers = (
        ("fitcheck", Peer("fitcheck-llm", _fitcheck)),
        ("canifinetune", Peer("canifinetune", _canifinetune)),
        ("ftuneai", Peer("ftuneai", _ftuneai)),
    )
    return [peer for module, peer in peers if importlib.util.find_spec(module)]


def _plain(row: MeasuredRow) -> bool:
    run = row.run
    return row.adapter in (Adapter.FULL, Adapter.LORA, Adapter.QLORA) and not run.dora and run.examples == "single"


def _card_gib(gpu: str) -> float:
    found = re.search(r"(\d+) ?GB", gpu)
    return float(found[1]) if found else 80.0


def _fitcheck(row: MeasuredRow) -> float | None:
    from fitcheck import ModelConfig, TrainingConfig, estimate
    from fitcheck.gpu_db import GPU_DB, GpuSpec

    if not _plain(row):
        return None
    shape, run = row.dimensions, row.run
    model = ModelConfig(
        name=row.id,
        num_params=round(row.params_b * 1e9),
        hidden_size=shape.hidden_size,
        num_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_kv_heads=shape.kv_heads,
        intermediate_size=shape.intermediate_size,
        vocab_size=shape.vocab_size,
        head_dim=shape.query_width // shape.heads,
        tie_word_embeddings=shape.tied_embeddings,
    )
    eight_bit = run.optimizer.endswith("8bit")
    training = TrainingConfig(
        precision="fp16" if "T4" in row.gpu else "bf16",
        quantization="nf4" if row.adapter is Adapter.QLORA else "none",
        double_quant=row.adapter is Adapter.QLORA and run.double_quantisation,
        optimizer="adam8bit" if eight_bit else "adamw",
        optimizer_dtype="bf16" if row.adapter is Adapter.FULL and run.full_weights == "bf16" else "fp32",
        batch_size=run.micro_batch,
        seq_len=run.length,
        lora_rank=None if row.adapter is Adapter.FULL else run.lora_rank,
        lora_targets=[MODULES[target] for target in run.lora_targets],
        grad_checkpoint=run.checkpointing,
        flash_attn=run.attention == "fused",
    )
    gpu = next((spec for spec in GPU_DB.values() if spec.name.split()[-1] in row.gpu), None)
    gpu = gpu or GpuSpec("a large one", 200_000, 200_000)
    try:
        return float(estimate(model, training, gpu).total_mib) / MIB_IN_GIB
    except ValueError:
        return None


def _canifinetune(row: MeasuredRow) -> float | None:
    from canifinetune.estimator import EstimateRequest, estimate

    if not _plain(row):
        return None
    shape, run = row.dimensions, row.run
    fields: dict[str, Any] = {
        "model_id": f"measured/{row.id}",
        "method": row.adapter.value,
        "seq_len": run.length,
        "micro_batch_size": run.micro_batch,
        "base_dtype": "fp16" if "T4" in row.gpu else "bf16",
        "lora_rank": run.lora_rank,
        "lora_target_scope": SCOPES.get(run.lora_targets, "all_linear"),
        "optimizer": {"adamw_8bit": "adamw_8bit", "paged_adamw_8bit": "paged_adamw_8bit"}.get(
            run.optimizer, "adamw_torch"
        ),
        "gradient_checkpointing": run.checkpointing,
        "attention_implementation": "eager" if run.attention == "eager" else "sdpa",
        "gpu_vram_gb": _card_gib(row.gpu),
        "use_network": False,
        "override": {
            "family": "llama",
            "hidden_size": shape.hidden_size,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.kv_heads,
            "intermediate_size": shape.intermediate_size,
            "vocab_size": shape.vocab_size,
            "tie_word_embeddings": shape.tied_embeddings,
            "total_params": round(row.params_b * 1e9),
        },
    }
    memory = estimate(EstimateRequest(**fields)).memory
    return float(memory.total_estimated_gb - memory.safety_margin_gb)


def _ftuneai(row: MeasuredRow) -> float | None:
    from ftuneai.core.memory import MemoryEstimator
    from ftuneai.core.models import FineTuneMethod, LoRATarget, ModelSpec, OptimizerType, Quantization, TrainingConfig

    if not _plain(row):
        return None
    shape, run = row.dimensions, row.run
    model = ModelSpec(
        name=row.id,
        parameters=round(row.params_b * 1e9),
        hidden_size=shape.hidden_size,
        num_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_kv_heads=shape.kv_heads,
        intermediate_size=shape.intermediate_size,
        vocab_size=shape.vocab_size,
        max_seq_length=run.length,
    )
    attention = {("q", "v"): "attention", ("q", "k", "v", "o"): "attention_all"}.get(run.lora_targets, "all_linear")
    config = TrainingConfig(
        model=row.id,
        method=FineTuneMethod(row.adapter.value),
        quantization=Quantization("4bit" if row.adapter is Adapter.QLORA else "none"),
        batch_size=run.micro_batch,
        seq_length=run.length,
        gradient_checkpointing=run.checkpointing,
        optimizer=OptimizerType("adam_8bit" if "8bit" in run.optimizer or "paged" in run.optimizer else "adamw"),
        lora_rank=run.lora_rank,
        lora_target=LoRATarget(attention),
        flash_attention=run.attention == "fused",
    )
    total_gb: float = MemoryEstimator(model, config).estimate().total_gb
    return total_gb if linear_parameters(shape) else None
