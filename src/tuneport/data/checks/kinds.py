"""Every kind of thing that a check flags in single records, in words. `clean` takes these names."""

from __future__ import annotations

from tuneport.data.checks.rows import answers, consistency

KINDS = {
    "schema.invalid": "that cannot be parsed",
    **{f"consistency.{kind}": words for kind, (words, _) in consistency.KINDS.items()},
    **{f"answers.{kind}": words for kind, (words, _) in answers.KINDS.items()},
    "generated.marked": "marked as generated",
    "duplicates.exact": "the same as an earlier one, case and space aside",
    "duplicates.near": "nearly the same as an earlier one",
    "contradictions.exact": "with the input of an earlier one and a different answer",
    "contradictions.near": "with nearly the input of an earlier one and a different answer",
    "holdout.exact": "with an input that is held out",
    "holdout.near": "with nearly an input that is held out",
    "lengths.over": "longer than the context",
}


def kinds_of_check(name: str) -> set[str]:
    """Return the kinds behind a name: itself, or all kinds of a check. Empty for an unknown name."""
    return {kind for kind in KINDS if kind == name or kind.partition(".")[0] == name}
