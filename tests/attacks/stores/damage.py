"""Damage to an SQLite file, chosen by a seed. Knows the file's format, and some names of tuneport's columns."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

PAGE = 4096
COLUMNS = ("spec", "prepared", "state", "quote", "status", "backend", "model", "created_at", "updated_at", "error",
           "note", "estimate", "actual", "finished_at", "project", "tuned_model")  # fmt: skip
VALUES = (
    "'{'", "'[]'", "'null'", "'\"x\"'", "'{\"a\": 1}'", "''", "X'FF'", "X'7BFF7D'", "CAST(X'C328' AS TEXT)",
    "'yesterday'", "99999999999999999999", "-1", "1e308", "'9999-99-99 99:99:99'", "CAST(X'7B2261223AFF7D' AS TEXT)",
    "replace(hex(zeroblob(60000)), '00', '[')",
)  # fmt: skip


def damage(path: Path, seed: int) -> str:
    """Change the file in place; what was done, in words."""
    chance = random.Random(seed)
    kind = chance.choice(("flip", "flip", "burst", "page", "cut", "text", "text", "schema", "header", "cell", "cell"))
    if kind == "cell":
        return _cell(path, chance)
    content = bytearray(path.read_bytes())
    size = len(content)
    match kind:
        case "flip":
            for _ in range(count := chance.choice((1, 8, 64, 512))):
                content[chance.randrange(size)] ^= 1 << chance.randrange(8)
            told = f"{count} bits flipped"
        case "burst":
            start = chance.randrange(size - 64)
            content[start : start + 64] = chance.randbytes(64)
            told = f"64 bytes at {start} random"
        case "page":
            start = PAGE * chance.randrange(size // PAGE)
            content[start : start + PAGE] = chance.choice((bytes(PAGE), b"\xff" * PAGE, chance.randbytes(PAGE)))
            told = f"page at {start} lost"
        case "cut":
            del content[(to := chance.randrange(1, size)) :]
            told = f"cut to {to} bytes"
        case "text":  # letters that are no UTF-8 any more, where text is
            places = [at for at in range(100, size) if 0x61 <= content[at] <= 0x7A]
            for at in chance.sample(places, min(len(places), count := chance.choice((3, 40, 400)))):
                content[at] = chance.choice((0xFF, 0xC3, 0x80, 0xFE))
            told = f"{count} letters no UTF-8"
        case "schema":
            for at in (start := chance.randrange(100, PAGE - 40), start + 7, start + 20):
                content[at] = chance.randrange(256)
            told = f"the page of the schema at {start}"
        case _:
            content[at := chance.randrange(100)] = chance.randrange(256)
            told = f"header at {at}"
    path.write_bytes(content)
    return told


def _cell(path: Path, chance: random.Random) -> str:
    column, value = chance.choice(COLUMNS), chance.choice(VALUES)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute(f"UPDATE OR IGNORE jobs SET {column} = {value}")
        if chance.random() < 0.3:
            connection.execute(
                "UPDATE job_events SET message = CAST(X'C328FF' AS TEXT), created_at = 'soon', data = '{'"
            )
    connection.close()
    return f"jobs.{column} = {value}"
