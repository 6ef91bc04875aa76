"""A server that speaks OpenAI's chat format and vLLM's way to load adapters, with our own engine behind it.

    python -m tests.support.vllm serve MODEL --host 127.0.0.1 --port 8000 --served-model-name NAME ...

takes the options of `vllm serve` that tuneport passes, and refuses any other.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from tuneport.errors import TuneportError
from tuneport.infer.engine import InferenceEngine
from tuneport.infer.protocol import InferenceService, inference_failure
from tuneport.infer_protocol import (
    Called,
    Cancel,
    Complete,
    Delta,
    Done,
    Failed,
    GeneratedAnswer,
    LoadAdapter,
    Reply,
    Request,
)


class Answerer:
    """Runs the engine in one thread for the handlers of many."""

    def __init__(self, engine: InferenceEngine) -> None:
        self.engine = engine
        self._service = InferenceService(engine)
        self._inbox: SimpleQueue[tuple[Request, SimpleQueue[Reply]]] = SimpleQueue()
        self.requests: list[dict[str, Any]] = []
        self.cancelled = 0
        threading.Thread(target=self._run, daemon=True).start()

    def ask(self, request: Request) -> SimpleQueue[Reply]:
        answers: SimpleQueue[Reply] = SimpleQueue()
        self._inbox.put((request, answers))
        return answers

    def _run(self) -> None:
        while True:
            try:
                while True:
                    request, answers = self._inbox.get(block=not self._service.busy)
                    self.cancelled += isinstance(request, Cancel)
                    try:
                        self._service.accept_request(request, answers.put)
                    except TuneportError as error:
                        answers.put(inference_failure(error))
            except Empty:
                self._service.step()


def _usage(done: GeneratedAnswer) -> dict[str, int]:
    total = done.prompt_tokens + done.completion_tokens
    return {"prompt_tokens": done.prompt_tokens, "completion_tokens": done.completion_tokens, "total_tokens": total}


class Handler(BaseHTTPRequestHandler):
    server: ChatEmulator
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        if self.path == "/health":
            self._send(200, {})
        elif self._allowed() and self.path == "/v1/models":
            rows = [{"id": self.server.name, "object": "model", "root": str(self.server.model)}]
            rows += [{"id": name, "object": "model", "root": folder} for name, folder in self.server.adapters.items()]
            self._send(200, {"object": "list", "data": rows})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._allowed():
            return
        if self.path == "/v1/load_lora_adapter":
            name, folder = body["lora_name"], body["lora_path"]
            answer = self.server.answerer.ask(LoadAdapter(name=name, folder=folder)).get()
            if isinstance(answer, Failed):
                self._fail(400, answer.message)
                return
            self.server.adapters[name] = folder
            self._send(200, f"Success: LoRA adapter '{name}' added successfully.")
        elif self.path == "/v1/chat/completions":
            self._complete(body)

    def _complete(self, body: dict[str, Any]) -> None:
        self.server.answerer.requests.append(body)
        name = body["model"]
        if name != self.server.name and name not in self.server.adapters:
            self._fail(404, f"The model `{name}` does not exist.")
            return
        number = f"chatcmpl-{id(body)}"
        wishes = ("tools", "max_tokens", "temperature", "top_p", "stop", "seed")
        adapter = None if name == self.server.name else name
        given = {wish: body[wish] for wish in wishes if wish in body}
        request = Complete(
            id=number, conversations=[body["messages"]], adapter=adapter, stream=body.get("stream"), **given
        )
        answers = self.server.answerer.ask(request)
        if body.get("stream"):
            self._stream(number, name, answers, body.get("stream_options"))
            return
        done = answers.get()
        if isinstance(done, Failed):
            self._fail(400, done.message)
            return
        assert isinstance(done, GeneratedAnswer)
        message = {"role": "assistant", "content": done.text, "tool_calls": done.tool_calls or None}
        choice, usage = {"index": 0, "message": message, "finish_reason": done.finish_reason}, _usage(done)
        self._send(200, {"id": number, "object": "chat.completion", "model": name, "choices": [choice], "usage": usage})

    def _stream(self, number: str, name: str, answers: SimpleQueue[Reply], options: dict[str, Any] | None) -> None:
        first = answers.get()
        if isinstance(first, Failed):
            self._fail(400, first.message)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        answer = first
        try:
            while not isinstance(answer, Done):
                delta: dict[str, Any] = {"content": answer.text} if isinstance(answer, Delta) else {}
                if isinstance(answer, Called):
                    delta = {"tool_calls": [{"index": 0, **answer.call}]}
                reason = answer.finish_reason if isinstance(answer, GeneratedAnswer) else None
                choice = {"index": 0, "delta": delta, "finish_reason": reason}
                chunk = {"id": number, "object": "chat.completion.chunk", "model": name, "choices": [choice]}
                self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
                self.wfile.flush()
                if self.server.breaks_off:
                    self.server.answerer.ask(Cancel(request=number))
                    self.close_connection = True
                    return
                last, answer = answer, answers.get()
            if (options or {}).get("include_usage"):
                assert isinstance(last, GeneratedAnswer)
                chunk = {"id": number, "object": "chat.completion.chunk", "model": name, "choices": []}
                chunk["usage"] = _usage(last)
                self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            self.server.answerer.ask(Cancel(request=number))
        self.close_connection = True

    def _allowed(self) -> bool:
        if self.server.key is None or self.headers.get("Authorization") == f"Bearer {self.server.key}":
            return True
        self._fail(401, "Unauthorized")
        return False

    def _fail(self, status: int, message: str) -> None:
        self._send(status, {"error": {"message": message, "type": "invalid_request_error", "code": status}})

    def _send(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class ChatEmulator(ThreadingHTTPServer):
    daemon_threads = True
    breaks_off = False

    def __init__(self, model: Path, name: str, *, port: int = 0, key: str | None = None) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        from tuneport.base_models import BaseModelDevice

        self.model, self.name, self.key = model, name, key
        self.adapters: dict[str, str] = {}
        self.answerer = Answerer(InferenceEngine(model, BaseModelDevice("cpu", "fp32")))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("model", type=Path)
    parser.add_argument("--host", required=True, choices=["127.0.0.1"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--served-model-name", required=True)
    parser.add_argument("--enable-lora", action="store_true", required=True)
    parser.add_argument("--max-lora-rank", type=int, choices=[1, 8, 16, 32, 64, 128, 256, 320, 512], required=True)
    parser.add_argument("--enable-auto-tool-choice", action="store_true")
    parser.add_argument("--tool-call-parser")
    arguments = parser.parse_args()
    assert os.environ["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"
    key = os.environ["VLLM_API_KEY"]
    print(f"pid {os.getpid()}", flush=True)
    ChatEmulator(arguments.model, arguments.served_model_name, port=arguments.port, key=key).serve_forever()


if __name__ == "__main__":
    main()
