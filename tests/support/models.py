"""A model of a few thousand weights that is really trained, loaded and asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.tiny import tiny_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny-model"))
