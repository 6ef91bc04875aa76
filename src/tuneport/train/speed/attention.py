"""Attention over a packed sequence, block by block, for CPUs.

A block is some neighbouring queries with the keys that one of them may see: short rows go together, long ones are cut,
so that little is computed for nothing and each product is large enough to keep the processor busy. Measured on two
cores in bf16, forward and backward, nine heads of 64: a third of SDPA's time for eight rows of 210 tokens, and 0.4 of
it for one of 2,000.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

PACKED = "tuneport_packed"
"""The name by which transformers knows this attention. Without `blocks` it is SDPA."""

BLOCK_TOKENS = 256
"""Of 96 to 512 tried, the fastest or near it for rows of 28, 210, 811 and 2,000 tokens."""

KEPT_SCORES = 1 << 20
"""For each head and layer: above it the backward pass computes the attention weights again instead of keeping them."""


@dataclass
class PackedAttentionBlock:
    """Queries `begin` to `end`, and as their keys the first `shared` tokens and those from `first_key` to `end`.

    `sees` (queries x keys) says who sees whom.
    """

    begin: int
    end: int
    first_key: int
    shared: int
    sees: torch.Tensor

    def slice_keys(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return those tokens of heads x tokens x width."""
        own = tensor[:, self.first_key : self.end]
        return torch.cat([tensor[:, : self.shared], own], dim=1) if self.shared else own

    def add_to_keys(self, total: torch.Tensor, gradient: torch.Tensor) -> None:
        if self.shared:
            total[:, : self.shared] += gradient[:, : self.shared]
        total[:, self.first_key : self.end] += gradient[:, self.shared :]


class PackedAttentionBlocks:
    """The attention blocks of a sequence whose first `shared` tokens all rows see, followed by rows of `lengths`
    tokens.

    Every token sees those of its row up to itself and the shared ones up to itself, as in the row alone.
    """

    def __init__(self, shared: int, lengths: Sequence[int]) -> None:
        ends = [shared, *(shared + sum(lengths[: count + 1]) for count in range(len(lengths)))]
        rows = [(begin, end) for begin, end in zip([0, *ends], ends, strict=False) if begin < end]
        owner = torch.zeros(ends[-1], dtype=torch.long)
        for number, (begin, end) in enumerate(zip(ends, ends[1:], strict=False), start=1):
            owner[begin:end] = number
        self.blocks = [_block(*span, shared, owner) for span in _spans(rows)]
        self.keeps_weights = sum(block.sees.numel() for block in self.blocks) <= KEPT_SCORES
        self._masks: dict[tuple[int, torch.dtype], list[torch.Tensor]] = {}

    def masks(self, groups: int, dtype: torch.dtype) -> list[torch.Tensor]:
        """Return for each block what adds to the scores of `groups` query heads one under the other: 0, or minus a lot.

        Made once for all layers.
        """
        key = groups, dtype
        if key not in self._masks:
            lowest = torch.finfo(dtype).min
            self._masks[key] = [
                torch.zeros(block.sees.shape, dtype=dtype).masked_fill_(~block.sees, lowest).repeat(groups, 1)
                for block in self.blocks
            ]
        return self._masks[key]


def _spans(rows: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Return begin and end of each block's queries, and its first key."""
    spans: list[tuple[int, int, int]] = []
    for begin, end in rows:
        if spans and end - spans[-1][2] <= BLOCK_TOKENS:
            spans[-1] = (spans[-1][0], end, spans[-1][2])
            continue
        parts = -(-(end - begin) // BLOCK_TOKENS)
        cuts = [begin + (end - begin) * part // parts for part in range(parts + 1)]
        spans += [(first, last, begin) for first, last in zip(cuts, cuts[1:], strict=False)]
    return spans


def _block(begin: int, end: int, first_key: int, shared: int, owner: torch.Tensor) -> PackedAttentionBlock:
    shared = shared if first_key else 0  # else they are among the block's own keys
    keys = torch.cat([torch.arange(shared), torch.arange(first_key, end)])
    queries = torch.arange(begin, end)[:, None]
    sees = ((owner[keys] == owner[queries]) | (owner[keys] == 0)) & (keys <= queries)
    return PackedAttentionBlock(begin, end, first_key, shared, sees)


class _BlockAttention(torch.autograd.Function):
    """Queries (heads x tokens x width) over keys and values (fewer heads, each for a group) to tokens x all heads."""

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, plan: PackedAttentionBlocks, scale: float
    ) -> torch.Tensor:
        heads, tokens, width = key.shape
        query = query.view(heads, -1, tokens, width)
        result = query.new_empty(tokens, heads, query.shape[1], width)
        kept = []
        for block, mask in zip(plan.blocks, plan.masks(query.shape[1], query.dtype), strict=True):
            weights = _weights(_queries(query, block), block.slice_keys(key), mask, scale)
            attended = torch.bmm(weights, block.slice_keys(value)).view(heads, -1, block.end - block.begin, width)
            result[block.begin : block.end] = attended.permute(2, 0, 1, 3)
            if plan.keeps_weights:
                kept.append(weights)
        ctx.save_for_backward(query, key, value, *kept)
        ctx.plan, ctx.scale = plan, scale
        return result.flatten(1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, *kept = ctx.saved_tensors
        plan, scale = ctx.plan, ctx.scale
        heads, groups, tokens, width = query.shape
        gradient = gradients[0].view(tokens, heads, groups, width).permute(1, 2, 0, 3)
        of_query = query.new_empty(query.shape)
        # Several blocks add to the same keys: summed in fp32.
        of_key, of_value = (query.new_zeros(heads, tokens, width, dtype=torch.float32) for _ in range(2))
        for index, (block, mask) in enumerate(zip(plan.blocks, plan.masks(groups, query.dtype), strict=True)):
            queries, keys, of_result = _queries(query, block), block.slice_keys(key), _queries(gradient, block)
            weights = kept[index] if kept else _weights(queries, keys, mask, scale)
            of_weights = torch.bmm(of_result, block.slice_keys(value).transpose(1, 2))
            of_scores = torch.ops.aten._softmax_backward_data(of_weights, weights, -1, weights.dtype).mul_(scale)
            of_query[:, :, block.begin : block.end] = torch.bmm(of_scores, keys).view(heads, groups, -1, width)
            block.add_to_keys(of_key, torch.bmm(of_scores.transpose(1, 2), queries))
            block.add_to_keys(of_value, torch.bmm(weights.transpose(1, 2), of_result))
        return of_query.flatten(0, 1), of_key.to(key.dtype), of_value.to(value.dtype), None, None


def _queries(tensor: torch.Tensor, block: PackedAttentionBlock) -> torch.Tensor:
    """Return the block's tokens of heads x groups x tokens x width, with the groups one under the other."""
    return tensor[:, :, block.begin : block.end].flatten(1, 2)


def _weights(queries: torch.Tensor, keys: torch.Tensor, mask: torch.Tensor, scale: float) -> torch.Tensor:
    return torch.baddbmm(mask, queries, keys.transpose(1, 2), alpha=scale).softmax(-1)


def packed_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    blocks: PackedAttentionBlocks | None = None,
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """Compute attention by transformers' contract of an attention function; a pack is one sequence with its
    `blocks`."""
    if blocks is None:
        plain: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **rest
        )
        return plain
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    result: torch.Tensor = _BlockAttention.apply(  # type: ignore[no-untyped-call]
        query[0], key[0], value[0], blocks, scale
    )
    return result.view(1, len(result), -1, value.shape[-1]), None


AttentionInterface.register(PACKED, packed_attention)
AttentionMaskInterface.register(PACKED, sdpa_mask)
