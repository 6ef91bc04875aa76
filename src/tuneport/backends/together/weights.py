"""The weights of a job, or of one of its checkpoints, in a folder: fetched, verified, unpacked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tuneport.backends.local.weights import refuse_occupied_weights_folder
from tuneport.backends.together.archive import read_download_receipt, unpack_weights_archive
from tuneport.backends.together.download import discard_together_download, download_together_file
from tuneport.data.running.underway import report_data_activity
from tuneport.errors import ConfigError, ProviderError, RejectedError
from tuneport.files import acquire_file_lock
from tuneport.types import JobState, JobStatus, now


def download_tuned_weights(
    remote_id: str,
    folder: Path,
    *,
    merged: bool,
    backend: str,
    fetch_job: Callable[[str], JobState],
    once: Callable[[Callable[[], None]], None],
    sleep: Callable[[float], None],
    content: Callable[..., Any],
) -> Path:
    """Return `folder`, with the weights in it; unchanged if an earlier call put the same ones there.

    Raises ConfigError for a folder with anything else in it, RejectedError for a job without weights yet. The part file
    lies beside the folder, hidden, until all is there.
    """
    job_id, _, step = remote_id.partition(":")
    if step and not step.isdigit():
        raise ConfigError(f"{remote_id} names no checkpoint; write {job_id}:STEP, with a step of its checkpoints")
    state = fetch_job(job_id)
    if not step and (state.status is not JobStatus.SUCCEEDED or state.tuned_model is None):
        raise RejectedError(
            f"{job_id} at {backend} is {state.status}; its weights can be downloaded once it has succeeded",
            provider=backend,
        )
    full = (state.hyperparameters.get("training_type") or {}).get("type") == "Full"
    which = f"step-{step}" if step else "model_output_path" if full else "merged" if merged else "adapter"
    folder = folder.expanduser().absolute()
    receipt = {"backend": backend, "job": job_id, "weights": which, "model": state.model, "name": state.tuned_model}
    if (kept := read_download_receipt(folder)) is not None and receipt.items() <= kept.items():
        return folder
    refuse_occupied_weights_folder(folder)
    selector = {"checkpoint_step": int(step)} if step else {"checkpoint": which}
    part = folder.with_name(f".{folder.name}.{job_id}-{which}.part")
    with _alone(part, folder):
        digest = download_together_file(
            lambda headers: content(ft_id=job_id, extra_headers=headers, **selector),
            part,
            f"{backend}/{job_id}/{which}",
            once=once,
            sleep=sleep,
        )
        size = part.stat().st_size
        told = {"archive_bytes": size, "archive_sha256": digest, "downloaded_at": now().isoformat()}
        try:
            with report_data_activity(f"unpacking {part.name}"):
                unpack_weights_archive(part, folder, receipt | told, backend)
        except ProviderError:
            discard_together_download(part)  # damaged or hostile: no use in keeping it
            raise
        discard_together_download(part)
    return folder


@contextmanager
def _alone(part: Path, folder: Path) -> Iterator[None]:
    """Lock the download: two processes that fetch the same weights to the same place would write to one part file."""
    lock = part.with_name(part.name + ".lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held = acquire_file_lock(lock, private=False)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error.strerror}; free space or take another folder") from error
    if held is None:
        raise ConfigError(f"another process is downloading to {folder}; wait for it")
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(held)
