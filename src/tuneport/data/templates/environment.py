"""The sandbox of chat templates, without the calls that one line of a template could make last for hours.

A rendering is stopped between two instructions of Python (`template_limits`). What is one call of C for Python cannot
be stopped, so that those whose time is a product of two lengths are bounded before they begin.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tuneport.data.templates.limits import FIX, MOST_BYTES, TemplateLimitError

MOST_STEPS = 10**10
"""Limits one call, in characters times characters: about a second. 60 MB and a short word are far below it."""
MOST_BITS = 1 << 17
"""Limits a whole number that is multiplied or divided: 39,000 digits."""
_QUADRATIC = frozenset("rfind rindex rsplit rpartition strip lstrip rstrip".split())
"""The methods that take quadratic time in CPython; find, count, split and replace are linear."""


class BoundedTemplateEnvironment(ImmutableSandboxedEnvironment):
    intercepted_binops: ClassVar[frozenset[str]] = frozenset(("*", "//", "%"))  # type: ignore[misc]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.filters["trim"] = _bounded_trim(self.filters["trim"])

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: B902, N805
        """Call on behalf of a template. Raises TemplateLimitError if it would take too long."""
        if getattr(__obj, "__name__", None) in _QUADRATIC:
            _refuse_steps(__obj.__name__, getattr(__obj, "__self__", None), *args, *kwargs.values())
        return super().call(__context, __obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if isinstance(left, int) and isinstance(right, int):
            if left.bit_length() + right.bit_length() > MOST_BITS:
                many = "numbers of tens of thousands of digits"
                raise TemplateLimitError(f"the model's chat template computes with {many}; {FIX}")
        elif operator == "*":
            for text, times in ((left, right), (right, left)):
                if isinstance(times, int) and hasattr(text, "__len__") and _bytes_of(text) * times > MOST_BYTES:
                    raise MemoryError
        return super().call_binop(context, operator, left, right)


def bound_template_calls() -> None:
    """Make transformers render with the bounded sandbox. Templates that its own has compiled are forgotten."""
    from transformers.utils import chat_template_utils as library

    if library.ImmutableSandboxedEnvironment is not BoundedTemplateEnvironment:
        library.ImmutableSandboxedEnvironment = BoundedTemplateEnvironment
        for name in ("_compile_jinja_template", "_cached_compile_jinja_template"):  # releases cache one or the other
            if clear := getattr(getattr(library, name, None), "cache_clear", None):
                clear()


def _bounded_trim(trim: Callable[..., str]) -> Callable[..., str]:
    def bounded(value: Any, chars: str | None = None) -> str:
        _refuse_steps("trim", value, chars)
        return trim(value, chars)

    return bounded


def _refuse_steps(name: str, text: Any, *others: Any) -> None:
    if not isinstance(text, (str, bytes)):
        return
    if len(text) * max((len(other) for other in others if isinstance(other, (str, bytes))), default=0) > MOST_STEPS:
        raise TemplateLimitError(
            f"the model's chat template calls {name} with texts so long that it would not end; {FIX}"
        )


def _bytes_of(sequence: Any) -> int:
    return len(sequence) * (1 if isinstance(sequence, (str, bytes)) else 8)
