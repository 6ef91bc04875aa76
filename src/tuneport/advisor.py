"""Fine-tune or not: the reference card's decision tree over what is asked for, what was tried and what data there is.

Pure. The answer is an approach, why, what else was considered and what that takes, and the pitfalls that apply. "Do not
fine-tune" is an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tuneport.errors import ConfigError


class Need(StrEnum):
    """What has to change about the answers."""

    TASK = "task"  # a well-defined task: classify, extract, summarise, answer
    FORMAT = "format"  # a fixed output format or structure
    STYLE = "style"  # tone, voice, persona, length
    BEHAVIOUR = "behaviour"  # how it decides, refuses, follows a policy or uses tools
    DOMAIN = "domain"  # the language and judgement of a field, not its facts
    KNOWLEDGE = "knowledge"  # facts: private, fresh, or changing ones
    LANGUAGE = "language"  # a language or notation that the base model hardly knows
    COST = "cost"  # as good, but cheaper
    LATENCY = "latency"  # as good, but faster


class Tried(StrEnum):
    """How far something was tried, and with what result."""

    NO = "no"
    FAILS = "fails"  # tried properly, and clearly not good enough
    PARTLY = "partly"  # helps, but not enough or not always
    WORKS = "works"


class Approach(StrEnum):
    PROMPT = "prompt"
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
"""Examples that a task needs at the least: the card's table."""
GOOD = {Task.CLASSIFICATION: 500, Task.EXTRACTION: 1_000, Task.STYLE: 1_000, Task.DOMAIN: 5_000, Task.CODE: 10_000}
PRETRAINING_TOKENS = 10_000_000
"""Tokens of plain text below which continued pre-training teaches little: a judgement. Published runs use far more."""
BUSY_REQUESTS = 100_000
"""Requests a month from which a shorter prompt or a smaller model pays for its work: a judgement."""


@dataclass(frozen=True)
class Situation:
    """What is known. None where nobody said.

    `needs`: what has to change, most important first. `prompt`, `few_shot`: what came of trying each on the base model.
    `examples`: good examples of what is wanted that there are. `text_tokens`: plain text of the domain, in tokens.
    `facts_change`: whether the facts change weekly or faster. `sources`: whether documents with the facts can be
    searched. `requests`: a month. `has_evaluation`: a held-out set to measure on. `generated_only`: no example was
    written or checked by a person. `inconsistent`: the share of the data that contradicts itself or its own format.
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
    generated_only: bool = False
    inconsistent: float | None = None
    epochs: int | None = None

    def __post_init__(self) -> None:
        if not self.needs:
            raise ConfigError("say what has to change: --need style, for example")
        for name in ("examples", "text_tokens", "requests"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ConfigError(f"{name} is {value}; it must be 0 or more")
        if self.inconsistent is not None and not 0 <= self.inconsistent <= 1:
            raise ConfigError(f"inconsistent is {self.inconsistent:g}; it is a share, from 0 to 1")


@dataclass(frozen=True)
class Option:
    """One approach beside the others: what it takes, in the card's words, and why it is or is not the one here."""

    approach: Approach
    cost: str
    effort: str
    latency: str
    verdict: str


@dataclass(frozen=True)
class Pitfall:
    """`applies` None: it could not be judged from what is known. `evidence` says by what it was."""

    name: str
    applies: bool | None
    evidence: str
    mend: str


@dataclass(frozen=True)
class Advice:
    """`approach` with its `reason`; `first` is what to do before anything else, where something is."""

    approach: Approach
    reason: str
    first: tuple[str, ...]
    options: tuple[Option, ...]
    pitfalls: tuple[Pitfall, ...]

    @property
    def fine_tune(self) -> bool:
        return self.approach.trains


def advise(situation: Situation) -> Advice:
    """Which way to go, by the card's tree: prompts, then retrieval, then tuning, a smaller model, the prompt again."""
    approach, reason = _choose(situation)
    return Advice(
        approach=approach,
        reason=reason,
        first=tuple(_first(situation, approach)),
        options=tuple(
            Option(other, *TAKES[other], reason if other is approach else _why_not(situation, other))
            for other in Approach
        ),
        pitfalls=tuple(_pitfalls(situation, approach)),
    )


TAKES = {
    Approach.PROMPT: ("very low", "low", "none"),
    Approach.FEW_SHOT: ("low", "low", "slight: more tokens"),
    Approach.RAG: ("medium", "medium", "higher: a retrieval step"),
    Approach.FINE_TUNE: ("high", "high", "lower: shorter prompts"),
    Approach.SMALLER_MODEL: ("high, then lower", "high", "lower: a smaller model"),
    Approach.CONTINUED_PRETRAINING: ("very high", "very high", "none"),
}
"""Cost, effort and effect on latency: the card's table. A smaller model is tuned as any, and saves at every request."""

_SAVINGS = (Need.COST, Need.LATENCY)


def _choose(s: Situation) -> tuple[Approach, str]:
    main = s.needs[0]
    solved = Approach.PROMPT if s.prompt is Tried.WORKS else Approach.FEW_SHOT if s.few_shot is Tried.WORKS else None
    if main in _SAVINGS:
        return _to_save(s, main, solved)
    if solved is not None:
        wanted = [need for need in s.needs if need in _SAVINGS]
        if wanted:
            return _to_save(s, wanted[0], solved)
        return (
            solved,
            "it works: stop here" if solved is Approach.PROMPT else "a few examples in the prompt do it: stop here",
        )
    if main is Need.KNOWLEDGE:
        if s.prompt is Tried.NO and s.sources is False and not s.facts_change:
            return (
                Approach.PROMPT,
                "no documents to search: put the few facts into the prompt, and see how far that goes",
            )
        return Approach.RAG, (
            "facts are looked up, not trained in: tuning teaches how to answer, and a tuned model states facts that it "
            "half remembers" + ("; these change faster than any model is trained" if s.facts_change else "")
        )
    if main is Need.LANGUAGE or (main is Need.DOMAIN and _has_text(s) and not _enough(s)):
        return _new_ground(s, main)
    if s.prompt is Tried.NO:
        return Approach.PROMPT, "no prompt has been tried on the base model: it costs an hour, and often is enough"
    if s.few_shot is Tried.NO and not (_plenty(s) and (s.requests or 0) >= BUSY_REQUESTS):
        if main in (Need.FORMAT, Need.STYLE, Need.TASK) or not _enough(s):
            return Approach.FEW_SHOT, "a prompt alone does not do it, and examples in the prompt have not been tried"
    if Need.KNOWLEDGE in s.needs and s.facts_change:
        return Approach.RAG, "the facts in the answers change: look them up first, then see what style still lacks"
    if not _enough(s):
        return Approach.FEW_SHOT, _too_few(s)
    if (s.inconsistent or 0) > MOST_INCONSISTENT:
        return Approach.FEW_SHOT, (
            f"{s.inconsistent:.0%} of the data contradicts itself or its own format: a model learns that, too. Mend "
            "the data first"
        )
    return Approach.FINE_TUNE, f"prompts were tried and do not do it, and {main} is what tuning changes best"


MOST_INCONSISTENT = 0.2
"""Share of contradicting rows above which tuning teaches the contradiction: a judgement."""
FEW_REQUESTS = 10_000
"""Requests a month below which a cheaper model saves less than making it costs: a judgement; the break-even of
`tuneport compare` says it exactly."""


def _to_save(s: Situation, need: Need, solved: Approach | None) -> tuple[Approach, str]:
    if solved is None and s.prompt is Tried.NO:
        return (
            Approach.PROMPT,
            "first find a prompt that works, on whatever model: there is nothing to make cheaper yet",
        )
    if solved is None and Tried.PARTLY not in (s.prompt, s.few_shot):
        return Approach.FEW_SHOT, "nothing works yet, so there is nothing to make cheaper or faster: examples come next"
    if need is Need.COST and s.requests is not None and s.requests < FEW_REQUESTS:
        return (
            solved or Approach.FEW_SHOT,
            f"{s.requests:,} requests a month save less than a tuned model costs to make and keep",
        )
    if not _enough(s):
        return solved or Approach.FEW_SHOT, (
            f"{_too_few(s)}; collect the large model's good answers until there are enough for a small one"
        )
    return (
        Approach.SMALLER_MODEL,
        f"the task is solved: a smaller model, tuned on those answers, does it at less {need}",
    )


def _new_ground(s: Situation, main: Need) -> tuple[Approach, str]:
    if _has_text(s):
        return Approach.CONTINUED_PRETRAINING, (
            f"{s.text_tokens or 0:,} tokens of text: the base model has to learn the {main} before any task in it"
        )
    if s.prompt is Tried.NO:
        return Approach.PROMPT, "see first how much of it the base model knows: newer ones know most languages"
    if _enough(s):
        return Approach.FINE_TUNE, "too little text to pre-train on, but enough examples to tune with"
    return Approach.FEW_SHOT, "neither the text to pre-train on nor the examples to tune with: collect them first"


def _minimum(s: Situation) -> int:
    return MINIMUM[s.task] if s.task else 200  # "start at 200 good ones" (card)


def _enough(s: Situation) -> bool:
    """What nobody counted is not enough."""
    return s.examples is not None and s.examples >= _minimum(s)


def _plenty(s: Situation) -> bool:
    return s.examples is not None and s.examples >= (GOOD[s.task] if s.task else 1_000)


def _has_text(s: Situation) -> bool:
    return (s.text_tokens or 0) >= PRETRAINING_TOKENS


def _too_few(s: Situation) -> str:
    if s.examples is None:
        return f"how many good examples there are is not known; {_minimum(s):,} are the least for this task"
    return f"{s.examples:,} examples are too few; {_minimum(s):,} are the least for this task"


def _first(s: Situation, approach: Approach) -> list[str]:
    steps = []
    if approach.trains and s.has_evaluation is not True:
        steps.append("hold out 10 to 20 % of the examples to measure on: tuneport split DATA")
    if s.prompt is Tried.NO and approach is not Approach.PROMPT:
        steps.append("try the base model with a prompt, so that there is something to compare with")
    if (s.inconsistent or 0) > 0.05:
        steps.append("mend the contradictions and formats that tuneport check lists: tuneport clean DATA")
    if not approach.trains and s.examples is not None and not _enough(s):
        steps.append(f"collect examples meanwhile: {_minimum(s):,} good ones make tuning worth a try")
    return steps


def _why_not(s: Situation, approach: Approach) -> str:
    match approach:
        case Approach.PROMPT:
            return {Tried.NO: "not tried yet", Tried.WORKS: "works"}.get(s.prompt, "tried, not enough")
        case Approach.FEW_SHOT:
            return {Tried.NO: "not tried yet", Tried.WORKS: "works"}.get(s.few_shot, "tried, not enough")
        case Approach.RAG:
            return "would add the facts that are missing" if Need.KNOWLEDGE in s.needs else "no facts are missing"
        case Approach.FINE_TUNE:
            if not _enough(s):
                return _too_few(s)
            return "teaches no facts" if s.needs[0] is Need.KNOWLEDGE else "possible, once the cheaper ways are used up"
        case Approach.SMALLER_MODEL:
            return "possible later" if set(s.needs) & {*_SAVINGS} else "neither cost nor speed is the trouble"
    return f"wants {PRETRAINING_TOKENS:,} tokens of text or more" if not _has_text(s) else "for a new language or field"


def _pitfalls(s: Situation, approach: Approach) -> list[Pitfall]:
    """The card's eight, each with what it was judged by."""
    trains = approach.trains
    known = [] if s.examples is None else [f"{s.examples:,} examples"]
    return [
        Pitfall(
            "fine-tuning for knowledge",
            trains and Need.KNOWLEDGE in s.needs,
            "facts are among what is missing" if Need.KNOWLEDGE in s.needs else "no facts are asked for",
            "keep the facts in a search index, and tune for how they are used",
        ),
        Pitfall(
            "too few examples",
            None if s.examples is None else s.examples < _minimum(s),
            f"{known[0]}, the least is {_minimum(s):,}" if known else "nobody counted them",
            "start at 200 good ones; 200 clean and diverse beat 2,000 noisy",
        ),
        Pitfall(
            "too many epochs",
            None if s.epochs is None else s.epochs > 5,
            "not said" if s.epochs is None else f"{s.epochs} epochs, 1 to 5 are usual",
            "fewer epochs, and watch the validation loss",
        ),
        Pitfall(
            "inconsistent format",
            None if s.inconsistent is None else s.inconsistent > 0.05,
            "not checked" if s.inconsistent is None else f"{s.inconsistent:.0%} of the rows",
            "tuneport check lists the rows, tuneport clean mends them",
        ),
        Pitfall(
            "no evaluation set",
            None if s.has_evaluation is None else not s.has_evaluation,
            {None: "not said", True: "there is one", False: "there is none"}[s.has_evaluation],
            "hold out 10 to 20 %: tuneport split DATA",
        ),
        Pitfall(
            "base model never tried",
            s.prompt is Tried.NO,
            f"prompt: {s.prompt}, few-shot: {s.few_shot}",
            "measure the base model with a plain and a few-shot prompt first",
        ),
        Pitfall(
            "adapter not merged",
            None,
            "shows when the model is put to use" if trains else "nothing is trained",
            "tuneport download JOB --merged before serving it elsewhere",
        ),
        Pitfall(
            "generated data only",
            s.generated_only,
            "no example was written or checked by a person" if s.generated_only else "people wrote or checked examples",
            "let a person check a sample: tuneport review DATA",
        ),
    ]
