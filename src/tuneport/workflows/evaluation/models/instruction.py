"""The instruction for a model that was not tuned: what training has told the other one."""

from __future__ import annotations

from collections.abc import Iterable

from tuneport.errors import ConfigError
from tuneport.scoring.examples import Messages

MOST_CLASSES = 50
"""Beyond, the list is longer than most questions, and the time of an answer is that of reading it."""


def instruct_classes(task: str, classes: Iterable[str] | None) -> str:
    """Return the instruction of a classification, with its classes in the order of the alphabet.

    Raises ConfigError for another task, whose instruction is not in the data, and for too many classes.
    """
    if classes is None:
        raise ConfigError(
            f'"instructed" tells a model the classes, and the task here is {task}: write the instruction into the rows '
            'as a system prompt, or name the model with "few-shot"'
        )
    names = sorted(set(classes))
    if len(names) > MOST_CLASSES:
        raise ConfigError(
            f'"instructed" names each class, at most {MOST_CLASSES}, and there are {len(names):,}; name the model with '
            '"few-shot" instead'
        )
    return f"Answer with one of these and nothing else: {', '.join(names)}."


def add_instruction(messages: Messages, instruction: str) -> Messages:
    """Return the conversation with the instruction at the end of its system prompt, or else before its last question:
    not every model's template has system prompts."""
    system = next((place for place, message in enumerate(messages) if message["role"] == "system"), None)
    asked = next((place for place in reversed(range(len(messages))) if messages[place]["role"] == "user"), None)
    place = system if system is not None else asked
    if place is None:
        return [{"role": "user", "content": instruction}, *messages]
    content = str(messages[place]["content"])
    told = f"{content}\n\n{instruction}" if system is not None else f"{instruction}\n\n{content}"
    return [*messages[:place], {**messages[place], "content": told}, *messages[place + 1 :]]
