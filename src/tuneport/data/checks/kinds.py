"""Every kind of thing that a check flags in single records, in words. `clean` takes these names."""

from __future__ import annotations

KINDS = {
    "schema.invalid": "no record of the format",
    "duplicates.exact": "the same as an earlier record, case and space aside",
    "duplicates.near": "nearly the same as an earlier record",
    "contradictions.exact": "the input of an earlier record with another answer",
    "contradictions.near": "nearly the input of an earlier record with another answer",
    "holdout.exact": "an input that is held out",
    "holdout.near": "nearly an input that is held out",
    "lengths.over": "longer than the context",
}


def named(name: str) -> set[str]:
    """The kinds that a name stands for: itself, or all kinds of a check. Empty for an unknown one."""
    return {kind for kind in KINDS if kind == name or kind.partition(".")[0] == name}
