"""The command label: a large model's answers for a dataset, to tune a small one on."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuneport.cli.commands.data import DATA, Task
from tuneport.cli.outputs import Force, refuse_existing_outputs
from tuneport.cli.reading import READS, takes_reading_options
from tuneport.cli.views import output
from tuneport.data.rows.reading_options import ReadingOptions

if TYPE_CHECKING:
    from tuneport.workflows.label import LabelPlan, LabelReport


@takes_reading_options(*(name for name in READS if name != "system"))  # of what is asked here, not of the rows
def label_command(
    dataset: Annotated[Path, typer.Argument(metavar="DATA", help=DATA, show_default=False)],
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="[BACKEND/]MODEL", help="Who answers.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--output", "-o", help="The file to write: .jsonl.", show_default=False)],
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The instruction, instead of the data's own system prompts.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="The only answers that count. Default: those of DATA.")
    ] = None,
    task: Task = None,
    keep_answers: Annotated[
        bool, typer.Option("--keep-answers", help="Ask only for records without an answer; the others stay.")
    ] = False,
    now: Annotated[bool, typer.Option("--now", help="Ask at once, not in batches at half the price.")] = False,
    answer_tokens: Annotated[
        int | None, typer.Option(min=1, help="Most tokens of an answer. Default: 1024, for labels theirs.")
    ] = None,
    reading: ReadingOptions = ReadingOptions(),
    allow_large: output.AllowLarge = False,
    force: Force = False,
    budget: Annotated[float | None, typer.Option(min=0, help="The most that it may cost, in US dollars.")] = None,
    allow_personal_data: Annotated[
        bool, typer.Option("--allow-personal-data", help="Send records with personal data to a third party.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before records are sent elsewhere.")] = False,
    json_: output.Json = False,
) -> None:
    """Ask a large model for the answers, to tune a small one on. An earlier answer stays beside the new one."""
    from tuneport.cli.views.live.progress import AnswerProgress
    from tuneport.data.dataset import Dataset
    from tuneport.workflows.label import label as run

    data = Dataset(dataset, **vars(reading))
    refuse_existing_outputs([out], data.files, force=force)
    with ExitStack() as shown:
        progress = AnswerProgress()

        def before(plan: LabelPlan) -> None:
            _confirm_labels(plan, yes=yes)
            shown.enter_context(progress)

        report = run(
            data,
            model,
            out,
            system=system,
            labels=[each.strip() for each in (labels or "").split(",") if each.strip()],
            task=task,
            keep_answers=keep_answers,
            now=now,
            answer_tokens=answer_tokens,
            budget=budget,
            allow_personal_data=allow_personal_data,
            before=before,
            on_progress=progress.update,
        )
    if not output.print_if_json(report.as_dict()):
        _print_report(report)


def _confirm_labels(plan: LabelPlan, *, yes: bool) -> None:
    """Print the cost, and ask before records leave this machine."""
    answers = plan.answers
    if plan.instruction:
        output.print_note(f"told: {plan.instruction}")
    if answers.kept:
        output.print_note(f"{answers.kept:,} answers are kept from before")
    if answers.third_party is None or not answers.waiting:
        return
    cost = f"at most {output.money(answers.usd)}" if answers.usd is not None else f"unknown, because {answers.why}"
    how = ", in batches at a lower price, answered within a day (--now asks at once)" if plan.in_batches else ""
    output.print_note(f"cost: {cost}{how}")
    output.print_note(
        f"{answers.waiting:,} prompts to {answers.asked.model} ({answers.third_party}), {answers.input_tokens:,} "
        f"tokens in, at most {answers.output_tokens:,} out"
    )
    output.confirm_action(
        f"send {answers.waiting:,} prompts to {answers.third_party}?", yes=yes, otherwise="nothing was sent"
    )


def _print_report(report: LabelReport) -> None:
    from tuneport.workflows.label import left_out_words

    output.print_line(f"{report.output}: {report.written:,} of {report.records:,} records")
    if report.had_answer:
        output.print_line(
            f"{report.agree:,} of {report.had_answer:,} agree with their earlier answer, kept as earlier_answer"
        )
    if report.kept:
        output.print_line(f"{report.kept:,} had an answer and stay as they were")
    if words := left_out_words(vars(report)):
        output.print_line(f"answers left out: {words}")
    if report.unusable:
        output.print_line(f"{report.unusable:,} records ask nothing in text and are left out")
