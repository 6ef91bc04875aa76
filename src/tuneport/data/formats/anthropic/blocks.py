"""Anthropic's content blocks, read and written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tuneport.data.formats.contract import (
    RecordProblems,
    Unrepresentable,
    pick_unknown_row_keys,
    restore_unknown_row_keys,
    row_value_json_type,
)
from tuneport.data.formats.shared.turns import without_images
from tuneport.data.formats.sharegpt.turns import is_sharegpt_json_object
from tuneport.data.rows.records import ImagePart, Message, Part, TextPart, ToolCall

ID_PREFIX = "toolu_"
SIGNATURE = "thinking_signature"


class _Block(msgspec.Struct):
    input: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Turn(msgspec.Struct):
    content: list[_Block | str] | str | None = None


class _Shape(msgspec.Struct):
    messages: list[_Turn]


class AnthropicCallInputs:
    """The inputs of the calls of a row, as they are spelled in it; decoded only if a call is met."""

    def __init__(self, line: bytes) -> None:
        self._line = line
        self._turns: list[_Turn] | None = None

    def spelling(self, turn: int, block: int) -> str:
        if self._turns is None:
            self._turns = msgspec.json.decode(self._line, type=_Shape).messages
        content = self._turns[turn].content
        assert isinstance(content, list)
        found = content[block]
        assert isinstance(found, _Block) and isinstance(found.input, msgspec.Raw)
        return bytes(found.input).decode()


def read_anthropic_turn(turn: Any, at: str, problems: RecordProblems, inputs: AnthropicCallInputs) -> list[Message]:
    if not isinstance(turn, dict):
        problems.add(
            at, f"a message must be an object, not {row_value_json_type(turn)}", 'write {"role": ..., "content": ...}'
        )
        return []
    role, content = turn.get("role"), turn.get("content")
    if role not in ("user", "assistant"):
        fix = "move it to the top-level system" if role in ("system", "developer") else "use user or assistant"
        problems.add(f"{at}.role", "is missing" if role is None else f"{role!r} is no role of this format", fix)
        return []
    if isinstance(content, str):
        messages = [Message(role, content)]
    elif isinstance(content, list) and content:
        messages = _read_blocks(content, role, at, problems, inputs)
    else:
        problems.add(f"{at}.content", "must be text or a list of blocks, not empty", "add the text of the message")
        return []
    if messages:
        messages[0].extra = {**pick_unknown_row_keys(turn, ("role", "content")), **messages[0].extra}
    return messages


def _read_blocks(
    content: list[Any], role: Any, at: str, problems: RecordProblems, inputs: AnthropicCallInputs
) -> list[Message]:
    messages: list[Message] = []
    turn = int(at[at.index("[") + 1 : -1])
    for index, block in enumerate(content):
        field = f"{at}.content[{index}]"
        kind = block.get("type") if isinstance(block, dict) else None
        last = messages[-1] if messages and messages[-1].role == role else None
        if kind == "tool_result" and role == "user":
            messages.append(_read_result(block, field, problems))
        elif kind == "tool_use" and role == "assistant":
            call = _read_call(block, field, problems, inputs, (turn, index))
            if last is None:
                messages.append(last := Message(role))
            last.tool_calls = [*last.tool_calls, call]
        elif kind == "thinking" and role == "assistant":
            thinking = problems.read_text(block, "thinking", field)
            extra = {SIGNATURE: block["signature"]} if block.get("signature") is not None else {}
            _refuse_rest(block, ("type", "thinking", "signature"), field, problems)
            messages.append(Message(role, reasoning=thinking, extra=extra))
        else:
            part = read_anthropic_part(block, field, problems)
            if part is None:
                continue
            if last is None or last.tool_calls:
                messages.append(last := Message(role))
            last.content = [*(last.content or []), part]
    whole = len(messages) == 1 and not messages[0].tool_calls and messages[0].reasoning is None
    if not whole or messages[0].role == "tool":
        for message in messages:
            if message.role != "tool":
                message.content = _flat(message.content)
    return messages


def _flat(content: str | list[Part] | None) -> str | list[Part] | None:
    """Return the content, as plain text if it is a single text block: beside other blocks that is just its text."""
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], TextPart) and not content[0].extra:
        return content[0].text
    return content


def _refuse_rest(block: Mapping[str, Any], known: tuple[str, ...], at: str, problems: RecordProblems) -> None:
    for key in pick_unknown_row_keys(block, known):
        problems.add(f"{at}.{key}", "is not a key of such a block", "remove it")


def _read_result(block: Mapping[str, Any], at: str, problems: RecordProblems) -> Message:
    content = block.get("content")
    if isinstance(content, list):
        content = read_anthropic_parts(content, f"{at}.content", problems) or None
    elif content is not None and not isinstance(content, str):
        problems.add(f"{at}.content", f"must be text or blocks, not {row_value_json_type(content)}", "write it as text")
    message = Message("tool", content, tool_call_id=problems.read_text(block, "tool_use_id", at, required=False))
    message.extra = pick_unknown_row_keys(block, ("type", "tool_use_id", "content"))
    return message


def _read_call(
    block: Mapping[str, Any], at: str, problems: RecordProblems, inputs: AnthropicCallInputs, place: tuple[int, int]
) -> ToolCall:
    name = problems.read_text(block, "name", at) or ""
    arguments = "{}"
    if isinstance(block.get("input"), dict):
        arguments = inputs.spelling(*place)
    else:
        problems.add(f"{at}.input", f"must be an object, not {row_value_json_type(block.get('input'))}", "write {...}")
    call_id = problems.read_text(block, "id", at, required=False)
    return ToolCall(name, arguments, call_id, pick_unknown_row_keys(block, ("type", "id", "name", "input")))


def read_anthropic_parts(values: list[Any], at: str, problems: RecordProblems) -> list[Part]:
    read = (read_anthropic_part(value, f"{at}[{index}]", problems) for index, value in enumerate(values))
    return [part for part in read if part is not None]


def read_anthropic_part(value: Any, at: str, problems: RecordProblems) -> Part | None:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "text":
        text = problems.read_text(value, "text", at)
        return None if text is None else TextPart(text, pick_unknown_row_keys(value, ("type", "text")))
    if kind == "image":
        source = value.get("source")
        extra = pick_unknown_row_keys(value, ("type", "source"))
        if isinstance(source, dict) and source.get("type") == "url" and isinstance(source.get("url"), str):
            return ImagePart(url=source["url"], extra=extra)
        if isinstance(source, dict) and source.get("type") == "base64":
            data, media_type = problems.read_text(source, "data", at), problems.read_text(source, "media_type", at)
            return ImagePart(data=data, media_type=media_type, extra=extra)
        problems.add(f"{at}.source", "must be of the type url or base64", 'write {"type": "url", "url": ...}')
        return None
    place = " here" if kind in ("tool_use", "tool_result", "thinking") else ""
    fix = "use text, image, thinking and tool_use, and in a user message tool_result"
    problems.add(at, f"a block of the type {kind!r} is not supported{place}", fix)
    return None


class AnthropicTurnWriter:
    """Writes messages as alternating turns. `joined` tells whether a turn had to take in a second message."""

    def __init__(self, lost: list[Unrepresentable]) -> None:
        self.turns: list[dict[str, Any]] = []
        self.joined = False
        self._lost = lost

    def system(self, message: Message) -> str | list[dict[str, Any]]:
        self._lose_rest(message)
        for key in message.extra:
            self._lose(f"messages[].{key}", "the system prompt has no further keys")
        return message.content if isinstance(message.content, str) else self._parts(message.content or [])

    def add(self, message: Message) -> None:
        role = "assistant" if message.role == "assistant" else "user"
        if message.role in ("system", "developer"):
            self._lose("messages[].role", "one system prompt stands before the messages; another becomes a user's text")
        self._lose_rest(message)
        extra = dict(message.extra)
        message = without_images(message, self._lost, shown_by=("user", "tool"))
        content = self._result(message, extra) if message.role == "tool" else self._content(message, extra)
        last = self.turns[-1] if self.turns else None
        if last is None or last["role"] != role:
            turn = {"role": role, "content": content}
            restore_unknown_row_keys(turn, extra, ("role", "content"), "messages[].", self._lost)
            self.turns.append(turn)
        else:
            self.joined = True
            last["content"] = _blocks(last["content"]) + _blocks(content)
            for key in extra:
                self._lose(f"messages[].{key}", "the message is joined to the one before it")

    def _lose(self, field: str, reason: str) -> None:
        self._lost.append(Unrepresentable(field, reason))

    def _lose_rest(self, message: Message) -> None:
        if message.name is not None:
            self._lose("messages[].name", "there are no names")
        if message.weight is not None:
            self._lose("messages[].weight", "there are no weights of messages")
        if message.role != "assistant" and message.reasoning is not None:
            self._lose("messages[].reasoning", "only an assistant thinks")

    def _parts(self, parts: list[Part]) -> list[dict[str, Any]]:
        rows = []
        for part in parts:
            row: dict[str, Any]
            if isinstance(part, TextPart):
                row = {"type": "text", "text": part.text}
            elif part.url is not None:
                row = {"type": "image", "source": {"type": "url", "url": part.url}}
            else:
                source = {"type": "base64", "media_type": part.media_type, "data": part.data}
                row = {"type": "image", "source": source}
            if isinstance(part, ImagePart) and part.detail is not None:
                self._lose("messages[].content[].detail", "an image has no detail setting")
            restore_unknown_row_keys(row, part.extra, ("type", "text", "source"), "messages[].content[].", self._lost)
            rows.append(row)
        return rows

    def _content(self, message: Message, extra: dict[str, Any]) -> str | list[dict[str, Any]]:
        content = message.content
        if isinstance(content, str) and not message.tool_calls and message.reasoning is None:
            return content
        blocks: list[dict[str, Any]] = []
        if message.role == "assistant" and message.reasoning is not None:
            signature = {"signature": extra.pop(SIGNATURE)} if SIGNATURE in extra else {}
            blocks.append({"type": "thinking", "thinking": message.reasoning, **signature})
        if isinstance(content, str):
            blocks.append({"type": "text", "text": content})
        elif content is not None:
            if (blocks or message.tool_calls) and _flat(content) is not content:
                self._lose("messages[].content", "a single text part beside other blocks becomes the text itself")
            blocks += self._parts(content)
        blocks += [self._call(call) for call in message.tool_calls]
        if not blocks:
            self._lose("messages[].content", "must be text or blocks; an absent one becomes an empty text")
            return ""
        return blocks

    def _call(self, call: ToolCall) -> dict[str, Any]:
        arguments: Any
        if is_sharegpt_json_object(call.arguments):
            arguments = msgspec.Raw(call.arguments.encode())
            if "\n" in call.arguments or "\r" in call.arguments:
                arguments = msgspec.Raw(msgspec.json.format(call.arguments.encode(), indent=-1))
                self._lose("messages[].tool_calls[].arguments", "the input is an object; line breaks in it are removed")
        else:
            arguments = {"arguments": call.arguments}
            self._lose("messages[].tool_calls[].arguments", "the input must be an object; other text is put into one")
        row = {"type": "tool_use", "id": call.id, "name": call.name, "input": arguments}
        restore_unknown_row_keys(row, call.extra, (), "messages[].tool_calls[].", self._lost)
        return row

    def _result(self, message: Message, extra: dict[str, Any]) -> list[dict[str, Any]]:
        row: dict[str, Any] = {"type": "tool_result", "tool_use_id": message.tool_call_id}
        if isinstance(message.content, str):
            row["content"] = message.content
        elif message.content:
            row["content"] = self._parts(message.content)
        restore_unknown_row_keys(row, extra, (), "messages[].", self._lost)
        extra.clear()
        return [row]


def _blocks(content: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
