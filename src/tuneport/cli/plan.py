"""plan: hyperparameters, memory and time of a run on one's own machine or a rented GPU, before it is started."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from tuneport.cli import output
from tuneport.cli.mapping import Map, columns_of
from tuneport.cli.submit import pairs

if TYPE_CHECKING:
    from rich.console import Console

    from tuneport.workflows.plan import TrainingPlan

BAR = 24  # characters of the largest part of the memory
PERCENT_DIGITS = 2


def register(app: typer.Typer) -> None:
    app.command()(plan)


def plan(
    dataset: Annotated[Path, typer.Argument(metavar="DATA", help="The training file.", show_default=False)],
    model: Annotated[
        str, typer.Option("--model", "-m", help="An alias, a model's name, or a folder with its config.json.")
    ],
    gpu: Annotated[
        list[str] | None, typer.Option(help="A card, e.g. 'A100 80GB'. May be repeated. Default: all.")
    ] = None,
    method: Annotated[str | None, typer.Option(help="sft, dpo, kto, reward ... Default: as the data is.")] = None,
    adapter: Annotated[str, typer.Option(help="auto, full, lora, qlora, prefix or prompt.")] = "auto",
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A hyperparameter, e.g. epochs=3.")
    ] = None,
    map_: Map = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="All adapters side by side, and which one to take.")
    ] = False,
    json_: output.Json = False,
) -> None:
    """Plan a run: what its numbers would be and why, what memory it needs, which GPU holds it, how long it takes."""
    from tuneport.workflows.plan import plan as run

    found = run(
        dataset,
        model=model,
        method=method,
        adapter=adapter,
        hyperparameters=pairs(set_, "--set"),
        columns=columns_of(map_),
        gpus=gpu or (),
    )
    if output.as_json:
        output.document(found.as_dict())
    elif compare:
        print_adapters(found, console=output.console())
    else:
        print_plan(found, console=output.console())


def print_plan(plan: TrainingPlan, *, console: Console) -> None:
    _print_head(plan, console)
    table = output.table("number", "value", "why", cut=("why",), right=("value",))
    for name, row in plan.hyperparameters.items():
        table.add_row(name, f"{row.value:g}", escape(row.because))
    console.print(table)
    _print_memory(plan, console)
    _print_gpus(plan, console)
    _print_machine(plan, console)
    for name, told in plan.knobs.items():
        if name != "local":
            values = ", ".join(f"{knob}={value:g}" for knob, value in told.items())
            console.print(f"{name} would be told: {escape(values)}", style="dim")


def print_adapters(plan: TrainingPlan, *, console: Console) -> None:
    _print_head(plan, console)
    table = output.table(
        "adapter",
        "trained",
        "share",
        "memory",
        "safe",
        "smallest GPU",
        "time",
        "quality",
        right=("trained", "share", "memory", "safe", "time"),
        cut=("quality",),
    )
    for row in plan.adapters:
        share = None if not row.trained or not row.total else row.trained / row.total
        table.add_row(
            row.adapter.value,
            "-" if row.trained is None else _count(row.trained),
            "-" if share is None else _percent(share),
            "-" if row.memory is None else f"{row.memory.expected_gib:.1f}",
            "-" if row.memory is None else f"{row.memory.high_gib:.1f}",
            row.gpu or "none",
            "-" if row.gpu is None else f"~{output.duration(row.duration.expected_seconds)}",
            row.quality,
        )
    console.print(table)
    console.print("Memory in GiB, one example at a time; safe is about the 90th percentile.", style="dim")
    if plan.choice:
        console.print(f"Take {escape(plan.choice)}.")


def _print_head(plan: TrainingPlan, console: Console) -> None:
    size = "" if plan.params_b is None else f", {plan.params_b:.3g} B parameters"
    licence = f", {plan.licence}" if plan.licence else ""
    console.print(f"[bold]{escape(plan.title)}[/bold]{size}{escape(licence)}")
    console.print(f"{plan.rows:,} rows, {plan.tokens:,} tokens an epoch; {plan.method.value}, {plan.adapter.value}\n")


def _print_memory(plan: TrainingPlan, console: Console) -> None:
    memory = plan.memory
    if memory is None:
        return
    console.print(
        f"\n[bold]Memory of a GPU: about {memory.expected_gib:.1f} GiB, safe {memory.high_gib:.1f} GiB[/bold]"
        f"  {plan.run.micro_batch} x {plan.run.length:,} tokens, {plan.accumulation} times a batch"
    )
    rows = {**memory.components_gib}
    if rows:
        rows["allocator and CUDA"] = memory.expected_gib - memory.low_gib
    most = max(rows.values(), default=0.0)
    for name, gib in rows.items():
        bar = "█" * round(gib / most * BAR) if most else ""
        console.print(f"  {name:<24} {gib:>6.2f}  [dim]{bar}[/dim]")
    console.print(f"  by {memory.rule}: {escape(memory.explanation)}", style="dim")


def _print_gpus(plan: TrainingPlan, console: Console) -> None:
    if not plan.gpus:
        return
    table = output.table(
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
        fit, offer = row.fit, row.fit.offer
        seconds = row.duration.expected_seconds
        table.add_row(
            fit.gpu,
            f"{fit.memory_gib:g}",
            fit.verdict,
            str(fit.largest_batch or "-"),
            f"{fit.largest_length:,}" if fit.largest_length else "-",
            "-" if seconds is None or fit.verdict == "no" else f"~{output.duration(seconds)}",
            "-" if offer is None else f"{offer.usd_per_gpu_hour:.2f}",
            "-" if row.usd is None or fit.verdict == "no" else f"~{output.money(row.usd)}",
            style="" if fit.verdict == "yes" else "dim",
        )
    console.print()
    console.print(table)
    console.print("batch, length: the largest micro-batch and example that the safe figure allows.", style="dim")
    best = plan.cheapest
    if best is not None and best.fit.offer is not None:
        offer = best.fit.offer
        console.print(
            f"Cheapest for the whole run: {best.fit.gpu} at {escape(offer.provider)}, ${offer.usd_per_gpu_hour:.2f} an "
            f"hour ({offer.as_of}), about {output.money(best.usd)}."
        )


def _print_machine(plan: TrainingPlan, console: Console) -> None:
    machine = plan.machine
    what = machine.gpu or "the processor"
    if plan.memory is None or machine.memory_gib is None:
        return
    if plan.memory.fits(machine.memory_gib):
        when = plan.here.expected_seconds
        time = (
            f"about {output.duration(when)}" if when is not None else f"time unknown, because {plan.here.unavailable}"
        )
        console.print(f"This machine ({what}, {machine.memory_gib:.0f} GiB) holds it: {time}.")
    else:
        console.print(f"This machine ({what}, {machine.memory_gib:.0f} GiB) does not hold it.")


def _count(number: int) -> str:
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)


def _percent(share: float) -> str:
    return "100 %" if share >= 1 else f"{100 * share:.{PERCENT_DIGITS}g} %"
