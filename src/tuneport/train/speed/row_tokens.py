"""The tokens of a rendered row, whatever its method."""

from __future__ import annotations

from typing import Any

from tuneport.data.templates.rendering import IGNORED, RenderedExample

_ANSWERS = ("completion_ids", "chosen_ids", "rejected_ids")


def training_row_answers(row: Any) -> list[list[int]]:
    """Return the answers of a row: both of a pair, one of a labelled row, none of a prompt that the model answers
    itself."""
    return [getattr(row, name) for name in _ANSWERS if hasattr(row, name)]


def training_row_token_count(row: Any) -> int:
    """Return the tokens of a row; for a pair, the prompt with the longer answer."""
    if isinstance(row, RenderedExample):
        return row.useful_length
    return len(row.prompt_ids) + max((len(answer) for answer in training_row_answers(row)), default=0)


def trained_row_token_count(row: Any) -> int:
    """Return the number of tokens in the loss."""
    if isinstance(row, RenderedExample):
        return sum(label != IGNORED for label in row.labels)
    return sum(len(answer) for answer in training_row_answers(row))


def training_row_token_ids(row: Any) -> list[int]:
    if isinstance(row, RenderedExample):
        return row.input_ids
    return [token for ids in (row.prompt_ids, *training_row_answers(row)) for token in ids]
