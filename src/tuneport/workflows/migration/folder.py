"""The folder of a saved account. It holds training data, and so it is its owner's alone (0700, files 0600).

    DIR/migration.json              whose account it is
    DIR/files/index.jsonl           a line a file: the provider's id, what it is, its size and sha256
    DIR/files/SHA256-NAME           its content, once however many ids it has
    DIR/jobs/ID/spec.toml           the job as one can submit it again; yours to edit, never overwritten then
    DIR/jobs/ID/job.json            what the provider said of it, written last: with it the job is saved
    DIR/jobs/ID/events.jsonl, metrics.jsonl, checkpoints.json
    DIR/moves.jsonl                 a line a job that was started elsewhere

Every file but the two journals is written aside and renamed; a journal's last line, cut short by a crash, is ignored.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import Field, ValidationError

from tuneport import private
from tuneport.digests import sha256_of
from tuneport.errors import ConfigError, StorageError
from tuneport.files import hold_file_lock, write_atomically
from tuneport.types import Model
from tuneport.validation import decode_json
from tuneport.workflows.migration.origin import MigrationSourceJob

VERSION = 1
_NAME_LENGTH = 80
_CONTAINERS = (".jsonl", ".json", ".csv", ".parquet", ".gz", ".zst", ".txt")


class SavedFile(Model):
    """`source`: who gave it: the provider, tuneport's own copy of what it had uploaded, or the user."""

    id: str
    purpose: str
    filename: str
    bytes: int
    sha256: str
    path: str = Field(description="below DIR/files")
    source: str


class MissingItem(Model):
    """An item that is not available, and why. `gone`: the provider has it no more, so that asking again is no use."""

    what: str
    id: str
    reason: str
    gone: bool = False


class SavedJob(Model):
    """The contents of job.json. `complete`: everything is here but for what `missing` names."""

    version: int = VERSION
    job: MigrationSourceJob
    title: str
    no_new_jobs_from: date | None = None
    stops_answering_on: date | None = None
    missing: tuple[MissingItem, ...] = ()
    complete: bool = False
    spec_sha256: str | None = Field(default=None, description="SHA-256 of spec.toml when it was written")


class StartedMove(Model):
    """A job that was started elsewhere: `row` is tuneport's id of it, in the store at `home`."""

    job: str
    backend: str
    row: str
    home: str


class SavedAccountFolder:
    """Open one with `create` or `load`. Threads may share it; another process is kept out by `lock_folder`."""

    def __init__(self, path: Path, backend: str) -> None:
        self.path, self.backend = path, backend
        self._journals = threading.Lock()
        self._files = {file.id: file for file in map(SavedFile.model_validate, _lines(path / "files" / "index.jsonl"))}
        self._paths = {file.sha256: file.path for file in self._files.values()}
        self._verified: dict[str, Path] = {}

    @classmethod
    def create(cls, path: Path, backend: str) -> SavedAccountFolder:
        """Make the folder, or continue one of the same backend. Raises ConfigError if it holds something else."""
        path = path.expanduser().absolute()
        mark = path / "migration.json"
        if path.exists() and not path.is_dir():
            raise ConfigError(f"{path} is no folder; name another one")
        if not mark.is_file() and path.is_dir() and any(path.iterdir()):
            raise ConfigError(f"{path} holds other things; name a new folder, or one that `tuneport migrate` made")
        with _storing(path):
            for folder in (path, path / "files", path / "jobs"):
                private.make_private_folder(folder)
                folder.chmod(0o700)
            if not mark.is_file():
                write_atomically(mark, json.dumps({"version": VERSION, "backend": backend}) + "\n")
        saved = cls.load(path)
        if saved.backend != backend:
            raise ConfigError(f"{path} holds what was saved from {saved.backend}, not {backend}; name another folder")
        return saved

    @classmethod
    def load(cls, path: Path) -> SavedAccountFolder:
        """Open a saved folder. Raises ConfigError if `tuneport migrate --save` did not make it."""
        path = path.expanduser().absolute()
        try:
            mark = json.loads((path / "migration.json").read_bytes())
            version, backend = mark["version"], str(mark["backend"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path} is no folder that `tuneport migrate --save` made; check the path") from error
        if version != VERSION:
            raise ConfigError(f"{path} was saved by another tuneport (version {version}); use that one")
        return cls(path, backend)

    @contextmanager
    def lock_folder(self) -> Iterator[None]:
        """Lock the folder for the time of the block. Raises ConfigError while another process works in it."""
        with _storing(self.path), hold_file_lock(self.path / ".lock", wait=False) as mine:
            if not mine:
                raise ConfigError(f"another `tuneport migrate` works in {self.path}; wait for it to end")
            yield

    # --- files ------------------------------------------------------------------------------------------------------

    def has_file(self, file_id: str) -> Path | None:
        """Return the file's content if it is here and its hash is right; each process reads it only once."""
        known = self._files.get(file_id)
        if known is None:
            return None
        if known.sha256 not in self._verified:
            path = self.path / "files" / known.path
            if not path.is_file() or path.stat().st_size != known.bytes or sha256_of(path) != known.sha256:
                return None
            self._verified[known.sha256] = path
        return self._verified[known.sha256]

    def files(self) -> list[SavedFile]:
        return list(self._files.values())

    def download_path(self, file_id: str) -> Path:
        """Return where to download a file to before `add_file`: the same path each time, so that a backend can
        resume."""
        return self.path / "files" / f".{hashlib.sha256(file_id.encode()).hexdigest()[:24]}"

    def add_file(self, file_id: str, content: Path, *, purpose: str, filename: str, source: str) -> SavedFile:
        """Take `content` (in the waiting room) over under its hash, and write it into the index."""
        with _storing(self.path):
            content.chmod(0o600)
            digest = sha256_of(content)
            name = f"{digest}-{_safe_file_name(filename, purpose)}"
            size = content.stat().st_size
            with content.open("rb") as file:
                os.fsync(file.fileno())
            same = self._paths.setdefault(digest, name)
            target = self.path / "files" / same
            os.replace(content, target)
            saved = SavedFile(
                id=file_id, purpose=purpose, filename=filename, bytes=size, sha256=digest, path=same, source=source
            )
            self._verified[digest] = target
            if self._files.get(file_id) != saved:
                self._append("files/index.jsonl", saved)
                self._files[file_id] = saved
        return saved

    def clear_downloads(self) -> None:
        for path in (self.path / "files").glob(".*"):
            with suppress(OSError):
                path.unlink()

    # --- jobs -------------------------------------------------------------------------------------------------------

    def job_folder(self, job_id: str) -> Path:
        return self.path / "jobs" / _folder_name_of_id(job_id)

    def record(self, job_id: str) -> SavedJob | None:
        """Return the saved job, or None if it is not here or only half written."""
        try:
            return SavedJob.model_validate_json((self.job_folder(job_id) / "job.json").read_bytes())
        except (OSError, ValidationError):
            return None

    def total_steps(self, job_id: str) -> int | None:
        """Return the optimizer steps that a job's saved events name in all, or None if none does."""
        rows = (row.get("data") for row in _lines(self.job_folder(job_id) / "events.jsonl"))
        told = (row.get("total_steps") for row in rows if isinstance(row, dict))
        return max((steps for steps in told if isinstance(steps, int) and steps > 0), default=None)

    def records(self) -> Iterator[SavedJob]:
        """Yield all saved jobs, newest first."""
        found = []
        for path in (self.path / "jobs").glob("*/job.json"):
            with suppress(OSError, ValidationError):
                record = SavedJob.model_validate_json(path.read_bytes())
                found.append((record.job.created_at.timestamp() if record.job.created_at else 0.0, record.job.id))
        for _, job_id in sorted(found, reverse=True):
            record_again = self.record(job_id)
            if record_again is not None:
                yield record_again

    def write_saved_job(self, record: SavedJob, documents: dict[str, str]) -> None:
        """Write `documents` (name to text) into the job's folder, and job.json last."""
        folder = self.job_folder(record.job.id)
        with _storing(self.path):
            folder.mkdir(mode=0o700, exist_ok=True)
            for name, text in documents.items():
                write_atomically(folder / name, text.encode("utf-8", errors="replace"))
            write_atomically(folder / "job.json", record.model_dump_json(indent=1) + "\n")

    # --- moves ------------------------------------------------------------------------------------------------------

    def moves(self) -> list[StartedMove]:
        return [StartedMove.model_validate(line) for line in _lines(self.path / "moves.jsonl")]

    def add_move(self, move: StartedMove) -> None:
        if move not in self.moves():
            with _storing(self.path):
                self._append("moves.jsonl", move)

    def _append(self, name: str, line: Model) -> None:
        path = self.path / name
        with self._journals:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                end = os.fstat(handle).st_size
                # A line that a crash cut short is ended, so that this one begins anew.
                cut = end > 0 and os.pread(handle, 1, end - 1) != b"\n"
                os.write(handle, (b"\n" if cut else b"") + line.model_dump_json().encode() + b"\n")
                os.fsync(handle)
            finally:
                os.close(handle)


@contextmanager
def _storing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror}; free some space or name another") from error


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the journal's whole lines."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    for line in content.splitlines():
        with suppress(ValueError):
            value = decode_json(line)
            if isinstance(value, dict):
                yield value


def _folder_name_of_id(job_id: str) -> str:
    """Return a folder's name for any id, which never leads to another folder."""
    name = quote(job_id, safe="-_:.")
    return f"%2E{name[1:]}" if name.startswith(".") else name


def _safe_file_name(filename: str, purpose: str) -> str:
    """Return the file's name without path characters; a dataset's name keeps its ending, so that it can be read."""
    name = re.sub(r"[^\w.-]+", "_", Path(filename).name).strip("._") or purpose
    name = name[-_NAME_LENGTH:].lstrip("._-") or purpose
    return name if purpose == "result" or name.lower().endswith(_CONTAINERS) else f"{name}.jsonl"
