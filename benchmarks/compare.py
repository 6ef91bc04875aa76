"""How long `tuneport compare` takes on 200,000 rows: the whole process, first and again, beside a bare count.

    python benchmarks/compare.py [--rows 200000] [--runs 3]

The rows are made here: chats of three messages, every text different. The bare count opens the same file, reads each
line with the standard library's json and encodes each text with tiktoken, in one process: what the numbers cost anyway.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BARE = """
import json, sys
from tuneport.openai_encodings import load_openai_encoding
encode, total = load_openai_encoding("o200k_base").encode_ordinary, 0
with open(sys.argv[1], encoding="utf-8") as lines:
    for line in lines:
        for message in json.loads(line)["messages"]:
            total += 3 + len(encode(message["role"])) + len(encode(message["content"]))
        total += 1
print(total)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "train.jsonl"
        write_rows(data, arguments.rows)
        print(f"{arguments.rows:,} rows, {data.stat().st_size / 1e6:,.0f} MB, {os.cpu_count()} cores")
        times: dict[str, list[tuple[float, float]]] = {"bare tiktoken": [], "compare": [], "repeated": []}
        for run in range(arguments.runs):
            home = Path(folder) / f"home-{run}"
            times["bare tiktoken"].append(timed([sys.executable, "-c", BARE, str(data)], home)[:2])
            command = [sys.executable, "-m", "tuneport.cli.main", "compare", str(data), "--json"]
            for name in ("compare", "repeated"):
                seconds, processor, printed = timed(command, home)
                times[name].append((seconds, processor))
        tokens = json.loads(printed)["choices"][0]["training"]["billed_tokens_per_epoch"]
        counted = int(subprocess.run([sys.executable, "-c", BARE, str(data)], capture_output=True, check=True).stdout)
        print(f"tokens an epoch: {tokens or 'not billed':,} by compare, {counted:,} by the bare count")
    bare = statistics.median(seconds for seconds, _ in times["bare tiktoken"])
    print("\n|  | wall, median (all) | processor | of the bare count |\n| --- | --- | --- | --- |")
    for name, runs in times.items():
        wall, processor = (statistics.median(values) for values in zip(*runs, strict=True))
        every = ", ".join(f"{seconds:.1f}" for seconds, _ in runs)
        print(f"| {name} | {wall:.2f} s ({every}) | {processor:.1f} s | {wall / bare:.0%} |")


def write_rows(path: Path, count: int) -> None:
    """About 145 tokens a row, from words of the demonstration's dataset."""
    source = Path(__file__).parent.parent / "fixtures" / "datasets" / "support_intents.train.jsonl"
    words = [word for word in source.read_text(encoding="utf-8").split() if word.isalpha()]
    chance = random.Random(1)
    with path.open("w", encoding="utf-8") as rows:
        for number in range(count):
            question, answer = (" ".join(chance.choices(words, k=60)) for _ in range(2))
            messages = [
                {"role": "system", "content": "You are a helpful assistant for the shop."},
                {"role": "user", "content": f"{question} {number}"},
                {"role": "assistant", "content": answer},
            ]
            rows.write(json.dumps({"messages": messages}) + "\n")


def timed(command: list[str], home: Path) -> tuple[float, float, str]:
    """Wall and processor seconds of a whole process with its children, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TUNEPORT_HOME": str(home)})
    seconds = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


if __name__ == "__main__":
    main()
