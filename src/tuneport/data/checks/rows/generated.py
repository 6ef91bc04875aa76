"""The share of the data that a model wrote: by its marks, and by its style as a whole.

The signs are counted over the dataset and accuse no record: people write so, too, only not all the time. Their
thresholds are judgements, set high: no published measurement stands behind them.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from tuneport.data.checks.finding import CheckedDatasetExample, Finding, Verdict
from tuneport.data.checks.near.hits import FlaggedRecords
from tuneport.data.checks.rows.task import is_sampled_row
from tuneport.formatting import counted

MOSTLY = 0.5  # share marked as generated, from which a model's habits are most of what is learned: the reference card
# calls "generated data only" a pitfall
VALIDATED = 0.05  # share seen by people that is enough to measure the rest by
MIN_PROSE = 30  # answers of a hundred characters or more, for signs to mean something
PROSE = 100  # characters
MIN_SIGNS = 2
MAX_ORIGINS = 100  # different values of the columns that are kept

_FLAGS = frozenset(
    "synthetic is_synthetic generated is_generated ai_generated machine_generated model_generated".split()
)
_GENERATORS = frozenset(
    """generated_by generator generator_model generation_model model model_name teacher teacher_model llm engine
    synthesized_by""".split()
)
_ORIGINS = frozenset("source origin provenance author created_by written_by annotator dataset data_source".split())
_SEEN = frozenset(
    """human_verified human_validated validated verified reviewed approved validated_by verified_by reviewed_by
    approved_by reviewer annotator annotator_id checked_by human_reviewed""".split()
)
_TAGS = frozenset("tags tag labels keywords flags".split())
_NESTED = ("metadata", "meta", "extra", "info")
_MODEL = re.compile(
    r"\b(?:(?:gpt|chatgpt|claude|mistral|mixtral|gemini|gemma|qwen|deepseek|grok|davinci|llama)(?:\b|[-_ ]?\d)"
    r"|(?:palm|phi|o)-?\d|command-r|llms?\b|synthetic|self.?instruct|evol.?instruct|distil"
    r"|(?:ai|machine|model|auto)[-_ ]?(?:generated|written)"
    r"|generated)|^(?:ai|machine|model|bot)$",
    re.IGNORECASE,
)
_TAGGED = re.compile(
    r"synthetic(?:[-_ ]data)?|(?:(?:ai|machine|model|llm|auto|gpt)[-_ ]?)?(?:generated|written)|self[-_ ]?instruct"
    r"|distilled",
    re.IGNORECASE,
)
_PERSON = re.compile(
    r"\b(?:human|manual|person|people|expert|crowd|employee|staff|handwritten|customer)\w*", re.IGNORECASE
)
_NO = ("", "false", "no", "0", "none", "null", "n/a")

PHRASES = (
    "as an AI", "I hope this helps", "delve", "tapestry", "testament to", "important to note that", "in today's fast",
    "in the realm of", "navigate the complex", "play a crucial role", "plays a crucial role", "a wide range of",
    "Great question", "foster a sense", "ever-evolving", "I'd be happy to", "I would be happy to",
)  # fmt: skip
OPENINGS = (
    "Certainly",
    "Sure",
    "Of course",
    "Absolutely",
    "Great question",
    "Here's",
    "Here are",
    "Here is",
    "I'd be happy",
)
CLOSINGS = ("let me know", "hope this helps", "feel free", "don't hesitate", "happy to help", "Good luck")

SIGNS = {
    "phrases": (0.10, "have a phrase that is typical of models"),
    "openings": (0.15, "open as assistants do"),
    "closings": (0.10, "end with an offer or good wishes"),
    "headings": (0.30, "are lists with bold lead-ins"),
    "dashes": (0.30, "have em dashes"),
    "same start": (0.20, "begin with the same three words"),
}
"""The share of the prose answers that makes a sign count, and the sign in words."""


class GeneratedTextCheck:
    """`hits` has the lines that are marked as generated. Signs are counted in the rows that `DatasetTaskGuess` reads,
    too."""

    def __init__(self) -> None:
        self.hits = FlaggedRecords()
        self._rows = self._prose = self._seen = 0
        self._signs: Counter[str] = Counter()
        self._starts: Counter[str] = Counter()
        self._origins: Counter[str] = Counter()

    def add(self, example: CheckedDatasetExample) -> None:
        self._rows += 1
        if example.record.metadata:
            self._marks(example)
        answer = example.answer
        if len(answer) >= PROSE and is_sampled_row(example.line):
            self._look_at(answer)

    def _marks(self, example: CheckedDatasetExample) -> None:
        columns = example.record.metadata
        for name in _NESTED:
            inner = columns.get(name)
            if isinstance(inner, dict):
                columns = {**inner, **columns}
        seen, mark = False, ""
        for name, value in columns.items():
            key = name.lower() if isinstance(name, str) else ""
            if key in _TAGS and isinstance(value, list):
                said = next((each for each in value if isinstance(each, str) and _TAGGED.fullmatch(each.strip())), None)
                mark = mark or (f"{name}: {said}" if said else "")
                continue
            known = key in _FLAGS or key in _GENERATORS or key in _ORIGINS or key in _SEEN
            if not known or not isinstance(value, str | bool | int):
                continue
            text = str(value).strip()
            no = text.lower() in _NO
            if key in _SEEN and not no and not _MODEL.search(text):
                seen = True
            if _PERSON.search(text):
                seen = seen or key not in _FLAGS
            elif not no and (key in _FLAGS or key in _GENERATORS or (key in _ORIGINS and _MODEL.search(text))):
                mark = mark or f"{name}: {text[:60]}"
        if mark:
            self.hits.add("marked", example.line, mark)
            if mark in self._origins or len(self._origins) < MAX_ORIGINS:
                self._origins[mark] += 1
        self._seen += seen

    def _look_at(self, answer: str) -> None:
        self._prose += 1
        signs = self._signs
        for phrase in PHRASES:
            if phrase in answer:
                signs["phrases"] += 1
                break
        if answer.startswith(OPENINGS):
            signs["openings"] += 1
        end = answer[-120:]
        if any(phrase in end for phrase in CLOSINGS):
            signs["closings"] += 1
        if answer.count("**") >= 4 and "\n" in answer:
            signs["headings"] += 1
        if "—" in answer:
            signs["dashes"] += 1
        start = " ".join(answer[:60].split()[:3])
        if start in self._starts or len(self._starts) < 1000:
            self._starts[start] += 1

    def state(self) -> Any:
        counts = self._rows, self._prose, self._seen
        return self.hits, counts, dict(self._signs), dict(self._starts), dict(self._origins)

    def merge(self, state: Any) -> None:
        hits, (rows, prose, seen), signs, starts, origins = state
        self.hits.merge(hits)
        self._rows, self._prose, self._seen = self._rows + rows, self._prose + prose, self._seen + seen
        self._signs.update(signs)
        self._starts.update(starts)
        self._origins.update(origins)

    def lines(self) -> dict[str, list[int]]:
        return self.hits.lines_by_kind()

    def sign_shares(self) -> dict[str, float]:
        """Return the share of the prose answers with each sign; empty if there is too little prose."""
        if self._prose < MIN_PROSE:
            return {}
        most = max(self._starts.values(), default=0)
        counts = {**{sign: 0 for sign in SIGNS}, **self._signs, "same start": most}
        return {sign: counts[sign] / self._prose for sign in SIGNS}

    def finding(self) -> Finding:
        marked, rows = self.hits.count(), max(1, self._rows)
        signs = self.sign_shares()
        shown = {sign: share for sign, share in signs.items() if share >= SIGNS[sign][0]}
        details = {
            "marked": marked,
            "marked_share": round(marked / rows, 3),
            "seen_by_people": self._seen,
            "origins": dict(sorted(self._origins.items(), key=lambda each: (-each[1], each[0]))[:10]),
            "signs": {sign: round(share, 3) for sign, share in signs.items()},
            "score": round(len(shown) / len(SIGNS), 2),
        }
        alone = marked >= MOSTLY * rows and self._seen < VALIDATED * rows
        looks = not marked and len(shown) >= MIN_SIGNS and self._seen < VALIDATED * rows
        how_many = f"{counted(marked, 'record')} ({marked / rows:.0%})" if marked else "none is"
        marks = f"{how_many} marked as generated"
        reads = "; ".join(f"{share:.0%} {SIGNS[sign][1]}" for sign, share in shown.items())
        fix = "add records that people wrote or checked, and judge the model on those only"
        if alone:
            message = f"{marks}, {counted(self._seen, 'record') if self._seen else 'none'} as checked by people"
            return Finding("generated", Verdict.WARN, message, self.hits.evidence(), fix, marked, details)
        if looks:
            message = f"{marks}, but the answers read as a model's: {reads}"
            return Finding("generated", Verdict.WARN, message, (), fix, marked, details)
        message = f"{marks}, {counted(self._seen, 'record')} as checked by people" if self._seen else marks
        return Finding("generated", Verdict.PASS, message, self.hits.evidence(), count=marked, details=details)
