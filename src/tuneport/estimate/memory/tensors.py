"""The tensors that PyTorch keeps while it trains, in bytes, part by part.

The coefficients were read off transformers 5, peft 0.21 and torch 2.13 with saved-tensor hooks, by which
`tests/estimate/memory/test_tensors.py` checks them again, on models whose dimensions tell the terms apart. Symbols: V
vocabulary, h hidden size, f intermediate size, L layers, a heads, q and k the widths of queries and of keys, n tokens
of a micro-step, s bytes of a number in the residual stream.
"""

from __future__ import annotations

from tuneport.estimate.memory.training_shape import ALL_LINEAR, TrainingShape
from tuneport.manifests import ModelDimensions
from tuneport.types import Adapter

# Bytes per logit (one per token and vocabulary entry) at the loss.
LOGITS_FUSED = 0.5  # a fused or chunked loss: TRL 1.16 (tiles of 4,096 tokens), Liger, cut cross-entropy
LOGITS_HF = 14.0  # the plain transformers loss over bf16 logits, outputs held (traced)
LOGITS_KBIT = 16.0  # the same over fp32 logits, after prepare_model_for_kbit_training
LOGITS_2024 = 22.0  # transformers up to 4.44 with autocast, which copied the shifted logits once more (inferred)

NF4_BYTES = 0.5 + 4 / 64  # 4 bits and an fp32 scale for each block of 64
NF4_DOUBLE_BYTES = 0.5159  # with the scales quantised again

EAGER_SCORES = 2.9  # attention scores kept by eager attention, in units of 2 a n T bytes ...
EAGER_SCORES_RECOMPUTED = 8.0  # ... and at the peak of recomputing a layer (fits of fitcheck, 7.4 to 9)

_INPUTS = {
    **dict.fromkeys(("q", "k", "v"), "attention input"),
    **dict.fromkeys(("gate", "up"), "mlp input"),
    "down": "gated product",
}
MemoryParts = dict[str, float]


def adapter_parameters(dimensions: ModelDimensions, rank: int, targets: tuple[str, ...] = ALL_LINEAR) -> int:
    """Return the trained numbers of a LoRA: r x (in + out) for each target of each layer."""
    return dimensions.layers * rank * sum(a + b for a, b in _shapes(dimensions, targets))


def linear_parameters(dimensions: ModelDimensions) -> int:
    """Return the weights that quantisation reaches: every linear layer but the head."""
    return dimensions.layers * sum(a * b for a, b in _shapes(dimensions, ALL_LINEAR))


def embedding_parameters(dimensions: ModelDimensions) -> int:
    """Return V x h, and twice that if the head has its own."""
    return dimensions.vocab_size * dimensions.hidden_size * (1 if dimensions.tied_embeddings else 2)


def trained_parameters(adapter: Adapter, dimensions: ModelDimensions, run: TrainingShape) -> int:
    """Return the numbers that the optimizer updates, as PEFT counts them; norms and biases of full fine-tuning left
    out."""
    match adapter:
        case Adapter.FULL:
            return linear_parameters(dimensions) + embedding_parameters(dimensions)
        case Adapter.PREFIX:
            return 2 * dimensions.layers * dimensions.key_width * run.virtual_tokens
        case Adapter.PROMPT:
            return dimensions.hidden_size * run.virtual_tokens
    magnitudes = sum(out for _, out in _shapes(dimensions, run.lora_targets)) * dimensions.layers if run.dora else 0
    return adapter_parameters(dimensions, run.lora_rank, run.lora_targets) + magnitudes


def estimate_static_memory(adapter: Adapter, dimensions: ModelDimensions, run: TrainingShape) -> MemoryParts:
    """Return what is in memory from the first step to the last: weights, trained numbers, their gradients and
    moments."""
    linear, embeddings = linear_parameters(dimensions), embedding_parameters(dimensions)
    trained = trained_parameters(adapter, dimensions, run)
    if adapter is Adapter.FULL:
        width = 2 if run.full_weights == "bf16" else 4
        parts = {
            "weights": width * trained,
            "optimizer": _moments(run, width) * trained,
            "gradients": width * trained,
            # torch's foreach AdamW holds one more copy for a moment; the fused and 8-bit ones do not.
            "optimizer temporaries": width * trained if run.optimizer == "adamw" else 0.0,
        }
        if run.reference:
            parts["reference model"] = width * trained
        return parts
    if adapter is Adapter.QLORA:
        per_linear = NF4_DOUBLE_BYTES if run.double_quantisation else NF4_BYTES
        weights = per_linear * linear + _stream_bytes(adapter, run) * embeddings
    else:
        weights = (4.0 if run.base_weights == "fp32" else 2.0) * (linear + embeddings)
    # PEFT keeps adapters in fp32: 4 bytes the number, 4 its gradient, and the moments.
    return {
        "weights": weights,
        "adapter": 4.0 * trained,
        "optimizer": _moments(run, 4) * trained,
        "gradients": 4.0 * trained,
    }


def _moments(run: TrainingShape, width: int) -> float:
    """Return bytes of AdamW's two moments per trained number; paged ones leave the GPU when it is full."""
    return {"adamw": 2.0 * width, "adamw_fused": 2.0 * width, "adamw_8bit": 2.0, "paged_adamw_8bit": 2.0}[run.optimizer]


def estimate_activation_memory(adapter: Adapter, dimensions: ModelDimensions, run: TrainingShape) -> MemoryParts:
    """Return what the backward pass needs at its largest moment: the layers' tensors, and the logits at the loss."""
    # The tokens of a trained prompt go through every layer like others; a prefix is keys and values only.
    width = run.length + (run.virtual_tokens if adapter is Adapter.PROMPT else 0)
    tokens = run.sequences * width
    stream = _stream_bytes(adapter, run)
    layer = saved_per_layer_token(adapter, dimensions, run) * tokens
    scores = 2.0 * dimensions.heads * tokens * width if run.attention == "eager" else 0.0
    logits = _logits_per_entry(adapter, run) * tokens * dimensions.vocab_size
    backward = _made_by_backward_per_token(adapter, dimensions, run) * tokens
    if not run.checkpointing:
        kept = dimensions.layers * (layer + EAGER_SCORES * scores)
        # The logits are let go of before the backward pass reaches the last layer.
        last = {"logits": logits} if logits >= backward else {"backward pass": backward}
        return {"activations": kept, **last}
    # One layer at a time is recomputed, after the loss has been let go of.
    stored = dimensions.layers * stream * dimensions.hidden_size * tokens
    recomputed = layer + EAGER_SCORES_RECOMPUTED * scores
    if logits >= recomputed + backward:
        return {"activations": stored, "logits": logits}
    return {"activations": stored + recomputed, "backward pass": backward}


def _made_by_backward_per_token(adapter: Adapter, dimensions: ModelDimensions, run: TrainingShape) -> float:
    """Return bytes of the gradients under way while a layer's backward pass is at its largest, in its gated product
    (traced: `traced.py`, with hidden sizes of 512 and 1,024 and twice that between)."""
    h, f = dimensions.hidden_size, dimensions.intermediate_size
    if adapter is Adapter.FULL:
        return 8.0 * h
    return (8.0 if run.base_weights == "fp32" else 6.0) * f + 8.0 * h


def estimate_generation_memory(dimensions: ModelDimensions, run: TrainingShape) -> float:
    """Return the keys and values of all that is generated, in 16 bits: 2 x 2 bytes x k x L a token."""
    return 4.0 * dimensions.key_width * dimensions.layers * (run.generation_batch or run.micro_batch) * run.length


def saved_per_layer_token(adapter: Adapter, dimensions: ModelDimensions, run: TrainingShape) -> float:
    """Return bytes that one layer keeps of one token for its backward pass, with fused attention."""
    h, f, a = dimensions.hidden_size, dimensions.intermediate_size, dimensions.heads
    q, k = dimensions.query_width, dimensions.key_width
    if adapter is Adapter.FULL:
        if run.full_weights == "fp32" and not run.autocast:
            return 24 * h + 8 * q + 8 * k + 16 * f + 4 * a
        mixed = 10 * h if run.full_weights == "fp32" else 0  # fp32 residuals and norms beside bf16 products
        return 16 * h + mixed + 4 * q + 4 * k + 8 * f + 4 * a
    stream = _stream_bytes(adapter, run)
    frozen = 8 * h + 2 * stream * q + 2 * stream * k + 3 * stream * f + 4 * a
    kept = frozen + _kept_for_adapters(dimensions, run, stream) if adapter.has_lora else frozen
    old = run.libraries != "current"
    return kept + (_kept_before_2026(dimensions, stream) if old and adapter is Adapter.QLORA else 0)


def _kept_for_adapters(dimensions: ModelDimensions, run: TrainingShape, stream: int) -> float:
    shapes = _shapes(dimensions, run.lora_targets)
    ranks = run.lora_rank * len(shapes)
    if run.autocast:
        kept = 2.0 * sum(inputs for inputs, _ in shapes) + 2 * ranks
    elif stream == 2 or run.libraries != "current":
        kept = 4.0 * sum(inputs for inputs, _ in shapes) + 4 * ranks  # each target its own fp32 copy
    else:
        # An fp32 stream needs no copies: targets share their input, and that of `o` is kept for attention anyway.
        widths = {"attention input": dimensions.hidden_size, "mlp input": dimensions.hidden_size}
        widths["gated product"] = dimensions.intermediate_size
        kept = 4.0 * sum(widths[name] for name in {_INPUTS[t] for t in run.lora_targets if t in _INPUTS}) + 4 * ranks
    if run.dora:
        kept += (4 if run.autocast else 6) * sum(outputs for _, outputs in shapes)
    if run.lora_dropout:
        kept += sum(inputs for inputs, _ in shapes)  # a mask of one byte a number
    return kept


def _kept_before_2026(dimensions: ModelDimensions, stream: int) -> float:
    """Return what a layer kept besides: bitsandbytes a 16-bit copy of its input, and SDPA keys and values repeated for
    every head."""
    h, f, q, k = dimensions.hidden_size, dimensions.intermediate_size, dimensions.query_width, dimensions.key_width
    return 2 * (5 * h + q + f) + 2 * stream * (q - k)


def _stream_bytes(adapter: Adapter, run: TrainingShape) -> int:
    return 4 if run.base_weights == "fp32" or (adapter is Adapter.QLORA and run.kbit_fp32) else 2


def _logits_per_entry(adapter: Adapter, run: TrainingShape) -> float:
    if run.examples == "ranked":
        return 0.0  # a head of one number
    if run.fused_loss:
        return LOGITS_FUSED
    if adapter is Adapter.QLORA and run.kbit_fp32:
        return LOGITS_KBIT
    return LOGITS_2024 if run.libraries == "2024" and run.autocast else LOGITS_HF


def _shapes(dimensions: ModelDimensions, targets: tuple[str, ...]) -> list[tuple[int, int]]:
    """Return the input and output width of each target in a layer."""
    h, f, q, k = dimensions.hidden_size, dimensions.intermediate_size, dimensions.query_width, dimensions.key_width
    shapes = {"q": (h, q), "k": (h, k), "v": (h, k), "o": (q, h), "gate": (h, f), "up": (h, f), "down": (f, h)}
    return [shapes[target] for target in targets]
