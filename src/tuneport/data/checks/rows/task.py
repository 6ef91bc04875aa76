"""Guesses the task of the data, judged by its answers, and by its questions if the answers are not enough."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from tuneport.data.checks.rows.shapes import parse_row_answer_json, row_looks_like_code, strip_row_code_fence
from tuneport.data.checks.rows.words.domain_words import DOMAINS, STYLE_CUES
from tuneport.data.rows.text import normalise_record_text

TASKS = ("classification", "extraction", "style", "domain", "code")

MAX_CLASSES = 1000
READ_ALL = 1000  # first rows, which are looked at closely;
READ_EVERY = 8  # of those after them, one in so many, which tells shares as well and costs little
MIN_ROWS = 4  # below it nothing is called a classification
MAX_UNLIKE = 0.1  # of the rows may be no class, or the class of one row only: defects must not hide what the data is
STRUCTURED = 0.8  # share of the answers
CODE = 0.5
DOMAIN = 0.5
DOMAIN_LEAD = 0.6  # share of one domain among all rows with words of any: else it is general knowledge
STYLE = 0.3
_LABEL_LENGTH = 60  # characters; a class name, not a sentence
_READ = 600  # characters of a text that are looked at for words of a domain
_TERMS: dict[str, tuple[str, ...]] = {}
for _domain, _words in DOMAINS.items():
    for _word in set(_words.split()):
        _TERMS[_word] = (*_TERMS.get(_word, ()), _domain)
_TERM_WORDS = frozenset(_TERMS)
_MIN_TERMS = 2  # different words of a domain in a row: one alone is chance
_CALL = re.compile(r"[\w.-]+\(\{.*\}\)", re.DOTALL)
_PAIR_LINE = re.compile(r"[^\n:]{1,40}: ?\S[^\n]*")


class DatasetTaskGuess:
    """Counts answers as they come. `name` is the guess so far, `reason` says why, `classes` the rows of each class.

    Memory: at most `MAX_CLASSES` labels, whatever the rows. `state` and `merge` put several processes' counts together.
    """

    def __init__(self) -> None:
        self.rows = self._read = self._long = 0
        self._labels: Counter[str] = Counter()
        self._names: dict[str, str] = {}
        self._signs: Counter[str] = Counter()  # of the rows looked at closely: json, calls, pairs, code, style
        self._domains: Counter[str] = Counter()
        self._terms: Counter[str] = Counter()

    def add(self, output: str, question: str = "", line: int | None = None) -> None:
        """Add a row. `question` may have the system prompt in it: a persona suggests a task of style. Its `line`
        decides whether a row is sampled; without one, the number of rows so far."""
        self.rows += 1
        if len(output) > _LABEL_LENGTH or "\n" in output:
            self._long += 1
        else:
            label = normalise_record_text(output)
            self._name(label, output.strip())
            self._count(label, 1)
        if is_sampled_row(self.rows if line is None else line):
            self._look_at(output, question)

    def _look_at(self, output: str, question: str) -> None:
        self._read += 1
        kind = _structure(output)
        if kind:
            self._signs[kind] += 1
        elif row_looks_like_code(output):
            self._signs["code"] += 1
        asked = set(question[:_READ].lower().replace(".", " ").replace(",", " ").split())
        if not STYLE_CUES.isdisjoint(asked):
            self._signs["style"] += 1
        found = _TERM_WORDS & asked.union(output[:_READ].lower().replace(".", " ").replace(",", " ").split())
        if len(found) >= _MIN_TERMS:
            self._domain_of(found)

    def _domain_of(self, found: set[str] | frozenset[str]) -> None:
        counts = Counter(domain for term in found for domain in _TERMS[term])
        domain, most = max(counts.items(), key=lambda item: (item[1], item[0]))
        if most >= _MIN_TERMS:
            self._domains[domain] += 1
            self._terms.update(term for term in found if domain in _TERMS[term])

    def _name(self, label: str, written: str) -> None:
        """Keep the spelling of a class that sorts last: lower case first, whichever process saw it."""
        self._names[label] = max(self._names.get(label, written), written)

    def _count(self, label: str, rows: int) -> None:
        if label in self._labels or len(self._labels) < MAX_CLASSES:
            self._labels[label] += rows
        else:
            self._long += rows
            self._names.pop(label, None)

    def state(self) -> Any:
        counts = self.rows, self._read, self._long
        return counts, dict(self._labels), self._names, dict(self._signs), dict(self._domains), dict(self._terms)

    def merge(self, state: Any) -> None:
        (rows, read, long), labels, names, signs, domains, terms = state
        self.rows += rows
        self._read += read
        self._long += long
        for label, count in labels.items():
            self._name(label, names[label])
            self._count(label, count)
        self._signs.update(signs)
        self._domains.update(domains)
        self._terms.update(terms)

    @property
    def classes(self) -> dict[str, int]:
        ordered = sorted(self._labels.items(), key=lambda item: (-item[1], item[0]))
        return {self._names[label]: count for label, count in ordered}

    @property
    def name(self) -> str:
        return self._guess()[0]

    @property
    def reason(self) -> str:
        """Return the reason, as a clause that can follow "guessed, because"."""
        return self._guess()[1]

    def _guess(self) -> tuple[str, str]:
        rows = self._read or 1
        share = {sign: count / rows for sign, count in self._signs.items()}
        if self._is_classification():
            return "classification", f"the answers are short and there are only {len(self._labels):,} different ones"
        for sign, words in (("json", "JSON"), ("calls", "calls of tools"), ("pairs", "lines of `name: value`")):
            if share.get(sign, 0) >= STRUCTURED:
                return "extraction", f"{share[sign]:.0%} of the answers are {words}"
        if share.get("code", 0) >= CODE:
            return "code", f"{share['code']:.0%} of the answers have code in them"
        if share.get("style", 0) < STYLE and self._domains:
            domain, count = max(self._domains.items(), key=lambda item: (item[1], item[0]))
            if count >= DOMAIN * rows and count >= DOMAIN_LEAD * self._domains.total():
                return "domain", f"{count / rows:.0%} of the records speak of {domain} ({self._examples(domain)})"
        if share.get("style", 0) >= STYLE:
            return "style", f"{share['style']:.0%} of the prompts name a tone, a style or a persona"
        return "style", "nothing points to another task: no classes, no structure, little code, no one domain"

    def _is_classification(self) -> bool:
        most = max(2, self.rows // 4)
        unlike = self._long
        if self.rows < MIN_ROWS or unlike > MAX_UNLIKE * self.rows:
            return False
        repeated = [count for count in self._labels.values() if count > 1]
        unlike += len(self._labels) - len(repeated)
        # A label of one row is a misspelling, or a class too rare: both are for other checks to tell.
        return len(self._labels) <= most and (unlike <= max(2, MAX_UNLIKE * self.rows) or len(self._labels) <= 2)

    def _examples(self, domain: str) -> str:
        terms = [term for term in self._terms if domain in _TERMS[term]]
        return ", ".join(sorted(terms, key=lambda term: (-self._terms[term], term))[:3])


def is_sampled_row(line: int) -> bool:
    """Return whether a row is among the sampled ones: the same ones in any number of processes."""
    return line <= READ_ALL or line % READ_EVERY == 0


def _structure(output: str) -> str | None:
    start = output.lstrip()[:1]
    if start in ("{", "[", "`"):
        inside = strip_row_code_fence(output)
        return "json" if parse_row_answer_json(output if inside is None else inside) is not None else None
    if output.endswith("})") and _CALL.fullmatch(output.rpartition("\n")[2]):
        return "calls"
    if ":" in output and "\n" in output.strip():
        lines = [line for line in output.splitlines() if line.strip()]
        if len(lines) <= 40 and all(map(_PAIR_LINE.fullmatch, lines)):
            return "pairs"
    return None
