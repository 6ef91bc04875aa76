"""Defects that are put into a copy of the source, to see that the tests notice each: `python -m tests.attacks.planted_defects`.

They stand in `planted/*.toml`: what is wrong, the file below src/tuneport, the text that is replaced, and the test that
must fail then. The exit code is 1 where a defect goes unnoticed.
"""  # noqa: E501

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PLANTED = Path(__file__).parent / "planted"
FAILED = 1
"""pytest's exit code for tests that ran and failed; 2 to 5 are errors of its own, which prove nothing."""


@dataclass(frozen=True)
class Defect:
    name: str
    what: str
    file: str
    find: str
    replace: str
    test: str

    def planted_in(self, source: str) -> str:
        """Return the source with the defect. ValueError where its text does not stand there exactly once."""
        if (count := source.count(self.find)) != 1:
            raise ValueError(f"{self.name}: its text stands {count} times in {self.file}, not once")
        return source.replace(self.find, self.replace)


def all_defects() -> list[Defect]:
    return [
        Defect(f"{path.stem}-{number}", **entry)
        for path in sorted(PLANTED.glob("*.toml"))
        for number, entry in enumerate(tomllib.loads(path.read_text(encoding="utf-8"))["defect"])
    ]


@contextmanager
def copy_with(defect: Defect) -> Iterator[Path]:
    """Give a folder with a copy of the package that has the defect, beside the facts that it reads."""
    with tempfile.TemporaryDirectory(prefix="tuneport-planted-") as folder:
        copy = Path(folder)
        shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("providers", "fixtures"):
            (copy / name).symlink_to(ROOT / name)
        file = copy / "src" / "tuneport" / defect.file.removeprefix("src/tuneport/")
        file.write_text(defect.planted_in(file.read_text(encoding="utf-8")), encoding="utf-8")
        yield copy / "src"


def noticed(defect: Defect) -> tuple[bool, str]:
    """Return whether the defect's test fails with it, and what pytest printed."""
    with copy_with(defect) as source:
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", defect.test]
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(source)}, capture_output=True, text=True
        )
    return done.returncode == FAILED, done.stdout[-3000:] + done.stderr[-1000:]


def main() -> int:
    wanted = sys.argv[1:]
    unnoticed = 0
    for defect in all_defects():
        if wanted and defect.name not in wanted:
            continue
        seen, said = noticed(defect)
        unnoticed += not seen
        print(f"{'noticed  ' if seen else 'UNNOTICED'} {defect.name:<16} {defect.what}", flush=True)
        if not seen:
            print(said)
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
