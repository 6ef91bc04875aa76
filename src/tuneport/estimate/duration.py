"""The duration of training. Pure. On your own machine from arithmetic or a measured rate; other providers do not
say."""

from __future__ import annotations

from dataclasses import dataclass

from tuneport.manifests import ModelDimensions
from tuneport.types import Adapter, Method

MEASURED_CPU_TOKENS_PER_SECOND = 300.0
"""Tokens per second that LoRA (r=16, all linear layers, fp32) trains of a 134.5 M parameter model.

Measured on 2 cores with AMX, SmolLM2-135M-Instruct; bf16 reached about 600. Another model's rate is this times
0.1345 / its billions of parameters, because the arithmetic of a token grows with the parameters. Other machines differ
by a factor of two either way, which is the spread that `local_duration` gives.
"""
MEASURED_CPU_PARAMS_B = 0.1345
CPU_SPREAD = 2.0
PROBED_SPREAD, PROBED_SIZES = 1.5, 4.0
"""Where the very machine was measured: half more or less for models of up to four times its model's size either way,
since rows of other lengths and other tokens on it change the rate; beyond, as without a measurement. An assumption."""

UTILISATION_MOST, UTILISATION_HALF = 0.70, 1200
"""Share of a GPU's peak that long micro-steps reach: 0.70 h / (h + 1200) for a hidden size of h, since narrow matrices
keep fewer of its units busy. Measured on an A100: 0.44 at 2,048, 0.53 at 4,096, 0.57 at 5,120, 0.62 at 8,192 (Qwen's
table, LoRA with checkpointing, 4,096 tokens and more)."""
SHARE_OF_UTILISATION = {"H100": 0.75, "H200": 0.75, "B200": 0.7}
"""Cards whose peak outgrew their memory reach less of it: an H100 31 to 50 % where an A100 reaches 45 to 75 (MPT's
tables). The B200's is a guess from that."""
FLOOR_SECONDS_PER_LAYER = {Adapter.FULL: 0.006, Adapter.LORA: 0.005, Adapter.QLORA: 0.012}
FLOOR_SECONDS_PER_LAYER[Adapter.PREFIX] = FLOOR_SECONDS_PER_LAYER[Adapter.PROMPT] = 0.0045
"""What a micro-step takes for each layer however short it is: kernel launches, not arithmetic. Qwen-1.8B, 7B and 14B
plateau at 0.125, 0.15 and 0.20 s (LoRA, checkpointing, A100); NF4 at 0.012 s a layer (RTX 4080); a prefix at 0.004
(L40S)."""
WITHOUT_CHECKPOINTING = 0.75  # of the floor: three passes instead of four
OPTIMIZER_BYTES = {"bf16": 32, "fp32": 56}
"""Memory traffic of AdamW per trained number (torch's foreach form: weights, gradients and two moments, several times
over); it counts if all weights are trained and a step is short."""
DEFAULT_BANDWIDTH_GBPS = 1000.0
LOADING_SECONDS = 30.0
GPU_SPREAD = 1.5
"""`benchmarks/duration.py`: nine of ten published throughputs lie within the expected value times or over this."""


@dataclass(frozen=True)
class CPURate:
    """Tokens a second that a processor trains of a model of `params_b` billions; `words` say by what that is known."""

    tokens_per_second: float
    params_b: float
    words: str

    def spread(self, params_b: float) -> float:
        near = 1 / PROBED_SIZES <= params_b / self.params_b <= PROBED_SIZES
        return PROBED_SPREAD if near else CPU_SPREAD


@dataclass(frozen=True)
class Duration:
    """Seconds of training, or `unavailable` with the reason. `low` and `high` bound `expected`.

    `runs`: on how many finished jobs it rests (see `learning`); `uncorrected_seconds`: what was expected without them.
    """

    expected_seconds: float | None = None
    low_seconds: float | None = None
    high_seconds: float | None = None
    unavailable: str | None = None
    explanation: str = ""
    uncorrected_seconds: float | None = None
    runs: int = 0

    @classmethod
    def unknown(cls, because: str) -> Duration:
        return cls(unavailable=because)


def answering_duration(method: Method) -> Duration:
    return Duration.unknown(f"the duration of {method} depends on the answers that the model writes")


def hosted_duration(title: str) -> Duration:
    return Duration.unknown(f"{title} publishes no training throughput and no queue times")


def flops_per_token(
    params_b: float,
    adapter: Adapter,
    *,
    length: int,
    checkpointing: bool,
    dimensions: ModelDimensions | None = None,
    further_passes: int = 0,
) -> float:
    """Return the FLOPs of one trained token: 6 P for all weights, 4 P over a frozen base, 2 P more for recomputation.

    With dimensions, attention adds 2 L h T for each of its passes. `further_passes`: forward passes without gradients,
    of a reference model.
    """
    params = params_b * 1e9
    total = (6 if adapter is Adapter.FULL else 4) * params + 2 * params * (checkpointing + further_passes)
    if dimensions is not None:
        passes = (4 if checkpointing else 3) + further_passes
        total += 2 * dimensions.layers * dimensions.query_width * length * passes
    return total


def gpu_utilisation(hidden_size: int, gpu: str = "") -> float:
    """Return the share of the peak that a micro-step of many tokens reaches."""
    share = next((share for name, share in SHARE_OF_UTILISATION.items() if name in gpu), 1.0)
    return share * UTILISATION_MOST * hidden_size / (hidden_size + UTILISATION_HALF)


def micro_step_seconds(
    *,
    params_b: float,
    adapter: Adapter,
    bf16_tflops: float,
    micro_batch: int,
    length: int,
    checkpointing: bool = True,
    dimensions: ModelDimensions | None = None,
    gpu: str = "",
    further_passes: int = 0,
) -> float:
    """Return the seconds of a forward and backward pass of `micro_batch` x `length` tokens: arithmetic and the floor of
    the layers, joined smoothly (root of the sum of squares). Without dimensions, uses those usual for the size."""
    layers, hidden = (dimensions.layers, dimensions.hidden_size) if dimensions else usual_decoder_shape(params_b)
    flops = flops_per_token(
        params_b,
        adapter,
        length=length,
        checkpointing=checkpointing,
        dimensions=dimensions,
        further_passes=further_passes,
    )
    arithmetic = flops * micro_batch * length / (bf16_tflops * 1e12 * gpu_utilisation(hidden, gpu))
    passes = (1.0 if checkpointing else WITHOUT_CHECKPOINTING) + (1 - WITHOUT_CHECKPOINTING) * further_passes
    floor = FLOOR_SECONDS_PER_LAYER[adapter] * layers * passes
    return float((arithmetic**2 + floor**2) ** 0.5)


def usual_decoder_shape(params_b: float) -> tuple[int, int]:
    """Return layers and hidden size of a decoder of that many billions of parameters: 32 and 4,096 at 7, by its cube
    root."""
    scale = (params_b / 7) ** (1 / 3)
    return max(1, round(32 * scale)), max(64, round(4096 * scale))


def gpu_duration(
    tokens: int,
    *,
    params_b: float,
    adapter: Adapter,
    bf16_tflops: float,
    micro_batch: int = 4,
    length: int = 1024,
    accumulation: int = 1,
    checkpointing: bool = True,
    dimensions: ModelDimensions | None = None,
    gpu: str = "",
    bandwidth_gbps: float | None = None,
    further_passes: int = 0,
    gpus: int = 1,
) -> Duration:
    """Estimate the time to train on `tokens` in all (per epoch x epochs, padding included) on a GPU.

    Counts micro-steps, and the steps of the optimizer if all weights are trained. `length` is the mean example, not the
    longest. `gpus` of the same kind share the tokens evenly: over 53 published throughputs of 2 to 8 GPUs, that is 19 %
    off on average.
    """
    per_step = micro_batch * length
    each = micro_step_seconds(
        params_b=params_b,
        adapter=adapter,
        bf16_tflops=bf16_tflops,
        micro_batch=micro_batch,
        length=length,
        checkpointing=checkpointing,
        dimensions=dimensions,
        gpu=gpu,
        further_passes=further_passes,
    )
    update = 0.0
    if adapter is Adapter.FULL:
        update = params_b * OPTIMIZER_BYTES["fp32"] / (bandwidth_gbps or DEFAULT_BANDWIDTH_GBPS) / accumulation
    seconds = tokens / per_step * (each + update) / gpus
    return Duration(
        expected_seconds=LOADING_SECONDS + seconds,
        low_seconds=LOADING_SECONDS + seconds / GPU_SPREAD,
        high_seconds=LOADING_SECONDS + seconds * GPU_SPREAD,
        explanation=(
            f"{tokens:,} tokens, {per_step:,} a micro-step of {1000 * (each + update):,.0f} ms at "
            f"{bf16_tflops:g} TFLOP/s" + (f", shared by {gpus} GPUs" if gpus > 1 else "")
        ),
    )


def cpu_duration(
    tokens: int,
    *,
    params_b: float,
    tokens_per_second: float | None = None,
    measured: str | None = None,
    rate: CPURate | None = None,
) -> Duration:
    """Estimate the time on the processor by the rate measured on this machine for this model, else by `rate` (measured
    here with another model, or documented), scaled by size."""
    if tokens_per_second is not None:
        seconds = tokens / tokens_per_second
        return Duration(
            expected_seconds=seconds,
            low_seconds=seconds * 0.8,
            high_seconds=seconds * 1.3,
            explanation=f"{tokens:,} tokens at {tokens_per_second:,.0f} tokens/s ({measured or 'measured here'})",
        )
    if rate is not None:
        scaled = rate.tokens_per_second * rate.params_b / params_b
        spread = rate.spread(params_b)
        same = abs(rate.params_b / params_b - 1) < 0.01
        return Duration(
            expected_seconds=tokens / scaled,
            low_seconds=tokens / scaled / spread,
            high_seconds=tokens / scaled * spread,
            explanation=f"{tokens:,} tokens at {scaled:,.1f} tokens/s: "
            + ("" if same else f"{rate.tokens_per_second:,.0f} ")
            + rate.words
            + ("" if same else ", scaled by size"),
        )
    documented = MEASURED_CPU_TOKENS_PER_SECOND * MEASURED_CPU_PARAMS_B / params_b
    seconds = tokens / documented
    return Duration(
        expected_seconds=seconds,
        low_seconds=seconds / CPU_SPREAD,
        high_seconds=seconds * CPU_SPREAD,
        explanation=(
            f"{tokens:,} tokens at {documented:,.1f} tokens/s: {MEASURED_CPU_TOKENS_PER_SECOND:g} measured with "
            f"{MEASURED_CPU_PARAMS_B * 1000:g} M parameters on 2 cores, scaled by size"
        ),
    )
