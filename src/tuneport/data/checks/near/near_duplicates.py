"""Rows that are alike: exactly, by their keys, and nearly, by their sketches and then word by word."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt

from tuneport.data.checks.finding import MAX_EVIDENCE, CheckedDatasetExample
from tuneport.data.checks.near.columns import DuplicateCheckColumns, tools_and_rejected_answer
from tuneport.data.checks.near.minhash import SIMILAR, jaccard_similarity, minhash_similarity, minhash_word_pairs
from tuneport.data.rows.text import normalise_record_text

WORTH_A_LOOK = 0.6
"""A pair with at least this estimate is compared word by word: SIMILAR less about two and a half standard errors."""
ALIKE_IN_TEMPLATE = 0.95
MOST_COMPARED = 20_000
"""Pairs that are compared word by word; of further ones the estimate decides."""
AT_ONCE = 2_000
"""Pairs whose texts are in memory together. For each such part the dataset is read again, up to its last line."""
ROWS_BESIDE = 3  # that a row is compared with: those of the highest estimates

Lookup = Callable[[Iterable[int]], Iterator[CheckedDatasetExample]]
"""The examples on some lines, in the order of the file."""


def near_duplicate_threshold(templated: bool) -> float:
    """Return the similarity at which two texts begin to count as nearly the same. Inputs that are made from one
    template share most of their words by design, so the limit is higher for them."""
    return ALIKE_IN_TEMPLATE if templated else SIMILAR


def duplicate_check_whole_text(example: CheckedDatasetExample) -> str:
    return normalise_record_text(f"{example.question} {example.answer} {tools_and_rejected_answer(example)}")


def duplicate_check_input_text(example: CheckedDatasetExample) -> str:
    """Return the text for the sketch of the input: the answer if there is no input."""
    return normalise_record_text(example.question or example.answer)


def find_exact_duplicates(
    keys: npt.NDArray[np.uint64], lines: npt.NDArray[np.uint32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the indexes whose key an earlier line has, and the index of the first line that has it. Key 0 does not
    count."""
    order = np.lexsort((lines, keys))
    ordered = keys[order]
    again = np.flatnonzero((ordered[1:] == ordered[:-1]) & (ordered[1:] != 0)) + 1
    starts = np.concatenate(([0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1))
    first = starts[np.searchsorted(starts, again, side="right") - 1]
    return order[again], order[first]


def split_duplicate_pair_batches(pairs: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the pairs, `AT_ONCE` by `AT_ONCE`."""
    for start in range(0, len(pairs), AT_ONCE):
        yield pairs[start : start + AT_ONCE]


def find_near_duplicates(
    pairs: npt.NDArray[np.int64],
    sketched: str,
    columns: DuplicateCheckColumns,
    lookup: Lookup,
    text_of: Callable[[CheckedDatasetExample], str],
    *,
    per_row: int,
) -> Iterator[tuple[int, int, float, CheckedDatasetExample | None]]:
    """Yield for each later row the most similar earlier one: line, related line, similarity of at least SIMILAR,
    example.

    Beyond `MOST_COMPARED` pairs the similarity is the estimate, and there is no example.
    """
    if not len(pairs):
        return
    alike = minhash_similarity(columns.bands(sketched), pairs)
    likely = alike >= WORTH_A_LOOK
    pairs, alike = pairs[likely], alike[likely]
    order = np.lexsort((-alike, columns.lines[pairs[:, 1]]))
    pairs, alike = columns.lines[pairs[order]].astype(np.int64), alike[order]
    rank = np.arange(len(pairs)) - np.searchsorted(pairs[:, 1], pairs[:, 1])
    pairs, alike = pairs[rank < per_row], alike[rank < per_row]
    shown: dict[int, CheckedDatasetExample] = {}
    best: dict[int, tuple[float, int]] = {}
    for looked_at in split_duplicate_pair_batches(pairs[:MOST_COMPARED]):
        sets: dict[int, npt.NDArray[np.uint64]] = {}
        later = set(looked_at[:, 1].tolist())
        for example in lookup(np.unique(looked_at).tolist()):
            sets[example.line] = minhash_word_pairs(text_of(example))
            if example.line in later and len(shown) < 10 * MAX_EVIDENCE:
                shown[example.line] = example
        for one, other in looked_at.tolist():
            best[other] = max(best.get(other, (0.0, 0)), (jaccard_similarity(sets[one], sets[other]), -one))
    for (one, other), estimate in zip(pairs[MOST_COMPARED:].tolist(), alike[MOST_COMPARED:].tolist(), strict=True):
        best[other] = max(best.get(other, (0.0, 0)), (estimate, -one))
    for line in sorted(best):
        found, beside = best[line]
        if found >= SIMILAR:
            yield line, -beside, found, shown.get(line)
