"""The input and the result of a ranking."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from tuneport.estimate.cost import InferenceQuote, OwnGPUCost
from tuneport.estimate.duration import CPURate, Duration
from tuneport.estimate.memory import MemoryEstimate
from tuneport.estimate.training_settings import TrainingSettings, TrainingSteps
from tuneport.manifests import Manifest, OfferedModel
from tuneport.types import Adapter, Quote

Kind = Literal["not offered", "ended", "unsupported", "data", "extra", "key", "address", "weights", "memory", "budget"]


@dataclass(frozen=True)
class BackendRefusal:
    kind: Kind
    reason: str
    nearest: tuple[str, ...] = ()


@dataclass(frozen=True)
class BackendChoiceTokens:
    """Tokens of the dataset as one model counts them. `longest`: of the longest example;
    `usual`: what 99 of 100 examples keep to.

    Where `reason` says why they are approximate, what is billed lies between `low` and `high` times the tokens.
    """

    training: int | None
    validation: int = 0
    longest: int | None = None
    validation_rows: int = 0
    low: float = 1.0
    high: float = 1.0
    reason: str = ""
    usual: int | None = None

    @property
    def approximate(self) -> bool:
        return bool(self.reason)


@dataclass(frozen=True)
class DatasetFacts:
    """The facts about a dataset that ranking needs. `tokens` counts for a model, and is asked once for each
    candidate. `image_rows` show pictures, validation included, and `path_rows` of them some by a path."""

    rows: int
    bytes: int | None = None
    image_rows: int = 0
    path_rows: int = 0
    tokens: Callable[[Manifest, OfferedModel], BackendChoiceTokens] = lambda manifest, model: BackendChoiceTokens(None)


@dataclass(frozen=True)
class Machine:
    """The machine of a backend that trains here. All None: nothing is known, and nothing is refused for it.

    `memory_gib` is the accelerator's, or main memory if there is none. `gpu` is its name, empty if the processor
    trains; `bf16_tflops` None of a GPU: nothing is known of its speed. `tokens_per_second` was measured here for this
    model. `device`: what runs here are told apart by. `cpu_rate`: what its processor was measured to do. `own` says
    what an hour of the machine costs and what it serves; None: nothing is counted for it.
    """

    memory_gib: float | None = None
    bf16_tflops: float | None = None
    gpu: str = ""
    bandwidth_gbps: float | None = None
    tokens_per_second: float | None = None
    device: str = ""
    cpu_rate: CPURate | None = None
    own: OwnGPUCost | None = None


@dataclass(frozen=True)
class Readiness:
    """The backends that are set up: those whose key is there, whose extra is installed, and which need the user's own
    address. By backend: why it cannot have the weights of the base model, and the note that it downloads them first."""

    with_key: frozenset[str] = frozenset()
    installed: frozenset[str] = frozenset()
    without_address: frozenset[str] = frozenset()
    without_weights: Mapping[str, str] = field(default_factory=dict)
    downloads: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BackendChoice:
    """One backend's answer to a spec. `model` is the backend's own id (None: not offered).

    `adapter` and `settings` are what would run. `refusals` empty means `allowed`; `warnings` do not forbid. `inference`
    is a month of the tuned model, `base` the same month of the base model with today's prompts. `licence` is the base
    model's; None if it is not known.
    """

    backend: str
    title: str
    model: str | None
    quote: Quote
    inference: InferenceQuote | None = None
    base: InferenceQuote | None = None
    duration: Duration = Duration()
    memory: MemoryEstimate | None = None
    retires: date | None = None
    retires_source: str | None = None
    licence: str | None = None
    adapter: Adapter | None = None
    settings: TrainingSettings | None = None
    refusals: tuple[BackendRefusal, ...] = ()
    warnings: tuple[str, ...] = ()
    dataset: str = ""
    demerits: int = field(default=0, compare=False)

    @property
    def allowed(self) -> bool:
        return not self.refusals

    @property
    def epochs(self) -> int | None:
        """Return how often the data would be read, or None if the model is not offered."""
        return None if self.settings is None else self.settings.epochs

    @property
    def steps(self) -> TrainingSteps | None:
        """Return the optimizer steps, or None if the model is not offered."""
        return None if self.settings is None else self.settings.steps

    @property
    def highest_price(self) -> float | None:
        """Return the most that training may cost, in US dollars, or None if that is not known."""
        return self.quote.expected if self.quote.high is None else self.quote.high

    @property
    def reasons(self) -> list[str]:
        """Return the reasons of the refusal, then the notes."""
        return [refusal.reason for refusal in self.refusals] + list(self.warnings)

    def as_dict(self) -> dict[str, Any]:
        return {
            "backend": self.backend,
            "model": self.model,
            "allowed": self.allowed,
            "reasons": self.reasons,
            "training": self.quote.model_dump(mode="json"),
            "inference_per_month": self.inference.model_dump(mode="json") if self.inference else None,
            "base_inference_per_month": self.base.model_dump(mode="json") if self.base else None,
            "duration": vars(self.duration),
            "memory_gib": vars(self.memory) if self.memory else None,
            "retires": self.retires.isoformat() if self.retires else None,
            "retires_source": self.retires_source,
            "licence": self.licence,
            "adapter": self.adapter,
            "epochs": self.epochs,
            "steps": None if self.steps is None else self.steps.model_dump(mode="json"),
            "settings": None if self.settings is None else self.settings.as_dict(),
        }
