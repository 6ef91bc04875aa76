"""The files of an account that speaks OpenAI's API: found by content, uploaded, listed, fetched, deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from tuneport.backends.hosted.backend import (
    HostedBackend,
    check_provider_list,
    parse_provider_time,
    read_provider_id,
    remote_file_name,
)
from tuneport.backends.hosted.http.answers import parse_provider_count, parse_provider_text
from tuneport.backends.hosted.upload_turns import (
    find_lost_provider_upload,
    lock_provider_upload,
    provider_upload_may_be_there,
)
from tuneport.backends.openai.uploads import PART_BYTES, OpenAIPartsUpload, ProviderUploadJournal, SentUploadParts
from tuneport.data.running.writing import publish_output_file, temporary_file
from tuneport.errors import DatasetError, NotFoundError, RejectedError
from tuneport.errors import DatasetProblem as Problem
from tuneport.types import DataFile, PreparedData, RemoteFile

_RESTARTS = 2
_CHUNK = 1 << 20
_ANYTHING = {"Accept": "*/*"}
"""The document knows a file's content as JSON only; a strict server answers 406 to the SDK's `application/binary`."""
_NOT_YET = ("uploaded", "pending", "running")  # of a file; the last two are Azure's


class OpenAIFileStorage(HostedBackend):
    part_bytes: ClassVar[int] = PART_BYTES

    def _pages(
        self,
        first: Callable[[], Any],
        *,
        restarts: int = _RESTARTS,
        read: Callable[[Callable[[], Any]], Any] | None = None,
    ) -> Iterator[Any]:
        """Yield each item of a list once, whatever is added or deleted between its pages.

        If the server no longer knows a cursor, the list begins again, `restarts` times. A server that ignores the
        cursor gives the same page for ever: that is its only one.
        """
        seen: set[str] = set()
        read = read or self._read
        page, last = read(lambda: check_provider_list(first())), None
        while True:
            with self._translating():
                items = list(page.data)
                ids = [read_provider_id(item) for item in items]
            if ids == last:
                return
            for item in items:
                if item.id not in seen:
                    seen.add(item.id)
                    yield item
            if not page.has_next_page():
                return
            try:
                following = page.get_next_page
                page, last = read(lambda: check_provider_list(following())), ids  # noqa: B023 - read at once
            except RejectedError:
                if not restarts:
                    raise
                restarts -= 1
                page, last = read(lambda: check_provider_list(first())), None

    # --- upwards ----------------------------------------------------------------------------------------------------

    def _refuse_too_large(self, data: PreparedData, shown: dict[str, Path | None]) -> None:
        """Raise DatasetError before anything is sent if a file is larger than the provider takes in any way."""
        limits = self.manifest.limits
        most = limits.max_upload_bytes or limits.max_file_bytes
        for purpose, file in (("training", data.training), ("validation", data.validation)):
            if file is not None and most is not None and file.bytes > most.value:
                rule = f"has {file.bytes:,} bytes in the format of {self.name}; at most {most.value:,} are allowed"
                raise DatasetError(
                    Problem(str(shown[purpose] or file.path), None, "", rule, "split it, or train on less")
                )

    def _place(self, purpose: Literal["training", "validation"], file: DataFile) -> RemoteFile:
        """Upload as the base class does, with a retry for each call: a broken part does not cost the whole file."""
        with lock_provider_upload(self._journal(file).path):
            file_id = self._find_or_upload(file)
        self._await_validation(file_id, file)
        return RemoteFile(
            id=file_id, purpose=purpose, sha256=file.sha256, filename=remote_file_name(file), bytes=file.bytes
        )

    def _find_or_upload(self, file: DataFile) -> str:
        journal = self._journal(file)
        file_id = self._journalled(journal, file) or self._listed(file) or self._upload(journal, file)
        journal.write(SentUploadParts(file_id=file_id))
        return file_id

    def _journalled(self, journal: ProviderUploadJournal, file: DataFile) -> str | None:
        """Return the file that an earlier try uploaded, though lists may not show it yet, or no longer on their first
        page."""
        known = journal.sent.file_id
        if known is None:
            return None
        try:
            holds = self._read(lambda: _holds(self.client.files.retrieve(known), file))
        except (NotFoundError, RejectedError):
            return None  # deleted, or of another account at the same address
        return known if holds else None

    def _listed(self, file: DataFile, read: Callable[[Callable[[], Any]], Any] | None = None) -> str | None:
        """Return the file of that name, which is its content, and size; the newest if a lost answer has left two, else
        None."""
        name = remote_file_name(file)
        with self._translating():
            for known in self._pages(lambda: self.client.files.list(purpose="fine-tune"), read=read):
                if known.filename == name and _holds(known, file):
                    return str(known.id)
        return None

    def _journal(self, file: DataFile) -> ProviderUploadJournal:
        return ProviderUploadJournal(self.settings.home, file, self.name, self.upstream.base_url)

    def _upload(self, journal: ProviderUploadJournal, file: DataFile) -> str:
        limit = self.manifest.limits.max_file_bytes
        if limit is None or file.bytes <= limit.value:
            return self._upload_whole(journal, file)
        parts = OpenAIPartsUpload(
            self.client.uploads,
            file,
            journal,
            read=partial(self._read, within=None),
            look=lambda: self._listed(file),
            sleep=self._sleep,
            part_bytes=self.part_bytes,
        )
        return parts.upload_parts()

    def _upload_whole(self, journal: ProviderUploadJournal, file: DataFile) -> str:
        """Send the file; again only if the last try, of this process or of one that died, has not arrived."""

        def attempt() -> str:
            if journal.sent.unsure and (
                found := find_lost_provider_upload(lambda: self._listed(file, self._once), self._sleep)
            ):
                return found
            journal.write(SentUploadParts(unsure=True))
            try:
                with file.path.open("rb") as content:
                    return read_provider_id(
                        self.client.files.create(file=(remote_file_name(file), content), purpose="fine-tune")
                    )
            except Exception as error:
                if not provider_upload_may_be_there(error):
                    journal.write(SentUploadParts())
                raise

        return self._read(attempt, within=None)

    def _validated(self, file_id: str, file: DataFile) -> bool:
        remote = self.client.files.retrieve(file_id)
        status = getattr(remote, "status", None)
        if status == "error":
            reason = self.upstream.redact(getattr(remote, "status_details", None) or "no reason given")
            raise DatasetError(
                Problem(str(file.path), None, "", f"{self.name} refuses the file: {reason}", "correct it")
            )
        # The field is deprecated: if it is missing, there is nothing to wait for.
        return status not in _NOT_YET

    # --- downwards --------------------------------------------------------------------------------------------------

    def list_files(self) -> Iterable[RemoteFile]:
        """Return the account's files for and of fine-tuning. The list has no hash, so `sha256` is empty."""
        purposes: tuple[tuple[str, Literal["training", "result"]], ...] = (
            ("fine-tune", "training"),
            ("fine-tune-results", "result"),
        )
        with self._translating():
            return self._of_purposes(purposes)

    def _of_purposes(self, purposes: Iterable[tuple[str, Literal["training", "result"]]]) -> list[RemoteFile]:
        return [
            RemoteFile(
                id=file.id,
                purpose=ours,
                sha256="",
                filename=parse_provider_text(file.filename) or "",
                bytes=parse_provider_count(file.bytes) or 0,
                created_at=parse_provider_time(file.created_at),
            )
            for theirs, ours in purposes
            for file in self._pages(lambda theirs=theirs: self.client.files.list(purpose=theirs))  # type: ignore[misc]
            if file.purpose == theirs  # a server may ignore the filter
        ]

    def read_file(self, file_id: str) -> bytes:
        return self._read(
            lambda: bytes(self.client.files.content(file_id, extra_headers=_ANYTHING).content), within=None
        )

    def save_file(self, file_id: str, target: Path) -> Path:
        """Fetch a file to `target`, whole or not at all. A large file is never in memory as a whole."""

        def fetch() -> Path:
            with (
                temporary_file(target.parent) as (file, temporary),
                self._translating_stream(),
                self.client.files.with_streaming_response.content(file_id, extra_headers=_ANYTHING) as response,
            ):
                for chunk in response.iter_bytes(_CHUNK):
                    file.write(chunk)
                publish_output_file(file, temporary, target)
            return target

        return self._read(fetch, within=None)

    def delete_file(self, file_id: str) -> None:
        self._delete(lambda: self.client.files.delete(file_id))


def _holds(remote: Any, file: DataFile) -> bool:
    """Return whether a file of the account may be this one: the same size, and not refused."""
    return bool(remote.bytes == file.bytes) and getattr(remote, "status", None) != "error"
