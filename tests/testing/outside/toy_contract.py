"""How a package outside tuneport tests its backend. The second class is of a backend with a fault."""

from pathlib import Path

import pytest
from toy_backend import Forgetful, Toy

from tuneport.backends import open_backend
from tuneport.settings import Settings
from tuneport.testing.contract import BackendContract, Case, prepared_chats
from tuneport.types import Hyperparameters, TuneSpec


class TestToy(BackendContract):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> Toy:
        return open_backend("toy", Settings.load(tmp_path, {"TUNEPORT_HOME": str(tmp_path / "home")}))

    @pytest.fixture
    def case(self, backend: Toy, tmp_path: Path) -> Case:
        data = prepared_chats(tmp_path)
        return Case(
            backend=backend,
            spec=TuneSpec(model="some-model", dataset=data.training.path),
            data=data,
            patience=5.0,
            refused=Hyperparameters(learning_rate=1e-4),
            jobs_started=lambda: len(backend.jobs),
            answers_tuned=False,
        )


class TestForgetful(TestToy):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> Toy:
        toy = open_backend("toy", Settings.load(tmp_path, {"TUNEPORT_HOME": str(tmp_path / "home")}))
        return Forgetful(toy.manifest, toy.settings)
