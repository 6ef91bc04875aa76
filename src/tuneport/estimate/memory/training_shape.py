"""The settings of a training loop that its memory depends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tuneport.methods import Examples

ALL_LINEAR = ("q", "k", "v", "o", "gate", "up", "down")


@dataclass(frozen=True)
class TrainingShape:
    """The defaults are those of tuneport's own recipe on one GPU.

    `micro_batch` examples of `length` tokens go through each GPU at once. An example is one text for `single`, a better
    and a worse answer for `pairs` (dpo) and `ranked` (reward: no logits), a text beside a mismatched one for `labelled`
    (kto), and for `rollouts` (grpo, rloo, rft) a prompt with its answer, `generation_batch` of which the model writes
    together before it trains on them (0: a micro-batch; TRL writes a whole step's). Packed rows are one long row.

    `fused_loss` False is the plain transformers loss. `kbit_fp32`: the embeddings, norms and residual stream are fp32,
    which `prepare_model_for_kbit_training` makes of a quantised model (TRL 1.16 does not call it). `autocast` False
    with fp32 adapters keeps an fp32 copy of each adapter's input. `full_weights` fp32 is the mixed precision of the
    recipe: bf16 copies beside. `base_weights`: of a frozen base beside an adapter; fp32 is the precision fp32, without
    autocast.

    `sharding` over `gpus`: ddp gives each all that one has, and buckets of gradients under way; zero1 shares out the
    optimizer's moments, zero2 the gradients too, fsdp (and zero3, the same) the weights as well. `none` with several
    GPUs counts one of them by itself. `libraries`: of 2025, transformers 4 and bitsandbytes before 0.46 kept more of a
    quantised layer; of 2024, transformers up to 4.44 copied the logits once more (see `tensors`).
    """

    micro_batch: int = 4
    length: int = 1024
    examples: Examples = "single"
    generation_batch: int = 0
    checkpointing: bool = True
    fused_loss: bool = True
    attention: Literal["fused", "eager"] = "fused"
    lora_rank: int = 16
    lora_targets: tuple[str, ...] = ALL_LINEAR
    lora_dropout: float = 0.0
    dora: bool = False
    virtual_tokens: int = 20
    optimizer: Literal["adamw", "adamw_fused", "adamw_8bit", "paged_adamw_8bit"] = "adamw_fused"
    full_weights: Literal["bf16", "fp32"] = "fp32"
    base_weights: Literal["16 bit", "fp32"] = "16 bit"
    autocast: bool = True
    kbit_fp32: bool = False
    double_quantisation: bool = True
    gpus: int = 1
    sharding: Literal["none", "ddp", "zero1", "zero2", "fsdp"] = "none"
    libraries: Literal["current", "2025", "2024"] = "current"

    def __post_init__(self) -> None:
        for name in ("micro_batch", "length", "lora_rank", "virtual_tokens", "gpus"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.generation_batch < 0:
            raise ValueError(f"generation_batch is {self.generation_batch}; it must be at least 0")
        if self.sharding != "none" and self.gpus < 2:
            raise ValueError("sharding needs more than one GPU; set gpus")

    @property
    def sequences(self) -> int:
        """Return how many sequences of `length` tokens go through the model at once with gradients."""
        return self.micro_batch * (2 if self.examples in ("pairs", "ranked") else 1)

    @property
    def reference(self) -> bool:
        """Return whether full fine-tuning keeps a second copy of the model to compare with (an adapter is switched
        off)."""
        return self.examples in ("pairs", "labelled", "rollouts")
