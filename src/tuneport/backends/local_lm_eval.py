"""EleutherAI's lm-eval on models of this machine, in a child process: `tuneport.infer.lm_eval_tasks`."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tuneport.errors import ConfigError, TrainingError

if TYPE_CHECKING:
    from tuneport.backends.local import LocalBackend

_COMMAND = (sys.executable, "-m", "tuneport.infer.lm_eval_tasks")


def lm_eval_version() -> str:
    """Of the package that is installed. ConfigError where none is."""
    try:
        return importlib.metadata.version("lm-eval")
    except importlib.metadata.PackageNotFoundError as error:
        raise ConfigError("--lm-eval needs EleutherAI's lm-eval: pip install lm-eval") from error


def run_lm_eval(
    backend: LocalBackend, model: str, tasks: Sequence[str], *, limit: int | None = None
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Each task with its scores when it is done, in order. ConfigError where a task is unknown or its data cannot be
    had, TrainingError where the child dies. The child ends with the iterator."""
    weights, options = backend.names.weights_of(model), backend.options
    words = [*_COMMAND, "--home", str(backend.settings.home), "--model", str(weights.base)]
    words += ["--adapter", str(weights.adapter)] if weights.adapter is not None else []
    words += ["--device-map", options.device_map]
    words += ["--precision", options.precision] if options.precision else []
    words += ["--load-in-4bit"] if options.load_in_4bit else []
    words += [] if limit is None else ["--limit", str(limit)]
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(
            [*words, "--", *tasks],
            env=backend.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for this process, which then ends the child
        )
        assert child.stdout is not None and child.stdin is not None
        done = 0
        try:
            for line in child.stdout:
                said = json.loads(line)
                if error := said.get("error"):
                    kind = ConfigError if error["code"] == "invalid_request" else TrainingError
                    raise kind(f"{model}: {error['message']}")
                if "task" in said:
                    done += 1
                    yield said["task"], said["scores"]
            if child.wait() or done < len(tasks):
                log.seek(0)
                last = (log.read().decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
                hint = " (out of memory is the usual cause)" if child.returncode == -9 else ""
                raise TrainingError(f"lm-eval on {model} ended with exit code {child.returncode}{hint}: {last}")
        finally:
            with contextlib.suppress(OSError):
                child.stdin.close()
            child.kill()
            child.wait()
            child.stdout.close()
