"""The NVIDIA GPUs of this machine, as NVML, the library of their driver, tells them: torch takes seconds to import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

GIB = 2**30


@dataclass(frozen=True)
class NvidiaGPU:
    """`index`: nvidia-smi's number (PCI order). `parts`: the UUIDs of its parts if it is divided (MIG). `total_gib` and
    `free_gib`: its memory, None if this user may not ask for it."""

    index: int
    name: str
    uuid: str
    parts: tuple[str, ...] = ()
    total_gib: float | None = None
    free_gib: float | None = None


class GPUListing(NamedTuple):
    """`problem`: why a driver that is installed lists none; empty if it lists some, or if there is no driver."""

    gpus: list[NvidiaGPU]
    problem: str = ""


def list_gpus() -> GPUListing:
    """Return the GPUs in the order of their numbers, whatever CUDA_VISIBLE_DEVICES says. Raises nothing: a driver that
    does not answer is the listing's problem."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:
        return GPUListing([])
    except pynvml.NVMLError as error:
        return GPUListing([], str(error))
    try:
        found = [_gpu(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError as error:
        return GPUListing([], str(error))
    finally:
        pynvml.nvmlShutdown()
    gpus = [gpu for gpu in found if gpu is not None]
    return GPUListing(gpus, "" if gpus else "no devices were found")


def _gpu(index: int) -> NvidiaGPU | None:
    """Return the GPU, or None for one that this user may not use: NVML counts these, too."""
    import pynvml

    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    except pynvml.NVMLError_NoPermission:
        return None
    total, free = _memory(handle)
    name, uuid = pynvml.nvmlDeviceGetName(handle), pynvml.nvmlDeviceGetUUID(handle)
    return NvidiaGPU(index, name, uuid, tuple(_parts(handle)), total, free)


def _memory(handle: Any) -> tuple[float | None, float | None]:
    """Return all memory and what is free of it, GiB: by the second version as nvidia-smi does, which drivers before 510
    lack."""
    import pynvml

    for version in (pynvml.nvmlMemory_v2, None):
        try:
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle, version=version)
        except pynvml.NVMLError:
            continue
        return memory.total / GIB, memory.free / GIB
    return None, None


def _parts(handle: Any) -> list[str]:
    """Return the UUIDs of the parts. NVML says that there may be none of a GPU that is whole; drivers before 450 know
    no parts."""
    import pynvml

    parts = []
    try:
        most = pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)
    except (pynvml.NVMLError_FunctionNotFound, pynvml.NVMLError_NotSupported):
        return []
    for number in range(most):
        try:
            parts.append(pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)))
        except pynvml.NVMLError_NotFound:  # their numbers have gaps
            continue
    return parts
