"""OpenAI's objects as the gateway reads and writes them. Names, limits and words are those of the published
document.

Requests refuse unknown fields, so that nothing a client asked for is silently ignored.
"""

from tuneport.serve.wire.base import ResponseModel
from tuneport.serve.wire.files import (
    CompleteUpload,
    CreateUpload,
    DeletedFile,
    ExpiresAfter,
    File,
    FileList,
    Upload,
    UploadPart,
)
from tuneport.serve.wire.jobs import (
    Checkpoint,
    CheckpointList,
    CheckpointMetrics,
    CreateJob,
    Event,
    EventList,
    FineTuningJob,
    IntegrationTold,
    JobFailure,
    JobHyperparameters,
    JobList,
    MethodAsked,
    MethodTold,
)
from tuneport.serve.wire.models import DeletedModel, Model, ModelList

__all__ = [
    "Checkpoint",
    "CheckpointList",
    "CheckpointMetrics",
    "CompleteUpload",
    "CreateJob",
    "CreateUpload",
    "DeletedFile",
    "DeletedModel",
    "Event",
    "EventList",
    "ExpiresAfter",
    "File",
    "FileList",
    "FineTuningJob",
    "IntegrationTold",
    "JobFailure",
    "JobHyperparameters",
    "JobList",
    "MethodAsked",
    "MethodTold",
    "Model",
    "ModelList",
    "ResponseModel",
    "Upload",
    "UploadPart",
]
