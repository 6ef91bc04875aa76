"""Says in words what is wrong with text that is not JSON, and where. Used only once decoding has failed."""

from __future__ import annotations

import json
import re

_OFFSET = re.compile(r"\(byte (\d+)\)")
_MAGIC = {
    b"\x1f\x8b": "gzip-compressed",
    b"\x28\xb5\x2f\xfd": "zstandard-compressed",
    b"PK\x03\x04": "a zip archive",
    b"PAR1": "a Parquet file",
}


def foreign_start(start: bytes) -> tuple[str, str] | None:
    """Rule and fix for a file that is no UTF-8 text by its first bytes; None if it may be."""
    for magic, name in _MAGIC.items():
        if start.startswith(magic):
            return f"is {name}, not JSON text", "unpack or convert it to .jsonl first"
    if start.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in start[:2]:
        return "is UTF-16, not UTF-8", "save it as UTF-8"
    return None


def broken_line(raw: bytes, error: Exception) -> tuple[str, str]:
    """Rule and fix for one line; columns count from 1."""
    rule, offset, fix = _explain(raw, error)
    return f"{rule} at column {_column(raw, offset)}" if offset is not None else rule, fix


def broken_array(raw: bytes, error: Exception) -> tuple[str, str]:
    """Rule and fix for a whole file; lines and columns count from 1."""
    rule, offset, fix = _explain(raw, error)
    if offset is None:
        return rule, fix
    line = raw.count(b"\n", 0, offset) + 1
    column = _column(raw[raw.rfind(b"\n", 0, offset) + 1 :], offset - raw.rfind(b"\n", 0, offset) - 1)
    return f"{rule} at line {line}, column {column}", fix


def _column(line: bytes, offset: int) -> int:
    return len(line[:offset].decode("utf-8", "replace")) + 1


def _explain(raw: bytes, error: Exception) -> tuple[str, int | None, str]:
    """Rule, byte offset and fix. Python's parser words it better and knows the place; msgspec's knows NaN."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as bad:
        return "is not UTF-8", bad.start, "save the file as UTF-8"
    try:
        json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as bad:
        return f"is not JSON: {bad.msg.lower()}", len(text[: bad.pos].encode("utf-8", "replace")), "correct the JSON"
    except _NotANumberError as bad:
        found = re.search(r'(?<![\w"])' + re.escape(str(bad)) + r"(?![\w\"])", text)
        offset = len(text[: found.start()].encode()) if found else None
        return f"{bad} is not a JSON value", offset, "use null or a number"
    except RecursionError:
        return "is nested too deeply", None, "flatten the record"
    except ValueError as bad:
        return f"holds a number that cannot be read ({bad})", None, "write it as text"
    if re.search(r"\\u[dD][89a-fA-F]", text):
        return "holds half of a surrogate pair (\\ud800 to \\udfff)", None, "write the character as UTF-8"
    known = _OFFSET.search(str(error))
    return (
        f"cannot be read: {_OFFSET.sub('', str(error)).strip()}",
        int(known[1]) if known else None,
        "correct the value",
    )


class _NotANumberError(Exception):
    pass


def _refuse_constant(name: str) -> None:
    raise _NotANumberError(name)
