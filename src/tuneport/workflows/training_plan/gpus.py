"""GPUs for a run: where it fits, how long it takes there, and what the hours cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tuneport.estimate.duration import CPURate, Duration, answering_duration, cpu_duration, gpu_duration
from tuneport.estimate.learning import DurationHistory, correct_estimated_duration
from tuneport.estimate.memory import TrainingShape
from tuneport.estimate.memory.sizing import GPUFit, estimate_gpu_fits
from tuneport.manifests import CatalogueGPU, load_gpus
from tuneport.router import Machine
from tuneport.types import Adapter, Method
from tuneport.workflows.training_plan.runs import OptimizerStep
from tuneport.workflows.training_plan.shapes import PlannedBaseModel


@dataclass(frozen=True)
class TrainingWork:
    """The work of a run: `tokens` of `rows` examples an epoch, and `batch` of them an optimizer step."""

    method: Method
    rows: int
    tokens: int
    epochs: int
    batch: int


@dataclass(frozen=True)
class TrainingPlanGPU:
    """One kind of GPU: whether one or several of it hold the run, how long the run takes there, what the hours cost."""

    fit: GPUFit
    duration: Duration
    usd: float | None

    @property
    def name(self) -> str:
        return self.fit.gpu if self.fit.count == 1 else f"{self.fit.count} x {self.fit.gpu}"

    def as_dict(self) -> dict[str, Any]:
        seconds = {"seconds": self.duration.expected_seconds, "seconds_unavailable": self.duration.unavailable}
        return self.fit.as_dict() | seconds | {"usd": self.usd}


def plan_for_each_gpu(
    model: PlannedBaseModel, adapter: Adapter, step: OptimizerStep, work: TrainingWork, cards: Sequence[CatalogueGPU]
) -> list[TrainingPlanGPU]:
    """Return a plan for every GPU, smallest memory first; empty if the model's shape is not known."""
    if model.dimensions is None:
        return []
    found = estimate_gpu_fits(
        adapter,
        model.dimensions,
        step.run,
        cards,
        context=model.context,
        counts=step.counts,
        sharding=step.sharding,
    )
    plans = []
    for fit in found:
        seconds = planned_training_duration_on(load_gpus().find(fit.gpu), model, adapter, fit.run, work)
        plans.append(TrainingPlanGPU(fit, seconds, _dollars(seconds, fit)))
    return plans


def cheapest_plan_gpus(plans: Sequence[TrainingPlanGPU]) -> TrainingPlanGPU | None:
    """Return the GPUs with the lowest cost of the whole run; if the time is unknown, those with the cheapest hour."""
    able = [plan for plan in plans if plan.fit.verdict == "yes" and plan.fit.usd_per_hour is not None]
    timed = [plan for plan in able if plan.usd is not None]
    if timed:
        return min(timed, key=lambda plan: plan.usd or 0.0)
    return min(able, key=lambda plan: plan.fit.usd_per_hour or 0.0, default=None)


def planned_training_duration_on(
    card: CatalogueGPU | None,
    model: PlannedBaseModel,
    adapter: Adapter,
    run: TrainingShape,
    work: TrainingWork,
    cpu_rate: CPURate | None = None,
) -> Duration:
    """Return the duration on `card`, or on the processor, whose measured rate is `cpu_rate`."""
    if work.method.writes_answers:
        return answering_duration(work.method)
    if model.params_b is None:
        return Duration.unknown("the model's size is not known")
    total = work.tokens * work.epochs
    if card is None:
        return cpu_duration(total, params_b=model.params_b, rate=cpu_rate)
    if card.bf16_tflops is None:
        return Duration.unknown(f"the rate of {card.name} is not known")
    return gpu_duration(
        total,
        params_b=model.params_b,
        adapter=adapter,
        bf16_tflops=card.bf16_tflops,
        micro_batch=run.micro_batch,
        length=max(1, work.tokens // work.rows),
        accumulation=max(1, work.batch // (run.micro_batch * run.gpus)),
        checkpointing=run.checkpointing,
        dimensions=model.dimensions,
        gpu=card.name,
        bandwidth_gbps=card.bandwidth_gbps,
        further_passes=work.method.traits.further_passes,
        gpus=run.gpus,
    )


def planned_training_duration_here(
    card: CatalogueGPU | None,
    model: PlannedBaseModel,
    adapter: Adapter,
    run: TrainingShape,
    work: TrainingWork,
    machine: Machine,
    history: DurationHistory,
) -> Duration:
    """Return the duration on this machine, corrected by its own finished runs."""
    duration = planned_training_duration_on(card, model, adapter, run, work, machine.cpu_rate)
    if model.params_b is None:
        return duration
    return correct_estimated_duration(
        duration,
        history.local,
        device=machine.device,
        params_b=model.params_b,
        adapter=adapter,
        tokens=work.tokens * work.epochs,
        proportional=card is None,
    )


def _dollars(duration: Duration, fit: GPUFit) -> float | None:
    if duration.expected_seconds is None or fit.usd_per_hour is None:
        return None
    return duration.expected_seconds / 3600 * fit.usd_per_hour
