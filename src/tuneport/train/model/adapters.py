"""The adapter that PEFT trains beside the frozen base, and the start of a trained prefix or prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftConfig, PeftModel, PeftType, PrefixTuningConfig, PromptTuningConfig
from transformers import DynamicCache, PreTrainedModel

from tuneport.errors import ConfigError
from tuneport.train.model.arguments import TrainingRecipe
from tuneport.train.model.loading import build_lora_config, load_trainable_model
from tuneport.training_options import TrainingOptions
from tuneport.types import Adapter


def load_training_base(recipe: TrainingRecipe, *, attention: str = "sdpa", scores: bool = False) -> PreTrainedModel:
    """Return the recipe's base, as `load_trainable_model` loads it."""
    return load_trainable_model(
        recipe.folder,
        recipe.device,
        recipe.adapter,
        whole=recipe.trains_base_weights,
        attention=attention,
        scores=scores,
        trust_remote_code=recipe.options.trust_remote_code,
        sharded=recipe.sharding == "fsdp",
    )


def peft_adapter_config(model: Any, recipe: TrainingRecipe) -> PeftConfig | None:
    """Return the adapter's PEFT config, or None for full fine-tuning. Raises ConfigError if the options name a module
    that the model does not have."""
    numbers, options = recipe.numbers, recipe.options
    match recipe.adapter:
        case Adapter.FULL:
            return None
        case Adapter.PREFIX:
            return PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=int(numbers["virtual_tokens"]))
        case Adapter.PROMPT:
            return PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=int(numbers["virtual_tokens"]))
    config = build_lora_config(numbers, options.lora_target_modules, options.lora_variant)
    _check_modules(model, options)
    config.modules_to_save = options.lora_modules_to_save
    if options.lora_modules_to_save and model.config.get_text_config().tie_word_embeddings:
        config.ensure_weight_tying = True  # an embedding and a head that are one stay one
    return config


def _check_modules(model: Any, options: TrainingOptions) -> None:
    linear = _last_names(model, torch.nn.Linear)
    known = {"lora_target_modules": linear, "lora_modules_to_save": linear | _last_names(model, torch.nn.Embedding)}
    there = {name for name, _ in model.named_modules() if name}
    for option, offered in known.items():
        given = getattr(options, option)
        for wanted in given if isinstance(given, list) else ():
            if not any(name == wanted or name.endswith(f".{wanted}") for name in there):
                names = ", ".join(sorted(offered))
                raise ConfigError(f"{option} names {wanted}, and the model has no such module; it has {names}")


def _last_names(model: Any, kind: type[torch.nn.Module]) -> set[str]:
    return {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, kind)}


def model_and_peft_config(model: Any, recipe: TrainingRecipe) -> dict[str, Any]:
    """Return a trainer's `model` and `peft_config`: a new adapter for PEFT to make, or the one that the run continues
    from.

    Preference trainers keep a frozen copy of the latter as the reference, so they start from earlier training and are
    not pulled back from it.
    """
    config = peft_adapter_config(model, recipe)
    if recipe.start is None or config is None:
        return {"model": model, "peft_config": config}
    return {"model": PeftModel.from_pretrained(model, str(recipe.start), is_trainable=True), "peft_config": None}


@torch.no_grad()
def init_virtual_tokens(model: Any, rows: Sequence[list[int]]) -> None:
    """Begin with real tokens, the first ones of the data: their embeddings, or for a prefix their keys and values.

    Random ones begin far from anything that the model has seen, and small models do not recover (Li and Liang 2021,
    section 7.4; Lester et al. 2021, figure 3b).
    """
    encoder = model.prompt_encoder["default"]
    count = encoder.embedding.num_embeddings
    tokens = [token for row in rows for token in row][:count]
    tokens = (tokens * (count // len(tokens) + 1))[:count]
    ids = torch.tensor([tokens], device=encoder.embedding.weight.device)
    base = model.get_base_model()
    if model.active_peft_config.peft_type == PeftType.PROMPT_TUNING:
        encoder.embedding.weight.copy_(base.get_input_embeddings()(ids)[0])
        return
    cache = DynamicCache(config=base.config)
    training = base.training
    base.eval()
    base(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    base.train(training)
    # PEFT's order: of each token, layer by layer, the keys of all heads and then the values.
    pairs = [(layer.keys[0], layer.values[0]) for layer in cache.layers]
    flat = torch.stack([part for pair in pairs for part in pair])  # 2 x layers, heads, tokens, width
    encoder.embedding.weight.copy_(flat.permute(2, 0, 1, 3).reshape(count, -1))
