"""The kinds of records, by which methods train on them, and the words for a record that a method cannot train on."""

from __future__ import annotations

from tuneport.data.rows.records import Chat, Graded, Labelled, PlainText, Preference, PromptCompletion, Record
from tuneport.methods import Method, Records

_KINDS: dict[type, Records] = {Preference: "pairs", Labelled: "labelled", Graded: "graded"}

_WORDS: dict[Records, str] = {
    "chats": "single answers",
    "pairs": "preference pairs",
    "labelled": "answers marked good or bad",
    "questions": "questions",
    "graded": "questions with what a grader compares answers with",
}


def method_for_record(record: Record) -> Method:
    """Return the first method that trains on such records."""
    return next(method for method in Method if method.traits.records == record_kind(record))


def record_kind(record: Record) -> Records:
    """Return what the record is to a method; a chat, a prompt with its completion and a text are all "chats"."""
    return _KINDS.get(type(record), "chats")


def record_without_mark(record: Record) -> Record:
    """Return the record without its mark good or bad, as sft trains on all answers alike."""
    if not isinstance(record, Labelled):
        return record
    told = {name: getattr(record, name) for name in Chat.__struct_fields__}
    return Chat(**told)


def untrainable_record_words(
    record: Record,
    method: Method,
    *,
    keep_unliked: bool = False,
    convert: str = "tuneport convert FILE --to openai --allow-loss -o good.jsonl",
) -> tuple[str, str] | None:
    """Return what is wrong with training on the record by that method, and what to do instead; None if it can.

    `keep_unliked`: marks do not matter to sft. `convert`: the command that keeps the good answers alone.
    """
    if keep_unliked and method is Method.SFT:
        record = record_without_mark(record)
    needed, kind = method.traits.records, record_kind(record)
    if kind == needed or (needed == "questions" and not isinstance(record, PlainText)):
        return None
    held = "plain text" if isinstance(record, PlainText) else _WORDS[kind]
    remedy = f"use --method {method_for_record(record)}"
    if needed == "labelled" and kind == "chats":
        column = "label" if isinstance(record, PromptCompletion) else "kto_tag"
        remedy += f", or name the column that holds true or false for each answer: --map {column}=COLUMN"
    elif needed == "pairs" and kind == "chats":
        remedy += ", or name the columns with the two answers: --map chosen=COLUMN --map rejected=COLUMN"
    elif kind == "labelled" and needed == "chats":
        remedy += ", or --method sft --keep-unliked to train on the bad answers, too, "
        remedy += f"or keep the good answers alone: {convert}"
    return f"holds {held}, and {method} trains on {_WORDS[needed]}", remedy
