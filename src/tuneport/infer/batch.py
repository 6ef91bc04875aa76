"""Rows that are decoded together: their cache, what of it is padding, and how long each row is.

Rows are aligned at their right end, so a row may join between any two steps: the shorter of the two caches is padded on
its left, where the mask hides it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import pad
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from tuneport.infer.engine import InferenceEngine


class DecodingBatch:
    """`mask` (rows, columns) is 0 for padding, `lengths` (rows) counts the other columns, `adapters` names each row's
    adapter; None is the base model."""

    def __init__(
        self,
        engine: InferenceEngine,
        cache: DynamicCache,
        mask: torch.Tensor,
        lengths: torch.Tensor,
        adapters: Sequence[str | None],
    ) -> None:
        self.engine, self.cache, self.mask, self.lengths = engine, cache, mask, lengths
        self.adapters = list(adapters)

    def __len__(self) -> int:
        return len(self.adapters)

    @property
    def columns(self) -> int:
        return int(self.mask.shape[1])

    def forward(self, ids: torch.Tensor, positions: torch.Tensor, *, last_only: bool = False) -> torch.Tensor:
        """Return logits after `ids`, whose positions in `mask` are set already, in fp32 on the model's device."""
        device = self.engine.input_device
        with self.engine.adapters_per_row(self.adapters):
            outputs = self.engine.model(
                input_ids=ids.to(device),
                attention_mask=self.mask,
                position_ids=positions.to(device),
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=1 if last_only else 0,
            )
        logits: torch.Tensor = outputs.logits.float()
        return logits

    def append_tokens(self, tokens: torch.Tensor, seen: torch.Tensor | None = None) -> torch.Tensor:
        """Add one or more tokens to each row (`seen`: 0 for padding) and return the logits after each."""
        seen = torch.ones_like(tokens) if seen is None else seen
        self.mask = torch.cat([self.mask, seen.to(self.mask)], dim=1)
        positions = self.lengths[:, None] + torch.arange(tokens.shape[1])
        logits = self.forward(tokens, positions)
        self.lengths = self.lengths + seen.sum(-1)
        return logits

    def keep_rows(self, rows: Sequence[int]) -> None:
        """Continue with these rows only, in this order, and without columns that are padding in all of them."""
        chosen = torch.tensor(rows)
        for layer in self.cache.layers:
            layer.batch_select_indices(chosen.to(layer.keys.device) if _holds_keys(layer) else chosen)
        self.mask, self.lengths = self.mask[chosen.to(self.mask.device)], self.lengths[chosen]
        self.adapters = [self.adapters[row] for row in rows]
        self._trim()

    def repeat_rows(self, times: int) -> None:
        """Repeat each row `times` times, one after the other."""
        self.cache.batch_repeat_interleave(times)
        self.mask = self.mask.repeat_interleave(times, dim=0)
        self.lengths = self.lengths.repeat_interleave(times)
        self.adapters = [adapter for adapter in self.adapters for _ in range(times)]

    def can_merge(self, other: DecodingBatch) -> bool:
        """Return whether `merge` may be called: their layers hold keys and values only, and one pass can serve both."""
        layers = (*self.cache.layers, *other.cache.layers)
        plain = all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)
        return plain and self.engine.can_mix_adapters([*self.adapters, *other.adapters])

    def merge(self, other: DecodingBatch) -> None:
        """Append the rows of `other` behind the own ones."""
        columns = max(self.columns, other.columns)
        for mine, its in zip(self.cache.layers, other.cache.layers, strict=True):
            _widen(mine, columns - self.columns)
            _widen(its, columns - other.columns)
            if _holds_keys(mine):
                mine.keys = torch.cat([mine.keys, its.keys])
                mine.values = torch.cat([mine.values, its.values])
        masks = [pad(batch.mask, (columns - batch.columns, 0)) for batch in (self, other)]
        self.mask = torch.cat(masks)
        self.lengths = torch.cat([self.lengths, other.lengths])
        self.adapters += other.adapters

    def _trim(self) -> None:
        if not all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in self.cache.layers):
            return
        # The first column that some row uses; one read from the device, and only when rows leave.
        empty = int(self.mask.argmax(dim=1).min()) if len(self.adapters) else 0
        if empty:
            self.mask = self.mask[:, empty:].contiguous()
            for layer in self.cache.layers:
                _narrow(layer, empty)


class PromptPrefill:
    """Prompts of one adapter that are being read, a part at a time, so that others can go on in between.

    `read` counts the columns that are done. What all prompts begin with is read at once, unless it is remembered.
    """

    def __init__(self, engine: InferenceEngine, prompts: Sequence[list[int]], adapter: str | None) -> None:
        shared, cache = engine.cached_beginning(prompts, adapter)
        own = [prompt[shared:] for prompt in prompts]
        before = cache.get_seq_length()
        longest = max(map(len, own))
        self._ids = torch.tensor([[engine.pad_token] * (longest - len(row)) + row for row in own])
        mask = torch.tensor([[1] * before + [0] * (longest - len(row)) + [1] * len(row) for row in own])
        self._positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, before:]
        self._mask = mask.to(engine.input_device)
        self._before = before
        self.read = 0
        if before and len(prompts) > 1:
            cache.batch_repeat_interleave(len(prompts))
        self.batch = DecodingBatch(engine, cache, self._mask, mask.sum(-1), [adapter] * len(prompts))

    def advance(self, tokens: int) -> torch.Tensor | None:
        """Read about `tokens` more tokens, over all rows. Returns the logits after each row's last token once all is
        read."""
        start, self.read = self.read, min(self.read + max(1, tokens // len(self.batch)), self._ids.shape[1])
        self.batch.mask = self._mask[:, : self._before + self.read]
        columns = slice(start, self.read)
        logits = self.batch.forward(self._ids[:, columns], self._positions[:, columns], last_only=True)
        return logits[:, -1] if self.read == self._ids.shape[1] else None


def prefill_prompts(
    engine: InferenceEngine, prompts: Sequence[list[int]], adapter: str | None
) -> tuple[torch.Tensor, DecodingBatch]:
    """Read the prompts. Return the logits after each one's last token, and the batch to continue with."""
    reading = PromptPrefill(engine, prompts, adapter)
    while (logits := reading.advance(max(map(len, prompts)) * len(prompts))) is None:
        pass
    return logits, reading.batch


def _holds_keys(layer: object) -> bool:
    keys = getattr(layer, "keys", None)
    return isinstance(keys, torch.Tensor) and keys.numel() > 0


def _widen(layer: DynamicLayer, columns: int) -> None:
    if not columns or not _holds_keys(layer):
        return
    if isinstance(layer, DynamicSlidingWindowLayer):
        layer.cumulative_length += columns
        columns = min(columns, max(0, layer.sliding_window - 1 - layer.keys.shape[-2]))
    layer.keys, layer.values = (pad(part, (0, 0, columns, 0)) for part in (layer.keys, layer.values))


def _narrow(layer: DynamicLayer, columns: int) -> None:
    if not _holds_keys(layer):
        return
    if isinstance(layer, DynamicSlidingWindowLayer):
        layer.cumulative_length -= columns
        columns = max(0, layer.keys.shape[-2] - layer.cumulative_length)
    layer.keys, layer.values = (part[:, :, columns:].contiguous() for part in (layer.keys, layer.values))
