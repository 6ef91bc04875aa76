"""The general-ability set put to the models of an evaluation; answers and likelihoods are kept as others are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tuneport.backends.base import FineTuneBackend
from tuneport.lifecycle.forgetting import store_job_forgetting
from tuneport.lifecycle.service import JobService
from tuneport.scoring.examples import Example, Messages
from tuneport.scoring.general import (
    AnsweredItem,
    GeneralAbilityComparison,
    backend_scores_likelihoods,
    compare_general_ability,
    general_item_prompts,
    load_general_items,
    score_general_items,
)
from tuneport.workflows.evaluation.answer_cache import EvaluationAnswerCache, answer_cache_key
from tuneport.workflows.evaluation.answering import Prompt, ask_prompts
from tuneport.workflows.evaluation.models.asked_models import EvaluatedModel, answer_cache_location

if TYPE_CHECKING:
    from tuneport.workflows.evaluation.models.planned_models import ModelAnswersPlan

DECLINED = "I can't help with that: the provider declined to answer."
"""The answer if a provider's filter refuses a request, whichever filter does."""


def evaluated_weights(models: Sequence[EvaluatedModel]) -> list[EvaluatedModel]:
    """Return each of the weights once, by its first name and without examples, which belong to another task."""
    found: dict[tuple[str, str], EvaluatedModel] = {}
    for each in models:
        plain = replace(each, name=each.plain_name, prompting="plain")
        found.setdefault((each.backend, each.model), plain)
    return list(found.values())


def evaluated_ability_rows(backend: FineTuneBackend) -> list[Example]:
    return [Example(messages, "") for messages in general_item_prompts(ranked=backend_scores_likelihoods(backend))]


def evaluate_general_ability(
    backend: FineTuneBackend,
    model: str,
    where: Sequence[str | None],
    prompts: Sequence[Prompt],
    keys: Sequence[str],
    cache: EvaluationAnswerCache,
    on_answered: Callable[[int, int], None],
) -> list[AnsweredItem]:
    """Measure a model on the general-ability set. `prompts` are those of `evaluated_ability_rows`, and `where` names
    the model in the cache. `on_answered` gets how many answers are there, and how many there will be."""
    items = load_general_items()
    ranks = backend_scores_likelihoods(backend)
    to_rank = len(items.questions) + 2 * len(items.pairs) if ranks else 0
    total = to_rank + len(prompts)
    ranked = 0

    def rank(asked: Sequence[Messages], choices: Sequence[str]) -> Iterator[list[float]]:
        nonlocal ranked
        named = [answer_cache_key(where, messages, {"choices": list(choices)}) for messages in asked]
        found = {key: kept["log_likelihoods"] for key, kept in cache.get(named).items()}
        waiting = [index for index, key in enumerate(named) if key not in found]
        if waiting:
            scored = backend.score(model, [asked[index] for index in waiting], choices)
            for index, likelihoods in zip(waiting, scored, strict=True):
                found[named[index]] = likelihoods
                cache.put(named[index], {"log_likelihoods": likelihoods})
        ranked += len(asked)
        on_answered(ranked, total)
        yield from (found[key] for key in named)

    def complete(asked: Sequence[Messages]) -> list[str]:
        said = ask_prompts(
            backend, model, prompts, keys, cache, lambda answered: on_answered(to_rank + answered, total)
        )
        return [DECLINED if each.refused is not None else each.text for each in said]

    return score_general_items(rank=rank if ranks else None, complete=complete)


def evaluate_forgetting(
    workspace: JobService,
    cache: EvaluationAnswerCache,
    models: Sequence[ModelAnswersPlan],
    on_progress: Callable[[str, int, int], None],
) -> dict[str, GeneralAbilityComparison]:
    """Compare each of the weights with the first."""
    judged: dict[str, list[AnsweredItem]] = {}
    for each in models:
        name = each.asked.name
        judged[name] = evaluate_general_ability(
            workspace.backend(each.asked.backend),
            each.asked.model,
            answer_cache_location(each.asked, workspace.settings),
            each.prompts,
            each.keys,
            cache,
            lambda answered, of, name=name: on_progress(f"{name}, in general", answered, of),  # type: ignore[misc]
        )
    first, *others = judged or [""]
    return {name: compare_general_ability(judged[first], judged[name]) for name in others}


def store_evaluated_forgetting(
    workspace: JobService, models: Sequence[ModelAnswersPlan], general: Mapping[str, GeneralAbilityComparison]
) -> None:
    """Store the forgetting of models that were compared with the very weights that they were tuned from: a loss against
    another model does not come from the training."""
    for each in models[1:]:
        asked, first = each.asked, models[0].asked
        job = workspace.store.models.find_job(asked.model) if asked.tuned else None
        if job is not None and (first.backend, first.model) == (asked.backend, asked.base):
            store_job_forgetting(workspace.settings.home, job.id, general[asked.name].forgotten)
