"""From an exception to the one line that the user reads: what happened, whose fault it is, what to do next."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any

import psutil
import torch

from tuneport.base_models import Device
from tuneport.errors import ConfigError, DatasetError, TrainingError, UnsupportedError
from tuneport.training_options import TrainingOptions
from tuneport.types import JobError

_NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")
_NO_SPACE = ("no space left", "disk quota exceeded")


class LossNotFiniteError(TrainingError):
    """The loss became NaN or infinite."""


class TooLargeError(TrainingError):
    """The run needs more memory than there is."""


def refuse_too_large(need: Mapping[str, Any], device: Device, options: TrainingOptions) -> None:
    """TooLargeError, before anything is loaded, where the estimate that came with the request does not fit now.

    `need` has `expected_gib` and `advice`; without an estimate nothing is refused.
    """
    if not need or options.allow_oversize:
        return
    if device.name == "cuda":
        free = torch.cuda.mem_get_info()[0] / 2**30
    else:  # Apple's GPUs share main memory
        free = psutil.virtual_memory().available / 2**30
    if need["expected_gib"] > free:
        raise TooLargeError(
            f"training needs about {need['expected_gib']:.1f} GiB and {free:.1f} are free on {device.name}; "
            f"{need['advice']}"
        )


def job_error(error: BaseException) -> JobError:
    """`fault` is "user" where another dataset, model or number would help, "provider" where the machine is to blame."""
    text = " ".join(str(error).split())
    match error:
        case DatasetError():
            return JobError(code="invalid_training_file", message=text, param="training_file", fault="user")
        case LossNotFiniteError():
            return JobError(code="loss_not_finite", message=text, param="learning_rate", fault="user")
        case TooLargeError():
            return JobError(code="out_of_memory", message=text, fault="user")
        case ConfigError():
            return JobError(code="invalid_config", message=text, fault="user")
        case UnsupportedError():
            return JobError(code="unsupported", message=text, fault="user")
        case OSError() if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _no_space(text)
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or any(part in text.lower() for part in _NO_MEMORY):
        message = (
            "the model and a batch do not fit in memory; lower batch_size, use the adapter qlora or a smaller model"
        )
        return JobError(code="out_of_memory", message=f"{message} ({text[:200]})", fault="user")
    if any(part in text.lower() for part in _NO_SPACE):
        return _no_space(text)
    message = f"training stopped with {type(error).__name__}: {text[:500]}; the run's log.txt has the details"
    return JobError(code="training_failed", message=message, fault="provider")


def _no_space(text: str) -> JobError:
    message = f"no disk space left while saving ({text[:200]}); free some and submit the job again"
    return JobError(code="no_disk_space", message=message, fault="provider", retryable=True)
