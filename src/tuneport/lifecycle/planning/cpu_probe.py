"""The training speed of this machine's processor, measured once and kept under home. Estimates use it instead of the
documented rate on the same machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tuneport import private
from tuneport.backends.local.runs.process import local_trainer_environment
from tuneport.backends.secrets import backend_key_variables
from tuneport.base_models import locate_base_model
from tuneport.errors import ConfigError
from tuneport.estimate.duration import CPURate
from tuneport.files import write_atomically
from tuneport.installation import install_extra
from tuneport.manifests import load_models
from tuneport.router import Machine
from tuneport.settings import Settings
from tuneport.types import Model, now

SHAPE_OF = "smollm2-135m-instruct"
"""Its shape is measured, with random weights, if the model's own weights are not here."""
LARGEST_BYTES = 4e9
"""Larger weights take minutes to load, for a rate that size predicts from a small model."""
TIMEOUT_SECONDS = 600.0
BUSY_SHARE = 0.5
"""A load average above this share of the cores: others computed, too, and alone it would have been faster."""


class StoredCPUProbe(Model):
    """One measurement. `device` says on which processor; `load` is that of the minute before it, of `cores`."""

    device: str
    measured_at: datetime
    model: str
    params_b: float
    tokens_per_second: float
    precision: str
    threads: int
    steps: int
    seconds: float
    load: float | None = None
    cores: int | None = None

    @property
    def busy(self) -> bool:
        return self.load is not None and self.cores is not None and self.load > BUSY_SHARE * self.cores

    @property
    def rate(self) -> CPURate:
        other = f", while the machine was busy: load {self.load:.1f} of {self.cores} cores" if self.busy else ""
        return CPURate(
            self.tokens_per_second,
            self.params_b,
            f"measured here on {self.measured_at:%Y-%m-%d} with {self.params_b * 1000:.4g} M parameters in "
            f"{self.precision}{other}",
        )


def read_stored_cpu_probe(home: Path, device: str) -> StoredCPUProbe | None:
    """Return the last measurement if it was of this processor. An unreadable file counts as none."""
    try:
        probe = StoredCPUProbe.model_validate_json((home / "probe.json").read_bytes())
    except (OSError, ValidationError):
        return None
    return probe if probe.device == device else None


def run_cpu_probe(settings: Settings, machine: Machine, model: str | None = None) -> StoredCPUProbe:
    """Train a few steps in a separate process, store the measurement, and return it.

    `model`: its own weights are used if they are on this machine and small enough. Raises ConfigError on a machine with
    a GPU, if local training is not installed, and if the child fails or takes longer than ten minutes.
    """
    if machine.gpu or machine.bf16_tflops:
        raise ConfigError(
            f"this machine trains on its {machine.gpu or 'GPU'}, and --probe measures processors; plan without it"
        )
    name, folder = _weights_here(model, settings)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    command = [sys.executable, "-m", "tuneport.train.probe", json.dumps(_shape()), *([str(folder)] if folder else [])]
    keys = [os.environ[name] for name in backend_key_variables(settings) if name in os.environ]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            env=local_trainer_environment(os.environ, keys),
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigError(
            f"the probe took longer than {TIMEOUT_SECONDS:.0f} s on this machine; plan without --probe"
        ) from error
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        need = f"; {install_extra('local')}" if "ModuleNotFoundError" in said else "; plan without --probe"
        raise ConfigError(f"the probe failed: {said[:300]}{need}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    probe = StoredCPUProbe(
        device=machine.device, measured_at=now(), model=name, load=load, cores=os.cpu_count(), **found
    )  # fmt: skip
    private.make_private_folder(settings.home)
    write_atomically(settings.home / "probe.json", probe.model_dump_json(indent=1), durable=False)
    return probe


def _weights_here(model: str | None, settings: Settings) -> tuple[str, Path | None]:
    """Return the folder of a model's weights if they are on this machine and small; nothing is fetched."""
    random = f"random weights in the shape of {SHAPE_OF}"
    if model is None:
        return random, None
    weights = load_models().find(model)
    try:
        found = locate_base_model(weights.hub if weights and weights.hub else model, home=settings.home, download=False)
    except ConfigError:
        return random, None
    size = sum(file.stat().st_size for file in found.folder.glob("*.safetensors"))
    small = found.gguf_file is None and 0 < size <= LARGEST_BYTES
    return (model, found.folder) if small else (random, None)


def _shape() -> dict[str, Any]:
    """Return the shape in the form of a Llama's configuration."""
    weights = load_models().find(SHAPE_OF)
    assert weights is not None and weights.dimensions is not None  # it ships with tuneport
    dimensions = weights.dimensions
    return {
        "hidden_size": dimensions.hidden_size,
        "intermediate_size": dimensions.intermediate_size,
        "num_hidden_layers": dimensions.layers,
        "num_attention_heads": dimensions.heads,
        "num_key_value_heads": dimensions.kv_heads,
        "vocab_size": dimensions.vocab_size,
        "tie_word_embeddings": dimensions.tied_embeddings,
    }
