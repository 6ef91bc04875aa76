"""The context of a request: who acts, for the audit log, and which project a gateway's request belongs to.

It is a context variable and no argument of each method, so that it goes along into the threads that do a route's work.
It opens nothing: a store shows the rows of its scope (`schema/scope.py`), and a thread without a request has no
project, rather than all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from tuneport.lifecycle.schema.scope import DEFAULT_PROJECT, NoScopeError


@dataclass(frozen=True)
class RequestContext:
    """`name` is a token's, or `local`; `token_id`, `address` and `request_id` are known of a client of the gateway."""

    project: str = DEFAULT_PROJECT
    name: str = "local"
    token_id: str | None = None
    address: str | None = None
    request_id: str | None = None


_LOCAL = RequestContext()
_ASKING: ContextVar[RequestContext] = ContextVar("tuneport_asking")


def current_store_request_context() -> RequestContext:
    """Return the caller: the user of this machine, if it is no client of a gateway."""
    return _ASKING.get(_LOCAL)


def current_store_project() -> str:
    """Return the project of the request that is being answered. Raises NoScopeError outside a request."""
    try:
        return _ASKING.get().project
    except LookupError:
        raise NoScopeError(
            "a thread of the gateway asks for a project's rows without a request; pass the request's context to it"
        ) from None


@contextmanager
def use_store_request_context(who: RequestContext) -> Iterator[None]:
    token = _ASKING.set(who)
    try:
        yield
    finally:
        _ASKING.reset(token)
