"""Whether a base model is on this machine: the real client of the hub against a server that answers as the hub does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.support.tiny import tiny_model
from tuneport.backends.local import presence
from tuneport.backends.local.presence import describe_download, find_base_model_presence

pytest.importorskip("huggingface_hub", reason="it is asked by the hub's client")
QWEN, HUB_QWEN = "qwen2.5-0.5b-instruct", "Qwen/Qwen2.5-0.5B-Instruct"
FILES = {"config.json": 700, "model.safetensors": 988_000_000, "tokenizer.json": 7_000_000, "model.onnx": 10**12}
LLAMA, HUB_LLAMA = "llama-3.1-8b-instruct", "meta-llama/Llama-3.1-8B-Instruct"


class Hub(BaseHTTPRequestHandler):
    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        name, _, rest = self.path.removeprefix("/api/models/").partition("?")
        if name == f"{HUB_LLAMA}/auth-check":
            self._answer(403, {"error": "gated"}, code="GatedRepo")
        elif name in (HUB_QWEN, HUB_LLAMA, "me/gguf"):
            sizes = {"model.gguf": 5} if name == "me/gguf" else FILES
            files = [{"rfilename": file, "size": bytes_} for file, bytes_ in sizes.items()]
            gated = "manual" if name == HUB_LLAMA else False
            self._answer(200, {"id": name, "sha": "0" * 40, "siblings": files, "gated": gated, "tags": []})
        else:
            self._answer(404, {"error": "Repository not found"}, code="RepoNotFound")

    def _answer(self, status: int, document: object, *, code: str = "") -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """The paths that the hub is asked for."""
    from huggingface_hub import constants

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(presence, "_ANSWERS", {})
    monkeypatch.setattr(Hub, "asked", [])
    yield Hub.asked
    server.shutdown()
    server.server_close()


def test_a_folder_is_here_and_nothing_is_asked(tmp_path: Path, hub: list[str]) -> None:
    found = find_base_model_presence(str(tiny_model(tmp_path / "tiny")), home=tmp_path, ask_hub=True)
    assert found.here and not found.refusal and hub == []


def test_the_hub_says_how_much_is_downloaded_and_is_asked_once(tmp_path: Path, hub: list[str]) -> None:
    for _ in range(2):
        found = find_base_model_presence(QWEN, home=tmp_path, ask_hub=True)
    assert (found.here, found.refusal) == (False, "") and found.download_bytes == 995_000_700
    assert describe_download(QWEN, found.download_bytes) == (
        f"the weights of {QWEN} are not on this machine and are downloaded first (about 995 MB)"
    )
    assert [path for path in hub if path.startswith("/api/models/")] == [f"/api/models/{HUB_QWEN}?blobs=true"]


def test_without_asking_the_size_is_that_of_sixteen_bits_a_weight(tmp_path: Path, hub: list[str]) -> None:
    found = find_base_model_presence(QWEN, home=tmp_path)
    assert not found.here and not found.refusal and hub == []
    assert found.download_bytes == pytest.approx(0.49e9 * 2, rel=0.02)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("Qwen/Qwen2.5-0.5B-Instuct", f"; did you mean {HUB_QWEN}?"),
        ("opneai/gpt-4.1", "; did you mean openai/gpt-4.1?"),
        ("nobody/nothing", "has no model of that name: correct it, or give a folder"),
        ("me/gguf", "has no *.safetensors: name another model"),
        (LLAMA, f"{HUB_LLAMA} is gated: accept its terms there and set HF_TOKEN"),
    ],
)
def test_what_the_hub_does_not_give_is_refused(model: str, told: str, tmp_path: Path) -> None:
    refusal = find_base_model_presence(model, home=tmp_path, ask_hub=True).refusal
    assert refusal.startswith(f"the weights of {model}") and told in refusal
    assert "hf download" in refusal


def test_without_a_network_the_line_to_get_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert find_base_model_presence(LLAMA, home=tmp_path, ask_hub=True).refusal == (
        f"the weights of {LLAMA} (about 16.1 GB) are not on this machine, and http://127.0.0.1:9 cannot be reached "
        "(ConnectError): connect, or give a folder with them as the model "
        f"(`hf download {HUB_LLAMA} --local-dir FOLDER`)"
    )
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    refusal = find_base_model_presence(LLAMA, home=tmp_path).refusal
    assert (
        "(about 16.1 GB) are not on this machine, and HF_HUB_OFFLINE forbids to download them: unset it, or" in refusal
    )


def test_what_is_no_name_of_the_hub_is_told_as_it_is(tmp_path: Path, hub: list[str]) -> None:
    refusal = find_base_model_presence(str(tmp_path), home=tmp_path, ask_hub=True).refusal
    assert "holds no model" in refusal and hub == []
