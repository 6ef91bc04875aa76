"""`calculate_output` of OpenAI's multi graders: arithmetic over the scores of the graders inside, and nothing else.

Source of the operators (`+ - * / ^`) and functions: OpenAI's guide to graders, "Combining graders".
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tuneport.errors import ConfigError

_OPERATORS: dict[type, Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_FUNCTIONS: dict[str, Callable[..., float]] = {
    "min": min,
    "max": max,
    "abs": abs,
    "floor": lambda number: float(math.floor(number)),
    "ceil": lambda number: float(math.ceil(number)),
    "exp": math.exp,
    "sqrt": math.sqrt,
    "log": math.log,
}


LONGEST = 10_000
"""Characters of a formula. Clients of a gateway send them, too."""


class Formula:
    """Raises ConfigError if it is no arithmetic, or names what is no grader. Called with the scores, it gives the
    number.

    What has no value (a division by zero, the logarithm of nothing) is worth 0. It is computed in floats alone: whole
    numbers have no bound, and `9^9^9^9` would keep the process for ever.
    """

    def __init__(self, text: str, names: Iterable[str], grader: str) -> None:
        self._where = f"the grader {grader}: calculate_output {text!r}"
        known = set(names)
        if len(text) > LONGEST:
            raise ConfigError(
                f"the grader {grader}: calculate_output has {len(text):,} characters, and the most is {LONGEST:,}"
            )
        try:
            self._tree = ast.parse(text.replace("^", "**").strip(), mode="eval").body
            for node in ast.walk(self._tree):
                if isinstance(node, ast.Name) and node.id not in known | _FUNCTIONS.keys():
                    raise ConfigError(f"{self._where} names {node.id}; the graders are {', '.join(sorted(known))}")
            self(dict.fromkeys(known, 1.0))
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            raise ConfigError(f"{self._where[:200]} is no formula") from error

    def __call__(self, scores: Mapping[str, float]) -> float:
        try:
            result = float(self._value(self._tree, scores))
        except (ZeroDivisionError, OverflowError, ValueError):
            return 0.0
        except TypeError as error:
            raise ConfigError(f"{self._where} is not a number: {error}") from error
        return result if math.isfinite(result) else 0.0

    def _value(self, node: ast.expr, scores: Mapping[str, float]) -> Any:
        match node:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                return float(number)
            case ast.Name(id=name) if name in scores:
                return float(scores[name])
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](self._value(left, scores), self._value(right, scores))
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](self._value(operand, scores))
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
                return _FUNCTIONS[name](*(self._value(each, scores) for each in arguments))
        raise ConfigError(
            f"{self._where} has {ast.unparse(node)!r}; it takes numbers, graders, + - * / ^ and functions"
        )
