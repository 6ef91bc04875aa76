"""Advises on fine-tuning: runs the advisor's tree on the user's words, the data and measurements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from tuneport.advisor import Advice, Approach, Need, Situation, Task, Tried
from tuneport.advisor import recommend_approach as judge
from tuneport.backends import open_backend
from tuneport.data.checks import CheckReport
from tuneport.data.dataset import Dataset, DatasetLike
from tuneport.deprecation import renamed
from tuneport.errors import BudgetError, ConfigError
from tuneport.estimate.cost import InferenceQuote, Traffic, base_inference_quote
from tuneport.formatting import money
from tuneport.installation import install_extra
from tuneport.manifests import find_manifest_model, load_base_price_manifest
from tuneport.pages.notebook import Verdict, render_notebook_view
from tuneport.scoring.examples import Example
from tuneport.scoring.prompting import PromptingResult
from tuneport.settings import Settings
from tuneport.workflows.advising.classical import measure_classifier
from tuneport.workflows.advising.evidence import advising_evidence_in_report
from tuneport.workflows.advising.few_shot import count_probe_sample_tokens
from tuneport.workflows.advising.pricing import AdvisedOptionPricing, mean_request, price_advised_options
from tuneport.workflows.advising.probing import DEFAULT_ROWS, AdvisingProbe, AdvisingProbePlan, plan_probe, run_probe
from tuneport.workflows.check import check
from tuneport.workflows.comparison.rivals import PromptRival, cheapest_rival
from tuneport.workflows.target import find_target_model

Choice = TypeVar("Choice", bound=StrEnum)


@dataclass
class AdviceFacts:
    """The known facts: fields of a `Situation`, and the evidence for each that comes from the data."""

    settings: Settings
    known: dict[str, Any] = field(default_factory=dict)
    evidence: dict[str, str] = field(default_factory=dict)
    report: CheckReport | None = None
    validation: Dataset | None = None
    probe: AdvisingProbe | None = None
    pricing: AdvisedOptionPricing | None = None
    rival: PromptRival | None = None
    notes: list[str] = field(default_factory=list)

    def situation(self) -> Situation:
        return Situation(**{"needs": (), **self.known}, evidence=self.evidence)

    def plan_probe(
        self,
        model: str | None,
        backend: str | None = None,
        *,
        rows: int = DEFAULT_ROWS,
        seed: int = 0,
        system: str | None = None,
    ) -> AdvisingProbePlan:
        """Return the plan of a probe; nothing is sent. Raises ConfigError without a dataset or a model."""
        if self.report is None:
            raise ConfigError("--probe measures on held-out rows of a dataset; give DATA")
        if model is None:
            raise ConfigError("--probe asks a base model; say which with --model")
        target = find_target_model(model, backend, self.settings)
        return plan_probe(
            self.report,
            target,
            validation=self.validation,
            rows=rows,
            seed=seed,
            system=system,
        )

    def price(
        self,
        model: str | None,
        backend: str | None = None,
        *,
        smaller: str | None = None,
        tokens_per_request: tuple[int, int] | None = None,
    ) -> AdvisedOptionPricing | None:
        """Return US dollars for each option, with `model` as the base model, or None if no model or no dataset is
        named.

        Raises ModelNotOfferedError for a model, or a `smaller` one, that no backend has.
        """
        self.rival = _rival(self.report, self.known.get("requests"), tokens_per_request)
        if model is None or self.report is None:
            if smaller is not None or tokens_per_request is not None:
                raise ConfigError("prices need DATA and the base model that is in use: --model")
            return None
        shots = (
            None
            if self.probe is None
            else sum(count_probe_sample_tokens(_texts(shot)) for shot in self.probe.plan.drawn.shots)
        )
        self.pricing = price_advised_options(
            self.report,
            find_target_model(model, backend, self.settings),
            requests=self.known.get("requests"),
            tokens_per_request=tokens_per_request,
            shots=shots,
            smaller=smaller,
            epochs=self.known.get("epochs"),
            validation=self.validation,
            settings=self.settings,
        )
        if self.pricing.epochs is not None and "epochs" not in self.known:
            self.known["epochs"] = self.pricing.epochs
            self.evidence["epochs"] = f"{self.pricing.epochs}: what is recommended for so many rows, 1 to 5 are usual"
        now = Approach.PROMPT if self.known.get("prompt") is Tried.WORKS else Approach.FEW_SHOT
        if (saving := self.pricing.saving(now)) is not None:
            self.known["saving"] = saving
        return self.pricing

    def run_probe(
        self,
        plan: AdvisingProbePlan,
        *,
        budget: float | None = None,
        allow_personal_data: bool = False,
        on_measured: Callable[[PromptingResult], None] = lambda measured: None,
    ) -> AdvisingProbe:
        """Ask the base model; measured facts replace stated ones.

        Raises BudgetError if it may cost more than `budget` US dollars or the cost is unknown, and ConfigError if
        personal data would go to a third party. Both are raised before anything is sent.
        """
        refuse_probe_over_budget(probe_quote(plan), budget)
        if plan.target.manifest.third_party and not allow_personal_data:
            plan.refuse_personal_data()
        with closing(open_backend(plan.target.manifest.name, self.settings)) as backend:
            self.probe = run_probe(plan, backend, on_measured)
        for name, result in self.probe.results.items():
            said = self.known.get(name)
            if said not in (None, result):
                self.notes.append(f"{name}: {said} was stated, {result} was measured; the measurement counts")
            self.known[name] = result
            self.evidence[name] = self.probe.evidence
        return self.probe


@dataclass(frozen=True)
class AdviseResult:
    """`facts` are what the advice rests on."""

    advice: Advice
    situation: Situation
    dataset: Path | None = None
    probe: AdvisingProbe | None = None
    pricing: AdvisedOptionPricing | None = None
    rival: PromptRival | None = None
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"AdviseResult({self.advice.approach.value}: {self.advice.reason})"

    def _repr_html_(self) -> str:
        kind: Verdict = "pass" if self.fine_tune else "warn"
        return render_notebook_view(
            self.advice.approach.value, notes=[self.advice.reason, *self.notes], ruling=("advised", kind)
        )

    @property
    def fine_tune(self) -> bool:
        return self.advice.fine_tune

    def as_dict(self) -> dict[str, Any]:
        advice, situation = self.advice, self.situation
        return {
            "fine_tune": self.fine_tune,
            "approach": advice.approach.value,
            "beside": None if advice.beside is None else advice.beside.value,
            "rival": None if self.rival is None else self.rival.as_dict(),
            "reason": advice.reason,
            "first": list(advice.first),
            "options": [vars(option) for option in advice.options],
            "pitfalls": [vars(pitfall) for pitfall in advice.pitfalls],
            "situation": {**vars(situation), "needs": list(situation.needs), "evidence": dict(situation.evidence)},
            "dataset": None if self.dataset is None else str(self.dataset),
            "pricing": None if self.pricing is None else self.pricing.as_dict(),
            "probe": None if self.probe is None else self.probe.as_dict(),
            "notes": list(self.notes),
        }


def gather_advice_facts(
    dataset: DatasetLike | None = None,
    *,
    needs: Sequence[str] = (),
    prompt: str | None = None,
    few_shot: str | None = None,
    task: str | None = None,
    examples: int | None = None,
    text_tokens: int | None = None,
    facts_change: bool | None = None,
    sources: bool | None = None,
    requests: int | None = None,
    has_evaluation: bool | None = None,
    generated_only: bool | None = None,
    inconsistent: float | None = None,
    epochs: int | None = None,
    validation: DatasetLike | None = None,
    columns: Mapping[str, str] | None = None,
    format: str | None = None,
    settings: Settings | None = None,
) -> AdviceFacts:
    """Return the facts from the user's statements and the dataset's check; statements take precedence.

    `examples` counts good ones: with a dataset that is larger, say how many of its records are good. Raises ConfigError
    for an unknown need, result or task, and DatasetError for a dataset that cannot be read.
    """
    said: dict[str, Any] = {
        "needs": tuple(_one_of(Need, need, "need") for need in needs) or None,
        "prompt": None if prompt is None else _one_of(Tried, prompt, "result of the prompt"),
        "few_shot": None if few_shot is None else _one_of(Tried, few_shot, "result of the few-shot prompt"),
        "task": None if task is None else _one_of(Task, task, "task"),
        "examples": examples,
        "text_tokens": text_tokens,
        "facts_change": facts_change,
        "sources": sources,
        "requests": requests,
        "has_evaluation": has_evaluation,
        "generated_only": generated_only,
        "inconsistent": inconsistent,
        "epochs": epochs,
    }
    known = {name: value for name, value in said.items() if value is not None}
    settings = settings or Settings.load()
    if dataset is None:
        if validation is not None:
            raise ConfigError("a held-out file says nothing without the dataset; give DATA as well")
        return AdviceFacts(settings, known)
    data = Dataset.of(dataset, columns, format)
    report = check(data, validation=validation, task=task, settings=settings)
    seen = advising_evidence_in_report(report)
    evidence = {name: text for name, text in seen.evidence.items() if name not in known}
    notes = [*report.notes]
    if report.classes and find_spec("sklearn") is None:
        notes.append(f"no small classifier was measured, as scikit-learn is not installed: {install_extra('checks')}")
    elif (measured := measure_classifier(report)) is not None:
        known["classifier"], evidence["classifier"] = measured.interval, str(measured)
    held_out = None if validation is None else data.validation_like(validation)
    return AdviceFacts(settings, {**seen.known, **known}, evidence, report, held_out, notes=notes)


@renamed(needs="need")
def advise(
    dataset: DatasetLike | None = None,
    *,
    need: str | Sequence[str] = (),
    prompt: str | None = None,
    few_shot: str | None = None,
    task: str | None = None,
    examples: int | None = None,
    text_tokens: int | None = None,
    facts_change: bool | None = None,
    sources: bool | None = None,
    requests: int | None = None,
    has_evaluation: bool | None = None,
    generated_only: bool | None = None,
    inconsistent: float | None = None,
    epochs: int | None = None,
    validation: DatasetLike | None = None,
    columns: Mapping[str, str] | None = None,
    format: str | None = None,
    model: str | None = None,
    backend: str | None = None,
    probe: bool = False,
    rows: int = DEFAULT_ROWS,
    seed: int = 0,
    system: str | None = None,
    budget: float | None = None,
    allow_personal_data: bool = False,
    smaller: str | None = None,
    tokens_per_request: tuple[int, int] | None = None,
    settings: Settings | None = None,
) -> AdviseResult:
    """Recommend fine-tuning or another option by the decision tree of the reference.

    The arguments up to `format` are the facts, as in `gather_advice_facts`; `need` is required. The call needs no key
    and uses no network, unless `probe` is set: then the base `model` on `backend` answers `rows` held-out rows, with a
    plain and with a few-shot prompt; see `AdviceFacts.plan_probe` and `AdviceFacts.run_probe`, also for what they
    raise. With a dataset and a `model`, each option has its price in US dollars, for a month of so many `requests`: see
    `AdviceFacts.price`.
    """
    data = None if dataset is None else Dataset.of(dataset, columns, format)
    facts = gather_advice_facts(
        data,
        needs=(need,) if isinstance(need, str) else need,
        prompt=prompt,
        few_shot=few_shot,
        task=task,
        examples=examples,
        text_tokens=text_tokens,
        facts_change=facts_change,
        sources=sources,
        requests=requests,
        has_evaluation=has_evaluation,
        generated_only=generated_only,
        inconsistent=inconsistent,
        epochs=epochs,
        validation=validation,
        settings=settings,
    )
    if probe:
        plan = facts.plan_probe(model, backend, rows=rows, seed=seed, system=system)
        facts.run_probe(plan, budget=budget, allow_personal_data=allow_personal_data)
    facts.price(model, backend, smaller=smaller, tokens_per_request=tokens_per_request)
    return advise_option(facts)


def advise_option(facts: AdviceFacts) -> AdviseResult:
    """Return the recommendation for the facts. Raises ConfigError if `need` is missing."""
    situation, notes = facts.situation(), list(facts.notes)
    if facts.probe is not None and not facts.probe.results and situation.prompt is Tried.NO:
        notes.append("the probe's answers are not judged yet: read them, then set --prompt and --few-shot")
    return AdviseResult(
        advice=judge(situation),
        situation=situation,
        dataset=None if facts.report is None else facts.report.path,
        probe=facts.probe,
        pricing=facts.pricing,
        rival=facts.rival,
        notes=tuple(notes),
    )


def _rival(
    report: CheckReport | None, requests: int | None, tokens_per_request: tuple[float, float] | None
) -> PromptRival | None:
    """Return the cheapest model to prompt, for a month of the requests, or for a thousand of them."""
    if tokens_per_request is None and report is not None and report.tokens is not None:
        mean = mean_request(report, None, 0)
        tokens_per_request = mean.tokens_in, mean.tokens_out
    traffic = Traffic.stated(requests=requests or 1_000, per_request=tokens_per_request)
    return cheapest_rival(traffic, today=date.today())


def probe_quote(plan: AdvisingProbePlan) -> InferenceQuote:
    """Return the cost of the probe: expected with answers as long as the right ones, high with answers up to the
    limit."""
    manifest, model = plan.target.manifest, plan.target.model
    offered = find_manifest_model(manifest, model)
    if offered is None:
        return InferenceQuote(backend=manifest.name, model=model, unavailable=f"{manifest.title} lists no {model}")

    def quote(output_tokens: int) -> InferenceQuote:
        traffic = Traffic(plan.input_tokens, output_tokens)
        return base_inference_quote(manifest, offered, traffic, load_base_price_manifest(), today=date.today())

    expected, most = quote(plan.output_tokens), quote(plan.most_output_tokens)
    if expected.parts is not None and expected.parts.machine:  # a month's rent says nothing of a few prompts
        return InferenceQuote(backend=manifest.name, model=model, unavailable=f"{model} has no price per token")
    return expected.model_copy(update={"high": most.high})


def refuse_probe_over_budget(quote: InferenceQuote, budget: float | None) -> None:
    if budget is None:
        return
    if quote.high is None:
        raise BudgetError(f"the price of the probe is unknown, because {quote.unavailable}; leave --budget out")
    if quote.high > budget:
        raise BudgetError(
            f"the probe may cost {money(quote.high)}, above the budget of {money(budget)}; ask fewer --rows"
        )


def _texts(shot: Example) -> list[str]:
    return [str(message["content"]) for message in shot.messages if message["role"] != "system"] + [shot.expected]


def _one_of(kind: type[Choice], word: str, what: str) -> Choice:
    try:
        return kind(word)
    except ValueError:
        raise ConfigError(f"{word!r} is no {what}; known: {', '.join(kind)}") from None
