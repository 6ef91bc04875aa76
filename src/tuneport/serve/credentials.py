"""What a client shows to be let in, looked up: tokens and browsers' sessions, as the store had them a second ago."""

from __future__ import annotations

import contextlib
import hmac
import threading
import time
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from tuneport.jobs.database import StoreUnavailableError
from tuneport.jobs.store import Store
from tuneport.jobs.tables import TokenRow
from tuneport.jobs.tokens import TOKEN, digest_of, is_live
from tuneport.types import now

FRESH_SECONDS = 1.0
"""After so long a revocation, by whichever process, is seen. It makes checking cost nothing at a thousand requests a
second."""
_USE_SECONDS = 60.0
_MOST_SESSIONS = 10_000


@dataclass(frozen=True)
class AccessRules:
    """`require_token` None: as soon as the store has ever had one. `public_hosts`: names other than loopback's by which
    browsers may reach the dashboard."""

    require_token: bool | None = None
    public_hosts: tuple[str, ...] = ()


class Credentials:
    """All tokens are kept in memory, and read anew when there is one more or one more is revoked."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tokens: dict[str, TokenRow] = {}
        self._marks: tuple[int, int] | None = None
        self._read_at = float("-inf")
        self._used: dict[str, float] = {}
        self._sessions: dict[str, tuple[str | None, float]] = {}
        self._lock = threading.Lock()

    async def refresh(self) -> None:
        """StoreUnavailableError where nobody can say who is who: then nobody is let in."""
        if time.monotonic() - self._read_at >= FRESH_SECONDS:
            await run_in_threadpool(self._read)

    def _read(self) -> None:
        with self._lock:
            if time.monotonic() - self._read_at < FRESH_SECONDS:
                return  # somebody else has just read them
            before = time.monotonic()
            marks = self._store.token_marks()
            if marks != self._marks:
                self._tokens = {row.id: row for row in self._store.tokens()}
                self._marks = marks
            self._read_at = before

    @property
    def any(self) -> bool:
        """Whether there ever was a token: once somebody has asked for keys, losing the last one opens no door."""
        return bool(self._tokens)

    async def token(self, secret: str) -> TokenRow | None:
        """The live token of that secret."""
        match = TOKEN.fullmatch(secret)
        row = None if match is None else self._tokens.get(match[1])
        if row is None or not hmac.compare_digest(row.digest, digest_of(secret)) or not is_live(row, now()):
            return None
        await self._note_use(row)
        return row

    async def browser(self, cookie: str) -> TokenRow | None:
        """The live token with which the browser of that cookie was let in."""
        digest = digest_of(cookie)
        token_id, until = self._sessions.get(digest, (None, 0.0))
        if until <= time.monotonic():
            session = await run_in_threadpool(self._store.browser_session, digest)
            token_id = None if session is None else session.token_id
            if len(self._sessions) >= _MOST_SESSIONS:
                self._sessions.clear()
            self._sessions[digest] = (token_id, time.monotonic() + FRESH_SECONDS)
        row = self._tokens.get(token_id or "")
        if row is None or not is_live(row, now()):
            return None
        await self._note_use(row)
        return row

    def end_session(self, cookie: str) -> None:
        digest = digest_of(cookie)
        self._store.end_browser_session(digest)
        self._sessions.pop(digest, None)

    async def _note_use(self, row: TokenRow) -> None:
        moment = time.monotonic()
        if moment - self._used.get(row.id, float("-inf")) >= _USE_SECONDS:
            self._used[row.id] = moment
            with contextlib.suppress(StoreUnavailableError):  # of no use to the client; the next minute notes it
                await run_in_threadpool(self._store.token_used, row.id)
