"""Counts the tokens that OpenAI bills for a dataset, by the rule that its published bills follow.

    tokens of one example = 1 + sum over its messages of (3 + tokens(role) + tokens(content))

All roles count, trained on or not; an example is cut to the training context first. The rule was counted, not
published: it gives four known bills exactly (for one, 4,445 trained tokens = 7 epochs x 635). Names, weights, images,
tools and preference pairs are in no known bill: counts with them are estimates, and say so.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneport.data.rows.records import (
    Chat,
    Graded,
    ImagePart,
    Labelled,
    Message,
    PlainText,
    Preference,
    PromptCompletion,
    Record,
    Tool,
)
from tuneport.openai_encodings import load_openai_encoding

if TYPE_CHECKING:
    from tuneport.data.dataset import Dataset

LOW_DETAIL_IMAGE = 85  # tokens; OpenAI's vision fine-tuning guide. Other details depend on the image's size
LARGEST_IMAGE = 85 + 8 * 170  # tokens of high detail by the same guide: 8 tiles at most, as 2,048 x 768 has
_IMAGE_REASON = f"an image is counted as {LOW_DETAIL_IMAGE} tokens, which is its price in low detail"
OTHER_VOCABULARY = (0.9, 1.5)
"""How far a model's own count may lie from that with o200k_base, as factors.

Measured on seven datasets (chats, tool calls, preference pairs, English): Claude's and DeepSeek's vocabularies make 1 %
to 25 % more tokens of them, SmolLM2's small one 0 % to 40 % more. Assumed: 10 % fewer at the least, and 10 % more for
the markup of the model's chat template.
"""
_BATCH = 1024


@dataclass(frozen=True)
class Approximation:
    """Why a count is an estimate. What is billed lies between `low` and `high` times the count, plus `more` tokens.

    The bounds are assumed, from what the reason says; no bill was found that would narrow them.
    """

    reason: str
    low: float
    high: float
    more: int = 0


PAIR = Approximation(
    "it is not published whether both answers of a pair are billed; both are counted, each with its context", 0.5, 1.0
)
TOOLS = Approximation(
    "tool definitions are counted as their rendering as TypeScript, which bills follow closely, not exactly", 0.9, 1.2
)
TOOL_CALL = Approximation("a tool call is counted as its name, its arguments and 3 tokens of markup", 0.9, 1.2)
# Reasoning, and messages of weight 0, may be billed in full or not at all.
UNSEEN = Approximation("names, reasoning and weights are in none of the known bills", 0.5, 1.1)
NO_CHAT = Approximation("only chats are in the known bills", 0.9, 1.1)


@dataclass(frozen=True)
class TokenCounts:
    """Per epoch. `longest_line` is where the longest example is; `over_context` examples were cut to `context`.
    `usual` is the length that 99 of 100 examples keep to, uncut. `image_rows` examples show pictures, `path_rows` of
    them some by a path.

    What is billed lies between `low` and `high`; both are `total` unless the count is `approximate`.
    """

    rows: int
    total: int
    low: int
    high: int
    longest: int
    longest_line: int
    approximate: bool
    reason: str
    encoding: str
    context: int | None = None
    over_context: int = 0
    usual: int = 0
    image_rows: int = 0
    path_rows: int = 0

    def as_dict(self) -> dict[str, Any]:
        return vars(self).copy()


class TokenLengthCounter(ABC):
    """Lengths of records in tokens, and their sums. `lengths` are uncut, in the order of adding; 8 bytes a record."""

    def __init__(self, name: str, *, context: int | None = None) -> None:
        self.name, self.context = name, context
        self.lengths = array("I")
        self.lines = array("I")
        self.reason = ""
        self._reason_line = 0  # whence it is: the first line that has one
        self._below = self._above = 0.0
        self._image_rows = self._path_rows = 0

    @abstractmethod
    def add(self, line: int, record: Record) -> None: ...

    def state(self) -> tuple[array[int], array[int], str, int, float, float, int, int]:
        """Return what another counter of the same vocabulary needs to continue."""
        self._flush()
        told = self.reason, self._reason_line, self._below, self._above
        return self.lengths, self.lines, *told, self._image_rows, self._path_rows

    def merge(self, state: tuple[array[int], array[int], str, int, float, float, int, int]) -> None:
        lengths, lines, reason, line, below, above, images, paths = state
        self.lengths.extend(lengths)
        self.lines.extend(lines)
        if reason:
            self._tell(reason, line)
        self._below, self._above = self._below + below, self._above + above
        self._image_rows, self._path_rows = self._image_rows + images, self._path_rows + paths

    def _tell(self, reason: str, line: int) -> None:
        """Keep the reason of the earliest line."""
        if not self.reason or line < self._reason_line:
            self.reason, self._reason_line = reason, line

    def counts(self) -> TokenCounts:
        import numpy as np

        self._flush()
        lengths, lines = (np.array(each, np.int64) for each in (self.lengths, self.lines))
        longest = int(lengths.max(initial=0))
        line = int(lines[lengths == longest].min()) if len(lines) else 0
        limit = self.context or longest
        over = int((lengths > limit).sum())
        total = int(np.minimum(lengths, limit).sum())
        return TokenCounts(
            len(lengths),
            total,
            max(0, round(total - self._below)),
            round(total + self._above),
            longest,
            line,
            bool(self.reason),
            self.reason,
            self.name,
            self.context,
            over,
            int(np.quantile(lengths, 0.99, method="higher")) if len(lengths) else 0,
            self._image_rows,
            self._path_rows,
        )

    def _flush(self) -> None:  # noqa: B027 - a counter that counts at once has nothing pending
        """Count the pending texts."""


class TokenCounter(TokenLengthCounter):
    """Counts by an encoding of OpenAI's and its rule. Works in batches, each distinct text of a batch once."""

    def __init__(self, name: str = "o200k_base", *, context: int | None = None) -> None:
        super().__init__(name, context=context)
        self._waiting: list[tuple[int, list[str], Approximation | None]] = []
        self._roles: dict[str, int] = {}
        self._shown = self._by_path = False

    def add(self, line: int, record: Record) -> None:
        estimate = token_count_approximation(record)
        if estimate is not None:
            self._tell(estimate.reason, line)
        self._shown = self._by_path = False
        overhead, texts = self._pieces(record)
        self._image_rows, self._path_rows = self._image_rows + self._shown, self._path_rows + self._by_path
        self.lines.append(line)
        self._waiting.append((overhead, texts, estimate))
        if len(self._waiting) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return  # the parent of counting processes needs no vocabulary
        # Not encode_ordinary_batch: its future for each text costs more than the text, at 2.4 times the time.
        encode = load_openai_encoding(self.name).encode_ordinary
        sizes: dict[str, int] = {}
        for length, texts, estimate in self._waiting:
            for text in texts:
                if text not in sizes:
                    sizes[text] = len(encode(text))
                length += sizes[text]
            self.lengths.append(length)
            if estimate is not None:
                billed = length if self.context is None else min(length, self.context)
                self._below += billed * (1 - estimate.low)
                self._above += billed * (estimate.high - 1) + estimate.more
        self._waiting.clear()

    def _pieces(self, record: Record) -> tuple[int, list[str]]:
        """Return what a record counts beside its texts, and its texts."""
        match record:
            case Chat() | Labelled() | Graded():
                overhead, texts = self._messages(record.messages)
                overhead += 1
            case Preference():
                overhead, texts = 2, []
                for answer in (record.chosen, record.rejected):
                    more, answer_texts = self._messages([*record.context, *answer])
                    overhead, texts = overhead + more, texts + answer_texts
            case PromptCompletion():
                pair = [Message("user", record.prompt), Message("assistant", record.completion)]
                overhead, texts = self._messages(pair)
                overhead += 1
            case PlainText():
                overhead, texts = 1, [record.text]
        if record.tools:
            texts.append(tool_definitions_as_text(record.tools))
        return overhead, texts

    def _messages(self, messages: Iterable[Message]) -> tuple[int, list[str]]:
        overhead, texts = 0, []
        for message in messages:
            overhead += 3 + self._role(message.role)
            content = message.content
            if type(content) is str:
                texts.append(content)
            elif content is not None:
                for part in content:
                    if isinstance(part, ImagePart):
                        overhead += LOW_DETAIL_IMAGE
                        self._shown, self._by_path = True, self._by_path or part.is_path
                    elif not isinstance(part, str):
                        texts.append(part.text)
            if message.name is not None:
                overhead += 1
                texts.append(message.name)
            if message.reasoning is not None:
                texts.append(message.reasoning)
            for call in message.tool_calls:
                overhead += 3
                texts += (call.name, call.arguments)
        return overhead, texts

    def _role(self, role: str) -> int:
        if role not in self._roles:
            self._roles[role] = len(load_openai_encoding(self.name).encode_ordinary(role))
        return self._roles[role]


def token_count_approximation(record: Record) -> Approximation | None:
    """Return why the count of this record is an estimate, and how far off it may be, or None if the rule is exact."""
    if isinstance(record, Preference):
        return PAIR
    if isinstance(record, PlainText | Labelled | Graded):
        return NO_CHAT
    found = [TOOLS] if record.tools else []
    if isinstance(record, Chat):
        images = 0
        for message in record.messages:
            if message.tool_calls or message.role == "tool":
                found.append(TOOL_CALL)
            if message.name is not None or message.reasoning is not None or message.weight == 0:
                found.append(UNSEEN)
            if message.has_image:
                images += sum(isinstance(part, ImagePart) for part in message.content or ())
        if images:
            found.append(Approximation(_IMAGE_REASON, 1.0, 1.0, images * (LARGEST_IMAGE - LOW_DETAIL_IMAGE)))
    if len(found) < 2:
        return found[0] if found else None
    return Approximation(
        found[0].reason, min(row.low for row in found), max(row.high for row in found), sum(row.more for row in found)
    )


def count_dataset_tokens(
    dataset: Dataset | Path | str, encoding: str = "o200k_base", *, context: int | None = None
) -> TokenCounts:
    """Count a dataset, streaming, in as many processes as pay. With `context`, longer examples count as cut to it, as
    OpenAI trains on them. Raises DatasetError with all that is wrong with it."""
    from tuneport.data.dataset import Dataset
    from tuneport.data.running.parallel import map_rows

    dataset = Dataset.of(dataset)
    name, source = dataset.format, dataset.open()
    counter, bad = TokenCounter(encoding, context=context), False
    for state, found in map_rows(source.rows(), f"{__name__}:{TokenCountWorker.__name__}", name, encoding, context):
        counter.merge(state)
        bad = bad or found
    if bad:
        for _ in dataset.read_as(name).records():  # which tells all that is wrong, and where
            pass
    return counter.counts()


class TokenCountWorker:
    """A worker of `parallel.map_rows`: the state of its counter, and whether there was a bad row."""

    def __init__(self, format: str, encoding: str, context: int | None, worker: int) -> None:
        from tuneport.data.formats import load_dataset_format

        self._format = load_dataset_format(format)
        self._counter = TokenCounter(encoding, context=context)
        self._bad = False

    def add(self, rows: list[tuple[int, bytes]]) -> None:
        from tuneport.data.containers.numbering import RowPosition
        from tuneport.data.reading import read_dataset_row

        for line, raw in rows:
            found = read_dataset_row(self._format, line, raw, lambda number: RowPosition(Path(), number))
            if found.record is not None:
                self._counter.add(line, found.record)
            else:
                self._bad = True

    def result(self) -> tuple[Any, bool]:
        return self._counter.state(), self._bad


def tool_definitions_as_text(tools: Iterable[Tool]) -> str:
    """Return the definitions as the TypeScript namespace that OpenAI's models see, on which bills of chats with tools
    are based."""
    lines = ["namespace functions {", ""]
    for tool in tools:
        if tool.description:
            lines.append(f"// {tool.description}")
        properties = (tool.parameters or {}).get("properties")
        if isinstance(properties, dict) and properties:
            lines += [f"type {tool.name} = (_: {{", *_properties(tool.parameters or {}), "}) => any;", ""]
        else:
            lines += [f"type {tool.name} = () => any;", ""]
    return "\n".join([*lines, "} // namespace functions"])


def _properties(schema: dict[str, Any]) -> Iterator[str]:
    required = schema.get("required")
    for name, value in schema["properties"].items():
        value = value if isinstance(value, dict) else {}
        if value.get("description"):
            yield f"// {value['description']}"
        optional = "" if isinstance(required, list) and name in required else "?"
        yield f"{name}{optional}: {_type(value)},"


def _type(schema: dict[str, Any]) -> str:
    if isinstance(schema.get("enum"), list):
        return " | ".join(f'"{value}"' if isinstance(value, str) else str(value) for value in schema["enum"])
    kind = schema.get("type", "any")
    if kind == "array":
        items = schema.get("items")
        return f"{_type(items) if isinstance(items, dict) else 'any'}[]"
    if kind == "object":
        if isinstance(schema.get("properties"), dict) and schema["properties"]:
            return "{\n" + "\n".join(_properties(schema)) + "\n}"
        return "object"
    names = {"integer": "number", "float": "number"}
    return " | ".join(names.get(str(each), str(each)) for each in (kind if isinstance(kind, list) else [kind]))
