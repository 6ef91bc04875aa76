"""How much accelerator memory a training run needs. Pure; two rules, and the estimate says which one it used.

`estimate_memory` follows the tensors that PyTorch keeps (formulas traced from transformers 5 and peft with fused
attention, checked against published measurements) where the model's dimensions are known, and the reference card's
table of thumb where only its size is. Symbols below: P parameters, V vocabulary, h hidden size, f intermediate size,
L layers, a heads, q and k the widths of queries and keys, n tokens of a micro-batch, s bytes of the residual stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tuneport.manifests import Dimensions
from tuneport.types import Adapter

GIB = 2**30
ALL_LINEAR = ("q", "k", "v", "o", "gate", "up", "down")

# Bytes per logit (one per token and vocabulary entry) at the loss.
LOGITS_FUSED = 0.5  # a fused or chunked loss: TRL 1.16 (tiles of 4,096 tokens), Liger, cut cross-entropy
LOGITS_HF = 14.0  # the plain transformers loss over bf16 logits, outputs held (traced)
LOGITS_KBIT = 16.0  # the same over fp32 logits, after prepare_model_for_kbit_training

# What the process holds beyond the tensors: 23 measured rows with both numbers have reserved/allocated between 1.02
# and 1.25, median 1.10, 90th percentile 1.19; a CUDA context takes 0.14 GiB on a T4, more on newer cards.
RESERVED_MEDIAN, RESERVED_HIGH = 1.10, 1.19
CONTEXT_GIB = 0.4
FORMULA_SPREAD = 1.10  # the formula's own error: within 18 % low and 5 % high on 28 measured rows, 10 % nearly always

NF4_BYTES = 0.5 + 4 / 64  # 4 bits and an fp32 scale for each block of 64
NF4_DOUBLE_BYTES = 0.5159  # with the scales quantised again

# The card's table, GB by billions of parameters.
_THUMB: dict[Adapter, tuple[tuple[float, float], ...]] = {
    Adapter.FULL: ((1, 8), (7, 56), (13, 104), (70, 560)),
    Adapter.LORA: ((1, 5), (7, 18), (13, 32), (70, 160)),
    Adapter.QLORA: ((1, 3), (7, 8), (13, 14), (70, 48)),
}
# The card has no row for trained prefixes and prompts ("very low", "minimal"): the base in 16 bits stays, so as LoRA.
_THUMB[Adapter.PREFIX] = _THUMB[Adapter.PROMPT] = _THUMB[Adapter.LORA]
THUMB_SPREAD = 0.35
"""The table says nothing about length, batch or vocabulary, which move the need by about a third at usual settings."""


@dataclass(frozen=True)
class MemoryEstimate:
    """GiB of one accelerator. `low` is what the tensors alone need; buy for `high`, about the 90th percentile."""

    low_gib: float
    expected_gib: float
    high_gib: float
    components_gib: dict[str, float]
    rule: Literal["formula", "rule of thumb"]
    explanation: str

    def fits(self, memory_gib: float) -> bool:
        """True where even the high estimate fits."""
        return self.high_gib <= memory_gib


@dataclass(frozen=True)
class Run:
    """How the training loop is set up. The defaults are those of tuneport's own recipe on a GPU.

    `fused_loss` False is the plain transformers loss. `kbit_fp32`: the embeddings, norms and residual stream are fp32,
    which `prepare_model_for_kbit_training` makes of a quantised model. `autocast` False with fp32 adapters keeps an
    fp32 copy of each adapter's input.
    """

    micro_batch: int = 4
    length: int = 1024
    checkpointing: bool = True
    fused_loss: bool = True
    lora_rank: int = 16
    lora_targets: tuple[str, ...] = ALL_LINEAR
    virtual_tokens: int = 20
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    full_weights: Literal["bf16", "fp32"] = "bf16"
    autocast: bool = True
    kbit_fp32: bool = True
    double_quantisation: bool = True


def estimate_memory(
    adapter: Adapter, *, params_b: float | None, dimensions: Dimensions | None, run: Run | None = None
) -> MemoryEstimate | None:
    """The need of one training run on one accelerator, or None where neither size nor dimensions are known."""
    if dimensions is not None:
        return _by_formula(adapter, dimensions, run or Run())
    return None if params_b is None else rule_of_thumb(adapter, params_b)


def rule_of_thumb(adapter: Adapter, params_b: float) -> MemoryEstimate:
    """The card's table, in between by straight lines and beyond its ends in proportion."""
    table = _THUMB[adapter]
    gigabytes = _interpolate(table, params_b)
    expected = gigabytes * 1e9 / GIB
    return MemoryEstimate(
        low_gib=expected * (1 - THUMB_SPREAD),
        expected_gib=expected,
        high_gib=expected * (1 + THUMB_SPREAD),
        components_gib={},
        rule="rule of thumb",
        explanation=f"{adapter} of {params_b:g} B parameters by the reference card's table: about {gigabytes:.0f} GB",
    )


def _interpolate(table: tuple[tuple[float, float], ...], x: float) -> float:
    if x <= table[0][0]:
        return table[0][1] * x / table[0][0]
    for (x0, y0), (x1, y1) in zip(table, table[1:], strict=False):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return table[-1][1] * x / table[-1][0]


def adapter_parameters(dimensions: Dimensions, rank: int, targets: tuple[str, ...] = ALL_LINEAR) -> int:
    """Trained numbers of a LoRA: r x (in + out) for each target of each layer."""
    return dimensions.layers * rank * sum(a + b for a, b in _shapes(dimensions, targets))


def linear_parameters(dimensions: Dimensions) -> int:
    """The weights that quantisation reaches: every linear layer but the head."""
    return dimensions.layers * sum(a * b for a, b in _shapes(dimensions, ALL_LINEAR))


def embedding_parameters(dimensions: Dimensions) -> int:
    """V x h, and twice where the head has its own."""
    return dimensions.vocab_size * dimensions.hidden_size * (1 if dimensions.tied_embeddings else 2)


def _shapes(dimensions: Dimensions, targets: tuple[str, ...]) -> list[tuple[int, int]]:
    h, f, q, k = (
        dimensions.hidden_size,
        dimensions.intermediate_size,
        dimensions.query_width,
        dimensions.key_width,
    )
    shapes = {"q": (h, q), "k": (h, k), "v": (h, k), "o": (q, h), "gate": (h, f), "up": (h, f), "down": (f, h)}
    return [shapes[target] for target in targets]


def _by_formula(adapter: Adapter, dimensions: Dimensions, run: Run) -> MemoryEstimate:
    # The tokens of a trained prompt go through every layer like others; a prefix is keys and values only.
    tokens = run.micro_batch * (run.length + (run.virtual_tokens if adapter is Adapter.PROMPT else 0))
    quantised_fp32 = adapter is Adapter.QLORA and run.kbit_fp32
    stream = 4 if quantised_fp32 else 2
    saved = _saved_per_layer_token(adapter, dimensions, run, stream) * tokens
    if run.fused_loss:
        logits = LOGITS_FUSED * tokens * dimensions.vocab_size
    else:
        logits = (LOGITS_KBIT if quantised_fp32 else LOGITS_HF) * tokens * dimensions.vocab_size
    if run.checkpointing:
        # One layer at a time is recomputed, after the loss has been let go of.
        stored = dimensions.layers * stream * dimensions.hidden_size * tokens
        activations = stored + max(logits, saved)
    else:
        activations = dimensions.layers * saved + logits
    components = _static(adapter, dimensions, run)
    if adapter is Adapter.FULL:
        # The gradients are not there yet while the activations are: the peak is the larger of the two moments.
        update = components.pop("gradients") + components.pop("optimizer temporaries")
        components["activations or gradients"] = max(activations, update)
    else:
        components["activations"] = activations
    if adapter is Adapter.QLORA:
        components["dequantisation"] = 2 * dimensions.hidden_size * dimensions.intermediate_size
    gib = {name: value / GIB for name, value in components.items()}
    allocated = sum(gib.values())
    return MemoryEstimate(
        low_gib=allocated,
        expected_gib=allocated * RESERVED_MEDIAN + CONTEXT_GIB,
        high_gib=allocated * FORMULA_SPREAD * RESERVED_HIGH + CONTEXT_GIB,
        components_gib=gib,
        rule="formula",
        explanation=(
            f"{adapter}, {run.micro_batch} x {run.length} tokens, "
            f"{'with' if run.checkpointing else 'without'} gradient checkpointing, "
            f"{'fused' if run.fused_loss else 'plain'} loss; tensors x {RESERVED_MEDIAN} + {CONTEXT_GIB} GiB"
        ),
    )


def _static(adapter: Adapter, dimensions: Dimensions, run: Run) -> dict[str, float]:
    linear, embeddings = linear_parameters(dimensions), embedding_parameters(dimensions)
    states = 2 if run.optimizer == "adamw_8bit" else 8  # bytes per trained fp32 number: two moments
    if adapter is Adapter.FULL:
        width = 2 if run.full_weights == "bf16" else 4
        total = linear + embeddings
        return {
            "weights": width * total,
            "optimizer": (2 if run.optimizer == "adamw_8bit" else 2 * width) * total,
            "gradients": width * total,
            "optimizer temporaries": width * total,  # torch's foreach AdamW; a fused one has none
        }
    if adapter is Adapter.QLORA:
        per_linear = NF4_DOUBLE_BYTES if run.double_quantisation else NF4_BYTES
        weights = per_linear * linear + (4 if run.kbit_fp32 else 2) * embeddings
    else:
        weights = 2.0 * (linear + embeddings)
    if adapter is Adapter.PREFIX:
        trained = 2 * dimensions.layers * dimensions.key_width * run.virtual_tokens
    elif adapter is Adapter.PROMPT:
        trained = dimensions.hidden_size * run.virtual_tokens
    else:
        trained = adapter_parameters(dimensions, run.lora_rank, run.lora_targets)
    # PEFT keeps adapters in fp32: 4 bytes the weight, 4 the gradient, and the moments.
    return {"weights": weights, "adapter and optimizer": (8 + states) * trained}


def _saved_per_layer_token(adapter: Adapter, dimensions: Dimensions, run: Run, stream: int) -> float:
    """Bytes that one layer keeps of one token for its backward pass, with fused attention."""
    h, f, q, k, a = (
        dimensions.hidden_size,
        dimensions.intermediate_size,
        dimensions.query_width,
        dimensions.key_width,
        dimensions.heads,
    )
    if adapter is Adapter.FULL:
        return 16 * h + 4 * q + 4 * k + 8 * f + 4 * a
    frozen = 8 * h + 2 * stream * q + 2 * stream * k + 3 * stream * f + 4 * a
    width = 2 if run.autocast and adapter is not Adapter.QLORA else 4
    shapes = _shapes(dimensions, run.lora_targets) if adapter.has_lora else []
    return frozen + sum(width * (inputs + run.lora_rank) for inputs, _ in shapes)
