"""The files half of the Together emulator: the upload in three steps, and validation that takes its time."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tuneport.testing.emulators.datasets import (
    EmulatedDataError,
    Rows,
    apply_emulated_together_rules,
    emulated_row_texts,
    read_emulated_rows,
)
from tuneport.testing.emulators.server import FORM, Emulator, emulated_route
from tuneport.testing.emulators.timeline import EmulatedTimeline
from tuneport.testing.emulators.wire import EmulatedApiError, EmulatedRequest, EmulatedResponse, emulated_reply

FILE_STATES = ("PENDING", "QUEUED", "RUNNING")


@dataclass(eq=False)
class EmulatedTogetherFile:
    id: str
    filename: str
    purpose: str
    kind: str
    checksum: str
    signature: str
    content: bytes | None = None  # None until the second step of the upload
    timeline: EmulatedTimeline | None = None  # None until the third

    @functools.cached_property
    def validation(self) -> tuple[Rows, str | None, str | None]:
        """Return rows, format and complaint; without a complaint the file is valid."""
        rows: Rows = []
        if self.purpose != "fine-tune" or self.kind != "jsonl":
            return rows, None, None
        try:
            rows = read_emulated_rows(self.content or b"", "Line {line}: the line {what}")
            return rows, apply_emulated_together_rules(rows), None
        except EmulatedDataError as error:
            return rows, None, str(error)

    @property
    def rows(self) -> Rows:
        return self.validation[0]

    @property
    def format(self) -> str | None:
        return self.validation[1]

    @functools.cached_property
    def row_tokens(self) -> list[int]:
        return [sum(len(words) for words in emulated_preview_tokens(row)) for row in self.rows]

    @property
    def tokens(self) -> int:
        return sum(self.row_tokens)

    @property
    def turns(self) -> Rows:
        """Return the messages of a valid file of conversations."""
        return [] if self.validation[2] else [turn for row in self.rows for turn in row.get("messages", [])]

    @property
    def multimodal(self) -> bool:
        return any(isinstance(turn.get("content"), list) for turn in self.turns)

    def status(self, now: float) -> str:
        state = self.timeline.state(now) if self.timeline else "PENDING"
        return state or ("INVALID_FORMAT" if self.validation[2] else "COMPLETED")

    def file_document(self, now: float) -> dict[str, Any]:
        status, (rows, format, complaint) = self.status(now), self.validation
        shown = {
            "id": self.id, "object": "file", "created_at": int(self.timeline.created if self.timeline else now),
            "filename": self.filename, "bytes": len(self.content or b""), "purpose": self.purpose,
            "FileType": self.kind, "Processed": status == "COMPLETED", "processing_status": status,
        }  # fmt: skip
        if status in ("COMPLETED", "INVALID_FORMAT"):
            turns = self.turns
            shown["validation_report"] = {
                "valid": complaint is None, "dataset_format": format.upper() if format else None,
                "nlines": len(rows), "file_id": self.id,
                "error": complaint, "error_type": "INVALID_FORMAT" if complaint else None,
                "dataset_has_tools": any("tools" in row for row in rows),
                "dataset_has_message_weights": any("weight" in turn for turn in turns),
                "dataset_has_sample_weights": any("weight" in row for row in rows),
                "dataset_has_reasoning": any(turn.keys() & {"reasoning", "reasoning_content"} for turn in turns),
                "dataset_has_parallel_tool_calls": any(len(turn.get("tool_calls") or []) > 1 for turn in turns),
                "dataset_is_multimodal": self.multimodal,
            }  # fmt: skip
        return shown


def emulated_preview_tokens(row: dict[str, Any]) -> list[list[str]]:
    """Return the tokens of a row, a list for each text in it. An approximation: the emulator has no model's
    vocabulary."""
    texts = [
        (f"<|{role}|> " if "messages" in row or "input" in row else "") + text for role, text in emulated_row_texts(row)
    ]
    return [_split(text) for text in texts]


def emulated_sequences(row_tokens: Sequence[int], length: int) -> int:
    """Return how many sequences of `length` tokens the rows fill, one after another; a row is not split but cut. How
    Together packs is not published."""
    count, room = 0, 0
    for tokens in (min(tokens, length) for tokens in row_tokens):
        if tokens > room:
            count, room = count + 1, length
        room -= tokens
    return count


def _split(text: str) -> list[str]:
    words = text.split(" ")
    pieces = [word if index == 0 else " " + word for index, word in enumerate(words)]
    return [piece[start : start + 6] for piece in pieces for start in range(0, len(piece), 6)] or [""]


class EmulatedTogetherFiles(Emulator):
    """Switches: `file_lag` (seconds until a new file shows up in lists), `knows_contents` (False: the same content
    again is another file, and an upload that broke off stays as an entry without content)."""

    name, default_key = "together", "tgp-test"
    switches = (*Emulator.switches, "file_lag", "knows_contents")

    def __init__(self, *, file_lag: float = 0.0, knows_contents: bool = True, **options: Any):
        super().__init__(**options)
        self.file_lag, self.knows_contents = file_lag, knows_contents
        self.file_times: dict[str, float] = {}
        self.files: dict[str, EmulatedTogetherFile] = {}

    def refuse_key(self, given: str | None) -> EmulatedApiError:
        message = "Invalid API key provided. You can find your API key at https://api.together.ai/settings/api-keys."
        return self.error(401, message, code="invalid_api_key")

    @emulated_route("POST", "/files", body=FORM)
    def start_upload(self, request: EmulatedRequest) -> EmulatedResponse:
        """Begin an upload: return where to put the bytes. The same content again is 409 with the id of the file that
        has it."""
        form = {name: str(value) for name, value in request.form().items()}
        if missing := [name for name in ("purpose", "file_name", "file_type", "checksum") if name not in form]:
            raise self.error(400, f"{missing[0]} is required", param=missing[0])
        same = [file for file in self.files.values() if file.checksum == form["checksum"] and self.knows_contents]
        if same and same[0].content is not None:
            return emulated_reply({"file_id": same[0].id}, 409)
        if same:  # an upload that broke off is taken up again
            file = same[0]
        else:
            file = EmulatedTogetherFile(self.new_id("file-"), form["file_name"], form["purpose"], form["file_type"],
                                form["checksum"], self.new_id(""))  # fmt: skip
            self.files[file.id] = file
            self.file_times[file.id] = self.now()
        location = f"{self.origin}/_storage/{file.id}?signature={file.signature}"
        return EmulatedResponse(status=302, headers={"location": location, "x-together-file-id": file.id})

    @emulated_route("PUT", "/_storage/{id}", prefix="", needs_key=False, documented=False)
    def put_bytes(self, request: EmulatedRequest, id: str) -> EmulatedResponse:
        """Store the bytes, at the address given before, whose signature stands in for the key."""
        file = self.files.get(id)
        if not file or request.query.get("signature") != file.signature:
            return EmulatedResponse(b"SignatureDoesNotMatch", 403)
        if hashlib.sha256(request.body).hexdigest() != file.checksum:
            return EmulatedResponse(b"BadDigest", 400)
        file.content = request.body
        self.file_times[id] = self.now()
        self.accepted_uploads.append(file.checksum)
        return EmulatedResponse()

    @emulated_route("POST", "/files/{id}/preprocess")
    def preprocess(self, request: EmulatedRequest, id: str) -> dict[str, Any]:
        """Start validation, which takes its time."""
        file = self._file(id)
        if file.timeline is None:
            file.timeline = EmulatedTimeline(FILE_STATES, self.now(), self.pace)
        return file.file_document(self.now())

    def _file(self, id: str | None, param: str = "id") -> EmulatedTogetherFile:
        file = self.files.get(id or "")
        if file is None or (file.content is None and self.knows_contents):
            raise self.error(404, f"File not found: {id}", param=param, code="not_found")
        return file

    @emulated_route("GET", "/files")
    def list_files(self, request: EmulatedRequest) -> dict[str, Any]:
        now = self.now()
        shown = [file for file in self.files.values() if file.content is not None or not self.knows_contents]
        return {"data": [file.file_document(now) for file in shown if now - self.file_times[file.id] >= self.file_lag]}

    @emulated_route("GET", "/files/{id}")
    def retrieve_file(self, request: EmulatedRequest, id: str) -> dict[str, Any]:
        return self._file(id).file_document(self.now())

    @emulated_route("GET", "/files/{id}/content")
    def file_content(self, request: EmulatedRequest, id: str) -> EmulatedResponse:
        return EmulatedResponse(self._file(id).content or b"", headers={"content-type": "application/octet-stream"})

    @emulated_route("DELETE", "/files/{id}")
    def delete_file(self, request: EmulatedRequest, id: str) -> dict[str, Any]:
        del self.files[self._file(id).id]
        return {"id": id, "deleted": True}
