"""The command demo: the whole journey, measured on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuneport import private
from tuneport.cli.views import output

if TYPE_CHECKING:
    from tuneport.scoring.prompting import PromptingResult
    from tuneport.workflows.demo import DemoResult

BAR = 16  # characters, so that a score fits 80 columns with its interval and what was asked


def demo_command(
    seed: Annotated[
        int,
        typer.Option(min=0, max=2**31 - 1, help="Seed for the order of the data, new weights and few-shot examples."),
    ] = 0,
    json_: output.Json = False,
) -> None:
    """Fine-tune a real model on this machine and measure whether it helped: no key, no GPU, about three minutes."""
    from tuneport.cli.commands.costs import print_comparison
    from tuneport.cli.views.check import print_check_report
    from tuneport.cli.views.evaluation import print_decision
    from tuneport.cli.views.live.progress import JobProgress
    from tuneport.lifecycle.service import JobService, describe_job
    from tuneport.scoring.prompting import PromptingResult
    from tuneport.workflows import demo as workflow

    console = output.console(stderr=output.as_json)
    document: dict[str, Any] = {"scores": []}
    with JobService() as workspace:
        shown: JobProgress | None = None

        def heading(number: int, text: str) -> None:
            console.print(f"\n[bold]{number}. {text}[/bold]")

        def on_change(row: Any) -> None:
            nonlocal shown
            if shown is None:
                output.set_interrupt_message(
                    f"stopped watching; training goes on: `tuneport watch {row.id}`", job=row.id
                )
                shown = JobProgress().__enter__()
            shown.update(row)
            if row.job_status.terminal:
                shown.__exit__()

        heading(1, f"Is the data good enough?  tuneport check {_short(workflow.demo_dataset_path('train'))}")
        for stage in workflow.run_demo(workspace, seed=seed, on_change=on_change):
            match stage:
                case workflow.DemoDatasetSummary(report):
                    document["check"] = report.as_dict()
                    print_check_report(report, console=console)
                    heading(2, "What would it cost, and where?  tuneport compare")
                case workflow.DemoComparison(comparison):
                    document["comparison"] = comparison.as_dict()
                    print_comparison(comparison, console=console)
                    heading(3, "Train it here.  tuneport submit --backend local")
                case workflow.DemoTraining(row, seconds):
                    document["job"] = describe_job(row) | {"seconds": seconds}
                    console.print(f"{row.id} succeeded in {output.duration(seconds)}, {_training_summary(row)}")
                    heading(4, "Did it help?  Exact match on messages that were held out of training")
                case PromptingResult():
                    document["scores"].append(_score(stage))
                    console.print(_score_line(stage))
                case workflow.DemoResult():
                    page = workspace.settings.home / "evaluations" / f"{stage.row.id}.html"
                    private.make_private_folder(page.parent)
                    stage.report.write_html(page)
                    document |= {"adapter": str(stage.adapter), "seconds": stage.seconds}
                    document |= {"decision": stage.report.decision.as_dict(), "report": str(page)}
                    heading(5, "Ship it?  tuneport eval --html")
                    print_decision(stage.report.decision, stage.report.title, console=console)
                    heading(6, "What next?")
                    console.print(f"The report is {page}", soft_wrap=True, markup=False)
                    _print_next(console, stage)
    if output.as_json:
        output.print_json_document(document)


def _score(stage: PromptingResult) -> dict[str, Any]:
    return {"name": stage.name, "what": stage.what, "seconds": stage.seconds} | stage.score.as_dict()


def _score_line(stage: PromptingResult) -> str:
    score = stage.score
    filled = round(score.accuracy * BAR)
    bar = "█" * filled + "░" * (BAR - filled)
    colour = "green" if stage.name == "tuned" else "cyan"
    return (
        f"  {stage.name:<17}[{colour}]{bar}[/{colour}] {score.accuracy:6.1%}"
        f"  ({score.low:.0%} to {score.high:.0%})  {stage.what}"
    )


def _training_summary(row: Any) -> str:
    state = row.job_state
    tokens = f"{state.trained_tokens:,} tokens" if state.trained_tokens else "tokens not counted"
    share = state.details.get("trainable_parameters"), state.details.get("total_parameters")
    if all(share):
        return f"{tokens}, {share[0]:,} of {share[1]:,} weights trained ({share[0] / share[1]:.1%})"
    return tokens


def _print_next(console: Any, stage: DemoResult) -> None:
    job = stage.row.id
    console.print(f"The adapter lies in {stage.adapter}", soft_wrap=True)
    console.print(f"The demo took {output.duration(stage.seconds)}. Try:\n")
    for command in (
        f'tuneport chat {job} --system "Label the customer message with one intent." "{stage.example}"',
        f"tuneport metrics {job}",
        "tuneport compare YOUR.jsonl --model gpt-4.1-mini --model llama-3.1-8b-instruct",
    ):
        console.print(f"  {command}", soft_wrap=True, markup=False)


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return path.name
