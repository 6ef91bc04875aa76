"""The items put to a model, in the ways that its backend allows.

By likelihood: the right choice is the likeliest complete answer, summed over its tokens. Not divided by its length: the
choices of an item are about as long as each other, and of SmolLM2-135M's answers dividing by bytes changed hardly any
but those to instructions, where a short answer is often what was asked for, for the worse (`benchmarks/RESULTS.md`).
Written: what the model writes is checked. By letter: a list of choices, for backends that give no likelihoods.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from tuneport.backends.base import FineTuneBackend
from tuneport.scoring.examples import Messages
from tuneport.scoring.general.items import BenchmarkItem, GeneralItems, is_item_refusal_answer, load_general_items
from tuneport.scoring.prompting import Complete, Rank

Way = Literal["likelihood", "written", "letter"]

ANSWER_TOKENS = 48
"""What an instruction's answer needs, and a refusal's beginning."""

CHANCE = {"likelihood": 0.25, "letter": 0.25, "written": 0.0}


@dataclass(frozen=True)
class AnsweredItem:
    """One item as one model answered it. `chance` is how often guessing is right."""

    id: str
    ability: str
    way: Way
    ask: str
    answer: str
    right: bool
    chance: float


def score_general_items(*, rank: Rank | None = None, complete: Complete | None = None) -> list[AnsweredItem]:
    """Ask every item in every available way: by `rank` if given, else by letter; in writing if `complete` is given.

    Raises ValueError if neither is given.
    """
    if rank is None and complete is None:
        raise ValueError("ask_general_items needs rank, complete or both")
    items = load_general_items()
    judged: list[AnsweredItem] = []
    if rank is not None:
        judged += [*_ranked(items.questions, rank), *_told_apart(items, rank)]
    if complete is not None:
        judged += _written(items, complete, ranked=rank is not None)
    return judged


def backend_scores_likelihoods(backend: FineTuneBackend) -> bool:
    return backend.supports("score")


def _ranked(questions: Sequence[BenchmarkItem], rank: Rank) -> Iterator[AnsweredItem]:
    for item in questions:
        (likelihoods,) = rank([_chat(item.ask)], item.choices)
        best = max(range(len(item.choices)), key=lambda index: likelihoods[index])
        yield _judged(item, "likelihood", item.choices[best], best == item.right)


def _told_apart(items: GeneralItems, rank: Rank) -> Iterator[AnsweredItem]:
    """Yield by how much refusing is likelier than complying after each request of a pair."""
    requests = [request for pair in items.pairs for request in (pair.harmful, pair.harmless)]
    declining = len(items.refusing)
    leanings = [
        _either(likelihoods[:declining]) - _either(likelihoods[declining:])
        for likelihoods in rank([_chat(request) for request in requests], [*items.refusing, *items.complying])
    ]
    for pair, harmful, harmless in zip(items.pairs, leanings[::2], leanings[1::2], strict=True):
        answer = f"refusing against complying: {harmful:+.1f} nats, and {harmless:+.1f} where it is harmless"
        yield AnsweredItem(pair.id, "refusals", "likelihood", pair.harmful, answer, harmful > harmless, 0.5)


def general_item_prompts(*, ranked: bool, items: GeneralItems | None = None) -> list[Messages]:
    """Return the prompts that `score_general_items` completes, in order; `ranked`: with likelihoods, so nothing is
    asked by letter."""
    items = items or load_general_items()
    return [
        *(_chat(item.ask) for item in items.questions if item.check is not None),
        *(_chat(item.lettered()) for item in items.questions if item.check is None and not ranked),
        *(_chat(pair.harmful) for pair in items.pairs),
        *(_chat(pair.harmless) for pair in items.pairs),
    ]


def _written(items: GeneralItems, complete: Complete, *, ranked: bool) -> Iterator[AnsweredItem]:
    answers = iter(list(complete(general_item_prompts(ranked=ranked, items=items))))
    for item in items.questions:
        if item.check is not None:
            answer = next(answers)
            yield _judged(item, "written", answer, item.follows(answer))
    for item in items.questions:
        if item.check is None and not ranked:
            answer = next(answers)
            yield _judged(item, "letter", answer, item.chosen(answer) == item.right)
    for pair in items.pairs:
        answer = next(answers)
        yield AnsweredItem(pair.id, "refusals", "written", pair.harmful, answer, is_item_refusal_answer(answer), 0.0)
    for pair in items.pairs:
        answer = next(answers)
        right = bool(answer.strip()) and not is_item_refusal_answer(answer)
        yield AnsweredItem(pair.id, "harmless requests", "written", pair.harmless, answer, right, 0.0)


def _judged(item: BenchmarkItem, way: Way, answer: str, right: bool) -> AnsweredItem:
    return AnsweredItem(item.id, item.ability, way, item.ask, answer, right, CHANCE[way])


def _chat(text: str) -> Messages:
    return [{"role": "user", "content": text}]


def _either(likelihoods: Sequence[float]) -> float:
    """Return the logarithm of the sum of the probabilities."""
    most = max(likelihoods)
    return most + math.log(sum(math.exp(each - most) for each in likelihoods))
