"""Message Batches: many chats at half the price, answered within a day.

Which requests a batch holds is written down before it is sent, so that a killed process finds it again, and none is
paid twice. The API has no key that makes a call happen once, and shows a batch's `custom_id`s only in its results: a
batch whose creation got no answer is looked for among those of the same size, and known by them.
Limits: 100,000 requests or 256 MB (platform.claude.com, batch processing); results are there for 29 days.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tuneport import private
from tuneport.backends.hosted.backend import parse_provider_time, read_provider_id
from tuneport.backends.hosted.provider_errors import error_says_no_money
from tuneport.errors import ProviderError, QuotaError, RejectedError, UnavailableError
from tuneport.files import hold_file_lock, write_atomically
from tuneport.types import Model

MOST_REQUESTS = 100_000
MOST_BYTES = 256_000_000
LOOKS = (0.0, 5.0, 25.0, 30.0)
"""Seconds before each look for a batch whose creation got no answer: lists may lag."""
_KEPT = 28 * 86_400.0
_CLOCKS = 600.0  # seconds by which this machine's clock and the provider's may differ
_REQUEST_AT_FAULT = ("invalid_request_error", "not_found_error", "permission_error")

_log = logging.getLogger(__name__)

Request = Mapping[str, Any]
Result = dict[str, Any]
Call = Callable[..., Any]


class SavedMessageBatch(Model):
    """One batch as this machine remembers it. `digests` are of its requests, whose custom ids are `nonce` and their
    place; `at`: Unix seconds before it was sent. `id` is None until the answer has come."""

    nonce: str
    digests: tuple[str, ...]
    at: float
    id: str | None = None


class MessageBatches:
    """The batches of one account. `read` repeats a call if that helps, `start` makes it once; both are those of
    `HostedBackend`."""

    def __init__(
        self,
        client: Any,
        folder: Path,
        provider: str,
        base_url: str,
        *,
        read: Call,
        start: Call,
        sleep: Callable[[float], None],
        poll_seconds: float,
        timeout: float,
    ) -> None:
        self._client, self._folder, self._provider = client, folder, provider
        self._account = f"{provider}-{hashlib.sha256(base_url.encode()).hexdigest()[:12]}"
        self._read, self._start, self._sleep = read, start, sleep
        self._poll_seconds, self._timeout = poll_seconds, timeout

    def results(
        self, requests: Sequence[Request], *, mark: Callable[[Sequence[Request]], Sequence[Request]]
    ) -> Iterator[Result]:
        """Yield each request's result (`type`: succeeded, errored, canceled or expired), in order; blocks until they
        are there. What a batch holds that was sent before is not sent again. It is forgotten when all was taken.

        `mark` says in the requests of a batch what is to be cached: by the others in it, so it is no part of a request.
        """
        private.make_private_folder(self._folder)
        digests = [_digest(request) for request in requests]
        with hold_file_lock(self._folder / f"{self._account}.lock"):
            batches = self._placed(dict(zip(digests, requests, strict=True)), mark)
        of = {digest: batch for batch in batches for digest in batch.digests}
        found: dict[str, Result] = {}
        for digest in digests:
            if digest not in found:
                found |= self._finished(of[digest])
            yield found[digest]
        for batch in batches:
            self._path(batch).unlink(missing_ok=True)

    # --- sending ----------------------------------------------------------------------------------------------------

    def _placed(self, requests: Mapping[str, Request], mark: Call) -> list[SavedMessageBatch]:
        """Return the batches that hold the requests, after those have been sent that no batch holds."""
        batches = []
        for saved in self._saved():
            if not requests.keys() & set(saved.digests):
                continue
            found = saved if saved.id is not None else self._lost(saved)
            if found is None:
                self._path(saved).unlink(missing_ok=True)
            else:
                batches.append(found)
        held = {digest for batch in batches for digest in batch.digests}
        waiting = {digest: request for digest, request in requests.items() if digest not in held}
        return [*batches, *(self._sent(part, mark) for part in split_message_requests(waiting))]

    def _sent(self, requests: Mapping[str, Request], mark: Call) -> SavedMessageBatch:
        batch = SavedMessageBatch(nonce=uuid.uuid4().hex[:16], digests=tuple(requests), at=time.time())
        self._save(batch)
        rows = [
            {"custom_id": _custom_id(batch, n), "params": params} for n, params in enumerate(mark([*requests.values()]))
        ]
        create = self._client.messages.batches.create
        try:
            identity = self._start(lambda: read_provider_id(create(requests=rows, timeout=self._timeout)))
        except UnavailableError as error:
            found = self._lost(batch)
            if found is None:
                self._path(batch).unlink(missing_ok=True)
                raise UnavailableError(
                    f"{error}; no batch was made: run it again", provider=self._provider, http_status=error.http_status
                ) from error
            return found
        except ProviderError:
            self._path(batch).unlink(missing_ok=True)
            raise
        return self._save(batch.model_copy(update={"id": identity}))

    def _lost(self, batch: SavedMessageBatch) -> SavedMessageBatch | None:
        """Return the batch with its id, if the account has it, though its creation got no answer."""
        known = {saved.id for saved in self._saved()}
        for seconds in LOOKS if time.time() - batch.at < sum(LOOKS) else (0.0,):
            if seconds:
                self._sleep(seconds)
            for identity in self._read(lambda: self._alike(batch, known)):
                self._wait(identity)
                if any(name.startswith(f"{batch.nonce}-") for name in self._lines(identity)):
                    return self._save(batch.model_copy(update={"id": identity}))
                known.add(identity)
        return None

    def _alike(self, batch: SavedMessageBatch, known: set[str | None]) -> list[str]:
        """Return the ids of batches of the same size that were made since."""
        found = []
        for other in self._client.messages.batches.list(limit=100):
            told = other.to_dict(mode="json", warnings=False)
            made = parse_provider_time(told.get("created_at"))
            if made is not None and made.timestamp() < batch.at - _CLOCKS:
                break  # the newest stand first
            if told["id"] not in known and sum(told["request_counts"].values()) == len(batch.digests):
                found.append(str(told["id"]))
        return found

    # --- results ----------------------------------------------------------------------------------------------------

    def _finished(self, batch: SavedMessageBatch) -> dict[str, Result]:
        assert batch.id is not None
        self._wait(batch.id)
        lines = self._lines(batch.id)
        missing: Result = {"type": "missing"}
        return {digest: lines.get(_custom_id(batch, n), missing) for n, digest in enumerate(batch.digests)}

    def _wait(self, identity: str) -> None:
        retrieve, told = self._client.messages.batches.retrieve, False
        while self._read(lambda: retrieve(identity).processing_status) != "ended":
            if not told:
                _log.warning(
                    "%s answers within a day, mostly within an hour, in the batch %s; if this is stopped, run it "
                    "again, and it goes on with the same batch",
                    self._provider,
                    identity,
                )
                told = True
            self._sleep(self._poll_seconds)

    def _lines(self, identity: str) -> dict[str, Result]:
        """Return the results by their custom ids. They are read from the account's own address: `results_url` may name
        another server, which is not to see the key."""
        import httpx2

        def read() -> dict[str, Result]:
            path = f"/v1/messages/batches/{identity}/results"
            answer = self._client.get(path, cast_to=httpx2.Response, options={"timeout": self._timeout})
            rows = [json.loads(line) for line in answer.text.split("\n") if line.strip()]
            return {row["custom_id"]: row["result"] for row in rows}

        found: dict[str, Result] = self._read(read, within=None)
        return found

    # --- what this machine remembers --------------------------------------------------------------------------------

    def _path(self, batch: SavedMessageBatch) -> Path:
        return self._folder / f"{self._account}-{batch.nonce}.json"

    def _save(self, batch: SavedMessageBatch) -> SavedMessageBatch:
        write_atomically(self._path(batch), batch.model_dump_json())
        return batch

    def _saved(self) -> Iterator[SavedMessageBatch]:
        """Yield the batches of the account that the provider still has the results of."""
        for path in sorted(self._folder.glob(f"{self._account}-*.json")):
            try:
                batch = SavedMessageBatch.model_validate_json(path.read_bytes())
            except (OSError, ValidationError):
                continue
            if time.time() - batch.at < _KEPT:
                yield batch
            else:
                path.unlink(missing_ok=True)


def split_message_requests(
    requests: Mapping[str, Request], *, most: int = MOST_REQUESTS, most_bytes: int = MOST_BYTES
) -> Iterator[dict[str, Request]]:
    """Yield the requests in parts of at most so many, and so many bytes of JSON."""
    part: dict[str, Request] = {}
    size = 0
    for digest, request in requests.items():
        own = len(json.dumps(request, ensure_ascii=False).encode()) + 100  # around it: custom_id and params
        if part and (len(part) == most or size + own > most_bytes):
            yield part
            part, size = {}, 0
        part[digest] = request
        size += own
    if part:
        yield part


def message_batch_error(provider: str, result: Result) -> ProviderError:
    """Return the error of a row without a message: QuotaError if the account has no credit left, RejectedError if its
    request is at fault, else UnavailableError."""
    told = (result.get("error") or {}).get("error") or {}
    if error_says_no_money(told):
        return QuotaError(
            f"{provider} has no quota or credit left for this key: {told.get('message')}; add credit there, and run it "
            "again",
            provider=provider,
            code=told.get("type"),
        )
    if told.get("type") in _REQUEST_AT_FAULT:
        return RejectedError(
            f"{provider} refuses the request: {told.get('message')}", provider=provider, code=told["type"]
        )
    why = told.get("message") or f"it is {result.get('type')}"
    return UnavailableError(
        f"{provider} has not answered a row of its batch ({why}), and bills nothing for it; run it again",
        provider=provider,
        code=told.get("type"),
    )


def _digest(request: Request) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def _custom_id(batch: SavedMessageBatch, place: int) -> str:
    return f"{batch.nonce}-{place}"
