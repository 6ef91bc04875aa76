"""Servers on this machine that speak the wire formats of real providers, so that tests need no account and no network.

`OpenAIEmulator`, `AzureEmulator`, `TogetherEmulator` and `AnthropicEmulator` answer the vendors' own, unmodified SDKs
by `base_url`. They use nothing but the standard library. `python -m tuneport.testing.emulators openai --port 9001` runs
one by hand.
"""

from tuneport.testing.emulators.anthropic.emulator import AnthropicEmulator
from tuneport.testing.emulators.openai.azure import AzureEmulator
from tuneport.testing.emulators.openai.emulator import OpenAIEmulator
from tuneport.testing.emulators.together.emulator import TogetherEmulator

__all__ = ["AnthropicEmulator", "AzureEmulator", "OpenAIEmulator", "TogetherEmulator"]
