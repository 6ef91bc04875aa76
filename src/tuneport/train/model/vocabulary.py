"""Checks that a tokenizer belongs to its model: one that writes tokens which the model does not have is another's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from tuneport.errors import ConfigError
from tuneport.train.speed.row_tokens import training_row_token_ids


def refuse_foreign_tokens(folder: Path, rows: Sequence[Any], *, trust_remote_code: bool = False) -> None:
    """Raise ConfigError if a row has a token beyond the model's vocabulary.

    Only the rows are checked: some tokenizers know more special tokens than their model, and never write them.
    """
    config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code).get_text_config()
    size = getattr(config, "vocab_size", None)
    largest = max((max(training_row_token_ids(row), default=0) for row in rows), default=0)
    if size is not None and largest >= size:
        raise ConfigError(
            f"the tokenizer in {folder} writes the token {largest:,} and the model has {size:,}: they do not belong "
            "together; fetch the model again"
        )
