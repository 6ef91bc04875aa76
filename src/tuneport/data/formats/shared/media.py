"""The columns that LLaMA-Factory and ms-swift keep beside plain messages: pictures, sounds, films and verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MEDIA_COLUMNS = ("images", "videos", "audios")
MEDIA_MARKS = ("<image>", "<video>", "<audio>")
"""Where the media of those columns belong in the texts."""


def columns_beside_messages(row: Mapping[str, Any]) -> str:
    """Return what the columns beside plain messages hold, in words, if only those two programs read them; else "".

    A message of parts holds its pictures itself. Without an answer, any column may be what a grader compares with.
    """
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages or not all(map(_is_plain, messages)):
        return ""
    if not any(message["role"] == "assistant" for message in messages):
        return ""
    found = [name for name in MEDIA_COLUMNS if row.get(name)]
    if has_verdict_column(row):
        found.append("a verdict on the answer")
    return f"messages beside {' and '.join(found)}" if found else ""


def has_verdict_column(row: Mapping[str, Any]) -> bool:
    """Return whether a column marks the answer as good or bad: `kto_tag` (LLaMA-Factory), or `label` (ms-swift)."""
    return row.get("kto_tag") is not None or isinstance(row.get("label"), bool)


def has_media_mark(row: Mapping[str, Any]) -> bool:
    """Return whether a text of the messages says where a picture, a sound or a film belongs."""
    texts = [str(message.get("content")) for message in row["messages"]]
    return any(mark in text for text in texts for mark in MEDIA_MARKS)


def _is_plain(message: Any) -> bool:
    return isinstance(message, dict) and "role" in message and not isinstance(message.get("content"), list)
