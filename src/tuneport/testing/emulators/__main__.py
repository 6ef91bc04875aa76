"""Run one emulator by hand: `python -m tuneport.testing.emulators openai --port 9001`.

The address and the only key that it accepts are printed as lines to paste into a shell, or with `--json` as one line of
JSON. Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import json
import threading
from contextlib import suppress

from tuneport.testing.emulators import AnthropicEmulator, AzureEmulator, OpenAIEmulator, TogetherEmulator
from tuneport.testing.emulators.server import Emulator

EMULATORS: dict[str, type[Emulator]] = {
    e.name: e for e in (AnthropicEmulator, AzureEmulator, OpenAIEmulator, TogetherEmulator)
}
KEY_VARIABLES = {
    "anthropic": "ANTHROPIC_API_KEY",
    "azure": "AZURE_OPENAI_API_KEY",
    "openai": "OPENAI_API_KEY",
    "together": "TOGETHER_API_KEY",
}
# What the vendor's own SDK reads its address from; tuneport reads TUNEPORT_NAME_BASE_URL.
SDK_VARIABLES = {"anthropic": "ANTHROPIC_BASE_URL", "openai": "OPENAI_BASE_URL", "together": "TOGETHER_BASE_URL"}


def run_emulator() -> None:
    name = "python -m tuneport.testing.emulators"
    description = "Run a server that answers like a provider, for tests without an account. Ctrl-C ends it."
    parser = argparse.ArgumentParser(prog=name, description=description)
    parser.add_argument("provider", choices=EMULATORS)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes a free one")
    parser.add_argument("--key", help="the only API key that is accepted")
    parser.add_argument("--pace", type=float, default=2.0, help="seconds that a job stays in each state")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    options = parser.parse_args()
    try:
        emulator = EMULATORS[options.provider](
            key=options.key, pace=options.pace, port=options.port, host=options.host
        ).start()
    except OSError as error:
        parser.exit(1, f"error: cannot listen on {options.host}:{options.port}: {error.strerror}; try another --port\n")
    with suppress(KeyboardInterrupt):
        print(_as_json(emulator) if options.json else _as_exports(emulator), flush=True)
        threading.Event().wait()
    emulator.stop()


def _as_json(emulator: Emulator) -> str:
    control = f"{emulator.origin}/_emulator"
    told = {"provider": emulator.name, "base_url": emulator.base_url, "key": emulator.key, "control": control}
    return json.dumps(told)


def _as_exports(emulator: Emulator) -> str:
    name, address = emulator.name, emulator.base_url
    lines = [
        f"# {name} emulator at {address}; Ctrl-C ends it",
        f"# faults and switches: {emulator.origin}/_emulator",
        f"export TUNEPORT_{name.upper()}_BASE_URL={address}",
        f"export {KEY_VARIABLES[name]}={emulator.key}",
    ]
    if name in SDK_VARIABLES:
        lines.append(f"export {SDK_VARIABLES[name]}={address}")
    return "\n".join(lines)


if __name__ == "__main__":
    run_emulator()
