"""Columns and marks that hold training signal which the model would not see: pictures, verdicts, second answers.

What a column is for is told by its name and its values. A number or a verdict is none if it is the same in every record
that has it, and a text is none if the record's own texts contain it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from shlex import quote
from typing import Any, Literal
from zlib import crc32

from tuneport.data.rows.records import Chat, Graded, Labelled, Message, PlainText, Preference, PromptCompletion, Record

SignalKind = Literal["media", "verdict", "pair", "weight", "context", "tools", "loss", "answer"]

_NAMES: Mapping[SignalKind, str] = {
    "media": "image images img imgs picture pictures imagepath imagepaths imageurl imageurls imagefile "
    "video videos videopath audio audios audiopath speech",
    "verdict": "ktotag label labels rating reward score thumbs thumbsup feedback liked preferred isgood desirable",
    "pair": "chosen rejected preferredoutput nonpreferredoutput rejectedresponse rejectedresponses rejectedmessages "
    "rejectedimages",
    "weight": "weight lossweight",
    "context": "system systemprompt context contexts document documents passage passages history input",
    "tools": "tools functions",
}
_ANSWERS = frozenset(
    "answer answers response responses output outputs completion completions target targets label labels class classes "
    "category categories intent intents sentiment emotion team".split()
)
"""Columns beside a text that is trained on alone, without a question: what the text is to be answered with."""
_KIND_OF = {name: kind for kind, names in _NAMES.items() for name in names.split()}
_GRADES = frozenset(("rating", "reward"))
"""Any numbers in these judge the answer; a score may be of anything, so there only a verdict is one."""

_VERDICTS = (
    *((good, True) for good in ("true", "1", "good", "yes", "up", "thumbs_up", "positive", "like", "desirable")),
    *((bad, False) for bad in ("false", "0", "-1", "bad", "no", "down", "thumbs_down", "negative", "dislike")),
    ("undesirable", False),
)
_VERDICT_OF = dict(_VERDICTS)
_MARK = re.compile(
    r"^[ \t]*<(image|video|audio)>|<(image|video|audio)>[ \t]*$|<\|vision_start\|>|<\|image_pad\|>|<img>[^<>\n]+</img>",
    re.MULTILINE,
)
_PIECES = ("<image>", "<video>", "<audio>", "<|", "<img>")
"""What a marked text has one of: found far sooner than by the pattern."""

_UNTRAINED_TURN = ("train", "loss")

MARKS = "marks of pictures in the texts"
_IGNORED_MARKS = "marks"
"""The name of the same for --ignore."""

_FIXES: Mapping[SignalKind, str] = {
    "media": "give the pictures as parts of the messages or in a column images (--format llamafactory)",
    "verdict": "train on it with --method kto (--map kto_tag=COLUMN, true or false in each record)",
    "pair": "train on both answers with --method dpo (prompt, chosen and rejected in each record)",
    "weight": "write it as the format together has it (--format together)",
    "context": "put it into the prompt, or map it to a column that the format has (--map)",
    "tools": "give them as the definitions of tools that the format has",
    "answer": "train on it: --map prompt=text --map completion=COLUMN",
    "loss": 'write "weight": 0 in the message instead',
}


@dataclass
class UnusedSignal:
    """`count` records have it, first on line `line`. `values`: what its numbers and verdicts are, three at most."""

    name: str
    kind: SignalKind
    line: int
    count: int = 0
    values: set[float | bool] = field(default_factory=set)

    @property
    def tells_something(self) -> bool:
        """Return whether it does: a verdict or a weight that is always the same does not, unless all is bad."""
        if self.kind == "weight":
            return self.values != {1.0} if len(self.values) < 2 else True
        if self.kind == "answer":
            return len(self.values) > 1
        return self.kind != "verdict" or len(self.values) > 1 or self.values == {False}

    @property
    def fix(self) -> str:
        """Return what to do about it."""
        unheard = self.kind == "media" and re.match("video|audio|speech", self.name.casefold())
        fix = "films and sounds are not trained on yet; keep the records without them" if unheard else _FIXES[self.kind]
        if self.kind == "answer":
            fix = fix.replace("COLUMN", quote(self.name))
        return f"{fix}, or leave it out on purpose: --ignore {quote(_said_as(self.name))}"


class UnusedSignals:
    """`add` each record as it was read."""

    def __init__(self) -> None:
        self._found: dict[str, UnusedSignal] = {}

    def add(self, line: int, record: Record) -> None:
        for name, kind, value in _signals(record):
            found = self._found.get(name)
            if found is None:
                found = self._found[name] = UnusedSignal(name, kind, line)
            found.count += 1
            if value is not None and len(found.values) < 3:
                found.values.add(value)

    def merge(self, other: UnusedSignals) -> None:
        """Add what was found in other records."""
        for name, theirs in other._found.items():
            ours = self._found.setdefault(name, UnusedSignal(name, theirs.kind, theirs.line))
            ours.line = min(ours.line, theirs.line)
            ours.count += theirs.count
            ours.values |= theirs.values

    def found(self, ignored: Iterable[str] = ()) -> list[UnusedSignal]:
        """Return the signals of all records, but of the columns `ignored`, those in most records first."""
        left_out = frozenset(ignored)
        told = (each for each in self._found.values() if each.tells_something and _said_as(each.name) not in left_out)
        return sorted(told, key=lambda each: -each.count)


def _said_as(name: str) -> str:
    return _IGNORED_MARKS if name == MARKS else name


def _signals(record: Record) -> Iterator[tuple[str, SignalKind, float | bool | None]]:
    if isinstance(record, Graded):
        return  # a grader or a reward function is given all columns
    if isinstance(record, PlainText):
        yield from _answers_of_text(record)
    messages = _messages(record)
    for name, value in record.metadata.items():
        kind = _kind_of_column(name)
        if kind is None or value in (None, "", [], {}) or not _may_have(record, kind):
            continue
        if kind in ("verdict", "weight"):
            number = _number(name, kind, value)
            if number is not None:
                yield name, kind, number
        elif kind != "context" or not _is_said(value, messages):
            yield name, kind, None
    for message in messages:
        key = _left_out_by(message.extra) if message.extra and message.role == "assistant" else None
        if key is not None:
            yield f"messages[].{key}", "loss", None
            break
    if any(map(_is_marked, messages)) and not any(message.has_image for message in messages):
        yield MARKS, "media", None


def _answers_of_text(record: PlainText) -> Iterator[tuple[str, SignalKind, float]]:
    for name, value in record.metadata.items():
        if _plain(name) in _ANSWERS and isinstance(value, str | int | float) and value != "":
            yield name, "answer", float(crc32(str(value).encode()))  # only whether it varies is looked at


@lru_cache(1000)
def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.casefold())


def _kind_of_column(name: str) -> SignalKind | None:
    return _KIND_OF.get(_plain(name))


def _may_have(record: Record, kind: SignalKind) -> bool:
    """Return whether a column of that kind says something on such a record: a pair is a verdict already, and a text has
    neither a question nor an answer."""
    if kind == "media":
        return True
    if isinstance(record, PlainText):
        return False
    return kind not in ("verdict", "pair") or isinstance(record, Chat | PromptCompletion)


def _number(name: str, kind: SignalKind, value: Any) -> float | bool | None:
    if kind == "weight" or name.casefold() in _GRADES:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if kind == "weight":
            return None
    return _VERDICT_OF.get(str(value).casefold()) if isinstance(value, bool | int | float | str) else None


def _is_said(value: Any, messages: list[Message]) -> bool:
    """Return whether the texts of the record contain it: of a list each item, of an object one of its values."""
    texts = [message.text for message in messages]

    def said(piece: Any) -> bool:
        if isinstance(piece, dict):
            return any(map(said, piece.values()))
        return isinstance(piece, str) and any(piece.strip() in text for text in texts)

    return all(map(said, value if isinstance(value, list) else [value]))


def _left_out_by(extra: Mapping[str, Any]) -> str | None:
    """Return the key that says that the message is not to be trained on."""
    return next((key for key in _UNTRAINED_TURN if extra.get(key) in (False, 0)), None)


def _is_marked(message: Message) -> bool:
    text = message.content
    if message.role != "user" or not isinstance(text, str) or "<" not in text:
        return False
    if not any(piece in text for piece in _PIECES):
        return False
    return _MARK.search(text) is not None and not re.search("</(image|video|audio)>", text)


def _messages(record: Record) -> list[Message]:
    match record:
        case PromptCompletion():
            return [Message("user", record.prompt), Message("assistant", record.completion)]
        case Preference():
            return [*record.context, *record.chosen, *record.rejected]
        case Chat() | Labelled():
            return record.messages
    return []
