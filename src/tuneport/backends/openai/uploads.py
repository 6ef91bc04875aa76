"""A file on its way to an account, remembered on disk, so that a crash of the process costs a part at the most.

A file over the limit of one request goes up in parts (OpenAI's Uploads API): begin, parts, complete. A server forgets
an upload that is not completed within its time (an hour at OpenAI), and has no call that asks about one; so what it
accepted is journalled here, and an upload that it takes no more parts of is started again.
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from tuneport.backends.hosted.backend import read_provider_id, remote_file_name
from tuneport.backends.hosted.upload_turns import OTHERWISE, find_lost_provider_upload, provider_upload_journal_path
from tuneport.data.running.writing import make_output_folder, publish_output_file, temporary_file
from tuneport.errors import NotFoundError, RejectedError, TuneportError
from tuneport.types import DataFile, Model

T = TypeVar("T")
Read = Callable[[Callable[[], T]], T]

PART_BYTES = 16 * 2**20
"""Of one part: what a broken connection costs, and what is held in memory. The API takes up to 64 MiB."""
_BEGINNINGS = 3
_LIFETIME = 3600.0  # seconds, where the server names none


class SentUploadParts(Model):
    """The parts of one file that an account holds. `parts` are the ids of those accepted, each of `part_bytes` but the
    last."""

    file_id: str | None = None
    unsure: bool = False
    """The file was sent, and no answer came: it may be there."""
    upload_id: str | None = None
    part_bytes: int = 0
    parts: tuple[str, ...] = ()
    until: float = 0.0
    """Unix seconds on this machine's clock when the server forgets the upload."""


class ProviderUploadJournal:
    """`SentUploadParts` of one file at one address, in `home`. What cannot be read counts as nothing sent."""

    def __init__(self, home: Path, file: DataFile, backend: str, base_url: str) -> None:
        self.path = provider_upload_journal_path(home, file, backend, base_url)
        try:
            self.sent = SentUploadParts.model_validate_json(self.path.read_bytes())
        except (OSError, ValidationError):
            self.sent = SentUploadParts()

    def write(self, sent: SentUploadParts) -> None:
        """Write the journal; it is on disk when this returns."""
        if sent == self.sent:
            return
        make_output_folder(self.path.parent, otherwise=OTHERWISE, private=True)
        with temporary_file(self.path.parent, otherwise=OTHERWISE) as (file, temporary):
            file.write(sent.model_dump_json().encode())
            publish_output_file(file, temporary, self.path, private=True)
        self.sent = sent


class OpenAIPartsUpload:
    """One file's upload in parts. `read` repeats a call if that helps; `look` finds the file in the account."""

    def __init__(
        self,
        uploads: Any,
        file: DataFile,
        journal: ProviderUploadJournal,
        *,
        read: Read[Any],
        look: Callable[[], str | None],
        sleep: Callable[[float], None],
        part_bytes: int = PART_BYTES,
    ) -> None:
        self._uploads, self._file, self._journal = uploads, file, journal
        self._read, self._look, self._sleep, self._part_bytes = read, look, sleep, part_bytes

    def upload_parts(self) -> str:
        """Continue from the journal, or begin, and return the id of the finished file. Raises ProviderError as the
        server does."""
        for beginning in range(_BEGINNINGS):
            resumed = self._journal.sent.upload_id is not None and time.time() < self._journal.sent.until
            if not resumed:
                self._begin()
            try:
                self._send_parts()
            except (RejectedError, NotFoundError):
                taken = bool(self._journal.sent.parts)
                self._abandon()
                if beginning + 1 == _BEGINNINGS or not (resumed or taken):
                    raise  # it takes no parts of this file at all
                continue
            try:
                return self._complete()
            except (RejectedError, NotFoundError):
                if found := self._found_after_all():
                    return found
                self._abandon()
                if beginning + 1 == _BEGINNINGS:
                    raise
        raise AssertionError("the last beginning returns or raises")

    def _begin(self) -> None:
        def begin() -> tuple[str, float]:
            upload = self._uploads.create(
                bytes=self._file.bytes,
                filename=remote_file_name(self._file),
                mime_type="text/jsonl",
                purpose="fine-tune",
            )
            return read_provider_id(
                upload
            ), upload.expires_at - upload.created_at  # by the server's clock, which may differ

        upload_id, lifetime = self._read(begin)
        until = time.time() + (lifetime if lifetime > 0 else _LIFETIME)
        self._journal.write(SentUploadParts(upload_id=upload_id, part_bytes=self._part_bytes, until=until))

    def _send_parts(self) -> None:
        with self._file.path.open("rb") as content:
            content.seek(len(self._journal.sent.parts) * self._journal.sent.part_bytes)
            while data := content.read(self._journal.sent.part_bytes):
                sent = self._journal.sent
                part_id = self._read(self._sending(data))
                self._journal.write(sent.model_copy(update={"parts": (*sent.parts, part_id)}))

    def _sending(self, data: bytes) -> Callable[[], str]:
        upload_id, name = self._journal.sent.upload_id, remote_file_name(self._file)
        return lambda: read_provider_id(self._uploads.parts.create(upload_id, data=(name, io.BytesIO(data))))

    def _complete(self) -> str:
        sent = self._journal.sent
        with self._file.path.open("rb") as content:
            digest = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        complete = self._uploads.complete
        return str(
            self._read(lambda: read_provider_id(complete(sent.upload_id, part_ids=list(sent.parts), md5=digest).file))
        )

    def _found_after_all(self) -> str | None:
        """Return the file of a `complete` that succeeded though its answer was lost: the second one is refused."""
        return find_lost_provider_upload(self._look, self._sleep)

    def _abandon(self) -> None:
        upload_id = self._journal.sent.upload_id
        self._journal.write(SentUploadParts())
        try:
            self._read(lambda: self._uploads.cancel(upload_id))
        except TuneportError:
            pass  # it has expired, or expires by itself
