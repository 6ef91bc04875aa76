"""The command compare: cost of training and inference, time and shutdown dates, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.padding import Padding

from tuneport.cli.counts import parse_count_option, parse_tokens_per_request
from tuneport.cli.outputs import Force, refuse_existing_outputs
from tuneport.cli.reading import TRAINS, takes_reading_options
from tuneport.cli.views import output
from tuneport.data.rows.reading_options import ReadingOptions

if TYPE_CHECKING:
    from rich.console import Console

    from tuneport.estimate.cost import Traffic
    from tuneport.estimate.duration import Duration
    from tuneport.router import BackendChoice
    from tuneport.types import Quote
    from tuneport.workflows.compare import Comparison

REMARKS_SHOWN = 8


@takes_reading_options(*TRAINS)
def compare_command(
    dataset: Annotated[Path, typer.Argument(metavar="DATA", help="The training file.", show_default=False)],
    model: Annotated[list[str] | None, typer.Option("--model", "-m", help="May be repeated. Default: all.")] = None,
    backend: Annotated[list[str] | None, typer.Option("--backend", "-b", help="May be repeated.")] = None,
    validation: Annotated[Path | None, typer.Option(help="A validation file; some providers bill it.")] = None,
    reading: ReadingOptions = ReadingOptions(),
    allow_large: output.AllowLarge = False,
    method: Annotated[
        str | None, typer.Option(help="sft, dpo, kto, reward, grpo, rloo, rft. Default: chosen by the data.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Default: tuneport's recommendation, the same for all.")
    ] = None,
    provider_defaults: Annotated[
        bool, typer.Option("--provider-defaults", help="Compare what each provider would choose by itself.")
    ] = False,
    requests: Annotated[str | None, typer.Option(help="Requests a month, e.g. 25k. Default: 25k.")] = None,
    tokens_per_request: Annotated[
        str | None, typer.Option(metavar="IN:OUT", help="Tokens of each, in and out. Default: 400:80.")
    ] = None,
    traffic_in: Annotated[str | None, typer.Option(help="Instead: tokens in a month, e.g. 10M.")] = None,
    traffic_out: Annotated[str | None, typer.Option(help="Tokens out a month.")] = None,
    cached: Annotated[float, typer.Option(min=0, max=1, help="Share of the input that a prompt cache answers.")] = 0.0,
    batch: Annotated[float, typer.Option(min=0, max=1, help="Share of the traffic that can wait for a batch.")] = 0.0,
    prompt_saved: Annotated[
        int, typer.Option(min=0, help="Tokens of each prompt (examples ...) that a tuned model no longer needs.")
    ] = 0,
    own_gpu: Annotated[
        str | None, typer.Option(help="A GPU to train on and serve from, e.g. H100, instead of this machine.")
    ] = None,
    own_hour: Annotated[
        float | None,
        typer.Option(
            help="US dollars an hour of one GPU of --own-gpu, or of this machine. Default: the cheapest offer."
        ),
    ] = None,
    own_speed: Annotated[
        float | None, typer.Option(help="Tokens that it writes a second, all requests together, as you measured.")
    ] = None,
    hours: Annotated[
        float | None, typer.Option(help="Hours of training, if the provider bills them (reinforcement).")
    ] = None,
    instead_of: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="What you use today, for the break-even: a model (gpt-4.1) or a monthly bill ('$2000').",
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a report with charts.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write one line for each option.")] = None,
    force: Force = False,
    all_: Annotated[bool, typer.Option("--all", help="All options, bounds, reasons and the break-even.")] = False,
    json_: output.Json = False,
) -> None:
    """Compare the cost of training and of a month of inference at all backends. Needs no key and no network."""
    from tuneport.data.dataset import Dataset
    from tuneport.workflows.compare import compare as run

    data = Dataset(dataset, **vars(reading))
    outputs = [path for path in (html, csv) if path is not None]
    if outputs:
        held_out = [] if validation is None else Dataset(validation).files
        refuse_existing_outputs(outputs, [*data.files, *held_out], force=force)
    comparison = run(
        data,
        model=model or (),
        backend=backend or (),
        validation=validation,
        method=method,
        epochs=epochs,
        provider_defaults=provider_defaults,
        requests=parse_count_option(requests, "--requests"),
        tokens_per_request=parse_tokens_per_request(tokens_per_request),
        traffic_in=parse_count_option(traffic_in, "--traffic-in"),
        traffic_out=parse_count_option(traffic_out, "--traffic-out"),
        cached=cached,
        batch=batch,
        prompt_saved=prompt_saved,
        instead_of=instead_of,
        own_gpu=own_gpu,
        own_hour=own_hour,
        own_speed=own_speed,
        hours=hours,
    )
    if html is not None:
        comparison.write_html(html)
        output.print_note(f"the report: {html}")
    if csv is not None:
        comparison.write_csv(csv)
        output.print_note(f"the table: {csv}")
    if not output.print_if_json(comparison.as_dict()):
        from tuneport.cli.commands.break_even import print_break_even, print_comparison_answer

        print_comparison_answer(comparison, console=output.console())
        if all_:
            print_comparison(comparison, console=output.console())
            print_break_even(comparison, console=output.console())


def print_comparison(comparison: Comparison, *, console: Console) -> None:
    """Print two lines for each backend and model, the second with licence, steps, bounds, time and the price's date;
    then remarks on each backend. At most 80 columns wide."""
    from rich.text import Text

    from tuneport.cli.commands.break_even import quoted_price
    from tuneport.workflows.comparison.break_even import compared_model_name
    from tuneport.workflows.comparison.words import compared_steps, compared_training

    numbers = ("epochs\nsteps", "train", "month", "base\ntime")
    table = output.console_table("backend", "model", *numbers, "shuts down", right=numbers, cut=("model",))
    remarks: dict[str, list[str]] = {}
    for choice, day, stale in zip(comparison.choices, comparison.priced_on, comparison.stale, strict=True):
        listed = remarks.setdefault(choice.title, [])
        listed += [remark for remark in _remarks(choice) if remark not in listed]
        table.add_row(
            choice.backend,
            Text(compared_model_name(choice), style="bold"),
            "-" if choice.epochs is None else str(choice.epochs),
            quoted_price(choice.quote),
            quoted_price(choice.inference),
            quoted_price(choice.base),
            choice.retires.isoformat() if choice.retires else "-",
            style="" if choice.allowed else "dim",
        )
        table.add_row(
            "",
            Text("; ".join(_serving_and_licence(choice))),
            compared_steps(choice),
            _bounds(choice.quote),
            _bounds(choice.inference),
            _time(choice.duration),
            "" if day is None else f"{day.isoformat()}{'!' if stale else ''}",
            style="dim",
        )
    console.print(table)
    trained = compared_training(comparison.choices)
    console.print(
        f"{comparison.rows:,} rows, {comparison.method.value}. {trained} {_month(comparison.traffic)}. Under each "
        "price its bounds, under the shutdown date that of the oldest price; ~ marks an estimate, ! an old price. "
        "base: the base model, with today's prompts.",
        style="dim",
    )
    asked = [(choice, choice.inference) for choice in comparison.choices]
    saved = [(choice, each.prompt_saving) for choice, each in asked if each and each.prompt_saving]
    if saved:
        told = ", ".join(
            f"{compared_model_name(row)} at {row.backend} {output.money(worth)}" for row, worth in saved[:4]
        )
        more = "" if len(saved) <= 4 else f", and {len(saved) - 4} more"
        console.print(f"The shorter prompt saves a month: {told}{more}.", style="dim", markup=False)
    for title, listed in remarks.items():
        if listed:
            console.print(f"[bold]{output.escape_markup(title)}[/bold]")
        for remark in listed[:REMARKS_SHOWN]:
            console.print(Padding(f"- {escape(remark)}", (0, 0, 0, 2)), style="dim")
        if len(listed) > REMARKS_SHOWN:
            console.print(f"  - and {len(listed) - REMARKS_SHOWN} more: --json has them all", style="dim")


def _remarks(choice: BackendChoice) -> list[str]:
    """Return refusals and warnings, then why a number is missing or is a range."""
    from tuneport.lifecycle.proposing.training_lines import few_steps_warning

    found = list(choice.reasons)
    if choice.settings is not None:
        if choice.settings.steps.unavailable:
            found.append(f"steps unavailable, because {choice.settings.steps.unavailable}")
        if few := few_steps_warning(choice.settings, choice.quote):
            found.append(few)
    for name, quote in (("training price", choice.quote), ("monthly price", choice.inference)):
        if quote is not None and quote.expected is None and quote.unavailable:
            found.append(f"{name} unavailable, because {quote.unavailable}")
        elif quote is not None and quote.authority != "manifest" and quote.explanation:
            found.append(quote.explanation)
        elif quote is not None and name == "monthly price" and quote.low != quote.high:
            found.append(quote.explanation)
    if choice.duration.unavailable:
        found.append(f"time unavailable, because {choice.duration.unavailable}")
    elif choice.duration.runs:
        found.append(f"time: {choice.duration.explanation}")
    return list(dict.fromkeys(found))


def _bounds(quote: Quote | None) -> str:
    if quote is None or quote.low is None or quote.high is None or quote.low == quote.high:
        return ""
    return f"{output.money(quote.low, short=True)}-{output.money(quote.high, short=True).removeprefix('$')}"


def _month(traffic: Traffic) -> str:
    tokens = f"{output.compact(traffic.input_tokens)} tokens in and {output.compact(traffic.output_tokens)} out"
    if traffic.requests is not None:
        tokens = f"{traffic.requests:,} requests: {tokens}"
    shares = [
        f"{share:.0%} {word}"
        for share, word in ((traffic.cached_share, "cached"), (traffic.batch_share, "in batches"))
        if share
    ]
    if traffic.saved_tokens:
        shares.append(f"{traffic.saved_per_request:,} tokens of each prompt not sent to a tuned model")
    return f"A month is {tokens}" + (f" ({', '.join(shares)})" if shares else "")


def _serving_and_licence(choice: BackendChoice) -> list[str]:
    from tuneport.workflows.comparison.break_even import served_at

    place = served_at(choice)
    return [*([] if place == choice.backend else [place]), choice.licence or "licence unknown"]


def _time(duration: Duration) -> str:
    return "-" if duration.expected_seconds is None else f"~{output.duration(duration.expected_seconds, short=True)}"
