"""Names that changed: the old ones work for one release, with a DeprecationWarning."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def renamed(**names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function be called with the old names of its keywords: `renamed(old="new")`.

    TypeError if both are given. Type checkers know the new names only.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def with_old_names(*args: P.args, **given: P.kwargs) -> R:
            for old in given.keys() & names.keys():
                if names[old] in given:
                    raise TypeError(f"{function.__name__}() got {names[old]!r} also by its old name {old!r}")
                warnings.warn(
                    f"{function.__name__}({old}=...) is now {function.__name__}({names[old]}=...); the old name goes "
                    "with the next release",
                    DeprecationWarning,
                    stacklevel=2,
                )
                given[names[old]] = given.pop(old)
            return function(*args, **given)

        return with_old_names

    return decorate
