"""Hostile datasets. Each builder writes one file and says how many rows a reader must tell, or None: it must refuse."""

from __future__ import annotations

import gzip
import json
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

Builder = Callable[[Path, random.Random], "int | None"]


def row(number: int) -> str:
    turns = [{"role": "user", "content": f"question {number}?"}, {"role": "assistant", "content": f"answer {number}."}]
    return json.dumps({"messages": turns})


def lines(count: int) -> bytes:
    return "".join(f"{row(number)}\n" for number in range(count)).encode()


def _raw(content: Callable[[random.Random], bytes], rows: int | None = None) -> Builder:
    def write(path: Path, rng: random.Random) -> int | None:
        path.write_bytes(content(rng))
        return rows

    return write


def _with(bad: bytes) -> Builder:
    return _raw(lambda rng: lines(3) + bad + b"\n" + lines(3))


def _keys() -> bytes:
    return json.dumps({"prompt": "a", "completion": "b"} | {f"k{n}": n for n in range(200_000)}).encode()


def _wide(path: Path, rng: random.Random) -> int:
    names = ["prompt", "completion", *(f"c{number}" for number in range(200_000))]
    path.write_text(",".join(names) + "\n" + ",".join("x" for _ in names) + "\n")
    return 1


def _twice_wide(path: Path, rng: random.Random) -> None:
    names = ["prompt", "completion", *(f"c{number}" for number in range(200_000)), "c199999"]
    path.write_text(",".join(names) + "\n" + ",".join("x" for _ in names) + "\n")


def _open_quote(path: Path, rng: random.Random) -> None:
    with path.open("w") as file:
        file.write('prompt,completion\nwhat,"this\n')
        for number in range(1_500_000):
            file.write(f"question number {number} is which,answer {number} it is yes\n")


def _gzip_bomb(path: Path, rng: random.Random) -> None:
    member = gzip.compress(lines(1) * 200_000, 9)
    path.write_bytes(member * 250)


def _gzip_rows(path: Path, rng: random.Random) -> int:
    """Rows that differ, and as many that do not: what people have."""
    path.write_bytes(gzip.compress(lines(2_000) + lines(1) * 2_000))
    return 4_000


def _zstd_bomb(path: Path, rng: random.Random) -> None:
    import zstandard

    path.write_bytes(zstandard.compress(lines(1) * 4_000_000, 3))


def _zstd_window(path: Path, rng: random.Random) -> None:
    """A frame that wants a window of two gigabytes."""
    path.write_bytes(b"\x28\xb5\x2f\xfd" + b"\x00" + bytes([(31 - 10) << 3]) + b"\x01\x00\x00")


def _parquet(rows: int, size: int) -> Builder:
    def write(path: Path, rng: random.Random) -> None:
        import pyarrow
        import pyarrow.parquet

        text = pyarrow.array(["x" * size])
        column = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * rows, pyarrow.int32()), text)
        plain = column.dictionary_decode() if rows * size < 1 << 30 else column
        pyarrow.parquet.write_table(pyarrow.table({"prompt": plain, "completion": plain}), path, compression="zstd")

    return write


def _parquet_rows(path: Path, rng: random.Random) -> int:
    import pyarrow
    import pyarrow.parquet

    texts = [f"question {number} of {rng.random()}" for number in range(3_000)]
    pyarrow.parquet.write_table(pyarrow.table({"prompt": texts, "completion": texts[::-1]}), path)
    return 3_000


def _parquet_damaged(path: Path, rng: random.Random) -> None:
    _parquet_rows(path, rng)
    content = bytearray(path.read_bytes())
    for _ in range(30):
        content[rng.randrange(len(content) // 2, len(content) - 8)] = rng.randrange(256)
    path.write_bytes(content)


def _parquet_footer(path: Path, rng: random.Random) -> None:
    path.write_bytes(b"PAR1" + bytes(100) + struct.pack("<I", 2**31 - 1) + b"PAR1")


def _pipe(path: Path, rng: random.Random) -> None:
    os.mkfifo(path)


def _saved(state: str) -> Builder:
    def write(path: Path, rng: random.Random) -> None:
        path.mkdir()
        (path / "state.json").write_text(state)

    return write


_DEEP = 200_000

CASES: dict[str, tuple[str, Builder]] = {
    "sound rows": ("a.jsonl", _raw(lambda rng: lines(50), 50)),
    "CSV, 200,000 columns": ("a.csv", _wide),
    "CSV, a name twice in 200,003": ("a.csv", _twice_wide),
    "CSV, 80 MB after an open quote": ("a.csv", _open_quote),
    "CSV, 30,000 columns without a name": (
        "a.csv",
        _raw(lambda rng: b"prompt,completion" + b"," * 30_000 + b"\n1,2\n", 1),
    ),
    "CSV, NUL bytes": ("a.csv", _raw(lambda rng: b"prompt,completion\na\0b,c\n", 1)),
    "a row nested 200,000 deep": ("a.jsonl", _with(b'{"messages": ' + b"[" * _DEEP + b"]" * _DEEP + b"}")),
    "an array nested 200,000 deep": ("a.json", _raw(lambda rng: b"[" * _DEEP + b"]" * _DEEP)),
    "a cell nested 200,000 deep": (
        "a.csv",
        _raw(lambda rng: b'messages\n"' + b"[" * _DEEP + b"]" * _DEEP + b'"\n'),
    ),
    "an integer of 100,000 digits": ("a.jsonl", _with(b'{"prompt": "a", "completion": ' + b"9" * 100_000 + b"}")),
    "1e999 and NaN": ("a.jsonl", _with(b'{"prompt": 1e999, "completion": NaN}')),
    "half surrogates": ("a.jsonl", _with(b'{"prompt": "\\ud800", "completion": "\\udfff"}')),
    "bytes that are no UTF-8": ("a.jsonl", _raw(lambda rng: lines(3) + rng.randbytes(500) + b"\n")),
    "an object of 200,000 keys": (
        "a.jsonl",
        _raw(
            lambda rng: json.dumps({"prompt": "a", "completion": "b"} | {f"k{n}": n for n in range(200_000)}).encode(),
            1,
        ),
    ),
    "a line of 100 MB": ("a.jsonl", _raw(lambda rng: b'{"prompt": "' + b"a" * 100_000_000)),
    "an array that never ends": ("a.json", _raw(lambda rng: b"[" + b",".join([lines(1).strip()] * 50_000) + b",")),
    "gzip, gigabytes of sound rows in 10 MB": ("a.jsonl.gz", _gzip_bomb),
    "gzip, rows as people have them": ("a.jsonl.gz", _gzip_rows),
    "gzip, cut off": ("a.jsonl.gz", _raw(lambda rng: gzip.compress(lines(5_000))[:-50])),
    "gzip in gzip": ("a.jsonl.gz", _raw(lambda rng: gzip.compress(gzip.compress(lines(50))))),
    "gzip, 100,000 empty members": ("a.jsonl.gz", _raw(lambda rng: gzip.compress(b"") * 100_000)),
    "zstd, 560 MB of sound rows": ("a.jsonl.zst", _zstd_bomb),
    "zstd, a window of 2 GB": ("a.jsonl.zst", _zstd_window),
    "Parquet, 5 M rows of 4 kB in 2 MB": ("a.parquet", _parquet(5_000_000, 2_000)),
    "Parquet, 400,000 rows of 2 kB, plain": ("a.parquet", _parquet(400_000, 1_000)),
    "Parquet, rows as people have them": ("a.parquet", _parquet_rows),
    "Parquet, damaged": ("a.parquet", _parquet_damaged),
    "Parquet, a footer of 2 GB": ("a.parquet", _parquet_footer),
    "a pipe that nobody writes to": ("a.jsonl", _pipe),
    "a saved dataset, its state a list": ("saved", _saved("[]")),
    "a saved dataset, its state 200,000 deep": ("saved", _saved("[" * _DEEP + "]" * _DEEP)),
}
