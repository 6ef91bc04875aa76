"""How fast datasets are converted, against Hugging Face `datasets` and against bare msgspec, in one run.

    python benchmarks/data.py [--rows 200000] [--repeat 3]

The data are alpaca rows of real length (about 900 bytes, made from a word list with a fixed seed), converted to
OpenAI's chat form. Every figure is the best of its repeats, taken in turn, so that all share the machine's good and bad
moments; each conversion runs in a process of its own, whose peak memory is printed. `datasets` gets a fresh cache each
time: it is measured from the file to the file, as are the others.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SEED = 1
WORDS = (
    "account address after already arrived before billing broken cancel card change charge check code colour courier "
    "customer damaged date delivery different email exchange first found helpful however invoice item label last late "
    "letter line missing money month never number office only order other package paid parcel payment please policy "
    "price product question receipt refund reply return second send shipped shipping shop signed size since small "
    "someone status still store subscription support thank today tomorrow tracking transfer twice until update usual "
    "voucher warehouse warranty week where window without working wrong yesterday the a is was my your we it to for of "
    "and not in on with café naïve \u201cquoted\u201d"
).split()


@dataclass(frozen=True)
class Run:
    """One way to do the work: rows a second and the process's peak memory in MB."""

    rows_per_second: float
    peak_mb: float


def generate(path: Path, rows: int) -> None:
    """Varied text, the same for the same number of rows."""
    draw = random.Random(SEED)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(rows):
            question, answer = _text(draw, 20, 60), _text(draw, 60, 115)
            file.write(json.dumps({"instruction": question, "input": "", "output": answer}, ensure_ascii=False) + "\n")


def _text(draw: random.Random, least: int, most: int) -> str:
    words = draw.choices(WORDS, k=draw.randint(least, most))
    for at in range(8, len(words), 11):
        words[at] += ".\n" if at % 3 == 0 else "."
    return " ".join(words).capitalize() + "."


def with_tuneport(source: Path, output: Path) -> None:
    from tuneport.data.convert import convert

    convert(source, "openai", output)


def with_datasets(source: Path, output: Path) -> None:
    import datasets

    datasets.disable_progress_bars()

    def openai(row: dict[str, str]) -> dict[str, object]:
        turns = (("user", row["instruction"]), ("assistant", row["output"]))
        return {"messages": [{"role": role, "content": content} for role, content in turns]}

    with tempfile.TemporaryDirectory(dir=output.parent) as cache:
        loaded = datasets.load_dataset("json", data_files=str(source), split="train", cache_dir=cache)
        loaded.map(openai, remove_columns=loaded.column_names).to_json(output, force_ascii=False)


def with_bare_msgspec(source: Path, output: Path) -> None:
    """Typed decode and encode, row by row, without any promise."""
    import msgspec

    class Alpaca(msgspec.Struct):
        instruction: str
        output: str
        input: str = ""

    class Turn(msgspec.Struct):
        role: str
        content: str

    class Chat(msgspec.Struct):
        messages: list[Turn]

    decode, encode = msgspec.json.Decoder(Alpaca).decode, msgspec.json.Encoder().encode
    with source.open("rb") as lines, output.open("wb") as file:
        for line in lines:
            row = decode(line)
            chat = Chat([Turn("user", row.instruction), Turn("assistant", row.output)])
            file.write(encode(chat) + b"\n")


CONVERTERS: dict[str, Callable[[Path, Path], None]] = {
    "tuneport": with_tuneport,
    "datasets": with_datasets,
    "bare msgspec": with_bare_msgspec,
}


def measure(name: str, source: Path, rows: int) -> Run:
    """Run one converter in a process of its own; the time includes the import of its library."""
    command = [sys.executable, __file__, "--only", name, "--source", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    figures = json.loads(done.stdout.splitlines()[-1])
    return Run(rows / figures["seconds"], figures["peak_mb"])


def run_one(name: str, source: Path) -> None:
    """In the child: convert, and print seconds and peak memory."""
    output = source.with_name("converted.jsonl")
    started = time.perf_counter()
    CONVERTERS[name](source, output)
    seconds = time.perf_counter() - started
    output.unlink()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
    print(json.dumps({"seconds": seconds, "peak_mb": peak}))


def convert_section(source: Path, rows: int, repeat: int) -> list[tuple[str, str, str]]:
    """Rows for the table: what, rows a second, and notes."""
    runs: dict[str, list[Run]] = {name: [] for name in CONVERTERS}
    for _ in range(repeat):
        for name in CONVERTERS:
            runs[name].append(measure(name, source, rows))
    best = {name: max(found, key=lambda run: run.rows_per_second) for name, found in runs.items()}
    ours = best["tuneport"].rows_per_second
    table = []
    for name, run in best.items():
        ratio = "" if name == "tuneport" else f", tuneport is {ours / run.rows_per_second:.1f} times as fast"
        table.append((f"convert: {name}", f"{run.rows_per_second:,.0f} rows/s", f"peak {run.peak_mb:,.0f} MB{ratio}"))
    return table


SECTIONS: dict[str, Callable[[Path, int, int], list[tuple[str, str, str]]]] = {"convert": convert_section}
"""Each is handed the file, its rows and the repeats. A section is a function above and a line here."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", choices=CONVERTERS, help=argparse.SUPPRESS)
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        run_one(arguments.only, arguments.source)
        return
    folder = Path(tempfile.mkdtemp(prefix="tuneport-benchmark-"))
    try:
        source = folder / "alpaca.jsonl"
        generate(source, arguments.rows)
        print(f"{arguments.rows:,} rows, {source.stat().st_size / 1e6:,.0f} MB, {os.cpu_count()} cores")
        for section in SECTIONS.values():
            for what, figure, notes in section(source, arguments.rows, arguments.repeat):
                print(f"{what:<24}{figure:>18}  {notes}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
