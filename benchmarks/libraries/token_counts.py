"""How quickly texts are counted in tokens, and whether the counts are tiktoken's.

On the shared datasets, where they are at hand, and paragraphs of the installed packages' descriptions.
`PYTHONPATH=TREE/src python benchmarks/libraries/token_counts.py` prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from tuneport.data.rows.records import PlainText
from tuneport.data.tokens.tokens import TokenCounter

try:
    from tuneport.openai_encodings import load_openai_encoding
except ModuleNotFoundError:  # as it was before
    from tuneport.data.tokens.tokens import load_openai_encoding

files = ["src/tuneport/data/tokens/tokens.py", "src/tuneport/data/tokens/word_counts.py"]
SHARED = Path(os.environ.get("TUNEPORT_SHARED", Path(__file__).parent.parent.parent / "shared")) / "data"
ROUNDS = 3


def chats() -> list[str]:
    found: dict[str, None] = {}
    for path in sorted(SHARED.glob("*.json")):
        found.update(dict.fromkeys(texts_in(json.loads(path.read_text(encoding="utf-8")))))
    return list(found)


def texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from texts_in(each)


def descriptions() -> list[str]:
    found = [paragraph for each in distributions() for paragraph in (each.read_text("METADATA") or "").split("\n\n")]
    return list(dict.fromkeys(found))


def main() -> None:
    encode = load_openai_encoding("o200k_base").encode_ordinary
    encode("The vocabulary is loaded before the time is taken.")
    measures: dict[str, float] = {}
    for words, texts in (("chats", chats()), ("descriptions", descriptions())):
        if not texts:
            continue
        seconds, tokens = float("inf"), 0
        for _ in range(ROUNDS):
            start = time.process_time()
            counter = TokenCounter("o200k_base")
            for line, text in enumerate(texts, 1):
                counter.add(line, PlainText(text))
            tokens = counter.counts().total - len(texts)  # each record counts one more
            seconds = min(seconds, time.process_time() - start)
        measures[f"difference from tiktoken, tokens of {words}"] = tokens - sum(len(encode(text)) for text in texts)
        measures[f"million tokens of {words} a second of processor"] = round(tokens / seconds / 1e6, 2)
    print(json.dumps({"part": "token_counts", "measures": measures}))


if __name__ == "__main__":
    main()
