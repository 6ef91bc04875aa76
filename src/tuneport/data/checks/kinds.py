"""Every kind of thing that a check flags in single records, in words. `clean` takes these names."""

from __future__ import annotations

from tuneport.data.checks import answers, consistency

KINDS = {
    "schema.invalid": "that are no record of the format",
    **{f"consistency.{kind}": words for kind, (words, _) in consistency.KINDS.items()},
    **{f"answers.{kind}": words for kind, (words, _) in answers.KINDS.items()},
    "generated.marked": "marked as generated",
    "duplicates.exact": "the same as an earlier one, case and space aside",
    "duplicates.near": "nearly the same as an earlier one",
    "contradictions.exact": "with the input of an earlier one and another answer",
    "contradictions.near": "with nearly the input of an earlier one and another answer",
    "holdout.exact": "with an input that is held out",
    "holdout.near": "with nearly an input that is held out",
    "lengths.over": "longer than the context",
}


def named(name: str) -> set[str]:
    """The kinds that a name stands for: itself, or all kinds of a check. Empty for an unknown one."""
    return {kind for kind in KINDS if kind == name or kind.partition(".")[0] == name}
