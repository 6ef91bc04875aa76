"""compare: training and inference cost, time and end of life, side by side."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuneport.cli import output
from tuneport.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from tuneport.estimate.duration import Duration
    from tuneport.router import Choice
    from tuneport.types import Quote
    from tuneport.workflows.compare import Comparison


def register(app: typer.Typer) -> None:
    app.command()(compare)


def compare(
    dataset: Annotated[Path, typer.Argument(metavar="DATA", help="The training file.", show_default=False)],
    model: Annotated[list[str] | None, typer.Option("--model", "-m", help="May be repeated. Default: all.")] = None,
    backend: Annotated[list[str] | None, typer.Option("--backend", "-b", help="May be repeated.")] = None,
    validation: Annotated[Path | None, typer.Option(help="A validation file; some providers bill it.")] = None,
    method: Annotated[str | None, typer.Option(help="sft or dpo. Default: what the data is made for.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Default: what each provider's auto would choose.")] = None,
    traffic_in: Annotated[str, typer.Option(help="Tokens into the tuned model a month, e.g. 10M.")] = "10M",
    traffic_out: Annotated[str, typer.Option(help="Tokens out of it a month.")] = "2M",
    cached: Annotated[float, typer.Option(help="Share of the input that a prompt cache answers, 0 to 1.")] = 0.0,
    json_: output.Json = False,
) -> None:
    """Compare what training and a month of inference would cost, everywhere. Needs no key and no network."""
    from tuneport.estimate.cost import Traffic
    from tuneport.workflows.compare import compare as run

    traffic = Traffic(_count(traffic_in, "--traffic-in"), _count(traffic_out, "--traffic-out"), cached)
    comparison = run(
        dataset,
        models=model or (),
        backends=backend or (),
        validation=validation,
        method=method,
        epochs=epochs,
        traffic=traffic,
    )
    if output.as_json:
        output.document(comparison.as_dict())
    else:
        print_comparison(comparison, console=output.console())


def print_comparison(comparison: Comparison, *, console: Console) -> None:
    """The table, then what to know about its rows; both fit 80 columns."""
    table = output.table("backend, model", "training", "month", "time", "last day", "priced", right=("training", "month"))
    notes: dict[str, int] = {}
    for choice, day, stale in zip(comparison.choices, comparison.priced_on, comparison.stale, strict=True):
        marks = [notes.setdefault(text, len(notes) + 1) for text in _remarks(choice)]
        mark = f" [dim]\\[{','.join(map(str, marks))}][/dim]" if marks else ""
        style = "" if choice.allowed else "dim"
        table.add_row(
            f"{choice.backend} [bold]{_short(choice.model or '')}[/bold]{mark}",
            _price(choice.quote),
            _price(choice.inference),
            _time(choice.duration),
            choice.retires.isoformat() if choice.retires else "none known",
            "-" if day is None else f"{day.isoformat()}{' old' if stale else ''}",
            style=style,
        )
    traffic = comparison.traffic
    console.print(table)
    console.print(
        f"{comparison.rows:,} rows, {comparison.method.value}. A month: {_millions(traffic.input_tokens)} tokens in, "
        f"{_millions(traffic.output_tokens)} out. Not to be had: -, see the note.",
        style="dim",
    )
    for text, number in notes.items():
        console.print(f"[{number}] {text}", style="dim", markup=False)


def _remarks(choice: Choice) -> list[str]:
    """Refusals and warnings, then why a number is missing."""
    found = list(choice.reasons)
    for quote in (choice.quote, choice.inference):
        if quote is not None and quote.expected is None and quote.unavailable:
            found.append(f"unavailable, because {quote.unavailable}")
        elif quote is not None and quote.explanation and quote.authority != "manifest":
            found.append(quote.explanation)
    if choice.duration.unavailable:
        found.append(f"time unavailable, because {choice.duration.unavailable}")
    return list(dict.fromkeys(found))


def _price(quote: Quote | None) -> str:
    return "-" if quote is None or quote.expected is None else output.money(quote.expected)


def _time(duration: Duration) -> str:
    return "-" if duration.expected_seconds is None else f"~{output.duration(duration.expected_seconds)}"


def _short(model: str) -> str:
    """A hub id without its organisation: the backend stands beside it."""
    return model.rsplit("/", 1)[-1]


def _millions(count: int) -> str:
    return f"{count / 1e6:g}M" if count >= 100_000 else f"{count:,}"


def _count(text: str, option: str) -> int:
    match = re.fullmatch(r"([\d.]+)\s*([kKmMbB]?)", text.strip())
    try:
        if match is None:
            raise ValueError
        return round(float(match[1]) * {"": 1, "k": 1e3, "m": 1e6, "b": 1e9}[match[2].lower()])
    except ValueError:
        raise ConfigError(f"{option} {text!r} is no number of tokens; write for example {option} 10M") from None
