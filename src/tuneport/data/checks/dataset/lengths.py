"""The lengths of the examples in tokens, and those over the context."""

from __future__ import annotations

import math

import numpy as np

from tuneport.data.checks.finding import Finding, Verdict
from tuneport.data.checks.near.hits import FlaggedRecords
from tuneport.data.containers.numbering import RowNumbering
from tuneport.data.tokens.tokens import TokenCounts, TokenLengthCounter
from tuneport.formatting import counted

BARS = 24  # of the histogram, at most


class LengthCheck:
    """Quantiles and a histogram of the counted lengths; flags the records over the context, with what would be cut.

    `counts` is None without a counter, and `uncounted` says why there is none."""

    def __init__(self, counter: TokenLengthCounter | None, numbering: RowNumbering, uncounted: str) -> None:
        self._numbering, self._uncounted = numbering, uncounted
        self.hits = FlaggedRecords()
        self.counts = counts = None if counter is None else counter.counts()
        if counter is None or counts is None:
            return
        self._lengths = np.frombuffer(counter.lengths, np.uintc) if counts.rows else np.empty(0, np.uintc)
        if counts.context is not None and counts.over_context:
            lines = np.frombuffer(counter.lines, np.uintc)
            over = np.flatnonzero(self._lengths > counts.context)
            for index in over[np.argsort(lines[over])].tolist():
                length = int(self._lengths[index])
                text = f"{length:,} tokens, of which the last {length - counts.context:,} would be cut off"
                self.hits.add("over", int(lines[index]), text)

    def finding(self) -> Finding:
        counts = self.counts
        if counts is None:
            left_out = "tokens were not counted: lengths, what exceeds a model's context, and prices are not known"
            return Finding("lengths", Verdict.WARN, left_out, fix=self._uncounted)
        if not counts.rows:
            return Finding("lengths", Verdict.PASS, "there are no records to count")
        shortest, median, ninety_fifth = (
            np.quantile(self._lengths, (0, 0.5, 0.95), method="higher").astype(int).tolist()
        )
        about = "about " if counts.approximate else ""
        longest = self._numbering.words([counts.longest_line])
        message = (
            f"{about}{int(self._lengths.sum(dtype=np.int64)):,} tokens ({counts.encoding}); median {median:,}, "
            f"95 % up to {ninety_fifth:,}, longest {counts.longest:,} ({longest})"
        )
        details = {"shortest": shortest, "median": median, "p95": ninety_fifth, **_histogram(self._lengths, counts)}
        if counts.context is None:
            message += "; add --model NAME (or --context) to check whether they fit"
        if not self.hits:
            return Finding("lengths", Verdict.PASS, message, details=details)
        message += f"; {counted(counts.over_context, 'record')} over the context of {counts.context:,}"
        fix = "shorten or split them, or choose a model with a longer context"
        return Finding("lengths", Verdict.FAIL, message, self.hits.evidence(), fix, counts.over_context, details)


def _histogram(lengths: np.typing.NDArray[np.uintc], counts: TokenCounts) -> dict[str, object]:
    """Return equal bars of a round width, up to the longest example."""
    step = max(1, counts.longest / BARS)
    magnitude = 10 ** math.floor(math.log10(step))
    width = int(next(size * magnitude for size in (1, 2, 5, 10) if size * magnitude >= step))
    rows = np.bincount((np.maximum(lengths, 1) - 1) // width)
    bars = [{"up_to": (index + 1) * width, "rows": count} for index, count in enumerate(rows.tolist())]
    return {"histogram": bars, **counts.as_dict()}
