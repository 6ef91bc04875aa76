"""The facts behind advice: the needs, the attempts so far, the data. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from tuneport.errors import ConfigError


class Need(StrEnum):
    """A change that the answers need."""

    TASK = "task"  # a well-defined task: classify, extract, summarise, answer
    FORMAT = "format"  # a fixed output format or structure
    STYLE = "style"  # tone, voice, persona, length
    BEHAVIOUR = "behaviour"  # how it decides, refuses, follows a policy or uses tools
    DOMAIN = "domain"  # the language and judgement of a field, not its facts
    KNOWLEDGE = "knowledge"  # facts: private, fresh, or changing ones
    LANGUAGE = "language"  # a language or notation that the base model hardly knows
    COST = "cost"  # as good, but cheaper
    LATENCY = "latency"  # as good, but faster


SAVINGS = (Need.COST, Need.LATENCY)


class Tried(StrEnum):
    """The result of an attempt, if there was one."""

    NO = "no"
    FAILS = "fails"  # tried properly, and clearly not good enough
    PARTLY = "partly"  # helps, but not enough or not always
    WORKS = "works"


class Approach(StrEnum):
    PROMPT = "prompt"
    CLASSIFIER = "classifier"  # a small one of one's own, without a language model
    FEW_SHOT = "few-shot"
    RAG = "rag"
    FINE_TUNE = "fine-tune"
    SMALLER_MODEL = "smaller-model"  # a smaller model, tuned to do what the large one does
    CONTINUED_PRETRAINING = "continued-pretraining"

    @property
    def trains(self) -> bool:
        return self in (Approach.FINE_TUNE, Approach.SMALLER_MODEL, Approach.CONTINUED_PRETRAINING)


class Task(StrEnum):
    CLASSIFICATION = "classification"
    EXTRACTION = "extraction"
    STYLE = "style"
    DOMAIN = "domain"
    CODE = "code"


MINIMUM = {Task.CLASSIFICATION: 50, Task.EXTRACTION: 100, Task.STYLE: 200, Task.DOMAIN: 500, Task.CODE: 1_000}
"""The fewest examples that a task needs, by the usual table."""
GOOD = {Task.CLASSIFICATION: 500, Task.EXTRACTION: 1_000, Task.STYLE: 1_000, Task.DOMAIN: 5_000, Task.CODE: 10_000}
START = 200
"""Good examples to start with if the task is not known."""
PRETRAINING_TOKENS = 10_000_000
"""Tokens of plain text below which continued pre-training teaches little: a judgement. Published runs use far more."""
GOOD_CLASSIFIER = 0.95
"""The accuracy at the lower end of its interval from which a small classifier is advised: a judgement."""
BUSY_REQUESTS = 100_000
"""With this many requests a month, a shorter prompt or a smaller model pays for its work: a judgement."""


@dataclass(frozen=True)
class Situation:
    """The known facts; None for what was not answered.

    `needs`: what has to change, most important first. `prompt`, `few_shot`: what came of trying each on the base model.
    `examples`: how many good examples there are. `text_tokens`: plain text of the domain, in tokens.
    `facts_change`: whether the facts change weekly or faster. `sources`: whether documents with the facts can be
    searched. `requests`: a month. `has_evaluation`: a held-out set to measure on. `generated_only`: no example was
    written or checked by a person. `inconsistent`: the share of the data that contradicts itself or its own format.
    `saving`: US dollars that the smaller model saves in its first year compared with what works now, its training paid;
    below 0 it costs more. `classifier`: the measured accuracy of a small classifier on the data, with its interval
    (low, expected, high). `evidence` says of any of these where it is from, if the user did not just say it.
    """

    needs: Sequence[Need]
    prompt: Tried = Tried.NO
    few_shot: Tried = Tried.NO
    task: Task | None = None
    examples: int | None = None
    text_tokens: int | None = None
    facts_change: bool = False
    sources: bool | None = None
    requests: int | None = None
    has_evaluation: bool | None = None
    generated_only: bool | None = None
    inconsistent: float | None = None
    epochs: int | None = None
    saving: float | None = None
    classifier: tuple[float, float, float] | None = None
    evidence: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.needs:
            raise ConfigError("say what has to change: --need style, for example")
        for name in ("examples", "text_tokens", "requests"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ConfigError(f"{name} is {value}; it must be 0 or more")
        if self.inconsistent is not None and not 0 <= self.inconsistent <= 1:
            raise ConfigError(f"inconsistent is {self.inconsistent:g}; it is a share, from 0 to 1")

    @property
    def minimum(self) -> int:
        """Return the fewest examples that the task needs; without a task, the usual "start at 200 good ones"."""
        return MINIMUM[self.task] if self.task else START

    @property
    def enough(self) -> bool:
        """Return whether there are enough examples. An unknown count is not enough."""
        return self.examples is not None and self.examples >= self.minimum

    @property
    def plenty(self) -> bool:
        return self.examples is not None and self.examples >= (GOOD[self.task] if self.task else 1_000)

    @property
    def classifier_does_it(self) -> bool:
        """Return whether a small classifier was measured to be good enough."""
        return self.classifier is not None and self.classifier[0] >= GOOD_CLASSIFIER

    @property
    def has_text(self) -> bool:
        return (self.text_tokens or 0) >= PRETRAINING_TOKENS

    @property
    def too_few(self) -> str:
        if self.examples is None:
            return f"the number of good examples is not known; this task needs at least {self.minimum:,}"
        return f"{self.examples:,} examples are too few; this task needs at least {self.minimum:,}"
