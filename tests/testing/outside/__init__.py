"""A package outside tuneport: a backend of its own, its manifest, and the contract suite over it.

Nothing here is imported; a test copies it to a folder of its own and runs pytest there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path


def lay_out(folder: Path) -> None:
    """Write the package to `folder` as pip would install it, with its entry point and its test."""
    here = Path(__file__).parent
    folder.mkdir()
    shutil.copyfile(here / "toy.toml", folder / "toy.toml")
    shutil.copyfile(here / "toy_backend.py", folder / "toy_backend.py")
    shutil.copyfile(here / "toy_contract.py", folder / "test_toy.py")
    about = folder / "toy-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[tuneport.backends]\ntoy = toy_backend:manifest\n")


def run_contract(python: Path | str, folder: Path, environment: Mapping[str, str] = os.environ) -> str:
    """Run the package's tests with that Python and return what pytest says."""
    tests = ["test_toy.py::TestToy", "test_toy.py::TestForgetful::test_find_knows_the_token"]
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rf", *tests]
    variables = {**environment, "PYTHONPATH": str(folder), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=variables).stdout
