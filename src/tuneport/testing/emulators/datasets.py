"""Reading training files as the providers do: rows, the rules each enforces, and how many tokens it bills.

OpenAI's rules and its minimum of ten examples are from its guide and its published dataset schemas. Together's are
those that its own client enforced until version 2 (roles alternate, no unknown columns, one format a file), which its
server enforces now; of the server's wordings only "Line 7: `messages[1]` must contain a `role` field" is known, the
others follow its pattern. Their rules for images are from their guides to vision fine-tuning; wordings are assumed.
"""

from __future__ import annotations

import base64
import functools
import json
import re
from collections.abc import Callable
from typing import Any

from tuneport.installation import find_package_file
from tuneport.openai_encodings import cached_vocabulary_name, load_openai_encoding

Rows = list[dict[str, Any]]
Count = Callable[[str], int]

OPENAI_ROLES = {"system", "developer", "user", "assistant", "tool", "function"}
TOGETHER_ROLES = ["system", "user", "assistant", "tool"]
PREFERENCE = ("preferred_output", "non_preferred_output")
# Columns that make a format, and those it may have besides.
TOGETHER_FORMATS = {
    "general": (["text"], []),
    "instruction": (["prompt", "completion"], []),
    "conversation": (["messages"], ["tools"]),
    "preference_openai": (["input", *PREFERENCE], []),
}


IMAGES = 10  # an example
IMAGE_BYTES = 10_000_000
IMAGE_KINDS = ("png", "jpeg", "webp")


class EmulatedDataError(ValueError):
    pass


def emulated_images(row: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the images of a row, as pairs of the role that shows it and its URL."""
    messages = row.get("messages") or row.get("input", {}).get("messages", [])
    messages = [*messages, *row.get(PREFERENCE[0], []), *row.get(PREFERENCE[1], [])]
    found = []
    for message in messages:
        parts = message.get("content") if isinstance(message, dict) else None
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict) and part.get("type") == "image_url":
                found.append((message.get("role"), (part.get("image_url") or {}).get("url", "")))
    return found


def check_emulated_images(row: dict[str, Any], place: str, *, web: bool) -> None:
    """Apply the rules for images that both providers publish. `web`: a URL may stand for one."""
    images = emulated_images(row)
    if len(images) > IMAGES:
        raise EmulatedDataError(f"{place} has {len(images)} images; at most {IMAGES} are allowed")
    for role, url in images:
        if role != "user":
            raise EmulatedDataError(f"{place}: only messages of the user may contain images")
        if web and url.startswith(("http://", "https://")):
            continue
        kind, _, data = url.removeprefix("data:image/").partition(";base64,")
        if not url.startswith("data:image/") or kind not in IMAGE_KINDS:
            raise EmulatedDataError(f"{place}: an image must be a data URL of PNG, JPEG or WEBP")
        try:
            size = len(base64.b64decode(data, validate=True))
        except ValueError:
            raise EmulatedDataError(f"{place}: an image is not valid base64") from None
        if size > IMAGE_BYTES:
            raise EmulatedDataError(f"{place}: an image is larger than 10 MB")


def read_emulated_rows(content: bytes, line_error: str) -> Rows:
    """Return the rows of a JSONL file. `line_error` words the complaint about a bad one and takes {line} and {what}."""
    rows = []
    for line, text in enumerate(content.split(b"\n"), start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except ValueError:
            raise EmulatedDataError(line_error.format(line=line, what="is not valid JSON")) from None
        if not isinstance(row, dict):
            raise EmulatedDataError(line_error.format(line=line, what="is not a JSON object"))
        rows.append(row)
    return rows


def apply_emulated_openai_rules(rows: Rows, method: str) -> None:
    """Apply OpenAI's rules for one training method; the rows' number is checked elsewhere."""
    for number, row in enumerate(rows, start=1):
        place = f"Example {number}"
        check_emulated_images(row, place, web=True)
        if method == "dpo":
            _openai_messages(row.get("input", {}).get("messages"), f"{place}, input")
            for name in PREFERENCE:
                answers = row.get(name)
                if not isinstance(answers, list) or [answer.get("role") for answer in answers] != ["assistant"]:
                    raise EmulatedDataError(f"{place}: `{name}` must hold exactly one assistant message.")
        else:
            roles = _openai_messages(row.get("messages"), place)
            if method == "supervised" and "assistant" not in roles:
                raise EmulatedDataError(f"{place}: there must be at least one message from the assistant.")
            if method == "reinforcement" and roles[-1] != "user":
                raise EmulatedDataError(f"{place}: the last message must be from the user.")


def _openai_messages(messages: Any, place: str) -> list[str]:
    if not isinstance(messages, list) or not messages:
        raise EmulatedDataError(f"{place} is missing key 'messages'.")
    for message in messages:
        role = message.get("role") if isinstance(message, dict) else None
        if role not in OPENAI_ROLES:
            raise EmulatedDataError(f"{place} has a message with the invalid role {role!r}.")
        if not isinstance(message.get("content"), str | list) and not message.keys() & {"tool_calls", "function_call"}:
            raise EmulatedDataError(f"{place} has a message without content.")
        if "weight" in message and (role != "assistant" or message["weight"] not in (0, 1)):
            raise EmulatedDataError(f"{place}: `weight` may only be 0 or 1, on messages of the assistant.")
    return [message["role"] for message in messages]


def apply_emulated_together_rules(rows: Rows) -> str:
    """Apply Together's rules, and return the format of the file."""
    found = None
    for line, row in enumerate(rows, start=1):
        fits = [name for name, (needed, _) in TOGETHER_FORMATS.items() if all(column in row for column in needed)]
        if not fits:
            raise EmulatedDataError(f"Line {line}: could not detect a format from the columns {sorted(row)}")
        if len(fits) > 1 or found not in (None, fits[0]):
            both = fits if len(fits) > 1 else [found, fits[0]]
            raise EmulatedDataError(f"Line {line}: found multiple dataset formats, `{both[0]}` and `{both[1]}`")
        found = fits[0]
        check_emulated_images(row, f"Line {line}", web=False)
        needed, allowed = TOGETHER_FORMATS[found]
        for column in row:
            if column not in [*needed, *allowed, "weight"]:
                raise EmulatedDataError(f"Line {line}: found extra column `{column}`")
        if "weight" in row and (not isinstance(row["weight"], int | float) or row["weight"] < 0):
            raise EmulatedDataError(f"Line {line}: `weight` must be a number, 0 or more")
        if found == "conversation":
            _together_messages(row["messages"], line, "messages", last_may_be_assistant=True)
        elif found == "preference_openai":
            _together_preference(row, line)
        else:
            for column in needed:
                if not isinstance(row[column], str):
                    raise EmulatedDataError(f"Line {line}: `{column}` must be a string")
    if found is None:
        raise EmulatedDataError("The file has no samples")
    return found


def _together_messages(messages: Any, line: int, name: str, *, last_may_be_assistant: bool) -> None:
    if not isinstance(messages, list) or not messages:
        raise EmulatedDataError(f"Line {line}: `{name}` must be a non-empty list")
    previous = None
    for index, message in enumerate(messages):
        place = f"Line {line}: `{name}[{index}]`"
        if not isinstance(message, dict):
            raise EmulatedDataError(f"{place} must be an object")
        for field in ("role", "content"):
            if field not in message and not (field == "content" and message.get("tool_calls")):
                raise EmulatedDataError(f"{place} must contain a `{field}` field")
        role = message["role"]
        if role not in TOGETHER_ROLES:
            raise EmulatedDataError(f"{place} has the invalid role `{role}`; possible roles: {TOGETHER_ROLES}")
        if type(message.get("weight", 0)) is not int or message.get("weight", 0) not in (0, 1):
            raise EmulatedDataError(f"{place}: `weight` must be either 0 or 1")
        # Several tools may answer one turn, so only `user` and `assistant` must alternate.
        if role == previous and role != "tool":
            raise EmulatedDataError(f"{place}: `user` and `assistant` roles must alternate user/assistant/user/...")
        if role == "system" and index:
            raise EmulatedDataError(f"{place}: a `system` message may only be the first")
        if not isinstance(message.get("content"), str) and role != "user":
            if message.get("content") is not None or not message.get("tool_calls"):
                raise EmulatedDataError(f"{place}: `content` must be a string")
        previous = role
    if last_may_be_assistant and not any(message["role"] == "assistant" for message in messages):
        raise EmulatedDataError(f"Line {line}: `{name}` must contain at least one assistant message")
    if not last_may_be_assistant and previous == "assistant":
        raise EmulatedDataError(f"Line {line}: the last message of `{name}` must not be from the assistant")


def _together_preference(row: dict[str, Any], line: int) -> None:
    if not isinstance(row["input"], dict) or "messages" not in row["input"]:
        raise EmulatedDataError(f"Line {line}: `input` must be an object with a `messages` field")
    _together_messages(row["input"]["messages"], line, "input.messages", last_may_be_assistant=False)
    for name in PREFERENCE:
        answers = row[name]
        if not isinstance(answers, list) or len(answers) != 1:
            raise EmulatedDataError(f"Line {line}: `{name}` must contain exactly one message")
        _together_messages(answers, line, name, last_may_be_assistant=True)


def emulated_row_texts(row: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the texts of a row, as pairs of role and text."""
    if "text" in row or "prompt" in row:
        return [(name, str(row[name])) for name in ("text", "prompt", "completion") if name in row]
    messages = row.get("messages") or row.get("input", {}).get("messages", [])
    messages = [*messages, *row.get(PREFERENCE[0], []), *row.get(PREFERENCE[1], [])]
    return [(message["role"], emulated_message_text(message)) for message in messages]


def emulated_message_text(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, list):
        content = "".join(part.get("text", "") for part in content)
    calls = [call.get("function", {}) for call in message.get("tool_calls") or []]
    return content + "".join(f"{call.get('name', '')}{call.get('arguments', '')}" for call in calls)


def count_emulated_billed_tokens(row: dict[str, Any], count: Count) -> int:
    """Return what OpenAI bills for one example: 1 + the sum over messages of (3 + tokens of the role + of the content).

    The rule reproduces the trained_tokens of real jobs exactly for plain chat. For tools, images, and for preference
    pairs (here: the prompt once and both answers) it is an assumption.
    """
    return 1 + sum(3 + count(role) + count(text) for role, text in emulated_row_texts(row))


def emulated_token_count(text: str) -> int:
    """Count words in pieces of at most six characters, and every other character: near enough, and the same
    everywhere."""
    return len(re.findall(r"\w{1,6}|[^\w\s]", text))


@functools.cache
def emulated_tiktoken_count(encoding: str) -> Count:
    """Return tiktoken's count, if its vocabulary comes with an installed package, else the approximation: an emulator
    downloads nothing."""
    try:
        find_package_file("litellm", "litellm_core_utils", "tokenizers", cached_vocabulary_name(encoding))
    except FileNotFoundError:
        return emulated_token_count
    vocabulary = load_openai_encoding(encoding)
    return lambda text: len(vocabulary.encode_ordinary(text))
