"""Lines on what a job trains with, before it starts: steps, what is sent, what the provider picks."""

from __future__ import annotations

from typing import Any

from tuneport.estimate.training_settings import StepsRemedy, TrainingSettings, TrainingSteps
from tuneport.formatting import counted, money
from tuneport.types import Quote

REMEDIES_TOLD = 2


def training_lines(settings: TrainingSettings, quote: Quote, *, own_machine: bool) -> list[tuple[str, str]]:
    """Return labels and texts; too few steps are a warning, with what makes more of them, and its price."""
    numbers = settings.hyperparameters.given() | settings.options if own_machine else settings.sent
    told = ", ".join(f"{name} {_number(value)}" for name, value in numbers.items())
    left = [name for name in settings.names if settings.chosen_by.get(name) == "backend" and not own_machine]
    reasons: dict[str, list[str]] = {}
    for name in left:
        reasons.setdefault(settings.because[name], []).append(settings.names[name])
    return [
        ("steps", _steps(settings.steps)),
        ("WARNING", few_steps_warning(settings, quote) or ""),
        ("trains with" if own_machine else "sends", told or "no numbers: the provider's defaults"),
        *(("auto", f"{', '.join(dict.fromkeys(names))}: {because}") for because, names in reasons.items()),
    ]


def few_steps_warning(settings: TrainingSettings, quote: Quote) -> str | None:
    """Return the consequence of too few steps and the remedies, or None if there are enough."""
    steps = settings.steps
    if steps.expected is None or not steps.too_few:
        return None
    meant = "" if steps.meant <= steps.expected else f" ({steps.meant:,} are meant)"
    said = f"{counted(steps.expected, 'optimizer step')}{meant}: the model hardly changes"
    if not settings.remedies:
        return f"{said}; train on more rows"
    return f"{said}; {'; or '.join(_remedy(each, quote) for each in settings.remedies[:REMEDIES_TOLD])}"


def _steps(steps: TrainingSteps) -> str:
    if steps.expected is None:
        return f"not known, because {steps.unavailable}"
    span = ""
    if steps.low is not None and steps.high is not None and steps.low != steps.high:
        span = f", between {steps.low:,} and {steps.high:,}"
    return f"{steps.expected:,}{span} ({steps.explanation})"


def _remedy(remedy: StepsRemedy, quote: Quote) -> str:
    price = None if remedy.quote is None else remedy.quote.expected
    if price is None:
        cost = "at an unknown price"
    elif quote.expected is not None and money(price) == money(quote.expected):
        cost = "for nothing" if price == 0 else f"still {money(price)}"
    else:
        cost = f"for {money(price)}"
    return f"{remedy.words}: {counted(remedy.steps, 'step')}, {cost}"


def _number(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
