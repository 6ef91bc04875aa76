"""Near duplicates: sketches of fixed size for many texts at once, and the pairs of texts that are alike.

A text is the set of its pairs of neighbouring words; similarity is the Jaccard index of two such sets. Of its hashed
pairs a sketch keeps the smallest in each of some bins (one-permutation MinHash: Li, Owen, Zhang, NeurIPS 2012); an
empty bin borrows from the next one that is not (Shrivastava and Li, ICML 2014). The share of equal bins estimates the
similarity, with a standard error of sqrt(s * (1 - s) / bins): 0.06 at 0.8 with 48 bins.

Two texts are compared if all `BAND_ROWS` bins of a band agree, which at similarity s happens in one of b bands with
1 - (1 - s**BAND_ROWS)**b: with 12 bands 0.99 at 0.75 and 0.998 at 0.8.

Texts are normalised ones (`normalise_record_text`): words with single spaces between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Table = npt.NDArray[np.uint32]
"""One row a text, one column a bin."""

BAND_ROWS = 4
SIMILAR = 0.75
EMPTY = 0xFFFFFFFF
MOST_CHARACTERS = 1 << 16  # of a text; what follows does not count

_CHUNK_BYTES = 1 << 18  # small enough for the arrays over its bytes to stay in the cache
_SEED = 0x9E3779B97F4A7C15
_BASE = 0x5851F42D4C957F2D  # odd, so that its powers have inverses modulo 2**64 (Knuth's MMIX multiplier)
_INVERSE = pow(_BASE, -1, 1 << 64)
_SPACE, _END = 32, 0


def split_minhash_words(text: str) -> str:
    """Return the text as `minhash_signatures` reads it: in scripts without spaces, characters stand for words."""
    text = text[:MOST_CHARACTERS].replace("\0", " ")  # which ends a text below
    if not text.isascii() and text.count(" ") * 16 < len(text):
        return " ".join(text.replace(" ", ""))
    return text


def minhash_signatures(texts: Sequence[str], bins: int) -> Table:
    """Return the smallest hash in each bin for every text, or EMPTY for an empty bin."""
    table = np.full((len(texts), bins), EMPTY, np.uint32)
    first = size = 0
    encoded: list[bytes] = []
    for index, text in enumerate(texts):
        encoded.append(split_minhash_words(text).encode("utf-8", "surrogatepass"))
        size += len(encoded[-1])
        if size >= _CHUNK_BYTES or index == len(texts) - 1:
            _minima_of_chunk(encoded, table[first : index + 1])
            first, size, encoded = index + 1, 0, []
    return table


def _minima_of_chunk(encoded: list[bytes], table: Table) -> None:
    documents, hashes = _pair_hashes(encoded)
    if not len(hashes):
        return
    bins = table.shape[1]
    flat = table.reshape(-1)
    np.minimum.at(
        flat, documents * bins + (hashes % np.uint64(bins)).astype(np.int64), (hashes >> 32).astype(np.uint32)
    )


def _pair_hashes(encoded: list[bytes]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """Return the number of the text, and the hash, of every pair of neighbouring words. A single word is paired with
    itself."""
    data = np.frombuffer(b"\0".join([*encoded, b""]), np.uint8)
    if not len(data):
        return np.empty(0, np.int64), np.empty(0, np.uint64)
    ends = np.flatnonzero((data == _SPACE) | (data == _END))
    document = np.cumsum(data[ends] == _END) - (data[ends] == _END)
    starts = np.concatenate(([0], ends[:-1] + 1))
    filled = ends > starts
    starts, ends, document = starts[filled], ends[filled], document[filled]
    if not len(starts):
        return np.empty(0, np.int64), np.empty(0, np.uint64)
    powers, inverses = _powers(len(data))
    # Of each word the polynomial of its bytes, from differences of running sums modulo 2**64.
    sums = np.zeros(len(data) + 1, np.uint64)
    np.cumsum((data + np.uint64(1)) * powers[: len(data)], out=sums[1:])
    words = _mixed((sums[ends] - sums[starts]) * inverses[starts])
    follows = document[1:] == document[:-1]
    pairs = _mixed((words[:-1] * np.uint64(_SEED) ^ words[1:])[follows])
    alone = np.bincount(document, minlength=len(encoded))[document] == 1
    return np.concatenate((document[1:][follows], document[alone])), np.concatenate((pairs, _mixed(words[alone])))


def _powers(length: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Return the powers of the base and of its inverse, as many as the longest chunk so far has needed."""
    global _known_powers
    if len(_known_powers[0]) < length:
        size = max(length, _CHUNK_BYTES + MOST_CHARACTERS)
        _known_powers = _powers_of(_BASE, size), _powers_of(_INVERSE, size)
    return _known_powers


def _powers_of(base: int, count: int) -> npt.NDArray[np.uint64]:
    factors = np.full(count, base, np.uint64)
    factors[0] = 1
    return np.cumprod(factors, dtype=np.uint64)


_known_powers: tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]] = (np.empty(0, np.uint64), np.empty(0, np.uint64))


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Apply SplitMix64's finaliser (Steele, Lea, Flood 2014): every bit depends on all."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def fill_empty_minhash_bins(table: Table) -> Table:
    """Return the table with its empty bins filled by borrowing; rows without any word stay empty."""
    empty = table == EMPTY
    if not empty.any():
        return table
    count, bins = table.shape
    # For each bin, twice around, the nearest bin at or after it that is not empty.
    places = np.where(np.concatenate((empty, empty), axis=1), 2 * bins, np.arange(2 * bins))
    nearest = np.minimum.accumulate(places[:, ::-1], axis=1)[:, ::-1][:, :bins]
    distance = nearest - np.arange(bins)
    borrowed = np.take_along_axis(table, nearest % bins, axis=1)
    # The distance goes into the value, so that two empty bins agree only if they borrow alike.
    borrowed = borrowed + (distance * 0x85EBCA6B).astype(np.uint32)
    return np.where(empty.all(axis=1, keepdims=True), np.uint32(EMPTY), borrowed)


def combine_minhashes(*columns: npt.NDArray[np.unsignedinteger[Any]]) -> npt.NDArray[np.uint64]:
    """Combine the numbers of each row, in their order, into one."""
    keys = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        keys = _mixed(keys * np.uint64(_SEED) ^ column)
    return keys


def minhash_band_keys(band: Table) -> npt.NDArray[np.uint64]:
    """Return one number for a band's bins, given as its columns; 0 for texts without words."""
    keys = combine_minhashes(*band.T)
    keys[(band == EMPTY).all(axis=1)] = 0
    return keys


Pairs = npt.NDArray[np.int64]
"""(n, 2) indexes of texts."""

MOST_PAIRS = 1 << 24  # for memory


def minhash_candidate_pairs(
    bands: Iterable[Table],
    lines: npt.NDArray[np.integer[Any]],
    most: int = MOST_PAIRS,
    keep: Callable[[Pairs], npt.NDArray[np.bool_]] | None = None,
) -> Pairs:
    """Return pairs of indexes whose bins agree in some band, each with the earlier one in the file first.

    In a large group each is paired with the group's first and with the one before it, so that their number stays
    linear. Returns at most `most`; pairs that `keep` refuses do not count.
    """
    found = np.empty(0, np.uint64)
    for band in bands:
        first, before, again = _again(minhash_band_keys(band), lines)
        new = np.concatenate((np.stack((first, again), axis=1), np.stack((before, again), axis=1)))
        found = _joined(found, new if keep is None else new[keep(new)], most)
    return _unpacked(found)


def _again(
    keys: npt.NDArray[np.uint64], lines: npt.NDArray[np.integer[Any]]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return three indexes for each repeated key that is not 0: the first with that key, the one before, and the row
    itself."""
    order = np.argsort(keys)
    ordered = keys[order]
    same = (ordered[1:] == ordered[:-1]) & (ordered[1:] != 0)
    several = np.concatenate((same, [False])) | np.concatenate(([False], same))
    # Only keys that come again, which are few, have to be in the order of the lines.
    order, ordered = order[several], ordered[several]
    order = order[np.lexsort((lines[order], ordered))]
    new = np.concatenate(([True], ordered[1:] != ordered[:-1]))[: len(ordered)]
    again = np.flatnonzero(~new)
    first = np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))[again]
    return order[first], order[again - 1], order[again]


def minhash_candidate_pairs_across(
    bands: Iterable[Table],
    lines: npt.NDArray[np.integer[Any]],
    others: Iterable[Table],
    other_lines: npt.NDArray[np.integer[Any]],
) -> Pairs:
    """Return pairs of an index here and one of the others', whose bins agree in some band; at most `MOST_PAIRS`.

    Each text here is paired with the first and the last other one of its band, and each other one with the first and
    the last here: every text with a counterpart meets one, and the number of pairs stays linear.
    """
    found = np.empty(0, np.uint64)
    for band, other in zip(bands, others, strict=True):
        keys, other_keys = minhash_band_keys(band), minhash_band_keys(other)
        new = np.concatenate((_ends(keys, other_keys, other_lines), _ends(other_keys, keys, lines)[:, ::-1]))
        found = _joined(found, new, MOST_PAIRS)
    return _unpacked(found)


def _ends(
    keys: npt.NDArray[np.uint64], others: npt.NDArray[np.uint64], other_lines: npt.NDArray[np.integer[Any]]
) -> Pairs:
    """Return each index here with the first and the last index of the others with the same key, which is not 0."""
    order = np.lexsort((other_lines, others))
    ordered = others[order]
    begin, end = np.searchsorted(ordered, keys, side="left"), np.searchsorted(ordered, keys, side="right")
    here = np.flatnonzero((end > begin) & (keys != 0))
    first, last = order[begin[here]], order[end[here] - 1]
    return np.concatenate((np.stack((here, first), axis=1), np.stack((here, last), axis=1)))


def _joined(found: npt.NDArray[np.uint64], new: Pairs, most: int) -> npt.NDArray[np.uint64]:
    """Return each pair once, packed as the second index and the first one in 32 bits each."""
    packed = new[:, 1].astype(np.uint64) << np.uint64(32) | new[:, 0].astype(np.uint64)
    ordered = np.sort(np.concatenate((found, packed)))  # quicker than np.unique, which hashes
    return ordered[np.concatenate(([True], ordered[1:] != ordered[:-1]))[: len(ordered)]][:most]


def _unpacked(found: npt.NDArray[np.uint64]) -> Pairs:
    return np.stack((found & np.uint64(EMPTY), found >> np.uint64(32)), axis=1).astype(np.int64)


def minhash_similarity(bands: Iterable[Table], pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the estimated similarity of each pair: the share of equal bins."""
    equal, bins = np.zeros(len(pairs), np.int64), 0
    for band in bands:
        bins += band.shape[1]
        for start in range(0, len(pairs), 1 << 20):
            part = pairs[start : start + (1 << 20)]
            same = np.take(band, part[:, 0], axis=0) == np.take(band, part[:, 1], axis=0)
            for column in same.T:
                equal[start : start + (1 << 20)] += column
    return equal / max(1, bins)


def minhash_word_pairs(text: str) -> npt.NDArray[np.uint64]:
    """Return the text's set of word pairs, hashed and sorted, for `jaccard_similarity`."""
    return np.unique(_pair_hashes([split_minhash_words(text).encode("utf-8", "surrogatepass")])[1])


def jaccard_similarity(one: npt.NDArray[np.uint64], other: npt.NDArray[np.uint64]) -> float:
    """Return the Jaccard index of two sets from `minhash_word_pairs`."""
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / max(1, len(one) + len(other) - shared)
