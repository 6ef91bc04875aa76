"""Turns any record into a question that the model is to answer itself, for methods that learn from its own answers.

The turns up to the last answer are the question. That answer becomes the column `answer` beside the data's own columns,
so that a reward function or a grader can compare with it.
"""

from __future__ import annotations

from tuneport.data.rows.records import Graded, PlainText, Record
from tuneport.data.rows.text import split_record_answer

ANSWER = "answer"


def record_as_prompt(record: Record) -> Graded | None:
    """Return the record's question, or None if it asks nothing: plain text, or turns that do not end with the user's
    before the answer."""
    if isinstance(record, Graded):
        return record
    if isinstance(record, PlainText):
        return None
    messages, answer = split_record_answer(record)
    if not messages or messages[-1].role != "user":
        return None
    columns = dict(record.metadata)
    if len(answer) == 1 and answer[0].text:
        columns.setdefault(ANSWER, answer[0].text)
    return Graded(messages, columns, tools=record.tools, parallel_tool_calls=record.parallel_tool_calls)
