"""The shape and size of a base model, as a plan needs them, and their source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tuneport.base_models import locate_base_config
from tuneport.errors import ConfigError
from tuneport.estimate.memory import TrainingShape, trained_parameters
from tuneport.manifests import ModelDimensions, Weights, load_models
from tuneport.settings import Settings
from tuneport.types import Adapter
from tuneport.validation import read_json_object


@dataclass(frozen=True)
class PlannedBaseModel:
    """`dimensions` None: only its size is known."""

    name: str
    title: str
    licence: str | None
    dimensions: ModelDimensions | None
    params_b: float | None
    context: int | None
    known_from: str

    @property
    def parameters(self) -> int | None:
        """Return the number of all its weights, norms left out."""
        return None if self.dimensions is None else trained_parameters(Adapter.FULL, self.dimensions, TrainingShape())


def find_planned_model(name: str, settings: Settings) -> PlannedBaseModel:
    """Return the model from the catalogue, else from its own config.json. Raises ConfigError if neither tells its shape
    or size."""
    weights = load_models().find(name)
    dimensions, params_b, known_from = _shape(name, weights, settings)
    return PlannedBaseModel(
        name=name,
        title=weights.title if weights else Path(name).name,
        licence=weights.licence if weights else None,
        dimensions=dimensions,
        params_b=params_b,
        context=weights.context if weights else None,
        known_from=known_from,
    )


def read_planned_model_config(name: str, settings: Settings) -> Path:
    """Return the model's own config.json, from its folder, the cache or the hub. Raises ConfigError if it is not
    available."""
    weights = load_models().find(name)
    return locate_base_config(weights.hub if weights and weights.hub else name, home=settings.home)


def _shape(name: str, weights: Weights | None, settings: Settings) -> tuple[ModelDimensions | None, float | None, str]:
    if weights is not None and weights.dimensions is not None:
        return weights.dimensions, weights.params_b, "models.toml"
    try:
        path = read_planned_model_config(name, settings)
        dimensions = ModelDimensions.from_config(read_json_object(path))
    except (ConfigError, OSError, ValueError) as error:
        if weights is not None and weights.params_b is not None:
            return None, weights.params_b, "models.toml, its size only"
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"the config.json of {name} cannot be read: {error}; fetch the model again") from error
    counted = trained_parameters(Adapter.FULL, dimensions, TrainingShape()) / 1e9
    return dimensions, weights.params_b if weights and weights.params_b else counted, str(path)
