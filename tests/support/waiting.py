"""Waits for something to come true, and says what it waited for when that never happens."""

from __future__ import annotations

import ast
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any

PATIENCE_SECONDS = 240.0
"""For a machine that does ten other things; on an idle one nothing waits this long."""


def until(
    condition: Callable[[], Any],
    seconds: float = PATIENCE_SECONDS,
    *,
    pause: float = 0.05,
    told: Callable[[], object] | None = None,
    alive: Callable[[], bool] | None = None,
) -> Any:
    """Return the condition's value as soon as that is true.

    It looks often at first and every `pause` seconds later: who waits shares the machine with what is waited for.
    After `seconds`, or when `alive` says that what should bring it about has ended, the AssertionError says what was
    waited for (the text of the condition), how long, what its parts are now, and what `told` adds (a log, a state).
    """
    began = time.monotonic()
    while not (found := condition()):
        lasted = time.monotonic() - began
        ended = alive is not None and not alive()
        if ended and (found := condition()):  # it came true as the last thing before the end
            break
        if ended or lasted > seconds:
            first = f"{'it ended' if ended else 'gave up'} after {lasted:.1f} s of waiting for: {_text(condition)}"
            lines = [first, *_seen(condition, found), *([] if told is None else [str(told())])]
            raise AssertionError("\n  ".join(lines))
        time.sleep(min(pause, 0.002 + lasted / 20))
    return found


def _text(condition: Callable[[], Any]) -> str:
    body = _body(condition)
    return getattr(condition, "__qualname__", repr(condition)) if body is None else ast.unparse(body)


def _body(condition: Callable[[], Any]) -> ast.expr | None:
    """Return the expression of a lambda, or None."""
    code: CodeType | None = getattr(condition, "__code__", None)
    if code is None or code.co_name != "<lambda>" or not Path(code.co_filename).is_file():
        return None
    tree = ast.parse(Path(code.co_filename).read_text())
    places = {place[:1] + place[2:3] for place in code.co_positions()}
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda) and node.lineno == code.co_firstlineno:
            body = node.body
            if any((part.lineno, part.col_offset) in places for part in ast.walk(body) if isinstance(part, ast.expr)):
                return body
    return None


def _seen(condition: Callable[[], Any], found: object) -> Iterator[str]:
    """Yield each operand of the condition with its value now."""
    body = _body(condition)
    if body is None:
        yield f"it was last {found!r}"
        return
    code = condition.__code__
    closure = {}
    for name, cell in zip(code.co_freevars, condition.__closure__ or (), strict=True):
        try:
            closure[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    defaults = dict(zip(code.co_varnames, condition.__defaults__ or (), strict=False))
    names = {**condition.__globals__, **closure, **defaults}
    for part in _operands(body):
        try:
            value = repr(eval(compile(ast.Expression(part), "<condition>", "eval"), names))
        except Exception as error:  # told, whatever it is: this is only the explanation of a failure
            value = f"{type(error).__name__}: {error}"
        yield f"{ast.unparse(part)} is {value[:2000]}"


def _operands(node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.BoolOp(values=values):
            for value in values:
                yield from _operands(value)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield from _operands(operand)
        case ast.Compare(left=left, comparators=others):
            yield from (part for part in (left, *others) if not isinstance(part, ast.Constant))
        case _:
            yield node
