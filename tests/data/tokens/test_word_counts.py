"""Counting by words is counting: the same as encoding the whole text, whatever stands at the seams."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tuneport.data.tokens import word_counts
from tuneport.data.tokens.word_counts import MOST_WORDS, WordCounts
from tuneport.openai_encodings import ENCODINGS, load_openai_encoding

# Every kind of character that the patterns of the encodings tell apart, and every kind of space.
PIECES = (
    "a the Where McDonald ß é e\u0301 日本 한국 \u00aa ǅ 1 23 4567 ½ ² . ... ,\" ! / // - — _ ' 's 'LL don't I've {} "
    "<|endoftext|> \U0001f600 \u200b \ud800 \udc00"
).split(" ")
SPACES = tuple(" " * 12 + "\n" * 3 + "\r\t\v\f\x1c\x1f\x85\u00a0\u1680\u2003\u2028\u202f\u205f\u3000\ufeff") + (
    "\r\n",
    "",
    "",
)


def mixed(draw: Random) -> str:
    return "".join(draw.choice(draw.choice((PIECES, SPACES))) for _ in range(draw.randint(1, 16)))


@pytest.mark.parametrize("name", ENCODINGS)
def test_any_text_counts_as_when_it_is_encoded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_counts, "PATIENCE", 1_000_000)
    monkeypatch.setattr(word_counts, "FEW", 1.0)  # so that unknown words are counted by themselves, too
    encode, draw = load_openai_encoding(name).encode_ordinary, Random(name)
    words = WordCounts(encode)
    for _ in range(20_000):
        text = mixed(draw)
        assert words.count(text) == len(encode(text)), repr(text)
    assert len(words._words) > 1_000


@pytest.mark.parametrize("name", ENCODINGS)
def test_any_character_beside_a_seam(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_counts, "FEW", 1.0)
    encode = load_openai_encoding(name).encode_ordinary
    for code in (*range(0x250), *range(0x1680, 0x1690), *range(0x2000, 0x2070), 0x3000, 0x4E00, 0xFEFF, 0xFFFD):
        for around in ("on {}it was", "on{} it was", "on{}\n it was", "on\n{} it was", "on {}", "{} it", ". {}/ it"):
            text = around.format(chr(code))
            assert WordCounts(encode).count(text) == len(encode(text)), repr(text)


def test_real_texts(shared_data: Path) -> None:
    encode = load_openai_encoding("o200k_base").encode_ordinary
    words, texts = WordCounts(encode), 0
    for name in ("alpaca_en_demo.json", "dpo_en_demo.json", "glaive_toolcall_en_demo.json"):
        for text in texts_in(json.loads((shared_data / name).read_text())):
            texts += 1
            assert words.count(text) == len(encode(text)), text
    assert texts > 3_000


def test_where_words_do_not_come_again_texts_are_encoded_and_little_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_counts, "MOST_WORDS", 1_000)
    asked: list[str] = []

    def encode(text: str) -> list[int]:
        asked.append(text)
        return [0]

    words, draw = WordCounts(encode), Random(1)
    for _ in range(20_000):
        words.count(" ".join(f"{draw.getrandbits(64):x}" for _ in range(20)))
    assert len(words._words) == 1_000 < MOST_WORDS
    assert len(asked) < 8 * 20_000


def texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from texts_in(each)
