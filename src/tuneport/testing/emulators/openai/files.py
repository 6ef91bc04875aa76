"""The files and uploads half of the OpenAI emulator, and what both halves need: its 401, cursor pages, 404s.

Bad files are accepted here, as at the service: the job that uses one fails later.

Switches: `file_lag` (seconds until a new file shows up in lists), `files_page` (files on a page at the most),
`upload_lifetime` (seconds until an upload that is not completed expires).
"""

from __future__ import annotations

import hashlib
from typing import Any

from tuneport.testing.emulators.server import FORM, JSON, Emulator, emulated_route
from tuneport.testing.emulators.wire import EmulatedApiError, EmulatedFormFile, EmulatedRequest, EmulatedResponse

MOST_PART_BYTES = 64 * 2**20


class EmulatedOpenAIFiles(Emulator):
    name, default_key, base_path = "openai", "sk-test", "/v1"
    switches = (*Emulator.switches, "file_lag", "files_page", "upload_lifetime")

    def __init__(
        self, *, file_lag: float = 0.0, files_page: int = 10_000, upload_lifetime: float = 3600, **options: Any
    ):
        super().__init__(**options)
        self.file_lag, self.files_page, self.upload_lifetime = file_lag, files_page, upload_lifetime
        self.files: dict[str, dict[str, Any]] = {}
        self.contents: dict[str, bytes] = {}
        self.uploads: dict[str, dict[str, Any]] = {}
        self.file_times: dict[str, float] = {}

    def refuse_key(self, given: str | None) -> EmulatedApiError:
        if not given:
            message = "You didn't provide an API key. You need to provide your API key in an Authorization header "
            return self.error(401, message + "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).")
        shown = f"{given[:7]}{'*' * max(0, len(given) - 11)}{given[-4:]}" if len(given) > 11 else "*" * len(given)
        message = f"Incorrect API key provided: {shown}. You can find your API key at "
        return self.error(401, message + "https://platform.openai.com/account/api-keys.", code="invalid_api_key")

    def missing(self, param: str) -> EmulatedApiError:
        message = f"Missing required parameter: '{param}'."
        return self.error(400, message, param=param, code="missing_required_parameter")

    def _add_file(self, filename: str, purpose: str, content: bytes, lifetime: int | None = None) -> dict[str, Any]:
        created = int(self.now())
        file: dict[str, Any] = {
            "id": self.new_id("file-"), "object": "file", "bytes": len(content), "created_at": created,
            "filename": filename, "purpose": purpose, "status": "processed",
        }  # fmt: skip
        if lifetime:
            file["expires_at"] = created + lifetime
        if purpose == "fine-tune":
            self.accepted_uploads.append(hashlib.sha256(content).hexdigest())
        self.files[file["id"]], self.contents[file["id"]] = file, content
        self.file_times[file["id"]] = self.now()
        return file

    def _find(self, things: dict[str, Any], id: str, message: str, param: str = "id", code: str | None = None) -> Any:
        if id not in things:
            raise self.error(404, message, param=param, code=code)
        return things[id]

    def _page(
        self, request: EmulatedRequest, things: list[dict[str, Any]], limit: int = 20, most: int = 10_000
    ) -> dict[str, Any]:
        after, limit = request.query.get("after"), min(most, int(request.query.get("limit", limit)))
        ids = [thing["id"] for thing in things]
        if after and after not in ids:
            raise self.error(400, f"Invalid value for 'after': {after}", param="after")
        things = things[ids.index(after) + 1 :] if after else things
        return {"object": "list", "data": things[:limit], "has_more": len(things) > limit}

    def _file(self, id: str) -> dict[str, Any]:
        file: dict[str, Any] = self._find(self.files, id, f"No such File object: {id}")
        return file

    @emulated_route("POST", "/files", body=FORM)
    def create_file(self, request: EmulatedRequest) -> dict[str, Any]:
        form = request.form()
        file = form.get("file")
        if not isinstance(file, EmulatedFormFile) or not form.get("purpose"):
            raise self.missing("file" if form.get("purpose") else "purpose")
        lifetime = int(str(form.get("expires_after[seconds]", 0))) or None
        return self._add_file(file.filename, str(form["purpose"]), file.content, lifetime)

    @emulated_route("GET", "/files", query=("purpose", "limit", "order", "after"))
    def list_files(self, request: EmulatedRequest) -> dict[str, Any]:
        purpose = request.query.get("purpose")
        files = [file for file in self.files.values() if purpose in (None, file["purpose"])]
        files = [file for file in files if self.now() - self.file_times[file["id"]] >= self.file_lag]
        files = files if request.query.get("order") == "asc" else files[::-1]
        page = self._page(request, files, limit=10_000, most=self.files_page)
        ids = [file["id"] for file in page["data"]] or [""]
        return {**page, "first_id": ids[0], "last_id": ids[-1]}

    @emulated_route("GET", "/files/{id}")
    def retrieve_file(self, request: EmulatedRequest, id: str) -> dict[str, Any]:
        return self._file(id)

    @emulated_route("DELETE", "/files/{id}")
    def delete_file(self, request: EmulatedRequest, id: str) -> dict[str, Any]:
        self._file(id)
        del self.files[id], self.contents[id]
        return {"id": id, "object": "file", "deleted": True}

    @emulated_route("GET", "/files/{id}/content")
    def file_content(self, request: EmulatedRequest, id: str) -> EmulatedResponse:
        self._file(id)
        return EmulatedResponse(self.contents[id], headers={"content-type": "application/octet-stream"})

    @emulated_route("POST", "/uploads", body=JSON)
    def create_upload(self, request: EmulatedRequest) -> dict[str, Any]:
        given = request.json()
        if missing := [name for name in ("bytes", "filename", "mime_type", "purpose") if name not in given]:
            raise self.missing(missing[0])
        created = int(self.now())
        upload = {"id": self.new_id("upload_"), "object": "upload", "bytes": given["bytes"], "created_at": created,
                  "filename": given["filename"], "purpose": given["purpose"], "status": "pending",
                  "expires_at": created + int(self.upload_lifetime), "file": None}  # fmt: skip
        lifetime = (given.get("expires_after") or {}).get("seconds")
        until = self.now() + self.upload_lifetime
        self.uploads[upload["id"]] = {"upload": upload, "parts": {}, "lifetime": lifetime, "until": until}
        return upload

    def _pending(self, id: str) -> dict[str, Any]:
        state: dict[str, Any] = self._find(self.uploads, id, f"No such Upload object: {id}")
        if state["upload"]["status"] == "pending" and self.now() >= state["until"]:
            state["upload"]["status"] = "expired"
        if state["upload"]["status"] != "pending":
            raise self.error(400, f"Upload {id} is {state['upload']['status']}.")
        return state

    @emulated_route("POST", "/uploads/{id}/parts", body=FORM)
    def add_part(self, request: EmulatedRequest, id: str) -> dict[str, Any]:
        state, data = self._pending(id), request.form().get("data")
        if not isinstance(data, EmulatedFormFile):
            raise self.missing("data")
        if len(data.content) > MOST_PART_BYTES:
            raise self.error(400, f"A part has at most {MOST_PART_BYTES} bytes, not {len(data.content)}.", param="data")
        part = {"id": self.new_id("part_"), "object": "upload.part", "created_at": int(self.now()), "upload_id": id}
        state["parts"][part["id"]] = data.content
        return part

    @emulated_route("POST", "/uploads/{id}/complete", body=JSON)
    def complete_upload(self, request: EmulatedRequest, id: str) -> dict[str, Any]:
        state, given = self._pending(id), request.json()
        upload: dict[str, Any] = state["upload"]
        if unknown := [part for part in given.get("part_ids", []) if part not in state["parts"]]:
            raise self.error(400, f"No such Part object: {unknown[0]}", param="part_ids")
        content = b"".join(state["parts"][part] for part in given.get("part_ids", []))
        if len(content) != upload["bytes"]:
            message = f"The parts hold {len(content)} bytes, the upload was to have {upload['bytes']}."
            raise self.error(400, message, param="part_ids")
        if given.get("md5") not in (None, hashlib.md5(content).hexdigest()):
            raise self.error(400, "The md5 checksum does not match the uploaded content.", param="md5")
        file = self._add_file(upload["filename"], upload["purpose"], content, state["lifetime"])
        upload.update(status="completed", file=file)
        return upload

    @emulated_route("POST", "/uploads/{id}/cancel")
    def cancel_upload(self, request: EmulatedRequest, id: str) -> dict[str, Any]:
        upload: dict[str, Any] = self._pending(id)["upload"]
        upload["status"] = "cancelled"
        return upload
