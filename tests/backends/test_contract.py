"""The contract suite over the fake and over the hosted backends, these against the emulators of their providers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.conformance import specification
from tests.support.emulated import KEYS, settings_for
from tuneport.backends import open_backend
from tuneport.settings import Settings
from tuneport.testing.contract import AnsweringContract, BackendContract, Case, prepared_chats
from tuneport.testing.emulators import AnthropicEmulator, OpenAIEmulator, TogetherEmulator
from tuneport.testing.fake.backend import FakeBackend
from tuneport.testing.fake.jobs import ArmedFault
from tuneport.types import Hyperparameters, TuneSpec


class TestFake(BackendContract):
    @pytest.fixture
    def case(self, settings: Settings, tmp_path: Path) -> Case:
        backend = open_backend("fake", settings)
        assert isinstance(backend, FakeBackend)
        data = prepared_chats(tmp_path)
        return Case(
            backend=backend,
            spec=TuneSpec(model="some-model", dataset=data.training.path, suffix="mine"),
            data=data,
            jobs_started=lambda: len(list(backend.list_jobs())),
            lose_reply=lambda: backend.arm(ArmedFault(on="submit", kind="lost_reply")),
            refused=Hyperparameters(lora_dropout=0.1),
        )


def assert_conforming(emulator: OpenAIEmulator | TogetherEmulator) -> None:
    """Each request, and each answer that was not made to go wrong, is as the vendor's published document says."""
    document = specification(emulator.name)
    if document is not None:  # it is not part of the project
        elsewhere = (
            "/_storage",
            "/v2/",
            "/v3/",
        )  # of Together's, what only its SDK tells: see test_together_conformance
        exchanges = [item for item in emulator.log if item.fault is None and not item.path.startswith(elsewhere)]
        assert [complaint for item in exchanges for complaint in document.complaints(item)] == []


class TestAnthropic(AnsweringContract):
    @pytest.fixture(autouse=True)
    def conforming(self, anthropic: AnthropicEmulator) -> Iterator[None]:
        from tests.support.anthropic_types import sdk_complaints  # a second to import

        yield
        assert sdk_complaints(anthropic.log) == []

    @pytest.fixture
    def case(self, anthropic: AnthropicEmulator, tmp_path: Path) -> Case:
        data = prepared_chats(tmp_path)
        return Case(
            backend=open_backend("anthropic", settings_for("anthropic", anthropic.base_url, key=KEYS["anthropic"])),
            spec=TuneSpec(model="claude-haiku-4-5", dataset=data.training.path),
            data=data,
            without_key=(open_backend("anthropic", settings_for("anthropic", anthropic.base_url)), "ANTHROPIC_API_KEY"),
            secret=KEYS["anthropic"],
        )


class TestOpenAI(BackendContract):
    @pytest.fixture(autouse=True)
    def conforming(self, openai: OpenAIEmulator) -> Iterator[None]:
        yield
        assert_conforming(openai)

    @pytest.fixture
    def case(self, openai: OpenAIEmulator, tmp_path: Path) -> Case:
        data = prepared_chats(tmp_path)
        return Case(
            backend=open_backend("openai", settings_for("openai", openai.base_url, key=KEYS["openai"])),
            spec=TuneSpec(model="gpt-4.1-mini-2025-04-14", dataset=data.training.path, suffix="mine"),
            data=data,
            jobs_started=lambda: openai.jobs_created,
            lose_reply=lambda: openai.fail("drop_after_accept", method="POST", path="/fine_tuning/jobs") and None,
            go_slow=lambda: openai.next_job(pace=3),
            without_key=(open_backend("openai", settings_for("openai", openai.base_url)), "OPENAI_API_KEY"),
            secret=KEYS["openai"],
            unsupported=[
                lambda backend: backend.deploy("some-model"),
                lambda backend: backend.download("ftjob-1", tmp_path),
            ],
            refused=Hyperparameters(learning_rate=1e-4, lora_rank=8),
        )


class TestTogether(BackendContract):
    @pytest.fixture(autouse=True)
    def conforming(self, together: TogetherEmulator) -> Iterator[None]:
        yield
        assert_conforming(together)

    @pytest.fixture
    def case(self, together: TogetherEmulator, tmp_path: Path) -> Case:
        data = prepared_chats(tmp_path)
        return Case(
            backend=open_backend("together", settings_for("together", together.base_url, key=KEYS["together"])),
            spec=TuneSpec(model="Qwen/Qwen3.5-4B", dataset=data.training.path, suffix="mine"),
            data=data,
            jobs_started=lambda: together.jobs_created,
            lose_reply=lambda: together.fail("drop_after_accept", method="POST", path="/fine-tunes") and None,
            go_slow=lambda: together.next_job(pace=3),
            without_key=(open_backend("together", settings_for("together", together.base_url)), "TOGETHER_API_KEY"),
            secret=KEYS["together"],
            unsupported=[lambda backend: backend.deploy("some-model"), lambda backend: backend.pause("ft-1")],
            refused=Hyperparameters(beta=0.1),
            answers_tuned=False,
        )


class TestTogetherWithAnEndpoint(TestTogether):
    """Where the tuned model has an endpoint, it answers."""

    @pytest.fixture
    def case(self, together: TogetherEmulator, tmp_path: Path) -> Case:
        together.serverless_tuned = True
        data = prepared_chats(tmp_path)
        return Case(
            backend=open_backend("together", settings_for("together", together.base_url, key=KEYS["together"])),
            spec=TuneSpec(model="Qwen/Qwen3.5-4B", dataset=data.training.path),
            data=data,
            go_slow=lambda: together.next_job(pace=3),
        )
