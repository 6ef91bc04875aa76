"""The base model as it is, asked plainly and with examples shown: what tuning has to beat."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tuneport.backends.base import FineTuneBackend
from tuneport.evaluate.classification import Complete, Example, Messages, Same, score_few_shot, score_zero_shot
from tuneport.evaluate.exact_match import Score, equal


@dataclass(frozen=True)
class Measured:
    """One way of asking, over all held-out rows. `seconds` includes loading a model where that was the first."""

    name: str
    what: str
    score: Score
    seconds: float


def measured(name: str, what: str, score: Callable[[], Score]) -> Measured:
    begun = time.monotonic()
    result = score()
    return Measured(name, what, result, time.monotonic() - begun)


def completer(backend: FineTuneBackend, model: str, *, most_tokens: int) -> Complete:
    """Asks `model` at temperature 0, with at most so many tokens an answer."""

    def complete(asked: Sequence[Messages]) -> list[str]:
        options = {"max_tokens": most_tokens, "temperature": 0.0}
        return [answer.text for answer in backend.complete_many(model, asked, **options)]

    return complete


def ask_base(
    rows: Sequence[Example], shots: Sequence[Example], complete: Complete, *, same: Same = equal
) -> Iterator[Measured]:
    """Each as it is measured: the prompt as it is, then, where there are `shots`, with these shown before it."""
    yield measured("base", "the prompt as it is", lambda: score_zero_shot(rows, complete, same=same))
    if shots:
        yield measured(
            "base, few-shot",
            f"{len(shots)} examples shown",
            lambda: score_few_shot(rows, shots, complete, same=same),
        )
