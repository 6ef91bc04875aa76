"""EleutherAI's lm-eval on models of this machine, in a child process: `tuneport.infer.lm_eval_tasks`."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from tuneport import private
from tuneport.backends.local.options import LocalBackendOptions
from tuneport.backends.local.served_weights import ServedWeights
from tuneport.data.running.underway import report_data_activity
from tuneport.errors import ConfigError, TrainingError
from tuneport.installation import install_extra

_COMMAND = (sys.executable, "-m", "tuneport.infer.lm_eval_tasks")


def local_lm_eval_version() -> str:
    """Return the version of the installed package. Raises ConfigError if it is missing."""
    try:
        return importlib.metadata.version("lm-eval")
    except importlib.metadata.PackageNotFoundError as error:
        raise ConfigError(f"--lm-eval needs EleutherAI's lm-eval: {install_extra('lm-eval')}") from error


def _said(lines: IO[bytes], model: str) -> Iterator[bytes]:
    while True:
        with report_data_activity(f"lm-eval on {model}"):
            line = lines.readline()
        if not line:
            return
        yield line


def run_local_lm_eval(
    weights: ServedWeights,
    options: LocalBackendOptions,
    tasks: Sequence[str],
    *,
    model: str,
    home: Path,
    environment: Mapping[str, str],
    limit: int | None,
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield each task with its scores when it is done, in order; errors call the weights `model`.

    Raises ConfigError if a task is unknown or its data cannot be had, TrainingError if the child dies. The child ends
    with the iterator.
    """
    words = [*_COMMAND, "--home", str(home), "--model", str(weights.base)]
    words += ["--adapter", str(weights.adapter)] if weights.adapter is not None else []
    words += ["--device-map", options.device_map]
    words += ["--precision", options.precision] if options.precision else []
    words += ["--load-in-4bit"] if options.load_in_4bit else []
    words += [] if limit is None else ["--limit", str(limit)]
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(
            [*words, "--", *tasks],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for this process, which then ends the child
            umask=private.CHILD_UMASK,
        )
        assert child.stdout is not None and child.stdin is not None
        done = 0
        try:
            for line in _said(child.stdout, model):
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
