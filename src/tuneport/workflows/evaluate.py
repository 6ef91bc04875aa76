"""Did it help? Models measured on the same held-out rows, side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuneport.backends.base import FineTuneBackend
from tuneport.data.personal.search import find
from tuneport.data.reading import columns_there
from tuneport.errors import BudgetError, ConfigError
from tuneport.evaluate.asking import likelihoods_of_answers
from tuneport.evaluate.examples import Answer, Example
from tuneport.evaluate.general import ANSWER_TOKENS, GeneralComparison
from tuneport.evaluate.judge import RUBRIC
from tuneport.evaluate.metrics import Metric, metric, names_for, rehearse
from tuneport.evaluate.scores import Score, Scored, score_all
from tuneport.jobs.service import Workspace
from tuneport.workflows.advising.drawing import shots_for, tokens
from tuneport.workflows.evaluation.answer_cache import AnswerCache
from tuneport.workflows.evaluation.answering import Said, ask
from tuneport.workflows.evaluation.asked_models import FEW_SHOT, AskedModel, asked_models
from tuneport.workflows.evaluation.general_ability import (
    compare_in_general,
    keep_what_was_forgotten,
    once_each,
    written_rows,
)
from tuneport.workflows.evaluation.held_out import HeldOut, held_out
from tuneport.workflows.evaluation.judgement import Judgement
from tuneport.workflows.evaluation.judging import PlannedJudge, plan_judge, run_judge
from tuneport.workflows.evaluation.latency import Speed, measure_speed
from tuneport.workflows.evaluation.lm_eval import LmEvalPlan, LmEvalResults, measure_lm_eval, plan_lm_eval
from tuneport.workflows.evaluation.planned_models import PlannedModel, plan_model
from tuneport.workflows.evaluation.prices import price_of_a_thousand

MOST_ANSWER_TOKENS = 1024


@dataclass(frozen=True)
class EvaluationPlan:
    """What would be asked, of whom, and what it would cost. Nothing has been sent.

    `general`: the general-ability set, once for each of the weights, where it is wanted.
    """

    held_out: HeldOut
    models: tuple[PlannedModel, ...]
    metrics: tuple[Metric, ...]
    answer_limit: int
    general: tuple[PlannedModel, ...] = ()
    judge: PlannedJudge | None = None
    lm_eval: LmEvalPlan | None = None

    @property
    def third_parties(self) -> list[str]:
        """To whom rows go."""
        parties = {each.third_party for each in self.models if each.third_party and each.waiting}
        if self.judge is not None and self.judge.third_party is not None:
            parties.add(self.judge.third_party)
        return sorted(parties)

    @property
    def requests(self) -> tuple[PlannedModel, ...]:
        return self.models + self.general

    def refuse_over_budget(self, budget: float) -> None:
        for each in self.requests:
            if each.usd is None and each.waiting:
                raise BudgetError(
                    f"what {each.asked.name} costs is unavailable, because {each.why}; leave --budget away"
                )
        most = sum(each.usd or 0.0 for each in self.requests)
        if self.judge is not None:
            most += self.judge.usd_at_most
        if most > budget:
            raise BudgetError(
                f"the evaluation may cost ${most:.4f}, above the budget of ${budget:.4f}; ask fewer --rows"
            )

    def refuse_personal_data(self) -> None:
        """ConfigError where what would go to a third party holds what looks like personal data."""
        if not self.third_parties:
            return
        sent = [(row.messages, row.expected) for row in self.held_out.rows]
        # The examples of few-shot prompts are training rows, and the same ones in each of them.
        sent += [(each.prompts[0].messages, "") for each in self.models if each.third_party and each.shots]
        for messages, expected in sent:
            calls = [call["function"]["arguments"] for each in messages for call in each.get("tool_calls", ())]
            if matches := find("\n".join([*(str(each["content"]) for each in messages), *calls, expected])):
                raise ConfigError(
                    f"what is sent holds what looks like personal data ({matches[0].kind} {matches[0].masked}) and "
                    f"{self.third_parties[0]} is a third party; `tuneport clean --redact` replaces it, "
                    "--allow-personal-data sends it anyway"
                )


@dataclass(frozen=True)
class Measured:
    """A model's answers, and what they took. `usd_per_thousand` requests: None with the reason in `price`.

    `seconds` is the time of those answers that were asked now; `cached` of them were kept from before.
    """

    asked: AskedModel
    said: tuple[Said, ...]
    speed: Speed
    usd_per_thousand: float | None
    price: str
    seconds: float
    cached: int

    @property
    def refused(self) -> int:
        return sum(each.refused is not None for each in self.said)


@dataclass(frozen=True)
class Evaluation:
    """`scored`: see `evaluate.scores`. Models are compared with the first one, in `general` too, by their names."""

    held_out: HeldOut
    models: tuple[Measured, ...]
    metrics: tuple[Metric, ...]
    scored: Scored
    general: Mapping[str, GeneralComparison] = field(default_factory=dict)
    judgement: Judgement | None = None
    lm_eval: LmEvalResults | None = None

    def score(self, model: str, name: str) -> Score:
        return self.scored.scores[model][name]

    def general_of(self, model: str) -> GeneralComparison | None:
        """What the model kept of the first one's abilities, where that was asked; with examples or without."""
        return self.general.get(model.removesuffix(FEW_SHOT))

    def failing(self, least: Mapping[str, float]) -> list[str]:
        """Which of the limits the last model misses, in words; ConfigError for a metric that was not measured."""
        model = self.models[-1].asked.name
        told = []
        for name, limit in least.items():
            if name not in self.scored.scores[model]:
                raise ConfigError(f"--fail-under {name}: measured were {', '.join(self.scored.scores[model])}")
            score = self.score(model, name)
            if score.value < limit if score.higher_is_better else score.value > limit:
                told.append(f"{name} of {model} is {score.value:.4g}, and {limit:g} was asked for")
        return told

    def as_dict(self) -> dict[str, Any]:
        return {
            "held_out": self.held_out.as_dict(),
            "models": [
                {
                    "name": each.asked.name,
                    "backend": each.asked.backend,
                    "model": each.asked.model,
                    "few_shot": each.asked.few_shot,
                    "answers": len(each.said),
                    "cached": each.cached,
                    "refused": each.refused,
                    "seconds": each.seconds,
                    "speed": each.speed.as_dict(),
                    "usd_per_thousand_requests": each.usd_per_thousand,
                    "price": each.price,
                }
                for each in self.models
            ],
            **self.scored.as_dict(),
            "general_ability": {name: each.as_dict() for name, each in self.general.items()},
            "judgement": None if self.judgement is None else self.judgement.as_dict(),
            "lm_eval": None if self.lm_eval is None else self.lm_eval.as_dict(),
            "rows": [
                {
                    "line": line,
                    "expected": row.expected,
                    "answers": {each.asked.name: each.said[index].text for each in self.models},
                }
                for index, (line, row) in enumerate(zip(self.held_out.lines, self.held_out.rows, strict=True))
            ],
        }


def plan_evaluation(
    workspace: Workspace,
    data: Path,
    models: Sequence[str],
    *,
    training: Path | None = None,
    base: str | None = None,
    metrics: Sequence[str] = (),
    also: Sequence[str] = (),
    options: Mapping[str, Mapping[str, Any]] | None = None,
    task: str | None = None,
    most: int | None = None,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
    general: bool = False,
    judge: str | None = None,
    rubric: str = RUBRIC,
    lm_eval: Sequence[str] = (),
    lm_eval_limit: int | None = None,
) -> EvaluationPlan:
    """Which rows are held out, which models are meant, and what asking them would cost. Sends nothing.

    `training` is a further file that no row may be in, beside what the jobs were trained on; few-shot examples are
    drawn from it, else from the first job's. `metrics` are names (`options` of each by its name), by default those
    that suit the data; those of `also` are measured besides. `general`: what was forgotten,
    and whether a model grew less safe, by the general-ability set. `judge`: a model that is asked by the `rubric`
    whether the last model's answers are better than the first one's. `lm_eval` are tasks of that package, of each the
    first `lm_eval_limit` rows. ConfigError for what cannot be measured.
    """
    if not models:
        raise ConfigError('name the models to measure: a job, base, "base few-shot", or backend/model')
    asked = asked_models(workspace, models, base=base)
    benchmarks = plan_lm_eval(workspace, asked, lm_eval, limit=lm_eval_limit)
    files = {} if training is None else {training.name: training}
    for each in asked:
        files |= {name: path for name, path in each.trained_on.items() if path not in files.values()}
    rows = held_out(data, files, most=most, seed=seed, task=task, columns=columns)
    names = dict.fromkeys([*(metrics or names_for(rows.rows, rows.task)), *also])
    chosen = tuple(metric(name, **(options or {}).get(name, {})) for name in names)
    for each_metric in chosen:
        rehearse(each_metric, rows.rows)
        if each_metric.needs_likelihood:
            _refuse_without_likelihood(workspace, each_metric, asked)
    shots: list[Example] = []
    if any(each.few_shot for each in asked):
        if not files:
            raise ConfigError("few-shot examples come from training data: name it with --train")
        first = next(iter(files.values()))
        shots = shots_for(
            rows.rows,
            first,
            by_label=rows.task == "classification",
            seed=seed,
            columns=columns_there(first, columns),
        )
        if not shots:
            raise ConfigError(
                f"no record of {next(iter(files))} is far enough from all rows to be an example; leave few-shot away"
            )
    answers = [tokens([_written(row)]) for row in rows.rows]
    limit = min(MOST_ANSWER_TOKENS, 16 + 2 * max(answers))  # other vocabularies take up to twice as many
    with _cache(workspace) as cache:
        planned = tuple(plan_model(workspace, cache, each, rows.rows, shots, limit) for each in asked)
        besides = tuple(
            plan_model(
                workspace, cache, each, written_rows(workspace.backend(each.backend)), [], ANSWER_TOKENS, timed=False
            )
            for each in (once_each(asked) if general else ())
        )
        judging = None
        if judge is not None:
            known = [each.keys for each in planned]
            judging = plan_judge(workspace, cache, judge, rubric, rows.rows, asked, known, limit, base=base)
    if len(besides) == 1:
        raise ConfigError("the general-ability set compares two models: name the base model, too")
    return EvaluationPlan(rows, planned, chosen, limit, besides, judging, benchmarks)


def run_evaluation(
    workspace: Workspace,
    plan: EvaluationPlan,
    *,
    seed: int = 0,
    allow_personal_data: bool = False,
    on_progress: Callable[[str, int, int], None] = lambda model, answered, of: None,
) -> Evaluation:
    """Ask what is not known yet, and score. `on_progress` gets a model, its answers so far, and how many there will be.
    What a job's model forgot of its base's abilities is kept for the verdict on the job's curve.

    Killed, or stopped by a provider, the same again goes on with the answers that were there. `allow_personal_data`: in
    answers that go to a judge; of the rows, `refuse_personal_data` of the plan is asked before.
    """
    if plan.judge is not None and plan.judge.waiting:
        plan.judge.judge.refuse_without_key(workspace)
    measured: list[Measured] = []
    answers: dict[str, list[Answer]] = {}
    rows = plan.held_out.rows
    likelihoods = any(each.needs_likelihood for each in plan.metrics)
    lm_eval = None
    with _cache(workspace) as cache:
        if plan.lm_eval is not None:  # before any row is sent: only lm-eval itself knows whether a task can be run
            lm_eval = measure_lm_eval(
                workspace, cache, plan.lm_eval, lambda name, done, of: on_progress(f"{name}, lm-eval", done, of)
            )
        for each in plan.models:
            name, begun = each.asked.name, time.monotonic()
            backend = workspace.backend(each.asked.backend)
            said = ask(
                backend,
                each.asked.model,
                each.prompts,
                each.keys,
                cache,
                lambda answered, name=name: on_progress(name, answered, len(rows)),  # type: ignore[misc]
            )
            seconds = time.monotonic() - begun
            speed = measure_speed(backend, each.asked.model, each.prompts, said, each.alone, cache)
            measured.append(_measured(workspace, each, said, speed, seconds))
            answers[name] = [one.answer for one in said]
            if likelihoods:
                shown = [
                    Example(list(prompt.messages), row.expected) for prompt, row in zip(each.prompts, rows, strict=True)
                ]
                model = each.asked.model
                found = likelihoods_of_answers(
                    shown,
                    lambda asked, given, backend=backend, model=model: backend.score(model, asked, given),  # type: ignore[misc]
                )
                answers[name] = [
                    Answer(one.text, one.calls, likelihood)
                    for one, likelihood in zip(answers[name], found, strict=True)
                ]
        general = compare_in_general(workspace, cache, plan.general, on_progress)
        keep_what_was_forgotten(workspace, plan.general, general)
        judgement = None
        if plan.judge is not None:
            judgement = run_judge(
                workspace,
                cache,
                plan.judge,
                plan.held_out,
                measured[-1].said,
                measured[0].said,
                allow_personal_data=allow_personal_data,
                on_progress=on_progress,
            )
    scored = score_all(rows, answers, plan.metrics, seed=seed)
    return Evaluation(plan.held_out, tuple(measured), plan.metrics, scored, general, judgement, lm_eval)


def _refuse_without_likelihood(workspace: Workspace, wanted: Metric, asked: Sequence[AskedModel]) -> None:
    for each in asked:
        if type(workspace.backend(each.backend)).score is FineTuneBackend.score:
            raise ConfigError(
                f"{wanted.name} needs a backend that tells how likely an answer is: local does, "
                f"{each.backend} of {each.name} does not"
            )


def _cache(workspace: Workspace) -> AnswerCache:
    return AnswerCache(workspace.settings.home / "evaluations" / "answers.sqlite")


def _measured(
    workspace: Workspace, planned: PlannedModel, said: Sequence[Said], speed: Speed, seconds: float
) -> Measured:
    usd, why = price_of_a_thousand(
        planned.asked,
        workspace.settings,
        prompt_tokens=speed.prompt_tokens,
        completion_tokens=speed.completion_tokens,
        seconds=speed.seconds,
    )
    return Measured(planned.asked, tuple(said), speed, usd, why, seconds, planned.kept)


def _written(row: Example) -> str:
    return row.expected + "".join(f"{call.name}({call.arguments})" for call in row.calls)
