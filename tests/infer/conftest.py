from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny import tiny_adapter

pytest.importorskip("transformers", reason="local inference is an extra: pip install 'tuneport[local]'")


@pytest.fixture(scope="session")
def adapter(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_adapter(tmp_path_factory.mktemp("adapter"), model)


@pytest.fixture
def engine(model: Path) -> Any:
    from tuneport.base_models import BaseModelDevice
    from tuneport.infer.engine import InferenceEngine

    return InferenceEngine(model, BaseModelDevice("cpu", "fp32"))
