"""Whole answers of a backend to a chat in OpenAI's format."""

from __future__ import annotations

import secrets
import time
from typing import Any, get_args

from pydantic import ValidationError

from tuneport.backends.streaming import openai_token_usage
from tuneport.serve.wire.chat_answer import ChatCompletion, FinishReason
from tuneport.types import Completion

FINISH_REASONS = get_args(FinishReason)


class ChatAnswerHead:
    """The fields that an answer and every chunk of it share."""

    def __init__(self, model: str) -> None:
        self.id, self.created, self.model = f"chatcmpl-{secrets.token_hex(15)}", int(time.time()), model

    def document(self, kind: str, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
            **more,
        }


def openai_completion_document(head: ChatAnswerHead, answer: Completion) -> dict[str, Any]:
    if answer.document is not None and (told := _told(answer.document)) is not None:
        return told | {"id": head.id, "created": head.created, "model": head.model}
    message: dict[str, Any] = {
        "role": "assistant",
        "content": answer.text if answer.text or not answer.tool_calls else None,
        "refusal": None,
    }
    if answer.tool_calls:
        message["tool_calls"] = answer.tool_calls
    reason = gateway_finish_reason(answer.finish_reason, calls=bool(answer.tool_calls))
    choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
    usage = openai_token_usage(answer.prompt_tokens, answer.completion_tokens)
    return head.document("chat.completion", [choice], **({} if usage is None else {"usage": usage}))


def openai_usage_document(answer: Completion) -> dict[str, Any]:
    """Return the token counts in OpenAI's format, with details if the provider gave them; empty if not known."""
    told = (answer.document or {}).get("usage")
    return told if isinstance(told, dict) else openai_token_usage(answer.prompt_tokens, answer.completion_tokens) or {}


def gateway_finish_reason(said: Any, *, calls: bool) -> str:
    """Return why a choice ended, in OpenAI's words; Together, for one, says `eos`."""
    if said in FINISH_REASONS and not (calls and said == "stop"):
        return str(said)
    return "tool_calls" if calls else "stop"


def _told(document: dict[str, Any]) -> dict[str, Any] | None:
    """Return a provider's answer in OpenAI's format, with all choices, log probabilities and counts. Returns None if
    it does not have that format."""
    choices = []
    for index, choice in enumerate(document.get("choices") or []):
        message = {"role": "assistant", "content": None, "refusal": None} | (choice.get("message") or {})
        calls = message.pop("tool_calls", None)
        if calls:
            message["tool_calls"] = calls
            message["content"] = message["content"] or None
        told = {"index": index, "logprobs": None} | choice | {"message": message}
        if told.get("finish_reason") not in FINISH_REASONS:
            told["finish_reason"] = gateway_finish_reason(None, calls=bool(calls))
        choices.append(told)
    answer = {name: value for name, value in document.items() if value is not None}
    try:
        read = ChatCompletion.model_validate({**answer, "object": "chat.completion", "choices": choices})
    except ValidationError:
        return None
    return read.model_dump(mode="json", exclude_unset=True)
