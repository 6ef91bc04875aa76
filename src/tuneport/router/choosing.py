"""The user's word first, then the best-ranked; and the error for a word that cannot be obeyed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tuneport.errors import (
    AuthError,
    BudgetError,
    ConfigError,
    DatasetError,
    DatasetProblem,
    ModelNotOfferedError,
    TuneportError,
    UnsupportedError,
)
from tuneport.manifests import model_not_offered_error
from tuneport.router.choice import BackendChoice
from tuneport.router.ranking import backend_ranking_key


def choose_backend(
    choices: Sequence[BackendChoice],
    *,
    explicit: str | None = None,
    environment: str | None = None,
    project: str | None = None,
    names: Iterable[str] = (),
) -> BackendChoice:
    """Return the backend to use: `explicit` (backend=), else `environment` (TUNEPORT_BACKEND), else `project`
    (tuneport.toml), else the best-ranked.

    A backend that the user named and that is refused raises the error of its first refusal, with all its reasons.
    `names` are those that the project gives to models: a misspelt name may stand for one.
    """
    for name, said_by in ((explicit, "backend="), (environment, "TUNEPORT_BACKEND"), (project, "tuneport.toml")):
        if name:
            choice = next((row for row in choices if row.backend == name), None)
            if choice is None:
                known = ", ".join(sorted(row.backend for row in choices))
                raise ConfigError(f"{said_by} names the backend {name!r}, which does not exist; use one of: {known}")
            if not choice.allowed:
                raise backend_refusal_error(choice)
            return choice
    best = next((row for row in sorted(choices, key=backend_ranking_key) if row.allowed), None)
    if best is not None:
        return best
    if not choices:
        raise ConfigError("no backend is available")
    if len(choices) == 1:
        raise backend_refusal_error(choices[0])
    able = [row for row in choices if not is_model_not_offered(row)]
    if not able:
        raise no_backend_offers_model_error(choices, names)
    told = "; ".join(f"{row.backend}: {row.refusals[0].reason}" for row in able)
    raise UnsupportedError(f"no backend can run this job now: {told}")


def is_model_not_offered(choice: BackendChoice) -> bool:
    """Return whether the backend does not have the model at all, whatever else it refuses."""
    return choice.model is None


def no_backend_offers_model_error(choices: Sequence[BackendChoice], names: Iterable[str]) -> ModelNotOfferedError:
    """Return the one error for a model that none of the backends has. `names` as in `choose_backend`."""
    nearest = [(near, row.backend) for row in choices for refusal in row.refusals for near in refusal.nearest]
    return model_not_offered_error(choices[0].quote.model, nearest, names)


def backend_refusal_error(choice: BackendChoice) -> TuneportError:
    """Return the error that says why `choice` was refused; its class is that of the first refusal."""
    first = choice.refusals[0]
    text = "; also: ".join(refusal.reason for refusal in choice.refusals)
    if first.kind == "not offered":
        return ModelNotOfferedError(text, model=choice.quote.model, backend=choice.backend, nearest=first.nearest)
    if first.kind == "key":
        return AuthError(text, provider=choice.backend)
    if first.kind == "budget":
        return BudgetError(text)
    if first.kind in ("extra", "address", "weights"):
        return ConfigError(text)
    if first.kind == "data":
        return DatasetError(DatasetProblem(path=choice.dataset, line=None, field="", rule=text, fix=""))
    return UnsupportedError(text)
