"""How advice looks in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.text import Text

from tuneport.cli import output

if TYPE_CHECKING:
    from rich.console import Console

    from tuneport.advisor import Pitfall
    from tuneport.workflows.advise import Recommendation

TITLES = {
    "prompt": "use a prompt",
    "few-shot": "put examples into the prompt",
    "rag": "look the facts up (RAG)",
    "fine-tune": "Fine-tune",
    "smaller-model": "Fine-tune a smaller model",
    "continued-pretraining": "Continue pre-training, then fine-tune",
}
_MARKS = {True: ("! ", "yellow"), False: ("ok", "green"), None: ("? ", "dim")}


def print_advice(made: Recommendation, console: Console | None = None) -> None:
    """The recommendation and its reason first, then what is beside it, then the pitfalls; fits the terminal."""
    console = console or output.console()
    advice = made.advice
    title = TITLES[advice.approach]
    console.print(
        Text(title if advice.fine_tune else f"Do not fine-tune: {title}", "bold green" if advice.fine_tune else "bold")
    )
    _indented(console, f"{advice.reason}.")
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


def _print_options(made: Recommendation, console: Console) -> None:
    table = output.table("", "cost", "effort", "latency", "here", cut=("here",))
    table.columns[-1].overflow = "fold"
    for option in made.advice.options:
        chosen = option.approach is made.advice.approach
        table.add_row(
            Text(option.approach.value, "bold" if chosen else ""),
            option.cost,
            option.effort,
            option.latency.partition(":")[0],
            Text("this one" if chosen else option.verdict, "bold" if chosen else "dim"),
        )
    console.print(table)


def _print_pitfall(pitfall: Pitfall, console: Console) -> None:
    mark, colour = _MARKS[pitfall.applies]
    head = Text.assemble("  ", (mark, colour), f" {pitfall.name}: ", (pitfall.evidence, "dim"))
    for line, text in enumerate(head.wrap(console, console.width - 5)):
        console.print(text if line == 0 else Text("     ") + text)
    if pitfall.applies:
        _indented(console, f"→ {pitfall.mend}", 5)


def _indented(console: Console, text: str, by: int = 2) -> None:
    console.print(Padding(Text(text), (0, 0, 0, by)))
