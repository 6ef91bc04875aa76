"""The words of a record that are trained on, and the words before them."""

from __future__ import annotations

from collections.abc import Iterator

from tuneport.data.rows.records import Chat, Graded, Labelled, Message, PlainText, Preference, PromptCompletion, Record


def iterate_row_answers(record: Record) -> Iterator[tuple[str, Message]]:
    """Yield each answer that is trained towards, with the user's words before it.

    Only the chosen one of a pair, and no answer labelled bad: bad answers are bad on purpose.
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
            question = row_message_text(message)
        elif message.role == "assistant" and message.weight != 0 and index >= start:
            yield question, message


def last_row_user_text(record: Record) -> str:
    """Return the user's last words before the answer; of text without a conversation, nothing."""
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
            return row_message_text(message)
    return ""


def row_message_text(message: Message) -> str:
    return message.content if type(message.content) is str else message.text
