"""The user's word first, then the best-ranked; and the error for a word that cannot be obeyed."""

from __future__ import annotations

from collections.abc import Sequence

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
from tuneport.router.choice import BackendChoice
from tuneport.router.ranking import backend_ranking_key


def choose_backend(
    choices: Sequence[BackendChoice],
    *,
    explicit: str | None = None,
    environment: str | None = None,
    project: str | None = None,
) -> BackendChoice:
    """Return the backend to use: `explicit` (backend=), else `environment` (TUNEPORT_BACKEND), else `project`
    (tuneport.toml), else the best-ranked.

    A backend that the user named and that is refused raises the error of its first refusal, with all its reasons.
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
    told = "; ".join(f"{row.backend}: {_first_line(row)}" for row in choices)
    raise UnsupportedError(f"no backend can run this job now: {told}")


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
    if first.kind in ("extra", "address"):
        return ConfigError(text)
    if first.kind == "data":
        return DatasetError(DatasetProblem(path=choice.dataset, line=None, field="", rule=text, fix=""))
    return UnsupportedError(text)


def _first_line(choice: BackendChoice) -> str:
    first = choice.refusals[0].reason.splitlines()[0]
    return first.removesuffix(". To let one stand in for it, put this into tuneport.toml:")
