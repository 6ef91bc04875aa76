"""The formats, by name. A format is a module (see `contract.Format`), imported when it is asked for."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import cast

from tuneport.data.formats.contract import DatasetFormat
from tuneport.errors import ConfigError

FORMATS = {
    "openai": "tuneport.data.formats.openai.format",
    "openai-preference": "tuneport.data.formats.openai.preference",
    "openai-reinforcement": "tuneport.data.formats.openai.reinforcement",
    "anthropic": "tuneport.data.formats.anthropic.format",
    "sharegpt": "tuneport.data.formats.sharegpt.format",
    "alpaca": "tuneport.data.formats.alpaca",
    "prompt-completion": "tuneport.data.formats.prompt_completion",
    "text": "tuneport.data.formats.text",
    "chatml": "tuneport.data.formats.chatml",
    "together": "tuneport.data.formats.together",
    "trl": "tuneport.data.formats.trl.format",
    "llamafactory": "tuneport.data.formats.llamafactory.format",
    "gemini": "tuneport.data.formats.gemini.format",
}
"""Name to module, in detection's order of preference for a file that fits several equally well.

Some rows are the same in several formats: plain messages in openai, together, trl and anthropic; a prompt with its
completion in prompt-completion, together and trl; a text in text, together and trl; a pair in openai-preference and
together; LLaMA-Factory's alpaca and sharegpt. They count as the format that is named first here, which reads them the
same; a later one is detected by what only it has, and the reason names the other one.
"""


@cache
def load_dataset_format(name: str) -> DatasetFormat:
    """Return the format of that name. Raises ConfigError that lists the known ones."""
    if name not in FORMATS:
        raise ConfigError(f"the format {name!r} is not known; known formats: {', '.join(FORMATS)}")
    return cast(DatasetFormat, import_module(FORMATS[name]))
