"""The routes /v1/files and /v1/uploads: uploads are streamed to the disk and identified by their hash."""

from __future__ import annotations

import hashlib
import logging
import re
from typing import Annotated, Any, Literal, get_args
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from tuneport.data.containers.unpacking import PACKED
from tuneport.lifecycle.contents.contents import ContentGoneError, IncomingContent, read_stored_content_blocks
from tuneport.lifecycle.schema.records import FileRecord, UploadRecord
from tuneport.serve.documents.openai_words import openai_document_timestamp
from tuneport.serve.gateway import Gateway
from tuneport.serve.http.errors import Refusal, gateway_not_found_refusal, gateway_refusal_for_validation
from tuneport.serve.http.multipart import read_multipart_form
from tuneport.serve.http.queries import StrictRoute
from tuneport.serve.wire import (
    CompleteUpload,
    CreateUpload,
    DeletedFile,
    ExpiresAfter,
    File,
    FileList,
    Upload,
    UploadPart,
)
from tuneport.serve.wire.files import FilePurposeAsked

MAX_FILE_BYTES = 512 * 2**20
MAX_UPLOAD_BYTES = 8 * 2**30
MAX_PART_BYTES = 64 * 2**20
"""OpenAI's size limits of a file, of an upload in parts, and of a part."""
log = logging.getLogger(__name__)

_EXPIRY = re.compile(r"expires_after\[(\w+)\]")


def router(gateway: Gateway) -> APIRouter:
    contents = gateway.contents
    routes = APIRouter(prefix="/v1", tags=["Files"], route_class=StrictRoute)

    @routes.post("/files", response_model=File, response_model_exclude_none=True, openapi_extra=_FILE_FORM)
    async def create_file(request: Request) -> File:
        """Upload a file, streamed to the disk. Each record is one whole line of JSON, in any format that tuneport
        reads."""
        form = await read_multipart_form(request, contents, file_field="file", max_bytes=MAX_FILE_BYTES)
        try:
            if form.file is None:
                raise Refusal(400, "'file' is a required property", param="file", code="missing_required_parameter")
            purpose = form.fields.pop("purpose", None)
            expires_after = _expiry(form.fields)
            if form.fields:
                name = next(iter(form.fields))
                raise Refusal(400, f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
            _check_purpose(purpose)
            check_client_upload_name(form.filename, form.file.bytes)
            seconds = None if expires_after is None else expires_after.seconds
            return await run_in_threadpool(store_client_file, gateway, form.file, form.filename, seconds)
        finally:
            form.close()

    @routes.get("/files", response_model=FileList, response_model_exclude_none=True)
    def list_files(
        purpose: str | None = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
        order: Literal["asc", "desc"] = "desc",
        after: str | None = None,
    ) -> FileList:
        """List the uploaded files and the results of jobs."""
        cursor = None if after is None else _file(gateway, after)
        rows, more = gateway.store.uploaded.page(limit=limit, after=cursor, purpose=purpose, descending=order == "desc")
        data = [openai_file_document(row) for row in rows]
        first, last = (data[0].id, data[-1].id) if data else ("", "")
        return FileList(data=data, first_id=first, last_id=last, has_more=more)

    @routes.get("/files/{file_id}", response_model=File, response_model_exclude_none=True)
    def retrieve_file(file_id: str) -> File:
        return openai_file_document(_file(gateway, file_id))

    @routes.get("/files/{file_id}/content", response_class=StreamingResponse)
    def file_content(file_id: str) -> StreamingResponse:
        """Return the file's bytes as they were sent."""
        row = _file(gateway, file_id)
        headers = {
            "Content-Length": str(row.bytes),
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(row.filename, safe='')}",
            "X-Content-Type-Options": "nosniff",
        }
        try:
            # Opened now, so that it can be read to its end even if it is deleted meanwhile.
            opened = contents.fetch_content(row.sha256).open("rb")
        except (ContentGoneError, FileNotFoundError) as error:
            log.warning("%s: %s", file_id, error)
            raise Refusal(404, f"The content of {file_id} is gone from the gateway.") from None
        return StreamingResponse(
            read_stored_content_blocks(opened), media_type="application/octet-stream", headers=headers
        )

    @routes.delete("/files/{file_id}", response_model=DeletedFile)
    def delete_file(file_id: str) -> DeletedFile:
        """Delete a file. Jobs that were started with it go on: they have a copy of their own."""
        _file(gateway, file_id)
        with contents.lock_contents():
            unneeded = gateway.store.uploaded.remove(file_id)
            if unneeded is not None:
                contents.remove(unneeded)
        return DeletedFile(id=file_id, deleted=True)

    # --- in parts ---------------------------------------------------------------------------------------------------

    @routes.post("/uploads", response_model=Upload, response_model_exclude_none=True, tags=["Uploads"])
    def create_upload(asked: CreateUpload) -> Upload:
        """Begin to upload a large file in parts. It becomes a file once it is completed, within an hour."""
        if asked.bytes > MAX_UPLOAD_BYTES:
            raise Refusal(400, f"'bytes' is above {MAX_UPLOAD_BYTES:,}.", param="bytes", code="invalid_value")
        _check_purpose(asked.purpose)
        check_client_upload_name(asked.filename, asked.bytes)
        seconds = None if asked.expires_after is None else asked.expires_after.seconds
        return openai_upload_document(
            gateway.store.uploads.add(
                filename=asked.filename, purpose=asked.purpose, bytes=asked.bytes, file_seconds=seconds
            )
        )

    @routes.post("/uploads/{upload_id}/parts", response_model=UploadPart, openapi_extra=_PART_FORM, tags=["Uploads"])
    async def add_part(upload_id: str, request: Request) -> UploadPart:
        """Upload a part of at most 64 MB. Several parts may be sent at once, in any order."""
        await run_in_threadpool(_pending, gateway, upload_id)
        form = await read_multipart_form(request, contents, file_field="data", max_bytes=MAX_PART_BYTES)
        try:
            if form.file is None:
                raise Refusal(400, "'data' is a required property", param="data", code="missing_required_parameter")
            return await run_in_threadpool(_keep_part, gateway, upload_id, form.file)
        finally:
            form.close()

    @routes.post(
        "/uploads/{upload_id}/complete", response_model=Upload, response_model_exclude_none=True, tags=["Uploads"]
    )
    def complete_upload(upload_id: str, asked: CompleteUpload) -> Upload:
        """Join the parts in the given order. If size or md5 are not those announced, the request is refused and the
        upload stays pending."""
        there = gateway.store.uploads.get(upload_id)
        if (
            there is not None
            and there.status == "completed"
            and (file := gateway.store.uploaded.get(there.file_id or ""))
        ):
            return openai_upload_document(there, file)  # the answer to the first try was lost
        row = _pending(gateway, upload_id)
        parts = gateway.store.uploads.list_upload_parts(upload_id)
        if len(set(asked.part_ids)) != len(asked.part_ids):
            raise Refusal(400, "A part is named twice.", param="part_ids", code="invalid_value")
        for part_id in asked.part_ids:
            if part_id not in parts:
                raise Refusal(400, f"No part '{part_id}' in {upload_id}.", param="part_ids", code="invalid_value")
            if not contents.has_content(parts[part_id].sha256):
                raise Refusal(409, f"The content of {part_id} is gone from the gateway; send the part again.")
        md5 = None if asked.md5 is None else hashlib.md5(usedforsecurity=False)  # slower than all else of it
        named = [parts[part_id].sha256 for part_id in asked.part_ids]
        with contents.concatenate(named, None if md5 is None else md5.update) as joined:
            if joined.bytes != row.bytes:
                raise Refusal(
                    400,
                    f"The parts have {joined.bytes:,} bytes, but the upload announced {row.bytes:,}.",
                    param="bytes",
                )
            if asked.md5 is not None and md5 is not None and md5.hexdigest() != asked.md5.lower():
                raise Refusal(400, f"The md5 of the parts is {md5.hexdigest()}, not {asked.md5}.", param="md5")
            refuse_compressed_upload(joined, row.filename)
            joined.flush()
            with contents.lock_contents():
                done = gateway.store.uploads.complete(upload_id, joined.keep())
        if done is None:
            _pending(gateway, upload_id)
            raise Refusal(409, f"{upload_id} was completed or cancelled meanwhile.")
        return openai_upload_document(done[0], done[1])

    @routes.post(
        "/uploads/{upload_id}/cancel", response_model=Upload, response_model_exclude_none=True, tags=["Uploads"]
    )
    def cancel_upload(upload_id: str) -> Upload:
        _pending(gateway, upload_id)
        row = gateway.store.uploads.cancel(upload_id)
        if row is None:
            raise Refusal(409, f"{upload_id} was completed or cancelled meanwhile.")
        return openai_upload_document(row)

    return routes


def openai_file_document(row: FileRecord) -> File:
    return File(
        id=row.id,
        bytes=row.bytes,
        created_at=openai_document_timestamp(row.created_at),
        expires_at=None if row.expires_at is None else openai_document_timestamp(row.expires_at),
        filename=row.filename,
        purpose=row.purpose,  # type: ignore[arg-type]
    )


def openai_upload_document(row: UploadRecord, file: FileRecord | None = None) -> Upload:
    return Upload(
        id=row.id,
        created_at=openai_document_timestamp(row.created_at),
        filename=row.filename,
        bytes=row.bytes,
        purpose=row.purpose,
        status=row.status,  # type: ignore[arg-type]
        expires_at=openai_document_timestamp(row.expires_at),
        file=None if file is None else openai_file_document(file),
    )


def store_client_file(gateway: Gateway, incoming: IncomingContent, filename: str, seconds: int | None) -> File:
    refuse_compressed_upload(incoming, filename)
    incoming.flush()
    with gateway.contents.lock_contents():
        row = gateway.store.uploaded.add(
            incoming.keep(), filename=filename, purpose="fine-tune", bytes=incoming.bytes, seconds=seconds
        )
    return openai_file_document(row)


def _keep_part(gateway: Gateway, upload_id: str, incoming: IncomingContent) -> UploadPart:
    if gateway.store.uploads.count_part_bytes(upload_id) + incoming.bytes > MAX_UPLOAD_BYTES:
        raise Refusal(400, f"The parts of an upload have at most {MAX_UPLOAD_BYTES:,} bytes together.", param="data")
    incoming.flush()
    with gateway.contents.lock_contents():
        row = gateway.store.uploads.add_part(upload_id, incoming.keep(), incoming.bytes)
    if row is None:
        raise Refusal(409, f"{upload_id} was completed or cancelled meanwhile.")
    return UploadPart(id=row.id, created_at=openai_document_timestamp(row.created_at), upload_id=upload_id)


def _file(gateway: Gateway, file_id: str) -> FileRecord:
    row = gateway.store.uploaded.get(file_id)
    if row is None:
        raise gateway_not_found_refusal(f"No such File object: {file_id}", "id")
    return row


def _pending(gateway: Gateway, upload_id: str) -> UploadRecord:
    row = gateway.store.uploads.get(upload_id)
    if row is None:
        raise gateway_not_found_refusal(f"No such Upload object: {upload_id}", "id")
    if row.status != "pending":
        raise Refusal(400, f"{upload_id} is {row.status}, not pending.", code="invalid_value")
    return row


def _check_purpose(purpose: str | None) -> None:
    if purpose is None:
        raise Refusal(400, "'purpose' is a required property", param="purpose", code="missing_required_parameter")
    if purpose != "fine-tune":
        raise Refusal(
            400, f"'{purpose}' is not one of ['fine-tune']: this gateway keeps files for fine-tuning.", param="purpose"
        )


def refuse_compressed_upload(incoming: IncomingContent, filename: str) -> None:
    """Refuse compressed files, as OpenAI does. They would be unpacked later, and a small file can unpack to
    thousands of times its size."""
    if incoming.start.startswith(tuple(PACKED.values())):
        raise Refusal(
            400,
            f"'{filename}' is compressed; decompress it and upload the rows.",
            param="file",
            code="invalid_file_format",
        )


def check_client_upload_name(filename: str, size: int) -> None:
    if not filename.lower().endswith(".jsonl"):
        raise Refusal(
            400,
            f"Invalid file format for Fine-Tuning API. Must be .jsonl, not '{filename}'; tuneport convert makes one.",
            param="file",
            code="invalid_file_format",
        )
    if size == 0:
        raise Refusal(400, f"'{filename}' is empty.", param="file", code="empty_file")


def _expiry(fields: dict[str, str]) -> ExpiresAfter | None:
    given = {match[1]: fields.pop(name) for name in list(fields) if (match := _EXPIRY.fullmatch(name))}
    if not given:
        return None
    try:
        return ExpiresAfter.model_validate(given, strict=False)  # in a form all values are texts
    except ValidationError as error:
        told = [dict(row) | {"loc": ("body", "expires_after", *row["loc"])} for row in error.errors()]
        raise gateway_refusal_for_validation(told, {"expires_after": given}) from error


def _form(properties: dict[str, Any], required: list[str], filename: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    disposition = {"schema": {"type": "string"}, "example": f'form-data; name="{required[0]}"; filename="{filename}"'}
    encoding = {required[0]: {"headers": {"Content-Disposition": disposition}}}
    content = {"multipart/form-data": {"schema": schema, "encoding": encoding}}
    return {"requestBody": {"required": True, "content": content}}


_BINARY = {"type": "string", "format": "binary"}
_FILE_FORM = _form(
    {
        "file": _BINARY,
        "purpose": {"type": "string", "enum": list(get_args(FilePurposeAsked))},
        "expires_after": ExpiresAfter.model_json_schema(),
    },
    ["file", "purpose"],
    "train.jsonl",
)
_PART_FORM = _form({"data": _BINARY}, ["data"], "part")
