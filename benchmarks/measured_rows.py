"""Rows of measured training runs, as `memory_measured.csv` has them, in tuneport's words.

A row that cannot be taken says why: it is counted and named, never skipped in silence. Which libraries a row ran on is
told from its notes: those with torch 2.5 or later, and those of the survey's tier A, count as current; what libraries
kept until 2.6 is taken into account.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

from tuneport.estimate.memory import ALL_LINEAR, TrainingShape
from tuneport.manifests import ModelDimensions, load_models
from tuneport.types import Adapter

SHAPES: dict[str, tuple[int, int, int, int, int, int, bool, int | None]] = {
    # hidden, layers, heads, kv heads, intermediate, vocabulary, tied, head width: the public config.json of each
    "llama-2-7b": (4096, 32, 32, 32, 11008, 32000, False, None),
    "llama-2-13b": (5120, 40, 40, 40, 13824, 32000, False, None),
    "llama-2-70b": (8192, 80, 64, 8, 28672, 32000, False, None),
    "codellama-34b": (8192, 48, 64, 8, 22016, 32000, False, None),
    "llama-3-8b": (4096, 32, 32, 8, 14336, 128256, False, None),
    "llama-3.1-8b": (4096, 32, 32, 8, 14336, 128256, False, None),
    "llama-3.2-1b": (2048, 16, 32, 8, 8192, 128256, True, None),
    "llama-3.2-3b": (3072, 28, 24, 8, 8192, 128256, True, None),
    "mistral-7b": (4096, 32, 32, 8, 14336, 32000, False, None),
    "tinyllama-1.1b": (2048, 22, 32, 4, 5632, 32000, False, None),
    "qwen-1.8b": (2048, 24, 16, 16, 5504, 151936, False, None),
    "qwen-7b": (4096, 32, 32, 32, 11008, 151936, False, None),
    "qwen-14b": (5120, 40, 40, 40, 13696, 152064, False, None),
    "qwen-72b": (8192, 80, 64, 64, 24576, 152064, False, None),
    "qwen2-7b": (3584, 28, 28, 4, 18944, 152064, False, None),
    "qwen2.5-0.5b": (896, 24, 14, 2, 4864, 151936, True, None),
    "qwen2.5-1.5b": (1536, 28, 12, 2, 8960, 151936, True, None),
    "qwen2.5-3b": (2048, 36, 16, 2, 11008, 151936, True, None),
    "qwen2.5-7b": (3584, 28, 28, 4, 18944, 152064, False, None),
    "qwen2.5-14b": (5120, 48, 40, 8, 13824, 152064, False, None),
    "qwen3-0.6b": (1024, 28, 16, 8, 3072, 151936, True, 128),
    "qwen3-1.7b": (2048, 28, 16, 8, 6144, 151936, True, 128),
    "qwen3-4b": (2560, 36, 32, 8, 9728, 151936, True, 128),
    "qwen3-8b": (4096, 36, 32, 8, 12288, 151936, False, 128),
    "qwen3-14b": (5120, 40, 40, 8, 17408, 151936, False, 128),
    "yi-6b": (4096, 32, 32, 4, 11008, 64000, False, None),
    "yi-34b": (7168, 60, 56, 8, 20480, 64000, False, None),
    "chatglm3-6b": (4096, 28, 32, 2, 13696, 65024, False, None),
    "gemma-2b": (2048, 18, 8, 1, 16384, 256000, True, 256),
    "gemma-7b": (3072, 28, 16, 16, 24576, 256000, True, 256),
    "gemma-2-2b": (2304, 26, 8, 4, 9216, 256000, True, 256),
    "gemma-2-9b": (3584, 42, 16, 8, 14336, 256000, True, 256),
    "phi-3-mini-4k": (3072, 32, 32, 32, 8192, 32064, False, None),
    "smollm2-135m": (576, 30, 9, 3, 1536, 49152, True, None),
    "smollm2-360m": (960, 32, 15, 5, 2560, 49152, True, None),
    "smollm2-1.7b": (2048, 24, 32, 32, 8192, 49152, True, None),
}
NAMES = {"q_proj": "q", "k_proj": "k", "v_proj": "v", "o_proj": "o"}
NAMES |= {"gate_proj": "gate", "up_proj": "up", "down_proj": "down", "c_attn": "qkv", "c_proj": "o", "w1": "gate"}
NAMES |= {"w2": "up", "mlp": "gate+up+down", "qkv": "q+k+v"}
ADAPTERS = {
    "full": Adapter.FULL,
    "lora": Adapter.LORA,
    "rslora": Adapter.LORA,
    "dora": Adapter.LORA,
    "qlora": Adapter.QLORA,
    "prefix": Adapter.PREFIX,
    "prompt": Adapter.PROMPT,
}
IGNORED = {"", "sft", "dpo", "grpo", "kto", "tuning", "ft", "finetuning", "fine", "pretrain", "loop"}
FIELDS = (
    "hidden_size",
    "layers",
    "heads",
    "kv_heads",
    "intermediate_size",
    "vocab_size",
    "tied_embeddings",
    "head_dim",
)
_Score = TypeVar("_Score")
Kind = Literal["allocated", "reserved", "process"]
TORCH_OF_2025, TORCH_OF_2026 = (2, 5), (2, 7)


class UnusableRowError(Exception):
    """Why a row cannot be taken."""


@dataclass(frozen=True)
class MeasuredRow:
    """`exact_shape` False: the dimensions that the row lacks were worked out from its size."""

    id: str
    source: str
    tier: str
    current: bool
    adapter: Adapter
    dimensions: ModelDimensions
    params_b: float
    exact_shape: bool
    run: TrainingShape
    gpu: str
    peak_gib: float | None
    kind: Kind
    tokens_per_second: float | None
    notes: str

    @property
    def single_gpu(self) -> bool:
        return self.run.gpus == 1


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: value or "" for name, value in row.items() if name} for row in csv.DictReader(file)]


def scored(path: Path, score: Callable[[MeasuredRow], _Score]) -> tuple[list[_Score], list[tuple[str, str]]]:
    """Each row of the file by `score`; and the ids of those that it or `parse` cannot take, with the reason."""
    scores, left_out = [], []
    for number, raw in enumerate(read_rows(path), 2):
        name = raw.get("id") or f"line {number}"
        try:
            scores.append(score(parse(raw)))
        except UnusableRowError as error:
            left_out.append((name, str(error)))
        except KeyError as error:
            left_out.append((name, f"the column {error} is not there"))
        except ValueError as error:
            left_out.append((name, str(error).partition("\n")[0]))
    return scores, left_out


def print_left_out(left_out: Sequence[tuple[str, str]]) -> None:
    print(f"\n{len(left_out)} rows not taken:")
    for reason, count in Counter(reason for _, reason in left_out).most_common():
        ids = [name for name, why in left_out if why == reason]
        shown = ", ".join(ids[:8]) + (" ..." if count > 8 else "")
        print(f"  {count:>3}  {reason}: {shown}")


def parse(row: dict[str, str]) -> MeasuredRow:
    """UnusableRowError for one that tells too little, or of a method that tuneport does not train with."""
    notes = row["notes"]
    tier = match[1] if (match := re.match(r"\[tier (\w)\]", notes)) else "?"
    if "SUSPECT" in notes:
        raise UnusableRowError("marked suspect in its notes")
    adapter, dora = _adapter(row["method"])
    dimensions, exact = _dimensions(row)
    current = tier == "A" or (_torch(notes) or (0, 0)) >= TORCH_OF_2025
    length, batch = _number(row, "seq_len"), _number(row, "micro_batch")
    gpus = _number(row, "gpus")
    rank = row["rank"].strip()
    dtype, optimizer = row["weights_dtype"].lower(), row["optimizer"].lower()
    quantised = adapter is Adapter.QLORA
    run = TrainingShape(
        micro_batch=batch,
        length=length,
        examples=_examples(row["method"]),
        checkpointing=row["grad_ckpt"].startswith("on"),
        fused_loss=bool(re.search(r"liger|fused|chunked|cut.?cross|unsloth|trl 1\.", notes, re.IGNORECASE)),
        attention="eager" if row["attn"].startswith("eager") else "fused",
        lora_rank=int(rank) if rank and adapter.has_lora else 16,
        virtual_tokens=int(rank) if rank and adapter.has_virtual_tokens else 20,
        lora_targets=_targets(row["targets"]),
        dora=dora,
        optimizer=_optimizer(optimizer),
        full_weights="fp32" if "amp" in dtype or "fp32" in dtype.split("(")[0] else "bf16",
        autocast="no amp" not in dtype and "true" not in dtype and "pure" not in dtype,
        kbit_fp32=quantised and "true" not in dtype and "storage" not in dtype and "gptq" not in dtype,
        double_quantisation="double" in dtype or "dq" in dtype or tier == "A",
        gpus=gpus,
        sharding="fsdp" if gpus > 1 and re.search(r"fsdp|zero3", row["sharding"]) else "none",
        libraries=_libraries(current, notes),
    )
    if quantised and "kbit-prepared" in dtype:
        run = replace(run, autocast=False)  # adapters in the fp32 stream, as canifinetune's own loop runs them
    return MeasuredRow(
        id=row["id"],
        source=row["source"],
        tier=tier,
        current=current,
        adapter=adapter,
        dimensions=dimensions,
        params_b=float(row["params_b"]),
        exact_shape=exact,
        run=run,
        gpu=row["gpu"],
        peak_gib=float(row["peak_gb"]) if row["peak_gb"].strip() else None,
        kind=_kind(row["peak_kind"]),
        tokens_per_second=float(row["tokens_per_s"]) if row["tokens_per_s"].strip() else None,
        notes=notes,
    )


def _adapter(method: str) -> tuple[Adapter, bool]:
    words = {*re.split(r"[^a-z0-9]+", method.lower())} - IGNORED
    if len(words) != 1 or (word := words.pop()) not in ADAPTERS:
        raise UnusableRowError(f"tuneport does not train with {method}")
    return ADAPTERS[word], word == "dora"


def _examples(method: str) -> Literal["single", "pairs", "rollouts"]:
    return "rollouts" if "grpo" in method.lower() else "pairs" if "dpo" in method.lower() else "single"


def _number(row: dict[str, str], name: str) -> int:
    if not row[name].strip():
        raise UnusableRowError(f"{name} is not told")
    return int(float(row[name]))


def _targets(text: str) -> tuple[str, ...]:
    cleaned = text.lower().split("(")[0]
    if not cleaned.strip() or "all" in cleaned:
        return ("q", "k", "v") if "default" in text.lower() else ALL_LINEAR
    if "default" in cleaned:
        return ("q", "k", "v")
    found: list[str] = []
    for word in re.split(r"[+,/ ]+", cleaned.strip()):
        for name in NAMES.get(word, word).split("+"):
            found += ["q", "k", "v"] if name == "qkv" else [name]
    return tuple(dict.fromkeys(name for name in found if name in ALL_LINEAR))


def _optimizer(text: str) -> Literal["adamw", "adamw_fused", "adamw_8bit", "paged_adamw_8bit"]:
    if "paged" in text:
        return "paged_adamw_8bit"
    return "adamw_8bit" if "8bit" in text or "8-bit" in text else "adamw_fused" if "fused" in text else "adamw"


def _kind(text: str) -> Kind:
    words = text.lower()
    return "allocated" if "allocated" in words else "reserved" if "reserved" in words else "process"


def _libraries(current: bool, notes: str) -> Literal["current", "2025", "2024"]:
    torch = _torch(notes)
    if torch is None:
        return "current" if current else "2024"
    return "current" if torch >= TORCH_OF_2026 else "2025" if torch >= TORCH_OF_2025 else "2024"


def _torch(notes: str) -> tuple[int, int] | None:
    found = re.search(r"torch (\d+)\.(\d+)", notes)
    return None if found is None else (int(found[1]), int(found[2]))


def _dimensions(row: dict[str, str]) -> tuple[ModelDimensions, bool]:
    name = re.sub(r"-(instruct|base|chat|hf|it)\b.*|-v0\.\d", "", row["model"].lower().split("/")[-1])
    if name in SHAPES:
        return shape(name), True
    for key, weights in load_models().weights.items():
        if weights.dimensions is not None and re.sub(r"-(instruct|it)\b.*", "", key) == name:
            return weights.dimensions, True
    for column in ("hidden", "layers", "vocab", "params_b"):
        if not row[column].strip():
            raise UnusableRowError(f"its model {row['model'] or '?'} is not known and {column} is not told")
    return _inferred(int(row["hidden"]), int(row["layers"]), int(row["vocab"]), float(row["params_b"])), False


def shape(name: str) -> ModelDimensions:
    """That of a model in `SHAPES`."""
    return ModelDimensions(**dict(zip(FIELDS, SHAPES[name], strict=True)))


def _inferred(hidden: int, layers: int, vocabulary: int, params_b: float) -> ModelDimensions:
    """Heads of 128 (64 in small models), a quarter of them for keys, tied embeddings below 2 B; the rest of the
    parameters is the gated product's."""
    heads = max(1, hidden // (128 if hidden >= 2048 else 64))
    kv_heads = max(1, heads // 4)
    tied = params_b < 2
    key_width = kv_heads * (hidden // heads)
    left = params_b * 1e9 - vocabulary * hidden * (1 if tied else 2)
    intermediate = max(hidden, round((left / layers - 2 * hidden * hidden - 2 * hidden * key_width) / (3 * hidden)))
    return ModelDimensions(
        hidden_size=hidden,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        intermediate_size=intermediate,
        vocab_size=vocabulary,
        tied_embeddings=tied,
    )
