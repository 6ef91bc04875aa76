"""How long the examples are, in tokens, and what does not fit the context."""

from __future__ import annotations

from tuneport.data.checks.finding import MAX_EVIDENCE, Evidence, Finding, Verdict, records
from tuneport.data.tokens import TokenCounter


def lengths(counter: TokenCounter) -> Finding:
    counts = counter.counts()
    if not counts.rows:
        return Finding("lengths", Verdict.PASS, "there are no records to count")
    ordered = sorted(counter.lengths)
    median, ninety_fifth = ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 95 // 100)]
    about = "about " if counts.approximate else ""
    message = (
        f"{about}{sum(ordered):,} tokens ({counts.encoding}); median {median:,}, 95 % up to {ninety_fifth:,}, "
        f"longest {counts.longest:,} on line {counts.longest_line}"
    )
    details = {"shortest": ordered[0], "median": median, "p95": ninety_fifth, **counts.as_dict()}
    if not counts.over_context or counts.context is None:
        return Finding("lengths", Verdict.PASS, message, details=details)
    evidence = tuple(
        Evidence((line,), f"{length:,} tokens, of which the last {length - counts.context:,} would be cut off")
        for line, length in zip(counter.lines, counter.lengths, strict=True)
        if length > counts.context
    )
    message += f"; {records(counts.over_context)} over the context of {counts.context:,}"
    fix = "shorten or split them, or choose a model with a longer context"
    return Finding("lengths", Verdict.FAIL, message, evidence[:MAX_EVIDENCE], fix, counts.over_context, details)
