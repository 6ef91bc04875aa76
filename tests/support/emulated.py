"""Backends that talk to an emulator on this machine, by their real manifests and the vendors' own SDKs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tuneport.backends.anthropic.backend import AnthropicBackend
from tuneport.backends.hosted.backend import HostedBackend
from tuneport.backends.openai.backend import OpenAIBackend
from tuneport.backends.together.backend import TogetherBackend
from tuneport.manifests import load_manifest
from tuneport.settings import BackendSettings, ProjectFile, Settings
from tuneport.testing.contract import prepared_chats
from tuneport.testing.emulators import AnthropicEmulator, OpenAIEmulator, TogetherEmulator
from tuneport.testing.emulators.server import Emulator
from tuneport.types import PreparedData, TuneSpec

E = TypeVar("E", bound=Emulator)
LeadTo = Callable[[E], E]
KEYS = {
    "anthropic": "sk-ant-secret-0123456789abcdef",
    "openai": "sk-secret-0123456789abcdef",
    "together": "tgp_v1_secret-0123456789abcdef",
}
CLASSES: dict[str, type[HostedBackend]] = {
    "anthropic": AnthropicBackend,
    "openai": OpenAIBackend,
    "together": TogetherBackend,
}


def settings_for(name: str, base_url: str, *, key: str | None = None, **options: Any) -> Settings:
    """Settings as a user would have them: a key, an address, and the options of the backend's table."""
    variable = f"{name.upper()}_API_KEY"
    environment = {f"TUNEPORT_{name.upper()}_BASE_URL": base_url, "TUNEPORT_HOME": str(Path.cwd() / "home")}
    if key is not None:
        environment[variable] = key
    project = ProjectFile(backends={name: BackendSettings(options={"poll_interval": 0.01, **options})})
    return Settings.load(Path.cwd(), environment).model_copy(update={"project": project})


@pytest.fixture
def data(tmp_path: Path) -> PreparedData:
    return prepared_chats(tmp_path)


@pytest.fixture
def spec(request: pytest.FixtureRequest, data: PreparedData) -> TuneSpec:
    """A job on `data`, of the model that the test's module calls MODEL."""
    return TuneSpec(model=request.module.MODEL, dataset=data.training.path)


@pytest.fixture
def anthropic() -> Iterator[AnthropicEmulator]:
    with AnthropicEmulator(key=KEYS["anthropic"], pace=0.03) as emulator:
        yield emulator


@pytest.fixture
def openai() -> Iterator[OpenAIEmulator]:
    with OpenAIEmulator(key=KEYS["openai"], pace=0.03) as emulator:
        yield emulator


@pytest.fixture
def together() -> Iterator[TogetherEmulator]:
    with TogetherEmulator(key=KEYS["together"], pace=0.03) as emulator:
        yield emulator


@pytest.fixture(params=["openai", "together"])
def emulator(request: pytest.FixtureRequest) -> Any:
    """Each of them in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def lead_to(monkeypatch: pytest.MonkeyPatch) -> Iterator[LeadTo[E]]:
    """Starts an emulator and sets its address and key in the environment, as a user would for the real provider."""
    with ExitStack() as running:

        def lead(emulator: E) -> E:
            running.enter_context(emulator)
            monkeypatch.setenv(f"TUNEPORT_{emulator.name.upper()}_BASE_URL", emulator.base_url)
            monkeypatch.setenv(f"{emulator.name.upper()}_API_KEY", emulator.key)
            return emulator

        yield lead


@pytest.fixture
def connect() -> Iterator[Callable[..., Any]]:
    """Opens a backend on an emulator. Its waits are not slept but noted in `.waits`, and its clock goes on by them."""
    opened: list[HostedBackend] = []

    def open_one(emulator: Any, *, key: str | None = None, base_url: str | None = None, **options: Any) -> Any:
        name = emulator.name
        settings = settings_for(name, base_url or emulator.base_url, key=key or emulator.key, **options)
        waits: list[float] = []
        backend = CLASSES[name](load_manifest(name), settings, sleep=waits.append, monotonic=lambda: sum(waits))
        backend.waits = waits  # type: ignore[attr-defined]
        opened.append(backend)
        return backend

    yield open_one
    for backend in opened:
        backend.close()
