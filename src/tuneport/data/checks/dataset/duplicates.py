"""The same record twice, or nearly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tuneport.data.checks.finding import (
    MAX_EVIDENCE,
    CheckedDatasetExample,
    Finding,
    Verdict,
    differing_row_excerpts,
    row_excerpt,
)
from tuneport.data.checks.near.columns import DuplicateCheckColumns
from tuneport.data.checks.near.hits import FlaggedRecords
from tuneport.data.checks.near.minhash import minhash_candidate_pairs
from tuneport.data.checks.near.near_duplicates import (
    ROWS_BESIDE,
    Lookup,
    duplicate_check_whole_text,
    find_exact_duplicates,
    find_near_duplicates,
    near_duplicate_threshold,
)
from tuneport.formatting import counted

MAX_SHARE = 0.02  # of duplicates; above it, training repeats itself enough to matter


class DuplicateCheck:
    """Exact ones with case and space aside; near ones by the share of word pairs that two records have in common.

    In a crowd of like records, all but the first in the file are flagged. For `templated` inputs see
    `near_duplicate_threshold`.
    """

    def __init__(self, columns: DuplicateCheckColumns, lookup: Lookup, *, templated: bool) -> None:
        self.hits = FlaggedRecords()
        self._similar = near_duplicate_threshold(templated)
        self._rows = len(columns)
        if not len(columns):
            return
        exact = self._exact(columns, lookup)
        self._near(columns, lookup, exact)

    def _exact(self, columns: DuplicateCheckColumns, lookup: Lookup) -> npt.NDArray[np.bool_]:
        again, first = find_exact_duplicates(columns.key("record"), columns.lines)
        lines = columns.lines
        order = np.argsort(lines[again])
        again, first = again[order], first[order]
        shown = {each.line: each for each in lookup(lines[again[:MAX_EVIDENCE]].tolist())}
        for index, original in zip(again, first, strict=True):
            line = int(lines[index])
            text = f"the same: {row_excerpt(shown[line].question or shown[line].answer)}" if line in shown else ""
            self.hits.add("exact", line, text, beside=(int(lines[original]),))
        flagged = np.zeros(len(lines), bool)
        flagged[again] = True
        return flagged

    def _near(self, columns: DuplicateCheckColumns, lookup: Lookup, exact: npt.NDArray[np.bool_]) -> None:
        pairs = minhash_candidate_pairs(columns.bands("whole"), columns.lines)
        details = columns.key("details")
        pairs = pairs[~exact[pairs].any(axis=1) & (details[pairs[:, 0]] == details[pairs[:, 1]])]
        near: list[tuple[int, int, str]] = []
        found: dict[int, tuple[int, CheckedDatasetExample]] = {}
        for line, beside, alike, example in find_near_duplicates(
            pairs, "whole", columns, lookup, duplicate_check_whole_text, per_row=ROWS_BESIDE
        ):
            if alike < self._similar:
                continue
            if example is not None and len(found) < MAX_EVIDENCE:
                found[line] = (beside, example)
            near.append((line, beside, f"{alike:.0%} alike"))
        others = {each.line: each for each in lookup({beside for beside, _ in found.values()})}
        for line, beside, text in near:
            if line in found and beside in others:
                text += f": {_both(others[beside], found[line][1])}"
            self.hits.add("near", line, text, beside=(beside,))

    def finding(self) -> Finding:
        exact, near = self.hits.count("exact"), self.hits.count("near")
        details = {"exact": exact, "near": near, "similarity": self._similar}
        if not exact and not near:
            return Finding("duplicates", Verdict.PASS, "no duplicates or near-duplicates", details=details)
        message = f"{counted(exact, 'record')} repeated, {near:,} nearly (at least {self._similar:.0%} alike)"
        half = MAX_EVIDENCE // 2 if exact and near else MAX_EVIDENCE
        evidence = (*self.hits.evidence("exact", most=half), *self.hits.evidence("near", most=half))
        many = exact > 0 or near > MAX_SHARE * self._rows
        fix = "keep one of each; repeats count double in training and leak into a hold-out"
        verdict = Verdict.WARN if many else Verdict.PASS
        return Finding("duplicates", verdict, message, evidence, fix, exact + near, details)


def _both(one: CheckedDatasetExample, other: CheckedDatasetExample) -> str:
    """Return the part in which they differ: the question, or else the answer."""
    if one.question != other.question:
        first, second = differing_row_excerpts(one.question, other.question, 80)
    else:
        first, second = differing_row_excerpts(one.answer, other.answer, 80)
    return f"{first!r} and {second!r}"
