"""Histograms: where each bar, tick and mark stands. The macro `histogram` draws them in the colours of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_TICKS = 6


@dataclass(frozen=True)
class Histogram:
    """Rows by length: `bins` are {"up_to": tokens, "rows": n}, rising; `pointed_at` names lengths to mark, in tokens.

    Every bin has the same width on the page, whatever it spans, so that lengths over several magnitudes can be seen.
    """

    bins: Sequence[Mapping[str, int]]
    pointed_at: Mapping[str, int]
    width: int = 480
    height: int = 170
    foot: int = 22

    @property
    def most(self) -> int:
        return max(each["rows"] for each in self.bins) or 1

    @property
    def _step(self) -> float:
        return self.width / len(self.bins)

    @property
    def bars(self) -> list[dict[str, Any]]:
        edges = [0, *(each["up_to"] for each in self.bins)]
        return [
            {
                "x": index * self._step + 1,
                "width": max(1.0, self._step - 2),
                "height": (self.height - 24) * each["rows"] / self.most,
                "title": f"{edges[index]:,} to {each['up_to']:,} tokens: {each['rows']:,} rows",
            }
            for index, each in enumerate(self.bins)
        ]

    @property
    def ticks(self) -> list[dict[str, Any]]:
        every = max(1, -(-len(self.bins) // _TICKS))
        found = []
        for edge in range(every, len(self.bins) + 1, every):
            x = edge * self._step
            anchor = "end" if x > self.width - 20 else "middle"
            found.append({"x": x, "anchor": anchor, "words": f"{self.bins[edge - 1]['up_to']:,}"})
        return found

    @property
    def marks(self) -> list[dict[str, Any]]:
        found = []
        for name, tokens in self.pointed_at.items():
            at = self._place(tokens) * self._step
            anchor, x = ("end", at - 4) if at > self.width * 0.75 else ("start", at + 4)
            found.append({"at": at, "x": x, "anchor": anchor, "words": f"{name} {tokens:,}"})
        return found

    def _place(self, tokens: int) -> float:
        """Return the position of a length, in bins from the left; the right edge for what is beyond the last."""
        low = 0
        for index, each in enumerate(self.bins):
            high = each["up_to"]
            if tokens <= high:
                return index + (tokens - low) / max(1, high - low)
            low = high
        return float(len(self.bins))
