"""The environment and the data of a run: `environment.json` and `data.json` of its folder."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tuneport.base_models import BaseModelDevice
from tuneport.digests import sha256_of
from tuneport.train.speed.row_tokens import trained_row_token_count, training_row_token_count
from tuneport.types import DataFile

PACKAGES = (
    "tuneport", "torch", "transformers", "peft", "trl", "accelerate", "datasets", "tokenizers", "safetensors",
    "bitsandbytes", "numpy",
)  # fmt: skip
_CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile", "asimd", "bf16", "sve")


def training_environment(device: BaseModelDevice) -> dict[str, Any]:
    """Return versions, machine and device, ready for JSON. What this machine does not report is left out."""
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        # Of torch with its build (+cu130, +cpu), which the package's own version does not tell.
        "packages": {name: version for name in PACKAGES if (version := _version(name))} | {"torch": torch.__version__},
        "device": {"name": device.name, "precision": device.precision},
        "cpu": _cpu(),
    }
    with contextlib.suppress(ValueError, OSError):
        found["memory_gib"] = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    if device.name == "cuda":
        properties = torch.cuda.get_device_properties(0)
        found["gpu"] = {
            "name": properties.name,
            "memory_gib": round(properties.total_memory / 2**30, 1),
            "compute_capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda,
            "driver": _nvidia_driver(),
        }
    return found


def training_data_fingerprint(file: DataFile, rows: Sequence[Any]) -> dict[str, Any]:
    """Return what identifies a dataset at training time. `sha256` is of the file as the trainer read it."""
    return {
        "file": file.path.name,
        "sha256": sha256_of(file.path),
        "bytes": file.path.stat().st_size,
        "format": file.format,
        "rows": len(rows),
        "tokens": sum(training_row_token_count(row) for row in rows),
        "trained_tokens": sum(trained_row_token_count(row) for row in rows),
        "longest_row_tokens": max(training_row_token_count(row) for row in rows),
        "rows_cut": sum(row.cut > 0 for row in rows),
        "columns_left_out": list(file.left_out),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu() -> dict[str, Any]:
    """Return the processor's facts: on Linux from the kernel's list, elsewhere from the platform."""
    facts: dict[str, Any] = {"name": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = (part.strip() for part in line.partition(":"))
            if name == "model name":
                facts["name"] = value
            if name.lower() in ("flags", "features"):
                present = set(value.split())
                return facts | {"flags": [flag for flag in _CPU_FLAGS if flag in present]}
    return facts


def _nvidia_driver() -> str | None:
    with contextlib.suppress(OSError):
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
        return next((word for word in text.split() if word[0].isdigit() and "." in word), None)
    return None
