"""Files, and uploads in parts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tuneport.serve.wire.base import Integer, RequestModel, ResponseModel

FilePurposeAsked = Literal["fine-tune", "assistants", "batch", "vision", "user_data", "evals"]
UploadPurposeAsked = Literal["fine-tune", "assistants", "batch", "vision"]
"""OpenAI's purposes. This gateway accepts files for fine-tuning, and refuses the others by name."""
Purpose = Literal[
    "fine-tune",
    "fine-tune-results",
    "assistants",
    "assistants_output",
    "batch",
    "batch_output",
    "vision",
    "user_data",
]


class ExpiresAfter(RequestModel):
    anchor: Literal["created_at"]
    seconds: Integer = Field(ge=3600, le=2_592_000)


class File(ResponseModel):
    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None = None
    filename: str
    purpose: Purpose
    status: Literal["uploaded", "processed", "error"] = Field(default="processed", deprecated=True)
    status_details: str | None = Field(default=None, deprecated=True)


class FileList(ResponseModel):
    object: Literal["list"] = "list"
    data: list[File]
    first_id: str
    last_id: str
    has_more: bool


class DeletedFile(ResponseModel):
    id: str
    object: Literal["file"] = "file"
    deleted: bool


class CreateUpload(RequestModel):
    filename: str = Field(min_length=1, max_length=1024)
    purpose: UploadPurposeAsked
    bytes: Integer = Field(gt=0)
    mime_type: str
    expires_after: ExpiresAfter | None = None


class CompleteUpload(RequestModel):
    part_ids: list[str] = Field(min_length=1)
    md5: str | None = None


class Upload(ResponseModel):
    id: str
    object: Literal["upload"] = "upload"
    created_at: int
    filename: str
    bytes: int
    purpose: str
    status: Literal["pending", "completed", "cancelled", "expired"]
    expires_at: int
    file: File | None = None


class UploadPart(ResponseModel):
    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str
