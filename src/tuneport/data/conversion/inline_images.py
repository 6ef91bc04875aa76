"""Reads the pictures that records name by a path into the records, as data URLs hold them.

A dataset may come from anywhere, so that what it names is not believed: only regular files inside of one folder are
read, wherever links lead, and only those whose bytes are a picture's. OpenAI and Together take PNG, JPEG and WEBP of up
to 10 MB, 10 in an example (their guides to vision fine-tuning).
"""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tuneport.data.containers.numbering import RowPosition
from tuneport.data.rows.records import ImagePart, Record, record_messages
from tuneport.errors import ConfigError, DatasetProblem
from tuneport.formatting import counted, size

if TYPE_CHECKING:  # a process that helps to convert starts without pydantic
    from tuneport.data.dataset import Dataset

MOST_BYTES = 10_000_000
MOST_IMAGES = 10  # of an example
_TAKEN = "PNG, JPEG and WEBP"


class ImageInliner:
    """`folder` is the only one from which pictures are read. `images` and `bytes` count those that were."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.images = self.bytes = 0

    @classmethod
    def of(cls, dataset: Dataset, folder: Path | None = None) -> ImageInliner:
        """Return one for the dataset's own folder, or another. Raises ConfigError if that is none."""
        if folder is None:
            return cls(dataset.path if dataset.path.is_dir() else dataset.files[0].parent)
        if not folder.is_dir():
            raise ConfigError(f"the folder with the pictures, {folder}, is not there; name one that is")
        return cls(folder)

    @property
    def note(self) -> str:
        """Return what was read, in words."""
        return f"{counted(self.images, 'picture')}, {size(self.bytes)}, read into the rows from {self.folder}"

    def inline(self, line: int, record: Record, locate: Callable[[int], RowPosition]) -> tuple[DatasetProblem, ...]:
        """Read the record's pictures into it, in place, and return what is wrong with them."""
        parts = list(image_parts(record))
        wrong: list[tuple[str, str]] = []
        by_path = [part for part in parts if part.is_path]
        if by_path and len(parts) > MOST_IMAGES:
            wrong.append((f"shows {len(parts)} pictures, and {MOST_IMAGES} are taken", "show fewer in one record"))
            by_path = []
        for part in by_path:
            assert part.url is not None
            try:
                part.media_type, content = self._read(part.url)
            except _PictureError as error:
                wrong.append((f"{part.url}: {error}", error.fix))
                continue
            part.data, part.url = base64.b64encode(content).decode(), None
            self.images, self.bytes = self.images + 1, self.bytes + len(content)
        place = locate(line)
        return tuple(
            DatasetProblem(str(place.file), place.number, "image", rule, fix, place.unit) for rule, fix in wrong
        )

    def _read(self, name: str) -> tuple[str, bytes]:
        path = self._find(name)
        try:
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a pipe would wait for its writer
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise _PictureError("is not a file")
                content = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise _PictureError(f"cannot be read: {error.strerror}") from error
        if len(content) > MOST_BYTES:
            raise _PictureError("is larger than 10 MB", "make it smaller")
        kind = picture_kind(content)
        if kind == "gif":
            raise _PictureError(f"is a GIF, and {_TAKEN} are taken", "convert it")
        if kind is None:
            raise _PictureError(f"is no picture; {_TAKEN} are taken")
        return f"image/{kind}", content

    def _find(self, name: str) -> Path:
        """Return the file, links followed. A path may begin with the folder's own name, as LLaMA-Factory's do."""
        given = Path(name)
        try:
            found = [each.resolve() for each in (self.folder / given, self.folder.parent / given)]
            inside = [each for each in found if each.is_relative_to(self.folder)]
            there = [each for each in inside if each.exists()]
        except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: links in a circle
            raise _PictureError("is no path that can be followed") from error
        if there:
            return there[0]
        if inside:
            raise _PictureError(f"there is no such file in {self.folder}")
        raise _PictureError(
            f"lies outside of {self.folder}, and only pictures in it are read",
            "move it there, or name its folder: tuneport convert DATA --inline-images --image-folder DIR",
        )


class _PictureError(Exception):
    def __init__(self, rule: str, fix: str = "correct the path, or leave the record out") -> None:
        super().__init__(rule)
        self.fix = fix


def picture_kind(content: bytes) -> str | None:
    """Return png, jpeg, webp or gif by the first bytes; None if they are those of something else."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if content.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "webp"
    return "gif" if content.startswith((b"GIF87a", b"GIF89a")) else None


def image_parts(record: Record) -> Iterator[ImagePart]:
    """Yield the images that the record shows."""
    for message in record_messages(record):
        if isinstance(message.content, list):
            yield from (part for part in message.content if isinstance(part, ImagePart))
