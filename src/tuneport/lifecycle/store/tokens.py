"""Tokens of the gateway's clients, and the browsers that were let in with one."""

from __future__ import annotations

import hashlib
import re
import secrets
import string
from datetime import datetime, timedelta

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tuneport.errors import ConfigError
from tuneport.lifecycle.schema.records import SessionRecord, TokenRecord
from tuneport.lifecycle.schema.scope import DEFAULT_PROJECT
from tuneport.lifecycle.schema.tables import BrowserSessionRow, TokenRow
from tuneport.lifecycle.store.audit import add_audit_entry
from tuneport.lifecycle.store.part import (
    StorePart,
    query_one_store_record,
    query_store_records,
    select_store_records,
    store_row_to_record,
)
from tuneport.types import now

TOKEN = re.compile(r"tp-([A-Za-z0-9]{12})-([A-Za-z0-9]{43})")
"""Its id, which is no secret, and 43 letters and digits of 62: 256 bits by chance."""
SCOPES = ("read", "submit", "admin")
SESSION_SECONDS = 12 * 3600
_ALPHABET = string.ascii_letters + string.digits
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_USED_SECONDS = 60.0


def token_digest(secret: str) -> str:
    """Return the SHA-256 of a secret. A slow hash protects what people think up, which can be guessed. A secret of 256
    random bits cannot, and a slow hash would only delay each request."""
    return hashlib.sha256(secret.encode()).hexdigest()


class TokenStore(StorePart):
    def add(
        self, name: str, *, scope: str, project: str | None = None, days: float | None = None
    ) -> tuple[TokenRecord, str]:
        """Add a token. Returns it and its secret, which is shown only now. A token with the scope admin and no project
        covers all projects, others the default one. Raises ConfigError if the name is taken."""
        _check("NAME", name)
        if project is not None:
            _check("--project", project)
        if scope not in SCOPES:
            raise ConfigError(f"--scope is one of {', '.join(SCOPES)}, not {scope!r}")
        if days is not None and not 0 < days <= 36500:
            raise ConfigError(f"--expires is a number of days above 0, at most 36500, not {days:g}")
        if project is None and scope != "admin":
            project = DEFAULT_PROJECT
        token_id = "".join(secrets.choice(_ALPHABET) for _ in range(12))
        secret = f"tp-{token_id}-" + "".join(secrets.choice(_ALPHABET) for _ in range(43))
        moment = now()
        row = TokenRow(
            id=token_id,
            name=name,
            digest=token_digest(secret),
            scope=scope,
            project=project,
            created_at=moment,
            expires_at=None if days is None else moment + timedelta(days=days),
        )
        try:
            with self.transaction() as session:
                session.add(row)
                add_audit_entry(session, "token.create", f"{name} ({token_id})", project=project)
                session.flush()
                return store_row_to_record(TokenRecord, row), secret
        except IntegrityError as error:
            raise ConfigError(
                f"there is a token named {name} already; choose another name, or `tuneport token revoke {name}` first"
            ) from error

    def all(self) -> list[TokenRecord]:
        """Return the tokens, oldest first, also those that were revoked or have expired."""
        with self.reading() as session:
            return query_store_records(
                session, TokenRecord, select_store_records(TokenRecord).order_by(TokenRow.created_at, TokenRow.id)
            )

    def revoke(self, name: str) -> TokenRecord:
        """Revoke a token by its name or id. Every gateway of the store refuses it within a second. Does nothing if it
        is already revoked."""
        live = (TokenRow.name == name) & TokenRow.revoked_at.is_(None)
        with self.transaction() as session:
            row = session.scalars(select(TokenRow).where(or_(live, TokenRow.id == name))).first()
            if row is None:
                raise ConfigError(f"no token {name!r} is in use; `tuneport token list` shows them")
            if row.revoked_at is None:
                row.revoked_at = now()
                session.execute(delete(BrowserSessionRow).where(BrowserSessionRow.token_id == row.id))
                add_audit_entry(session, "token.revoke", f"{row.name} ({row.id})", project=row.project)
            return store_row_to_record(TokenRecord, row)

    def count_tokens(self) -> tuple[int, int]:
        """Return how many there are and how many are revoked. Neither falls: if both are the same, nothing has changed,
        whatever the clocks of other machines say."""
        with self.reading() as session:
            made, revoked = session.execute(select(func.count(), func.count(TokenRow.revoked_at))).one()
            return made, revoked

    def mark_used(self, token_id: str) -> None:
        """Record that the token was used, at most once a minute."""
        moment = now()
        before = moment - timedelta(seconds=_USED_SECONDS)
        with self.transaction() as session:
            session.execute(
                update(TokenRow)
                .where(TokenRow.id == token_id, or_(TokenRow.last_used_at.is_(None), TokenRow.last_used_at < before))
                .values(last_used_at=moment)
            )

    # --- browsers ---------------------------------------------------------------------------------------------------

    def add_session(self, token_id: str) -> str:
        """Return the secret for its cookie. Sessions whose time is over are forgotten."""
        secret, moment = secrets.token_urlsafe(32), now()
        row = BrowserSessionRow(
            digest=token_digest(secret),
            token_id=token_id,
            created_at=moment,
            expires_at=moment + timedelta(seconds=SESSION_SECONDS),
        )
        with self.transaction() as session:
            session.execute(delete(BrowserSessionRow).where(BrowserSessionRow.expires_at <= moment))
            session.add(row)
            _note_session(session, "session.open", token_id)
        return secret

    def session(self, digest: str) -> SessionRecord | None:
        with self.reading() as session:
            live = (BrowserSessionRow.digest == digest, BrowserSessionRow.expires_at > now())
            return query_one_store_record(session, SessionRecord, select_store_records(SessionRecord).where(*live))

    def end_session(self, digest: str) -> None:
        with self.transaction() as session:
            row = session.get(BrowserSessionRow, digest)
            if row is not None:
                session.delete(row)
                _note_session(session, "session.close", row.token_id)


def is_token_live(row: TokenRecord, moment: datetime) -> bool:
    return row.revoked_at is None and (row.expires_at is None or row.expires_at > moment)


def _note_session(session: Session, action: str, token_id: str) -> None:
    token = session.get(TokenRow, token_id)
    if token is not None:
        add_audit_entry(session, action, f"{token.name} ({token_id})", project=token.project)


def _check(what: str, given: str) -> None:
    if not NAME.fullmatch(given):
        raise ConfigError(f"{what} {given!r}: a name has up to 64 letters, digits, '.', '_' and '-'")
