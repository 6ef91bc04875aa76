"""A file on its way to an account, remembered on disk, so that a crash of the process costs a part at the most.

A file over the limit of one request goes up in parts (OpenAI's Uploads API): begin, parts, complete. A server forgets
an upload that is not completed within its time (an hour at OpenAI), and has no call that asks about one; so what it
accepted is journalled here, and an upload that it no longer takes parts of is begun anew.
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from tuneport.backends.hosted import id_of, remote_name
from tuneport.data.writing import aside, make_folder, publish
from tuneport.errors import NotFoundError, RejectedError, TuneportError
from tuneport.types import DataFile, Model

T = TypeVar("T")
Read = Callable[[Callable[[], T]], T]

PART_BYTES = 16 * 2**20
"""Of one part: what a broken connection costs, and what is held in memory. The API takes up to 64 MiB."""
_BEGINNINGS = 3
_LIFETIME = 3600.0  # seconds, where the server names none
_WAITS = (0.0, 1.0, 2.0, 4.0)  # seconds between looks for a file that an unanswered `complete` may have made
_OTHERWISE = "set TUNEPORT_HOME to a folder that can be written, and try again"


class Sent(Model):
    """What an account holds of one file. `parts` are the ids of those accepted, each of `part_bytes` but the last."""

    file_id: str | None = None
    upload_id: str | None = None
    part_bytes: int = 0
    parts: tuple[str, ...] = ()
    until: float = 0.0
    """Unix seconds on this machine's clock when the server forgets the upload."""


class UploadJournal:
    """`Sent` of one file at one address, in `folder`. What cannot be read counts as nothing sent."""

    def __init__(self, folder: Path, file: DataFile, backend: str, base_url: str) -> None:
        address = hashlib.sha256(base_url.encode()).hexdigest()[:12]  # not as it is: it may hold a password
        self.path = folder / f"{file.sha256}.{backend}-{address}.upload.json"
        try:
            self.sent = Sent.model_validate_json(self.path.read_bytes())
        except (OSError, ValidationError):
            self.sent = Sent()

    def write(self, sent: Sent) -> None:
        """On disk when this returns."""
        if sent == self.sent:
            return
        make_folder(self.path.parent, otherwise=_OTHERWISE)
        with aside(self.path.parent, otherwise=_OTHERWISE) as (file, temporary):
            file.write(sent.model_dump_json().encode())
            publish(file, temporary, self.path)
        self.sent = sent


class PartsUpload:
    """One file's upload in parts. `read` repeats a call where that helps; `look` finds the file in the account."""

    def __init__(
        self,
        uploads: Any,
        file: DataFile,
        journal: UploadJournal,
        *,
        read: Read[Any],
        look: Callable[[], str | None],
        sleep: Callable[[float], None],
        part_bytes: int = PART_BYTES,
    ) -> None:
        self._uploads, self._file, self._journal = uploads, file, journal
        self._read, self._look, self._sleep, self._part_bytes = read, look, sleep, part_bytes

    def run(self) -> str:
        """Go on where the journal says, else begin; the id of the finished file. ProviderError as the server's."""
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
                filename=remote_name(self._file),
                mime_type="text/jsonl",
                purpose="fine-tune",
            )
            return id_of(upload), upload.expires_at - upload.created_at  # by the server's clock, which may differ

        upload_id, lifetime = self._read(begin)
        until = time.time() + (lifetime if lifetime > 0 else _LIFETIME)
        self._journal.write(Sent(upload_id=upload_id, part_bytes=self._part_bytes, until=until))

    def _send_parts(self) -> None:
        with self._file.path.open("rb") as content:
            content.seek(len(self._journal.sent.parts) * self._journal.sent.part_bytes)
            while data := content.read(self._journal.sent.part_bytes):
                sent = self._journal.sent
                part_id = self._read(self._sending(data))
                self._journal.write(sent.model_copy(update={"parts": (*sent.parts, part_id)}))

    def _sending(self, data: bytes) -> Callable[[], str]:
        upload_id, name = self._journal.sent.upload_id, remote_name(self._file)
        return lambda: id_of(self._uploads.parts.create(upload_id, data=(name, io.BytesIO(data))))

    def _complete(self) -> str:
        sent = self._journal.sent
        with self._file.path.open("rb") as content:
            digest = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        complete = self._uploads.complete
        return str(self._read(lambda: id_of(complete(sent.upload_id, part_ids=list(sent.parts), md5=digest).file)))

    def _found_after_all(self) -> str | None:
        """The file of a `complete` that was carried out though its answer was lost: the second one is refused."""
        for wait in _WAITS:
            self._sleep(wait)
            if found := self._look():
                return found
        return None

    def _abandon(self) -> None:
        upload_id = self._journal.sent.upload_id
        self._journal.write(Sent())
        try:
            self._read(lambda: self._uploads.cancel(upload_id))
        except TuneportError:
            pass  # it has expired, or expires by itself
