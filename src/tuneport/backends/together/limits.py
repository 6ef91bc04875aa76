"""The limits of a model at Together: the service's own, held against a job before a file is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tuneport.backends.hosted.http.answers import (
    parse_provider_count,
    parse_provider_number,
    parse_provider_object,
    parse_provider_text,
)
from tuneport.errors import UnsupportedError
from tuneport.types import DataFile

_MARKS = {"tools": b'"tools"', "reasoning": b'"reasoning', "vision": b'"image_url"'}
_ROLES_OF_ANSWERS = ("messages", "preferred_output", "non_preferred_output")


_MOST = ("max_num_evals", "max_num_checkpoints", "max_learning_rate", "max_seq_length_sft", "max_seq_length_dpo")
_UNKNOWN_MOST = 2**53  # of a limit that is not told: the service itself refuses what is too much
_DEFAULT_RANK = 8
"""Where the service does not tell its own: optional in its document, and the SDK needs one."""


def complete_together_limits(limits: Any) -> Any:
    """Return the limits, with missing or odd ones replaced so that they forbid nothing. Raises ValueError if the answer
    has another shape: the SDK does not check."""
    told = parse_provider_object(limits.to_dict(mode="json", warnings=False))
    if parse_provider_count(told.get("max_num_epochs")) is None:
        raise ValueError("limits were expected, and the field max_num_epochs is missing or no number")
    for name in _MOST:
        told[name] = _told(told.get(name), _UNKNOWN_MOST)
    for name in ("min_learning_rate", "min_max_seq_length"):
        told[name] = _told(told.get(name), 0)
    told["lora_training"] = _batches(told.get("lora_training"))
    lora = told["lora_training"]
    lora["max_rank"] = _told(lora.get("max_rank"), _UNKNOWN_MOST)
    lora["default_rank"] = _told(lora.get("default_rank"), min(_DEFAULT_RANK, lora["max_rank"]))
    modules = lora.get("target_modules")
    lora["target_modules"] = (
        [name for name in modules if parse_provider_text(name)] if isinstance(modules, list) else []
    )
    told["full_training"] = _batches(told["full_training"]) if isinstance(told.get("full_training"), dict) else None
    told |= {name: told.get(name) is not False for name in ("supports_tools", "supports_reasoning")}
    told["supports_vision"] = told.get("supports_vision") is True  # where it is, the SDK sends options for images
    told["supports_full_training"] = told.get("supports_full_training") is True
    return type(limits).construct(**told)


def _batches(given: Any) -> dict[str, Any]:
    held = dict(parse_provider_object(given))
    least = _told(held.get("min_batch_size"), 1)
    most = {name: _told(held.get(name), _UNKNOWN_MOST) for name in ("max_batch_size", "max_batch_size_dpo")}
    return held | {"min_batch_size": least} | most


def _told(value: Any, otherwise: float) -> float:
    found = parse_provider_number(value)
    return otherwise if found is None or found < 0 else found


def check_together_limits(backend: str, arguments: Mapping[str, Any], limits: Any) -> None:
    """Raise UnsupportedError that lists every setting outside the limits (`FinetuneModelLimits`), with the figure."""
    model = arguments.get("model") or arguments["from_checkpoint"]
    if broken := list(_broken(arguments, limits)):
        raise UnsupportedError(f"{backend} cannot train {model} like that: {'; '.join(broken)}; change that setting")


def _broken(arguments: Mapping[str, Any], limits: Any) -> Iterator[str]:
    for name, most in (
        ("n_epochs", limits.max_num_epochs),
        ("n_evals", limits.max_num_evals),
        ("n_checkpoints", limits.max_num_checkpoints),
    ):
        yield from _outside(name, arguments.get(name), None, most)
    yield from _outside(
        "learning_rate", arguments.get("learning_rate"), limits.min_learning_rate, limits.max_learning_rate
    )
    dpo = arguments["training_method"] == "dpo"
    longest = limits.max_seq_length_dpo if dpo else limits.max_seq_length_sft
    yield from _outside("max_seq_length", arguments.get("max_seq_length"), limits.min_max_seq_length, longest)
    if arguments.get("train_vision") and not limits.supports_vision:
        yield "train_vision, and the model sees no images"
    if arguments["lora"] is None:  # decided by the checkpoint, over there
        return
    if arguments["lora"]:
        batch = limits.lora_training
        yield from _outside("lora_r", arguments.get("lora_r"), 1, batch.max_rank)
        yield from _unknown_modules(arguments.get("lora_trainable_modules"), batch.target_modules)
    else:
        batch = limits.full_training
        if not limits.supports_full_training or batch is None:
            yield "adapter full, which this model cannot be trained with (it takes lora)"
            return
    largest = batch.max_batch_size_dpo if dpo else batch.max_batch_size
    if (size := arguments.get("batch_size", "max")) != "max":
        yield from _outside("batch_size", size, batch.min_batch_size, largest)


def _outside(name: str, value: float | None, least: float | None, most: float) -> Iterator[str]:
    if value is None:
        return
    if value > most:
        yield f"{name} is {value:,g}, at most {most:,g} is allowed"
    elif least is not None and value < least:
        yield f"{name} is {value:,g}, at least {least:,g} is needed"


def _unknown_modules(given: str | None, known: list[str] | None) -> Iterator[str]:
    modules = [name.strip() for name in (given or "all-linear").split(",")]
    if known and (unknown := [name for name in modules if name not in (*known, "all-linear")]):
        yield f"lora_trainable_modules has {unknown[0]}, the model has {', '.join(known)}"


def check_together_features(backend: str, model: str, limits: Any, file: DataFile) -> None:
    """Raise UnsupportedError for a file with tools, reasoning or images that the model does not support."""
    missing = {name: mark for name, mark in _MARKS.items() if not getattr(limits, f"supports_{name}")}
    if not missing:
        return
    with file.path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            # A search for bytes first: decoding each of some hundred thousand rows would take its time.
            for name in [name for name, mark in missing.items() if mark in line]:
                if name in _features(json.loads(line)):
                    raise UnsupportedError(
                        f"{model} at {backend} does not support {name}, and record {number} of the dataset has it; "
                        "take another model, or leave it out of the data"
                    )


def _features(row: dict[str, Any]) -> set[str]:
    inner = row.get("input")
    rows = [row, inner] if isinstance(inner, dict) else [row]
    found = {"tools" for each in rows if each.get("tools")}
    for each in rows:
        for message in [turn for name in _ROLES_OF_ANSWERS for turn in each.get(name) or () if isinstance(turn, dict)]:
            if message.get("reasoning") or message.get("reasoning_content"):
                found.add("reasoning")
            content = message.get("content")
            if isinstance(content, list) and any(part.get("type") == "image_url" for part in content):
                found.add("vision")
    return found
