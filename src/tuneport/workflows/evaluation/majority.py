"""The baseline that knows nothing: it answers every row of a classification with the most frequent class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tuneport.data.dataset import Dataset
from tuneport.errors import TuneportError
from tuneport.scoring.examples import Answer, Example, make_scoring_tool_example
from tuneport.scoring.metrics import Metric
from tuneport.scoring.scores import Score, Scored, score_all

_OF_CLASSES = ("accuracy", "macro_f1", "exact_match")


@dataclass(frozen=True)
class MajorityClass:
    """The class that most examples of `source` have (a file's name, or the held-out rows), and their share of it."""

    label: str
    share: float
    source: str


@dataclass(frozen=True)
class ClassCounts:
    """The classes of the examples of `source`, and how many have each."""

    counts: Counter[str]
    source: str

    @property
    def majority(self) -> MajorityClass:
        label, count = self.counts.most_common(1)[0]
        return MajorityClass(label, count / self.counts.total(), self.source)


@dataclass(frozen=True)
class MajorityBaseline:
    """The scores of answering with `of` always, and the judged model compared with that, by the metrics of classes."""

    of: MajorityClass
    scored: Scored

    @property
    def name(self) -> str:
        return _name(self.of)

    def score(self, metric: str) -> Score | None:
        """Return its score, or None for a metric that is not one of classes."""
        return self.scored.scores[self.name].get(metric)

    def as_dict(self) -> dict[str, Any]:
        found = self.scored.as_dict()
        return {
            "label": self.of.label,
            "share": self.of.share,
            "source": self.of.source,
            "scores": found["scores"][self.name],
            "comparisons": found["comparisons"],
        }


def count_classes(rows: Sequence[Example], training: Dataset | None, name: str = "") -> ClassCounts:
    """Return the classes of the training data, which are what a guess would rest on; of `rows` if there is none, or it
    cannot be read. `name`: of the training data for people, by default the file's."""
    if training is not None:
        try:
            examples = [make_scoring_tool_example(record) for _, record in training.records()]
        except TuneportError:
            examples = []
        if answers := [example.expected for example in examples if example is not None and example.expected]:
            return ClassCounts(Counter(answers), name or training.path.name)
    return ClassCounts(Counter(row.expected for row in rows), "the held-out rows")


def score_majority_class(
    of: MajorityClass,
    rows: Sequence[Example],
    judged: str,
    answers: Sequence[Answer],
    metrics: Sequence[Metric],
    *,
    seed: int = 0,
) -> MajorityBaseline | None:
    """Return the baseline with `judged`, the name of the model that gave `answers`, compared with it; None if no metric
    is one of classes."""
    of_classes = [metric for metric in metrics if metric.name.partition(":")[0] in _OF_CLASSES]
    if not of_classes:
        return None
    always = [Answer(of.label)] * len(rows)
    return MajorityBaseline(of, score_all(rows, {_name(of): always, judged: answers}, of_classes, seed=seed))


def _name(of: MajorityClass) -> str:
    return f"always {of.label!r}"
