"""The wheel carries the facts and the demo's data, and works where the checkout is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    # By way of the sdist, as a release is made; without isolation, since hatchling is a test tool already.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("*.whl"))


def test_the_wheel_holds_what_it_should_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "tuneport/providers/openai.toml" in names
    assert "tuneport/fixtures/support_intents.train.jsonl" in names
    assert "tuneport/evaluate/general/items/refusals.toml" in names
    dashboard = "tuneport/serve/dashboard"
    carried = (f"{dashboard}/templates/base.html", f"{dashboard}/static/live.js", "tuneport/pages/page.css")
    assert set(carried) <= set(names)
    strays = [name for name in names if not name.startswith(("tuneport/", "tuneport-")) or "__pycache__" in name]
    assert strays == []


@pytest.mark.full
def test_a_clean_environment_lists_the_providers_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """Only the core is installed: no torch, no vendor SDK. Needs the package index, as `make test` does anyway."""
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    constraint = ROOT / ".ci" / "constraints.txt"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", constraint, wheel]
    subprocess.run(install, check=True, env=variables, cwd=tmp_path)
    listed = subprocess.run(
        [environment / "bin" / "tuneport", "backends", "--json"],
        capture_output=True,
        text=True,
        check=True,
        env=variables | {"TUNEPORT_HOME": str(tmp_path / "home")},
        cwd=tmp_path,
    )
    rows = {row["name"]: row for row in json.loads(listed.stdout)["data"]}
    assert {"local", "openai", "together"} <= set(rows)
    assert rows["openai"]["no_new_jobs_from"] == "2027-01-06"
    assert rows["local"]["install"] == 'pip install "tuneport[local]"'
    where = subprocess.run(
        [python, "-c", "import tuneport, sys; print(tuneport.__file__, 'torch' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        env=variables,
        cwd=tmp_path,
    )
    assert str(environment) in where.stdout and where.stdout.strip().endswith("False")
