"""Rows and files for the tests of the data room."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def write(path: Path, rows: Iterable[Any]) -> Path:
    """JSON lines; a string is written as it is."""
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def chat(*turns: str, system: str | None = None, **more: Any) -> dict[str, Any]:
    """An OpenAI row: user and assistant in turn."""
    messages = [] if system is None else [{"role": "system", "content": system}]
    messages += [{"role": ("user", "assistant")[index % 2], "content": text} for index, text in enumerate(turns)]
    return {"messages": messages, **more}
