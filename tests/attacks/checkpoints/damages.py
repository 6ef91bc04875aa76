"""Damages to a run that was killed: what bad disks, bad memory and careless hands do to its files.

Each is a function of the run's folder, its prepared file and a seeded generator. Nothing here knows how tuneport checks
its files.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Do = Callable[[Path, Path, random.Random], None]


@dataclass(frozen=True)
class Damage:
    """`ends`: "same" where the run must end with the weights of an undamaged one and tell of the damage; "silent" where
    nothing that is used was damaged; "stop" where it must fail in one line."""

    name: str
    do: Do
    ends: str = "same"


def steps(run: Path) -> list[Path]:
    """The folders of the checkpoints, oldest first."""
    found = [path for path in (run / "checkpoints").glob("step-*") if path.is_dir()]
    return sorted(found, key=lambda path: int(path.name.partition("-")[2]))


def newest(run: Path) -> Path:
    return steps(run)[-1]


def flip(path: Path, dice: random.Random, bits: int = 1, first: int = 0) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(bits):
        content[dice.randrange(first, len(content))] ^= 1 << dice.randrange(8)
    write(path, bytes(content))


def write(path: Path, content: bytes) -> None:
    """With the times of before: nothing but the content has changed."""
    times = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def in_newest(name: str, change: Callable[[Path, random.Random], None]) -> Do:
    def do(run: Path, data: Path, dice: random.Random) -> None:
        change(newest(run) / name, dice)

    return do


def emptied(path: Path, dice: random.Random) -> None:
    write(path, b"")


def truncated(path: Path, dice: random.Random) -> None:
    write(path, path.read_bytes()[: dice.randrange(1, path.stat().st_size)])


def zeroed(path: Path, dice: random.Random) -> None:
    """A page of zeros, as a lost write leaves."""
    content = bytearray(path.read_bytes())
    begin = dice.randrange(max(1, len(content) - 4096))
    content[begin : begin + 4096] = bytes(len(content[begin : begin + 4096]))
    if bytes(content) == path.read_bytes():
        content[-1] ^= 1
    write(path, bytes(content))


def missing(path: Path, dice: random.Random) -> None:
    path.unlink()


def in_payload(path: Path, dice: random.Random) -> None:
    """In the numbers of a safetensors file, which stays one that loads."""
    header = int.from_bytes(path.read_bytes()[:8], "little")
    flip(path, dice, bits=20, first=8 + header)


def changed_number(field: str, by: float) -> Callable[[Path, random.Random], None]:
    """Still JSON, and another number."""

    def change(path: Path, dice: random.Random) -> None:
        content = json.loads(path.read_text())
        content[field] = content[field] + by
        write(path, json.dumps(content).encode())

    return change


def swap(name: str) -> Do:
    """The files of that name change places between the two newest checkpoints."""

    def do(run: Path, data: Path, dice: random.Random) -> None:
        older, newer = (folder / name for folder in steps(run)[-2:])
        first, second = older.read_bytes(), newer.read_bytes()
        write(newer, first)
        write(older, second)

    return do


def older_into_newer(name: str) -> Do:
    def do(run: Path, data: Path, dice: random.Random) -> None:
        older, newer = (folder / name for folder in steps(run)[-2:])
        write(newer, older.read_bytes())

    return do


def all_emptied(run: Path, data: Path, dice: random.Random) -> None:
    for path in newest(run).rglob("*"):
        if path.is_file():
            emptied(path, dice)


def folder_of_older_in_place_of_newer(run: Path, data: Path, dice: random.Random) -> None:
    older, newer = steps(run)[-2:]
    shutil.rmtree(newer)
    shutil.copytree(older, newer)


def all_checkpoints(run: Path, data: Path, dice: random.Random) -> None:
    for folder in steps(run):
        in_payload(folder / "adapter_model.safetensors", dice)


def one_byte_of_data(run: Path, data: Path, dice: random.Random) -> None:
    write(data, data.read_bytes().replace(b"yellow", b"yeLlow", 1))


def other_letters(run: Path, data: Path, dice: random.Random) -> None:
    """Every answer another one of the same length: what trains is valid, and wrong."""
    write(data, data.read_bytes().replace(b'"red"', b'"rad"'))


def appended_row(run: Path, data: Path, dice: random.Random) -> None:
    lines = data.read_bytes().splitlines(keepends=True)
    write(data, b"".join([*lines, lines[0]]))


def rows_in_another_order(run: Path, data: Path, dice: random.Random) -> None:
    lines = data.read_bytes().splitlines(keepends=True)
    write(data, b"".join(reversed(lines)))


def lost_rows(run: Path, data: Path, dice: random.Random) -> None:
    write(data, b"".join(data.read_bytes().splitlines(keepends=True)[:-3]))


def data_and_original(run: Path, data: Path, dice: random.Random) -> None:
    other_letters(run, data, dice)
    original = Path(json.loads((run / "run.json").read_text())["spec"]["dataset"])
    write(original, original.read_bytes().replace(b'"red"', b'"rod"'))


def list_line(change: Callable[[list[str]], list[str]]) -> Do:
    def do(run: Path, data: Path, dice: random.Random) -> None:
        path = newest(run) / "SHA256SUMS"
        write(path, "".join(change(path.read_text().splitlines(keepends=True))).encode())

    return do


WEIGHTS, OPTIMIZER, RANDOM = "adapter_model.safetensors", "optimizer.pt", "rng_state.pth"
FILES = (WEIGHTS, OPTIMIZER, RANDOM, "scheduler.pt", "trainer_state.json", "tuneport.json", "adapter_config.json")

DAMAGES = (
    Damage("nothing", lambda run, data, dice: None, "silent"),
    *(Damage(f"bit of {name}", in_newest(name, flip)) for name in FILES),
    *(Damage(f"{name} cut short", in_newest(name, truncated)) for name in FILES),
    *(Damage(f"{name} emptied", in_newest(name, emptied)) for name in FILES),
    *(Damage(f"{name} missing", in_newest(name, missing)) for name in FILES),
    *(Damage(f"page of zeros in {name}", in_newest(name, zeroed)) for name in (WEIGHTS, OPTIMIZER, RANDOM)),
    Damage("20 bits of the weights' numbers", in_newest(WEIGHTS, in_payload)),
    Damage("trained tokens changed", in_newest("tuneport.json", changed_number("tokens", 7))),
    Damage("step changed", in_newest("trainer_state.json", changed_number("global_step", -1))),
    Damage("scale of the adapter changed", in_newest("adapter_config.json", changed_number("lora_alpha", 8))),
    *(Damage(f"{name} of an older step", older_into_newer(name)) for name in (WEIGHTS, OPTIMIZER, RANDOM)),
    Damage("a whole older checkpoint under a newer name", folder_of_older_in_place_of_newer),
    Damage("all files emptied", all_emptied),
    Damage("list of digests missing", in_newest("SHA256SUMS", missing)),
    Damage("bit of the list", in_newest("SHA256SUMS", flip)),
    Damage("list emptied", in_newest("SHA256SUMS", emptied)),
    Damage("list cut to its first line", list_line(lambda lines: lines[:1])),
    Damage("list without the weights", list_line(lambda lines: [line for line in lines if WEIGHTS not in line])),
    Damage("all checkpoints", all_checkpoints, "stop"),
    *(Damage(f"{name} swapped between all checkpoints", swap(name), "stop") for name in (WEIGHTS, OPTIMIZER)),
    Damage("a letter of the prepared file", one_byte_of_data),
    Damage("every answer of the prepared file", other_letters),
    Damage("a row appended to the prepared file", appended_row),
    Damage("rows of the prepared file in another order", rows_in_another_order),
    Damage("rows of the prepared file lost", lost_rows),
    Damage("prepared file missing", lambda run, data, dice: data.unlink()),
    Damage("prepared file and its original", data_and_original, "stop"),
)
QUICK = (
    "20 bits of the weights' numbers",
    "bit of optimizer.pt",
    "list of digests missing",
    "every answer of the prepared file",
    "all checkpoints",
)
