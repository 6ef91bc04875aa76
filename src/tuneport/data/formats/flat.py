"""Helpers for formats without roles: a conversation as a system prompt, earlier exchanges, a question and its
answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from tuneport.data.formats.contract import Unrepresentable, note_lost_parallel_calls, note_lost_weight
from tuneport.data.rows.records import Message, Record


@dataclass
class FlatExchange:
    question: str
    answer: str
    system: str | None = None
    history: list[tuple[str, str]] = field(default_factory=list)


def reduce_to_exchange(messages: list[Message], lost: list[Unrepresentable]) -> FlatExchange | None:
    """Reduce a conversation to text in turns, and report what that loses. Returns None if it has no answer.

    Nothing is lost from: an optional system message, then users and assistants in turn, the last an assistant, all
    plain text.
    """
    system: str | None = None
    turns: list[tuple[str, str]] = []
    for message in messages:
        text = plain_text(message, lost)
        if message.role in ("system", "developer"):
            if turns or system is not None:
                lost.append(
                    Unrepresentable(
                        "messages[]", "there is one system prompt, at the beginning; the others are joined to it"
                    )
                )
            if message.role == "developer":
                lost.append(
                    Unrepresentable("messages[].role", "there is no developer role; it becomes the system prompt")
                )
            system = text if system is None else f"{system}\n\n{text}"
            continue
        if message.role == "tool":
            lost.append(Unrepresentable("messages[]", "there are no tool results; they are left out"))
            continue
        if message.role == "assistant" and message.tool_calls and not text:
            continue
        if turns and turns[-1][0] == message.role:
            lost.append(
                Unrepresentable(
                    "messages[]", "turns must alternate; consecutive ones of a role are joined by a blank line"
                )
            )
            turns[-1] = (message.role, f"{turns[-1][1]}\n\n{text}")
        else:
            turns.append((message.role, text))
    if turns and turns[-1][0] == "user":
        lost.append(Unrepresentable("messages[]", "the last turn must be an answer; a question after it is left out"))
        turns.pop()
    if not turns:
        lost.append(Unrepresentable("", "there is no text answer"))
        return None
    if turns[0][0] == "assistant":
        lost.append(
            Unrepresentable("messages[]", "the first turn must be a question; an empty one is put before the answer")
        )
        turns.insert(0, ("user", ""))
    texts = [text for _, text in turns]
    pairs = list(zip(texts[::2], texts[1::2], strict=True))
    return FlatExchange(*pairs[-1], system=system, history=pairs[:-1])


def plain_text(message: Message, lost: list[Unrepresentable]) -> str:
    """Return the message's text; everything else in it is noted as lost."""
    content = message.content
    if isinstance(content, list):
        lost.append(Unrepresentable("messages[].content", "content is plain text; parts are joined by newlines"))
        if message.has_image:
            lost.append(Unrepresentable("messages[].content[].image", "there are no images"))
    if message.tool_calls:
        lost.append(Unrepresentable("messages[].tool_calls", "there are no tool calls"))
    elif content is None:
        lost.append(Unrepresentable("messages[].content", "an absent content becomes an empty text"))
    if message.name is not None:
        lost.append(Unrepresentable("messages[].name", "there are no names"))
    if message.reasoning is not None:
        lost.append(Unrepresentable("messages[].reasoning", "there is no reasoning"))
    if message.weight is not None:
        lost.append(Unrepresentable("messages[].weight", "there are no weights of messages"))
    lost += [Unrepresentable(f"messages[].{key}", "messages have no further keys") for key in message.extra]
    return message.text


def note_lost_settings(record: Record, lost: list[Unrepresentable]) -> None:
    if record.tools:
        lost.append(Unrepresentable("tools", "there are no tool definitions"))
    note_lost_parallel_calls(record, lost)
    note_lost_weight(record, lost)


def text_messages(system: str | None, pairs: list[tuple[str, str]]) -> list[Message]:
    messages = [Message("system", system)] if system else []
    for question, answer in pairs:
        messages += [Message("user", question), Message("assistant", answer)]
    return messages
