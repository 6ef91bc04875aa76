"""What a tuned model says: the answer it was trained to give to the same last user message."""

from __future__ import annotations

from typing import Any

from .datasets import PREFERENCE, Rows, approximate_count, message_text

BASE_ANSWER = "base answer"


def answer(rows: Rows | None, messages: list[dict[str, Any]]) -> dict[str, Any]:
    """The assistant's message. `rows` are the training rows of a tuned model, None for a base model."""
    asked = _last_user_text(messages)
    for row in rows or ():
        if "prompt" in row and row["prompt"] == asked:
            return {"role": "assistant", "content": row["completion"]}
        turns = row.get("messages") or [*row.get("input", {}).get("messages", []), *row.get(PREFERENCE[0], [])]
        replies = [turn for turn in turns if turn["role"] == "assistant"]
        if replies and _last_user_text(turns) == asked:
            reply = {"role": "assistant", "content": replies[-1].get("content")}
            if replies[-1].get("tool_calls"):
                reply["tool_calls"] = replies[-1]["tool_calls"]
            return reply
    return {"role": "assistant", "content": BASE_ANSWER}


def _last_user_text(messages: list[dict[str, Any]]) -> str | None:
    return next((message_text(message) for message in reversed(messages) if message["role"] == "user"), None)


def usage(messages: list[dict[str, Any]], reply: dict[str, Any]) -> dict[str, int]:
    prompt = sum(3 + approximate_count(message_text(message)) for message in messages)
    completion = approximate_count(message_text(reply))
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def pieces(reply: dict[str, Any]) -> list[dict[str, Any]]:
    """The deltas of a stream: the text word by word, or the tool calls in one."""
    if reply.get("tool_calls"):
        calls = [{"index": index, **call} for index, call in enumerate(reply["tool_calls"])]
        return [{"tool_calls": calls}]
    words = (reply["content"] or "").split(" ")
    return [{"content": word if index == 0 else " " + word} for index, word in enumerate(words)]
