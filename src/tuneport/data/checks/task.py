"""What kind of task the data is, judged by its answers."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import msgspec

from tuneport.data.text import normalised

MAX_CLASSES = 1000
_LABEL_LENGTH = 60  # characters; a class name, not a sentence
_CODE = re.compile(r"```|^\s*(def |class |import |#include|function |public |SELECT )", re.MULTILINE)

TASKS = ("classification", "extraction", "style", "domain", "code")


class TaskGuess:
    """Counts answers as they come. `name` is the guess so far, `classes` the rows of each class."""

    def __init__(self) -> None:
        self.rows = 0
        self._labels: Counter[str] = Counter()
        self._names: dict[str, str] = {}
        self._long = self._json = self._code = 0

    def add(self, output: str) -> None:
        self.rows += 1
        if len(output) > _LABEL_LENGTH or "\n" in output or len(self._labels) >= MAX_CLASSES:
            self._long += 1
        else:
            label = normalised(output)
            self._labels[label] += 1
            self._names.setdefault(label, output.strip())
        self._json += _is_json_object(output)
        self._code += bool(_CODE.search(output))

    def state(self) -> Any:
        return self.rows, self._labels, self._names, self._long, self._json, self._code

    def merge(self, state: Any) -> None:
        rows, labels, names, long, json, code = state
        self.rows, self._long = self.rows + rows, self._long + long
        self._json, self._code = self._json + json, self._code + code
        self._labels.update(labels)
        self._names = {**names, **self._names}

    @property
    def classes(self) -> dict[str, int]:
        return {self._names[label]: count for label, count in self._labels.most_common()}

    @property
    def name(self) -> str:
        """Few distinct short answers: classification. JSON: extraction. Code: code. Else style, the usual rest."""
        rows = self.rows or 1
        if self.rows >= 4 and self._long <= 0.02 * rows and len(self._labels) <= max(2, self.rows // 4):
            return "classification"
        if self._json / rows >= 0.8:
            return "extraction"
        return "code" if self._code / rows >= 0.5 else "style"


def _is_json_object(text: str) -> bool:
    text = text.strip()
    if not text.startswith(("{", "[")) or not text.endswith(("}", "]")):
        return False
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False
    return True
