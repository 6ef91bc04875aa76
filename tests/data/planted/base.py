"""Clean rows to plant into: real ones, where the shared datasets are at hand, and composed ones."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from tests.data.planted import prose
from tests.data.planted.innocent import innocent
from tests.data.planted.planting import turns
from tuneport.data.conversion.convert import convert

QUESTIONS = "alpaca_en_demo.json"
CLEAN = (
    QUESTIONS,
    "glaive_toolcall_en_demo.json",
    "dpo_en_demo.json",
    "toy_chat_fine_tuning.jsonl",
    "gpt_tokens_fine-tuning-data.jsonl",
)
"""The shared files that the checks must leave alone."""


def composed(
    count: int, seed: int, *, contexts: tuple[int, int] = (1, 3), sentences: tuple[int, int] = (2, 8)
) -> list[dict[str, Any]]:
    """Chats of one to three rounds; one in twenty looks like a defect and is none."""
    rng = Random(f"composed {seed}")
    rows = []
    for index in range(count):
        if index % 20 == 19:
            rows.append(innocent(rng))
            continue
        said: list[str] = []
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            asked, subject, aspect = prose.question(rng, rng.randint(*contexts))
            said += [asked, prose.paragraph(rng, rng.randint(*sentences), subject, aspect)]
        rows.append(turns(*said))
    return rows


@cache
def real_by_line(folder: Path, name: str) -> dict[int, dict[str, Any]]:
    """The rows of one shared file as OpenAI chats, through the converter, by line. Not to be changed.

    Rows that carry tools or end otherwise than with an answer in text are left out: defects are planted into answers.
    """
    with TemporaryDirectory() as temporary:
        output = Path(temporary) / "rows.jsonl"
        convert(folder / name, "openai", output, allow_loss=True)
        rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    found = enumerate(rows, start=1)
    return {
        line: row for line, row in found if isinstance(row["messages"][-1].get("content"), str) and "tools" not in row
    }


def mixed(folder: Path | None, count: int, seed: int) -> list[dict[str, Any]]:
    """`count` rows: real questions and answers, where there is a folder of shared datasets, and composed ones."""
    rows = [] if folder is None else list(real_by_line(folder, QUESTIONS).values())[:count]
    return rows + composed(count - len(rows), seed)
