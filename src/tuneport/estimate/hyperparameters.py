"""Recommends a number for each hyperparameter that is `auto`. Pure; every rule names its source.

"usual" means the usual ranges: learning rate 1e-5 to 5e-4 (lower for larger models), batch 4 to 32, epochs
1 to 5 (fewer with more data), warm-up 5 to 10 % of the steps, weight decay 0.01 to 0.1, sequence length 512 to 4096 to
match the data, alpha about twice the rank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tuneport.types import Adapter, Hyperparameters, Method

LEARNING_RATE_MIN, LEARNING_RATE_MAX = 1e-5, 5e-4  # card
BATCH_MIN, BATCH_MAX = 4, 32  # card
LENGTH_MIN, LENGTH_MAX = 512, 4096  # card
VIRTUAL_RATES = {Adapter.PREFIX: 1e-2, Adapter.PROMPT: 1e-2}
"""At batch 16, above the usual range, which is for weights: few numbers are trained and far from the loss. PEFT's own
examples take 1e-2 (prefix) and 3e-2 (prompt, with AdamW); Lester et al. 2021 took 0.3 with Adafactor."""
VIRTUAL_TOKENS = 20
"""Lester et al. 2021, figure 3a: most of the gain is there with 20, and larger models need no more."""
RECOMMENDED_STEPS = 80
"""Optimizer steps below which a smaller batch is worth more than a smoother one: a judgement, not a measurement."""


@dataclass(frozen=True)
class Recommended:
    """A number, why it was chosen, and by whom: `user`, or a rule."""

    value: int | float
    because: str
    chosen_by: Literal["user", "rule"] = "rule"


@dataclass(frozen=True)
class RecommendedOption:
    """A recommendation for an option of those backends that have it."""

    value: str | int
    because: str
    chosen_by: Literal["user", "rule"] = "rule"


def openai_auto_epochs(rows: int) -> int:
    """Return the epochs that OpenAI picks: 3, but 100 to 25,000 examples in all, and between 1 and 25 epochs.

    The rule of OpenAI's cookbook (chat_finetuning_data_prep); one job confirms it (25 rows -> 4), three agree.
    """
    if rows < 1:
        raise ValueError("rows must be at least 1")
    if rows * 3 < 100:
        return min(25, 100 // rows)
    if rows * 3 > 25_000:
        return max(1, 25_000 // rows)
    return 3


def recommended_epochs(rows: int) -> int:
    """Return 5, 3, 2 or 1 epochs: fewer with more data, within the usual 1 to 5."""
    if rows <= 150:
        return 5
    if rows <= 1_000:
        return 3
    return 2 if rows <= 10_000 else 1


def planned_validation_passes(options: Mapping[str, object], epochs: int) -> int:
    """Return how often a validation file is read.

    Together's `n_evals` in `options` decides, else once an epoch, and as often as early stopping needs. A value that is
    not a number counts as missing.
    """

    def number(name: str, default: int) -> int:
        given = options.get(name)
        return given if isinstance(given, int) else default

    if not options.get("early_stopping_enabled"):
        return max(0, number("n_evals", epochs))
    # A baseline, the warm-up, then as many evaluations as patience has (`validate_early_stopping` of the SDK 3.1.1).
    needed = number("early_stopping_patience", 2) + number("early_stopping_warmup_evals", 1) + 1
    return max(0, number("n_evals", max(epochs, needed)))


def recommended_batch_size(rows: int, epochs: int, *, at_most: int | None = None) -> int:
    """Return the largest power of two within 4 to 32 that leaves at least `RECOMMENDED_STEPS` optimizer steps.

    `at_most`: what the backend allows for the model, which may lie below 4.
    """
    batch = BATCH_MAX
    while batch > BATCH_MIN and rows * epochs // batch < RECOMMENDED_STEPS:
        batch //= 2
    return batch if at_most is None else min(batch, at_most)


def recommended_learning_rate(
    params_b: float | None,
    adapter: Adapter,
    batch_size: int,
    method: Method = Method.SFT,
    *,
    keeps_best: bool = False,
) -> float:
    """Return the learning rate by size and adapter, within the usual 1e-5 to 5e-4.

    Base rates at batch 16: adapters 5e-4 below 1 B parameters, 2e-4 up to 20 B (the usual example run; QLoRA's paper
    for 7 B and 13 B), 1e-4 above (QLoRA's paper, 33 B and 65 B); all weights 5e-5, 2e-5 and 1e-5 (published
    instruction-tuning recipes of those sizes). An unknown size counts as 7 B. Other batches scale by the square root
    (the usual rule for Adam). A loss against a reference gets a tenth (TRL's defaults, 2e-5 for sft and 1e-6 for dpo,
    kto, grpo and rloo, are further apart still).

    `keeps_best`: a run that keeps the weights of its best epoch risks nothing by a high rate, so an adapter's small
    batch does not lower it (measured: `benchmarks/hyperparameters.py`).
    """
    size = 7.0 if params_b is None else params_b
    if adapter.has_virtual_tokens:
        rate = VIRTUAL_RATES[adapter] * (batch_size / 16) ** 0.5
        return float(f"{rate / 10 if method.has_reference else rate:.2g}")
    if adapter is Adapter.FULL:
        base = 5e-5 if size < 1 else 2e-5 if size <= 20 else 1e-5
    else:
        base = 5e-4 if size < 1 else 2e-4 if size <= 20 else 1e-4
    if method.has_reference:
        base /= 10
    scale = (batch_size / 16) ** 0.5
    scaled = base * (max(1.0, scale) if keeps_best and adapter.has_lora else scale)
    return float(f"{min(LEARNING_RATE_MAX, max(LEARNING_RATE_MIN, scaled)):.2g}")


def recommended_max_length(longest_tokens: int | None, context: int | None) -> int:
    """Return the longest example rounded up to 64, at least 512; 4096 if the lengths of the data are unknown.

    It is never above the model's context: longer examples are cut to that.
    """
    wanted = LENGTH_MAX if longest_tokens is None else max(LENGTH_MIN, -(-longest_tokens // 64) * 64)
    return wanted if context is None else min(wanted, context)


def recommend_hyperparameters(
    given: Hyperparameters,
    *,
    rows: int,
    params_b: float | None = None,
    adapter: Adapter = Adapter.LORA,
    method: Method = Method.SFT,
    longest_tokens: int | None = None,
    usual_tokens: int | None = None,
    context: int | None = None,
    batch_size_max: int | None = None,
    lora_rank_max: int | None = None,
    keeps_best: bool = False,
) -> Mapping[str, Recommended]:
    """Recommend every hyperparameter as a number, with the reason. Values that the user gave always stand.

    `keeps_best`: the run is evaluated each epoch and keeps the weights of its best one. `usual_tokens`: the length that
    99 of 100 examples stay below, reported if a few long ones decide the need.

    `learning_rate_multiplier` multiplies the recommended rate, and is shown beside the product.
    """
    chosen: dict[str, Recommended] = {}

    def choose(name: str, value: int | float, because: str) -> int | float:
        own = getattr(given, name)
        chosen[name] = Recommended(value, because) if own == "auto" else Recommended(own, "as given", "user")
        return chosen[name].value

    epochs = int(choose("epochs", recommended_epochs(rows), f"{rows} rows; more rows need fewer; 1 to 5 is usual"))
    batch = recommended_batch_size(rows, epochs, at_most=batch_size_max)
    batch = int(
        choose("batch_size", batch, f"4 to 32 is usual; chosen for about {RECOMMENDED_STEPS} steps of training")
    )
    rate = recommended_learning_rate(params_b, adapter, batch, method, keeps_best=keeps_best)
    size = "an unknown size" if params_b is None else f"{params_b:.3g} B parameters"
    why = f"{adapter} of {size} at batch {batch}; 1e-5 to 5e-4 is usual"
    if given.learning_rate_multiplier != "auto":
        factor = given.learning_rate_multiplier
        chosen["learning_rate_multiplier"] = Recommended(factor, "as given", "user")
        chosen["learning_rate"] = Recommended(rate * factor, f"{factor:g} times {rate:g}: {why}", "user")
    else:
        choose("learning_rate", rate, why)
    steps = max(1, -(-rows // batch) * epochs)
    choose("warmup_ratio", 0.1 if steps < 100 else 0.05, f"5 to 10 % of {steps} steps is usual; more for a short run")
    choose("weight_decay", 0.01, "0.01 to 0.1 is usual")
    choose("max_length", recommended_max_length(longest_tokens, context), _why_length(longest_tokens, usual_tokens))
    rank = 16 if lora_rank_max is None else min(16, lora_rank_max)
    rank = int(choose("lora_rank", rank, "4 to 64 is usual; 16 is the default"))
    choose("lora_alpha", 2 * rank, "twice the rank is usual")
    choose("lora_dropout", 0.05, "the usual value")
    choose("virtual_tokens", VIRTUAL_TOKENS, "20 bring most of the gain (Lester et al. 2021)")
    why = "GRPO's paper; TRL's default for rloo" if method.writes_answers else "TRL's and Together's default for dpo"
    choose("beta", 0.1 if method.traits.beta is None else method.traits.beta, why)
    return chosen


def _why_length(longest: int | None, usual: int | None) -> str:
    if longest is None:
        return "lengths are not known; 512 to 4096 is usual"
    why = f"longest example {longest:,} tokens; 512 to 4096 is usual"
    if usual is None or recommended_max_length(usual, None) >= recommended_max_length(longest, None):
        return why
    return f"longest example {longest:,} tokens; 99 % have at most {usual:,}, so a lower limit would cut only 1 %"


def recommend_hyperparameter_options(
    adapter: Adapter,
    *,
    batch: int,
    micro_batch: int,
    scheduler: str | None = None,
    targets: Sequence[str] | None = None,
) -> Mapping[str, RecommendedOption]:
    """Recommend the learning rate schedule, the batching, and the layers that get an adapter; given options stand."""

    def choose(own: str | None, value: str, because: str) -> RecommendedOption:
        return RecommendedOption(value, because) if own is None else RecommendedOption(own, "as given", "user")

    chosen = {
        "lr_scheduler_type": choose(scheduler, "cosine", "the usual choice; linear is the other"),
        "gradient_accumulation_steps": RecommendedOption(
            max(1, batch // micro_batch),
            f"{batch} examples a step, {micro_batch} at once on a GPU: enough to keep it busy; 2 to 16 if "
            "memory holds fewer",
        ),
    }
    if adapter.has_lora:
        chosen["lora_target_modules"] = choose(
            None if targets is None else ", ".join(targets),
            "all-linear",
            "all are needed to reach full fine-tuning (Dettmers et al. 2023, figure 2); q and v at least",
        )
    return chosen


def resolve_hyperparameters(chosen: Mapping[str, Recommended]) -> Hyperparameters:
    """Return what `recommend_hyperparameters` chose: all numbers, the rate absolute (and so the multiplier `auto`)."""
    values = {name: row.value for name, row in chosen.items() if name != "learning_rate_multiplier"}
    return Hyperparameters.model_validate(values)
