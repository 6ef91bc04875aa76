"""Makes bad datasets out of good ones: what editors, scripts, disks and networks do to files."""

from __future__ import annotations

import gzip
import io
import json
import random
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pyarrow
import pyarrow.parquet
import zstandard

from tests.support.folders import FIXTURES
from tests.support.rows import chat

Rows = list[Any]
ODD: list[Any] = [None, True, 0, -1, 1.5, 10**400, 2**64, "", "x", "\ud800", [], {}, [None], [[]], {"": ""}, [{}], "\0"]
ODD_TEXT = [
    b"NaN",
    b"Infinity",
    b"1e999",
    b'"\\ud83d"',
    b'"\\uZZZZ"',
    b"{",
    b"]",
    b",",
    b"\\",
    b'"',
    b"\r",
    b"\n\n",
    b"\0",
]
ENCODINGS = ("utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "utf-8-sig", "utf-7")


def seeds() -> dict[str, Rows]:
    """Good rows of every format, a handful each."""
    folder = FIXTURES / "datasets"
    found = {}
    for name in ("train", "train.alpaca", "train.anthropic", "train.sharegpt", "train.prompt-completion"):
        lines = (folder / f"support_intents.{name}.jsonl").read_text(encoding="utf-8").splitlines()
        found[name] = [json.loads(line) for line in lines[:4]]
    lines = (folder / "support_tools.jsonl").read_text(encoding="utf-8").splitlines()
    found["tools"] = [json.loads(line) for line in lines[:3]]
    answer = [{"role": "assistant", "content": "Hello!"}]
    pair = {"input": chat("Hi"), "preferred_output": answer, "non_preferred_output": answer}
    found["preference"] = [pair, pair]
    turns = [{"from": "human", "value": "é"}, {"from": "gpt", "value": "b"}]
    found["labelled"] = [{"conversations": turns, "label": True}, {"conversations": turns, "label": False}]
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    parts = [{"role": "user", "content": [{"type": "text", "text": "?"}, image]}, *answer]
    found["parts"] = [{"messages": parts}] * 2
    return found


class Mutator:
    """Draws files: a suffix and bytes. The same seed draws the same ones."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self._seeds = seeds()
        self._containers: dict[str, Callable[[Rows], bytes]] = {
            ".jsonl": _lines,
            ".json": lambda rows: json.dumps(rows, ensure_ascii=False, indent=self._draw.choice((None, 1))).encode(),
            ".csv": _csv,
            ".parquet": _parquet,
            ".arrow": _arrow,
        }

    def file(self) -> tuple[str, bytes]:
        draw = self._draw
        rows = json.loads(json.dumps(draw.choice(list(self._seeds.values()))))
        suffix = draw.choices(list(self._containers), (6, 4, 2, 1, 1))[0]
        times = draw.choice((0, 0, 1, 1, 2, 3))
        by_value = draw.random() < 0.5
        if by_value:
            for _ in range(times):
                self._change_rows(rows)
        try:
            content = self._containers[suffix](rows)
        except (UnicodeEncodeError, OverflowError, pyarrow.ArrowException, TypeError):
            suffix, content = ".jsonl", _lines(rows)
        if not by_value:
            for _ in range(times):
                content = self._change_bytes(content)
        if suffix not in (".parquet", ".arrow") and draw.random() < 0.2:
            packing = draw.choice((".gz", ".zst"))
            content = _pack(packing, content)
            suffix += packing
            if draw.random() < 0.6:
                content = self._change_bytes(content)
        return suffix, content

    def _change_rows(self, rows: Rows) -> None:
        """Change one row, in place: a key, a value, its type, its nesting, its format."""
        draw = self._draw
        at = draw.randrange(len(rows)) if rows else 0
        match draw.randrange(6):
            case 0:
                rows[at : at + 1] = deepcopy(draw.choice(list(self._seeds.values()))[:2])
            case 1:
                rows.insert(at, deepcopy(draw.choice(ODD)))
            case 2 if rows:
                value = rows[at]
                for _ in range(draw.choice((2, 60, 3000))):
                    value = {"messages": value} if draw.random() < 0.5 else [value]
                rows[at] = value if _depth_is_writable(value) else [[rows[at]]]
            case 3:
                del rows[at:]
            case _ if rows:
                self._change_value(rows[at])

    def _change_value(self, row: Any) -> None:
        """Walk down to a random place and change what is there."""
        draw, place = self._draw, row
        while isinstance(place, dict | list) and place:
            key = draw.choice(list(place)) if isinstance(place, dict) else draw.randrange(len(place))
            inner = place[key]
            if isinstance(inner, dict | list) and inner and draw.random() < 0.7:
                place = inner
                continue
            match draw.randrange(4):
                case 0:
                    del place[key]
                case 1 if isinstance(place, dict):
                    place[draw.choice(("rolle", "", "messages", "from", "\n", "text", "é" * 300))] = place.pop(key)
                case 2 if isinstance(place, list):
                    place.append(deepcopy(inner))
                case _:
                    place[key] = deepcopy(draw.choice(ODD))
            return

    def _change_bytes(self, content: bytes) -> bytes:
        draw = self._draw
        at = draw.randrange(len(content) + 1)
        end = min(len(content), at + draw.choice((1, 1, 2, 8, 100)))
        match draw.randrange(8):
            case 0 | 1 if at < len(content):
                return content[:at] + bytes((content[at] ^ 1 << draw.randrange(8),)) + content[at + 1 :]
            case 2:
                return content[:at]
            case 3:
                return content[:at] + content[end:]
            case 4:
                return content[:end] + content[at:]
            case 5:
                return content[:at] + draw.choice(ODD_TEXT) + content[at:]
            case 6 if draw.random() < 0.3:
                return content.decode("utf-8", "replace").encode(draw.choice(ENCODINGS), "replace")
            case _:
                return content[:at] + draw.randbytes(draw.choice((1, 4, 30))) + content[end:]


def _depth_is_writable(value: Any) -> bool:
    try:
        json.dumps(value)
    except RecursionError:
        return False
    return True


def _lines(rows: Rows) -> bytes:
    lines = [json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") for row in rows]
    return b"".join(line + b"\n" for line in lines)


def _csv(rows: Rows) -> bytes:
    import csv

    columns = list(dict.fromkeys(key for row in rows if isinstance(row, dict) for key in row))
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(columns)
    for row in rows:
        cells = row if isinstance(row, dict) else {}
        table.writerow([v if isinstance(v := cells.get(key, ""), str) else json.dumps(v) for key in columns])
    return text.getvalue().encode("utf-8", "surrogatepass")


def _table(rows: Rows) -> pyarrow.Table:
    return pyarrow.Table.from_pylist([row if isinstance(row, dict) else {"x": row} for row in rows])


def _parquet(rows: Rows) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(_table(rows), file)
    return file.getvalue()


def _arrow(rows: Rows) -> bytes:
    file = io.BytesIO()
    table = _table(rows)
    with pyarrow.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


def _pack(packing: str, content: bytes) -> bytes:
    return gzip.compress(content, 1) if packing == ".gz" else zstandard.ZstdCompressor(level=1).compress(content)
