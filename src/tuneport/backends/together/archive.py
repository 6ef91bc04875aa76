"""Unpacks a downloaded archive of weights (tar, tar.gz, tar.zst) into a folder that transformers and PEFT load.

The archive comes from elsewhere, so nothing in it is believed: regular files only, all of them inside the folder, and
no more of them than a model has. What is unpacked is written aside and renamed, so that a folder is whole or not there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any

from tuneport.data.containers.unpacking import open_unpacked
from tuneport.data.rows.json_files import read_safetensors_header
from tuneport.errors import DatasetError, ProviderError, StorageError, UnavailableError
from tuneport.files import folder_beside
from tuneport.validation import read_json_object

RECEIPT = "tuneport.json"
"""In the folder: which job and base model the weights are of, and the archive's sha256."""
MOST_FILES = 10_000
MOST_TIMES = 100
"""So many times the size of the archive may be unpacked, and 256 MiB more: weights shrink by a tenth to a half."""
_SPARE = 256 << 20
_BLOCK = 1 << 20


def unpack_weights_archive(archive: Path, folder: Path, receipt: Mapping[str, Any], provider: str) -> Path:
    """Unpack into `folder`, which must be empty or missing.

    Raises UnavailableError if the archive is damaged or does not hold a model (fetching it again may help),
    ProviderError if it would write elsewhere, or be endless; raises StorageError if the disk is full.
    """
    try:
        with folder_beside(folder) as aside:
            aside.mkdir(parents=True)
            try:
                _extract(archive, aside, provider)
            except (tarfile.TarError, DatasetError, EOFError) as error:
                raise UnavailableError(
                    f"the archive from {provider} is damaged ({error}); fetch it again", provider=provider
                ) from error
            top = _model_folder(aside, provider)
            _check_weights(top, provider)
            (top / RECEIPT).write_text(json.dumps(dict(receipt), indent=2) + "\n", encoding="utf-8")
            os.replace(top, folder)
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be written: {error.strerror}; free some space, or name another folder"
        ) from error
    return folder


def read_download_receipt(folder: Path) -> dict[str, Any] | None:
    """Return the receipt of an earlier download in the folder, or None if there is none."""
    try:
        return read_json_object(folder / RECEIPT)
    except (OSError, ValueError):
        return None


def _extract(archive: Path, folder: Path, provider: str) -> None:
    room = min(archive.stat().st_size * MOST_TIMES + _SPARE, shutil.disk_usage(folder).free)
    seen: set[str] = set()
    with open_unpacked(archive) as file, tarfile.open(fileobj=file, mode="r|") as members:
        for member in members:
            target = _target(member, folder, provider)
            if member.isdir():
                continue
            name = str(target).casefold()
            if name in seen or len(seen) >= MOST_FILES:
                raise _unsafe(
                    provider, f"has {member.name!r} twice" if name in seen else f"has over {MOST_FILES} files"
                )
            seen.add(name)
            room -= member.size
            if room < 0:
                raise _unsafe(provider, "unpacks to more than a model of its size, or than the disk holds")
            content = members.extractfile(member)
            assert content is not None  # it is a regular file
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as out:
                    written = _copy(content, out)
            except OSError as error:  # before `opened` takes it for trouble with the archive
                raise StorageError(
                    f"{target.parent} cannot be written: {error.strerror}; free some space, or name another folder"
                ) from error
            if written != member.size:
                raise tarfile.ReadError(f"{member.name} is cut short")
        while file.read(_BLOCK):  # to the end, where the packing's own checksum is
            pass


def _copy(content: IO[bytes], out: IO[bytes]) -> int:
    written = 0
    while block := content.read(_BLOCK):
        written += out.write(block)
    return written


def _target(member: tarfile.TarInfo, folder: Path, provider: str) -> Path:
    """Return the path of a member, inside `folder`."""
    name = member.name
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or re.search(r"[\\\0-\x1f:]", name) or len(name) > 512:
        raise _unsafe(provider, f"wants to write to {name!r}")
    if member.issparse() or not (member.isreg() or member.isdir()):
        raise _unsafe(provider, f"has {name!r}, which is no plain file")
    if not path.parts and not member.isdir():
        raise _unsafe(provider, "has a file without a name")
    return folder.joinpath(*path.parts)


def _model_folder(folder: Path, provider: str) -> Path:
    """Return the only folder in it that holds a model: some archives have everything in a subfolder."""
    for mark in ("adapter_config.json", "config.json"):
        found = sorted({path.parent for path in folder.rglob(mark)}, key=lambda path: len(path.parts))
        if found and (len(found) == 1 or len(found[0].parts) < len(found[1].parts)):
            return found[0]
    names = ", ".join(sorted(path.name for path in folder.rglob("*") if path.is_file())[:5]) or "nothing"
    raise UnavailableError(f"the archive holds {names} instead of a model; fetch it again", provider=provider)


def _check_weights(folder: Path, provider: str) -> None:
    """Check that there are weights, and that each safetensors file is as long as its own header says."""
    weights = sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")])
    if not weights:
        raise UnavailableError("the archive holds a configuration and no weights; fetch it again", provider=provider)
    for path in weights:
        if path.suffix == ".safetensors" and (told := _told_size(path)) != path.stat().st_size:
            what = "no safetensors file" if told is None else f"{path.stat().st_size:,} bytes long instead of {told:,}"
            raise UnavailableError(f"{path.name} is {what}; fetch it again", provider=provider)


def _told_size(path: Path) -> int | None:
    """Return the size that the header gives (its length in 8 bytes, then JSON with each tensor's place), or None."""
    try:
        ends = [int(row["data_offsets"][1]) for row in read_safetensors_header(path).values()]
    except (ValueError, LookupError, TypeError, OverflowError):
        return None
    with path.open("rb") as file:
        return 8 + int.from_bytes(file.read(8), "little") + max(ends, default=0)


def _unsafe(provider: str, what: str) -> ProviderError:
    return ProviderError(
        f"the archive from {provider} {what}, and was not unpacked; report it to them",
        provider=provider,
        code="unsafe_archive",
    )
