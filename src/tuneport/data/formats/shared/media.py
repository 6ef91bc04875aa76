"""Pictures, sounds and films in rows: the columns and marks of LLaMA-Factory, ms-swift and LLaVA, and how one is given.

A picture is read from a URL, a path or a data URL, or from the struct `{"bytes", "path"}` of Hugging Face's `datasets`.
LLaVA and Qwen-VL have one in a column `image`, the others a list in `images`; ms-swift reads both. Sounds and films are
told from pictures, and are a problem of their row: no backend trains on them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tuneport.data.formats.contract import Problem, RecordProblems
from tuneport.data.rows.records import ImagePart

MEDIA_COLUMNS = ("images", "videos", "audios")
PICTURE_COLUMNS = ("images", "image")
MEDIA_MARKS = ("<image>", "<video>", "<audio>")
"""Where the media of those columns belong in the texts."""

_DATA_URL = re.compile(r"data:([^;,]+);base64,(.*)", re.DOTALL)
_PICTURE = re.compile(
    r"data:image/|https?://|.*\.(png|jpe?g|jfif|gif|webp|bmp|tiff?|heic|avif)([?#].*)?$", re.IGNORECASE | re.DOTALL
)
_SIGNATURES = {"iVBOR": "png", "/9j/": "jpeg", "R0lG": "gif", "UklG": "webp"}
"""What the first bytes of a picture are in base64."""
_UNHEARD = {
    "audio": "a sound",
    "audio_url": "a sound",
    "input_audio": "a sound",
    "video": "a film",
    "video_url": "a film",
    "input_video": "a film",
}


def picture_column(row: Mapping[str, Any]) -> str:
    """Return the name of the column that holds the row's pictures; "" if there is none.

    A column `image` is one only if its value looks like a picture: other things have images, too.
    """
    if row.get("images"):
        return "images"
    return "image" if is_picture(row.get("image")) else ""


def is_picture(value: Any) -> bool:
    """Return whether a value is a picture by its ending, by its scheme or as a struct; or a list of such."""
    if isinstance(value, list):
        return bool(value) and all(map(is_picture, value))
    if isinstance(value, dict):
        return read_picture(value) is not None
    return isinstance(value, str) and _PICTURE.match(value) is not None


def read_picture(value: Any) -> ImagePart | None:
    """Return the picture that a text or a struct of `datasets` gives; None if it gives none."""
    if isinstance(value, dict):
        if not value.keys() <= {"bytes", "path"}:
            return None
        data, value = value.get("bytes"), value.get("path")
        if isinstance(data, str) and data:
            kind = base64_picture_kind(data)
            return None if kind is None else ImagePart(data=data, media_type=f"image/{kind}")
    if not isinstance(value, str) or not value:
        return None
    inline = _DATA_URL.fullmatch(value)
    return ImagePart(data=inline[2], media_type=inline[1]) if inline else ImagePart(url=value)


def base64_picture_kind(data: str) -> str | None:
    """Return the kind of picture that begins so: png, jpeg, gif or webp; None if it is none of them."""
    return next((kind for start, kind in _SIGNATURES.items() if data.startswith(start)), None)


def columns_beside_messages(row: Mapping[str, Any]) -> str:
    """Return what the columns beside plain messages hold, in words, if only those programs read them; else "".

    A message of parts holds its pictures itself. Without an answer, any column may be what a grader compares with.
    """
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages or not all(map(_is_plain, messages)):
        return ""
    if not any(message["role"] == "assistant" for message in messages):
        return ""
    found = [name for name in MEDIA_COLUMNS if row.get(name)]
    if picture_column(row) == "image":
        found.append("image")
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


def add_unheard_part(kind: Any, at: str, problems: RecordProblems) -> bool:
    """Return whether a part of this type, or of this media type, is a sound or a film, which is then a problem. A
    record has one such problem, so that the number of problems is that of the records."""
    name = str(kind)
    words = _UNHEARD.get(name) or {"audio/": "a sound", "video/": "a film"}.get(name[:6])
    if words is None:
        return False
    problem = Problem(at, f"is {words} ({name}), and no backend trains on those", "leave the records with it out")
    if not any(each.fix == problem.fix for each in problems):
        problems.append(problem)
    return True


def _is_plain(message: Any) -> bool:
    return isinstance(message, dict) and "role" in message and not isinstance(message.get("content"), list)
