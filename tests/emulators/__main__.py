"""Run one emulator by hand: `python -m tests.emulators openai --port 9001 [--key sk-test] [--pace 2]`.

`--pace` is the seconds that a job stays in each state. The address and key are printed as lines to paste into a shell.
"""

from __future__ import annotations

import argparse
import threading

from . import AzureEmulator, OpenAIEmulator, TogetherEmulator

EMULATORS = {emulator.name: emulator for emulator in (AzureEmulator, OpenAIEmulator, TogetherEmulator)}
KEYS = {"azure": "AZURE_OPENAI_API_KEY"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.emulators", description=__doc__.partition("\n\n")[0])
    parser.add_argument("provider", choices=EMULATORS)
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes a free one")
    parser.add_argument("--key", help="the only API key that is accepted")
    parser.add_argument("--pace", type=float, default=2.0, help="seconds in each state of a job")
    options = parser.parse_args()
    with EMULATORS[options.provider](key=options.key, pace=options.pace, port=options.port) as emulator:
        name = options.provider.upper()
        print(f"# {options.provider} emulator at {emulator.base_url}; Ctrl-C ends it")
        print(f"# faults and switches: {emulator.origin}/_emulator")
        print(f"export TUNEPORT_{name}_BASE_URL={emulator.base_url}")
        print(f"export {KEYS.get(options.provider, name + '_API_KEY')}={emulator.key}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
