"""Resolves a name on this machine: a run, its tuned weights or a checkpoint of them, a folder, a base model."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tuneport.backends.local.reward import check_local_reward_weights
from tuneport.backends.local.runs.run import LocalRun
from tuneport.backends.local.served_weights import ServedWeights
from tuneport.backends.local.weights import refuse_damaged_weights
from tuneport.backends.routing import BackendCatalogue
from tuneport.errors import NotFoundError, TuneportError, UnsupportedError
from tuneport.run_protocol import run_checkpoint_folder
from tuneport.types import Method, TuneSpec

if TYPE_CHECKING:
    from tuneport.manifests import Manifest
    from tuneport.settings import Settings

_TUNED_MODEL = re.compile(r"(?:ft:.*:|run-)([0-9a-f]{16})(?::ckpt-step-(\d+))?")


class LocalModelNames:
    """`existing` opens the run of an id, or raises NotFoundError."""

    def __init__(self, manifest: Manifest, settings: Settings, existing: Callable[[str], LocalRun]) -> None:
        self._manifest, self._settings, self._existing = manifest, settings, existing
        self._backend = manifest.name

    def find_weights(self, model: str) -> ServedWeights:
        """Find the weights of `model` on this machine. Loads nothing."""
        from tuneport.backends.local.adapters import find_local_adapter_base, is_local_adapter_folder
        from tuneport.base_models import locate_base_model

        home = self._settings.home
        match = _TUNED_MODEL.fullmatch(model)
        if match is None and is_local_adapter_folder(folder := Path(model).expanduser().absolute()):
            refuse_damaged_weights(folder, model, own=False)
            label = f"folder-{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}"
            return ServedWeights.from_base(find_local_adapter_base(folder, home=home), folder, label)
        if match is None:
            name = self._resolved(model)
            base = locate_base_model(name, home=home)
            if base.source == "folder":
                refuse_damaged_weights(base.folder, model, own=False)
            return ServedWeights.from_base(base)
        run = self._existing(f"run-{match[1]}")
        if Method(run.read_request().spec.get("method", "sft")).traits.scores:
            raise UnsupportedError(f"{model} is a reward model: it scores answers and writes none")
        weights = self._tuned(run) if match[2] is None else self._checkpoint(run, match[2])
        refuse_damaged_weights(weights, model)
        if not is_local_adapter_folder(weights):  # full fine-tuning: a base model by itself
            return ServedWeights(key=str(weights), base=weights)
        return ServedWeights.from_base(
            locate_base_model(run.read_request().model_name_or_path, home=home), weights, f"{run.id}-{weights.name}"
        )

    def list_server_names(self, model: str) -> list[str]:
        """Return the names that a server elsewhere may use for `model`: its stand-in, its name on the hub, its folder,
        its run."""
        from tuneport.manifests import load_models

        names: list[str] = []
        with contextlib.suppress(TuneportError):
            if _TUNED_MODEL.fullmatch(model) is None and not Path(model).expanduser().is_dir():
                name = self._resolved(model)
                known = load_models().find(name)
                names += [name, known.hub] if known is not None and known.hub else [name]
        with contextlib.suppress(TuneportError):
            weights = self.find_weights(model)
            folder = weights.adapter or weights.base
            if (match := _TUNED_MODEL.fullmatch(model)) and match[2] is None:
                names.append(f"run-{match[1]}")
            names += [str(folder), weights.name] if weights.adapter else [str(folder)]
        return names

    def _resolved(self, model: str) -> str:
        return BackendCatalogue(self._settings).resolve_model(model, self._backend)

    def _tuned(self, run: LocalRun) -> Path:
        reported = run.read_trainer_report()
        for folder in (run.folder / "adapter", run.folder / "model"):
            if reported is not None and reported.status == "succeeded" and folder.is_dir():
                return folder
        status = "starting" if reported is None else reported.status
        raise NotFoundError(f"the local run {run.id} has no tuned weights: it is {status}", provider=self._backend)

    def _checkpoint(self, run: LocalRun, step: str) -> Path:
        folder = run_checkpoint_folder(run.folder, int(step))
        if not folder.is_dir():
            there = ", ".join(str(number) for number, _ in run.checkpoint_folders()) or "none"
            raise NotFoundError(
                f"the local run {run.id} has no checkpoint of step {step} (it has: {there})",
                provider=self._backend,
            )
        return folder

    def find_run_weights(self, name: str) -> tuple[LocalRun, Path]:
        """Return the run and the weights behind a run's id or its model's name, `:STEP` behind the id for a
        checkpoint."""
        run_id, _, step = name.partition(":") if name.startswith("run-") else (name, "", "")
        if match := _TUNED_MODEL.fullmatch(name):
            run_id, step = f"run-{match[1]}", match[2] or ""
        run = self._existing(run_id)
        return run, self._checkpoint(run, step) if step else self._tuned(run)

    def find_reward_weights(self, spec: TuneSpec) -> dict[str, str | None] | None:
        """Return the weights of the spec's reward model and their base, or None if it has no reward model."""
        if spec.reward is None or spec.reward_function is not None:
            return None
        folder = Path(spec.reward).expanduser()
        match = _TUNED_MODEL.fullmatch(spec.reward)
        if match is None or folder.is_dir():
            if not check_local_reward_weights(folder, spec.reward):
                return {"weights": str(folder.absolute()), "base": None}
            from tuneport.backends.local.adapters import find_local_adapter_base

            base = find_local_adapter_base(folder, home=self._settings.home)
            return {
                "weights": str(folder.absolute()),
                "base": str(base.folder if base.source == "folder" else base.name),
            }
        run, weights = self.find_run_weights(spec.reward)
        refuse_damaged_weights(weights, spec.reward)
        adapter = check_local_reward_weights(weights, spec.reward)
        return {"weights": str(weights), "base": run.read_request().model_name_or_path if adapter else None}
