"""Do answers in JSON share their keys and their types?"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from tuneport.data.checks.near.line_index import FlaggedLines, Keys, RowLineIndex
from tuneport.data.checks.rows.shapes import parse_row_answer_json, strip_row_code_fence

MIN_ROWS = 10  # answers in JSON, to speak of a habit
USUAL = 0.9  # of the answers in JSON have a key, or of a key's values a type: the others are odd
RARE = 0.05  # of the answers in JSON have a key: they are odd, unless many have some rare key
MAX_RARE = 0.1
MOSTLY = 0.8  # of all answers are JSON: those that are none are odd
MAX_DEPTH = 3
MAX_PATHS = 64

Shape = tuple[tuple[str, str], ...]
NO_JSON: Shape = (("", "no JSON"),)
FENCED: Shape = (("", "JSON in a code fence"),)


class JsonShapeCheck:
    """Shapes of answers: each path to a value, as in `items[].name`, with its type; `places.MAX_KEYS` at most."""

    def __init__(self) -> None:
        self._shapes: RowLineIndex[Shape] = RowLineIndex()
        self._forms: RowLineIndex[Shape] = RowLineIndex()  # of answers that are not plainly JSON

    def add(self, line: int, answer: str) -> None:
        for places, key in self.keys(answer):
            places.add(key, line)

    def keys(self, answer: str) -> Keys:
        start = answer.lstrip()[:1]
        if start not in ("{", "[", "`"):
            return [(self._forms, NO_JSON)]
        inside = strip_row_code_fence(answer)
        value = parse_row_answer_json(answer if inside is None else inside)
        if value is None:
            return [(self._forms, NO_JSON)]
        shape = (self._shapes, json_shape(value))
        return [shape] if inside is None else [(self._forms, FENCED), shape]

    def state(self) -> Any:
        return self._shapes.state(), self._forms.state()

    def merge(self, state: Any) -> None:
        self._shapes.merge(state[0])
        self._forms.merge(state[1])

    def odd_lines(self) -> FlaggedLines:
        """Return what is odd, by line."""
        total, found = self._shapes.rows, FlaggedLines()
        if total < MIN_ROWS:
            return found
        if total >= MOSTLY * (total + self._forms.count(NO_JSON)):
            found.flag_value(self._forms, NO_JSON, "not JSON, unlike most answers")
        fenced = self._forms.count(FENCED)
        if fenced <= (1 - MOSTLY) * total:
            found.flag_value(self._forms, FENCED, "JSON in a code fence, unlike most")
        for shape, reason in self._odd_shapes().items():
            found.flag_value(self._shapes, shape, reason)
        return found

    def _odd_shapes(self) -> dict[Shape, str]:
        total = self._shapes.rows - self._shapes.others
        paths: Counter[str] = Counter()
        types: dict[str, Counter[str]] = defaultdict(Counter)
        for shape in self._shapes:
            count = self._shapes.count(shape)
            for path, kind in shape:
                paths[path] += count
                types[path][kind] += count
        usual = [path for path, count in paths.items() if count >= USUAL * total]
        rare = {path for path, count in paths.items() if count <= RARE * total}
        with_rare = sum(self._shapes.count(shape) for shape in self._shapes if any(path in rare for path, _ in shape))
        if with_rare > MAX_RARE * total:
            rare = set()  # keys are data here, or the answers have no common form
        found: dict[Shape, str] = {}
        for shape in self._shapes:
            have = dict(shape)
            missing = [path for path in usual if path not in have and _parent(path, have)]
            wrong = [(path, kind) for path, kind in shape if path and _unusual(kind, types[path])]
            extra = [path for path in have if path in rare]
            if missing:
                found[shape] = f"the key {missing[0]!r} is missing"
            elif wrong:
                path, kind = wrong[0]
                found[shape] = f"{path!r} is {kind}, elsewhere {types[path].most_common(1)[0][0]}"
            elif extra:
                found[shape] = f"the key {extra[0]!r} is in few others"
        return found


def _parent(path: str, have: dict[str, str]) -> bool:
    """Return whether the value that should hold the key is there at all: else that one is missing."""
    parent = path.rpartition(".")[0]
    return not parent or parent.removesuffix("[]") in have


def _unusual(kind: str, kinds: Counter[str]) -> bool:
    """Return whether a value has an unusual type. Null and an empty list fit any type."""
    if kind in ("null", "list"):
        return False
    return kinds[kind] <= (1 - USUAL) * kinds.total() and kinds.most_common(1)[0][1] >= USUAL * kinds.total()


def json_shape(value: Any) -> Shape:
    found: dict[str, str] = {}
    _describe(value, "", found, MAX_DEPTH)
    return tuple(sorted(found.items()))


def _describe(value: Any, path: str, found: dict[str, str], depth: int) -> None:
    if len(found) >= MAX_PATHS:
        return
    if isinstance(value, dict):
        found[path] = "object"
        if depth:
            for key, inner in value.items():
                _describe(inner, f"{path}.{key}" if path else key, found, depth - 1)
    elif isinstance(value, list):
        found[path] = f"list of {_kind(value[0])}" if value else "list"
        if value and isinstance(value[0], dict) and depth:
            for key, inner in value[0].items():
                _describe(inner, f"{path}[].{key}", found, depth - 1)
    else:
        found[path] = _kind(value)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else "list" if isinstance(value, list) else "object"
