"""Are the answers fit to be learned: whole, in the right language, without what other programs left in them?"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from typing import Any

from tuneport.data.checks.finding import (
    MAX_EVIDENCE,
    CheckedDatasetExample,
    CheckEvidence,
    Finding,
    Verdict,
    row_excerpt,
)
from tuneport.data.checks.near.hits import FlaggedRecords
from tuneport.data.checks.rows.endings import Ending, classify_row_answer_ending
from tuneport.data.checks.rows.language import detect_language
from tuneport.data.checks.rows.loops import find_repetition_loop
from tuneport.data.checks.rows.markup import find_leftover_markup, find_reasoning_tags
from tuneport.data.checks.rows.refusals import find_refusal_phrase
from tuneport.data.checks.rows.residue import find_mojibake
from tuneport.data.checks.rows.shapes import row_looks_like_code
from tuneport.data.checks.rows.turns import iterate_row_answers
from tuneport.data.checks.rows.words.language_names import LANGUAGE_NAMES
from tuneport.data.rows.records import Chat, Graded, Labelled
from tuneport.formatting import counted

OVERLONG_FACTOR = 20  # times the median
OVERLONG_CHARACTERS = 2_000  # and at least that long
MIN_ROWS = 10  # for a median to mean something
MAX_OPEN = 0.25  # share of prose that ends without a full stop: above it, this dataset writes so
MAX_FOREIGN = 0.3  # share of answers in another language than their question: above it, that is the task
MIN_FOREIGN = 0.1  # and this share of all records: where few languages are clear, a few answers are no habit
MANY = 0.05  # this share of records teaches a defect rather than diluting it: it fails instead of warning
MIN_LANGUAGE = 24  # characters
MIN_LANGUAGE_WIDE = 8  # of scripts in which one character is a syllable or a word
MAX_THOUGHTS = 0.3  # share of records with tags around thoughts: above it, the model is meant to think aloud
INVISIBLE = (
    "\u200b\u200c\u200d\u200e\u200f\u2060\u2800\u3164\u180e\ufeff\u00ad \t\r\n\f\v\u00a0\u3000"  # blank to any reader
)

KINDS: dict[str, tuple[str, str]] = {
    "empty": ("with an empty answer", "remove or complete the empty ones"),
    "untrained": ("with nothing trained on", "give an answer a weight, or remove the record"),
    "truncated": ("cut off", "complete them, or raise the token limit of their generator"),
    "mojibake": ("with wrongly decoded characters", "decode the source as UTF-8 once, or clean --repair"),
    "markup": ("with leftover markup, chat tokens or unfilled slots", "strip them: the model would write them, too"),
    "loop": ("that repeat themselves", "remove the repetition"),
    "refusal": ("that refuse or speak as an AI", "keep only refusals that you want the model to learn"),
    "language": ("in another language than the question", "answer in the language asked in, or say so in the prompt"),
    "overlong": (f"with an answer over {OVERLONG_FACTOR} times the median length", "pasted documents teach rambling"),
}
"""Each kind in words, and what to do. The first two always fail, the next four fail if they are `MANY`, the rest
warn."""

_ALWAYS_FAIL = ("empty", "untrained")
_FAIL_WHERE_MANY = ("truncated", "mojibake", "markup", "loop")
# The languages in which, and for which, requests to answer in another one are known; in English those for any.
_REQUESTS_IN = frozenset("en es de fr it pt nl pl tr sv ru uk ja zh ko ar hi".split())
_NAMES_A_LANGUAGE = re.compile(
    r"translat|language|übersetz|sprache|tradu[czi]|tradui|idiom|langue|lingua|língua|vertaal|przet[łl]um|перев[ео]д|переклад"
    r"|çevir|översätt|翻訳|翻译|번역|ترجم|अनुवाद|languag"
    rf"|(?<![a-z])(?:{'|'.join(LANGUAGE_NAMES.values()).lower()}|bangla|farsi|filipino|flemish|frisian|gaelic|kurdish"
    r"|mandarin|sinhalese)(?![a-z])|español|castellano|inglés|alemán|francés|deutsch|englisch|französisch|spanisch"
    r"|français|anglais|allemand|espagnol|italiano|inglese|tedesco|francese|português|inglês|engels|duits|frans\b|polsk"
    r"|angielsk|niemieck|türkçe|ingilizce|svenska|engelska|tyska|русск|английск|українськ|англійськ|日本語|英語|中国語|中文|英文|英语"
    r"|한국어|영어|العربية|الإنجليزية|हिन्दी|हिंदी|अंग्रेज़ी"
)


class RowAnswerChecks:
    """`hits` has the lines by kind. Two of its kinds count only if the dataset is not so throughout: "open" endings,
    which are cut off if most answers do end, and "thought", which is markup if most answers have none.
    """

    def __init__(self) -> None:
        self.hits = FlaggedRecords()
        self._rows = 0
        self._seen: Counter[str] = Counter()  # answers that ended, and those whose language was compared
        self._lengths: Counter[int] = Counter()
        self._long: list[tuple[array[int], array[int]]] = [(array("I"), array("I"))]

    def add(self, example: CheckedDatasetExample) -> None:
        self._rows += 1
        line, record = example.line, example.record
        if isinstance(record, Graded):
            return  # the model gives its own answers
        self._measure(line, len(example.answer))
        if _is_blank(example.answer):
            self.hits.add("empty", line, f"no answer to: {row_excerpt(example.question)}")
            return
        if isinstance(record, Labelled) and not record.label:
            return
        found: dict[str, str] = {}
        trained = False
        for question, message in iterate_row_answers(record):
            trained = True
            text = message.content if type(message.content) is str else message.text
            if not _is_blank(text):
                self._read(text, question, message.tool_calls != [], example, found)
            elif not message.tool_calls and not message.reasoning:
                found.setdefault("empty", f"no answer to: {row_excerpt(question)}")
        if not trained and isinstance(record, Chat):
            found = {"untrained": "every answer has the weight 0"}
        for kind, text in found.items():
            self.hits.add(kind, line, text)

    def _measure(self, line: int, length: int) -> None:
        """Count the lengths in some hundred steps, 1 % apart for long ones; those that may be over-long exactly."""
        step = max(0, length.bit_length() - 7)
        self._lengths[length >> step << step] += 1
        if length > OVERLONG_CHARACTERS:
            lines, lengths = self._long[0]
            lines.append(line)
            lengths.append(min(length, 0xFFFFFFFF))

    def _read(
        self, text: str, question: str, calls: bool, example: CheckedDatasetExample, found: dict[str, str]
    ) -> None:
        ending, how = (Ending.OTHER, "") if calls else classify_row_answer_ending(text)
        if ending is Ending.ENDED:
            self._seen["ended"] += 1
        elif ending is Ending.CUT:
            found.setdefault("truncated", how)
        elif ending is Ending.OPEN:
            self._seen["open"] += 1
            found.setdefault("open", how)
        language = detect_language(text)
        refusal = find_refusal_phrase(text, language, question)
        if refusal is not None:
            found.setdefault("refusal", refusal)
        mojibake = find_mojibake(text)
        if mojibake is not None:
            found.setdefault("mojibake", mojibake)
        markup = find_leftover_markup(text, question)
        if markup is not None:
            found.setdefault("markup", markup)
        thought = find_reasoning_tags(text)
        if thought is not None:
            found.setdefault("thought", thought)
        loop = find_repetition_loop(text)
        if loop is not None:
            found.setdefault("loop", loop)
        least = MIN_LANGUAGE if language not in ("ja", "zh", "ko") else MIN_LANGUAGE_WIDE
        if language is not None and len(question) >= MIN_LANGUAGE and len(text) >= least:
            asked = detect_language(question)
            if asked is not None and _is_comparable(asked, language):
                self._seen["compared"] += 1
                if asked != language and _is_foreign(text, example):
                    self._seen["foreign"] += 1
                    named = f"asked in {LANGUAGE_NAMES[asked]}, answered in {LANGUAGE_NAMES[language]}"
                    found.setdefault("language", f"{named}: {row_excerpt(text, 80)}")

    def state(self) -> Any:
        return self.hits, self._rows, dict(self._seen), dict(self._lengths), self._long

    def merge(self, state: Any) -> None:
        hits, rows, seen, lengths, long = state
        self.hits.merge(hits)
        self._rows += rows
        self._seen.update(seen)
        self._lengths.update(lengths)
        self._long += long

    def lines(self) -> dict[str, array[int]]:
        """Return the flagged lines by kind of `KINDS`, as `finding` counts them."""
        found = {}
        for kind in KINDS:
            parts = self._kinds_of(kind)
            lines = {line for part in parts for line in self.hits.lines.get(part, ())}
            found[kind] = array("I", sorted(lines))
        found["overlong"] = array("I", sorted(line for line, _ in self._overlong()))
        if self._seen["foreign"] > max(MAX_FOREIGN * self._seen["compared"], MIN_FOREIGN * self._rows):
            found.pop("language", None)
        return {kind: lines for kind, lines in found.items() if lines}

    def _kinds_of(self, kind: str) -> tuple[str, ...]:
        """Return the kinds in `hits` that make up a kind of `KINDS`."""
        prose = self._seen["ended"] + self._seen["open"]
        if kind == "truncated" and self._seen["open"] <= MAX_OPEN * prose:
            return "truncated", "open"
        if kind == "markup" and self.hits.count("thought") <= max(1, MAX_THOUGHTS * self._rows):
            return "markup", "thought"
        return (kind,)

    def finding(self) -> Finding:
        lines = self.lines()
        details = {kind: len(each) for kind, each in lines.items()}
        if not lines:
            message = "none is empty, cut off, a refusal, garbled, in the wrong language or far longer than the others"
            return Finding("answers", Verdict.PASS, message)
        failing = [kind for kind in lines if self._fails(kind, len(lines[kind]))]
        worst = [*failing, *(kind for kind in lines if kind not in failing)]
        message = ", ".join(
            f"{counted(details[kind], 'record') if index == 0 else format(details[kind], ',')} {KINDS[kind][0]}"
            for index, kind in enumerate(worst)
        )
        count = len({line for each in lines.values() for line in each})
        fix = "; ".join(KINDS[kind][1] for kind in worst[:3])
        verdict = Verdict.FAIL if failing else Verdict.WARN
        return Finding("answers", verdict, message, self._evidence(worst), fix, count, details)

    def _fails(self, kind: str, count: int) -> bool:
        return kind in _ALWAYS_FAIL or (kind in _FAIL_WHERE_MANY and count > MANY * self._rows)

    def _evidence(self, kinds: list[str]) -> tuple[CheckEvidence, ...]:
        """Return some lines of each kind, so that none hides the others."""
        each = max(1, MAX_EVIDENCE // len(kinds))
        chosen: list[CheckEvidence] = []
        for kind in kinds:
            if kind == "overlong":
                chosen += [
                    CheckEvidence((line,), f"overlong: the answer has {length:,} characters")
                    for line, length in sorted(self._overlong())[:each]
                ]
            else:
                found = self.hits.evidence(*self._kinds_of(kind), most=each)
                chosen += [CheckEvidence(one.lines, f"{kind}: {one.text}") for one in found]
        return tuple(chosen[:MAX_EVIDENCE])

    def _overlong(self) -> list[tuple[int, int]]:
        if self._rows < MIN_ROWS:
            return []
        median, passed = 0, 0
        for length in sorted(self._lengths):
            median, passed = length, passed + self._lengths[length]
            if passed * 2 > self._rows:
                break
        limit = max(OVERLONG_CHARACTERS, OVERLONG_FACTOR * median)
        return [
            (line, length)
            for lines, lengths in self._long
            for line, length in zip(lines, lengths, strict=True)
            if length > limit
        ]


def _is_blank(text: str) -> bool:
    return not text or (len(text) <= 100 and not text.strip(INVISIBLE)) or text.isspace()


def _is_comparable(asked: str, answered: str) -> bool:
    """Return whether it would be noticed if the question asked for the other language."""
    return asked == "en" or asked == answered or (asked in _REQUESTS_IN and answered in _REQUESTS_IN)


def _is_foreign(text: str, example: CheckedDatasetExample) -> bool:
    return not row_looks_like_code(text) and not _NAMES_A_LANGUAGE.search(example.context.lower())
