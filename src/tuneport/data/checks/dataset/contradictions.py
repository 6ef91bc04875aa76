"""The same input, or nearly the same, with different answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher

import numpy as np
import numpy.typing as npt

from tuneport.data.checks.finding import (
    MAX_EVIDENCE,
    CheckedDatasetExample,
    Finding,
    Verdict,
    differing_row_excerpts,
    row_excerpt,
)
from tuneport.data.checks.near.columns import DuplicateCheckColumns, tool_definitions_text
from tuneport.data.checks.near.hits import FlaggedRecords
from tuneport.data.checks.near.minhash import (
    EMPTY,
    Pairs,
    Table,
    jaccard_similarity,
    minhash_candidate_pairs,
    minhash_similarity,
    minhash_word_pairs,
)
from tuneport.data.checks.near.near_duplicates import (
    MOST_COMPARED,
    Lookup,
    find_exact_duplicates,
    split_duplicate_pair_batches,
)
from tuneport.data.rows.records import Labelled
from tuneport.data.rows.text import normalise_record_text
from tuneport.formatting import counted

ALIKE = 0.35
"""Two inputs with at least this estimated similarity are compared: one word of six changed, in pairs of words."""
MOST_WORDS_CHANGED = 4
SAME_INPUT = 0.8
OTHER_ANSWER = 0.4  # similarity of two answers, below which they are not the same thing in other words
TYPO = 0.7  # similarity of two spellings of a word, by difflib's ratio

# Words that may come, go or change without the meaning of a request changing. No negations, no numbers.
_WEIGHTLESS = frozenset(
    "a an the this that please kindly could can would will you me my i to for of in on at is are do does just "
    "now so and hi hello hey thanks thank dear um well ok okay also really very actually pls plz el la los las "
    "un una por favor hola gracias der die das ein eine bitte hallo danke mal le les une des s'il vous plaît "
    "bonjour merci".split()
)
_WORD = re.compile(r"\w+(?:['’]\w+)*")
_NAME = re.compile(r"(?<=[\w,;] )[A-Z]\w+(?:['’]\w+)*")  # a capital within a sentence


class ContradictionCheck:
    """Inputs are the same with case and space aside, where system prompt and tools are the same, too.

    They are nearly the same if they differ by typing errors and words without weight alone, or if they are SAME_INPUT
    alike, differ in no number and no name, and their answers have little in common. The latter is no sign where
    `templated` inputs share most of their words by design.

    Answers that are labelled as bad take no part: they are to differ from the good ones. Pairs of nearly the same
    input beyond `MOST_COMPARED` are left out, the least alike of them, and counted.
    """

    def __init__(self, columns: DuplicateCheckColumns, lookup: Lookup, task: str, *, templated: bool) -> None:
        self.hits = FlaggedRecords()
        self._task, self._templated = task, templated
        self._inputs = self._not_compared = 0
        if len(columns):
            bad = _bad_answers(columns, lookup)
            context = np.where(bad, np.uint64(0), columns.key("context"))
            self._exact(columns, context, lookup)
            self._near(columns, context, bad, lookup)

    def _exact(self, columns: DuplicateCheckColumns, context: npt.NDArray[np.uint64], lookup: Lookup) -> None:
        answers, lines = columns.key("answer"), columns.lines
        again, first = find_exact_duplicates(context, lines)
        differ = answers[again] != answers[first]
        again, first = again[differ], first[differ]
        order = np.argsort(lines[again])
        again, first = again[order], first[order]
        self._inputs = len(np.unique(first))
        wanted = np.concatenate((again[:MAX_EVIDENCE], first[:MAX_EVIDENCE]))
        shown = {each.line: each for each in lookup(lines[wanted].tolist())}
        for index, original in zip(again.tolist(), first.tolist(), strict=True):
            line, beside = int(lines[index]), int(lines[original])
            both = line in shown and beside in shown
            self.hits.add("exact", line, _side_by_side(shown[beside], shown[line]) if both else "", beside=(beside,))

    def _near(
        self,
        columns: DuplicateCheckColumns,
        context: npt.NDArray[np.uint64],
        bad: npt.NDArray[np.bool_],
        lookup: Lookup,
    ) -> None:
        answers, lines = columns.key("answer"), columns.lines
        exact = np.isin(lines, np.array(self.hits.lines["exact"], np.uint32))

        def keep(pairs: Pairs) -> npt.NDArray[np.bool_]:
            one, other = pairs[:, 0], pairs[:, 1]
            kept: npt.NDArray[np.bool_] = (context[one] != context[other]) & (context[one] != 0) & (context[other] != 0)
            kept &= (answers[one] != answers[other]) & ~exact[other]
            return kept

        def bands() -> Iterator[Table]:
            for band in columns.bands("input"):
                yield np.where(bad[:, None], np.uint32(EMPTY), band) if bad.any() else band

        pairs = minhash_candidate_pairs(bands(), lines, keep=keep)
        alike = minhash_similarity(bands(), pairs)
        pairs, alike = pairs[alike >= ALIKE], alike[alike >= ALIKE]
        self._not_compared = max(0, len(pairs) - MOST_COMPARED)
        pairs = lines[pairs[np.lexsort((lines[pairs[:, 1]], -alike))[:MOST_COMPARED]]].astype(np.int64)
        flagged: set[int] = set()
        for part in split_duplicate_pair_batches(pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))]):
            shown = {each.line: each for each in lookup(np.unique(part).tolist())}
            for beside, line in part.tolist():
                if line in flagged or line not in shown or beside not in shown:
                    continue
                first, again = shown[beside], shown[line]
                if self._contradict(first, again):
                    flagged.add(line)
                    self.hits.add("near", line, _side_by_side(first, again), beside=(beside,))

    def _contradict(self, one: CheckedDatasetExample, other: CheckedDatasetExample) -> bool:
        if (
            one.system != other.system
            or tool_definitions_text(one) != tool_definitions_text(other)
            or not _differ(one, other)
        ):
            return False
        return is_reworded_input(one.question, other.question) or (not self._templated and _reworded(one, other))

    def finding(self) -> Finding:
        exact, near = self.hits.count("exact"), self.hits.count("near")
        details = {"exact": exact, "near": near}
        if self._not_compared:
            details["not_compared"] = self._not_compared
        if not exact and not near:
            return Finding("contradictions", Verdict.PASS, "no input has two different answers", details=details)
        said = [f"{self._inputs:,} input{'s' if self._inputs != 1 else ''} with different answers"] if exact else []
        if near:
            said.append(f"{counted(near, 'record')} with nearly the input of another and a different answer")
        # Two good answers to an open question are variety; two labels for one text are a mistake.
        verdict = Verdict.FAIL if self._task in ("classification", "extraction") else Verdict.WARN
        evidence = (*self.hits.evidence("exact"), *self.hits.evidence("near"))[:MAX_EVIDENCE]
        fix = "keep the right answer of each"
        return Finding("contradictions", verdict, ", ".join(said), evidence, fix, self.hits.count(), details)


def _bad_answers(columns: DuplicateCheckColumns, lookup: Lookup) -> npt.NDArray[np.bool_]:
    """Return which rows show how not to answer; if the first record has no label, none is searched."""
    first = next(lookup([int(columns.lines.min())]), None)
    if first is None or not isinstance(first.record, Labelled):
        return np.zeros(len(columns), bool)
    bad = (each.line for each in lookup(columns.lines.tolist()) if not getattr(each.record, "label", True))
    return np.isin(columns.lines, np.fromiter(bad, np.uint32))


def is_reworded_input(one: str, other: str) -> bool:
    """Return whether two inputs differ only by typing errors and function words."""
    first, second = _WORD.findall(normalise_record_text(one)), _WORD.findall(normalise_record_text(other))
    if len({*first} ^ {*second}) > 2 * MOST_WORDS_CHANGED or abs(len(first) - len(second)) > MOST_WORDS_CHANGED:
        return False
    first, second = _without_common_start(*_without_common_start(first, second))  # at both ends
    changed = 0
    for kind, begin, end, other_begin, other_end in SequenceMatcher(None, first, second, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        gone = [word for word in first[begin:end] if word not in _WEIGHTLESS]
        come = [word for word in second[other_begin:other_end] if word not in _WEIGHTLESS]
        changed += max(end - begin, other_end - other_begin)
        if changed > MOST_WORDS_CHANGED or len(gone) != len(come):
            return False
        if not all(_misspelt(before, after) for before, after in zip(gone, come, strict=True)):
            return False
    return True


def _without_common_start(first: list[str], second: list[str]) -> tuple[list[str], list[str]]:
    """Return both without their common beginning, reversed, which leaves little to align."""
    pairs = enumerate(zip(first, second, strict=False))
    same = next((index for index, (one, other) in pairs if one != other), min(len(first), len(second)))
    return first[same:][::-1], second[same:][::-1]


def _reworded(one: CheckedDatasetExample, other: CheckedDatasetExample) -> bool:
    if (
        jaccard_similarity(
            minhash_word_pairs(normalise_record_text(one.question)),
            minhash_word_pairs(normalise_record_text(other.question)),
        )
        < SAME_INPUT
    ):
        return False
    first, second = {*_WORD.findall(one.question)}, {*_WORD.findall(other.question)}
    gone, come = first - second, second - first
    gone, come = (
        {word for word in side if not any(_misspelt(word.casefold(), each.casefold()) for each in rest)}
        for side, rest in ((gone, come), (come, gone))
    )
    named = {*_NAME.findall(one.question), *_NAME.findall(other.question)}
    if any(word in named or any(map(str.isdigit, word)) for word in gone | come):
        return False
    return (
        jaccard_similarity(
            minhash_word_pairs(normalise_record_text(one.answer)),
            minhash_word_pairs(normalise_record_text(other.answer)),
        )
        < OTHER_ANSWER
    )


def _misspelt(one: str, other: str) -> bool:
    if min(len(one), len(other)) < 4 or abs(len(one) - len(other)) > 2:
        return False
    if any(character.isdigit() for character in one + other):
        return False
    return SequenceMatcher(None, one, other, autojunk=False).ratio() >= TYPO


def _differ(one: CheckedDatasetExample, other: CheckedDatasetExample) -> bool:
    return normalise_record_text(one.answer).strip(" .!") != normalise_record_text(other.answer).strip(" .!")


def _side_by_side(one: CheckedDatasetExample, other: CheckedDatasetExample) -> str:
    first, second = differing_row_excerpts(one.answer, other.answer, 80)
    return f"{row_excerpt(one.question, 80)!r} is answered {first!r} and {second!r}"
