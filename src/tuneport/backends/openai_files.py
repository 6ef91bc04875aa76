"""The files of an account that speaks OpenAI's API: found by content, uploaded, listed, fetched, deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from tuneport.backends.hosted import HostedBackend, id_of, listed, remote_name, timestamp
from tuneport.backends.openai_uploads import PART_BYTES, PartsUpload, Sent, UploadJournal
from tuneport.data.writing import aside, publish
from tuneport.errors import DatasetError, NotFoundError, RejectedError
from tuneport.errors import DatasetProblem as Problem
from tuneport.types import DataFile, PreparedData, RemoteFile

_RESTARTS = 2
_CHUNK = 1 << 20
_NOT_YET = ("uploaded", "pending", "running")  # of a file; the last two are Azure's


class OpenAIFiles(HostedBackend):
    part_bytes: ClassVar[int] = PART_BYTES

    def _pages(
        self,
        first: Callable[[], Any],
        *,
        restarts: int = _RESTARTS,
        read: Callable[[Callable[[], Any]], Any] | None = None,
    ) -> Iterator[Any]:
        """Each item of a list once, whatever is added or deleted between its pages.

        A cursor that the server no longer knows begins the list again, `restarts` times. A server that ignores the
        cursor gives the same page for ever: that is its only one.
        """
        seen: set[str] = set()
        read = read or self._read
        page, last = read(lambda: listed(first())), None
        while True:
            with self._translating():
                items = list(page.data)
                ids = [item.id for item in items]
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
                page, last = read(lambda: listed(following())), ids  # noqa: B023 - read at once
            except RejectedError:
                if not restarts:
                    raise
                restarts -= 1
                page, last = read(lambda: listed(first())), None

    # --- upwards ----------------------------------------------------------------------------------------------------

    def _refuse_too_large(self, data: PreparedData, shown: dict[str, Path | None]) -> None:
        """DatasetError before anything is sent where a file is over the most that the provider takes in any way."""
        limits = self.manifest.limits
        most = limits.max_upload_bytes or limits.max_file_bytes
        for purpose, file in (("training", data.training), ("validation", data.validation)):
            if file is not None and most is not None and file.bytes > most.value:
                rule = f"has {file.bytes:,} bytes as {self.name} takes it, and the most is {most.value:,}"
                raise DatasetError(
                    Problem(str(shown[purpose] or file.path), None, "", rule, "split it, or train on less")
                )

    def _place(self, purpose: Literal["training", "validation"], file: DataFile) -> RemoteFile:
        """As the base class does, with each call tried again by itself: a broken part does not cost the whole file."""
        file_id = self._find_or_upload(file)
        self._await_validation(file_id, file)
        return RemoteFile(id=file_id, purpose=purpose, sha256=file.sha256, filename=remote_name(file), bytes=file.bytes)

    def _find_or_upload(self, file: DataFile) -> str:
        journal = UploadJournal(self.settings.home / "files", file, self.name, self.upstream.base_url)
        file_id = self._journalled(journal, file) or self._listed(file) or self._upload(journal, file)
        journal.write(Sent(file_id=file_id))
        return file_id

    def _journalled(self, journal: UploadJournal, file: DataFile) -> str | None:
        """The file that an earlier try uploaded, though lists may not show it yet, or no longer on their first page."""
        known = journal.sent.file_id
        if known is None:
            return None
        try:
            remote = self._read(lambda: self.client.files.retrieve(known))
        except (NotFoundError, RejectedError):
            return None  # deleted, or of another account at the same address
        return known if _holds(remote, file) else None

    def _listed(self, file: DataFile, read: Callable[[Callable[[], Any]], Any] | None = None) -> str | None:
        """By name, which is of the content, and size. The newest, where a lost answer has left two of them."""
        name = remote_name(file)
        for known in self._pages(lambda: self.client.files.list(purpose="fine-tune"), read=read):
            if known.filename == name and _holds(known, file):
                return str(known.id)
        return None

    def _upload(self, journal: UploadJournal, file: DataFile) -> str:
        limit = self.manifest.limits.max_file_bytes
        if limit is None or file.bytes <= limit.value:
            return self._upload_whole(file)
        parts = PartsUpload(
            self.client.uploads,
            file,
            journal,
            read=self._read,
            look=lambda: self._listed(file),
            sleep=self._sleep,
            part_bytes=self.part_bytes,
        )
        return parts.run()

    def _upload_whole(self, file: DataFile) -> str:
        tried = False

        def attempt() -> str:
            nonlocal tried
            if tried and (found := self._listed(file, self._once)):
                return found  # the try before has arrived, though its answer has not
            tried = True
            with file.path.open("rb") as content:
                return id_of(self.client.files.create(file=(remote_name(file), content), purpose="fine-tune"))

        return self._read(attempt)

    def _validated(self, file_id: str, file: DataFile) -> bool:
        remote = self.client.files.retrieve(file_id)
        status = getattr(remote, "status", None)
        if status == "error":
            reason = self.upstream.redact(getattr(remote, "status_details", None) or "no reason given")
            raise DatasetError(
                Problem(str(file.path), None, "", f"{self.name} refuses the file: {reason}", "correct it")
            )
        # The field is deprecated: where it is missing there is nothing to wait for.
        return status not in _NOT_YET

    # --- downwards --------------------------------------------------------------------------------------------------

    def list_files(self) -> Iterable[RemoteFile]:
        """The account's files for and of fine-tuning. The list has no hash, so `sha256` is empty."""
        purposes: tuple[tuple[str, Literal["training", "result"]], ...] = (
            ("fine-tune", "training"),
            ("fine-tune-results", "result"),
        )
        return [
            RemoteFile(
                id=file.id,
                purpose=ours,
                sha256="",
                filename=file.filename,
                bytes=file.bytes or 0,
                created_at=timestamp(file.created_at),
            )
            for theirs, ours in purposes
            for file in self._pages(lambda theirs=theirs: self.client.files.list(purpose=theirs))  # type: ignore[misc]
            if file.purpose == theirs  # a server may ignore the filter
        ]

    def read_file(self, file_id: str) -> bytes:
        return self._read(lambda: bytes(self.client.files.content(file_id).content))

    def save_file(self, file_id: str, target: Path) -> Path:
        """Fetch a file to `target`, whole or not at all, however large: it is never in memory as a whole."""

        def fetch() -> Path:
            with (
                aside(target.parent) as (file, temporary),
                self._translating_stream(),
                self.client.files.with_streaming_response.content(file_id) as response,
            ):
                for chunk in response.iter_bytes(_CHUNK):
                    file.write(chunk)
                publish(file, temporary, target)
            return target

        return self._read(fetch)

    def delete_file(self, file_id: str) -> None:
        self._delete(lambda: self.client.files.delete(file_id))


def _holds(remote: Any, file: DataFile) -> bool:
    """Whether a file of the account may be this one: of its size, and not refused."""
    return bool(remote.bytes == file.bytes) and getattr(remote, "status", None) != "error"
