"""Is anything held out, enough of it, and none of it in the training data?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tuneport.data.checks.finding import MAX_EVIDENCE, Finding, Verdict, row_excerpt
from tuneport.data.checks.near.columns import DuplicateCheckColumns
from tuneport.data.checks.near.hits import FlaggedRecords
from tuneport.data.checks.near.minhash import (
    jaccard_similarity,
    minhash_candidate_pairs_across,
    minhash_similarity,
    minhash_word_pairs,
)
from tuneport.data.checks.near.near_duplicates import (
    MOST_COMPARED,
    ROWS_BESIDE,
    WORTH_A_LOOK,
    Lookup,
    duplicate_check_input_text,
    near_duplicate_threshold,
    split_duplicate_pair_batches,
)
from tuneport.data.containers.numbering import RowNumbering
from tuneport.data.dataset import Dataset
from tuneport.formatting import counted

MIN_SHARE = 0.05  # of all rows; the reference card says to hold out 10 to 20 %


class HeldOutColumns(NamedTuple):
    columns: DuplicateCheckColumns
    lookup: Lookup
    numbering: RowNumbering


class HoldoutLeakCheck:
    """Looks for held-out inputs in the training data, exactly and nearly; flags the training rows that have them."""

    def __init__(
        self,
        dataset: Dataset,
        columns: DuplicateCheckColumns,
        lookup: Lookup,
        held_out: HeldOutColumns | None,
        *,
        templated: bool = False,
    ) -> None:
        self.hits = FlaggedRecords()
        self._similar = near_duplicate_threshold(templated)
        self._dataset, self._rows, self._given = dataset, len(columns), held_out is not None
        self._held_out = 0
        self._leaks: set[int] = set()
        if held_out is not None:
            other, other_lookup, self._validation = held_out
            self._held_out = len(other)
            if len(columns) and len(other):
                self._exact(columns, lookup, other)
                self._near(columns, lookup, other, other_lookup)

    def _exact(self, columns: DuplicateCheckColumns, lookup: Lookup, other: DuplicateCheckColumns) -> None:
        keys, order = other.key("question"), np.argsort(other.lines)
        known, first = np.unique(keys[order], return_index=True)
        lines_there = other.lines[order][first]
        ours = columns.key("question")
        places = np.clip(np.searchsorted(known, ours), 0, len(known) - 1)
        found = np.flatnonzero((known[places] == ours) & (ours != 0))
        found = found[np.argsort(columns.lines[found])]
        shown = {each.line: each for each in lookup(columns.lines[found[:MAX_EVIDENCE]].tolist())}
        for index in found.tolist():
            line, there = int(columns.lines[index]), int(lines_there[places[index]])
            text = row_excerpt(shown[line].question or shown[line].answer) if line in shown else ""
            self.hits.add("exact", line, f"the same input is on {self._validation.words_of_file(there)}: {text}")
        self._leaks.update(other.lines[np.isin(keys, ours[found])].tolist())

    def _near(
        self, columns: DuplicateCheckColumns, lookup: Lookup, other: DuplicateCheckColumns, other_lookup: Lookup
    ) -> None:
        exact = np.isin(columns.lines, np.array(self.hits.lines["exact"], np.uint32))
        pairs = minhash_candidate_pairs_across(columns.bands("input"), columns.lines, other.bands("input"), other.lines)
        pairs = pairs[~exact[pairs[:, 0]]]
        both = (np.concatenate(each) for each in zip(columns.bands("input"), other.bands("input"), strict=True))
        alike = minhash_similarity(both, pairs + (0, len(columns)))
        likely = alike >= WORTH_A_LOOK
        pairs, alike = pairs[likely], alike[likely]
        pairs = np.stack((columns.lines[pairs[:, 0]], other.lines[pairs[:, 1]]), axis=1).astype(np.int64)
        # The most similar held-out rows of each row, and the most similar row of each held-out one.
        chosen = (_rank(pairs[:, 0], alike) < ROWS_BESIDE) | (_rank(pairs[:, 1], alike) < 1)
        pairs, alike = pairs[chosen], alike[chosen]
        order = np.lexsort((-alike, pairs[:, 0]))
        pairs, alike = pairs[order], alike[order]
        for part in split_duplicate_pair_batches(pairs[:MOST_COMPARED]):
            self._compare(part, lookup, other_lookup)
        for (line, there), estimate in zip(pairs[MOST_COMPARED:].tolist(), alike[MOST_COMPARED:].tolist(), strict=True):
            self._judge(line, there, estimate, "")

    def _compare(self, pairs: npt.NDArray[np.int64], lookup: Lookup, other_lookup: Lookup) -> None:
        sets: dict[int, npt.NDArray[np.uint64]] = {}
        shown: dict[int, str] = {}
        for example in lookup(np.unique(pairs[:, 0]).tolist()):
            sets[example.line] = minhash_word_pairs(duplicate_check_input_text(example))
            shown[example.line] = row_excerpt(example.question or example.answer)
        there = {
            each.line: minhash_word_pairs(duplicate_check_input_text(each))
            for each in other_lookup(np.unique(pairs[:, 1]).tolist())
        }
        for line, beside in pairs.tolist():
            self._judge(line, beside, jaccard_similarity(sets[line], there[beside]), f": {shown[line]}")

    def _judge(self, line: int, there: int, alike: float, shown: str) -> None:
        """Judge the rows, line by line."""
        if alike < self._similar:
            return
        self._leaks.add(there)
        flagged = self.hits.lines["near"]
        if not flagged or flagged[-1] != line:
            place = self._validation.words_of_file(there)
            self.hits.add("near", line, f"an input {alike:.0%} alike is on {place}{shown}")

    def finding(self) -> Finding:
        if not self._given:
            fix = f"hold out 10 to 20 %: `{self._dataset.command('split')}`"
            return Finding("hold-out", Verdict.WARN, "no rows are held out to evaluate the model", fix=fix)
        share = self._held_out / max(1, self._held_out + self._rows)
        details = {"held_out": self._held_out, "share": round(share, 3), "leaks": len(self._leaks)}
        message = f"{counted(self._held_out, 'record')} held out ({share:.0%})"
        if not self._held_out or not self._rows:
            empty = self._dataset.path if self._held_out else self._validation.files[0]
            fix = f"{empty.name} has no record to compare; fix or add records"
            return Finding("hold-out", Verdict.WARN, message, fix=fix, details=details)
        if self._leaks:
            message += f", {len(self._leaks):,} of them leak: they are in the training data"
            fix = "remove them from one of the files, or split again"
            return Finding("hold-out", Verdict.FAIL, message, self.hits.evidence(), fix, len(self._leaks), details)
        if share < MIN_SHARE:
            fix = "hold out 10 to 20 %"
            return Finding("hold-out", Verdict.WARN, f"{message}, which is little", fix=fix, details=details)
        return Finding("hold-out", Verdict.PASS, f"{message}, none of it in the training data", details=details)


def _rank(groups: npt.NDArray[np.int64], values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the rank of each value in its group, the largest first."""
    order = np.lexsort((-values, groups))
    rank = np.empty(len(groups), np.int64)
    rank[order] = np.arange(len(groups)) - np.searchsorted(groups[order], groups[order])
    return rank
