"""Did it help? Models measured on the same held-out rows, side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tuneport.data.dataset import Dataset, DatasetLike
from tuneport.errors import ConfigError
from tuneport.lifecycle.handle import Job
from tuneport.lifecycle.open_service import OpenJobService, open_shared_job_service
from tuneport.lifecycle.service import JobService
from tuneport.sandbox.walls import check_sandbox_hides_folders
from tuneport.scoring.examples import Answer, Example
from tuneport.scoring.extra import load_scipy_stats
from tuneport.scoring.general import ANSWER_TOKENS
from tuneport.scoring.judge import RUBRIC, read_rubric
from tuneport.scoring.metrics import Metric, current_metric_name, load_metric, suitable_metric_names, validate_metric
from tuneport.scoring.prompting import score_expected_answers
from tuneport.scoring.scores import score_all
from tuneport.settings import Settings
from tuneport.validation import read_json_object
from tuneport.workflows.advising.few_shot import count_probe_sample_tokens, draw_few_shot_examples
from tuneport.workflows.evaluation.answer_cache import EvaluationAnswerCache
from tuneport.workflows.evaluation.answering import EvaluationAnswer, ask_prompts
from tuneport.workflows.evaluation.counting import count_planned_input, is_input_counted_by_provider
from tuneport.workflows.evaluation.gates import (
    OF_GENERAL_ABILITY,
    EvaluationGate,
    failed_ability_gates,
    failed_ruling_gates,
    refuse_undecidable_gates,
)
from tuneport.workflows.evaluation.general_ability import (
    evaluate_forgetting,
    evaluated_ability_rows,
    evaluated_weights,
    store_evaluated_forgetting,
)
from tuneport.workflows.evaluation.held_out import HeldOutRows, find_held_out_rows, read_as_trained
from tuneport.workflows.evaluation.judging.judging import plan_judge, run_judge
from tuneport.workflows.evaluation.latency import EvaluationAnswerSpeed, evaluate_answer_speed
from tuneport.workflows.evaluation.lm_eval import evaluate_with_lm_eval, plan_lm_eval
from tuneport.workflows.evaluation.majority import ClassCounts, count_classes, score_majority_class
from tuneport.workflows.evaluation.models.asked_models import EvaluatedModel, find_evaluated_models
from tuneport.workflows.evaluation.models.instruction import instruct_classes
from tuneport.workflows.evaluation.models.planned_models import ModelAnswersPlan, plan_model_answers
from tuneport.workflows.evaluation.models.prices import evaluation_price_per_thousand
from tuneport.workflows.evaluation.report.page import EvaluationReport, build_evaluation_report
from tuneport.workflows.evaluation.result import EvaluatedModelMeasurement, Evaluation, EvaluationPlan

MOST_ANSWER_TOKENS = 1024


def evaluate(
    dataset: DatasetLike,
    models: str | Job | Sequence[str | Job],
    *,
    train: DatasetLike | None = None,
    base: str | None = None,
    metric: str | Sequence[str] = (),
    rows: int | None = None,
    task: str | None = None,
    columns: Mapping[str, str] | None = None,
    format: str | None = None,
    schema: Mapping[str, Any] | Path | str | None = None,
    encoder: Path | str | None = None,
    allow_code: bool = False,
    general: bool = False,
    judge: str | None = None,
    rubric: Path | str | None = None,
    lm_eval: str | Sequence[str] = (),
    lm_eval_limit: int | None = None,
    fail_under: Mapping[str, float] | None = None,
    fail_on: Sequence[str] = (),
    budget: float | None = None,
    seed: int = 0,
    allow_personal_data: bool = False,
    before: Callable[[EvaluationPlan], None] = lambda plan: None,
    on_counted: Callable[[EvaluationPlan], None] = lambda plan: None,
    on_progress: Callable[[str, int, int], None] = lambda model, answered, of: None,
    settings: Settings | None = None,
    opened: OpenJobService | None = None,
) -> EvaluationReport:
    """Measure models on held-out rows that are proved to be in no training data, as `tuneport eval` does.

    `models` are jobs (or their ids), tuned models, `base` or `backend/model`, either with ` few-shot` or ` instructed`
    behind it (shown examples, told the classes); all are compared with the first, and the report decides about the
    last. Answers are kept, so that a repeated call asks nothing twice. Arguments are named as the command line's flags;
    see `plan_evaluation` for those that it takes. `before` is given the plan with its costs and may raise, before
    anything is sent. `fail_under` has minimum values by metric, and `fail_on` gates; the report's `failing` lists those
    that are missed.

    Before anything is sent, it raises ConfigError for what cannot be measured and for personal data on its way to a
    third party, and DatasetError; before anything is paid, BudgetError if the answers may cost more than `budget` US
    dollars. For a budget, a provider that counts tokens (Anthropic) is sent the prompts after `before`, to count them
    for nothing, and `on_counted` is given the plan with its figures; others' input is estimated, before anything is
    sent.
    """
    if rubric is not None and judge is None:
        raise ConfigError("a rubric is for a judge: name one with --judge MODEL (in Python: judge=)")
    least, gates = dict(fail_under or {}), [_gate(name) for name in fail_on]
    opened, data = opened or open_shared_job_service(settings), Dataset.of(dataset, columns, format)
    training = None if train is None else Dataset.of(train)
    here = opened.service
    if allow_code:
        check_sandbox_hides_folders(here.settings.home)
    plan = plan_evaluation(
        here,
        data,
        [
            each.id if isinstance(each, Job) else each
            for each in ((models,) if isinstance(models, str | Job) else models)
        ],
        training=None if training is None else training.path,
        base=base,
        metrics=(metric,) if isinstance(metric, str) else metric,
        also=list(least),
        options=_metric_options(schema, encoder, allow_code),
        task=task,
        most=rows,
        seed=seed,
        general=general or not OF_GENERAL_ABILITY.isdisjoint(gates),
        judge=judge,
        rubric=RUBRIC if rubric is None else read_rubric(Path(rubric)),
        lm_eval=(lm_eval,) if isinstance(lm_eval, str) else lm_eval,
        lm_eval_limit=lm_eval_limit,
    )
    refuse_undecidable_gates(plan, gates)
    counts = budget is not None and is_input_counted_by_provider(here, plan)
    if budget is not None and not counts:
        plan.refuse_over_budget(budget)
    if not allow_personal_data:
        plan.refuse_personal_data()
    before(plan)
    if budget is not None and counts:
        plan = count_planned_input(here, plan, allow_personal_data=allow_personal_data)
        on_counted(plan)
        plan.refuse_over_budget(budget)
    found = run_evaluation(here, plan, seed=seed, allow_personal_data=allow_personal_data, on_progress=on_progress)
    missed = [*found.failing(least), *failed_ability_gates(found, gates)]
    report = build_evaluation_report(here, found, missed=missed)
    return replace(report, failing=(*missed, *failed_ruling_gates(report.decision, gates)))


def _gate(name: str) -> EvaluationGate:
    try:
        return EvaluationGate(name)
    except ValueError:
        raise ConfigError(f"{name!r} is no gate; known: {', '.join(EvaluationGate)}") from None


def _metric_options(
    schema: Mapping[str, Any] | Path | str | None, encoder: Path | str | None, allow_code: bool
) -> dict[str, dict[str, Any]]:
    options: dict[str, dict[str, Any]] = {"code_passed": {"allow_code": allow_code}}
    if isinstance(schema, Path | str):
        try:
            schema = read_json_object(Path(schema))
        except (OSError, ValueError) as error:
            raise ConfigError(f"the schema {schema} cannot be read: {error}") from error
    if schema is not None:
        options["schema_valid"] = {"schema": dict(schema)}
    if encoder is not None:
        options["bertscore"] = {"encoder": Path(encoder)}
    return options


def plan_evaluation(
    workspace: JobService,
    data: Dataset | Path,
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
    """Return the plan: which rows are held out, which models are meant, and what their answers would cost. Nothing is
    sent.

    `training` is a further file that no row may be in, beside what the jobs were trained on; few-shot examples are
    drawn from it, else from the first job's. `metrics` are names (`options` of each by its name), by default those that
    suit the data; those of `also` are measured besides. `general`: also measure forgetting and safety with the
    general-ability set. `judge`: a model that decides by the `rubric` whether the last model's answers are better than
    the first one's. `lm_eval` has tasks of that package, run on the first `lm_eval_limit` rows each. Raises ConfigError
    for what cannot be measured.
    """
    if not models:
        raise ConfigError('name the models to measure: a job, base, "base few-shot", or backend/model')
    load_scipy_stats()  # missed before anything is sent
    asked = find_evaluated_models(workspace, models, base=base)
    benchmarks = plan_lm_eval(workspace, asked, lm_eval, limit=lm_eval_limit)
    files = {} if training is None else {training.name: training}
    for each in asked:
        files |= {name: path for name, path in each.trained_on.items() if path not in files.values()}
    trained = {each.plain_name: each.training for each in asked if each.training is not None}
    dataset, read_as = read_as_trained(Dataset.of(data, columns), trained)
    rows = replace(find_held_out_rows(dataset, files, most=most, seed=seed, task=task), read_as=read_as)
    names = dict.fromkeys(map(current_metric_name, [*(metrics or suitable_metric_names(rows.rows, rows.task)), *also]))
    chosen = tuple(load_metric(name, **(options or {}).get(name, {})) for name in names)
    for each_metric in chosen:
        validate_metric(each_metric, rows.rows)
        if each_metric.needs_likelihood:
            _refuse_without_likelihood(workspace, each_metric, asked)
    shots = _few_shot_examples(rows, dataset, files, seed) if any(each.few_shot for each in asked) else []
    classes = _classes(rows, dataset, asked[-1].trained_on or files)
    told = any(each.prompting == "instructed" for each in asked)
    instruction = instruct_classes(rows.task, None if classes is None else classes.counts) if told else ""
    answers = [count_probe_sample_tokens([_written(row)]) for row in rows.rows]
    limit = min(MOST_ANSWER_TOKENS, 16 + 2 * max(answers))  # other vocabularies take up to twice as many
    with _cache(workspace) as cache:
        planned = tuple(
            plan_model_answers(workspace, cache, each, rows.rows, shots, limit, instruction=instruction)
            for each in asked
        )
        besides = tuple(
            plan_model_answers(
                workspace,
                cache,
                each,
                evaluated_ability_rows(workspace.backend(each.backend)),
                [],
                ANSWER_TOKENS,
                timed=False,
            )
            for each in (evaluated_weights(asked) if general else ())
        )
        judging = None
        if judge is not None:
            known = [each.keys for each in planned]
            judging = plan_judge(workspace, cache, judge, rubric, rows.rows, asked, known, limit, base=base)
    if len(besides) == 1:
        raise ConfigError("the general-ability set compares two models: name the base model, too")
    majority = None if classes is None else classes.majority
    return EvaluationPlan(rows, planned, chosen, limit, besides, judging, benchmarks, majority)


def _classes(rows: HeldOutRows, dataset: Dataset, files: Mapping[str, Path]) -> ClassCounts | None:
    if rows.task != "classification":
        return None
    if not files:
        return count_classes(rows.rows, None)
    name, first = next(iter(files.items()))
    return count_classes(rows.rows, dataset.validation_like(first), name)


def _few_shot_examples(rows: HeldOutRows, dataset: Dataset, files: Mapping[str, Path], seed: int) -> list[Example]:
    """Draw the examples from the first file. Raises ConfigError if there is none, or no record of it can be one."""
    if not files:
        raise ConfigError("few-shot examples come from training data: name it with --train")
    name, first = next(iter(files.items()))
    shots = draw_few_shot_examples(
        rows.rows, dataset.validation_like(first), by_label=rows.task == "classification", seed=seed
    )
    if not shots:
        raise ConfigError(f"no record of {name} is far enough from all rows to be an example; leave few-shot out")
    return shots


def run_evaluation(
    workspace: JobService,
    plan: EvaluationPlan,
    *,
    seed: int = 0,
    allow_personal_data: bool = False,
    on_progress: Callable[[str, int, int], None] = lambda model, answered, of: None,
) -> Evaluation:
    """Ask for the answers that are not cached, and score. `on_progress` gets a model, its answers so far, and how many
    there will be. Forgetting of a job's model is stored for the verdict on the job's curve.

    If it is killed, or stopped by a provider, a repeated call continues with the answers that were there.
    `allow_personal_data` concerns answers that go to a judge; for the rows, the plan's `refuse_personal_data` is called
    before.
    """
    if plan.judge is not None and plan.judge.waiting:
        plan.judge.judge.refuse_without_key(workspace)
    measured: list[EvaluatedModelMeasurement] = []
    answers: dict[str, list[Answer]] = {}
    rows = plan.held_out.rows
    likelihoods = any(each.needs_likelihood for each in plan.metrics)
    lm_eval = None
    with _cache(workspace) as cache:
        if plan.lm_eval is not None:  # before any row is sent: only lm-eval itself knows whether a task can be run
            lm_eval = evaluate_with_lm_eval(
                workspace, cache, plan.lm_eval, lambda name, done, of: on_progress(f"{name}, lm-eval", done, of)
            )
        for each in plan.models:
            name, begun = each.asked.name, time.monotonic()
            backend = workspace.backend(each.asked.backend)
            said = ask_prompts(
                backend,
                each.asked.model,
                each.prompts,
                each.keys,
                cache,
                lambda answered, name=name: on_progress(name, answered, len(rows)),  # type: ignore[misc]
            )
            seconds = time.monotonic() - begun
            speed = evaluate_answer_speed(backend, each.asked.model, each.prompts, said, each.alone, cache)
            measured.append(_measure_model(workspace, each, said, speed, seconds))
            answers[name] = [one.answer for one in said]
            if likelihoods:
                shown = [
                    Example(list(prompt.messages), row.expected) for prompt, row in zip(each.prompts, rows, strict=True)
                ]
                model = each.asked.model
                found = score_expected_answers(
                    shown,
                    lambda asked, given, backend=backend, model=model: backend.score(model, asked, given),  # type: ignore[misc]
                )
                answers[name] = [
                    Answer(one.text, one.calls, likelihood)
                    for one, likelihood in zip(answers[name], found, strict=True)
                ]
        general = evaluate_forgetting(workspace, cache, plan.general, on_progress)
        store_evaluated_forgetting(workspace, plan.general, general)
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
    majority = None
    if plan.majority is not None:
        judged = plan.models[-1].asked.name
        majority = score_majority_class(plan.majority, rows, judged, answers[judged], plan.metrics, seed=seed)
    return Evaluation(plan.held_out, tuple(measured), plan.metrics, scored, general, judgement, lm_eval, majority)


def _refuse_without_likelihood(workspace: JobService, wanted: Metric, asked: Sequence[EvaluatedModel]) -> None:
    for each in asked:
        if not workspace.backend(each.backend).supports("score"):
            raise ConfigError(
                f"{wanted.name} needs a backend that tells how likely an answer is: local does, "
                f"{each.backend} of {each.name} does not"
            )


def _cache(workspace: JobService) -> EvaluationAnswerCache:
    return EvaluationAnswerCache(workspace.settings.home / "evaluations" / "answers.sqlite")


def _measure_model(
    workspace: JobService,
    planned: ModelAnswersPlan,
    said: Sequence[EvaluationAnswer],
    speed: EvaluationAnswerSpeed,
    seconds: float,
) -> EvaluatedModelMeasurement:
    usd, why = evaluation_price_per_thousand(
        planned.asked,
        workspace.settings,
        prompt_tokens=speed.prompt_tokens,
        completion_tokens=speed.completion_tokens,
        seconds=speed.seconds,
    )
    return EvaluatedModelMeasurement(planned.asked, tuple(said), speed, usd, why, seconds, planned.kept)


def _written(row: Example) -> str:
    return row.expected + "".join(f"{call.name}({call.arguments})" for call in row.calls)
