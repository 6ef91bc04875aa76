"""Tests see no network beyond loopback (`--disable-socket` in pyproject.toml) and none of the user's files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.webhook_receiver import Receiver, receiving
from tuneport.settings import Settings

FIXTURES = Path(__file__).parent.parent / "fixtures"
SHARED = Path(os.environ.get("TUNEPORT_SHARED", Path(__file__).parent.parent.parent / "shared"))


SLOW_FIRST = (
    "tests/test_real_run.py",
    "tests/test_wheel.py",
    "tests/train/",
    "tests/serve/",
    "tests/backends/test_local",
)
"""Whose modules take longest. Two processes share a run by modules: one that came last would leave the other idle."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: next((n for n, name in enumerate(SLOW_FIRST) if item.nodeid.startswith(name)), 99))


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, a working folder and an environment of the test's own; no key and no hub."""
    for name in list(os.environ):
        if (
            name.startswith(("TUNEPORT_", "OPENAI_", "TOGETHER_"))
            or name.endswith(("_API_KEY", "_TOKEN"))
            or name.lower() in ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
        ):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
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
    from tuneport.jobs.webhooks.signing import new_secret

    return new_secret()
