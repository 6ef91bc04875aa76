"""Files in pieces, as they travel to a Ray cluster and back.

A cluster takes packages of at most 100 MB over its dashboard's port, and objects of any size cost memory: so every file
is cut into pieces. A manifest names the pieces of each file, in order.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from tuneport import formatting
from tuneport.errors import ConfigError, TrainingError
from tuneport.types import Model

PIECE_BYTES = 64 * 1024 * 1024
PACKAGE_PREFIX = "tuneport_part_"
TRAVELLING_BYTES = 2 * 1024**3
"""Of one run, at most: packages live in the memory of the cluster's head node."""


class RayPackedFile(Model):
    """`pieces`: the packages that hold it, in order; in each, it has its own name."""

    name: str
    bytes: int
    pieces: list[str]


def pack_folder_for_ray_training(files: Mapping[str, Path], folder: Path) -> list[RayPackedFile]:
    """Write `files`, by the names under which they arrive, into folders of `PIECE_BYTES` that `folder` will hold.

    Raises ConfigError if they are too large to travel.
    """
    total = sum(path.stat().st_size for path in files.values())
    if total > TRAVELLING_BYTES:
        largest = max(files.values(), key=lambda path: path.stat().st_size)
        most, wanted = formatting.size(TRAVELLING_BYTES), formatting.size(total)
        raise ConfigError(
            f"{wanted} are more than can travel to a Ray cluster with a job ({most}); name the base model as "
            f"OWNER/NAME, or make the dataset smaller (the largest file is {largest})"
        )
    packed: list[RayPackedFile] = []
    number = room = 0
    for name, path in files.items():
        pieces: list[str] = []
        with path.open("rb") as source:
            while (left := path.stat().st_size - source.tell()) or not pieces:
                if not room:
                    number, room = number + 1, PIECE_BYTES
                package = f"{PACKAGE_PREFIX}{number:04}"
                target = folder / package / name
                target.parent.mkdir(parents=True, exist_ok=True)
                size = min(left, room)
                with target.open("wb") as piece:
                    _copy(source, piece, size)
                pieces.append(package)
                room -= size
        packed.append(RayPackedFile(name=name, bytes=path.stat().st_size, pieces=pieces))
    return packed


def unpack_on_ray_node(packed: RayPackedFile, folder: Path) -> Path:
    """Return the file on a node of the cluster, in `folder` unless it came in one chunk and can be read in place."""
    parts = [_package(name) / packed.name for name in packed.pieces]
    if len(parts) == 1:
        return parts[0]
    target = folder / packed.name
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as whole:
        for part in parts:
            with part.open("rb") as piece:
                shutil.copyfileobj(piece, whole)
    if target.stat().st_size != packed.bytes:
        raise TrainingError(f"{packed.name} arrived with {target.stat().st_size} of {packed.bytes} bytes")
    return target


def _package(name: str) -> Path:
    """Return the folder into which Ray unpacked a package: it puts each on Python's path."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise TrainingError(f"the package {name} of this run did not arrive on this node")
    return Path(next(iter(spec.submodule_search_locations)))


def _copy(source: BinaryIO, target: BinaryIO, size: int) -> None:
    while size:
        chunk = source.read(min(size, 1 << 20))
        if not chunk:
            raise TrainingError("a file became shorter while it was being packed")
        target.write(chunk)
        size -= len(chunk)


def send_folder_over_ray(folder: Path, send: Callable[[int, bytes], None]) -> dict[str, Any]:
    """Send a folder to `send` as the chunks of a tar file, numbered from 0; returns what
    `receive_folder_over_ray` checks."""
    pieces = _RayChunkWriter(send)
    with tarfile.open(fileobj=pieces, mode="w|") as archive:  # type: ignore[call-overload]
        archive.add(folder, arcname=".")
    pieces.close()
    return {"pieces": pieces.count, "bytes": pieces.total, "sha256": pieces.digest.hexdigest()}


def receive_folder_over_ray(about: Mapping[str, Any], pieces: Iterator[bytes], folder: Path) -> None:
    """Unpack what `send_folder_over_ray` made into `folder`, which is created. Raises TrainingError if the content
    differs."""
    folder.mkdir(parents=True)
    archive_path = folder.with_name(f"{folder.name}.tar")
    digest = hashlib.sha256()
    try:
        with archive_path.open("wb") as archive:
            for piece in pieces:
                digest.update(piece)
                archive.write(piece)
        if digest.hexdigest() != about["sha256"]:
            raise TrainingError(f"{folder.name} arrived damaged from the cluster")
        with tarfile.open(archive_path) as unpacked:
            unpacked.extractall(folder, filter="data")
    finally:
        archive_path.unlink(missing_ok=True)


class _RayChunkWriter:
    """A file to write to, which hands on each `PIECE_BYTES`."""

    def __init__(self, send: Callable[[int, bytes], None]) -> None:
        self.send, self.buffer = send, bytearray()
        self.count = self.total = 0
        self.digest = hashlib.sha256()

    def write(self, content: bytes) -> int:
        self.buffer += content
        while len(self.buffer) >= PIECE_BYTES:
            self._hand_on(PIECE_BYTES)
        return len(content)

    def close(self) -> None:
        if self.buffer:
            self._hand_on(len(self.buffer))

    def _hand_on(self, size: int) -> None:
        piece = bytes(self.buffer[:size])
        del self.buffer[:size]
        self.digest.update(piece)
        self.send(self.count, piece)
        self.count, self.total = self.count + 1, self.total + size
