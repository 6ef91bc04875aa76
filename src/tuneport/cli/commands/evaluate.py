"""The command eval: measure models on held-out rows, side by side."""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuneport.cli.commands.data import DATA, Task
from tuneport.cli.outputs import Force, refuse_existing_outputs
from tuneport.cli.reading import READS, takes_reading_options
from tuneport.cli.views import output
from tuneport.data.rows.reading_options import ReadingOptions
from tuneport.errors import ConfigError
from tuneport.workflows.evaluation.gates import EvaluationGate

if TYPE_CHECKING:
    from tuneport.workflows.evaluation.judging.judging import EvaluationJudgePlan
    from tuneport.workflows.evaluation.result import EvaluationPlan

BELOW_LIMIT = 4
"""The exit code if a limit of --fail-under or a gate of --fail-on is missed."""


@takes_reading_options(*READS)
def eval_command(
    data: Annotated[Path, typer.Argument(metavar="DATA", help=f"The held-out rows. {DATA}")],
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help='A job, a tuned model, base, "base few-shot" (shown examples), "base instructed" (told the classes), '
            "or backend/model. All are compared with the first.",
        ),
    ],
    train: Annotated[Path | None, typer.Option(help="A further training file; no held-out row may be in it.")] = None,
    base: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="The model that `base` stands for. Default: the jobs' base model."),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", help="A metric, or package.module:function. Repeatable. Default: chosen by the data."),
    ] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="Most rows to ask, drawn by --seed.")] = None,
    task: Task = None,
    reading: ReadingOptions = ReadingOptions(),
    allow_large: output.AllowLarge = False,
    schema: Annotated[Path | None, typer.Option(help="A JSON schema, for schema_valid.")] = None,
    encoder: Annotated[Path | None, typer.Option(help="The folder of an encoder, for bertscore.")] = None,
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="Let code_passed run the models' code here, in a sandbox.")
    ] = False,
    general: Annotated[
        bool,
        typer.Option("--general", help="Check for forgetting and safety drift with 204 questions of our own."),
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
        int | None, typer.Option(min=1, help="Use only the first so many rows of each --lm-eval task.")
    ] = None,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC=VALUE", help=f"Exit code {BELOW_LIMIT} if the last MODEL is worse. Repeatable."),
    ] = None,
    fail_on: Annotated[
        list[EvaluationGate] | None,
        typer.Option(
            "--fail-on",
            help=f"Exit code {BELOW_LIMIT} if the last MODEL fails this gate; forgetting and safety-drift need "
            "--general, not-sure is any verdict but ship. Repeatable.",
        ),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the first and the last MODEL's answers, for `tuneport rate FILE`."),
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write the report, with charts.")] = None,
    force: Force = False,
    budget: Annotated[
        float | None, typer.Option(min=0, help="The most that the evaluation may cost, in US dollars.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the sample of rows and examples, and of the intervals.")] = 0,
    allow_personal_data: Annotated[
        bool, typer.Option("--allow-personal-data", help="Send rows with personal data to a third party.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before rows are sent elsewhere.")] = False,
    json_: output.Json = False,
) -> None:
    """Measure models on rows that are proved to be in no training data. Answers are cached for the next run."""
    from tuneport.cli.views.evaluation import print_decision, print_evaluation
    from tuneport.cli.views.live.progress import AnswerProgress
    from tuneport.data.dataset import Dataset
    from tuneport.workflows.evaluate import evaluate as run

    dataset = Dataset(data, **vars(reading))
    if pairs is not None and len(models) < 2:
        raise ConfigError("--pairs sets one model's answers beside another's: name two")
    outputs = [path for path in (pairs, html) if path is not None]
    if outputs:
        read = [*dataset.files, *([] if train is None else Dataset(train).files)]
        refuse_existing_outputs(outputs, read, force=force)
        for path in outputs:  # checked before any model is asked and paid
            if not path.parent.is_dir():
                raise ConfigError(f"{path.parent}: the folder does not exist; create it, or name another output")
    with ExitStack() as shown:
        progress = AnswerProgress()

        def before(plan: EvaluationPlan) -> None:
            _confirm_evaluation(plan, yes=yes)
            shown.enter_context(progress)

        report = run(
            dataset,
            models,
            train=train,
            base=base,
            metric=metric or (),
            rows=rows,
            task=task,
            schema=schema,
            encoder=encoder,
            allow_code=allow_code,
            general=general,
            judge=judge,
            rubric=rubric,
            lm_eval=[task for each in lm_eval or () for task in each.split(",") if task],
            lm_eval_limit=lm_eval_limit,
            fail_under=_limits(fail_under),
            fail_on=fail_on or (),
            budget=budget,
            seed=seed,
            allow_personal_data=allow_personal_data,
            before=before,
            on_counted=_print_counted_input,
            on_progress=progress.update,
        )
    if pairs is not None:
        report.write_pairs(pairs)
        output.print_note(f"for people: `tuneport rate {pairs}`")
    if html is not None:
        report.write_html(html)
        output.print_note(f"the report: {html}")
    if not output.print_if_json(report.as_dict() | {"failing": list(report.failing)}):
        print_evaluation(report.evaluation)
        print_decision(report.decision, report.title)
    for complaint in report.failing:
        output.print_note(f"below the limit: {complaint}")
    if report.failing:
        raise typer.Exit(BELOW_LIMIT)


def _confirm_evaluation(plan: EvaluationPlan, *, yes: bool) -> None:
    """Print the cost, and ask before rows leave this machine."""
    output.print_note(f"{plan.held_out.path.name}: {len(plan.held_out.rows):,} rows; {plan.held_out.proof}")
    if plan.held_out.read_as:
        output.print_note(f"the rows are {plan.held_out.read_as}")
    for each in plan.requests:
        if each.third_party is not None and each.waiting:
            cost = (
                f"at most {output.money(each.usd)}" if each.usd is not None else f"cost unavailable, because {each.why}"
            )
            output.print_note(
                f"{each.asked.name}: {each.waiting:,} prompts to {each.asked.model} ({each.third_party}), "
                f"{each.input_tokens:,} tokens in, at most {each.output_tokens:,} out: {cost}"
            )
    if plan.judge is not None:
        _confirm_judge_cost(plan.judge)
    asked = {each.third_party for each in plan.requests if each.third_party and each.waiting}
    if parties := sorted({*asked, *plan.third_parties}):
        rows = f"{len(plan.held_out.rows):,} rows" if plan.third_parties else "the questions of --general"
        if plan.judge is not None and plan.judge.third_party is not None:
            rows += " with both answers"
        output.confirm_action(f"send {rows} to {' and '.join(parties)}?", yes=yes, otherwise="nothing was sent")


def _print_counted_input(plan: EvaluationPlan) -> None:
    for name, each in plan.sent:
        cost = "" if each.usd is None else f", at most {output.money(each.usd)}"
        output.print_note(f"{name}: {each.input_tokens:,} tokens in{cost}; {each.counting}")


def _confirm_judge_cost(judge: EvaluationJudgePlan) -> None:
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
    output.print_note(told)


def _limits(pairs: list[str] | None) -> dict[str, float]:
    limits = {}
    for pair in pairs or ():
        name, _, value = pair.rpartition("=")
        try:
            limits[name] = float(value)
        except ValueError:
            name = ""
        if not name or not math.isfinite(limits[name]):  # no score is below NaN: the gate would let all through
            raise ConfigError(f"--fail-under {pair} is not a limit; write --fail-under exact_match=0.85")
    return limits
