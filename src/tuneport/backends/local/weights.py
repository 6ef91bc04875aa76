"""A run's weights elsewhere: copied, linked, or merged into those of the base model by a child process."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tuneport import digests, private
from tuneport.backends.local.memory import detect_local_memory
from tuneport.base_models import locate_base_model
from tuneport.data.running.underway import report_data_activity
from tuneport.digests import DamagedError
from tuneport.errors import ConfigError, TrainingError, UnsupportedError
from tuneport.estimate.memory import GIB
from tuneport.files import folder_beside
from tuneport.run_protocol import RunRequest

RESUME_FILES = shutil.ignore_patterns(
    "*.pt", "*.pth", "*.bin", "trainer_state.json", "average.safetensors", "SHA256SUMS"
)
"""What a checkpoint has beside the weights, for going on with the same run."""


def refuse_damaged_weights(weights: Path, whose: str, *, own: bool = True) -> None:
    """Raise TrainingError if the weights have changed since they were written. Weights without digests are not checked.

    `own`: of a run's folder, which only the run writes to; else the user may have edited what is not weights.
    """
    try:
        digests.check_digests_once(weights, digests.check_digests if own else digests.check_weights)
    except DamagedError as error:
        raise TrainingError(
            f"the weights of {whose} are damaged ({error}) and are not used; take another checkpoint of the run, put "
            f"a whole copy back, or train it again"
        ) from error


def copy_tuned_weights(source: Path, target: Path, *, copy: Callable[[str, str], object] = shutil.copy2) -> None:
    """Copy weights without the files that only serve to resume the run, and check the copy by its own list.

    Raises TrainingError if the copy differs.
    """
    with report_data_activity("copying the weights", lambda: _folder_bytes(target) / _folder_bytes(source)):
        shutil.copytree(source, target, copy_function=copy, ignore=RESUME_FILES)
    try:
        digests.carry_digest_list(source, target)
    except DamagedError as error:
        raise TrainingError(f"the copy of {source} is damaged ({error}); look at the disk, and try again") from error


def _folder_bytes(folder: Path) -> int:
    """Return the bytes of the files below, without those that only serve to resume the run."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    left_out = RESUME_FILES(str(folder), [file.name for file in files])
    return sum(file.stat().st_size for file in files if file.name not in left_out)


def refuse_occupied_weights_folder(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} exists and is not an empty folder; name another one for the weights")


def place_tuned_weights(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder beside `folder`, then rename it into place: whole or not at all."""
    refuse_occupied_weights_folder(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder_beside(folder) as aside:
        write(aside)
        private.restore_umask_permissions(aside)
        os.replace(aside, folder)


def link_or_copy_local_weights(source: str, target: str) -> None:
    """Link the file if the file system can, else copy it: weights are written once and never changed."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def refuse_unmergeable_local_adapter(request: RunRequest, home: Path) -> None:
    """Raise UnsupportedError for an adapter that cannot be merged, or does not fit into memory."""
    adapter = request.spec.get("adapter")
    if adapter in ("prefix", "prompt"):
        raise UnsupportedError(
            f"a trained {adapter} stands before every input and is in no weight of the model, so there is nothing to "
            "merge; download it without --merged"
        )
    base, memory = (
        locate_base_model(request.model_name_or_path, home=home, download=False).folder,
        detect_local_memory(),
    )
    need = sum(path.stat().st_size for path in base.glob("*.safetensors")) / GIB
    if memory is not None and memory.place == "this machine" and need > memory.free_gib:
        raise UnsupportedError(
            f"merging needs the whole model in main memory, {need:.1f} GiB, and {memory.free_gib:.1f} GiB are free; "
            "free some, or download the adapter without --merged"
        )


def merge_local_adapter(
    command: Sequence[str], run: Path, adapter: Path, target: Path, environment: Mapping[str, str]
) -> dict[str, Any]:
    """Return the child's measurements (see `tuneport.train.output.merge`). Raises TrainingError with the reason if it
    failed."""
    words = [*command, str(run), str(adapter), str(target)]
    done = subprocess.run(
        words,
        env=dict(environment),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        umask=private.CHILD_UMASK,
    )
    said: dict[str, Any] = {}
    with contextlib.suppress(ValueError, IndexError, TypeError):
        said = dict(json.loads(done.stdout.strip().splitlines()[-1]))
    if done.returncode == 0 and said:
        return said
    if isinstance(error := said.get("error"), dict):
        raise TrainingError(f"the adapter of {run.name} could not be merged: {error['message']}")
    last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    hint = " (out of memory is the usual cause)" if done.returncode == -9 else ""
    raise TrainingError(f"merging the adapter of {run.name} ended with exit code {done.returncode}{hint}: {last}")
