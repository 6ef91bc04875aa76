"""Are there answers to learn: none empty, none far longer than the rest, some of them trained on?"""

from __future__ import annotations

from array import array

from tuneport.data.checks.finding import MAX_EVIDENCE, Evidence, Example, Finding, Verdict, excerpt, records
from tuneport.data.records import Chat

OVERLONG_FACTOR = 20  # times the median
OVERLONG_CHARACTERS = 2_000  # and at least that long


class Answers:
    def __init__(self) -> None:
        self._lengths = array("I")
        self._lines = array("I")
        self._empty: list[Evidence] = []
        self._untrained: list[Evidence] = []
        self._empty_count = self._untrained_count = 0

    def add(self, example: Example) -> None:
        self._lines.append(example.line)
        self._lengths.append(len(example.answer))
        if not example.answer.strip():
            self._empty_count += 1
            if len(self._empty) < MAX_EVIDENCE:
                self._empty.append(Evidence((example.line,), f"no answer to: {excerpt(example.question)}"))
        elif isinstance(example.record, Chat) and not _trained(example.record):
            self._untrained_count += 1
            if len(self._untrained) < MAX_EVIDENCE:
                self._untrained.append(Evidence((example.line,), "every answer has the weight 0"))

    def finding(self) -> Finding:
        overlong = self._overlong()
        count = self._empty_count + self._untrained_count + len(overlong)
        if not count:
            return Finding("answers", Verdict.PASS, "no answer is empty or far longer than the others")
        parts = []
        if self._empty_count:
            parts.append(f"{records(self._empty_count)} with an empty answer")
        if self._untrained_count:
            parts.append(f"{records(self._untrained_count)} with nothing trained on")
        if overlong:
            parts.append(f"{records(len(overlong))} with an answer over {OVERLONG_FACTOR} times the median length")
        bad = self._empty_count or self._untrained_count
        evidence = (*self._empty, *self._untrained, *overlong)[:MAX_EVIDENCE]
        fix = "remove or complete these records" if bad else "look at them: pasted documents teach rambling"
        return Finding("answers", Verdict.FAIL if bad else Verdict.WARN, ", ".join(parts), evidence, fix, count)

    def _overlong(self) -> list[Evidence]:
        if len(self._lengths) < 10:
            return []
        limit = max(OVERLONG_CHARACTERS, OVERLONG_FACTOR * sorted(self._lengths)[len(self._lengths) // 2])
        return [
            Evidence((line,), f"the answer has {length:,} characters")
            for line, length in zip(self._lines, self._lengths, strict=True)
            if length > limit
        ]


def _trained(record: Chat) -> bool:
    return any(message.role == "assistant" and message.weight != 0 for message in record.messages)
