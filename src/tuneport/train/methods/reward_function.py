"""A reward that is the user's own code: `def reward(prompts, completions, **columns) -> list[float]`, as TRL calls it.

`python -m tuneport.train.methods.reward_function FOLDER MODULE NAME` tells, with one line and exit code 2, why it
cannot be had: so the user's code runs in a process of its own, never in the one that submits.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable
from typing import Any

from tuneport.errors import ConfigError, one_line


def load_reward_function(folder: str, module: str, name: str) -> Callable[..., Any]:
    """Import the function from `folder` or from Python's path. Raises ConfigError if it cannot be imported, or is not a
    plain function."""
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        loaded = importlib.import_module(module)
    except Exception as error:
        reason = one_line(f"{type(error).__name__}: {error}")
        raise ConfigError(
            f"the reward function {module}:{name} cannot be imported from {folder}: {reason}; submit from the folder "
            "that has it, or put that folder into PYTHONPATH"
        ) from error
    function = getattr(loaded, name, None)
    if function is None:
        raise ConfigError(f"the module {module} ({getattr(loaded, '__file__', '')}) has no {name}; name its function")
    if not callable(function) or inspect.iscoroutinefunction(function):
        raise ConfigError(
            f"the reward {module}:{name} is not a plain function; write def {name}(prompts, completions, ...)"
        )
    return function  # type: ignore[no-any-return]


if __name__ == "__main__":
    try:
        load_reward_function(*sys.argv[1:4])
    except ConfigError as failure:
        sys.stderr.write(f"{failure}\n")
        sys.stderr.flush()
        os._exit(2)  # whatever threads the user's module may have started
