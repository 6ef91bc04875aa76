"""Is anything held out, enough of it, and none of it in the training data?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tuneport.data.checks.alike import MOST_COMPARED, WORTH_A_LOOK, Lookup
from tuneport.data.checks.columns import Columns
from tuneport.data.checks.finding import MAX_EVIDENCE, Finding, Verdict, excerpt, records
from tuneport.data.checks.hits import Hits
from tuneport.data.checks.sketch import SIMILAR, agreement, candidates, similarity, word_pairs
from tuneport.data.text import normalised

MIN_SHARE = 0.05  # of all rows; the reference card says to hold out 10 to 20 %


class HoldOut:
    """Looks for held-out inputs in the training data, exactly and nearly; flags the training rows that have them."""

    def __init__(
        self, path: Path, columns: Columns, lookup: Lookup, held_out: tuple[Path, Columns, Lookup] | None
    ) -> None:
        self.hits = Hits()
        self._path, self._rows, self._given = path, len(columns), held_out is not None
        self._held_out = 0
        self._leaks: set[int] = set()
        if held_out is not None:
            self._validation, other, other_lookup = held_out
            self._held_out = len(other)
            if len(columns) and len(other):
                self._exact(columns, lookup, other)
                self._near(columns, lookup, other, other_lookup)

    def _exact(self, columns: Columns, lookup: Lookup, other: Columns) -> None:
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
            text = excerpt(shown[line].question) if line in shown else ""
            self.hits.add("exact", line, f"the same input is on line {there} of {self._validation.name}: {text}")
        self._leaks.update(other.lines[np.isin(keys, ours[found])].tolist())

    def _near(self, columns: Columns, lookup: Lookup, other: Columns, other_lookup: Lookup) -> None:
        own = len(columns)
        # Held-out lines come after all others, so that in every crowd they meet the training rows.
        lines = np.concatenate((columns.lines.astype(np.int64), other.lines.astype(np.int64) + (1 << 32)))
        both = (np.concatenate(each) for each in zip(columns.bands("input"), other.bands("input"), strict=True))
        pairs = candidates(both, lines)
        pairs = pairs[(pairs[:, 0] < own) & (pairs[:, 1] >= own)]
        exact = np.isin(lines, np.fromiter(self.hits.lines["exact"], np.int64))
        pairs = pairs[~exact[pairs[:, 0]]]
        both = (np.concatenate(each) for each in zip(columns.bands("input"), other.bands("input"), strict=True))
        pairs = lines[pairs[agreement(both, pairs) >= WORTH_A_LOOK]][:MOST_COMPARED]
        pairs[:, 1] -= 1 << 32
        ours = {each.line: each.question for each in lookup(np.unique(pairs[:, 0]).tolist())}
        theirs = {each.line: each.question for each in other_lookup(np.unique(pairs[:, 1]).tolist())}
        sets = {
            side: {line: word_pairs(normalised(text)) for line, text in texts.items()}
            for side, texts in enumerate((ours, theirs))
        }
        flagged: set[int] = set()
        for line, there in sorted(pairs.tolist()):
            alike = similarity(sets[0][line], sets[1][there])
            if alike < SIMILAR:
                continue
            self._leaks.add(there)
            if line not in flagged:
                flagged.add(line)
                place = f"line {there} of {self._validation.name}"
                self.hits.add("near", line, f"an input {alike:.0%} alike is on {place}: {excerpt(ours[line])}")

    def finding(self) -> Finding:
        if not self._given:
            fix = f"hold out 10 to 20 %: `tuneport split {self._path}`"
            return Finding("hold-out", Verdict.WARN, "nothing is held out to judge the result by", fix=fix)
        share = self._held_out / max(1, self._held_out + self._rows)
        details = {"held_out": self._held_out, "share": round(share, 3), "leaks": len(self._leaks)}
        message = f"{records(self._held_out)} held out ({share:.0%})"
        if self._leaks:
            message += f", {len(self._leaks):,} of them leak: they are in the training data"
            fix = "remove them from one of the files, or split again"
            return Finding("hold-out", Verdict.FAIL, message, self.hits.evidence(), fix, len(self._leaks), details)
        if share < MIN_SHARE:
            fix = "hold out 10 to 20 %"
            return Finding("hold-out", Verdict.WARN, f"{message}, which is little", fix=fix, details=details)
        return Finding("hold-out", Verdict.PASS, f"{message}, none of it in the training data", details=details)
