"""The rows in which the last model is wrong, by the first metric that has a value of each row."""

from __future__ import annotations

from dataclasses import dataclass

from tuneport.workflows.evaluation.result import Evaluation

WORST = 10
"""Where no row is right or wrong (a likeness, a loss): so many of the worst are looked at."""


@dataclass(frozen=True)
class EvaluationMistakes:
    """`places`: of the rows, the worst first. `counted`: they are all that are not right; else they are the worst."""

    metric: str
    places: tuple[int, ...]
    rows: int
    counted: bool

    @property
    def sentence(self) -> str:
        if not self.counted:
            return f"the worst answers by {self.metric}"
        verb = "is" if len(self.places) == 1 else "are"
        return f"{len(self.places):,} of {self.rows:,} rows {verb} wrong by {self.metric}"


def find_mistakes(found: Evaluation) -> EvaluationMistakes | None:
    """Return the mistakes of the last model, or None if no metric has a value of a single row."""
    name = found.models[-1].asked.name
    for metric in found.metrics:
        values = found.scored.per_row[name][metric.name]
        if values is None:
            continue
        counted = metric.unit == "share" and metric.higher_is_better
        sign = 1 if metric.higher_is_better else -1
        worst = sorted(range(len(values)), key=lambda place: (sign * values[place], place))
        wrong = [place for place in worst if values[place] < 1] if counted else worst[:WORST]
        return EvaluationMistakes(metric.name, tuple(wrong), len(values), counted)
    return None
