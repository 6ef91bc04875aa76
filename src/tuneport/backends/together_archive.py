"""From a downloaded archive of weights (tar, tar.gz, tar.zst) to a folder that transformers and PEFT load.

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

from tuneport.data.containers.unpacking import opened
from tuneport.errors import DatasetError, ProviderError, StorageError, UnavailableError

RECEIPT = "tuneport.json"
"""In the folder: which job and base model the weights are of, and the archive's sha256."""
MOST_FILES = 10_000
MOST_TIMES = 100
"""So many times the size of the archive may be unpacked, and 256 MiB more: weights shrink by a tenth to a half."""
_SPARE = 256 << 20
_BLOCK = 1 << 20


def unpack(archive: Path, folder: Path, receipt: Mapping[str, Any], provider: str) -> Path:
    """Unpack into `folder`, which must be empty or not there yet.

    UnavailableError where the archive is damaged or is none of a model (fetching it again may help), ProviderError for
    one that would write elsewhere, or be endless; StorageError where the disk is full.
    """
    aside = folder.with_name(f".{folder.name}.{os.urandom(4).hex()}")
    try:
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
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def receipt_of(folder: Path) -> dict[str, Any] | None:
    """What an earlier download wrote into the folder; None where there is none."""
    try:
        receipt = json.loads((folder / RECEIPT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return receipt if isinstance(receipt, dict) else None


def _extract(archive: Path, folder: Path, provider: str) -> None:
    room = min(archive.stat().st_size * MOST_TIMES + _SPARE, shutil.disk_usage(folder).free)
    seen: set[str] = set()
    with opened(archive) as file, tarfile.open(fileobj=file, mode="r|") as members:
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
    """Where a member goes, inside `folder`."""
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
    """The only folder in it that holds a model: some archives have all in a folder of their own."""
    for mark in ("adapter_config.json", "config.json"):
        found = sorted({path.parent for path in folder.rglob(mark)}, key=lambda path: len(path.parts))
        if found and (len(found) == 1 or len(found[0].parts) < len(found[1].parts)):
            return found[0]
    names = ", ".join(sorted(path.name for path in folder.rglob("*") if path.is_file())[:5]) or "nothing"
    raise UnavailableError(f"the archive holds no model, but {names}; fetch it again", provider=provider)


def _check_weights(folder: Path, provider: str) -> None:
    """Each safetensors file is as long as its own header says; and there are weights."""
    weights = sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")])
    if not weights:
        raise UnavailableError("the archive holds a configuration and no weights; fetch it again", provider=provider)
    for path in weights:
        if path.suffix == ".safetensors" and (told := _told_size(path)) != path.stat().st_size:
            what = "no safetensors file" if told is None else f"{path.stat().st_size:,} bytes long instead of {told:,}"
            raise UnavailableError(f"{path.name} is {what}; fetch it again", provider=provider)


def _told_size(path: Path) -> int | None:
    """What the header says (its length in 8 bytes, then JSON with each tensor's place); None where it says nothing."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= path.stat().st_size:
            return None
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return None
    return 8 + length + max(ends, default=0)


def _unsafe(provider: str, what: str) -> ProviderError:
    return ProviderError(
        f"the archive from {provider} {what}, and was not unpacked; report it to them",
        provider=provider,
        code="unsafe_archive",
    )
