"""The text of an answer while it grows, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class IncrementalDetokenizer:
    """Decodes only the newest tokens: the whole answer at each token would take time with its square."""

    def __init__(self, tokenizer: Any, stops: Sequence[str]) -> None:
        self.text = ""
        self.emitted = 0
        self.stopped = False
        self._tokenizer, self._stops = tokenizer, stops
        self._longest_stop = max(map(len, stops), default=0)
        self._begin = self._settled = 0  # tokens that give the decoder its context, and those in `text` already
        self._tokens: list[int] = []

    def add_token(self, token: int) -> None:
        """Decode one more token. Afterwards `stopped` says whether the text has reached a stop string, and ends
        there."""
        self._tokens.append(token)
        self._grow(final=False)

    def finish(self) -> None:
        """Take also the bytes at the end that are not a whole character."""
        if not self.stopped:
            self._grow(final=True)

    def _grow(self, *, final: bool) -> None:
        # As decoders treat the first token apart (a space before it), new text is the difference of two decodings.
        before = self._decode(self._tokens[self._begin : self._settled])
        after = self._decode(self._tokens[self._begin :])
        if len(after) <= len(before) or (after.endswith("\ufffd") and not final):
            return
        self._begin, self._settled = self._settled, len(self._tokens)
        searched = max(0, len(self.text) - self._longest_stop + 1)
        self.text += after[len(before) :]
        at = min((where for stop in self._stops if (where := self.text.find(stop, searched)) >= 0), default=-1)
        if at >= 0:
            self.text, self.stopped = self.text[:at], True

    def _decode(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def take_new_text(self, *, final: bool) -> str:
        """Return the new text since the last call that will not change: nothing that may become a stop string."""
        end = len(self.text)
        if not final:
            for stop in self._stops:
                for size in range(min(len(stop) - 1, len(self.text)), 0, -1):
                    if self.text.endswith(stop[:size]):
                        end = min(end, len(self.text) - size)
                        break
        piece = self.text[self.emitted : end]
        self.emitted = max(self.emitted, end)
        return piece
