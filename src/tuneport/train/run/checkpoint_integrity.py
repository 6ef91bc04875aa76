"""Finds the checkpoint to continue a run from (the newest whole one), and checks that its prepared files are unchanged.

A checkpoint with digests is whole if they match. One without (versions before 0.9 wrote none) is whole as far as its
files can be read. No torch here: what looks after a run on a cluster asks, too.
"""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tuneport import digests
from tuneport.data.conversion.prepare import convert_dataset_for_method
from tuneport.data.dataset import Dataset
from tuneport.digests import DamagedError
from tuneport.errors import TrainingError, TuneportError
from tuneport.run_protocol import parse_run_checkpoint_step
from tuneport.train.run.run_folder import TrainingRunFolder
from tuneport.types import DataFile

LOOP_FILE = "tuneport.json"
HAS_DIGESTS = "digests"
"""The field of `LOOP_FILE` which says that a list of digests was written beside it."""
TRAINER_FILE = "trainer_state.json"
_NEEDED = (TRAINER_FILE, LOOP_FILE, "scheduler.pt", "optimizer*", "rng_state*.pth")
_WEIGHTS = ("*.safetensors", "pytorch_model_fsdp*")


class CheckpointsDamagedError(TrainingError):
    """No checkpoint of the run is whole, and the user has not allowed it to start from step 0."""


class UnusableCheckpointError(TrainingError):
    """Loading a checkpoint without digests failed: the run is to restart from an older one."""

    def __init__(self, step: int, why: str) -> None:
        self.step = step
        super().__init__(why)


def newest_whole_checkpoint(run: TrainingRunFolder) -> tuple[int, bool]:
    """Return the step of the newest whole checkpoint (0: none, the run begins), and whether its digests were checked.

    Newer, damaged ones are set aside and reported. Raises CheckpointsDamagedError if there are checkpoints and none is
    whole, unless the run was resumed after that report: training everything again costs as much as before, so a person
    decides.
    """
    damaged: list[tuple[int, str]] = []
    for step in reversed(run.checkpoint_steps()):
        try:
            listed = verify_training_checkpoint(run.checkpoint(step))
        except DamagedError as error:
            damaged.append((step, f"{error.name} {_damage_of(error)}"))
            continue
        if not listed and run.state.get("start_anew"):
            damaged.append((step, "it has no digests, and loading it failed"))
            continue
        _set_aside(run, damaged, f"the run goes on from step {step}, its newest whole checkpoint")
        if not listed:
            _log_damage(run, f"The checkpoint of step {step} has no digests: not verified", "warning", step=step)
        return step, listed
    if damaged and not run.state.get("start_anew"):
        raise CheckpointsDamagedError(_none_is_whole(run, damaged))
    _set_aside(run, damaged, "no whole checkpoint is left: the run starts anew from step 0, as it was resumed to do")
    return 0, False


def discard_training_checkpoint(run: TrainingRunFolder, step: int, why: str) -> None:
    """Set a checkpoint aside that could not be loaded. Raises CheckpointsDamagedError if there is no older one."""
    older = [other for other in run.checkpoint_steps() if other < step]
    if not older:
        raise CheckpointsDamagedError(_none_is_whole(run, [(step, why)]))
    _set_aside(run, [(step, why)], f"the run goes on from step {older[-1]}")


def verify_training_checkpoint(checkpoint: Path) -> bool:
    """Return whether a checkpoint's digests were checked; False if it has none but its files can be read.

    Raises DamagedError that names the first file that is damaged, missing, or of another step.
    """
    listed = digests.check_digests(checkpoint, exact=True)
    if not listed:
        _read_all(checkpoint)
    state, loop = _json(checkpoint / TRAINER_FILE), _json(checkpoint / LOOP_FILE)
    if not listed and loop.get(HAS_DIGESTS):
        raise _damaged(checkpoint / digests.LIST, "is missing")
    if state.get("global_step") != parse_run_checkpoint_step(checkpoint):
        raise _damaged(checkpoint / TRAINER_FILE, f"is of step {state.get('global_step')}")
    return listed


@contextlib.contextmanager
def loading_training_checkpoint(checkpoint: Path | None, *, listed: bool) -> Iterator[None]:
    """Raise UnusableCheckpointError for an error within the block, unless digests say that the checkpoint is whole."""
    try:
        yield
    except (MemoryError, UnusableCheckpointError):
        raise
    except Exception as error:
        if checkpoint is None or listed or "out of memory" in str(error).lower():
            raise
        said = " ".join(str(error).split())[:200]
        step = parse_run_checkpoint_step(checkpoint)
        raise UnusableCheckpointError(step, f"it cannot be loaded: {type(error).__name__}: {said}") from error


def guard_checkpoint_loading(trainer: Any, checkpoint: Path, *, listed: bool) -> None:
    """Make the trainer load the checkpoint's files within `loading_training_checkpoint`, and train as before."""
    for name in ("_load_from_checkpoint", "_load_optimizer_and_scheduler", "_load_rng_state", "_load_scaler"):
        if (load := getattr(trainer, name, None)) is not None:
            setattr(trainer, name, _guarded(load, checkpoint, listed))


def check_training_files(run: TrainingRunFolder) -> None:
    """Check that the prepared files are those of the request; another one is made again, if its source is the same.

    Raises DamagedError if that is impossible: nothing is trained on other rows than those that were submitted.
    """
    spec = run.spec
    parts = [("training", run.training, spec.dataset)]
    if run.validation is not None and spec.validation is not None:
        parts.append(("validation", run.validation, spec.validation))
    for purpose, file, source in parts:
        if _is_whole(file):
            continue
        training = Dataset.of_spec(spec)
        dataset = training if purpose == "training" else training.validation_like(source)
        try:
            again = convert_dataset_for_method(spec.method, dataset, file.format, file.path.parent)
            why = None if again.sha256 == file.sha256 and _is_whole(file) else "it has changed since"
        except (TuneportError, OSError) as error:
            if not file.path.exists() and isinstance(error, TuneportError):
                raise  # nothing is damaged: the file is not there, and its source says why
            why = str(error)
        if why is not None:
            raise DamagedError(
                f"the prepared {purpose} file {file.path} is damaged (its SHA-256 differs from its name) and cannot "
                f"be made again from {source} ({why}); nothing was trained on it; submit the job again",
                name=file.path.name,
            )
        _log_damage(
            run,
            f"The prepared {purpose} file {file.path.name} was damaged; it was made again from {source}",
            "warning",
            file=file.path.name,
        )


def _is_whole(file: DataFile) -> bool:
    try:
        return digests.sha256_of(file.path) == file.sha256
    except OSError:
        return False


def _set_aside(run: TrainingRunFolder, damaged: list[tuple[int, str]], then: str) -> None:
    for step, why in damaged:
        file = why.partition(" ")[0]
        _log_damage(run, f"The checkpoint of step {step} is damaged ({why}); {then}", "warning", step=step, file=file)
        run.set_aside_checkpoint(step)


def _none_is_whole(run: TrainingRunFolder, damaged: list[tuple[int, str]]) -> str:
    listed = "; ".join(f"step {step}: {why}" for step, why in damaged)
    return (
        f"no checkpoint of the run is whole ({listed}); nothing was trained on them; restore a good copy in "
        f"{run.path / 'checkpoints'}, or train everything again from step 0: tuneport resume {run.run_id}"
    )


def _log_damage(run: TrainingRunFolder, message: str, level: str, **data: Any) -> None:
    print(message, flush=True)
    run.log_event(message, level=level, type="damaged", **data)


def _guarded(load: Any, checkpoint: Path, listed: bool) -> Any:
    def guarded(*args: Any, **kwargs: Any) -> Any:
        with loading_training_checkpoint(checkpoint, listed=listed):
            return load(*args, **kwargs)

    return guarded


def _read_all(checkpoint: Path) -> None:
    """Read what can be read of a checkpoint without digests: torch's archives have checksums, and JSON its grammar."""
    for pattern in _NEEDED:
        if not any(checkpoint.glob(pattern)):
            raise _damaged(checkpoint / pattern, "is missing")
    if not any(True for pattern in _WEIGHTS for _ in checkpoint.rglob(pattern)):
        raise _damaged(checkpoint / _WEIGHTS[0], "is missing")
    for path in sorted(path for path in checkpoint.rglob("*") if path.is_file()):
        if not path.stat().st_size:
            raise _damaged(path, "is empty")
        if path.suffix == ".json":
            _json(path)
        elif path.suffix == ".safetensors":
            _read_header(path)
        elif path.suffix in (".pt", ".pth", ".bin") and path.name != "training_args.bin":
            _read_archive(path)


def _read_header(path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):
            pass
    except (SafetensorError, OSError) as error:
        raise _damaged(path, f"cannot be read ({error})") from error


def _read_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except Exception as error:  # a damaged archive raises whatever its bytes lead to
        raise _damaged(path, f"cannot be read ({error})") from error
    if bad is not None:
        raise _damaged(path, f"has changed since it was written: the checksum of {bad} differs")


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise _damaged(path, "is missing") from error
    except (OSError, ValueError) as error:
        raise _damaged(path, f"cannot be read ({error})") from error
    return content if isinstance(content, dict) else {}


def _damaged(path: Path, what: str) -> DamagedError:
    return DamagedError(f"{path} {what}", name=path.name)


def _damage_of(error: DamagedError) -> str:
    """Return what happened to the file, without its path."""
    return str(error).partition(f"{error.name} ")[2]
