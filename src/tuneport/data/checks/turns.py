"""Which words of a record are trained on, and what they answer."""

from __future__ import annotations

from collections.abc import Iterator

from tuneport.data.records import Chat, Graded, Labelled, Message, PlainText, Preference, PromptCompletion, Record


def answers_of(record: Record) -> Iterator[tuple[str, Message]]:
    """Each answer that is trained towards, with the user's words that it follows.

    Of a pair only the chosen one, of an answer labelled bad none: bad answers are there to be bad.
    """
    match record:
        case PromptCompletion():
            yield record.prompt, Message("assistant", record.completion)
            return
        case PlainText():
            yield "", Message("assistant", record.text)
            return
        case Preference():
            messages, start = [*record.context, *record.chosen], len(record.context)
        case Labelled():
            messages, start = (record.messages if record.label else []), 0
        case Graded():
            return  # it has no answer: the model gives its own
        case Chat():
            messages, start = record.messages, 0
    question = ""
    for index, message in enumerate(messages):
        if message.role == "user":
            question = text_of(message)
        elif message.role == "assistant" and message.weight != 0 and index >= start:
            yield question, message


def asked_last(record: Record) -> str:
    """The user's last words before the answer; of text without a conversation, nothing."""
    match record:
        case PromptCompletion():
            return record.prompt
        case PlainText():
            return ""
        case Preference():
            messages = record.context
        case Chat() | Labelled() | Graded():
            messages = record.messages
    for message in reversed(messages):
        if message.role == "user":
            return text_of(message)
    return ""


def text_of(message: Message) -> str:
    return message.content if type(message.content) is str else message.text
