"""LLaMA-Factory: its version 1 form, and the three older ones with the columns that `alpaca`, `sharegpt` and `openai`
lack.

- version 1: `{"messages": [{"role", "content": [{"type", "value"}], "loss_weight"}], "tools": "[...]"}`, parts of the
  types text, reasoning, image_url and tool_call (JSON text of a name and arguments); for pairs `chosen_messages` and
  `rejected_messages`, both from the first message on
- `conversations` or `instruction` rows, with `kto_tag` (a verdict), `images` (one for each `<image>` in the texts) and,
  for pairs, `chosen` and `rejected` beside them; LLaVA and Qwen-VL have one picture in `image`
- `messages` of plain texts with the same columns; ms-swift writes these, too, and calls the verdict `label`

Written is version 1, which alone holds weights, reasoning and images; answers with a verdict, for which it has no
form, are written as conversations with a `kto_tag`. What every release reads is written by `alpaca` and `sharegpt`.
A `loss_weight` of 1 for each answer and 0 for all else is the same as no weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from tuneport.data.formats import alpaca
from tuneport.data.formats.contract import (
    InvalidRecord,
    Problem,
    RecordProblems,
    Unrepresentable,
    Written,
    chat_of_record,
    decode_dataset_row,
    note_lost_parallel_calls,
    note_lost_weight,
    pick_unknown_row_keys,
    restore_unknown_row_keys,
    row_value_json_type,
)
from tuneport.data.formats.llamafactory.messages import (
    drop_default_row_weights,
    read_llamafactory_messages,
    write_llamafactory_messages,
)
from tuneport.data.formats.openai import format as openai
from tuneport.data.formats.pairs import note_lost_boundary, split_preference_pair
from tuneport.data.formats.shared.media import (
    MEDIA_COLUMNS,
    columns_beside_messages,
    is_picture,
    picture_column,
    read_picture,
)
from tuneport.data.formats.sharegpt import format as sharegpt
from tuneport.data.formats.sharegpt.turns import write_sharegpt_turns
from tuneport.data.rows.records import Chat, Labelled, Message, Part, Preference, Record, TextPart

NAME = "llamafactory"
_KNOWN = frozenset(("messages", "chosen_messages", "rejected_messages", "tools"))
_OWN = frozenset(("kto_tag", "images"))
_RESERVED = _KNOWN | _OWN | {"conversations", "instruction", "chosen", "rejected", "label", "system"}
_PLACE = re.compile(r"<image>\n?")


def likeness(row: Mapping[str, Any]) -> tuple[float, str]:
    if _is_typed(row.get("messages")):
        return 1.0, "messages of typed parts with a value, or with loss weights"
    if isinstance(row.get("chosen_messages"), list) and isinstance(row.get("rejected_messages"), list):
        return 1.0, "chosen_messages and rejected_messages"
    beside = columns_beside_messages(row)
    if beside:
        return 1.0, beside
    if row.keys() & MEDIA_COLUMNS and openai.likeness(row)[0]:
        return 0.3, "messages, and columns of media without any"  # in a file of which other rows have some
    own = _OWN | {picture_column(row)}
    rest = {key: value for key, value in row.items() if key not in own}
    for form in (sharegpt, alpaca):
        if form.likeness(rest)[0] and "messages" not in row:
            if len(rest) < len(row):
                return 1.0, f"{form.NAME} with {' and '.join(sorted(own & row.keys()))}"
            return 0.8, f"the same as {form.NAME}"
    return 0.0, "there are no typed parts, kto_tag or images"


def _is_typed(messages: Any) -> bool:
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        return False
    contents = [message["content"] for message in messages if isinstance(message.get("content"), list)]
    parts = [part for content in contents for part in content]
    return any("loss_weight" in m for m in messages) or any(isinstance(p, dict) and "value" in p for p in parts)


def read_format_row(line: bytes) -> Record:
    row = decode_dataset_row(line)
    if "conversations" in row or "instruction" in row or columns_beside_messages(row):
        return _read_older(row)
    problems = RecordProblems()
    tools = sharegpt.read_sharegpt_definitions(row, problems)
    record: Record
    if "chosen_messages" in row or "rejected_messages" in row:
        chosen = read_llamafactory_messages(row, "chosen_messages", problems)
        rejected = read_llamafactory_messages(row, "rejected_messages", problems)
        problems.raise_if_any()
        drop_default_row_weights([*chosen, *rejected])
        record = Preference(*split_preference_pair(chosen, rejected))
        used: tuple[str, ...] = ("chosen_messages", "rejected_messages", "tools")
    else:
        messages = read_llamafactory_messages(row, "messages", problems)
        problems.raise_if_any()
        drop_default_row_weights(messages)
        record = Chat(messages)
        used = ("messages", "tools")
    record.tools, record.metadata = tools, pick_unknown_row_keys(row, used)
    return record


def _read_older(row: dict[str, Any]) -> Record:
    form = sharegpt if "conversations" in row else alpaca if "instruction" in row else openai
    problems = RecordProblems()
    column = picture_column(row)
    found = row[column] if column else []
    images = found if isinstance(found, list) else [found]
    tag = row.get("kto_tag")
    if tag is None and form is openai and isinstance(row.get("label"), bool):
        tag = row.pop("label")
    if tag is not None and not isinstance(tag, bool):
        problems.add(
            "kto_tag", f"must be true or false, not {row_value_json_type(tag)}", "mark the answer as good or bad"
        )
    try:
        record: Record = form.read_format_row(
            msgspec.json.encode({key: value for key, value in row.items() if key not in (*_OWN, column, "tools")})
        )
    except InvalidRecord as error:
        raise InvalidRecord(*problems, *error.problems) from None
    record.tools = sharegpt.read_sharegpt_definitions(row, problems)
    if images:
        _place(record, column, images, problems)
    if tag is not None and not isinstance(record, Chat):
        problems.add("kto_tag", "stands beside a pair of answers", "keep one of the two")
    problems.raise_if_any()
    if isinstance(tag, bool) and isinstance(record, Chat):
        return Labelled(record.messages, tag, tools=record.tools, metadata=record.metadata)
    return record


def _place(record: Record, column: str, images: list[Any], problems: RecordProblems) -> None:
    """Put the images at each `<image>` of the texts, in their order; before the first question if there is none."""
    messages = list(_messages(record))
    places = sum(len(_PLACE.findall(message.text)) for message in messages)
    ready = places == len(images) or (places == 0 and any(message.role == "user" for message in messages))
    read = [part for part in map(read_picture, images) if part is not None]
    fix = "give a URL, a path or a data URL for each <image>"
    if len(read) < len(images):
        problems.append(Problem(column, "one of them is neither a URL, a path nor a known kind of picture", fix))
        return
    if not ready:
        problems.append(Problem(column, f"{len(images)} images for {places} places <image>", fix))
        return
    waiting = iter(read)
    for message in messages:
        if not isinstance(message.content, str):
            continue
        if not places and message.role == "user":
            message.content = [*waiting, TextPart(message.content)]
        elif "<image>" in message.content:
            texts = _PLACE.split(message.content)
            parts: list[Part] = [TextPart(texts[0])] if texts[0] else []
            for text in texts[1:]:
                parts += [next(waiting), *([TextPart(text)] if text else [])]
            message.content = parts
        if not places and message.role == "user":
            return


def _messages(record: Record) -> Iterator[Message]:
    if isinstance(record, Preference):
        yield from (*record.context, *record.chosen, *record.rejected)
    elif isinstance(record, Chat | Labelled):
        yield from record.messages


def write_format_row(record: Record) -> Written:
    lost: list[Unrepresentable] = []
    row: dict[str, Any]
    if isinstance(record, Labelled):
        messages = [msgspec.structs.replace(message, weight=None) for message in record.messages]
        if messages != record.messages:
            lost.append(Unrepresentable("messages[].weight", "there are no weights beside a kto_tag"))
        row = {"conversations": write_sharegpt_turns(messages, lost), "kto_tag": record.label}
    elif isinstance(record, Preference):
        note_lost_boundary(record, lost)
        messages = [*record.context, *record.chosen, *record.rejected]
        context, chosen, rejected = (
            write_llamafactory_messages(part, messages, lost)
            for part in (record.context, record.chosen, record.rejected)
        )
        row = {"chosen_messages": context + chosen, "rejected_messages": context + rejected}
    else:
        chat = chat_of_record(record, lost)
        if chat is None:
            return None, lost
        row = {"messages": write_llamafactory_messages(chat.messages, chat.messages, lost)}
    if record.tools:
        row["tools"] = sharegpt.write_sharegpt_definitions(record.tools, lost)
    note_lost_parallel_calls(record, lost)
    note_lost_weight(record, lost)
    picture = {"image"} if is_picture(record.metadata.get("image")) else set()
    restore_unknown_row_keys(row, record.metadata, _RESERVED | picture, "", lost)
    return row, lost


def note_row_spelling(line: bytes) -> str:
    if b'"messages"' in line and (b'"kto_tag"' in line or b'"label"' in line):
        return "messages with a verdict are written as conversations with a kto_tag"
    older = b'"conversations"' in line or b'"instruction"' in line or b'"value"' not in line
    if b'"kto_tag"' not in line and older:
        return "the older forms are read as what version 1 writes as messages of typed parts"
    return ""
