from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.webhook_receiver import Receiver
from tuneport.settings import Settings


@pytest.fixture
def configured(receiver: Receiver, webhook_secret: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """The settings of a gateway with one webhook; more variables by name."""

    def load(**environment: str) -> Settings:
        values = {
            "TUNEPORT_WEBHOOK_URL": receiver.url,
            "TUNEPORT_WEBHOOK_SECRET": webhook_secret,
            "TUNEPORT_WEBHOOK_ALLOW_PRIVATE": "1",
        }
        for name, value in (values | environment).items():
            monkeypatch.setenv(name, value)
        return Settings.load()

    return load
