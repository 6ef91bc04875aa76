"""The model that judges: one of tuneport's models, or any other that litellm can ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tuneport.backends import backend_manifest, backend_names
from tuneport.backends.routing import BackendCatalogue, BackendRoute, backend_has_key, is_backend_installed
from tuneport.errors import ConfigError, ModelNotOfferedError, NoBackendChosenError
from tuneport.lifecycle.service import JobService
from tuneport.manifests import find_manifest_model
from tuneport.scoring.judge import ANSWER_TOKENS
from tuneport.workflows.evaluation.answering import EvaluationChatCompleter
from tuneport.workflows.evaluation.models.asked_models import (
    BASE,
    EvaluatedModel,
    answer_cache_location,
    find_evaluated_models,
)
from tuneport.workflows.evaluation.models.litellm_models import (
    PREFIX,
    EvaluatedLiteLLMModel,
    find_evaluated_litellm_model,
)
from tuneport.workflows.evaluation.models.planned_models import THOUGHT_TOKENS
from tuneport.workflows.evaluation.models.prices import evaluation_price_of_requests


@dataclass(frozen=True)
class EvaluationJudgeModel:
    """The judge: `name` as the user wrote it, `model` as `answers` calls it, `where` as the cache knows it.
    `answer_limit`: tokens of a judgement."""

    name: str
    model: str
    where: tuple[str, str | None, str]
    third_party: str | None
    answer_limit: int
    answers: EvaluatedModel | EvaluatedLiteLLMModel

    def price(
        self, workspace: JobService, *, requests: int, input_tokens: int, output_tokens: int
    ) -> tuple[float | None, str]:
        if isinstance(self.answers, EvaluatedLiteLLMModel):
            return self.answers.price(requests=requests, input_tokens=input_tokens, output_tokens=output_tokens)
        settings = workspace.settings
        return evaluation_price_of_requests(
            self.answers,
            settings,
            requests=requests,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            in_batches=settings.asks_in_batches(self.answers.backend),
        )

    def refuse_without_key(self, workspace: JobService) -> None:
        """Raise ConfigError (or the backend's own error) if it cannot be asked, before anything else is paid."""
        if isinstance(self.answers, EvaluatedLiteLLMModel):
            self.answers.refuse_without_key()
        else:
            manifest = backend_manifest(self.answers.backend, workspace.settings)
            workspace.backend(self.answers.backend)
            if manifest.api_key_env is not None and not backend_has_key(manifest, workspace.settings):
                raise ConfigError(f"{self.name} needs {manifest.api_key_env} in the environment or .env")

    def completes(self, workspace: JobService) -> EvaluationChatCompleter:
        return (
            self.answers if isinstance(self.answers, EvaluatedLiteLLMModel) else workspace.backend(self.answers.backend)
        )

    def is_among_models(self, models: Sequence[EvaluatedModel]) -> bool:
        asked = self.answers
        return isinstance(asked, EvaluatedModel) and (asked.backend, asked.model) in {
            (each.backend, each.model) for each in models
        }


def find_judge_model(
    workspace: JobService, name: str, models: Sequence[str], *, base: str | None = None
) -> EvaluationJudgeModel:
    """Return the judge of that name: a job, a tuned model, `base` (of `models`), an alias or `backend/model`, as an
    evaluation's models are named; or a model that litellm knows, or `litellm/PROVIDER/MODEL`. If a backend does not
    offer a model for tuning, litellm may ask it (`openai/gpt-5`). Raises ConfigError, or ModelNotOfferedError, for an
    unknown name."""
    settings = workspace.settings
    other = find_evaluated_litellm_model(name, settings)
    if name.startswith(PREFIX) and other is None:
        raise ConfigError(f"{name} names no provider; write litellm/PROVIDER/MODEL, as in litellm's documentation")
    found: EvaluatedModel | EvaluatedLiteLLMModel
    if other is not None and _is_litellms(workspace, name):
        found = other
    else:
        try:
            named = dict.fromkeys([*models, name] if name == BASE else [name])
            found = {each.name: each for each in find_evaluated_models(workspace, list(named), base=base)}[name]
        except (ModelNotOfferedError, NoBackendChosenError) as error:
            if other is None or not other.listed or (isinstance(error, NoBackendChosenError) and error.backends):
                raise
            found = other
        if other is not None and other.listed and _takes_any_name(workspace, name, found):
            found = other
    if isinstance(found, EvaluatedLiteLLMModel):
        limit = THOUGHT_TOKENS if found.thinks else ANSWER_TOKENS
        return EvaluationJudgeModel(name, found.name, found.where, found.third_party, limit, found)
    manifest = backend_manifest(found.backend, settings)
    third_party = manifest.title if manifest.third_party else None
    offered = find_manifest_model(manifest, found.base)
    thinks = other is not None and other.thinks if offered is None else offered.thinks
    limit = THOUGHT_TOKENS if thinks else ANSWER_TOKENS
    return EvaluationJudgeModel(name, found.model, answer_cache_location(found, settings), third_party, limit, found)


def _takes_any_name(workspace: JobService, name: str, found: EvaluatedModel | EvaluatedLiteLLMModel) -> bool:
    """Return whether the backend is not named and takes whatever name it is given."""
    if isinstance(found, EvaluatedLiteLLMModel) or found.tuned:
        return False
    catalogue = BackendCatalogue(workspace.settings)
    return catalogue.split_backend_name(name)[0] is None and not catalogue.lists_model(
        name, BackendRoute(found.backend, found.model)
    )


def _is_litellms(workspace: JobService, name: str) -> bool:
    """Return whether a provider stands before the name that is no backend, or one that only answers and is not
    installed, and the project has no model of that name."""
    prefix, _, rest = name.partition("/")
    settings = workspace.settings
    if not rest or settings.aliases(name) is not None:
        return False
    if prefix not in backend_names(settings):
        return True
    manifest = backend_manifest(prefix, settings)
    return manifest.no_training is not None and not is_backend_installed(manifest)
