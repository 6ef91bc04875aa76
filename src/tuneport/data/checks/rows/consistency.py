"""Is the dataset of one form: system prompts, turns, prefixes, labels, and the keys of answers in JSON?"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from tuneport.data.checks.finding import (
    MAX_EVIDENCE,
    CheckedDatasetExample,
    CheckEvidence,
    Finding,
    Verdict,
    row_excerpt,
)
from tuneport.data.checks.near.line_index import FlaggedLines, Keys, RowLineIndex
from tuneport.data.checks.rows.json_shapes import JsonShapeCheck
from tuneport.data.checks.rows.variants import label_spelling_key, label_variants, prompt_variants
from tuneport.data.rows.records import Chat, Graded, Labelled, Preference
from tuneport.formatting import counted

MIN_ROWS = 5  # to speak of a habit
FEW = 0.2  # share of the rows without what the others have (or with it): they are odd. More are a mixture, and meant
PREFIXED = 0.9  # share of the rows with the same prefix
LABELLED = 0.8  # share of the answers that are short, for them to be labels
LABEL_LENGTH = 60  # characters
PROMPT_LENGTH = 2000  # characters of a system prompt that are compared
_PREFIX = re.compile(r"[^\W\d_][\w ]{0,24}:")
_INITIALS = {"system": "s", "developer": "s", "user": "u", "assistant": "a", "tool": "t"}

KINDS = {
    "prompt": ("with a system prompt that differs by accident", "write the system prompt the same everywhere"),
    "system": ("unlike the others in having a system prompt", "give all a system prompt, or none"),
    "tools": ("unlike the others in having tools", "give all their tools, or none"),
    "prefix": ("without the prefix that the others have", "write the prefix everywhere, or nowhere"),
    "roles": ("with turns out of order", "fix the order: system, then user and assistant in turn"),
    "json": ("with unusual JSON", "give all answers the same keys and types"),
    "labels": ("with a label in another spelling", "spell each label in one way"),
}
"""Each kind in words, and what to do. All of them warn."""


class ConsistencyCheck:
    """Memory: see `places`, which bounds how many different prompts, prefixes, labels and shapes are kept."""

    def __init__(self) -> None:
        self._rows = 0
        self._prompts: RowLineIndex[str] = RowLineIndex()
        self._system: RowLineIndex[bool] = RowLineIndex()
        self._tools: RowLineIndex[bool] = RowLineIndex()
        self._asks: RowLineIndex[str] = RowLineIndex()
        self._answers: RowLineIndex[str] = RowLineIndex()
        self._roles: RowLineIndex[str] = RowLineIndex()
        self._labels: RowLineIndex[str] = RowLineIndex()
        self._json = JsonShapeCheck()

    def _places(self) -> tuple[Any, ...]:
        return (
            self._prompts,
            self._system,
            self._tools,
            self._asks,
            self._answers,
            self._roles,
            self._labels,
            self._json,
        )

    def add(self, example: CheckedDatasetExample) -> None:
        self._rows += 1
        line = example.line
        for places, key in self._keys(example):
            places.add(key, line)

    def _keys(self, example: CheckedDatasetExample) -> Keys:
        record, answer = example.record, example.answer
        keys: Keys = [(self._tools, record.tools != [])]
        keys += [(self._asks, _prefix(example.question)), (self._answers, _prefix(answer))]
        if isinstance(record, Chat | Preference | Labelled | Graded):
            messages = [*record.context, *record.chosen] if isinstance(record, Preference) else record.messages
            roles = "".join([_INITIALS[message.role] for message in messages])
            system = roles.startswith("s")
            keys.append((self._system, system))
            if system:
                prompt = messages[0].content
                keys.append((self._prompts, (prompt if type(prompt) is str else messages[0].text)[:PROMPT_LENGTH]))
            problem = _out_of_order(roles)
            if problem:
                keys.append((self._roles, problem))
        if len(answer) <= LABEL_LENGTH and "\n" not in answer.strip():
            keys.append((self._labels, answer))
        return keys + self._json.keys(answer)

    def state(self) -> Any:
        return self._rows, [each.state() for each in self._places()]

    def merge(self, state: Any) -> None:
        self._rows += state[0]
        for mine, other in zip(self._places(), state[1], strict=True):
            mine.merge(other)

    def lines(self) -> dict[str, array[int]]:
        """Return the odd lines by kind of `KINDS`; of a kind with thousands those that `places` keeps, as the finding
        says."""
        return {kind: array("I", sorted(odd)) for kind, odd in self._odd().items()}

    def unlisted(self) -> dict[str, Callable[[CheckedDatasetExample], bool]]:
        """Return, by kind with more lines than `lines` has, whether an example belongs to the kind."""
        return {kind: partial(self._is, odd) for kind, odd in self._odd().items() if odd.unlisted}

    def _is(self, odd: FlaggedLines, example: CheckedDatasetExample) -> bool:
        return odd.flags_row(self._keys(example))

    def _odd(self) -> dict[str, FlaggedLines]:
        """Return by kind each odd line, and the reason."""
        prefix, answers = self._unprefixed(self._asks, "input"), self._unprefixed(self._answers, "answer")
        prefix.include(answers)
        found = {
            "prompt": self._odd_prompts(),
            "system": self._minority(self._system, "a system prompt"),
            "tools": self._minority(self._tools, "tools"),
            "prefix": prefix,
            "roles": self._odd_roles(),
            "json": self._json.odd_lines(),
            "labels": self._odd_labels(),
        }
        return {kind: odd for kind, odd in found.items() if odd}

    def _odd_prompts(self) -> FlaggedLines:
        found = FlaggedLines()
        for prompt, (_, what) in prompt_variants(self._prompts).items():
            text = f"{what}, in {counted(self._prompts.count(prompt), 'record')}: {row_excerpt(prompt, 60)!r}"
            found.flag_value(self._prompts, prompt, text)
        return found

    def _minority(self, places: RowLineIndex[bool], what: str) -> FlaggedLines:
        total, found = places.rows, FlaggedLines()
        for has in (True, False):
            if total >= MIN_ROWS and 0 < places.count(has) <= FEW * total:
                text = f"{'has' if has else 'lacks'} {what}, unlike {counted(places.count(not has), 'record')}"
                found.flag_value(places, has, text)
                break
        return found

    def _unprefixed(self, places: RowLineIndex[str], what: str) -> FlaggedLines:
        usual, found = next(iter(places), ""), FlaggedLines()
        if not usual or self._rows < MIN_ROWS or places.count(usual) < PREFIXED * places.rows:
            return found
        for prefix in places:
            if prefix != usual:
                found.flag_value(places, prefix, f"the {what} does not begin with {usual!r}")
        found.flag_untracked_values(places)
        return found

    def _odd_roles(self) -> FlaggedLines:
        """Return the odd orders of roles. An order that many records have is how this dataset is."""
        found = FlaggedLines()
        for problem in self._roles:
            if self._roles.count(problem) <= max(1, FEW * self._rows):
                found.flag_value(self._roles, problem, problem)
        return found

    def _odd_labels(self) -> FlaggedLines:
        labels, found = self._labels, FlaggedLines()
        if labels.others or labels.rows < LABELLED * self._rows or self._rows < MIN_ROWS:
            return found
        if len({label_spelling_key(label) for label in labels}) > max(2, self._rows // 4):
            return found
        for label, usual in label_variants(labels).items():
            found.flag_value(labels, label, f"{label!r}, elsewhere {usual!r}")
        return found

    def finding(self) -> Finding:
        odd = self._odd()
        details: dict[str, Any] = {kind: lines.count for kind, lines in odd.items()}
        details["system_prompts"] = len(self._prompts)
        if self._prompts.others:
            details["further_system_prompts_in_rows"] = self._prompts.others
        details["with_system_prompt"] = self._share(self._system)
        details["with_tools"] = self._share(self._tools)
        if not odd:
            message = "prompts, turns, prefixes, labels and JSON are consistent"
            return Finding("consistency", Verdict.PASS, message, details=details)
        message = ", ".join(
            f"{counted(lines.count, 'record') if index == 0 else format(lines.count, ',')} {KINDS[kind][0]}"
            + (f" (the first {len(lines):,} are listed)" if lines.unlisted else "")
            for index, (kind, lines) in enumerate(odd.items())
        )
        each = max(1, MAX_EVIDENCE // len(odd))
        evidence = [
            CheckEvidence((line,), f"{kind}: {text}")
            for kind, lines in odd.items()
            for line, text in sorted(lines.items())[:each]
        ]
        listed = len({line for lines in odd.values() for line in lines})
        count = max(listed, *(lines.count for lines in odd.values()))
        fix = "; ".join(KINDS[kind][1] for kind in list(odd)[:3])
        return Finding("consistency", Verdict.WARN, message, tuple(evidence[:MAX_EVIDENCE]), fix, count, details)

    def _share(self, places: RowLineIndex[bool]) -> float:
        return round(places.count(True) / max(1, places.rows), 3)


def _prefix(text: str) -> str:
    """Return `Question:` of "Question: who ...", else nothing."""
    if text.find(":", 0, 26) < 0:
        return ""
    found = _PREFIX.match(text)
    return found[0] if found else ""


@lru_cache(maxsize=4096)
def _out_of_order(roles: str) -> str:
    """Return what is odd in the order of the roles, given by their initials; empty if nothing is."""
    turns = roles.lstrip("s")
    if "s" in turns:
        return "a system prompt in the middle"
    if turns.startswith("a"):
        return "the assistant speaks first"
    if turns.startswith("t") or "ut" in turns:
        return "a tool's result without a call"
    if "uu" in turns:
        return "two turns of the user in a row"
    if "aa" in turns:
        return "two turns of the assistant in a row"
    if turns.endswith(("u", "t")):
        return f"the last turn is the {'user' if turns.endswith('u') else 'tool'}'s"
    return "" if turns else "no turn but the system prompt"
