"""Turns as strict targets want them: a system prompt only at the head, users and assistants in turn.

What has to change for that is a loss.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tuneport.data.formats.contract import Unrepresentable
from tuneport.data.rows.records import Message, Part, Role, TextPart


def without_developer(messages: Sequence[Message], lost: list[Unrepresentable]) -> list[Message]:
    """Return developer messages as system messages."""
    if not any(message.role == "developer" for message in messages):
        return list(messages)
    lost.append(Unrepresentable("messages[].role", "there is no developer role; it becomes system"))
    replace = msgspec.structs.replace
    return [replace(message, role="system") if message.role == "developer" else message for message in messages]


def alternate_turns(messages: Sequence[Message], lost: list[Unrepresentable]) -> list[Message]:
    """Return at most one system message, at the head, and no two users or assistants in a row; tool results may follow
    each other. A later system message becomes a user's, neighbours of one role are joined by a blank line."""
    turns: list[Message] = []
    for message in without_developer(messages, lost):
        if message.role == "system" and turns:
            lost.append(
                Unrepresentable(
                    "messages[].role", "a system prompt stands at the head; a later one becomes a user's text"
                )
            )
            message = msgspec.structs.replace(message, role="user")
        if turns and turns[-1].role == message.role != "tool":
            lost.append(
                Unrepresentable("messages[]", "turns must alternate; consecutive messages of a role are joined")
            )
            turns[-1] = _joined(turns[-1], message)
        else:
            turns.append(message)
    return turns


def without_images(message: Message, lost: list[Unrepresentable], *, shown_by: tuple[Role, ...]) -> Message:
    """Remove images except those that messages of the roles `shown_by` have inline or by a URL of the web."""
    if not isinstance(message.content, list):
        return message
    kept: list[Part] = []
    for part in message.content:
        if isinstance(part, TextPart):
            kept.append(part)
        elif message.role not in shown_by:
            lost.append(
                Unrepresentable(
                    "messages[].content[].image", "only a user shows images" if shown_by else "a pair is text only"
                )
            )
        elif part.url is not None and not part.url.startswith(("http://", "https://")):
            lost.append(
                Unrepresentable(
                    "messages[].content[].image",
                    "an image is inline or on the web; a path is left out (--inline-images reads it in)",
                )
            )
        else:
            kept.append(part)
    if len(kept) == len(message.content):
        return message
    return msgspec.structs.replace(message, content=kept or "")


def _joined(one: Message, other: Message) -> Message:
    weights = [weight for weight in (one.weight, other.weight) if weight is not None]
    return Message(
        one.role,
        _joined_content(one.content, other.content),
        one.name or other.name,
        [*one.tool_calls, *other.tool_calls],
        one.tool_call_id,
        _joined_text(one.reasoning, other.reasoning),
        max(weights) if weights else None,
        {**one.extra, **other.extra},
    )


def _joined_content(one: str | list[Part] | None, other: str | list[Part] | None) -> str | list[Part] | None:
    if isinstance(one, list) or isinstance(other, list):
        return _parts(one) + _parts(other)
    return _joined_text(one, other)


def _joined_text(one: str | None, other: str | None) -> str | None:
    return one if other is None else other if one is None else f"{one}\n\n{other}"


def _parts(content: str | list[Part] | None) -> list[Part]:
    return content if isinstance(content, list) else [] if content is None else [TextPart(content)]
