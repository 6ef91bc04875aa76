"""The questions, their order, and the meaning of each answer: few questions, each only if its answer can matter.
Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuneport.advisor.situation import SAVINGS, Need, Tried
from tuneport.errors import ConfigError


@dataclass(frozen=True)
class AdvisorQuestion:
    """`choices` are (value, in words); without any the answer is a count. `skipped` is what no answer means."""

    field: str
    text: str
    choices: tuple[tuple[Any, str], ...] = ()
    several: bool = False
    skipped: Any = None

    def parse_answer(self, answer: str) -> Any:
        """Return the value of an answer: the numbers of choices, or a count such as 20k. Raises ConfigError if it is
        neither."""
        answer = answer.strip()
        if not answer:
            return self.skipped
        if not self.choices:
            return parse_advisor_count(answer)
        numbers = re.split(r"[\s,;]+", answer)
        if len(numbers) > 1 and not self.several:
            raise ConfigError(f"one number from 1 to {len(self.choices)}, or nothing to skip")
        found = []
        for number in numbers:
            if not number.isdecimal() or not 1 <= int(number) <= len(self.choices):
                raise ConfigError(f"{number!r} is not a number from 1 to {len(self.choices)}; press Enter to skip this")
            found.append(self.choices[int(number) - 1][0])
        return list(dict.fromkeys(found)) if self.several else found[0]


def parse_advisor_count(text: str) -> int:
    """Parse a whole number such as 20000, 20,000, 20k or 1.5M. Raises ConfigError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?|\d{1,3}(?:,\d{3})+) ?([kKmMbB]?)", text.strip())
    if match is None or len(match[1]) > 15:
        raise ConfigError(f"{text.strip()!r} is not a count; write for example 200, 20k or 1.5M")
    return round(float(match[1].replace(",", "")) * {"": 1, "k": 1e3, "m": 1e6, "b": 1e9}[match[2].lower()])


NEEDS = (
    (Need.TASK, "a well-defined task: classify, extract, summarise, answer"),
    (Need.FORMAT, "a fixed output format or structure"),
    (Need.STYLE, "tone, voice, persona or length"),
    (Need.BEHAVIOUR, "how it decides, refuses, follows a policy or uses tools"),
    (Need.DOMAIN, "the language and judgement of a field, not its facts"),
    (Need.KNOWLEDGE, "facts that it does not know: private, fresh or changing ones"),
    (Need.LANGUAGE, "a language or notation that it hardly knows"),
    (Need.COST, "as good as now, but cheaper"),
    (Need.LATENCY, "as good as now, but faster"),
)
_TRIED = (
    (Tried.NO, "not yet"),
    (Tried.FAILS, "yes: clearly not good enough"),
    (Tried.PARTLY, "yes: helps, but not enough or not always"),
    (Tried.WORKS, "yes: it works"),
)
_YES_NO = ((True, "yes"), (False, "no"))


def next_advisor_question(known: Mapping[str, Any]) -> AdvisorQuestion | None:
    """Return the next question, given the fields of a `Situation` that are known or were skipped. Returns None if
    enough is known."""
    return next((question for question in _questions(known) if question.field not in known), None)


def _questions(known: Mapping[str, Any]) -> Sequence[AdvisorQuestion]:
    needs = known.get("needs") or ()
    saves = bool({*needs} & {*SAVINGS})
    works = Tried.WORKS in (known.get("prompt"), known.get("few_shot"))
    asked = [
        AdvisorQuestion(
            "needs",
            "What has to change about the model's answers? Most important first.",
            NEEDS,
            several=True,
            skipped=[Need.TASK],
        ),
        AdvisorQuestion("prompt", "Was a good prompt tried on a base model?", _TRIED, skipped=Tried.NO),
    ]
    if known.get("prompt") is not Tried.WORKS:
        asked.append(
            AdvisorQuestion("few_shot", "Was a prompt with a few examples in it tried?", _TRIED, skipped=Tried.NO),
        )
    if Need.KNOWLEDGE in needs:
        asked += [
            AdvisorQuestion("facts_change", "Do those facts change weekly or faster?", _YES_NO, skipped=False),
            AdvisorQuestion("sources", "Are there documents with those facts that could be searched?", _YES_NO),
        ]
    if {*needs} & {Need.LANGUAGE, Need.DOMAIN}:
        asked.append(AdvisorQuestion("text_tokens", "About how many tokens of plain text in it do you have?"))
    if works and not saves:
        return asked  # stop here: nothing that follows would change that
    return [
        *asked,
        AdvisorQuestion("examples", "How many good examples do you have?"),
        AdvisorQuestion("requests", "About how many requests a month?"),
        AdvisorQuestion("has_evaluation", "Is there a set of examples held out to measure on?", _YES_NO),
    ]
