"""Servers on this machine that speak the wire formats of real providers, so that tests need no account and no network.

`OpenAIEmulator`, `AzureEmulator` and `TogetherEmulator` answer the vendors' own, unmodified SDKs by `base_url`. They
use nothing but the standard library. `python -m tests.emulators openai --port 9001` runs one by hand; `conformance`
checks what they said against the vendors' published specifications.
"""

from .openai import OpenAIEmulator
from .openai_azure import AzureEmulator
from .together import TogetherEmulator

__all__ = ["AzureEmulator", "OpenAIEmulator", "TogetherEmulator"]
