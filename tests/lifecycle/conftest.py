from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.emulated import LeadTo
from tuneport.lifecycle.service import JobService
from tuneport.settings import Settings
from tuneport.testing.emulators import OpenAIEmulator


@pytest.fixture
def openai(lead_to: LeadTo) -> OpenAIEmulator:
    """Its jobs stand still: they move when a test moves the clock."""
    return lead_to(OpenAIEmulator(pace=600))


@pytest.fixture
def hosted(openai: OpenAIEmulator, isolated: Path) -> Iterator[JobService]:
    """A workspace whose jobs go to `openai`."""
    with JobService(Settings.load(isolated)) as opened:
        yield opened
