"""Chooses the faster parts of a run: a rule over the device, its compute capability and what is installed."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from tuneport.base_models import BaseModelDevice

FLASH_CAPABILITY = (8, 0)
"""FlashAttention 2 needs Ampere or later, and weights or autocast in 16 bits (its README, "CUDA support")."""


@dataclass(frozen=True)
class Acceleration:
    """`flash`: FlashAttention over rows end to end, kept apart by their lengths, with no padding between them.

    `liger`: Liger's kernels for norms, rotary embeddings and SwiGLU; the loss over an LM head in tiles is TRL's anyway.
    `note` is None if there was nothing to choose.
    """

    flash: bool
    liger: bool
    note: str | None


def choose_acceleration(
    device: BaseModelDevice, capability: tuple[int, int] | None, installed: Set[str]
) -> Acceleration:
    """Choose by `capability`, that of a CUDA device, and `installed`, which of flash_attn and liger_kernel are
    importable.

    Without FlashAttention a GPU's batches hold rows of similar length, so that they need little padding.
    """
    if device.name != "cuda":
        return Acceleration(flash=False, liger=False, note=None)
    flash = (
        "flash_attn" in installed
        and capability is not None
        and capability >= FLASH_CAPABILITY
        and device.precision in ("bf16", "fp16")
    )
    liger = "liger_kernel" in installed
    attention = "FlashAttention over batches without padding" if flash else "SDPA over batches of rows of like length"
    kernels = "Liger's kernels" if liger else "the model's own kernels"
    return Acceleration(flash, liger, note=f"trains in {device.precision} with {attention} and {kernels}")


def acceleration_here(device: BaseModelDevice) -> Acceleration:
    """Return the choice for this machine, as torch and transformers see it."""
    import torch
    from transformers.utils import is_flash_attn_2_available, is_liger_kernel_available

    on_cuda = device.name == "cuda"
    found = {"flash_attn": on_cuda and is_flash_attn_2_available(), "liger_kernel": is_liger_kernel_available()}
    capability = torch.cuda.get_device_capability() if on_cuda else None
    return choose_acceleration(device, capability, {name for name, here in found.items() if here})
