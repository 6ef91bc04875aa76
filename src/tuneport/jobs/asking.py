"""On whose behalf something is done: whose rows the store shows, whose new ones are, and who did it.

A variable of the context and no argument of each method: what is asked for by a client of the gateway is his project's
alone, on every route, also on one that is written later and thinks of no projects. It goes along into the threads in
which a route's work is done; threads of the program's own begin without it and see everything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

DEFAULT_PROJECT = "default"
"""Of whoever works on this machine, and of all that was there before there were projects."""


@dataclass(frozen=True)
class Asking:
    """`project` None: all of them. `name` is a token's, or `local`; `token_id`, `address` and `request_id` are known
    of a client of the gateway."""

    project: str | None = None
    name: str = "local"
    token_id: str | None = None
    address: str | None = None
    request_id: str | None = None


_NOBODY_ELSE = Asking()
_ASKING: ContextVar[Asking] = ContextVar("tuneport_asking", default=_NOBODY_ELSE)


def asking() -> Asking:
    return _ASKING.get()


def own_project() -> str:
    """To which new rows belong."""
    return _ASKING.get().project or DEFAULT_PROJECT


@contextmanager
def on_behalf_of(who: Asking) -> Iterator[None]:
    token = _ASKING.set(who)
    try:
        yield
    finally:
        _ASKING.reset(token)


def everything() -> AbstractContextManager[None]:
    """For a question about all projects, whoever causes it."""
    return on_behalf_of(_NOBODY_ELSE)
