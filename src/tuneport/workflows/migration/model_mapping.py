"""The mapping of old models to the new backend's: the user's choice, else proposals. tuneport never chooses by
itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from tuneport.errors import ModelNotOfferedError
from tuneport.formatting import duration, money
from tuneport.lifecycle.planning.planning import find_job_backend_readiness, plan_job_machine
from tuneport.manifests import (
    Confidence,
    Manifest,
    ModelCatalogue,
    find_manifest_model,
    load_models,
    resolve_manifest_model_id,
)
from tuneport.router import BackendChoice, DatasetFacts, backend_ranking_key, rank_backends
from tuneport.settings import Settings
from tuneport.types import TuneSpec
from tuneport.workflows.compare import DEFAULT_TRAFFIC

SUGGESTIONS = 3


@dataclass(frozen=True)
class MigrationModelSuggestion:
    """A proposed model: `name` is what to write; `reason` explains its rank."""

    name: str
    choice: BackendChoice
    reason: str

    def as_dict(self) -> dict[str, Any]:
        return {"model": self.name, "reason": self.reason, "training": self.choice.quote.model_dump(mode="json")}


@dataclass(frozen=True)
class ModelChoice:
    """The new model for an old one. `name` is None until the user names one; `suggestions` are the best that there
    are."""

    old: str
    name: str | None
    reason: str
    suggestions: list[MigrationModelSuggestion] = field(default_factory=list)


def migration_model_option(old: str, models: Sequence[str]) -> str | None:
    """Return the new model that `--model NEW` or `--model OLD=NEW` names for `old`, the more specific first."""
    for text in models:
        name, separator, new = text.partition("=")
        if separator and name == old:
            return new
    return next((text for text in models if "=" not in text), None)


def known_migration_target(old: str, source: str, target: Manifest, settings: Settings) -> tuple[str, str] | None:
    """Return a name and the reason (the project's alias, or the same weights), or None if there is neither."""
    weights = load_models()
    names = [old, weights.name_of(source, old)]
    for name in filter(None, names):
        alias = (settings.aliases(name) or {}).get(target.name)
        if alias is not None:
            return alias, f'tuneport.toml: [models."{name}"] {target.name} = "{alias}"'
    found: dict[str, str] = {}
    for alias, table in settings.project.models.items():
        if table.get(source) in names and target.name in table:
            found.setdefault(table[target.name], alias)
    if len(found) == 1:
        ((new, alias),) = found.items()
        return new, f'tuneport.toml: [models.{alias}] says that {source}\'s "{old}" is {target.name}\'s "{new}"'
    if names[1] and _has_weights(names[1], target):
        return names[1], "the same weights"
    return None


def suggest_migration_replacements(
    spec: TuneSpec, old: str, source: str, target: Manifest, settings: Settings, dataset: DatasetFacts, today: date
) -> list[MigrationModelSuggestion]:
    """Return the target's models that can run `spec`, best first: available, long-lived, cheap to train and serve, and
    then large.

    The sizes of proprietary models are not published, so that nothing can be matched by size: if the price is the same,
    more parameters come first, because they more likely reach the old model. On the user's own machine the price is
    always the same, and the size that it trains within a day counts.
    """
    weights = load_models()
    old_size = next((row.params_b for row in weights.weights.values() if row.ids.get(source) == old), None)
    judged = []
    for name in _candidates(target, weights):
        choice = rank_backends(
            spec.model_copy(update={"model": name}),
            [target],
            today=today,
            models=weights,
            dataset=dataset,
            ready=find_job_backend_readiness(settings, [target]),
            machine=plan_job_machine(settings),
            traffic=DEFAULT_TRAFFIC,
        )[0]
        if choice.model is not None and all(refusal.kind == "key" for refusal in choice.refusals):
            judged.append((name, choice, _size(choice, target, weights), _is_verified(choice, target)))

    def place(row: tuple[str, BackendChoice, float | None, bool]) -> tuple[Any, ...]:
        _, choice, size, verified = row
        far = abs(math.log(size / old_size)) if size and old_size else -(size or 0.0)
        return not choice.allowed, not verified, *backend_ranking_key(choice)[1:4], far, choice.model or ""

    return [
        MigrationModelSuggestion(name, choice, _reason(choice, size, verified))
        for name, choice, size, verified in sorted(judged, key=place)[:SUGGESTIONS]
    ]


def _candidates(target: Manifest, weights: ModelCatalogue) -> list[str]:
    """Return the names to try: models that the backend lists, else the known open weights."""
    if target.models:
        return [weights.name_of(target.name, model.id) or model.id for model in target.models]
    return [name for name, row in weights.weights.items() if row.hub and row.params_b]


def _has_weights(name: str, target: Manifest) -> bool:
    try:
        # No aliases: they may lead to other weights, and the caller says that these are the same.
        resolve_manifest_model_id(name, target)
    except ModelNotOfferedError:
        return False
    return True


def _size(choice: BackendChoice, target: Manifest, weights: ModelCatalogue) -> float | None:
    row = find_manifest_model(target, choice.model or "")
    if row is not None and row.params_b is not None:
        return row.params_b
    known = weights.weights.get(weights.name_of(target.name, choice.model or "") or "")
    return None if known is None else known.params_b


def _is_verified(choice: BackendChoice, target: Manifest) -> bool:
    row = find_manifest_model(target, choice.model or "")
    source = None if row is None else target.sources.get(row.source)
    return source is None or source.confidence is not Confidence.UNVERIFIED


def _reason(choice: BackendChoice, size: float | None, verified: bool) -> str:
    parts = [f"{size:.3g} B parameters" if size else "of unknown size"]
    if choice.quote.expected is not None:
        parts.append("free to train" if choice.quote.expected == 0 else f"{money(choice.quote.expected)} to train")
    monthly = choice.inference
    if monthly is not None and monthly.expected:
        parts.append(f"about {money(monthly.expected, short=True)} a month to serve")
    if choice.duration.expected_seconds:
        parts.append(f"about {duration(choice.duration.expected_seconds)} here")
    if choice.retires:
        parts.append(f"ends {choice.retires}")
    if not verified:
        parts.append("not verified that it is offered")
    return ", ".join(parts)
