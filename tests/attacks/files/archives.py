"""Hostile archives of weights, as a provider's download might be."""

from __future__ import annotations

import io
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path

_DEEP = b"[" * 200_000 + b"]" * 200_000


def _safetensors(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header


CASES: Mapping[str, Mapping[str, bytes]] = {
    "safetensors, header 200,000 deep": {"config.json": b"{}", "model.safetensors": _safetensors(_DEEP)},
    "safetensors, header is a list": {"config.json": b"{}", "model.safetensors": _safetensors(b"[1, 2]")},
    "safetensors, a tensor is a list": {"config.json": b"{}", "model.safetensors": _safetensors(b'{"a": []}')},
    "safetensors, offsets are 1e999": {
        "config.json": b"{}",
        "model.safetensors": _safetensors(b'{"a": {"data_offsets": [0, 1e999]}}'),
    },
    "safetensors, offsets are objects": {
        "config.json": b"{}",
        "model.safetensors": _safetensors(b'{"a": {"data_offsets": {"1": 2}}}'),
    },
    "safetensors of nothing": {"config.json": b"{}", "model.safetensors": b""},
    "a header of 2**63 bytes": {"config.json": b"{}", "model.safetensors": struct.pack("<Q", 1 << 63)},
    "no weights": {"config.json": _DEEP},
}


def write(path: Path, case: str) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in CASES[case].items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path
