"""The answers of a tuned model: the answer it was trained to give to the same last user message."""

from __future__ import annotations

from typing import Any

from tuneport.testing.emulators.datasets import PREFERENCE, Rows, emulated_message_text, emulated_token_count

BASE_ANSWER = "base answer"


def emulated_answer(rows: Rows | None, messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the assistant's message. `rows` are the training rows of a tuned model, None for a base model."""
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
    return next((emulated_message_text(message) for message in reversed(messages) if message["role"] == "user"), None)


def emulated_usage(messages: list[dict[str, Any]], reply: dict[str, Any]) -> dict[str, int]:
    prompt = sum(3 + emulated_token_count(emulated_message_text(message)) for message in messages)
    completion = emulated_token_count(emulated_message_text(reply))
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def limit_emulated_answer(reply: dict[str, Any], most_tokens: int | None) -> tuple[dict[str, Any], str]:
    """Return the reply within its limit, a word being a token, and why it ends."""
    if reply.get("tool_calls"):
        return reply, "tool_calls"
    words = (reply["content"] or "").split(" ")
    if most_tokens is None or len(words) <= most_tokens:
        return reply, "stop"
    return reply | {"content": " ".join(words[:most_tokens])}, "length"


def emulated_stream_deltas(reply: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the deltas of a stream: the text word by word, or each call's name and then its arguments in fragments."""
    if not reply.get("tool_calls"):
        words = (reply["content"] or "").split(" ")
        return [{"content": word if index == 0 else " " + word} for index, word in enumerate(words)]
    deltas = []
    for index, call in enumerate(reply["tool_calls"]):
        arguments = call["function"]["arguments"]
        begun = {**call, "index": index, "function": {**call["function"], "arguments": ""}}
        deltas.append({"tool_calls": [begun]})
        for start in range(0, len(arguments), 5):
            fragment = {"index": index, "function": {"arguments": arguments[start : start + 5]}}
            deltas.append({"tool_calls": [fragment]})
    return deltas


def emulated_logprobs(delta: dict[str, Any]) -> dict[str, Any] | None:
    """Return log-probabilities that are equally certain of every word."""
    word = delta.get("content")
    if not word:
        return None
    told = {"token": word, "logprob": -0.25, "bytes": list(word.encode())}
    return {"content": [told | {"top_logprobs": [told]}], "refusal": None}
