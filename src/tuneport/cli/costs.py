"""compare: training and inference cost, time and end of life, side by side."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.padding import Padding

from tuneport.cli import output
from tuneport.cli.mapping import Map, columns_of
from tuneport.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from tuneport.estimate.duration import Duration
    from tuneport.router import Choice
    from tuneport.types import Quote
    from tuneport.workflows.compare import Comparison

REMARKS_SHOWN = 8


def register(app: typer.Typer) -> None:
    app.command()(compare)


def compare(
    dataset: Annotated[Path, typer.Argument(metavar="DATA", help="The training file.", show_default=False)],
    model: Annotated[list[str] | None, typer.Option("--model", "-m", help="May be repeated. Default: all.")] = None,
    backend: Annotated[list[str] | None, typer.Option("--backend", "-b", help="May be repeated.")] = None,
    validation: Annotated[Path | None, typer.Option(help="A validation file; some providers bill it.")] = None,
    map_: Map = None,
    method: Annotated[
        str | None, typer.Option(help="sft, dpo, kto, reward, grpo, rloo, rft. Default: as the data is.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Default: what each provider's auto would choose.")] = None,
    traffic_in: Annotated[str, typer.Option(help="Tokens into the tuned model a month, e.g. 10M.")] = "10M",
    traffic_out: Annotated[str, typer.Option(help="Tokens out of it a month.")] = "2M",
    cached: Annotated[float, typer.Option(min=0, max=1, help="Share of the input that a prompt cache answers.")] = 0.0,
    instead_of: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="What answers today, for the break-even: gpt-4.1, or a month's bill: '$2000'."
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a report with charts.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write one line for each option.")] = None,
    json_: output.Json = False,
) -> None:
    """Compare what training and a month of inference would cost, everywhere. Needs no key and no network."""
    from tuneport.estimate.cost import Traffic
    from tuneport.workflows.compare import compare as run

    traffic = Traffic(_count(traffic_in, "--traffic-in"), _count(traffic_out, "--traffic-out"), cached)
    outputs = [path for path in (html, csv) if path is not None]
    if outputs:
        from tuneport.data.containers.source import Source
        from tuneport.data.writing import refuse_overwriting

        held_out = [] if validation is None else Source(validation).files
        refuse_overwriting(outputs, [*Source(dataset).files, *held_out])
    comparison = run(
        dataset,
        models=model or (),
        backends=backend or (),
        validation=validation,
        columns=columns_of(map_),
        method=method,
        epochs=epochs,
        traffic=traffic,
        instead_of=instead_of,
    )
    if html is not None:
        comparison.write_html(html)
        output.note(f"the report: {html}")
    if csv is not None:
        comparison.write_csv(csv)
        output.note(f"the table: {csv}")
    if output.as_json:
        output.document(comparison.as_dict())
    else:
        from tuneport.cli.break_even import print_break_even

        print_comparison(comparison, console=output.console())
        print_break_even(comparison, console=output.console())


def print_comparison(comparison: Comparison, *, console: Console) -> None:
    """One line a backend and model, then what to know about each backend; fits 80 columns."""
    from tuneport.workflows.comparison.break_even import short_name

    table = output.table(
        "backend",
        "model",
        "train",
        "month",
        "time",
        "last day",
        "priced",
        right=("train", "month", "time"),
        cut=("model",),
    )
    remarks: dict[str, list[str]] = {}
    for choice, day, stale in zip(comparison.choices, comparison.priced_on, comparison.stale, strict=True):
        listed = remarks.setdefault(choice.title, [])
        listed += [remark for remark in _remarks(choice) if remark not in listed]
        table.add_row(
            choice.backend,
            f"[bold]{short_name(choice)}[/bold]",
            _price(choice.quote),
            _price(choice.inference),
            _time(choice.duration),
            choice.retires.isoformat() if choice.retires else "-",
            "-" if day is None else f"{day.isoformat()}{'!' if stale else ''}",
            style="" if choice.allowed else "dim",
        )
    traffic = comparison.traffic
    console.print(table)
    console.print(
        f"{comparison.rows:,} rows, {comparison.method.value}. A month is {_millions(traffic.input_tokens)} tokens in "
        f"and {_millions(traffic.output_tokens)} out. ~ marks an estimate, ! an old price.",
        style="dim",
    )
    for title, listed in remarks.items():
        if listed:
            console.print(f"[bold]{title}[/bold]")
        for remark in listed[:REMARKS_SHOWN]:
            console.print(Padding(f"- {escape(remark)}", (0, 0, 0, 2)), style="dim")
        if len(listed) > REMARKS_SHOWN:
            console.print(f"  - and {len(listed) - REMARKS_SHOWN} more: --json has them all", style="dim")


def _remarks(choice: Choice) -> list[str]:
    """Refusals and warnings, then why a number is missing."""
    found = list(choice.reasons)
    for name, quote in (("training price", choice.quote), ("monthly price", choice.inference)):
        if quote is not None and quote.expected is None and quote.unavailable:
            found.append(f"{name} unavailable, because {quote.unavailable}")
        elif quote is not None and quote.authority != "manifest" and quote.explanation:
            found.append(quote.explanation)
    if choice.duration.unavailable:
        found.append(f"time unavailable, because {choice.duration.unavailable}")
    return list(dict.fromkeys(found))


def _price(quote: Quote | None) -> str:
    if quote is None or quote.expected is None:
        return "-"
    about = "" if quote.low == quote.high else "~"
    return f"{about}${quote.expected:,.0f}" if quote.expected >= 1000 else about + output.money(quote.expected)


def _time(duration: Duration) -> str:
    if duration.expected_seconds is None:
        return "-"
    minutes, seconds = divmod(round(duration.expected_seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"~{hours}h{minutes:02}m" if hours else f"~{minutes}m{seconds:02}s"


def _millions(count: int) -> str:
    return f"{count / 1e6:g}M" if count >= 100_000 else f"{count:,}"


def _count(text: str, option: str) -> int:
    match = re.fullmatch(r"([\d.]+)\s*([kKmMbB]?)", text.strip())
    try:
        if match is None:
            raise ValueError
        return round(float(match[1]) * {"": 1, "k": 1e3, "m": 1e6, "b": 1e9}[match[2].lower()])
    except (ValueError, OverflowError):
        raise ConfigError(f"{option} {text!r} is no number of tokens; write for example {option} 10M") from None
