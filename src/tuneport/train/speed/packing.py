"""Several rows in one sequence, their common beginning once.

Rows of one dataset mostly share their system prompt. Here a batch is one sequence: the shared tokens, then the rest of
each row, which sees the shared part and itself. Positions go on as in the row alone, so every row gets exactly the
attention it would have gotten alone, without padding and without computing the shared part again. `packed_rows_agree`
proves it on the model at hand before it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from tuneport.data.templates.rendering import IGNORED
from tuneport.train.speed.attention import PACKED, PackedAttentionBlocks
from tuneport.train.speed.token_loss import token_loss

MAX_TOKENS = 2048
"""Of a pack: matrix products are at their fastest from about 1,000 tokens on, and more would only take memory."""


class PackingCollator:
    """Rows with `input_ids` and `labels` to one packed batch, with the `blocks` that `attention.PACKED` attends by.

    `prompt_labels` are the targets of the rows' own tokens that are no answer, for `prompt_loss_weight`.
    """

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        shared = shared_prefix_length(rows)
        ids: list[int] = list(rows[0]["input_ids"][:shared])
        labels: list[int] = [IGNORED] * shared
        prompts: list[int] = [IGNORED] * shared
        positions = list(range(shared))
        for row in rows:
            own = row["input_ids"][shared:]
            ids += own
            labels += row["labels"][shared:]
            prompts += prompt_loss_targets(own, row["labels"][shared:])
            positions += range(shared, shared + len(own))
        return {
            "input_ids": torch.tensor([ids]),
            "position_ids": torch.tensor([positions]),
            "attention_mask": torch.zeros(1, 1, 1, 1),  # of this shape none is made from the positions
            "blocks": PackedAttentionBlocks(shared, [len(row["input_ids"]) - shared for row in rows]),
            "labels": torch.tensor([labels]),
            "prompt_labels": torch.tensor([prompts]),
            "useful_tokens": torch.tensor(tokens_without_filler(rows)),
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
            prompts.append([*prompt_loss_targets(row["input_ids"], row["labels"]), *[IGNORED] * missing])
            mask.append([1] * len(row["input_ids"]) + [0] * missing)
        return {
            "input_ids": torch.tensor(ids),
            "attention_mask": torch.tensor(mask),
            "labels": torch.tensor(labels),
            "prompt_labels": torch.tensor(prompts),
            "useful_tokens": torch.tensor(tokens_without_filler(rows)),
        }


class PaddingFreeCollator:
    """Rows end to end, for attention that is told their lengths (FlashAttention).

    The same keys as TRL's DataCollatorForLanguageModeling(padding_free=True): no attention mask, since that would hide
    where rows begin.
    """

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        lengths = [len(row["input_ids"]) for row in rows]
        ends = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
        return {
            "input_ids": torch.tensor([[token for row in rows for token in row["input_ids"]]]),
            "position_ids": torch.tensor([[position for length in lengths for position in range(length)]]),
            # What a row begins with has no token of its own before it to predict it.
            "labels": torch.tensor([[label for row in rows for label in [IGNORED, *row["labels"][1:]]]]),
            "prompt_labels": torch.tensor(
                [[label for row in rows for label in prompt_loss_targets(row["input_ids"], row["labels"])]]
            ),
            "cu_seq_lens_q": ends,
            "cu_seq_lens_k": ends,
            "max_length_q": max(lengths),
            "max_length_k": max(lengths),
            "useful_tokens": torch.tensor(sum(lengths)),
        }


def prompt_loss_targets(ids: Sequence[int], labels: Sequence[int]) -> list[int]:
    """Return the tokens outside the answers, as targets; without the first, which nothing of this row comes before."""
    targets = [token if label == IGNORED else IGNORED for token, label in zip(ids, labels, strict=True)]
    return [IGNORED, *targets[1:]]


def tokens_without_filler(rows: Sequence[dict[str, Any]]) -> int:
    """Return all tokens of the rows except those of one token, which only fill up an epoch (see `process_group`)."""
    return sum(len(row["input_ids"]) for row in rows if len(row["input_ids"]) > 1)


def shared_prefix_length(rows: Sequence[dict[str, Any]]) -> int:
    """Return how many tokens all rows begin with, ending before the token that predicts the first trained one of any
    row."""
    limit = min(
        next((i for i, label in enumerate(row["labels"]) if label != IGNORED), len(row["labels"])) - 1 for row in rows
    )
    first = rows[0]["input_ids"]
    shared = 0
    while shared < limit and all(row["input_ids"][shared] == first[shared] for row in rows):
        shared += 1
    return shared


def rows_per_pack(rows: Sequence[dict[str, Any]], batch_size: int) -> int:
    """Return how many rows fit one pack: a divisor of `batch_size`, 1 if packing does not pay."""
    longest = sorted(len(row["input_ids"]) for row in rows)
    typical = longest[int(len(longest) * 0.9)] if longest else 1  # nine of ten rows are no longer
    shared = shared_prefix_length(rows) if rows else 0
    for count in range(batch_size, 1, -1):
        if batch_size % count == 0 and shared + count * (typical - shared) <= MAX_TOKENS:
            return count
    return 1


def enable_packed_attention(model: Any, rows: Sequence[dict[str, Any]]) -> bool:
    """Switch the model to packed attention if packed rows give the same result as each alone, and return whether they
    do."""
    config = model.config.get_text_config()
    head = model.get_output_embeddings()
    if (
        set(getattr(config, "layer_types", None) or ["full_attention"]) != {"full_attention"}  # others look at order
        or getattr(config, "attention_dropout", None)
        or type(head) is not nn.Linear
        or head.bias is not None
    ):
        return False
    before, was_training = config._attn_implementation, model.training
    model.eval()
    try:
        model.set_attn_implementation("eager")  # which rounds as the packed one does
        alone = torch.cat([_alone(model, row) for row in rows])
        model.set_attn_implementation(PACKED)
        agreed = packed_rows_agree(model, rows, alone)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError):  # its attention is its own
        agreed = False
    if not agreed:
        model.set_attn_implementation(before)
    model.train(was_training)
    return agreed


@torch.no_grad()
def packed_rows_agree(model: Any, rows: Sequence[dict[str, Any]], alone: torch.Tensor) -> bool:
    """Return whether packed rows get the log-probabilities that each has `alone`. A leak would shift them by far
    more."""
    batch = PackingCollator()(rows)
    labels = batch["labels"][:, 1:]
    trained = (labels != IGNORED).flatten().nonzero().flatten()
    targets = labels.flatten()[trained]
    packed = packed_token_loss(model, batch, trained, targets, torch.ones(len(trained)))[1]
    tolerance = 1e-3 if next(model.parameters()).dtype == torch.float32 else 0.15
    return bool((-packed - alone).abs().mean() < tolerance)


def packed_token_loss(
    model: Any, batch: dict[str, Any], places: torch.Tensor, targets: torch.Tensor, shares: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return `token_loss` of a packed batch: of the token after each of `places`, what the causal language model
    predicts."""
    inputs = {name: batch[name] for name in ("input_ids", "position_ids", "attention_mask", "blocks")}
    hidden = model.base_model(**inputs, use_cache=False).last_hidden_state.flatten(0, 1)
    chosen, head = hidden.index_select(0, places), model.get_output_embeddings()
    if type(head) is nn.Linear:
        return token_loss(chosen.to(head.weight.dtype), head.weight, targets, shares)
    logits = head(chosen).float()  # an adapter is in it, or a copy of it is trained
    losses = F.cross_entropy(logits, targets, reduction="none")
    return (losses * shares).sum(), losses.detach(), logits.argmax(-1) == targets


@torch.no_grad()
def _alone(model: Any, row: dict[str, Any]) -> torch.Tensor:
    """Return the log-probabilities of one row's trained tokens by the unchanged model."""
    labels = torch.tensor(row["labels"][1:])
    keep = (labels != IGNORED).nonzero().flatten()
    logits = model(input_ids=torch.tensor([row["input_ids"]]), use_cache=False, logits_to_keep=keep).logits[0].float()
    found: torch.Tensor = logits.log_softmax(-1).gather(1, labels[keep, None])[:, 0]
    return found
