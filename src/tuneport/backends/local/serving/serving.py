"""Chooses the server for a local model: a child of our own, vLLM, or the server that `serve_url` names."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tuneport import private
from tuneport.backends.local.names import LocalModelNames
from tuneport.backends.local.options import LocalBackendOptions
from tuneport.backends.local.served_weights import ServedWeights
from tuneport.backends.local.serving.infer import ChildServedModel, LocalInferencePool, LocalInferenceProcess
from tuneport.backends.local.serving.server import ChatServerClient, RemoteChatServer, ServerServedModel
from tuneport.backends.local.serving.vllm import LocalVllmServer, LocalVllmServers, uses_vllm
from tuneport.errors import ConfigError, TuneportError
from tuneport.settings import Settings


class LocalModelServing:
    """Starts what answers when it is first needed, and keeps it. Threads may share it."""

    def __init__(
        self,
        settings: Settings,
        options: LocalBackendOptions,
        names: LocalModelNames,
        *,
        environment: Callable[[], dict[str, str]],
        infer_command: Sequence[str],
        vllm_command: Sequence[str],
    ) -> None:
        self._settings, self._options, self._names, self._home = settings, options, names, settings.home
        self._environment = environment
        self._infer_command, self._vllm_command = tuple(infer_command), tuple(vllm_command)
        self.children = LocalInferencePool(self._start_inference)
        self.vllm = LocalVllmServers(self._start_vllm)
        self._remote = RemoteChatServer(self._open_server) if self._options.serve_url else None

    def close(self) -> None:
        self.children.close()
        self.vllm.close()
        if self._remote is not None:
            self._remote.close()

    @contextlib.contextmanager
    def serve_model(self, model: str) -> Iterator[ChildServedModel | ServerServedModel]:
        """Provide the server for `model`: that of `serve_url`, vLLM if it is installed, else a child."""
        if self._remote is not None:
            yield self._remote.serve_model(
                model, lambda: self._names.list_server_names(model), lambda: self._how_to_serve(model)
            )
            return
        weights = self._names.find_weights(model)
        if uses_vllm(self._options.engine, weights):
            with self.vllm.use_vllm_server(weights) as server:
                yield server
            return
        with self._own_child(weights) as served:
            yield served

    @contextlib.contextmanager
    def _own_child(self, weights: ServedWeights) -> Iterator[ChildServedModel]:
        with self.children.use_process(weights.key, weights.base) as child:
            if weights.adapter is not None:
                child.load_adapter(weights.name, weights.adapter)
            yield ChildServedModel(child, None if weights.adapter is None else weights.name)

    @contextlib.contextmanager
    def serve_in_child(self, model: str) -> Iterator[ChildServedModel]:
        """Provide a child of our own, whatever else is running. An idle vLLM makes room for it."""
        weights = self._names.find_weights(model)
        self.vllm.stop_idle_server()
        with self._own_child(weights) as served:
            yield served

    def _how_to_serve(self, model: str) -> str:
        try:
            weights = self._names.find_weights(model)
        except TuneportError:
            return f"not {model}: name one of those, or take serve_url out of tuneport.toml"
        given = weights.adapter or weights.base
        how = f"vLLM: --lora-modules {model}={given}" if weights.adapter else f"vLLM: vllm serve {given}"
        return f"not {model}: load {given} there ({how}), or take serve_url out of tuneport.toml"

    def _start_inference(self, folder: Path) -> LocalInferenceProcess:
        private.make_private_folder(self._home)
        options = ["--device-map", self._options.device_map] if self._options.device_map != "auto" else []
        options += ["--precision", self._options.precision] if self._options.precision else []
        options += ["--load-in-4bit"] if self._options.load_in_4bit else []
        return LocalInferenceProcess(
            [*self._infer_command, *options, "--home", str(self._home), "--model", str(folder)],
            self._environment() | {"HF_HUB_OFFLINE": "1"},
            self._home,
            startup_seconds=self._options.startup_seconds,
            silence_seconds=self._options.silence_seconds,
        )

    def _open_server(self) -> ChatServerClient:
        assert self._options.serve_url is not None
        key, variable = None, self._options.serve_api_key_env
        if variable is not None and (key := self._settings.secret(variable)) is None:
            raise ConfigError(f"{variable} is not set: serve_api_key_env names it; set it, or take that line out")
        return ChatServerClient(
            self._options.serve_url,
            key,
            silence_seconds=self._options.silence_seconds,
            gateway_id=self._settings.gateway_id,
        )

    def _start_vllm(self, weights: ServedWeights) -> LocalVllmServer:
        private.make_private_folder(self._home)
        return LocalVllmServer(
            self._vllm_command,
            weights,
            self._environment() | {"HF_HUB_OFFLINE": "1"},
            self._home,
            load_in_4bit=self._options.load_in_4bit,
            startup_seconds=self._options.startup_seconds,
            silence_seconds=self._options.silence_seconds,
        )
