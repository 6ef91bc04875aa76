"""The download half of the Together emulator: archives of weights, by ranges, with an ETag.

Switches: `archive` ("zst", as the service sends, or "gz"), `ranges` (False: it always sends the whole), `etags` (False:
nothing tells one archive from another), `checksums` (True: a Repr-Digest). `weights[kind]`, kind being adapter, merged
or model_output_path, holds {name: content} to send instead of the made-up files; bytes under `archives` an archive.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from typing import Any

from tuneport.testing.emulators.server import Emulator, emulated_route
from tuneport.testing.emulators.together.jobs import EmulatedTogetherJob, emulated_tar, emulated_zstandard
from tuneport.testing.emulators.wire import EmulatedRequest, EmulatedResponse


class EmulatedTogetherWeights(Emulator):
    jobs: dict[str, EmulatedTogetherJob]

    def __init__(self, *, archive: str = "zst", ranges: bool = True, etags: bool = True, checksums: bool = False,
                 **options: Any):  # fmt: skip
        super().__init__(**options)
        self.archive, self.ranges, self.etags, self.checksums = archive, ranges, etags, checksums
        self.weights: dict[str, dict[str, bytes]] = {}
        self.archives: dict[str, bytes] = {}

    def _packed(self, job: EmulatedTogetherJob, kind: str) -> bytes:
        if kind in self.archives:
            return self.archives[kind]
        plain = emulated_tar(self.weights[kind]) if kind in self.weights else job.archives[kind]
        return gzip.compress(plain, mtime=0) if self.archive == "gz" else emulated_zstandard(plain)

    @emulated_route("GET", "/finetune/download", query=("ft_id", "checkpoint_step", "checkpoint"))
    def download(self, request: EmulatedRequest) -> EmulatedResponse:
        job, query = self._job(request.query.get("ft_id")), request.query  # type: ignore[attr-defined]
        if "checkpoint_step" in query:
            kind, known = "model_output_path", [str(point["step"]) for point in job.checkpoints(self.now())]
            found = query["checkpoint_step"] in known
        else:
            kind = query.get("checkpoint", "model_output_path")
            found = kind in job.archives and job.status(self.now()) == "completed"
        if not found:
            raise self.error(400, f"No such checkpoint of {job.id} to download", param="checkpoint")
        content = self._packed(job, kind)
        headers = {"content-type": "application/x-tar" if self.archive == "gz" else "application/octet-stream"}
        digest = hashlib.sha256(content)
        if self.etags:
            headers["etag"] = f'"{digest.hexdigest()[:32]}"'
        if self.checksums:
            headers["repr-digest"] = f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", "")) if self.ranges else None
        if request.headers.get("if-range") not in (None, headers.get("etag")):
            wanted = None  # another file by now: the whole of it
        if self.ranges:
            headers["accept-ranges"] = "bytes"
        if not wanted:
            return EmulatedResponse(content, headers=headers)
        start, end = int(wanted[1]), min(int(wanted[2] or len(content) - 1), len(content) - 1)
        if start > end:
            return EmulatedResponse(status=416, headers={"content-range": f"bytes */{len(content)}"})
        headers["content-range"] = f"bytes {start}-{end}/{len(content)}"
        return EmulatedResponse(content[start : end + 1], 206, headers)
