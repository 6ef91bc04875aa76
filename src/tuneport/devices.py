"""The devices of this machine, as the scheduler of local runs counts them: each GPU, or the CPU if there is none.

Found without torch, which takes seconds and memory that a run waiting for a device is not to cost. A GPU's number is
nvidia-smi's (PCI order); inside it is told apart by its UUID, which no order changes.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass

from tuneport.errors import ConfigError
from tuneport.gpus import list_gpus

NAME = re.compile(r"cuda:(?:\d+|(?:GPU|MIG)-[\w/-]+)|mps|cpu(?::\d+)?")
NAMES_IN_WORDS = "cuda:0, cuda:1 ..., cuda:GPU-UUID, mps, cpu, or cpu:0, cpu:1 ... for equal shares of the CPU"


@dataclass(frozen=True)
class Device:
    """`name`: as a person writes it, `cuda:0`, `mps`, `cpu` or `cpu:1`. `uuid`: a GPU's, else empty."""

    name: str
    uuid: str = ""

    @property
    def kind(self) -> str:
        return self.name.partition(":")[0]


def check_device_names(names: Sequence[str]) -> None:
    """Raise ValueError for a list of devices that no machine can have."""
    for name in names:
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a device; use {NAMES_IN_WORDS}")
    if len(set(names)) != len(names) or not names:
        raise ValueError("name at least one device, each once")
    if len({name.partition(":")[0] for name in names}) > 1:
        raise ValueError("name devices of one kind: a run takes any of them")
    if "cpu" in names and len(names) > 1:
        raise ValueError("cpu is all of the CPU; name its shares cpu:0, cpu:1 ...")


def find_devices(names: Sequence[str] | None, environment: Mapping[str, str]) -> list[Device]:
    """Return the devices that runs may use: the named ones, else those found. Raises ConfigError if a named one is
    missing.

    `environment`: its CUDA_VISIBLE_DEVICES is respected as CUDA does; devices that it leaves out do not exist.
    """
    found = _gpus(environment)
    if names is None:
        return found or ([Device("mps")] if _has_apple_gpu() else [Device("cpu")])
    chosen = []
    for name in names:
        if name.partition(":")[0] != "cuda":
            chosen.append(Device(name))
            continue
        word = name.removeprefix("cuda:")
        matching = [gpu for gpu in found if name == gpu.name or gpu.uuid.startswith(word)]
        if len(matching) != 1:
            there = ", ".join(gpu.name for gpu in found) or "no NVIDIA GPU"
            raise ConfigError(
                f"tuneport.toml: backends.local.options.devices names {name}, and this machine has {there}; "
                "correct that line, or look at nvidia-smi and CUDA_VISIBLE_DEVICES"
            )
        chosen.append(matching[0])
    return chosen


def pin_devices(taken: Sequence[Device], names: Sequence[str] | None, environment: MutableMapping[str, str]) -> None:
    """Make what is started or loaded with `environment` see these devices only; call it before torch is imported.

    `names`: all devices that runs may use, or None if the user named none. A share of the CPU gets its part of the
    threads.
    """
    if taken[0].uuid:
        environment["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(device.uuid for device in taken)
    elif names is None:
        # A GPU that nvidia-smi does not list, on a Jetson say: one, since TRL refuses to see more from one process.
        environment.setdefault("CUDA_VISIBLE_DEVICES", "0")
    elif taken[0].kind == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
        if len(names) > 1:
            threads = max(1, len(taken) * _cores() // len(names))
            for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
                environment.setdefault(variable, str(threads))


def _gpus(environment: Mapping[str, str]) -> list[Device]:
    listed = _listed_gpus()
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None or not listed:
        return listed
    chosen: list[Device] = []
    for word in (part.strip() for part in visible.split(",")):
        matching = [gpu for gpu in listed if gpu.name == f"cuda:{word}" or (word and gpu.uuid.startswith(word))]
        if len(matching) != 1:
            break  # CUDA ignores the rest, too: -1 and an empty word mean none
        chosen.append(matching[0])
    return chosen


def _listed_gpus() -> list[Device]:
    """Return the GPUs; for one that is divided (MIG), its parts instead."""
    listing = list_gpus()
    if listing.problem:
        print(f"the NVIDIA driver lists no GPU ({listing.problem}); continuing without", file=sys.stderr)
    found: list[Device] = []
    for gpu in listing.gpus:
        found += [Device(f"cuda:{part}", part) for part in gpu.parts] or [Device(f"cuda:{gpu.index}", gpu.uuid)]
    return found


def _has_apple_gpu() -> bool:
    return sys.platform == "darwin" and platform.machine() == "arm64"


def _cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
