"""Every case with the commands that meet it."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.attacks.files import archives, datasets, models
from tests.attacks.files.judge import Ending, run

GIB = 1 << 30
DATA_SPACE, MODEL_SPACE = 6 * GIB, 24 * GIB  # addresses, of which numpy and torch reserve far more than they use
DATA_PEAK, MODEL_PEAK = 1 * GIB, 3 * GIB
FIRST = ("check", "convert", "preview")


class Outcome(NamedTuple):
    kind: str
    case: str
    command: str
    ended: str
    seconds: float
    peak: int
    faults: list[str]


def data_commands(data: str) -> dict[str, list[str]]:
    model = ["--model", "gpt-4.1-mini", "--backend", "openai"]
    return {
        "check": ["check", data, "--json"],
        "convert": ["convert", data, "--to", "openai", "-o", "out.jsonl", "--json"],
        "preview": ["preview", data, *model, "--json"],
        "clean": ["clean", data, "-o", "clean.jsonl", "--json"],
        "split": ["split", data, "-o", "split", "--json"],
        "compare": ["compare", data, "--model", "gpt-4.1-mini", "--json"],
        "plan": ["plan", data, "--model", "llama-3.1-8b-instruct", "--json"],
        "submit": ["submit", "--yes", "--anyway", data, "--model", "fake-base", "--backend", "fake", "--json"],
        "advise": ["advise", data, "--need", "task", "--json"],
        "eval": ["eval", data, "fake-base", "--backend", "fake", "--yes", "--json"],
    }


def data_cases(
    names: Sequence[str], commands: Callable[[str, random.Random], Sequence[str]], seed: int = 0
) -> Iterator[Outcome]:
    """The files of `names`, each with the commands that are chosen for it."""
    for name in names:
        rng = random.Random(f"{seed} {name}")
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            file, build = datasets.CASES[name]
            rows = build(folder / file, rng)
            for command in commands(name, rng):
                arguments = data_commands(file)[command]
                ending = run(arguments, folder, address_space=DATA_SPACE)
                faults = ending.faults(most=DATA_PEAK, rows=rows if command == "convert" else None)
                if command == "convert" and ending.code is not None and (ending.code == 0) != (rows is not None):
                    faults.append("refused" if rows is not None else "taken")
                yield _outcome("data", name, command, ending, faults)


def model_cases(sound: Path, names: Sequence[str], commands: Sequence[str]) -> Iterator[Outcome]:
    """The folders of `names`, shown to each command that loads models."""
    for name in names:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            model = models.spoilt(sound, folder / "model", name)
            (folder / "a.jsonl").write_bytes(datasets.lines(20))
            known = {
                "preview": ["preview", "a.jsonl", "--model", str(model), "--backend", "local", "--json"],
                "plan": ["plan", "a.jsonl", "--model", str(model), "--json"],
                "chat": ["chat", str(model), "hello", "--backend", "local", "--max-tokens", "4", "--json"],
            }
            for command in commands:
                ending = run(known[command], folder, address_space=MODEL_SPACE)
                faults = ending.faults(most=MODEL_PEAK)
                if (model / "RAN").exists():
                    faults.append("ran the model's code")
                yield _outcome("model", name, command, ending, faults)


def archive_cases(names: Sequence[str]) -> Iterator[Outcome]:
    from tuneport.backends.together.archive import unpack_weights_archive
    from tuneport.errors import ProviderError

    for name in names:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            faults: list[str] = []
            ended = "refused"
            try:
                unpack_weights_archive(archives.write(folder / "a.tar.gz", name), folder / "model", {}, "Together")
                ended, faults = "taken", ["taken"]
            except ProviderError as error:
                if "\n" in str(error):
                    faults.append("more than one line")
            except Exception as error:
                faults.append(f"{type(error).__name__}")
            yield Outcome("archive", name, "unpack", ended, 0.0, 0, faults)


def _outcome(kind: str, case: str, command: str, ending: Ending, faults: list[str]) -> Outcome:
    ended = "goes on" if ending.code is None else f"exit {ending.code}"
    return Outcome(kind, case, command, ended, ending.seconds, ending.peak, faults)


def one_and_one(name: str, rng: random.Random) -> list[str]:
    """`convert`, whose rows are counted, and one of the others, drawn for each file."""
    return ["convert", rng.choice([command for command in data_commands("") if command != "convert"])]


def three_and_two(name: str, rng: random.Random) -> list[str]:
    """`FIRST`, and two of the others, drawn for each file."""
    others = [command for command in data_commands("") if command not in FIRST]
    return [*FIRST, *rng.sample(others, 2)]
