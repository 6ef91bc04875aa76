"""Datasets of the local backend: `files/SHA256.jsonl`, and beside it `SHA256.file.json`, which says what it holds."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from tuneport import private
from tuneport.digests import sha256_of
from tuneport.errors import DatasetError, DatasetProblem, NotFoundError
from tuneport.files import replace_file_atomically, write_atomically
from tuneport.types import DataFile, RemoteFile

Purpose = Literal["training", "validation"]


class LocalBackendFiles:
    """Files by their content. The id of one is its path in the store; the store may be read by anyone at any time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, file: DataFile, purpose: Purpose) -> RemoteFile:
        """Copy `file` in, unless its content is there. Raises DatasetError if the file is gone."""
        target = self.folder / f"{file.sha256}.jsonl"
        private.make_private_folder(self.folder)
        if not _is_whole(target, file):
            if file.path.absolute() == target.absolute():  # prepared here, and damaged since
                target.unlink(missing_ok=True)
            self._copy(file, target)
            if not _is_whole(target, file):
                target.unlink(missing_ok=True)
                raise self._damaged(file.path)
        kept = file.model_copy(update={"path": target})
        write_atomically(self._label(target), json.dumps({"purpose": purpose} | kept.model_dump(mode="json")))
        return self._remote(kept, purpose)

    def verify_file(self, file_id: str) -> DataFile:
        """Return the file after checking its content. Raises DatasetError if the content has changed since it was
        prepared."""
        file, _ = self.get(file_id)
        if not _is_whole(file.path, file):
            raise self._damaged(file.path)
        return file

    def get(self, file_id: str) -> tuple[DataFile, Purpose]:
        """Return a file of the store and its purpose. Raises NotFoundError if it is missing or incomplete."""
        path = self.folder / Path(file_id).name
        if Path(file_id).parent not in (self.folder, Path(".")) or not re.fullmatch(r"[0-9a-f]{64}\.jsonl", path.name):
            raise self._absent(file_id)
        try:
            label = json.loads(self._label(path).read_bytes())
            purpose: Purpose = label.pop("purpose")
            file = DataFile.model_validate(label)
            complete = path.stat().st_size == file.bytes
        except (OSError, ValueError, KeyError, AttributeError, ValidationError) as error:
            raise self._absent(file_id) from error
        if not complete:
            raise self._absent(file_id)
        return file, purpose

    def list(self) -> Iterator[RemoteFile]:
        for path in sorted(self.folder.glob("*.jsonl")):
            with contextlib.suppress(NotFoundError):  # prepared for another backend, or being written
                yield self._remote(*self.get(str(path)))

    def read(self, file_id: str) -> bytes:
        return self.get(file_id)[0].path.read_bytes()

    def delete(self, file_id: str) -> None:
        path = self.get(file_id)[0].path
        self._label(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)

    def _copy(self, file: DataFile, target: Path) -> None:
        try:
            with file.path.open("rb") as source, replace_file_atomically(target) as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
        except FileNotFoundError as error:
            problem = DatasetProblem(
                str(file.path), None, "", "the prepared file is gone", "submit again to prepare it"
            )
            raise DatasetError(problem) from error

    def _damaged(self, path: Path) -> DatasetError:
        rule = "the prepared file is damaged: its SHA-256 differs from its name"
        return DatasetError(DatasetProblem(str(path), None, "", rule, "submit again to prepare it again"))

    def _label(self, path: Path) -> Path:
        return path.with_suffix(".file.json")

    def _remote(self, file: DataFile, purpose: Purpose) -> RemoteFile:
        return RemoteFile(
            id=str(file.path), purpose=purpose, sha256=file.sha256, filename=file.path.name, bytes=file.bytes
        )

    def _absent(self, file_id: str) -> NotFoundError:
        return NotFoundError(
            f"the local backend has no file {file_id} in {self.folder}; submit again to prepare it", provider="local"
        )


def _is_whole(path: Path, file: DataFile) -> bool:
    return path.is_file() and path.stat().st_size == file.bytes and sha256_of(path) == file.sha256
