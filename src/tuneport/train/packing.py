"""Several rows in one sequence, their common beginning once.

Rows of one dataset mostly share their system prompt. Here a batch is one sequence: the shared tokens, then the rest of
each row, which sees the shared part and itself. Positions go on as in the row alone, so every row gets exactly the
attention it would have gotten alone, without padding and without computing the shared part again. `agrees` proves it on
the model at hand before it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tuneport.data.rendering import IGNORED

MAX_TOKENS = 640
"""Above it, attention over the whole pack (quadratic) costs more than the padding that it saves."""


class PackingCollator:
    """Rows with `input_ids` and `labels` to one packed batch. The mask adds to attention scores: 0, or minus a lot.

    `prompt_labels` are the targets of the rows' own tokens that are no answer, for `prompt_loss_weight`.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        shared = shared_length(rows)
        ids: list[int] = list(rows[0]["input_ids"][:shared])
        labels: list[int] = [IGNORED] * shared
        prompts: list[int] = [IGNORED] * shared
        positions = list(range(shared))
        owner = [0] * shared
        for number, row in enumerate(rows, start=1):
            own = row["input_ids"][shared:]
            ids += own
            labels += row["labels"][shared:]
            prompts += prompt_labels(own, row["labels"][shared:])
            positions += range(shared, shared + len(own))
            owner += [number] * len(own)
        rows_of = torch.tensor(owner)
        sees = (rows_of[None, :] == rows_of[:, None]) | (rows_of[None, :] == 0)
        sees &= torch.ones(len(ids), len(ids), dtype=torch.bool).tril()
        mask = torch.zeros(len(ids), len(ids), dtype=self.dtype).masked_fill_(~sees, torch.finfo(self.dtype).min)
        return {
            "input_ids": torch.tensor([ids]),
            "position_ids": torch.tensor([positions]),
            "attention_mask": mask[None, None],
            "labels": torch.tensor([labels]),
            "prompt_labels": torch.tensor([prompts]),
            "useful_tokens": torch.tensor(useful_tokens(rows)),
        }


class PaddingCollator:
    """Rows to a batch that is padded on the right to its longest row."""

    def __init__(self, pad_token_id: int) -> None:
        self.pad_token_id = pad_token_id

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        longest = max(len(row["input_ids"]) for row in rows)
        ids, labels, prompts, mask = [], [], [], []
        for row in rows:
            missing = longest - len(row["input_ids"])
            ids.append([*row["input_ids"], *[self.pad_token_id] * missing])
            labels.append([*row["labels"], *[IGNORED] * missing])
            prompts.append([*prompt_labels(row["input_ids"], row["labels"]), *[IGNORED] * missing])
            mask.append([1] * len(row["input_ids"]) + [0] * missing)
        return {
            "input_ids": torch.tensor(ids),
            "attention_mask": torch.tensor(mask),
            "labels": torch.tensor(labels),
            "prompt_labels": torch.tensor(prompts),
            "useful_tokens": torch.tensor(useful_tokens(rows)),
        }


def prompt_labels(ids: Sequence[int], labels: Sequence[int]) -> list[int]:
    """The tokens that are no answer, as targets; but the first, which nothing of this row comes before."""
    targets = [token if label == IGNORED else IGNORED for token, label in zip(ids, labels, strict=True)]
    return [IGNORED, *targets[1:]]


def useful_tokens(rows: Sequence[dict[str, Any]]) -> int:
    """All tokens of the rows but those of one token, which only fill up an epoch (see `ranks`)."""
    return sum(len(row["input_ids"]) for row in rows if len(row["input_ids"]) > 1)


def shared_length(rows: Sequence[dict[str, Any]]) -> int:
    """How many tokens all rows begin with, ending before the token that predicts the first trained one of any row."""
    limit = min(
        next((i for i, label in enumerate(row["labels"]) if label != IGNORED), len(row["labels"])) - 1 for row in rows
    )
    first = rows[0]["input_ids"]
    shared = 0
    while shared < limit and all(row["input_ids"][shared] == first[shared] for row in rows):
        shared += 1
    return shared


def rows_per_pack(rows: Sequence[dict[str, Any]], batch_size: int) -> int:
    """How many rows fit one pack: a divisor of `batch_size`, 1 where packing does not pay."""
    longest = sorted(len(row["input_ids"]) for row in rows)
    typical = longest[int(len(longest) * 0.9)] if longest else 1  # nine of ten rows are no longer
    shared = shared_length(rows) if rows else 0
    for count in range(batch_size, 1, -1):
        if batch_size % count == 0 and shared + count * (typical - shared) <= MAX_TOKENS:
            return count
    return 1


@torch.no_grad()
def agrees(model: Any, rows: Sequence[dict[str, Any]], dtype: torch.dtype) -> bool:
    """Whether packed rows get the same log-probabilities as each alone. A leak would shift them by far more."""
    packed = _trained_log_probabilities(model, PackingCollator(dtype)(rows))
    alone = torch.cat([_trained_log_probabilities(model, PaddingCollator(0)([row])) for row in rows])
    tolerance = 1e-3 if dtype == torch.float32 else 0.15
    return bool((packed - alone).abs().mean() < tolerance)


def _trained_log_probabilities(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    labels = batch.pop("labels")
    batch.pop("prompt_labels")
    batch.pop("useful_tokens")
    keep = (labels[0, 1:] != IGNORED).nonzero().flatten()
    device = next(model.parameters()).device
    inputs = {name: value.to(device) for name, value in batch.items()}
    logits = model(**inputs, use_cache=False, logits_to_keep=keep.to(device)).logits[0].float().cpu()
    found: torch.Tensor = logits.log_softmax(-1).gather(1, labels[0, 1:][keep, None])[:, 0]
    return found
