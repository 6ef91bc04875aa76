"""Who answers for a local model: a child of our own, vLLM, or the server that `serve_url` names."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tuneport.backends.local_infer import InferenceProcess, InferenceProcesses, ServedByChild
from tuneport.backends.local_server import ChatServer, Remote, ServedByServer
from tuneport.backends.local_vllm import VllmServer, VllmServers, uses_vllm
from tuneport.backends.served_weights import Weights
from tuneport.errors import ConfigError, TuneportError

if TYPE_CHECKING:
    from tuneport.backends.local import LocalBackend


class Serving:
    """Starts what answers when it is first needed, and keeps it. Threads may share it."""

    def __init__(self, backend: LocalBackend) -> None:
        self._backend, self._options, self._home = backend, backend.options, backend.settings.home
        self.children = InferenceProcesses(self._start_inference)
        self.vllm = VllmServers(self._start_vllm)
        self._remote = Remote(self._open_server) if self._options.serve_url else None

    def close(self) -> None:
        self.children.close()
        self.vllm.close()
        if self._remote is not None:
            self._remote.close()

    @contextlib.contextmanager
    def of(self, model: str) -> Iterator[ServedByChild | ServedByServer]:
        """Whatever answers for `model`: the server of `serve_url`, vLLM where it is installed, else a child."""
        if self._remote is not None:
            yield self._remote.serving(
                model, lambda: self._backend.names.other_names(model), lambda: self._how_to_serve(model)
            )
            return
        weights = self._backend.names.weights_of(model)
        if uses_vllm(self._options.engine, weights):
            with self.vllm.use(weights) as server:
                yield server
            return
        with self._own_child(weights) as served:
            yield served

    @contextlib.contextmanager
    def _own_child(self, weights: Weights) -> Iterator[ServedByChild]:
        with self.children.use(weights.key, weights.base) as child:
            if weights.adapter is not None:
                child.load_adapter(weights.name, weights.adapter)
            yield ServedByChild(child, None if weights.adapter is None else weights.name)

    @contextlib.contextmanager
    def in_own_child(self, model: str) -> Iterator[ServedByChild]:
        """A child of our own, whoever answers else. vLLM makes room for it if nobody is using it."""
        weights = self._backend.names.weights_of(model)
        self.vllm.give_way()
        with self._own_child(weights) as served:
            yield served

    def _how_to_serve(self, model: str) -> str:
        try:
            weights = self._backend.names.weights_of(model)
        except TuneportError:
            return f"not {model}: name one of those, or take serve_url out of tuneport.toml"
        given = weights.adapter or weights.base
        how = f"vLLM: --lora-modules {model}={given}" if weights.adapter else f"vLLM: vllm serve {given}"
        return f"not {model}: load {given} there ({how}), or take serve_url out of tuneport.toml"

    def _start_inference(self, folder: Path) -> InferenceProcess:
        self._home.mkdir(parents=True, exist_ok=True)
        options = ["--device-map", self._options.device_map] if self._options.device_map != "auto" else []
        options += ["--precision", self._options.precision] if self._options.precision else []
        options += ["--load-in-4bit"] if self._options.load_in_4bit else []
        return InferenceProcess(
            [*self._backend.infer_command, *options, "--home", str(self._home), "--model", str(folder)],
            self._backend.environment() | {"HF_HUB_OFFLINE": "1"},
            self._home,
            startup_seconds=self._options.startup_seconds,
            silence_seconds=self._options.silence_seconds,
        )

    def _open_server(self) -> ChatServer:
        assert self._options.serve_url is not None
        key, variable = None, self._options.serve_api_key_env
        if variable is not None and (key := self._backend.settings.secret(variable)) is None:
            raise ConfigError(f"{variable} is not set: serve_api_key_env names it; set it, or take that line out")
        return ChatServer(
            self._options.serve_url,
            key,
            silence_seconds=self._options.silence_seconds,
            gateway_id=self._backend.settings.gateway_id,
        )

    def _start_vllm(self, weights: Weights) -> VllmServer:
        self._home.mkdir(parents=True, exist_ok=True)
        return VllmServer(
            self._backend.vllm_command,
            weights,
            self._backend.environment() | {"HF_HUB_OFFLINE": "1"},
            self._home,
            load_in_4bit=self._options.load_in_4bit,
            startup_seconds=self._options.startup_seconds,
            silence_seconds=self._options.silence_seconds,
        )
