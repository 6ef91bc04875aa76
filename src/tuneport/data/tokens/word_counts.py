"""Counts the tokens of a text by those of its words, which come again and again.

Exact for OpenAI's encodings. Both first cut a text into pieces, by a pattern, and then encode each piece by itself
(tiktoken's `openai_public.py`). In both patterns a space before something that is no space begins a piece: no piece has
a space in its middle, and the only part of them that looks ahead, `\\s+(?!\\S)`, is about runs of spaces. So a text may
be cut before each such space, as long as no other kind of space stands beside it but ends of lines before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

MOST_WORDS = 50_000  # kept; those of a worker take some 8 MB
LONGEST = 40  # characters of a word that is kept
FEW = 0.2  # share of unknown words in a text, above which it is quicker to encode the text
LEARNED_AT_ONCE = 32
PATIENCE = 2048  # texts that words did not help with, more than those that they did, before
PAUSE = 1024  # texts are only encoded, and then
RETRIES = 64  # more looked at by words


class WordCounts:
    """Counts the tokens of a text by its words. If words do not recur, as in code or in Chinese, texts are encoded."""

    def __init__(self, encode: Callable[[str], Sequence[int]]) -> None:
        self._encode = encode
        self._starts: dict[str, int] = {}  # words at the start of a text
        self._words: dict[str, int] = {}  # words after a space, counted with it
        self._in_vain = self._pause = 0

    def count(self, text: str) -> int:
        if self._pause:
            self._pause -= 1
            return len(self._encode(text))
        start, *words = text.split(" ")
        try:
            found = self._starts[start] + sum(map(self._words.__getitem__, words))
        except KeyError:
            return self._with_unknown(text, start, words)
        self._in_vain = max(0, self._in_vain - 1)
        return found

    def _with_unknown(self, text: str, start: str, words: list[str]) -> int:
        unknown = [word for word in words if word not in self._words]
        if not _ends_plainly(start) or not all(map(_is_plain, unknown)):
            return self._whole(text)
        if len(unknown) > FEW * len(words):
            for word in unknown[:LEARNED_AT_ONCE]:
                self._learn(word)
            return self._whole(text)
        count = self._starts.get(start, 0)
        if not count and start:
            count = len(self._encode(start))
            if len(start) <= LONGEST and len(self._starts) < MOST_WORDS:
                self._starts[start] = count
        self._starts.setdefault("", 0)
        new = {word: self._learn(word) for word in unknown}
        return count + sum(self._words[word] if word in self._words else new[word] for word in words)

    def _learn(self, word: str) -> int:
        count = len(self._encode(f" {word}"))
        if len(word) <= LONGEST and len(self._words) < MOST_WORDS:
            self._words[word] = count
        return count

    def _whole(self, text: str) -> int:
        self._in_vain += 1
        if self._in_vain >= PATIENCE:
            self._in_vain, self._pause = PATIENCE - RETRIES, PAUSE
        return len(self._encode(text))


def _is_plain(word: str) -> bool:
    """Return whether a text may be cut before and after the word."""
    return word != "" and not word[0].isspace() and _ends_plainly(word)


def _ends_plainly(word: str) -> bool:
    """Return whether the text ends in nothing, or in ends of lines after something that is not a space. Halves of
    surrogate pairs are not plain."""
    bare = word.rstrip("\n")
    if not bare or bare[-1].isspace():
        return not word
    return word.isascii() or not any("\ud800" <= character <= "\udfff" for character in word)
