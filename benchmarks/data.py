"""How fast datasets are converted, counted and checked, against `datasets`, bare msgspec and bare tiktoken, in one run.

    python benchmarks/data.py [--rows 200000] [--repeat 3] [--sections convert tokens check]

The data are alpaca rows of real length (about 900 bytes, made from a word list with a fixed seed); they are converted
to OpenAI's chat form, and the token counts and the check read that. Every figure is the best of its repeats, taken in
turn, so that all share the machine's good and bad moments. Each runs in a process of its own; peak memory is that of
the process and its workers together (proportional set size, sampled), and the seconds of CPU are theirs, too.
`datasets` gets a fresh cache each time: it is measured from the file to the file, as are the others.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
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
    """One piece of work: its seconds, those of CPU and the peak memory of its processes, and what it counted, if
    anything."""

    seconds: float
    cpu: float
    peak_mb: float
    count: int | None


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
    from tuneport.data.conversion.convert import convert

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


def tokens_with_tuneport(source: Path, output: Path) -> int:
    from tuneport.data.tokens.tokens import count_dataset_tokens

    return count_dataset_tokens(source).total


def tokens_with_tiktoken(source: Path, output: Path) -> int:
    """One thread, the texts of the messages alone, without OpenAI's rule."""
    import msgspec

    from tuneport.openai_encodings import load_openai_encoding

    encode = load_openai_encoding("o200k_base").encode_ordinary
    count = 0
    with source.open("rb") as lines:
        for line in lines:
            for message in msgspec.json.decode(line)["messages"]:
                count += len(encode(message["content"]))
    return count


def check_with_tuneport(source: Path, output: Path) -> None:
    from tuneport.data.checks import check_dataset

    check_dataset(source)


WORK: dict[str, Callable[[Path, Path], int | None]] = {
    "convert: tuneport": with_tuneport,
    "convert: datasets": with_datasets,
    "convert: bare msgspec": with_bare_msgspec,
    "tokens: tuneport": tokens_with_tuneport,
    "tokens: bare tiktoken": tokens_with_tiktoken,
    "check: tuneport": check_with_tuneport,
}


def measure(name: str, source: Path) -> Run:
    """Do one piece of work in a process of its own; the time includes the import of its library."""
    command = [sys.executable, __file__, "--only", name, "--source", str(source)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # installed packages have theirs
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    peaks = [0.0]
    watching = threading.Thread(target=_watch_memory, args=(process, peaks), daemon=True)
    watching.start()
    printed, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"{name} failed:\n{errors}")
    figures = json.loads(printed.splitlines()[-1])
    return Run(figures["seconds"], figures["cpu"], max(peaks), figures["count"])


def _watch_memory(process: subprocess.Popen[str], peaks: list[float]) -> None:
    while process.poll() is None:
        peaks.append(sum(_proportional_mb(pid) for pid in [process.pid, *_children(process.pid)]))
        time.sleep(0.05)


def _children(pid: int) -> list[int]:
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _proportional_mb(pid: int) -> float:
    """What is shared with other processes counts by its share."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def run_one(name: str, source: Path) -> None:
    """In the child: do the work, and print seconds and what was counted."""
    output = source.with_name("converted.jsonl")
    started, spent = time.perf_counter(), _cpu_seconds()
    count = WORK[name](source, output)
    seconds, cpu = time.perf_counter() - started, _cpu_seconds() - spent
    output.unlink(missing_ok=True)
    print(json.dumps({"seconds": seconds, "cpu": cpu, "count": count}))


def _cpu_seconds() -> float:
    """Of this process and of its workers that have ended."""
    return sum(os.times()[:4])


def best_of(names: list[str], source: Path, repeat: int) -> dict[str, Run]:
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for _ in range(repeat):
        for name in names:
            runs[name].append(measure(name, source))
    return {name: min(found, key=lambda run: run.seconds) for name, found in runs.items()}


Table = list[tuple[str, str, str]]
"""Rows of the table: what, its rate, and notes."""


def _costs(run: Run) -> str:
    return f"{run.cpu:.2f} s of CPU, peak {run.peak_mb:,.0f} MB"


def convert_section(alpaca: Path, chats: Path, rows: int, repeat: int) -> Table:
    best = best_of(["convert: tuneport", "convert: datasets", "convert: bare msgspec"], alpaca, repeat)
    ours = best["convert: tuneport"].seconds
    table = []
    for name, run in best.items():
        ratio = "" if run.seconds == ours else f", tuneport is {run.seconds / ours:.1f} times as fast"
        table.append((name, f"{rows / run.seconds:,.0f} rows/s", f"{_costs(run)}{ratio}"))
    return table


def tokens_section(alpaca: Path, chats: Path, rows: int, repeat: int) -> Table:
    best = best_of(["tokens: tuneport", "tokens: bare tiktoken"], chats, repeat)
    ours = best["tokens: tuneport"].seconds
    table = []
    for name, run in best.items():
        ratio = "" if run.seconds == ours else f", tuneport is {run.seconds / ours:.1f} times as fast"
        table.append((name, f"{(run.count or 0) / run.seconds / 1e6:,.1f} M tokens/s", f"{_costs(run)}{ratio}"))
    return table


def check_section(alpaca: Path, chats: Path, rows: int, repeat: int) -> Table:
    [run] = best_of(["check: tuneport"], chats, repeat).values()
    return [
        (
            "check: every row of the list",
            f"{rows / run.seconds:,.0f} rows/s",
            f"{run.seconds:.1f} s, {_costs(run)}",
        )
    ]


SECTIONS: dict[str, Callable[[Path, Path, int, int], Table]] = {
    "convert": convert_section,
    "tokens": tokens_section,
    "check": check_section,
}
"""Each is handed the alpaca file, the same rows as chats, their number and the repeats."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--only", choices=WORK, help=argparse.SUPPRESS)
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        run_one(arguments.only, arguments.source)
        return
    folder = Path(tempfile.mkdtemp(prefix="tuneport-benchmark-"))
    try:
        alpaca, chats = folder / "alpaca.jsonl", folder / "chats.jsonl"
        generate(alpaca, arguments.rows)
        with_tuneport(alpaca, chats)
        print(f"{arguments.rows:,} rows, {alpaca.stat().st_size / 1e6:,.0f} MB, {os.cpu_count()} cores")
        for name in arguments.sections:
            for what, figure, notes in SECTIONS[name](alpaca, chats, arguments.rows, arguments.repeat):
                print(f"{what:<30}{figure:>18}  {notes}", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
