"""The upload endpoints of the model hub on 127.0.0.1, as `huggingface_hub` asks for them: repository, preupload, LFS
("basic" transfer), commit. A file counts as there once a commit names it, and its bytes have come."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LFS_FROM_BYTES = 1 << 14


class HubEmulator:
    """`files` is what the repository holds, `private` what was asked for, `requests` each method and path."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.private: dict[str, bool] = {}
        self.files: dict[str, dict[str, bytes]] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.commits = 0
        emulator = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self._answer(*emulator.post(self.path, self.headers.get("Authorization"), self._body()))

            def do_PUT(self) -> None:
                body = self._body()
                emulator.requests.append(f"PUT {self.path}")
                emulator.objects[hashlib.sha256(body).hexdigest()] = body
                self._answer(200, {})

            def _body(self) -> bytes:
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))

            def _answer(self, status: int, content: Any) -> None:
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> HubEmulator:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def post(self, path: str, authorization: str | None, body: bytes) -> tuple[int, Any]:
        path = path.partition("?")[0]
        self.requests.append(f"POST {path}")
        if authorization != f"Bearer {self.token}":
            return 401, {"error": "Invalid username or password."}
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            if name in self.private:
                return 409, {"error": "You already created this model repo", "url": f"{self.url}/{name}"}
            self.private[name] = asked.get("visibility") == "private"
            self.files[name] = {}
            return 200, {"url": f"{self.url}/{name}"}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if path.endswith(".git/info/lfs/objects/batch"):
            objects = [self._upload(row) for row in json.loads(body)["objects"]]
            return 200, {"transfer": "basic", "objects": objects}
        _, _, _, owner, repository, verb, _ = path.split("/")
        files = self.files[f"{owner}/{repository}"]
        if verb == "preupload":
            return 200, {"files": [self._mode(row) for row in json.loads(body)["files"]]}
        assert verb == "commit"
        for line in body.decode().splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            if entry["key"] == "lfsFile":
                files[entry["value"]["path"]] = self.objects[entry["value"]["oid"]]
        self.commits += 1
        oid = f"{self.commits:040x}"
        return 200, {"commitUrl": f"{self.url}/{owner}/{repository}/commit/{oid}", "commitOid": oid}

    def _upload(self, row: dict[str, Any]) -> dict[str, Any]:
        if row["oid"] in self.objects:
            return dict(row)
        return dict(row) | {"actions": {"upload": {"href": f"{self.url}/objects/{row['oid']}"}}}

    def _mode(self, row: dict[str, Any]) -> dict[str, Any]:
        mode = "lfs" if row["size"] >= LFS_FROM_BYTES else "regular"
        return {"path": row["path"], "uploadMode": mode, "shouldIgnore": False, "oid": None}
