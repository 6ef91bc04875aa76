"""Places a model on one GPU, several, Apple's GPU or the CPU, and chooses its precision."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tuneport.base_models import BaseModelDevice, choose_base_model_device
from tuneport.data.rows.json_files import count_safetensors_numbers
from tuneport.errors import ConfigError
from tuneport.installation import install_extra

DEVICE_MAPS = ("auto", "balanced", "sequential")
SHARE_FOR_WEIGHTS = 0.8  # of a GPU's free memory: the rest is for caches and activations
SIZE_IN_4_BIT = 0.3  # of the bf16 weights: half a byte each, their scales, and the parts that stay as they are


@dataclass(frozen=True)
class AvailableHardware:
    """The facts that `place_inference_model` decides by. `gpu_free_bytes` is of each visible CUDA GPU; `best` is where
    one model runs best; `precision` is what was asked for, if anything was."""

    best: BaseModelDevice
    precision: str | None = None
    gpu_free_bytes: tuple[int, ...] = ()
    bitsandbytes: bool = False


@dataclass(frozen=True)
class InferenceModelPlacement:
    """`map` as transformers' `device_map`; None: all of it on `device`."""

    device: BaseModelDevice
    map: str | None = None
    load_in_4bit: bool = False

    @property
    def device_map(self) -> str | dict[str, str]:
        return self.map or {"": self.device.name}


def place_inference_model(
    machine: AvailableHardware, weight_bytes: int, *, device_map: str = "auto", load_in_4bit: bool = False
) -> InferenceModelPlacement:
    """Choose the model's devices. `weight_bytes` are those of the model in its precision on `machine.best`.

    `device_map`: auto takes one GPU if the model fits, else all of them; balanced and sequential spread it over all
    visible ones; or a device: cpu, mps, cuda, cuda:1. Raises ConfigError if that device is missing or too small.
    """
    if load_in_4bit and not machine.bitsandbytes:
        raise ConfigError(f"load_in_4bit needs bitsandbytes: {install_extra('local')} (Linux), or leave it out")
    needed = int(weight_bytes * SIZE_IN_4_BIT) if load_in_4bit else weight_bytes
    if device_map not in DEVICE_MAPS:
        return InferenceModelPlacement(_named(machine, device_map), None, load_in_4bit)
    if machine.best.name != "cuda":
        if device_map != "auto":
            raise ConfigError(
                f"device_map {device_map} spreads a model over CUDA GPUs, and there is none; leave it out"
            )
        return InferenceModelPlacement(machine.best, None, load_in_4bit)
    free = machine.gpu_free_bytes
    roomiest = max(range(len(free)), key=free.__getitem__)
    if device_map == "auto" and needed <= SHARE_FOR_WEIGHTS * free[roomiest]:
        return InferenceModelPlacement(BaseModelDevice(f"cuda:{roomiest}", machine.best.precision), None, load_in_4bit)
    if needed > SHARE_FOR_WEIGHTS * sum(free):
        hint = "choose a smaller model" if load_in_4bit else "set load_in_4bit, or choose a smaller model"
        raise ConfigError(
            f"the model takes {needed / 2**30:.1f} GiB and the {len(free)} visible GPUs have "
            f"{sum(free) / 2**30:.1f} GiB free, a fifth of it for answers; {hint}"
        )
    if len(free) == 1:
        return InferenceModelPlacement(BaseModelDevice("cuda:0", machine.best.precision), None, load_in_4bit)
    return InferenceModelPlacement(machine.best, device_map, load_in_4bit)


def _named(machine: AvailableHardware, device: str) -> BaseModelDevice:
    kind, _, number = device.partition(":")
    if kind == "cuda" and machine.best.name == "cuda" and (not number or number.isdecimal()):
        if int(number or 0) < len(machine.gpu_free_bytes):
            return BaseModelDevice(device, machine.best.precision)
    elif device == machine.best.name:
        return machine.best
    elif device == "cpu":
        return BaseModelDevice("cpu", machine.precision or "fp32")
    raise ConfigError(
        f"device_map {device} is not on this machine (there: {machine.best.name}, "
        f"{len(machine.gpu_free_bytes)} CUDA GPUs); name auto, balanced, sequential, cpu, mps, cuda or cuda:N"
    )


def available_inference_hardware(precision: str | None = None) -> AvailableHardware:
    best = choose_base_model_device(precision)
    free: Sequence[int] = ()
    if best.name == "cuda":
        free = [torch.cuda.mem_get_info(number)[0] for number in range(torch.cuda.device_count())]
    return AvailableHardware(best, precision, tuple(free), importlib.util.find_spec("bitsandbytes") is not None)


def loaded_inference_weight_bytes(folder: Path, device: BaseModelDevice) -> int:
    """Return the bytes of a folder of safetensors once loaded, in the precision of loading, not of the file."""
    total = 0
    width = {"bf16": 2, "fp16": 2, "fp32": 4}[device.precision]
    for path in folder.glob("*.safetensors"):
        try:
            total += count_safetensors_numbers(path) * width
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} cannot be read: {error}; fetch the model again") from error
    return total


def inference_nf4_config(placement: InferenceModelPlacement) -> Any:
    """Build the NF4 configuration that QLoRA trains with (Dettmers et al. 2023), so that the adapter meets the same
    weights."""
    if not placement.load_in_4bit:
        return None
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, placement.device.dtype),
    )


def is_inference_out_of_memory(error: Exception) -> bool:
    """Return whether memory ran out. The CPU's allocator has no error class of its own."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error)
