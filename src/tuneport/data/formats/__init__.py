"""The formats, by name. A format is a module (see `contract.Format`), imported when it is asked for."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import cast

from tuneport.data.formats.contract import Format
from tuneport.errors import ConfigError

FORMATS = {
    "openai": "tuneport.data.formats.openai",
    "openai-preference": "tuneport.data.formats.openai_preference",
    "anthropic": "tuneport.data.formats.anthropic",
    "sharegpt": "tuneport.data.formats.sharegpt",
    "alpaca": "tuneport.data.formats.alpaca",
    "prompt-completion": "tuneport.data.formats.prompt_completion",
}
"""Name to module, in the order in which detection prefers them where a file fits several."""


@cache
def load_format(name: str) -> Format:
    """The format of that name; ConfigError lists the known ones."""
    if name not in FORMATS:
        raise ConfigError(f"the format {name!r} is not known; known formats: {', '.join(FORMATS)}")
    return cast(Format, import_module(FORMATS[name]))
