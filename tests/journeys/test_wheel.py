"""The wheel carries the facts and the demo's data, and works where the checkout is not."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.folders import CHECKOUT
from tests.testing.emulators.by_hand import job_that_succeeds, started
from tests.testing.outside import lay_out, run_contract


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    # By way of the sdist, as a release is made; without isolation, since hatchling is a test tool already.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(CHECKOUT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("*.whl"))


def test_the_wheel_holds_what_it_should_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "tuneport/providers/openai.toml" in names
    assert "tuneport/fixtures/support_intents.train.jsonl" in names
    assert "tuneport/scoring/general/items/refusals.toml" in names
    package = CHECKOUT / "src"
    carried = {
        str(path.relative_to(package)) for kind in ("html", "css", "js", "svg") for path in package.rglob(f"*.{kind}")
    }
    assert "tuneport/pages/frame.html" in carried and carried <= set(names)
    strays = [name for name in names if not name.startswith(("tuneport/", "tuneport-")) or "__pycache__" in name]
    assert strays == []


def test_the_pythons_that_are_claimed_are_those_that_ci_runs_the_tests_on() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    words = "Programming Language :: Python :: "
    claimed = [line.removeprefix(words) for line in project["classifiers"] if line.startswith(words)]
    oldest = project["requires-python"].removeprefix(">=")
    assert claimed[0] == oldest
    assert len(claimed) == 2, "`.ci/run` takes the oldest and the newest: have it take another before that is claimed"


@pytest.fixture
def environment(wheel: Path, tmp_path: Path) -> Path:
    """Only the core is installed: no torch, no vendor SDK. Needs the package index, as `make test` does anyway."""
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=True)
    install(environment, wheel)
    return environment


def install(environment: Path, *wanted: Path | str) -> None:
    pip = [environment / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    constraint = CHECKOUT / ".ci" / "constraints.txt"
    subprocess.run([*pip, "-c", constraint, *wanted], check=True, env=outside_variables(), cwd=environment)


def outside_variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@pytest.mark.full
def test_a_clean_environment_lists_the_providers_from_the_wheel(wheel: Path, environment: Path, tmp_path: Path) -> None:
    python, variables = environment / "bin" / "python", outside_variables()
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
    assert rows["local"]["install"] == f"venv/bin/pip install '{wheel}[local]'"
    works = f"{rows['local']['install']} --dry-run --no-deps --quiet --disable-pip-version-check"
    subprocess.run(works, shell=True, check=True, env=variables, cwd=tmp_path)
    where = subprocess.run(
        [python, "-c", "import tuneport, sys; print(tuneport.__file__, 'torch' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        env=variables,
        cwd=tmp_path,
    )
    assert str(environment) in where.stdout and where.stdout.strip().endswith("False")


@pytest.mark.full
def test_others_test_with_the_wheel_alone(environment: Path, tmp_path: Path) -> None:
    """Their client against an emulator, with the vendor's SDK; their backend against the contract, with pytest."""
    python, variables = environment / "bin" / "python", outside_variables()
    install(environment, "openai")
    with started(python, "openai", "--pace", "0.05", env=variables, cwd=tmp_path) as (process, told):
        job = job_that_succeeds(told, tmp_path, python, env=variables, cwd=tmp_path)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (job["status"], process.returncode, errors) == ("succeeded", 0, "")
    install(environment, "pytest")
    lay_out(tmp_path / "toy")
    told_by_pytest = run_contract(python, tmp_path / "toy", variables)
    assert re.findall(r"^FAILED \S+?::(\S+)", told_by_pytest, re.MULTILINE) == [
        "TestForgetful::test_find_knows_the_token"
    ]
