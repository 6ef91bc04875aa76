"""vLLM as the server of local models, if it is installed beside CUDA: `vllm serve`, on loopback, with adapters that are
loaded as they are asked for.

The flags are those of vLLM's documentation (docs.vllm.ai: serve, LoRA adapters, read 2026-11-25).
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2
from pydantic import SecretStr

from tuneport import private
from tuneport.backends.hosted.http.network import ProviderNetwork
from tuneport.backends.local.served_weights import ServedWeights
from tuneport.backends.local.serving.server import ChatServerClient, ServerServedModel
from tuneport.data.running.underway import report_data_activity
from tuneport.errors import ConfigError, RejectedError, TrainingError, UnavailableError
from tuneport.gpus import list_gpus
from tuneport.installation import install_extra

VLLM_COMMAND = (sys.executable, "-m", "vllm.entrypoints.cli.main")
LORA_RANKS = (64, 128, 256, 320, 512)  # what --max-lora-rank takes, from the smallest that most adapters fit
_END_SECONDS = 15.0


def uses_vllm(engine: str, weights: ServedWeights) -> bool:
    """Return whether vLLM answers. `engine` auto: if it is installed, CUDA is there, and it supports the adapter."""
    if engine == "tuneport":
        return False
    if not weights.is_plain_lora or weights.lora_rank > LORA_RANKS[-1]:
        if engine == "vllm":
            raise ConfigError(
                f'vLLM takes plain LoRA adapters only, and {weights.adapter} is none; set engine = "auto"'
            )
        return False
    if engine == "auto" and not (weights.base / "config.json").is_file():
        return False  # a GGUF file that our child converts
    return engine == "vllm" or (importlib.util.find_spec("vllm") is not None and bool(list_gpus().gpus))


class LocalVllmServer:
    """Runs `vllm serve` for one base model. It ends with this process, however that dies (`infer/parent_guard.py`)."""

    def __init__(
        self,
        command: Sequence[str],
        weights: ServedWeights,
        environment: Mapping[str, str],
        folder: Path,
        *,
        load_in_4bit: bool,
        startup_seconds: float,
        silence_seconds: float,
    ) -> None:
        if tuple(command) == VLLM_COMMAND and importlib.util.find_spec("vllm") is None:
            raise ConfigError(
                f'engine = "vllm" needs vLLM in this environment: {install_extra("vllm")}; or take engine out'
            )
        self.weights, self.users = weights, 0
        self.most_rank = next(rank for rank in LORA_RANKS if rank >= weights.lora_rank)
        port = _free_port()
        # Other users of this machine reach the port too.
        key = secrets.token_hex(16)
        arguments = [
            *("serve", str(weights.base), "--host", "127.0.0.1", "--port", str(port)),
            *("--served-model-name", weights.key, "--enable-lora", "--max-lora-rank", str(self.most_rank)),
            # The format in which tools are shown to models whose template has none (data/templates/chat_template.py).
            *("--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
            *(("--quantization", "bitsandbytes") if load_in_4bit else ()),
        ]
        self._log: deque[str] = deque(maxlen=50)
        self._adapters: set[str] = set()
        self._lock = threading.Lock()
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "tuneport.infer.parent_guard", "--", *command, *arguments],
                cwd=folder,
                env=dict(environment) | {"VLLM_API_KEY": key, "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=private.CHILD_UMASK,
            )
        except OSError as error:
            raise TrainingError(f"vLLM for {weights.key} cannot be started: {error}") from error
        self._parent = os.getpid()
        atexit.register(self.close)
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        self.server = ChatServerClient(
            f"http://127.0.0.1:{port}/v1", SecretStr(key), silence_seconds=silence_seconds, direct=True
        )
        try:
            with report_data_activity(f"loading {weights.key}"):
                self._await_ready(f"http://127.0.0.1:{port}/health", startup_seconds)
        except BaseException:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        return self._child.poll() is None

    def serve_model(self, weights: ServedWeights) -> ServerServedModel:
        """Return the base model, or an adapter of it, which is loaded if needed."""
        if weights.adapter is None:
            return ServerServedModel(self.server, weights.key)
        name = weights.name
        with self._lock:
            if name not in self._adapters:
                try:
                    self.server.post("/load_lora_adapter", {"lora_name": name, "lora_path": str(weights.adapter)})
                except RejectedError as error:
                    message = f"vLLM does not take the adapter in {weights.adapter}: {error}"
                    raise RejectedError(message, provider="local", http_status=error.http_status) from error
                self._adapters.add(name)
        return ServerServedModel(self.server, name)

    def close(self) -> None:
        if os.getpid() != self._parent:
            return  # a forked process leaves the child to its parent
        atexit.unregister(self.close)
        self.server.close()
        if self._child.stdin:
            with contextlib.suppress(OSError):
                self._child.stdin.close()
        try:
            self._child.wait(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._reader.join(timeout=1)
        if self._child.stdout:
            self._child.stdout.close()

    def _await_ready(self, health: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        transport: Any = ProviderNetwork(lambda name: None).transport(httpx2, httpx2.Limits())
        with httpx2.Client(trust_env=False, timeout=5.0, transport=transport) as client:
            while True:
                with contextlib.suppress(httpx2.HTTPError):
                    if client.get(health).status_code == 200:
                        return
                if not self.alive:
                    self._reader.join(timeout=1)
                    said = next((line for line in reversed(self._log) if line), "it said nothing")
                    code = self._child.returncode
                    raise TrainingError(f"vLLM for {self.weights.key} ended with exit code {code}: {said}")
                if time.monotonic() > deadline:
                    raise TrainingError(f"vLLM did not load {self.weights.key} within {seconds:g} s, so it was stopped")
                time.sleep(0.2)

    def _read_log(self) -> None:
        assert self._child.stdout is not None
        with contextlib.suppress(ValueError):
            for line in self._child.stdout:
                self._log.append(line.decode("utf-8", errors="replace").strip())


class LocalVllmServers:
    """The vLLM server, one at most: each takes most of the GPU's memory."""

    def __init__(self, start: Callable[[ServedWeights], LocalVllmServer]) -> None:
        self._start = start
        self._server: LocalVllmServer | None = None
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def use_vllm_server(self, weights: ServedWeights) -> Iterator[ServerServedModel]:
        with self._lock:
            server = self._fitting(weights)
            server.users += 1
        try:
            yield server.serve_model(weights)
        finally:
            with self._lock:
                server.users -= 1

    def _fitting(self, weights: ServedWeights) -> LocalVllmServer:
        server = self._server
        if server is not None:
            if server.alive and server.weights.key == weights.key and weights.lora_rank <= server.most_rank:
                return server
            if server.alive and server.users:
                raise UnavailableError(
                    f"vLLM is answering with {server.weights.key} and cannot serve {weights.key} beside it; wait for "
                    'those answers, or set engine = "tuneport"',
                    provider="local",
                )
            self._server = None
            server.close()
        self._server = self._start(weights)
        return self._server

    def stop_idle_server(self) -> None:
        """End the server if it is idle, so that its memory is free."""
        with self._lock:
            if self._server is not None and not self._server.users:
                self._server.close()
                self._server = None

    def close(self) -> None:
        with self._lock:
            if self._server is not None:
                self._server.close()
                self._server = None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
