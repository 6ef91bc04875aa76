from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.tiny import chat_rows, write_rows

pytest.importorskip("trl", reason="local training is an extra: pip install 'tuneport[local]'")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "train.jsonl", chat_rows(16))
