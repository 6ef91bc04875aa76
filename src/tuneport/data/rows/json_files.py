"""The header of a safetensors file: names and shapes of the tensors in it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from tuneport.validation import decode_json

MAX_HEADER = 100_000_000
"""Bytes of a safetensors header at most; the library reads no longer one either."""


def read_safetensors_header(path: Path) -> dict[str, dict[str, Any]]:
    """Return the header of a safetensors file, by tensor. Raises OSError, or ValueError without one."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(MAX_HEADER, path.stat().st_size - 8):
            raise ValueError("it has no header, or is cut off")
        header = decode_json(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is not an object")
    tensors = {name: row for name, row in header.items() if name != "__metadata__"}
    if not all(isinstance(row, dict) for row in tensors.values()):
        raise ValueError("its header does not describe tensors")
    return tensors


def count_safetensors_numbers(path: Path) -> int:
    """Return how many numbers the tensors of a safetensors file have, as `read_safetensors_header` reads them."""
    total = 0
    for name, row in read_safetensors_header(path).items():
        shape = row.get("shape")
        if not isinstance(shape, list) or not all(type(side) is int and 0 <= side < 1 << 48 for side in shape):
            raise ValueError(f"its header gives the tensor {name[:80]!r} no shape")
        total += math.prod(shape)
    return total
