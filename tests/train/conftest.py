from __future__ import annotations

from pathlib import Path

import pytest

from tests.train.tiny import chat_rows, tiny_model, write_rows

pytest.importorskip("trl", reason="local training is an extra: pip install 'tuneport[local]'")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny-model"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "train.jsonl", chat_rows(16))
