"""The command models: lists what can be tuned where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated

import typer

from tuneport.cli.views import output

if TYPE_CHECKING:
    from rich.console import Console

    from tuneport.workflows.models import TunableModel, TunableModels

WIDTH = 80


def models_command(
    backend: Annotated[list[str] | None, typer.Option("--backend", "-b", help="May be repeated. Default: all.")] = None,
    local: Annotated[bool, typer.Option("--local", help="Only the models whose weights are on this machine.")] = False,
    json_: output.Json = False,
) -> None:
    """List what can be tuned where: price, serving, shut-down, licence, and which weights are on this machine."""
    from tuneport.workflows.models import models as run

    found = run(backend=backend or (), local=local)
    if output.print_if_json(found.as_dict()):
        return
    console = output.console()
    for name in found.titles:
        offers = [each for each in found.offers if each.backend == name]
        if offers or not local:
            _print_backend(name, offers, found, console)
    if not found.offers:
        output.print_note("no weights are on this machine; `tuneport models --backend local` lists what can be had")
    elif not local:
        output.print_note("training: US dollars for 1M tokens of one epoch, or for an hour of training")
        output.print_note("answers: US dollars for 1M tokens in/out, or for an hour of an endpoint")


def _print_backend(name: str, offers: list[TunableModel], found: TunableModels, console: Console) -> None:
    from rich.text import Text

    console.print(Text.assemble((name, "bold"), f"  {found.titles[name]}"))
    if name in found.no_new_jobs_from:
        console.print(Text(f"takes no new jobs from {found.no_new_jobs_from[name]} on", style="yellow"))
    if found.needs[name]:
        console.print(Text(f"not set up here, needs {found.needs[name]}", style="yellow"))
    minimum = Counter(each.training_minimum_usd for each in offers).most_common(1)[0][0] if offers else None
    if minimum:
        console.print(Text(f"at least {output.money(minimum)} a job"))
    if not offers:
        console.print(Text("lists none: it takes any model's name"))
    elif offers[0].own_machine:
        console.print(_own_table(offers))
    else:
        _print_hosted(offers, console, usual_minimum=minimum)
    console.print()


def _print_hosted(offers: list[TunableModel], console: Console, *, usual_minimum: float | None) -> None:
    """Print two lines a model. Names are never cut: one that is too long for its column has a line of its own."""
    from rich.text import Text

    from tuneport.workflows.models import serving_words, training_words

    head = ("model", "training", "answers", "shuts down")
    rows = [(each.name, training_words(each), serving_words(each), str(each.shuts_down or "-")) for each in offers]
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    widths[0] = min(widths[0], WIDTH - sum(widths[1:]) - 2 * len(widths[1:]))
    console.print(Text(_line(head, widths), style="dim"), soft_wrap=True)
    for each, row in zip(offers, rows, strict=True):
        if len(row[0]) > widths[0]:
            console.print(Text(row[0], style="bold"), soft_wrap=True)
            row = ("", *row[1:])
        line = Text(_line(row, widths))
        line.stylize("bold", 0, len(row[0]))
        console.print(line, soft_wrap=True)
        about = [*([each.id] if each.id != each.name else []), each.licence or "licence unknown", *each.methods]
        if each.training_minimum_usd is not None and each.training_minimum_usd != usual_minimum:
            least = output.money(each.training_minimum_usd)
            about.append(f"at least {least} a job" if each.training_minimum_usd else "no least price of a job")
        for words in wrap(", ".join(about), WIDTH, initial_indent="  ", subsequent_indent="  ", break_long_words=False):
            console.print(Text(words, style="dim"), soft_wrap=True)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, *prices, ends = cells
    padded = [price.rjust(width) for price, width in zip(prices, widths[1:], strict=False)]
    return "  ".join([name.ljust(widths[0]), *padded, ends]).rstrip()


def _own_table(offers: list[TunableModel]) -> object:
    from rich.text import Text

    table = output.console_table("model", "weights", "licence", right=("weights",), cut=("licence",))
    for each in offers:
        amount = "" if each.download_bytes is None else output.size(each.download_bytes)
        weights = Text("here", style="green") if each.here else Text(f"{amount} to get".strip())
        table.add_row(Text(each.name, style="bold"), weights, each.licence or "licence unknown")
    return table
