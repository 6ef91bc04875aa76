"""Sketches estimate the similarity of texts, and find those that are alike among many."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.data.checks.test_checks import sentence
from tuneport.data.checks.near.minhash import (
    BAND_ROWS,
    EMPTY,
    fill_empty_minhash_bins,
    jaccard_similarity,
    minhash_candidate_pairs,
    minhash_candidate_pairs_across,
    minhash_signatures,
    minhash_similarity,
    minhash_word_pairs,
)

BINS = 48


def exact(one: str, other: str) -> float:
    sets = [set(zip(text.split(), text.split()[1:], strict=False)) for text in (one, other)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def altered(text: str, share: float, seed: int) -> str:
    draw = random.Random(seed)
    return " ".join(f"x{draw.randrange(10**6)}" if draw.random() < share else word for word in text.split())


def bands(texts: list[str]) -> list[np.ndarray]:
    table = fill_empty_minhash_bins(minhash_signatures(texts, BINS))
    return [table[:, first : first + BAND_ROWS] for first in range(0, BINS, BAND_ROWS)]


def test_similarity_of_two_texts_is_the_jaccard_index_of_their_word_pairs() -> None:
    for seed in range(40):
        text = sentence(seed, 40 + 20 * seed)
        other = altered(text, 0.1, seed)
        assert jaccard_similarity(minhash_word_pairs(text), minhash_word_pairs(other)) == pytest.approx(
            exact(text, other)
        )


def test_the_estimate_is_unbiased_with_the_stated_error() -> None:
    texts = [sentence(seed, 120) for seed in range(400)]
    others = [altered(text, 0.05, seed) for seed, text in enumerate(texts)]
    pairs = np.stack((np.arange(400), np.arange(400, 800)), axis=1)
    errors = minhash_similarity(bands(texts + others), pairs) - [
        exact(*each) for each in zip(texts, others, strict=True)
    ]
    assert abs(errors.mean()) < 0.015
    assert errors.std() < 0.08


def test_recall_of_near_duplicates_is_measured() -> None:
    """Of 300 texts with a copy that is really at least 0.8 alike, 97 % are found among 1,000 strangers."""
    texts = [sentence(seed, 60) for seed in range(1_000)]
    copies = [(seed, altered(texts[seed], 0.05, seed)) for seed in range(600)]
    alike = [(seed, text) for seed, text in copies if exact(texts[seed], text) >= 0.8][:300]
    assert len(alike) == 300
    everything = texts + [text for _, text in alike]
    found = set(map(tuple, minhash_candidate_pairs(bands(everything), np.arange(len(everything))).tolist()))
    right = sum((seed, 1_000 + number) in found for number, (seed, _) in enumerate(alike))
    assert right >= 291
    strangers = [pair for pair in found if pair[1] < 1_000]
    assert len(strangers) < 20


def test_what_a_text_is_worth_does_not_depend_on_its_neighbours() -> None:
    texts = [sentence(seed, 5 + 7 * seed) for seed in range(60)]
    together = minhash_signatures(texts, BINS)
    alone = np.concatenate([minhash_signatures([text], BINS) for text in texts])
    assert (together == alone).all()
    long = "word " * 400_000
    assert (minhash_signatures([texts[3], long, texts[5]], BINS)[[0, 2]] == together[[3, 5]]).all()


def test_texts_without_words_are_alike_to_nothing() -> None:
    table = fill_empty_minhash_bins(minhash_signatures(["", "one", "", "one", "a\0b", "a b"], BINS))
    assert (table[0] == EMPTY).all() and (table[2] == EMPTY).all()
    assert (table[1] == table[3]).all() and (table[4] == table[5]).all()
    pairs = minhash_candidate_pairs([table[:, :BAND_ROWS]], np.arange(6))
    assert pairs.tolist() == [[1, 3], [4, 5]]


def test_scripts_without_spaces() -> None:
    text = "注文した商品がまだ届いていません。いつ頃届きますか。"
    assert jaccard_similarity(minhash_word_pairs(text), minhash_word_pairs(text.replace("いつ", "何時"))) > 0.6
    assert (
        jaccard_similarity(
            minhash_word_pairs(text), minhash_word_pairs("返品の方法を教えてください。よろしくお願いします。")
        )
        < 0.2
    )


def test_what_is_refused_takes_nobodys_place() -> None:
    texts = bands(["one two", "one two", "one two", "three four", "three four"])
    lines = np.arange(5)
    assert minhash_candidate_pairs(texts, lines, most=1).tolist() == [[0, 1]]
    assert minhash_candidate_pairs(texts, lines, most=1, keep=lambda pairs: pairs[:, 0] >= 3).tolist() == [[3, 4]]


def test_everything_with_a_counterpart_meets_one() -> None:
    ours, theirs = ["a b", "a b", "c d", "a b", "", "e f"], ["a b", "", "c d", "g h", "a b", "a b"]
    pairs = minhash_candidate_pairs_across(
        bands(ours), np.arange(6), bands(theirs), np.array([9, 8, 7, 6, 5, 4])
    ).tolist()
    assert {one for one, _ in pairs} == {0, 1, 2, 3} and {other for _, other in pairs} == {0, 2, 4, 5}
    assert all(ours[one] == theirs[other] for one, other in pairs)
    many = bands(["a b"] * 1_000)
    assert len(minhash_candidate_pairs_across(many, np.arange(1_000), many, np.arange(1_000))) < 4_000
