"""Fetching a big file in as many requests as it takes: what has come stays, and a later call goes on from there.

Beside the part file lies a journal with the server's validator (ETag or Last-Modified), the whole size and the checksum
that the server gave. Only with a validator is a download taken up again, by `Range` and `If-Range`: otherwise two
different files might be joined.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tenacity

from tuneport.data.running.underway import report_data_activity
from tuneport.errors import ProviderError, StorageError, UnavailableError
from tuneport.files import write_atomically
from tuneport.formatting import size

TRIES = 6
"""So many in a row may bring nothing; one that brings something resets the count."""
_BLOCK = 1 << 20


@dataclass(frozen=True)
class TogetherDownloadState:
    """The server's facts about the whole file, and its `source`."""

    source: str
    validator: str | None = None
    total: int | None = None
    checksum: str | None = None  # "sha256:..." or "md5:...", in hexadecimal

    @staticmethod
    def state_path(part: Path) -> Path:
        return part.with_name(part.name + ".json")

    @classmethod
    def read(cls, part: Path, source: str) -> TogetherDownloadState:
        """Return the state of an earlier call, if it had the same source; else an empty one."""
        try:
            kept = cls(**json.loads(cls.state_path(part).read_text()))
        except (OSError, ValueError, TypeError):
            return cls(source)
        return kept if kept.source == source else cls(source)

    def write(self, part: Path) -> None:
        write_atomically(self.state_path(part), json.dumps(asdict(self)), durable=False, private=False)


def download_together_file(
    request: Callable[[dict[str, str]], Any],
    part: Path,
    source: str,
    *,
    once: Callable[[Callable[[], None]], None],
    sleep: Callable[[float], None],
) -> str:
    """Fill `part` and return its sha256. `request` opens a streamed answer to a GET with these headers.

    `once` translates the errors of the vendor's client; retryable ones are tried again, from the end of the last try.
    Raises ProviderError, after which a later call continues, or StorageError.
    """
    failures = 0  # since something came

    def receive() -> str:
        nonlocal failures
        before = _size(part)
        try:
            once(lambda: _receive(request, part, source))
            return _verified(part, TogetherDownloadState.read(part, source))
        except ProviderError:
            kept = TogetherDownloadState.read(part, source).validator is not None and _size(part) > before
            failures = 1 if kept else failures + 1
            raise

    def pause(state: tenacity.RetryCallState) -> float:
        # At least a growing one: a server may ask for no time at all, or name a date that is past.
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, ProviderError) else None
        return max(asked or 0.0, min(30.0, 0.5 * 2.0 ** (failures - 1)))

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, ProviderError) and error.retryable),
        stop=lambda state: failures >= TRIES,
        wait=pause,
        sleep=sleep,
        reraise=True,
    )(receive)


def discard_together_download(part: Path) -> None:
    part.unlink(missing_ok=True)
    TogetherDownloadState.state_path(part).unlink(missing_ok=True)


def _receive(request: Callable[[dict[str, str]], Any], part: Path, source: str) -> None:
    journal = TogetherDownloadState.read(part, source)
    have = _size(part) if journal.validator else 0
    if journal.total is not None and have == journal.total > 0:
        return
    headers = {"Accept-Encoding": "identity"}
    if have and journal.validator:
        headers |= {"Range": f"bytes={have}-", "If-Range": journal.validator}
    try:
        opened = request(headers)
        with opened as response:
            if response.status_code == 206 and not _continues(response.headers, have, journal):
                raise ValueError("the rest of another file came")
            start = have if response.status_code == 206 else 0
            if start == 0:
                journal = _told(response.headers, source)
                _make_room(part, journal.total)
            with _storage(part):
                part.parent.mkdir(parents=True, exist_ok=True)
                file = part.open("r+b" if start else "wb")
            total = journal.total
            activity = report_data_activity(f"downloading {source}", lambda: _size(part) / total if total else None)
            with activity, file:
                file.seek(start)
                with _storage(part):
                    file.truncate()
                    journal.write(part)
                for piece in response.iter_bytes():
                    with _storage(part):
                        file.write(piece)
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status == 416 or (isinstance(error, ValueError) and "another file" in str(error)):
            discard_together_download(part)  # what is here belongs to no file that is there now
            raise ValueError("the file has changed at the provider; it is downloaded again") from error
        raise
    if journal.total is not None and _size(part) < journal.total:
        raise ValueError(f"{_size(part)} of {journal.total} bytes came")


def _told(headers: Any, source: str) -> TogetherDownloadState:
    if "content-encoding" in headers:  # then neither offsets nor size are those of the file
        return TogetherDownloadState(source)
    tag, length = headers.get("etag", ""), headers.get("content-length")
    validator = headers.get("last-modified") if not tag or tag.startswith("W/") else tag  # weak ones vouch for no byte
    return TogetherDownloadState(source, validator, int(length) if length else None, _checksum(headers))


def _checksum(headers: Any) -> str | None:
    """Return the checksum of the whole file: RFC 9530 digests, or S3's own header unless it is one of parts (which ends
    in -N)."""
    for name, pattern, kind in (
        ("repr-digest", r"sha-256=:([A-Za-z0-9+/=]+):", "sha256"),
        ("content-digest", r"sha-256=:([A-Za-z0-9+/=]+):", "sha256"),
        ("x-amz-checksum-sha256", r"([A-Za-z0-9+/=]+)", "sha256"),
        ("content-md5", r"([A-Za-z0-9+/=]+)", "md5"),
    ):
        if match := re.fullmatch(pattern, headers.get(name, "").strip()):
            with suppress(binascii.Error):
                return f"{kind}:{base64.b64decode(match[1], validate=True).hex()}"
    return None


def _continues(headers: Any, have: int, journal: TogetherDownloadState) -> bool:
    """Return whether a 206 is the rest of the very file that is begun here."""
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", headers.get("content-range", ""))
    if (
        match is None
        or int(match[1]) != have
        or (journal.total is not None and match[3] not in ("*", str(journal.total)))
    ):
        return False
    told = {headers[name] for name in ("etag", "last-modified") if name in headers}
    return not told or journal.validator in told


def _verified(part: Path, journal: TogetherDownloadState) -> str:
    """Return the sha256 of the whole file. Raises UnavailableError, and deletes it, if the server promised another
    one."""
    kind, _, promised = (journal.checksum or "").partition(":")
    digests = {name: hashlib.new(name, usedforsecurity=False) for name in {"sha256", kind} - {""}}
    with part.open("rb") as file:
        while block := file.read(_BLOCK):
            for digest in digests.values():
                digest.update(block)
    size = _size(part)
    wrong_size = journal.total is not None and size != journal.total
    if wrong_size or (promised and digests[kind].hexdigest() != promised):
        discard_together_download(part)
        what = f"{size} bytes instead of {journal.total}" if wrong_size else f"another {kind} than promised"
        raise UnavailableError(f"the download was damaged on the way ({what}); try again", provider="together")
    return digests["sha256"].hexdigest()


def _make_room(part: Path, total: int | None) -> None:
    import shutil

    folder = next(folder for folder in part.absolute().parents if folder.is_dir())
    free = shutil.disk_usage(folder).free + _size(part)
    if total is not None and total > free:
        raise StorageError(
            f"{folder} has {size(free)} free and the download is {size(total)}, and must be unpacked "
            "besides; free some space, or name a folder on another disk"
        )


@contextmanager
def _storage(part: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{part.parent} cannot be written: {error.strerror}; free some space, or name another folder, and try again"
        ) from error


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0
