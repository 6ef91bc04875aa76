"""From an exception to the one line that the user reads: what happened, whose fault it is, what to do next."""

from __future__ import annotations

import errno

import torch

from tuneport.errors import ConfigError, DatasetError, TrainingError, UnsupportedError
from tuneport.types import JobError

_NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")
_NO_SPACE = ("no space left", "disk quota exceeded")


class LossNotFiniteError(TrainingError):
    """The loss became NaN or infinite."""


class RewardError(TrainingError):
    """What judges the answers failed: the user's function or grader."""


def job_error(error: BaseException) -> JobError:
    """`fault` is "user" where another dataset, model or number would help, "provider" where the machine is to blame."""
    text = " ".join(str(error).split())
    match error:
        case DatasetError():
            return JobError(code="invalid_training_file", message=text, param="training_file", fault="user")
        case LossNotFiniteError():
            return JobError(code="loss_not_finite", message=text, param="learning_rate", fault="user")
        case RewardError():
            return JobError(code="reward_failed", message=text, param="reward", fault="user")
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
