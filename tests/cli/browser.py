"""Chromium without a window, where it is installed: what a page is once a real browser has read it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Browser:
    def __init__(self) -> None:
        program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if program is None:
            pytest.skip("chromium is not installed")
        self._program = program

    def dump(self, address: str, *, milliseconds: int = 3_000) -> str:
        """The document after its scripts ran, as HTML."""
        return self._run("--dump-dom", f"--virtual-time-budget={milliseconds}", address)

    def screenshot(self, address: str, to: Path, *, width: int = 1100, height: int = 1600, dark: bool = False) -> None:
        scheme = ["--blink-settings=preferredColorScheme=0"] if dark else ["--blink-settings=preferredColorScheme=1"]
        self._run(
            f"--screenshot={to}", f"--window-size={width},{height}", *scheme, "--virtual-time-budget=3000", address
        )

    def _run(self, *arguments: str) -> str:
        with tempfile.TemporaryDirectory() as profile:
            command = [self._program, *_FLAGS, f"--user-data-dir={profile}", *arguments]
            return subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout
