"""A base model with any number of adapters beside it, and the tokens of a prompt that were computed already."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from tuneport.base_models import Device
from tuneport.data.rendering import Renderer
from tuneport.errors import ConfigError
from tuneport.infer.virtual_tokens import has_virtual_tokens, remembered

SHARED_TOKENS = 8  # a common beginning shorter than this is not worth a pass of its own


class Engine:
    """Prompts in, logits and caches out. One adapter, or none, at a time: see `using`."""

    def __init__(self, folder: Path, device: Device) -> None:
        self.device = device
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(folder)
            self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, device.dtype))
        except (OSError, ValueError, SafetensorError) as error:
            reason = str(error).strip().split("\n", 1)[0]
            raise ConfigError(f"the model in {folder} cannot be loaded: {reason}; fetch it again") from error
        self.model.to(device.name).eval()
        self.renderer = Renderer(self.tokenizer)
        self.end_tokens = self._end_tokens()
        self.pad_token = next(iter(self.end_tokens), 0)
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        self.context_length: int | None = int(limit) if limit else None
        self._adapters: set[str] = set()
        self._virtual: dict[str, DynamicCache] = {}  # adapters that stand before all input
        self._adapter: str | None = None
        self._remembered: tuple[str | None, list[int], DynamicCache] | None = None

    def load_adapter(self, name: str, folder: Path) -> None:
        """ConfigError where the folder holds no adapter of this model. Loading a name again replaces nothing."""
        if name in self._adapters or name in self._virtual:
            return
        if not (folder / "adapter_config.json").is_file():
            raise ConfigError(f"{folder} holds no adapter (adapter_config.json is missing); train it again")
        if has_virtual_tokens(folder):
            with self.using(None):
                self._virtual[name] = remembered(folder, self.model)
            return
        from peft import PeftModel

        # In the precision of the base: the casts around fp32 adapters cost more than their rounding is worth.
        options = {"autocast_adapter_dtype": False, "is_trainable": False}
        try:
            if self._adapters:
                self.model.load_adapter(str(folder), adapter_name=name, **options)
            else:
                self.model = PeftModel.from_pretrained(self.model, str(folder), adapter_name=name, **options)
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
            reason = str(error).strip().split("\n", 1)[0]
            raise ConfigError(f"the adapter in {folder} does not fit this model: {reason}") from error
        dtype = getattr(torch, self.device.dtype)
        for parameter_name, parameter in self.model.named_parameters():
            if "lora_" in parameter_name:
                parameter.data = parameter.data.to(dtype)
        self.model.eval()
        self._adapters.add(name)

    @contextmanager
    def using(self, adapter: str | None) -> Iterator[None]:
        """Answer with this adapter; None is the base model itself."""
        if adapter is not None and adapter not in self._adapters and adapter not in self._virtual:
            raise ConfigError(f"no adapter {adapter} is loaded; send load_adapter first")
        if adapter in self._adapters:
            self.model.set_adapter(adapter)
        plain = self.model.disable_adapter() if adapter not in self._adapters and self._adapters else nullcontext()
        self._adapter = adapter
        with torch.inference_mode(), plain:
            yield

    def prefill(self, prompts: Sequence[list[int]]) -> tuple[torch.Tensor, Batch]:
        """Read the prompts: the logits after each one's last token, and the batch to go on with.

        What all of them begin with is computed once, and remembered for the next call.
        """
        shared, cache = self._shared_prefix(prompts)
        own = [prompt[shared:] for prompt in prompts]
        before = cache.get_seq_length()
        longest = max(len(ids) for ids in own)
        ids = torch.tensor([[self.pad_token] * (longest - len(row)) + row for row in own])
        mask = torch.tensor([[1] * before + [0] * (longest - len(row)) + [1] * len(row) for row in own])
        positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, before:]
        if before and len(prompts) > 1:
            cache.batch_repeat_interleave(len(prompts))
        batch = Batch(self, cache, mask.to(self.device.name), mask.sum(-1))
        return batch.forward(ids, positions, last_only=True)[:, -1], batch

    def _beginning(self) -> DynamicCache:
        """The cache before the first token: empty, or what the adapter puts there."""
        virtual = self._virtual.get(self._adapter or "")
        return DynamicCache(config=self.model.config) if virtual is None else copy.deepcopy(virtual)

    def _shared_prefix(self, prompts: Sequence[list[int]]) -> tuple[int, DynamicCache]:
        """How many tokens of each prompt are computed already, and the cache that holds them."""
        shared = common_prefix(prompts)
        if self._remembered is not None and self._remembered[0] == self._adapter:
            _, ids, cache = self._remembered
            fits = len(ids) <= shared and prompts[0][: len(ids)] == ids
            if fits and (len(prompts) == 1 or len(ids) >= shared - SHARED_TOKENS):
                return len(ids), copy.deepcopy(cache)
        if len(prompts) == 1 or shared < SHARED_TOKENS:
            return 0, self._beginning()
        cache = self._beginning()
        ids = prompts[0][:shared]
        self.model(
            input_ids=torch.tensor([ids], device=self.device.name),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self._remembered = (self._adapter, ids, cache)
        return shared, copy.deepcopy(cache)

    def _end_tokens(self) -> set[int]:
        """What ends an answer: the model's own list, the tokenizer's, and what its template writes after a turn."""
        configured = self.model.generation_config.eos_token_id
        ends = set(configured if isinstance(configured, list) else [configured])
        ends.add(self.tokenizer.eos_token_id)
        if getattr(self.tokenizer, "chat_template", None):
            ends.update(self.tokenizer(self.renderer.end_of_turn, add_special_tokens=False)["input_ids"][:1])
        return {int(token) for token in ends if token is not None}


class Batch:
    """Rows under way: their cache, what of it is padding, and how long each row is."""

    def __init__(self, engine: Engine, cache: DynamicCache, mask: torch.Tensor, lengths: torch.Tensor) -> None:
        self.engine, self.cache, self.mask, self.lengths = engine, cache, mask, lengths

    def forward(self, ids: torch.Tensor, positions: torch.Tensor, *, last_only: bool = False) -> torch.Tensor:
        """Logits after `ids`, whose places in `mask` are set already."""
        device = self.engine.device.name
        outputs = self.engine.model(
            input_ids=ids.to(device),
            attention_mask=self.mask,
            position_ids=positions.to(device),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1 if last_only else 0,
        )
        logits: torch.Tensor = outputs.logits.float().cpu()
        return logits

    def append(self, tokens: torch.Tensor, seen: torch.Tensor | None = None) -> torch.Tensor:
        """Add one or more tokens to each row (`seen`: 0 where it is padding) and return the logits after each."""
        seen = torch.ones_like(tokens) if seen is None else seen
        self.mask = torch.cat([self.mask, seen.to(self.mask)], dim=1)
        positions = self.lengths[:, None] + torch.arange(tokens.shape[1])
        logits = self.forward(tokens, positions)
        self.lengths = self.lengths + seen.sum(-1)
        return logits

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with these rows only."""
        self.cache.batch_select_indices(rows.to(self.engine.device.name))
        self.mask, self.lengths = self.mask[rows.to(self.mask.device)], self.lengths[rows]

    def repeat(self, times: int) -> None:
        """Each row `times` times, one after the other."""
        self.cache.batch_repeat_interleave(times)
        self.mask = self.mask.repeat_interleave(times, dim=0)
        self.lengths = self.lengths.repeat_interleave(times)


def common_prefix(prompts: Sequence[list[int]]) -> int:
    """How many tokens all prompts begin with, leaving at least one of each."""
    low, high = min(prompts), max(prompts)  # what the first and the last in order share, all share
    limit = min(len(prompt) for prompt in prompts) - 1
    shared = 0
    while shared < limit and low[shared] == high[shared]:
        shared += 1
    return shared
