"""Tokens and browser sessions, looked up in a copy of the store that is at most a second old."""

from __future__ import annotations

import contextlib
import hmac
import threading
import time
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from tuneport.lifecycle.schema.database import StoreUnavailableError
from tuneport.lifecycle.schema.records import TokenRecord
from tuneport.lifecycle.store.store import Store
from tuneport.lifecycle.store.tokens import TOKEN, is_token_live, token_digest
from tuneport.types import now

_USE_SECONDS = 60.0
_MOST_SESSIONS = 10_000


@dataclass(frozen=True)
class AccessRules:
    """Access settings. `require_token` None: required as soon as the store has ever had a token. `public_hosts`: names
    besides loopback that browsers may use for the dashboard."""

    require_token: bool | None = None
    public_hosts: tuple[str, ...] = ()


class GatewayCredentials:
    """All tokens, kept in memory and read again when one is added or revoked.

    A revocation by any process takes effect within `seen_within` seconds.
    """

    def __init__(self, store: Store, *, seen_within: float) -> None:
        self._store, self._seen_within = store, seen_within
        self._tokens: dict[str, TokenRecord] = {}
        self._marks: tuple[int, int] | None = None
        self._read_at = float("-inf")
        self._used: dict[str, float] = {}
        self._sessions: dict[str, tuple[str | None, float]] = {}
        self._lock = threading.Lock()

    async def refresh(self) -> None:
        """Read the tokens again if they have changed. Raises StoreUnavailableError if the store cannot be read: then
        every caller is refused."""
        if time.monotonic() - self._read_at >= self._seen_within:
            await run_in_threadpool(self._read)

    def _read(self) -> None:
        with self._lock:
            if time.monotonic() - self._read_at < self._seen_within:
                return  # another request has just read them
            before = time.monotonic()
            marks = self._store.tokens.count_tokens()
            if marks != self._marks:
                self._tokens = {row.id: row for row in self._store.tokens.all()}
                self._marks = marks
            self._read_at = before

    @property
    def has_any_token(self) -> bool:
        """Return whether the store ever had a token: revoking the last one does not open the gateway again."""
        return bool(self._tokens)

    async def find_token(self, secret: str) -> TokenRecord | None:
        """Return the live token of that secret. Returns None if there is none."""
        match = TOKEN.fullmatch(secret)
        row = None if match is None else self._tokens.get(match[1])
        if row is None or not hmac.compare_digest(row.digest, token_digest(secret)) or not is_token_live(row, now()):
            return None
        await self._note_use(row)
        return row

    async def find_browser_token(self, cookie: str) -> TokenRecord | None:
        """Return the live token with which the browser of that cookie logged in. Returns None if there is none."""
        digest = token_digest(cookie)
        token_id, until = self._sessions.get(digest, (None, 0.0))
        if until <= time.monotonic():
            session = await run_in_threadpool(self._store.tokens.session, digest)
            token_id = None if session is None else session.token_id
            if len(self._sessions) >= _MOST_SESSIONS:
                self._sessions.clear()
            self._sessions[digest] = (token_id, time.monotonic() + self._seen_within)
        row = self._tokens.get(token_id or "")
        if row is None or not is_token_live(row, now()):
            return None
        await self._note_use(row)
        return row

    def end_session(self, cookie: str) -> None:
        digest = token_digest(cookie)
        self._store.tokens.end_session(digest)
        self._sessions.pop(digest, None)

    async def _note_use(self, row: TokenRecord) -> None:
        moment = time.monotonic()
        if moment - self._used.get(row.id, float("-inf")) >= _USE_SECONDS:
            self._used[row.id] = moment
            with contextlib.suppress(StoreUnavailableError):  # of no use to the client; the next minute notes it
                await run_in_threadpool(self._store.tokens.mark_used, row.id)
