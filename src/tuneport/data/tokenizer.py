"""A base model's tokenizer and limits, for all who render records with it: training and preview."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tuneport.data.rendering import Renderer
from tuneport.errors import ConfigError


def training_renderer(folder: Path, max_length: int | None) -> Renderer:
    """What a training run renders its records with: `max_length` tokens at most, and what the model reads at most.

    ConfigError where the folder holds no usable tokenizer or config.
    """
    limits = [limit for limit in (max_length, context_length(folder)) if limit is not None]
    return Renderer(load_tokenizer(folder), max_length=min(limits, default=None))


def load_tokenizer(folder: Path) -> Any:
    """ConfigError where there is none. One that pads with nothing pads with its end of sequence."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder} holds no usable tokenizer: {_first_line(error)}; fetch the model again") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def context_length(folder: Path) -> int | None:
    """The model's limit in tokens, or None where its config names none. ConfigError where it cannot be read."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder).get_text_config()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder} holds no usable config: {_first_line(error)}; fetch the model again") from error
    limit = getattr(config, "max_position_embeddings", None)
    return int(limit) if limit else None


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
