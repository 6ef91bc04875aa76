"""Translates an exception into the one line that the user reads: what happened, whose fault it is, what to do next."""

from __future__ import annotations

import errno

from tuneport.digests import DamagedError
from tuneport.errors import ConfigError, DatasetError, TrainingError, UnsupportedError
from tuneport.train.run.checkpoint_integrity import CheckpointsDamagedError, UnusableCheckpointError
from tuneport.train.run.gradient_watch import GradientNotFiniteError, LossNotFiniteError
from tuneport.train.speed.memory_retry import (
    OneRowDoesNotFitError,
    explain_full_gpu,
    is_training_out_of_memory,
    training_gpu_memory,
)
from tuneport.types import JobError

NO_WHOLE_CHECKPOINT = "no_whole_checkpoint"
UNUSABLE_CHECKPOINT = "unusable_checkpoint"
_NO_SPACE = ("no space left", "disk quota exceeded", "pytorchstreamwriter failed writing", "unexpected pos ")
"""The last two are torch's, whose writer does not say why it could not write."""


class RewardError(TrainingError):
    """The reward failed: the user's function or grader."""


def training_job_error(error: BaseException) -> JobError:
    """Describe an error. `fault` is "user" if another dataset, model or number would help, "provider" if the machine is
    to blame."""
    text = " ".join(str(error).split())
    match error:
        case DatasetError():
            return JobError(code="invalid_training_file", message=text, param="training_file", fault="user")
        case LossNotFiniteError():
            return JobError(code="loss_not_finite", message=text, param="learning_rate", fault="user")
        case GradientNotFiniteError():
            return JobError(code="gradient_not_finite", message=text, param="learning_rate", fault="user")
        case OneRowDoesNotFitError():
            return _gpu_full(text) or JobError(code="out_of_memory", message=text, fault="user")
        case RewardError():
            return JobError(code="reward_failed", message=text, param="reward", fault="user")
        case DamagedError():
            return JobError(code="damaged_file", message=text, fault="provider", retryable=True)
        case CheckpointsDamagedError():
            return JobError(code=NO_WHOLE_CHECKPOINT, message=text, fault="provider", retryable=True)
        case UnusableCheckpointError():
            return JobError(code=UNUSABLE_CHECKPOINT, message=text, param=str(error.step), fault="provider")
        case ConfigError():
            return JobError(code="invalid_config", message=text, fault="user")
        case UnsupportedError():
            return JobError(code="unsupported", message=text, fault="user")
        case OSError() if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _no_space(text)
    if is_training_out_of_memory(error):
        message = f"the model does not fit in memory; use the adapter qlora or a smaller model ({text[:200]})"
        return _gpu_full(text) or JobError(code="out_of_memory", message=message, fault="user")
    if any(part in text.lower() for part in _NO_SPACE):
        return _no_space(text)
    message = f"training stopped with {type(error).__name__}: {text[:500]}; the run's log.txt has the details"
    return JobError(code="training_failed", message=message, fault="provider")


def _gpu_full(text: str) -> JobError | None:
    memory = training_gpu_memory()
    told = None if memory is None else explain_full_gpu(*memory)
    if told is None:
        return None
    return JobError(code="out_of_memory", message=f"{told} ({text[:200]})", fault="provider", retryable=True)


def _no_space(text: str) -> JobError:
    message = (
        f"no disk space left while saving ({text[:200]}); make room, then resume the job: it goes on from its last "
        "checkpoint"
    )
    return JobError(code="no_disk_space", message=message, fault="provider", retryable=True)
