"""The reward of a local run of grpo or rloo, checked before anything is loaded."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tuneport.errors import ConfigError
from tuneport.validation import read_json_object

_IMPORT_SECONDS = 300.0  # modules that load a model at import take long on slow disks
_SCORES = "ForSequenceClassification"


def check_local_reward_function(folder: Path, function: tuple[str, str], environment: Mapping[str, str]) -> None:
    """Raise ConfigError if it cannot be imported. Its module runs in a child process, as in the trainer."""
    command = [sys.executable, "-m", "tuneport.train.methods.reward_function", str(folder), *function]
    name = ":".join(function)
    try:
        done = subprocess.run(
            command, cwd=folder, env=dict(environment), capture_output=True, text=True, timeout=_IMPORT_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f"importing the reward function {name} took over {_IMPORT_SECONDS:.0f} s") from error
    except OSError as error:
        raise ConfigError(f"the reward function {name} cannot be looked at in {folder}: {error}") from error
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"its module ended Python with exit code {done.returncode}"]
        raise ConfigError(said[-1] if done.returncode == 2 else f"the reward function {name}: {said[-1]}")


def check_local_reward_weights(weights: Path, shown: str) -> bool:
    """Return whether a reward model's weights are an adapter's. Raises ConfigError if they give no score."""
    for name in ("adapter_config.json", "config.json"):
        path = weights / name
        if not path.is_file():
            continue
        try:
            config = read_json_object(path)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} cannot be read: {error}; train the reward model again") from error
        kinds = config.get("architectures")
        scores = config.get("task_type") == "SEQ_CLS" or (
            isinstance(kinds, list) and any(_SCORES in str(kind) for kind in kinds)
        )
        if not scores:
            raise ConfigError(f"{shown} is no reward model: it writes answers; give a run of the method reward")
        return name == "adapter_config.json"
    raise ConfigError(
        f"{shown} is neither a function (package.module:function), a finished local job of the method reward, nor a "
        "folder with such weights"
    )
