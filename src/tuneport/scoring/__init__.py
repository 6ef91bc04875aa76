"""Measures models on held-out rows: metrics, general ability, judges, people, statistics."""

OPEN_TO_OTHER_ROOMS = (
    "prompting",
    "benchmarks",
    "correctness",
    "examples",
    "extra",
    "general",
    "general.comparison",
    "judge",
    "accuracy",
    "metrics",
    "metrics.classes",
    "metrics.normalisation",
    "people.answers",
    "people.blind",
    "people.ratings",
    "people.results",
    "scores",
    "statistics.paired",
)
"""The files here that other rooms import. The rest may change without a look elsewhere."""
