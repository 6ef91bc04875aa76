"""A small classifier on the user's own labels, without a language model: how often it is right, by cross-validation."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tuneport.data.checks import CheckReport
from tuneport.data.rows.text import record_messages_as_text, split_record_answer
from tuneport.scoring.accuracy import AccuracyScore

MOST_CLASSES = 50
LEAST_OF_A_CLASS = 20
"""Rows of the rarest class below which its share of the folds says little: a judgement."""
MOST_ROWS = 5_000
"""Rows that are drawn from a larger dataset: ten seconds of one core with 50 classes, and more rows only help."""
FOLDS = 5
ALIKE = 0.65
"""Cosine of two inputs' TF-IDF of 3 to 5 letters from which they are in the same fold. Against the test split of three
domains of CLINC150 the share is 1.5 points too high (with equal inputs alone 3.2), of the seven others, which played no
part in the choice, 1.6 too low."""


@dataclass(frozen=True)
class ClassifierMeasure:
    """The score of a classifier on rows that it had not seen. Always saying the most frequent label has the share
    `majority` right."""

    score: AccuracyScore
    majority: float

    @property
    def interval(self) -> tuple[float, float, float]:
        """Return the share that is right, between the ends of its interval."""
        return self.score.low, self.score.accuracy, self.score.high

    def __str__(self) -> str:
        low, expected, high = self.interval
        return (
            f"{expected:.1%} ({low:.1%} to {high:.1%}) of {self.score.total:,} rows right, by a classifier that had "
            f"not seen them; always saying the most frequent label: {self.majority:.1%}"
        )


def measure_classifier(report: CheckReport, *, seed: int = 0) -> ClassifierMeasure | None:
    """Measure TF-IDF with logistic regression on the rows of a classification. Inputs that are alike are in one fold.

    Returns None where that says nothing: for open answers, many or rare labels, and inputs that are nearly all alike.
    Needs scikit-learn.
    """
    classes = report.classes
    if not classes or not 2 <= len(classes) <= MOST_CLASSES or min(classes.values()) < LEAST_OF_A_CLASS:
        return None
    texts, labels = _rows(report, seed)
    from scipy.sparse.csgraph import connected_components
    from sklearn.base import clone
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline, make_union
    from threadpoolctl import threadpool_limits

    pieces = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, max_features=50_000)
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    model = make_pipeline(make_union(words, pieces), LogisticRegression(C=10.0, max_iter=300))
    folds = StratifiedGroupKFold(n_splits=FOLDS, shuffle=True, random_state=seed)
    with threadpool_limits(1):
        vectors = clone(pieces).fit_transform(texts)
        alike = vectors @ vectors.T
        alike.data[alike.data < ALIKE] = 0.0
        alike.eliminate_zeros()
        _, groups = connected_components(alike, directed=False)
        if min(len(set(groups[[label == each for label in labels]])) for each in set(labels)) < FOLDS:
            return None
        said = cross_val_predict(model, texts, labels, groups=groups, cv=folds)
    right = sum(str(answer) == label for answer, label in zip(said, labels, strict=True))
    most = max(labels.count(label) for label in set(labels))
    return ClassifierMeasure(AccuracyScore(right, len(labels)), most / len(labels))


def _rows(report: CheckReport, seed: int) -> tuple[list[str], list[str]]:
    """Return the inputs and labels of the rows with a label of the report, at most `MOST_ROWS`, drawn by the seed."""
    found: list[tuple[str, str]] = []
    draw = random.Random(seed)
    count = 0
    for _, record in report.dataset.records():
        asked, answer = split_record_answer(record)
        label = record_messages_as_text(answer).strip()
        if report.classes is None or label not in report.classes:
            continue
        count += 1
        row = record_messages_as_text([message for message in asked if message.role != "system"]), label
        if len(found) < MOST_ROWS:
            found.append(row)
        elif (place := draw.randrange(count)) < MOST_ROWS:
            found[place] = row
    return [text for text, _ in found], [label for _, label in found]
