"""The decision tree: prompts, then retrieval, then tuning, a smaller model, the prompt again. Pure."""

from __future__ import annotations

from tuneport.advisor.situation import BUSY_REQUESTS, SAVINGS, Approach, Need, Situation, Tried
from tuneport.formatting import money


def choose_approach(s: Situation) -> tuple[Approach, str]:
    main = s.needs[0]
    if s.classifier is not None and s.classifier_does_it and main in (Need.TASK, *SAVINGS):
        low, expected, high = s.classifier
        return Approach.CLASSIFIER, (
            f"a small classifier has {expected:.0%} ({low:.0%} to {high:.0%}) of these answers right: it costs nothing "
            "and answers in a millisecond"
        )
    solved = Approach.PROMPT if s.prompt is Tried.WORKS else Approach.FEW_SHOT if s.few_shot is Tried.WORKS else None
    if main in SAVINGS:
        return _to_save(s, main, solved)
    if solved is not None:
        wanted = [need for need in s.needs if need in SAVINGS]
        if wanted:
            return _to_save(s, wanted[0], solved)
        return (
            solved,
            "it works: stop here" if solved is Approach.PROMPT else "a few examples in the prompt do it: stop here",
        )
    if main is Need.KNOWLEDGE:
        if s.prompt is Tried.NO and s.sources is False and not s.facts_change:
            return (
                Approach.PROMPT,
                "no documents to search: put the few facts into the prompt, and see how far that goes",
            )
        return Approach.RAG, (
            "facts are looked up, not trained in: tuning teaches how to answer, and a tuned model states facts that it "
            "half remembers" + ("; these change faster than any model is trained" if s.facts_change else "")
        )
    if main is Need.LANGUAGE or (main is Need.DOMAIN and s.has_text and not s.enough):
        return _new_ground(s, main)
    if s.prompt is Tried.NO:
        return Approach.PROMPT, "no prompt has been tried on the base model: it costs an hour, and often is enough"
    if s.few_shot is Tried.NO and not (s.plenty and (s.requests or 0) >= BUSY_REQUESTS):
        if main in (Need.FORMAT, Need.STYLE, Need.TASK) or not s.enough:
            return Approach.FEW_SHOT, "a prompt alone does not do it, and examples in the prompt have not been tried"
    if Need.KNOWLEDGE in s.needs and s.facts_change:
        return Approach.RAG, "the facts in the answers change: look them up first, then see what style still lacks"
    if not s.enough:
        return Approach.FEW_SHOT, s.too_few
    if (s.inconsistent or 0) > MOST_INCONSISTENT:
        return Approach.FEW_SHOT, (
            f"{s.inconsistent:.0%} of the data contradicts itself or its own format: a model learns that, too. Mend "
            "the data first"
        )
    return Approach.FINE_TUNE, f"{_tried(s)}, and {TUNED[main]} is what tuning changes best"


def companion_of(s: Situation, approach: Approach) -> Approach | None:
    """Return what belongs beside the approach, if anything does: facts are looked up while a tuned model says how to
    answer."""
    if approach.trains and approach is not Approach.CONTINUED_PRETRAINING and Need.KNOWLEDGE in s.needs:
        return Approach.RAG
    lacking = set(s.needs) & {Need.FORMAT, Need.STYLE, Need.BEHAVIOUR}
    if approach is Approach.RAG and lacking and s.enough and s.prompt is not Tried.NO:
        return Approach.FINE_TUNE
    return None


def _tried(s: Situation) -> str:
    if s.few_shot is not Tried.NO:
        return "a prompt and examples in it were tried and do not do it"
    paid = f", and their tokens would be paid with each of {s.requests:,} requests a month" if s.requests else ""
    return f"a prompt was tried and does not do it; examples in it were not tried{paid}"


TUNED = {
    Need.TASK: "how a narrow task is done",
    Need.FORMAT: "the form of the answers",
    Need.STYLE: "style",
    Need.BEHAVIOUR: "behaviour",
    Need.DOMAIN: "the manner of a field",
}
MOST_INCONSISTENT = 0.2
"""Share of contradicting rows above which tuning teaches the contradiction: a judgement."""
FEW_REQUESTS = 10_000
"""Requests a month below which a cheaper model saves less than making it costs: a judgement; the break-even of
`tuneport compare` says it exactly."""


def _to_save(s: Situation, need: Need, solved: Approach | None) -> tuple[Approach, str]:
    if solved is None and s.prompt is Tried.NO:
        return (
            Approach.PROMPT,
            "first find a prompt that works, on whatever model: there is nothing to make cheaper yet",
        )
    if solved is None and Tried.PARTLY not in (s.prompt, s.few_shot):
        return Approach.FEW_SHOT, "nothing works yet, so there is nothing to make cheaper or faster: examples come next"
    if need is Need.COST and s.saving is not None and s.saving <= 0:
        return (
            solved or Approach.FEW_SHOT,
            f"the smaller model would cost {money(-s.saving, short=True)} more in its first year than what works now, "
            "its training included",
        )
    # A price tells more than a number of requests.
    if need is Need.COST and s.saving is None and s.requests is not None and s.requests < FEW_REQUESTS:
        return (
            solved or Approach.FEW_SHOT,
            f"{s.requests:,} requests a month save less than a tuned model costs to make and keep",
        )
    if not s.enough:
        return solved or Approach.FEW_SHOT, (
            f"{s.too_few}; collect the large model's good answers until there are enough for a small one"
        )
    return (
        Approach.SMALLER_MODEL,
        f"the task is solved: a smaller model, tuned on those answers, does it at less {need}"
        + ("" if s.saving is None else f", and saves {money(s.saving, short=True)} in its first year"),
    )


def _new_ground(s: Situation, main: Need) -> tuple[Approach, str]:
    if s.has_text:
        return Approach.CONTINUED_PRETRAINING, (
            f"{s.text_tokens or 0:,} tokens of text: the base model has to learn the {main} before any task in it"
        )
    if s.prompt is Tried.NO:
        return Approach.PROMPT, "see first how much of it the base model knows: newer ones know most languages"
    if s.enough:
        return Approach.FINE_TUNE, "too little text to pre-train on, but enough examples to tune with"
    return Approach.FEW_SHOT, "neither the text to pre-train on nor the examples to tune with: collect them first"
