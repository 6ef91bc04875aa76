"""Near duplicates: fixed-size sketches of texts, and an index that finds similar ones.

A text is the set of its pairs of neighbouring words. Similarity is the Jaccard index of two sets. A sketch keeps the
`SIZE` smallest of the pairs' 32-bit hashes ("bottom-k", Broder 1997): the whole set of a short text, so that its
similarity is exact; of longer ones it is an unbiased estimate with a standard error of at most 0.5 / sqrt(SIZE).

Candidates come from one-permutation MinHash (Li, Owen, Zhang 2012) of `BANDS` x `BAND_ROWS` bins: two texts meet if all
bins of a band agree, which at similarity s happens with 1 - (1 - s**BAND_ROWS)**BANDS: 0.98 at 0.7 and 0.999 at 0.8.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

SIMILAR = 0.75
SIZE = 128
BANDS = 12
BAND_ROWS = 3
_BINS = BANDS * BAND_ROWS
_MIX = 0x9E3779B1  # odd, so that multiplying by it permutes 32-bit numbers (Knuth's multiplicative hashing)
_MASK = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Sketch:
    smallest: array[int]
    bands: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Similar:
    line: int
    similarity: float


def sketch(text: str) -> Sketch:
    pieces = text.casefold().split()
    if len(pieces) * 16 < len(text) and not text.isascii():
        pieces = list("".join(pieces))  # a script without spaces: characters stand for words
    words = [crc32(piece.encode("utf-8", "surrogatepass")) for piece in pieces]
    if len(words) == 1:
        words *= 2
    hashes = sorted({_mixed(one, other) for one, other in zip(words, words[1:], strict=False)})
    return Sketch(array("I", hashes[:SIZE]), _bands(hashes))


def _mixed(one: int, other: int) -> int:
    pair = (one * _MIX ^ other) * 0x85EBCA6B
    return (pair ^ pair >> 15 ^ pair >> 32) * _MIX & _MASK


def _bands(ordered: Sequence[int]) -> tuple[int, ...]:
    """Bin the hashes by their remainder; each bin's smallest. An empty bin borrows from the next one that is not."""
    bins = [-1] * _BINS
    for value in reversed(ordered):
        bins[value % _BINS] = value
    if not ordered:
        return ()
    full = [index for index in range(_BINS) if bins[index] >= 0]
    if len(full) < _BINS:
        for index in range(_BINS):
            if bins[index] < 0:
                # The distance goes into the value, so that two empty bins agree only if they borrow alike.
                source = full[bisect_right(full, index) % len(full)]
                bins[index] = bins[source] + ((source - index) % _BINS << 32)
    return tuple(hash((band, *bins[band * BAND_ROWS : (band + 1) * BAND_ROWS])) for band in range(BANDS))


def similarity(one: Sketch, other: Sketch) -> float:
    """The Jaccard index of the two texts' sets of word pairs."""
    if not one.smallest or not other.smallest:
        return 0.0
    union = {*one.smallest, *other.smallest}
    shared = len(one.smallest) + len(other.smallest) - len(union)
    if len(union) <= SIZE or (len(one.smallest) < SIZE and len(other.smallest) < SIZE):
        return shared / len(union)
    cut = sorted(union)[:SIZE]
    return len(set(one.smallest).intersection(other.smallest).intersection(cut)) / SIZE


class SketchIndex:
    """Finds, among the texts added so far, one that is similar."""

    MAX_PER_BAND = 8
    """Texts kept for a band: enough to find a duplicate of a crowd, few enough to stay quick in one."""

    def __init__(self) -> None:
        self._sketches: list[tuple[int, Sketch]] = []
        self._buckets: dict[int, list[int]] = {}

    def add(self, line: int, drawn: Sketch) -> None:
        position = len(self._sketches)
        self._sketches.append((line, drawn))
        for band in drawn.bands:
            bucket = self._buckets.setdefault(band, [])
            if len(bucket) < self.MAX_PER_BAND:
                bucket.append(position)

    def nearest(self, drawn: Sketch, threshold: float = SIMILAR) -> Similar | None:
        """The most similar text of at least `threshold`, or None."""
        candidates = {position for band in drawn.bands for position in self._buckets.get(band, ())}
        best: Similar | None = None
        for position in sorted(candidates):
            line, other = self._sketches[position]
            found = similarity(drawn, other)
            if found >= threshold and (best is None or found > best.similarity):
                best = Similar(line, found)
        return best
