"""eval: models measured on held-out rows, side by side."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuneport.cli import output
from tuneport.cli.data import DATA, Task
from tuneport.cli.mapping import Map, columns_of
from tuneport.errors import ConfigError
from tuneport.workflows.evaluation.gates import OF_GENERAL_ABILITY, Gate

if TYPE_CHECKING:
    from tuneport.workflows.evaluate import EvaluationPlan
    from tuneport.workflows.evaluation.judging import PlannedJudge

BELOW_LIMIT = 4
"""The exit code where a limit of --fail-under is missed, or a gate of --fail-on."""


def register(app: typer.Typer) -> None:
    app.command("eval")(evaluate)


def evaluate(
    data: Annotated[Path, typer.Argument(metavar="DATA", help=f"The held-out rows. {DATA}")],
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help='A job, a tuned model, base, "base few-shot", or backend/model. All are compared with the first.',
        ),
    ],
    train: Annotated[
        Path | None, typer.Option(help="A file that no row may be in, beside what the jobs were trained on.")
    ] = None,
    base: Annotated[str | None, typer.Option(metavar="MODEL", help="What `base` is. Default: the jobs' own.")] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", help="By name, or package.module:function; repeatable. Default: what suits the data."),
    ] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="At most so many rows, drawn by --seed.")] = None,
    task: Task = None,
    map_: Map = None,
    schema: Annotated[Path | None, typer.Option(help="A JSON schema, for schema_valid.")] = None,
    encoder: Annotated[Path | None, typer.Option(help="The folder of an encoder, for bertscore.")] = None,
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="Let code_passed run the models' code here, in a sandbox.")
    ] = False,
    general: Annotated[
        bool,
        typer.Option(
            "--general", help="Was anything forgotten, is a model less safe? Asks 204 questions of our own, too."
        ),
    ] = False,
    judge: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Ask this model, in both orders, whether the last MODEL answers better than the first: one of "
            "tuneport's, or any that litellm knows (anthropic/claude-...).",
        ),
    ] = None,
    rubric: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What makes one answer better than another, for --judge.")
    ] = None,
    lm_eval: Annotated[
        list[str] | None,
        typer.Option(
            "--lm-eval",
            metavar="TASK[,TASK]",
            help="Tasks of EleutherAI's lm-eval, by name or as a YAML file, on models of this machine; repeatable.",
        ),
    ] = None,
    lm_eval_limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many rows of each task of --lm-eval, the first ones.")
    ] = None,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC=VALUE", help=f"Exit code {BELOW_LIMIT} where the last MODEL is worse; repeatable."
        ),
    ] = None,
    fail_on: Annotated[
        list[Gate] | None,
        typer.Option(
            "--fail-on",
            help=f"Exit code {BELOW_LIMIT} where the last MODEL shows that (the first two ask --general), or is ruled "
            "so (not-sure: any but ship); repeatable.",
        ),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the first and the last MODEL's answers, for `tuneport rate FILE`."),
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write the report, with charts.")] = None,
    budget: Annotated[float | None, typer.Option(min=0, help="The most that asking may cost, in US dollars.")] = None,
    seed: Annotated[int, typer.Option(help="For the draw of rows and examples, and for intervals.")] = 0,
    allow_personal_data: Annotated[
        bool, typer.Option("--allow-personal-data", help="Let rows that hold it go to a third party.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before rows are sent elsewhere.")] = False,
    json_: output.Json = False,
) -> None:
    """Did it help? Measure models on rows that are proved to be in no training data; answers are kept for next time."""
    from tuneport.cli.evaluation_report import print_decision, print_evaluation
    from tuneport.cli.progress import AnswerProgress
    from tuneport.evaluate.judge import RUBRIC, read_rubric
    from tuneport.jobs.service import Workspace
    from tuneport.workflows.evaluate import plan_evaluation, run_evaluation
    from tuneport.workflows.evaluation.gates import findings_against, refuse_gates, ruling_against
    from tuneport.workflows.evaluation.report.page import report_of

    least, gates = _limits(fail_under), fail_on or []
    if pairs is not None and len(models) < 2:
        raise ConfigError("--pairs sets one model's answers beside another's: name two")
    if rubric is not None and judge is None:
        raise ConfigError("--rubric is for a judge: name one with --judge MODEL")
    outputs = [path for path in (pairs, html) if path is not None]
    if outputs:
        from tuneport.data.containers.source import Source
        from tuneport.data.writing import refuse_overwriting

        refuse_overwriting(outputs, [*Source(data).files, *([] if train is None else Source(train).files)])
        for path in outputs:  # told before anything is asked and paid
            if not path.parent.is_dir():
                raise ConfigError(f"{path.parent}: the folder does not exist; create it, or name another output")
    options: dict[str, dict[str, Any]] = {"code_passed": {"allow_code": allow_code}}
    if schema is not None:
        options["schema_valid"] = {"schema": _schema(schema)}
    if encoder is not None:
        options["bertscore"] = {"encoder": encoder}
    with Workspace() as workspace:
        plan = plan_evaluation(
            workspace,
            data,
            models,
            training=train,
            base=base,
            metrics=metric or (),
            also=list(least),
            options=options,
            task=task,
            most=rows,
            seed=seed,
            columns=columns_of(map_),
            lm_eval=[task for each in lm_eval or () for task in each.split(",") if task],
            lm_eval_limit=lm_eval_limit,
            general=general or not OF_GENERAL_ABILITY.isdisjoint(gates),
            judge=judge,
            rubric=RUBRIC if rubric is None else read_rubric(rubric),
        )
        refuse_gates(plan, gates)
        if budget is not None:
            plan.refuse_over_budget(budget)
        if not allow_personal_data:
            plan.refuse_personal_data()
        _before(plan, yes=yes)
        with AnswerProgress() as progress:
            found = run_evaluation(
                workspace,
                plan,
                seed=seed,
                allow_personal_data=allow_personal_data,
                on_progress=progress.update,
            )
        missed = [*found.failing(least), *findings_against(found, gates)]
        report = report_of(workspace, found, missed=missed)
        missed += ruling_against(report.decision, gates)
    if pairs is not None:
        from tuneport.workflows.evaluation.for_people import write_pairs

        write_pairs(found, pairs)
        output.note(f"for people: `tuneport rate {pairs}`")
    if html is not None:
        report.write_html(html)
        output.note(f"the report: {html}")
    if output.as_json:
        output.document(report.as_dict() | {"failing": missed})
    else:
        print_evaluation(found)
        print_decision(report.decision)
    for complaint in missed:
        output.note(f"below the limit: {complaint}")
    if missed:
        raise typer.Exit(BELOW_LIMIT)


def _before(plan: EvaluationPlan, *, yes: bool) -> None:
    """What it costs, and the question where rows leave this machine."""
    output.note(f"{plan.held_out.path.name}: {len(plan.held_out.rows):,} rows; {plan.held_out.proof}")
    for each in plan.requests:
        if each.third_party is not None and each.waiting:
            cost = (
                f"at most {output.money(each.usd)}" if each.usd is not None else f"cost unavailable, because {each.why}"
            )
            output.note(
                f"{each.asked.name}: {each.waiting:,} prompts to {each.asked.model} ({each.third_party}), "
                f"{each.input_tokens:,} tokens in, at most {each.output_tokens:,} out: {cost}"
            )
    if plan.judge is not None:
        _judge_before(plan.judge)
    asked = {each.third_party for each in plan.requests if each.third_party and each.waiting}
    if parties := sorted({*asked, *plan.third_parties}):
        rows = f"{len(plan.held_out.rows):,} rows" if plan.third_parties else "the questions of --general"
        if plan.judge is not None and plan.judge.third_party is not None:
            rows += " with both answers"
        output.confirm(f"send {rows} to {' and '.join(parties)}?", yes=yes, otherwise="nothing was sent")


def _judge_before(judge: PlannedJudge) -> None:
    kept = f", {judge.kept:,} are kept from before" if judge.kept else ""
    most = "" if judge.counted else "at most "
    told = f"judge {judge.judge.name}: {most}{judge.waiting:,} judgements, both orders of each pair{kept}"
    if judge.third_party is not None:
        cost = (
            f"at most {output.money(judge.usd)}" if judge.usd is not None else f"cost unavailable, because {judge.why}"
        )
        told += (
            f"; to {judge.judge.model} ({judge.third_party}), {most}{judge.input_tokens:,} tokens in, "
            f"at most {judge.output_tokens:,} out: {cost}"
        )
    output.note(told)


def _limits(pairs: list[str] | None) -> dict[str, float]:
    limits = {}
    for pair in pairs or ():
        name, _, value = pair.rpartition("=")
        try:
            limits[name] = float(value)
        except ValueError:
            name = ""
        if not name or not math.isfinite(limits[name]):  # no score is below NaN: the gate would let all through
            raise ConfigError(f"--fail-under {pair} is no limit; write --fail-under exact_match=0.85")
    return limits


def _schema(path: Path) -> dict[str, Any]:
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"the schema {path} cannot be read: {error}") from error
    if not isinstance(schema, dict):
        raise ConfigError(f"the schema {path} is no object in JSON")
    return schema
