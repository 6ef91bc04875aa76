"""The command plan: hyperparameters, memory and time of a run on your own machine or a rented GPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from tuneport.cli.epochs import Epochs, add_epochs
from tuneport.cli.option_list import option_list_callback
from tuneport.cli.reading import TRAINS, takes_reading_options
from tuneport.cli.views import output
from tuneport.data.rows.reading_options import ReadingOptions
from tuneport.errors import ConfigError
from tuneport.formatting import counted, money
from tuneport.lifecycle.submitting.flags import parse_job_option_pairs

if TYPE_CHECKING:
    from rich.console import Console

    from tuneport.workflows.plan import TrainingPlan

BAR = 24  # characters of the largest part of the memory
PERCENT_DIGITS = 2


@takes_reading_options(*TRAINS)
def plan_command(
    dataset: Annotated[Path, typer.Argument(metavar="DATA", help="The training file.", show_default=False)],
    model: Annotated[
        str, typer.Option("--model", "-m", help="An alias, a model's name, or a folder with its config.json.")
    ],
    gpu: Annotated[
        list[str] | None, typer.Option(help="A GPU, e.g. 'A100 80GB'. May be repeated. Default: all.")
    ] = None,
    method: Annotated[str | None, typer.Option(help="sft, dpo, kto, reward ... Default: chosen by the data.")] = None,
    validation: Annotated[
        Path | None, typer.Option(help="The validation file, if the run has one: it then keeps its best epoch.")
    ] = None,
    adapter: Annotated[str, typer.Option(help="auto, full, lora, qlora, prefix or prompt.")] = "auto",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A hyperparameter, e.g. epochs=3. `--set help` lists them.",
            callback=option_list_callback("--set", "local"),
            is_eager=True,
        ),
    ] = None,
    epochs: Epochs = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            metavar="NAME=VALUE",
            help="Same options as submit: workers=4, precision=fp32 ... `--option help` lists them.",
            callback=option_list_callback("--option", "local"),
            is_eager=True,
        ),
    ] = None,
    reading: ReadingOptions = ReadingOptions(),
    allow_large: output.AllowLarge = False,
    exact: Annotated[
        bool, typer.Option("--exact", help="Trace the model's own code for its memory, too; needs torch, no weights.")
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Compare all methods and adapters, and recommend one.")
    ] = False,
    budget: Annotated[
        float | None, typer.Option(help="With --compare: US dollars; recommend nothing that may cost more.")
    ] = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="First measure this machine's processor, for this and later estimates.")
    ] = False,
    json_: output.Json = False,
) -> None:
    """Plan a run: its settings and the reasons, the memory it needs, which GPUs hold it, how long it takes."""
    from tuneport.data.dataset import Dataset
    from tuneport.workflows.plan import plan as run

    if budget is not None and not compare:
        raise ConfigError("--budget needs --compare; give both, or neither")
    if probe:
        output.print_note("measuring what this machine's processor trains in a few seconds ...")
    found = run(
        Dataset(dataset, **vars(reading)),
        model=model,
        validation=validation,
        method=method,
        adapter=adapter,
        hyperparameters=parse_job_option_pairs(add_epochs(set_, epochs), "--set"),
        options=parse_job_option_pairs(option, "--option"),
        gpu=gpu or (),
        exact=exact,
        compare=compare,
        budget=budget,
        probe=probe,
    )
    if output.as_json:
        output.print_json_document(found.as_dict())
    elif compare:
        print_training_options(found, console=output.console())
    else:
        print_training_plan(found, console=output.console())


def print_training_plan(plan: TrainingPlan, *, console: Console) -> None:
    _print_head(plan, console)
    steps = plan.training["local"].steps
    if steps.expected is not None:
        console.print(f"{counted(steps.expected, 'optimizer step')}: {steps.explanation}\n")
    table = output.console_table("number", "value", "why", cut=("why",), right=("value",))
    for name, row in plan.hyperparameters.items():
        table.add_row(name, f"{row.value:g}", row.because)
    for name, option in plan.options.items():
        table.add_row(SHORT[name], str(option.value), option.because)
    console.print(table)
    _print_memory(plan, console)
    _print_gpus(plan, console)
    _print_machine(plan, console)
    for name in plan.offered_by:
        if name != "local":
            values = ", ".join(f"{setting}={_plain(value)}" for setting, value in plan.settings[name].items())
            steps = plan.training[name].steps
            many = "" if steps.expected is None else f", {counted(steps.expected, 'step')}"
            console.print(f"Equivalent {name} settings{many}: {escape(values)}", style="dim")


SHORT = {
    "lr_scheduler_type": "scheduler",
    "gradient_accumulation_steps": "accumulation",
    "lora_target_modules": "targets",
}


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def print_training_options(plan: TrainingPlan, *, console: Console) -> None:
    _print_head(plan, console, adapter=False)
    table = output.console_table(
        "way",
        "trained",
        "share",
        "GiB",
        "cheapest GPUs",
        "time",
        "cost",
        "quality",
        right=("trained", "share", "GiB", "time", "cost"),
        cut=("cheapest GPUs", "quality"),
    )
    for way in plan.ways:
        share = None if not way.trained or not way.total else way.trained / way.total
        table.add_row(
            f"{way.name} {way.adapter}",
            "-" if way.trained is None else output.compact(way.trained),
            "-" if share is None else _percent(share),
            "-" if way.memory is None else f"{way.memory.high_gib:.1f}",
            way.gpus or "none",
            "-" if way.seconds is None else f"~{output.duration(way.seconds)}",
            "-" if way.usd is None else f"~{output.money(way.usd)}",
            way.quality.replace(" for alignment", "*"),
            style="dim" if way.needs or way.over_budget or not way.fits else "",
        )
    console.print(table)
    console.print(
        "GiB: the safe figure (about the 90th percentile) of each GPU. Quality: relative, * for alignment.",
        style="dim",
    )
    for name, why in _caveats(plan).items():
        console.print(f"{name}: {escape(why)}", style="dim")
    if plan.choice:
        console.print(f"Take {escape(plan.choice)}." if plan.chosen else f"{escape(plan.choice)}.")


def _caveats(plan: TrainingPlan) -> dict[str, str]:
    """Return, by method, what the data lacks or why its time is not known, and which options are above the budget."""
    found: dict[str, str] = {}
    for way in plan.ways:
        reasons = [
            f"needs {way.needs}" if way.needs else "",
            f"time and cost unavailable, because {way.unavailable}" if way.unavailable else "",
        ]
        if told := "; ".join(reason for reason in reasons if reason):
            found.setdefault(way.name, told)
        if way.over_budget:
            found[f"{way.name} {way.adapter}"] = f"above the budget of {output.money(plan.budget)}"
    return found


def _print_head(plan: TrainingPlan, console: Console, *, adapter: bool = True) -> None:
    model = plan.model
    size = "" if model.params_b is None else f", {model.params_b:.3g} B parameters"
    licence = f", {model.licence}" if model.licence else ""
    console.print(f"[bold]{escape(model.title)}[/bold]{size}{escape(licence)}")
    how = f"; {plan.method.value}, {plan.adapter.value}" if adapter else ""
    console.print(f"{plan.rows:,} rows, {plan.tokens:,} tokens an epoch{how}\n")


def _print_memory(plan: TrainingPlan, console: Console) -> None:
    memory = plan.memory
    console.print(
        f"\n[bold]Memory of a GPU: about {memory.expected_gib:.1f} GiB, safe {memory.high_gib:.1f} GiB[/bold]"
        f"  {plan.run.micro_batch} x {plan.run.length:,} tokens at once, "
        f"{counted(plan.run.micro_batch * plan.accumulation, 'row')} a step"
    )
    rows = {**memory.components_gib}
    if rows:
        rows["allocator and CUDA"] = memory.expected_gib - memory.low_gib
    most = max(rows.values(), default=0.0)
    for name, gib in rows.items():
        bar = "█" * round(gib / most * BAR) if most else ""
        console.print(f"  {name:<24} {gib:>6.2f}  [dim]{bar}[/dim]")
    console.print(f"  by {memory.rule}: {escape(memory.explanation)}", style="dim")
    if plan.traced is not None:
        console.print(f"  traced: about {plan.traced.expected_gib:.1f} GiB, safe {plan.traced.high_gib:.1f} GiB")
        console.print(f"  {escape(plan.traced.explanation)}", style="dim")
    elif plan.not_traced is not None:
        console.print(f"  traced: unavailable, because {escape(plan.not_traced)}")


def _print_gpus(plan: TrainingPlan, console: Console) -> None:
    if not plan.gpus:
        return
    table = output.console_table(
        "GPU",
        "GiB",
        "fits",
        "batch",
        "length",
        "time",
        "$/hour",
        "cost",
        right=("GiB", "batch", "length", "time", "$/hour", "cost"),
        cut=("GPU",),
    )
    for row in plan.gpus:
        fit = row.fit
        seconds = row.duration.expected_seconds
        table.add_row(
            row.name,
            f"{fit.memory_gib:g}",
            fit.verdict,
            str(fit.largest_batch or "-"),
            f"{fit.largest_length:,}" if fit.largest_length else "-",
            "-" if seconds is None or fit.verdict == "no" else f"~{output.duration(seconds)}",
            "-" if fit.usd_per_hour is None else f"{fit.usd_per_hour:.2f}",
            "-" if row.usd is None or fit.verdict == "no" else f"~{output.money(row.usd)}",
            style="" if fit.verdict == "yes" else "dim",
        )
    console.print()
    console.print(table)
    console.print(
        "batch, length: the largest micro-batch and example that the safe figure allows; if several GPUs "
        "share the model (FSDP), the figures are less certain.",
        style="dim",
    )
    best = plan.cheapest
    if best is not None and best.fit.offer is not None:
        offer = best.fit.offer
        console.print(
            f"Cheapest {'for the whole run' if best.usd is not None else 'by the hour'}: {best.name} at "
            f"{escape(offer.provider)}, {money(best.fit.usd_per_hour or 0)} an hour ({offer.as_of})"
            + (f", about {output.money(best.usd)}." if best.usd is not None else f"; {best.duration.unavailable}.")
        )


def _print_machine(plan: TrainingPlan, console: Console) -> None:
    machine = plan.machine
    what = machine.gpu or "the processor"
    if machine.memory_gib is None:
        return
    if plan.memory.fits(machine.memory_gib):
        when = plan.here.expected_seconds
        time = (
            f"about {output.duration(when)}" if when is not None else f"time unknown, because {plan.here.unavailable}"
        )
        console.print(f"This machine ({what}, {machine.memory_gib:.0f} GiB) holds it: {time}.")
        if when is not None:
            console.print(
                f"  {output.duration(plan.here.low_seconds)} to {output.duration(plan.here.high_seconds)}: "
                f"{escape(plan.here.explanation)}",
                style="dim",
            )
    else:
        console.print(f"This machine ({what}, {machine.memory_gib:.0f} GiB) does not hold it.")


def _percent(share: float) -> str:
    return "100 %" if share >= 1 else f"{100 * share:.{PERCENT_DIGITS}g} %"
