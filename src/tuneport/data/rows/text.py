"""A record as text: what goes in, what comes out, and forms of both that make like things equal."""

from __future__ import annotations

import unicodedata
from hashlib import blake2b

import msgspec

from tuneport.data.rows.records import (
    Chat,
    Graded,
    ImagePart,
    Labelled,
    Message,
    PlainText,
    Preference,
    PromptCompletion,
    Record,
)


def split_record_answer(record: Record) -> tuple[list[Message], list[Message]]:
    """Return the messages up to the last answer, and the last answer (of a pair: the chosen one; of a question to be
    graded: its reference)."""
    match record:
        case Preference():
            return record.context, record.chosen
        case PromptCompletion():
            return [Message("user", record.prompt)], [Message("assistant", record.completion)]
        case PlainText():
            return [], [Message("assistant", record.text)]
        case Graded():
            return record.messages, grader_reference_as_answer(record)
        case Chat() | Labelled():
            messages = record.messages
            for index in range(len(messages) - 1, -1, -1):
                if messages[index].role == "assistant":
                    return messages[:index], messages[index : index + 1]
            return messages, []


def grader_reference_as_answer(record: Graded) -> list[Message]:
    """Return what a grader compares with, as a message: a text, else all of it as JSON; None without a reference."""
    values = list(record.reference.values())
    if not values:
        return []
    single = values[0] if len(values) == 1 and isinstance(values[0], str) else None
    return [Message("assistant", single or msgspec.json.encode(record.reference, order="sorted").decode())]


def record_messages_as_text(messages: list[Message]) -> str:
    """Return text, images (by a digest) and tool calls of the messages, each on its own line."""
    pieces: list[str] = []
    for message in messages:
        content = message.content
        text = content if type(content) is str else message.text
        if text:
            pieces.append(text)
        if type(content) is list:
            pieces += [f"[image {image_part_digest(part)}]" for part in content if isinstance(part, ImagePart)]
        pieces += [f"{call.name}({call.arguments})" for call in message.tool_calls]
    return "\n".join(pieces)


def prompt_and_input(messages: list[Message]) -> tuple[str, str]:
    """Return the system prompts, and everything else, written out."""
    system: list[Message] = []
    rest: list[Message] = []
    for message in messages:
        (system if message.role in ("system", "developer") else rest).append(message)
    return record_messages_as_text(system), record_messages_as_text(rest)


def image_part_digest(image: ImagePart) -> str:
    """Return eight hexadecimal digits that stand for the image."""
    shown = (image.url or image.data or "").encode("utf-8", "surrogatepass")
    return blake2b(shown, digest_size=4).hexdigest()


def normalise_record_text(text: str) -> str:
    """Normalise case, width, and kind and amount of space."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().split())


def normalised_text_key(*texts: str) -> int:
    """Return 64 bits that stand for the texts, which are normalised already."""
    joined = "\x1f".join(texts)
    return int.from_bytes(blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
