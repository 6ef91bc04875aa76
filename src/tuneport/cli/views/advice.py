"""The view of advice in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.text import Text

from tuneport.cli.views import output

if TYPE_CHECKING:
    from rich.console import Console

    from tuneport.advisor import Pitfall
    from tuneport.workflows.advise import AdviseResult
    from tuneport.workflows.advising.pricing import AdvisedOptionPricing, OptionPrice
    from tuneport.workflows.advising.probing import AdvisingProbe

TITLES = {
    "prompt": "use a prompt",
    "classifier": "train a small classifier (scikit-learn)",
    "few-shot": "put examples into the prompt",
    "rag": "look the facts up (RAG)",
    "fine-tune": "Fine-tune",
    "smaller-model": "Fine-tune a smaller model",
    "continued-pretraining": "Continue pre-training, then fine-tune",
}
REMARKS_SHOWN = 3
_MARKS = {True: ("! ", "yellow"), False: ("ok", "green"), None: ("? ", "dim")}


def print_advice(made: AdviseResult, console: Console | None = None, *, shows_probe: bool = True) -> None:
    """Print the recommendation and its reason, then the alternatives, then the pitfalls; fits the terminal."""
    console = console or output.console()
    advice = made.advice
    title = TITLES[advice.approach]
    console.print(
        Text(title if advice.fine_tune else f"Do not fine-tune: {title}", "bold green" if advice.fine_tune else "bold")
    )
    _indented(console, f"{advice.reason}.")
    if advice.beside is not None:
        _indented(console, f"Together with it: {TITLES[advice.beside].lower()}.")
    if made.rival is not None:
        rival = str(made.rival)
        _indented(console, f"{rival[0].upper()}{rival[1:]}: measure it before anything is tuned.", style="dim")
    if advice.fine_tune and made.pricing is not None:
        for remark in made.pricing.remarks[:REMARKS_SHOWN]:
            _indented(console, f"! {remark}", style="yellow")
    if made.probe is not None and shows_probe:
        print_probe(made.probe, console)
    if advice.first:
        console.print("\n[bold]First[/bold]")
        for step in advice.first:
            _indented(console, f"- {step}")
    console.print()
    _print_options(made, console)
    console.print("\n[bold]Pitfalls[/bold]")
    for applies in (True, None, False):
        for pitfall in advice.pitfalls:
            if pitfall.applies is applies:
                _print_pitfall(pitfall, console)


def _print_options(made: AdviseResult, console: Console) -> None:
    """Print the options, in dollars if known, else in relative words."""
    pricing = made.pricing
    columns = ["cost"] if pricing is None else ["once", "a month"]
    table = output.console_table("", *columns, "effort", "latency", "here", right=("once", "a month"), cut=("here",))
    table.columns[-1].overflow = "fold"
    for option in made.advice.options:
        chosen = option.approach is made.advice.approach
        table.add_row(
            Text(option.approach.value, "bold" if chosen else ""),
            *([option.cost] if pricing is None else _dollars(pricing.prices[option.approach])),
            option.effort,
            option.latency.partition(":")[0],
            Text("this one" if chosen else option.verdict, "bold" if chosen else "dim"),
        )
    console.print(table)
    if pricing is None:
        hint = "in dollars: name DATA and the base model, --model" if made.dataset is None else "in dollars: --model M"
        _indented(console, f"{hint} --requests N", style="dim")
        return
    _print_prices(pricing, console)


def _dollars(price: OptionPrice) -> tuple[str, str]:
    month = _amount(price.month, price.month_range)
    return _amount(price.once, price.once_range), f"{month}+" if price.at_least else month


def _amount(expected: float | None, bounds: tuple[float, float] | None) -> str:
    if expected is None:
        return "-"
    about = "~" if bounds is not None and bounds[0] != bounds[1] else ""
    return f"{about}{output.money(expected, short=expected >= 10_000)}"


def _print_prices(pricing: AdvisedOptionPricing, console: Console) -> None:
    request = pricing.request
    traffic = "" if pricing.requests is None else f"{pricing.requests:,} requests a month, "
    _indented(
        console,
        f"{pricing.model} at {pricing.backend}: {traffic}{request.tokens_in:,.0f} tokens in and "
        f"{request.tokens_out:,.0f} out a request ({request.source}), {request.shots:,} more for few-shot examples",
    )
    for approach, price in pricing.prices.items():
        # The plain prompt's note is true for the longer one as well.
        if price.why and not (approach == "few-shot" and price.month is not None):
            _indented(console, f"{approach}: {price.why}", style="dim")
    if pricing.payback:
        _indented(console, pricing.payback)


def print_probe(probe: AdvisingProbe, console: Console) -> None:
    plan = probe.plan
    console.print("\n[bold]Measured[/bold]")
    for each in probe.measured:
        score = each.score
        bounds = f"({score.low:.0%} to {score.high:.0%})"
        console.print(Text(f"  {each.name:<14} {score.accuracy:6.1%}  {bounds:<14} {each.what}"))
    shots = f", no example more than {plan.drawn.nearest:.0%} like one of them" if plan.drawn.shots else ""
    if not plan.drawn.shots:
        _indented(console, "no record is far enough from all rows to be an example, so few-shot was not measured")
    _indented(
        console,
        f"{plan.metric.name}, {len(plan.drawn.rows)} of {plan.drawn.of:,} rows asked of {plan.target.model}{shots}",
    )
    if plan.drawn.instruction:
        _indented(console, f"instruction: {_short(plan.drawn.instruction)}")
    if plan.metric.decides:
        _indented(console, "This is true for this model; a larger one may do better with the same prompt.")
        return
    _indented(console, "No metric can judge these answers. Read them, then give --prompt and --few-shot yourself:")
    for answer in probe.answers:
        for name, text in answer.items():
            _indented(console, f"{name}: {_short(text)}", 4)
        console.print()


def _short(text: str, most: int = 200) -> str:
    text = " ".join("".join(mark if mark.isprintable() else " " for mark in text).split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _print_pitfall(pitfall: Pitfall, console: Console) -> None:
    mark, colour = _MARKS[pitfall.applies]
    head = Text.assemble("  ", (mark, colour), f" {pitfall.name}: ", (pitfall.evidence, "dim"))
    for line, text in enumerate(head.wrap(console, console.width - 5)):
        console.print(text if line == 0 else Text("     ") + text)
    if pitfall.applies:
        _indented(console, f"→ {pitfall.mend}", 5)


def _indented(console: Console, text: str, by: int = 2, style: str = "") -> None:
    console.print(Padding(Text(text, style), (0, 0, 0, by), expand=False))
