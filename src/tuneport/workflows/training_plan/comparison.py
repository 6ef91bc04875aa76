"""Every way to train this model on this data, side by side, and which one to take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuneport.estimate.memory import MemoryEstimate, estimate_memory, trained_parameters
from tuneport.formatting import money
from tuneport.manifests import CatalogueGPU
from tuneport.types import Adapter, Method
from tuneport.workflows.training_plan.gpus import TrainingPlanGPU, TrainingWork, cheapest_plan_gpus, plan_for_each_gpu
from tuneport.workflows.training_plan.runs import OptimizerStep
from tuneport.workflows.training_plan.shapes import PlannedBaseModel

QUALITY = {
    Adapter.FULL: "highest",
    Adapter.LORA: "high",
    Adapter.QLORA: "high",
    Adapter.PREFIX: "medium",
    Adapter.PROMPT: "lower",
}
"""The reference's words; LoRA and QLoRA reach 90 to 95 % of full fine-tuning."""
SPEED = {
    Adapter.FULL: "slow",
    Adapter.LORA: "fast",
    Adapter.QLORA: "fast",
    Adapter.PREFIX: "very fast",
    Adapter.PROMPT: "fastest",
}
"""The reference's words, too; `seconds` are ours."""
FULL_FROM_ROWS = 50_000
"""With this many rows full fine-tuning is worth its memory: the reference's "excellent" for domain expertise."""
RLHF = "rlhf"


@dataclass(frozen=True)
class TrainingPlanStage:
    """One training of a way: RLHF has two, the reward model's and the policy's."""

    method: Method
    memory: MemoryEstimate | None
    where: TrainingPlanGPU | None

    def as_dict(self) -> dict[str, Any]:
        return {
            "method": self.method.value,
            "memory": None if self.memory is None else self.memory.as_dict(),
            "gpu": None if self.where is None else self.where.as_dict(),
        }


@dataclass(frozen=True)
class TrainingPlanOption:
    """`trained` of `total` weights move. `stages` run one after the other, each on the GPUs that are cheapest for it.

    `needs` says what this data lacks for it, and `over_budget` that it may cost more than was given.
    """

    name: str
    adapter: Adapter
    trained: int | None
    total: int | None
    stages: tuple[TrainingPlanStage, ...]
    quality: str
    speed: str
    needs: str | None
    over_budget: bool

    @property
    def memory(self) -> MemoryEstimate | None:
        """Return the memory of the stage that needs most."""
        known = [stage.memory for stage in self.stages if stage.memory is not None]
        return max(known, key=lambda memory: memory.high_gib, default=None)

    @property
    def fits(self) -> bool:
        return all(stage.where is not None for stage in self.stages)

    @property
    def gpus(self) -> str | None:
        """Return the GPUs of the largest stage, or None if a stage fits nowhere."""
        if not self.fits:
            return None
        return max((stage.where for stage in self.stages if stage.where), key=_size).name

    @property
    def seconds(self) -> float | None:
        return _sum([stage.where.duration.expected_seconds if stage.where else None for stage in self.stages])

    @property
    def usd(self) -> float | None:
        return _sum([stage.where.usd if stage.where else None for stage in self.stages])

    @property
    def unavailable(self) -> str | None:
        """Return why the time is not known."""
        reasons = [stage.where.duration.unavailable for stage in self.stages if stage.where]
        return next((reason for reason in reasons if reason), None)

    def as_dict(self) -> dict[str, Any]:
        return {
            "method": self.name,
            "adapter": self.adapter.value,
            "trained_parameters": self.trained,
            "share": None if not self.trained or not self.total else self.trained / self.total,
            "memory": None if self.memory is None else self.memory.as_dict(),
            "gpus": self.gpus,
            "seconds": self.seconds,
            "seconds_unavailable": self.unavailable,
            "usd": self.usd,
            "speed": self.speed,
            "expected_quality": self.quality,
            "needs": self.needs,
            "over_budget": self.over_budget,
            "stages": [stage.as_dict() for stage in self.stages],
        }


def compare_training_options(
    model: PlannedBaseModel,
    method: Method,
    work: TrainingWork,
    step_for: Callable[[Method, Adapter], OptimizerStep],
    cards: Sequence[CatalogueGPU],
    budget: float | None,
) -> list[TrainingPlanOption]:
    """Return the options: each adapter for supervised tuning, and DPO and RLHF with LoRA (or QLoRA, if only that
    fits)."""
    pairs = method.trains_on_pairs

    def way(
        name: str, methods: Sequence[Method], adapter: Adapter, quality: str, speed: str, needs: str | None
    ) -> TrainingPlanOption:
        stages = tuple(_stage(model, each, adapter, replace(work, method=each), step_for, cards) for each in methods)
        first = step_for(methods[-1], adapter).run
        made = TrainingPlanOption(
            name=name,
            adapter=adapter,
            trained=None if model.dimensions is None else trained_parameters(adapter, model.dimensions, first),
            total=model.parameters,
            stages=stages,
            quality=quality,
            speed=speed,
            needs=needs,
            over_budget=False,
        )
        return replace(made, over_budget=budget is not None and (made.usd or 0.0) > budget)

    answers = "chats: this data has preference pairs" if pairs else None
    found = [
        way(Method.SFT.value, [Method.SFT], adapter, QUALITY[adapter], SPEED[adapter], answers) for adapter in Adapter
    ]
    lacks = None if pairs else "preference pairs: a better and a worse answer to each question"
    for name, methods, speed, quality in (
        ("dpo", [Method.DPO], "medium", "high for alignment"),
        (RLHF, [Method.REWARD, Method.GRPO], "very slow", "highest for alignment"),
    ):
        tried = [way(name, methods, adapter, quality, speed, lacks) for adapter in (Adapter.LORA, Adapter.QLORA)]
        found.append(next((each for each in tried if each.fits and not each.over_budget), tried[0]))
    return found


def _stage(
    model: PlannedBaseModel,
    method: Method,
    adapter: Adapter,
    work: TrainingWork,
    step_for: Callable[[Method, Adapter], OptimizerStep],
    cards: Sequence[CatalogueGPU],
) -> TrainingPlanStage:
    step = step_for(method, adapter)
    where = cheapest_plan_gpus(plan_for_each_gpu(model, adapter, step, work, cards))
    run = step.run if where is None else where.fit.run
    memory = estimate_memory(adapter, params_b=model.params_b, dimensions=model.dimensions, run=run)
    return TrainingPlanStage(method, memory, where)


def choose_training_option(
    found: Sequence[TrainingPlanOption], rows: int, budget: float | None
) -> tuple[TrainingPlanOption | None, str]:
    """Return the option to take, and why: the best quality that fits the GPUs, the budget and the data, but no full
    fine-tuning for few rows."""
    fitting = [way for way in found if way.fits and way.needs is None and way.name != RLHF]
    able = [way for way in fitting if not way.over_budget]
    order = [Adapter.FULL] if rows >= FULL_FROM_ROWS else []
    for adapter in (*order, Adapter.LORA, Adapter.QLORA):
        for way in able:
            if way.adapter is adapter:
                return way, _why(way, found, rows)
    if fitting:
        least = min((way for way in fitting if way.usd is not None), key=lambda way: way.usd or 0.0, default=None)
        usd = "" if least is None else f": {least.name} {least.adapter} is about {money(least.usd)}"
        return None, f"nothing of at least high quality stays within {money(budget)}{usd}"
    return None, "none fits these GPUs: take a smaller model, shorter rows, or other GPUs"


def _why(way: TrainingPlanOption, found: Sequence[TrainingPlanOption], rows: int) -> str:
    if way.name == "dpo":
        return (
            f"{way.name} with {way.adapter}: pairs train the model directly; RLHF needs a reward model besides, and "
            "answers written in training, which pays only where quality must be the highest"
        )
    few = f"{rows:,} rows are few for moving all weights; " if rows < FULL_FROM_ROWS else ""
    full = next((each for each in found if each.adapter is Adapter.FULL), None)
    times = ""
    if full is not None and full.usd and way.usd and way.adapter is not Adapter.FULL:
        times = f" for {way.usd / full.usd:.0%} of its price"
    lora = next((each for each in found if each.adapter is Adapter.LORA and each.name == way.name), None)
    cause = "cost more than the budget" if lora is not None and lora.over_budget else "fit none of these GPUs"
    return (
        f"{way.name} with {way.adapter}: "
        + {
            Adapter.FULL: "all weights fit, and there is enough data for them",
            Adapter.LORA: f"{few}LoRA keeps 90 to 95 % of full fine-tuning's quality{times}",
            Adapter.QLORA: f"LoRA over 4-bit weights, since those in 16 bits {cause}",
        }[way.adapter]
    )


def _size(plan: TrainingPlanGPU) -> float:
    return plan.fit.memory_gib * plan.fit.count


def _sum(values: Sequence[float | None]) -> float | None:
    """Return the sum, or None if one is not known."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
