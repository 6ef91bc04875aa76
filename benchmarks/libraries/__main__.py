"""Each part that a library took over, before and after, in one run: `python -m benchmarks.libraries [--part NAME ...]`.

`--packages DIR`: bert-score, rouge-score and python-multipart, as `pip install --target DIR` puts them there.

Every script beside this one measures one part and prints a line of JSON; it runs on the source of `--before`, a commit,
and then on this one. `--markdown` prints the table for RESULTS.md. Lines are those of the files that the script names.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BEFORE = "5ba0a8c"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--before", default=BEFORE, help=f"the commit to compare with; default: {BEFORE}")
    parser.add_argument("--packages", type=Path, help="a folder with packages that only the earlier source needs")
    parser.add_argument("--part", action="append", help="only this one; again for more")
    parser.add_argument("--markdown", action="store_true", help="print the table for RESULTS.md")
    options = parser.parse_args()
    scripts = sorted(
        path for path in Path(__file__).parent.glob("[a-z]*.py") if options.part is None or path.stem in options.part
    )
    rows, failed = [], 0
    with tempfile.TemporaryDirectory() as folder:
        old = Path(folder, "before")
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(old), options.before], check=True)
        try:
            for script in scripts:
                before, after = measure(script, old, options.packages), measure(script, ROOT)
                failed += before is None or after is None
                rows += compared(script, old, before or {}, after or {})
        finally:
            subprocess.run([*git, "remove", "--force", str(old)], check=True)
    if options.markdown:
        print("| part | measure | before | after |\n| --- | --- | ---: | ---: |")
    for row in rows:
        print(f"| {' | '.join(row)} |" if options.markdown else "  ".join(row))
    return 1 if failed else 0


def measure(script: Path, tree: Path, packages: Path | None = None) -> dict[str, float] | None:
    """What the script measures on the source of `tree`, or None if it fails, which is told."""
    path = [str(tree / "src"), *([str(packages)] if packages else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment)
    if done.returncode:
        print(f"{script.stem}, {tree.name}: {done.stderr[-1000:]}", file=sys.stderr)
        return None
    measures: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])["measures"]
    return measures


def compared(script: Path, old: Path, before: dict[str, float], after: dict[str, float]) -> list[tuple[str, ...]]:
    part = script.stem.replace("_", " ")
    rows = [(part, name, shown(before.get(name)), shown(after.get(name))) for name in dict.fromkeys([*before, *after])]
    return [*rows, (part, "lines of source", *(f"{lines(tree, named_files(script)):,}" for tree in (old, ROOT)))]


def shown(value: Any) -> str:
    if isinstance(value, int) or (isinstance(value, float) and value >= 1000):
        return f"{value:,.0f}"
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)


def named_files(script: Path) -> list[str]:
    """The constant `files` of a script, which is not imported: what it imports may be of one tree only."""
    for node in ast.parse(script.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "").lower() == "files":
            return list(ast.literal_eval(node.value))
    raise SystemExit(f"{script.name} names no files")


def lines(tree: Path, names: list[str]) -> int:
    return sum(len((tree / name).read_text().splitlines()) for name in names if (tree / name).is_file())


if __name__ == "__main__":
    sys.exit(main())
