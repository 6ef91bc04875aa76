"""Chromium without a window, where it is installed: what a page is once a real browser has read it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.system_packages import browser_program
from tests.support.waiting import until

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
        program = browser_program()
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

    @contextmanager
    def open(self, address: str) -> Iterator[Tab]:
        """A page to type into, driven over Chromium's debugging pipe."""
        to_read, to_write = os.pipe(), os.pipe()
        # Its helpers may still write while the folder goes.
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            # Chromium reads commands from descriptor 3 and answers on 4.
            command = [self._program, *_FLAGS, f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"]
            pipes = f"os.dup2({to_read[0]}, 103), os.dup2({to_write[1]}, 104), os.dup2(103, 3), os.dup2(104, 4)"
            started = [sys.executable, "-c", f"import os, sys; {pipes}; os.execv(sys.argv[1], sys.argv[1:])", *command]
            process = subprocess.Popen(started, pass_fds=(to_read[0], to_write[1]), stderr=subprocess.DEVNULL)
            os.close(to_read[0])
            os.close(to_write[1])
            try:
                with os.fdopen(to_read[1], "wb") as commands, os.fdopen(to_write[0], "rb") as answers:
                    tab = Tab(commands, answers, address)
                    yield tab
                    tab.close()
                    process.wait(60)
            finally:
                process.kill()
                process.wait()

    def _run(self, *arguments: str) -> str:
        with tempfile.TemporaryDirectory() as profile:
            command = [self._program, *_FLAGS, f"--user-data-dir={profile}", *arguments]
            return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout


class Tab:
    """One page: keys go in, what a script finds comes out."""

    def __init__(self, commands: Any, answers: Any, address: str) -> None:
        self._commands, self._answers = commands, answers
        self._number, self._session = 0, ""
        target = self._ask("Target.createTarget", url=address)["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def type(self, *keys: str, control: bool = False) -> None:
        for key in keys:
            text = {"text": key} if len(key) == 1 and not control else {}
            for kind in ("keyDown", "keyUp"):
                down = text if kind == "keyDown" else {}
                self._ask("Input.dispatchKeyEvent", type=kind, key=key, modifiers=2 if control else 0, **down)

    def value(self, script: str) -> Any:
        return self._ask("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def wait_for(self, script: str, expected: Any) -> None:
        """Wait until the script's value is the expected one."""
        until(lambda: self.value(script) == expected, told=lambda: f"the script is {script}")

    def resize(self, width: int, height: int = 900) -> None:
        """The page as wide as that, as on a phone."""
        self._ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def screenshot(self, to: Path) -> None:
        import base64

        to.write_bytes(base64.b64decode(self._ask("Page.captureScreenshot")["data"]))

    def close(self) -> None:
        self._session = ""
        self._ask("Browser.close")

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        self._commands.write(json.dumps(command).encode() + b"\0")
        self._commands.flush()
        while True:
            answer = json.loads(self._message())
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                result: dict[str, Any] = answer["result"]
                return result

    def _message(self) -> bytes:
        """Up to the next zero byte."""
        message = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            assert byte, "the browser has gone"
            message += byte
        return bytes(message)
