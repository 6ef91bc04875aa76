"""A base model with any number of adapters beside it, and the tokens of a prompt that were computed already."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from tuneport.base_models import BaseModelDevice
from tuneport.data.templates.rendering import TemplateRenderer
from tuneport.errors import ConfigError
from tuneport.infer.model.multi_lora import ALONE, LoraAdapterPerRow, fits_multi_lora
from tuneport.infer.model.placement import InferenceModelPlacement, inference_nf4_config, is_inference_out_of_memory
from tuneport.infer.model.virtual_tokens import cache_of_virtual_tokens, uses_virtual_tokens_cache

SHARED_TOKENS = 8  # a common beginning shorter than this is not worth a pass of its own


class InferenceEngine:
    """Prompts in, logits and caches out. Each row of a batch may use another adapter, or none: `adapters_per_row`."""

    def __init__(self, folder: Path, placement: InferenceModelPlacement | BaseModelDevice) -> None:
        placement = placement if isinstance(placement, InferenceModelPlacement) else InferenceModelPlacement(placement)
        self.device = placement.device
        dtype = getattr(torch, self.device.dtype)
        if not any(folder.glob("tokenizer*")):
            raise ConfigError(f"the model in {folder} has no tokenizer; copy its base model's tokenizer files there")
        with _loading(folder):
            # False, not left out: without it transformers asks for consent on stdin.
            self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            self.model: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=dtype,
                device_map=placement.device_map,
                quantization_config=inference_nf4_config(placement),
                trust_remote_code=False,
            )
        self.model.eval()
        self.input_device: torch.device = self.model.get_input_embeddings().weight.device
        self.renderer = TemplateRenderer(self.tokenizer)
        self.end_tokens = self._end_tokens()
        self.pad_token = next(iter(self.end_tokens), 0)
        config = self.model.config.get_text_config()
        limit = getattr(config, "max_position_embeddings", None)
        self.context_length: int | None = int(limit) if limit else None
        self.vocabulary: int = self.model.get_input_embeddings().weight.shape[0]
        self._sliding = any(getattr(layer, "is_sliding", False) for layer in DynamicCache(config=config).layers)
        self._rows = LoraAdapterPerRow()
        self._mixes = True
        self._active: str | None = None
        self._adapters: set[str] = set()
        self._virtual: dict[str, DynamicCache] = {}  # adapters that stand before all input
        self._remembered: tuple[str | None, list[int], DynamicCache] | None = None

    # --- adapters ---------------------------------------------------------------------------------------------------

    def load_adapter(self, name: str, folder: Path) -> None:
        """Raise ConfigError if the folder holds no adapter of this model. Loading a name again replaces nothing."""
        if name in self._adapters or name in self._virtual:
            return
        if not (folder / "adapter_config.json").is_file():
            raise ConfigError(f"{folder} holds no adapter (adapter_config.json is missing); train it again")
        if uses_virtual_tokens_cache(folder):
            with self.adapters_per_row([None]):
                self._virtual[name] = cache_of_virtual_tokens(folder, self.model)
            return
        from peft import PeftModel

        # In the precision of the base: the casts around fp32 adapters cost more than their rounding is worth.
        options = {"autocast_adapter_dtype": False, "is_trainable": False}
        try:
            if self._adapters:
                self.model.load_adapter(str(folder), adapter_name=name, **options)
            else:
                self.model = PeftModel.from_pretrained(self.model, str(folder), adapter_name=name, **options)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
            self._forget(name)
            raise ConfigError(f"the adapter in {folder} does not fit this model: {_reason(error)}") from error
        dtype = getattr(torch, self.device.dtype)
        for parameter_name, parameter in self.model.named_parameters():
            if "lora_" in parameter_name:
                parameter.data = parameter.data.to(dtype)
        self.model.eval()
        self._adapters.add(name)
        self._mixes = self._mixes and fits_multi_lora(self.model, name)
        self._rows.attach_to_layers(self.model)
        self._active = name

    def _forget(self, name: str) -> None:
        """Remove an adapter that did not fit: some layers may hold it already."""
        if self._adapters:
            if name in self.model.peft_config:
                self.model.delete_adapter(name)
            self._active = None
            return
        from peft.tuners.tuners_utils import BaseTunerLayer

        parts = [(found, module) for found, module in self.model.named_modules() if isinstance(module, BaseTunerLayer)]
        for found, module in parts:
            parent, _, last = found.rpartition(".")
            setattr(self.model.get_submodule(parent), last, module.get_base_layer())
        for attribute in ("peft_config", "_hf_peft_config_loaded"):
            self.model.__dict__.pop(attribute, None)

    def can_mix_adapters(self, adapters: Sequence[str | None]) -> bool:
        """Return whether one pass can serve rows of all these adapters. One pass can always serve rows of one."""
        return self._mixes or len(set(self._weights(adapters))) < 2

    def has_adapter(self, adapter: str | None) -> bool:
        return adapter is None or adapter in self._adapters or adapter in self._virtual

    def _weights(self, adapters: Sequence[str | None]) -> list[str | None]:
        """Return the adapter whose weights the layers apply to each row: none for virtual tokens, which are in the
        cache."""
        return [adapter if adapter in self._adapters else None for adapter in adapters]

    @contextmanager
    def adapters_per_row(self, adapters: Sequence[str | None]) -> Iterator[None]:
        """Apply these adapters, one a row, to the passes within; None is the base model itself."""
        weights = self._weights(adapters)
        with torch.inference_mode():
            if self._mixes:
                self._rows.assign_adapters(weights)
                yield
                return
            self._rows.spans = [(ALONE, slice(None))]
            if weights[0] is None:
                with self.model.disable_adapter():
                    yield
                return
            if self._active != weights[0]:
                self.model.set_adapter(weights[0])
                self._active = weights[0]
            yield

    # --- prompts ----------------------------------------------------------------------------------------------------

    def cached_beginning(self, prompts: Sequence[list[int]], adapter: str | None) -> tuple[int, DynamicCache]:
        """Return how many tokens of each prompt are computed already, and one row's cache that holds them.

        The common beginning of the prompts is computed here, and remembered for the next call.
        """
        shared = common_prompt_prefix(prompts)
        if self._remembered is not None and self._remembered[0] == adapter and self._may_share(prompts):
            _, ids, cache = self._remembered
            fits = len(ids) <= shared and prompts[0][: len(ids)] == ids
            if fits and (len(prompts) == 1 or len(ids) >= shared - SHARED_TOKENS):
                return len(ids), copy.deepcopy(cache)
        if len(prompts) == 1 or shared < SHARED_TOKENS or not self._may_share(prompts):
            return 0, self._empty(adapter)
        cache = self._empty(adapter)
        ids = prompts[0][:shared]
        with self.adapters_per_row([adapter]):
            self.model(
                input_ids=torch.tensor([ids], device=self.input_device),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        self._remembered = (adapter, ids, cache)
        return shared, copy.deepcopy(cache)

    def _may_share(self, prompts: Sequence[list[int]]) -> bool:
        """Return whether a common beginning may be shared: a sliding window counts columns, so none may be padding
        after it."""
        return not self._sliding or len(set(map(len, prompts))) == 1

    def _empty(self, adapter: str | None) -> DynamicCache:
        """Return the cache before the first token: empty, or what the adapter puts there."""
        virtual = self._virtual.get(adapter or "")
        return DynamicCache(config=self.model.config) if virtual is None else copy.deepcopy(virtual)

    def _end_tokens(self) -> set[int]:
        """Return the tokens that end an answer: the model's own list, the tokenizer's, and what its template writes
        after a turn."""
        configured = self.model.generation_config.eos_token_id
        ends = set(configured if isinstance(configured, list) else [configured])
        ends.add(self.tokenizer.eos_token_id)
        if getattr(self.tokenizer, "chat_template", None):
            ends.update(self.tokenizer(self.renderer.end_of_turn, add_special_tokens=False)["input_ids"][:1])
        return {int(token) for token in ends if token is not None}


def common_prompt_prefix(prompts: Sequence[list[int]]) -> int:
    """Return how many tokens all prompts begin with, leaving at least one of each."""
    low, high = min(prompts), max(prompts)  # what the first and the last in order share, all share
    limit = min(len(prompt) for prompt in prompts) - 1
    shared = 0
    while shared < limit and low[shared] == high[shared]:
        shared += 1
    return shared


@contextmanager
def _loading(folder: Path) -> Iterator[None]:
    """Raise ConfigError for what transformers and tokenizers raise within, unless memory ran out."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as error:  # tokenizers raises bare Exceptions and Rust's panics, which are BaseExceptions
        if isinstance(error, Exception) and is_inference_out_of_memory(error):
            raise
        if "trust_remote_code" in str(error):
            raise ConfigError(
                f"the model in {folder} needs Python code of its own, which is not run here; use a model whose "
                "architecture transformers knows, or a server that runs it (serve_url in tuneport.toml)"
            ) from error
        reason = (str(error).strip() or type(error).__name__).split("\n", 1)[0][:300]
        raise ConfigError(f"the model in {folder} cannot be loaded: {reason}; fetch it again") from error


def _reason(error: Exception) -> str:
    """Return the error's first line; for shapes that do not fit, the second, since PyTorch's first names only the
    class."""
    lines = [line.strip() for line in str(error).strip().split("\n")]
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
