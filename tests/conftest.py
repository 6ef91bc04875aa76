"""Tests see no network beyond loopback (`--disable-socket` in pyproject.toml) and none of the user's files."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.counted import print_counted
from tests.support.folders import SHARED
from tests.support.webhook_receiver import Receiver, receiving
from tuneport.settings import Settings

_FIXTURES = ("accounts", "commands", "emulated", "gateways", "models", "postgres", "s3", "workspaces")
pytest_plugins = [f"tests.support.{name}" for name in _FIXTURES]

# One thread a process: the models are tiny, three processes share the tests, and threads that wait for each other burn
# what other tests could use. Set before torch is loaded, here and in every process that a test starts.
for _library in ("OMP", "MKL", "OPENBLAS"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")


# What collection imports stays; looking through it again and again while it comes costs a quarter of its time.
gc.disable()


def pytest_collection_finish() -> None:
    gc.enable()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what tests have counted."""
    print_counted(terminalreporter)


SLOW_FIRST = (
    "tests/journeys/test_real_run.py",
    "tests/journeys/test_wheel.py",
    "tests/train/",
    "tests/serve/",
    "tests/journeys/",
    "tests/backends/local/",
)
"""Whose modules take longest. Three processes share a run by modules: one that came last would leave others idle."""


UNIT = (
    "tests/advisor/",
    "tests/cli/views/",
    "tests/curves/",
    "tests/data/",
    "tests/estimate/",
    "tests/lifecycle/",
    "tests/manifests/",
    "tests/pages/",
    "tests/router/",
    "tests/scoring/",
    "tests/test_",
    "tests/testing/fake/",
    "tests/workflows/",
)
"""Where the tests of one module's own behaviour are: `make test-fast` runs these."""
JOURNEYS = (
    "tests/data/checks/test_planted.py",
    "tests/data/checks/test_report_over_processes.py",
    "tests/data/running/",
    "tests/data/templates/test_limits.py",
    "tests/data/test_fuzz.py",
    "tests/data/test_real_files.py",
    "tests/lifecycle/schema/",
    "tests/lifecycle/test_open_service.py",
    "tests/lifecycle/webhooks/test_sender.py",
    "tests/lifecycle/worker/",
    "tests/test_aio.py",
    "tests/test_device_queue.py",
    "tests/test_surface.py",
    "tests/workflows/evaluation/",
    "tests/workflows/migration/",
    "tests/workflows/test_evaluate.py",
    "tests/workflows/test_workspace.py",
)
"""What among them starts servers or processes, migrates stores or reads much."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(UNIT) and not item.nodeid.startswith(JOURNEYS):
            item.add_marker(pytest.mark.unit)
    items.sort(key=lambda item: next((n for n, name in enumerate(SLOW_FIRST) if item.nodeid.startswith(name)), 99))


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, a working folder and an environment of the test's own; no key and no hub."""
    for name in list(os.environ):
        if (
            name.startswith(("TUNEPORT_", "OPENAI_", "TOGETHER_", "ANTHROPIC_"))
            or name.endswith(("_API_KEY", "_TOKEN"))
            or name.lower() in ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
        ):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("TUNEPORT_HOME", str(home))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def settings(isolated: Path) -> Settings:
    return Settings.load(isolated)


@pytest.fixture
def shared_data() -> Path:
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"the real datasets are not at {folder} (set TUNEPORT_SHARED)")
    return folder


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Listens for webhooks."""
    with receiving() as listening:
        yield listening


@pytest.fixture
def webhook_secret() -> str:
    from tuneport.lifecycle.webhooks.signing import new_webhook_secret

    return new_webhook_secret()
