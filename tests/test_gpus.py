"""What NVIDIA's binding reads of a driver's library, in a process of its own that finds a small one of ours first.

No machine of the tests has a GPU. The library has the symbols and structures that `pynvml.py` calls and fills; a wrong
version of one is refused as the real library refuses it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tuneport

# Three GPUs: one whole and partly in use, one divided with a gap in the numbers of its parts, and one of somebody else.
LIBRARY = r"""
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6, DRIVER_NOT_LOADED = 9, VERSION_MISMATCH = 25 };
typedef struct { const char *name, *uuid; unsigned long long total, free; unsigned int most_parts; } *nvmlDevice_t;
typedef struct { unsigned long long total, free, used; } nvmlMemory_t;
typedef struct { unsigned int version; unsigned long long total, reserved, free, used; } nvmlMemory_v2_t;

#define MIB 1048576ULL
static struct { const char *name, *uuid; unsigned long long total, free; unsigned int most_parts; } gpus[] = {
    {"NVIDIA L4", "GPU-e86cb44c-6756-fd30-cd4a-1e6da3caf9b0", 23034 * MIB, 20480 * MIB, 0},
    {"NVIDIA A100-SXM4-40GB", "GPU-4200ccc0-2667-d4cb-9137-f932c716232a", 40960 * MIB, 40000 * MIB, 7},
    {"NVIDIA A100-SXM4-40GB", "GPU-77b8c1e2-0000-1111-2222-333344445555", 40960 * MIB, 40960 * MIB, 0},
}, parts[] = {
    {"", "MIG-c7384736-a75d-5afc-978f-d2f1294409fd", 0, 0, 0},
    {"", "MIG-a28ad590-3fda-56dd-84fc-0a0b96edc58d", 0, 0, 0},
};
static int users;

static int with(const char *word) {
    const char *said = getenv("STUB");
    return said && strstr(said, word) != NULL;
}
static int told(char *buffer, unsigned int room, const char *text) {
    strncpy(buffer, text, room);
    return SUCCESS;
}
const char *nvmlErrorString(int error) {
    return error == DRIVER_NOT_LOADED ? "Driver Not Loaded" : "Unknown Error";
}
int nvmlInitWithFlags(unsigned int flags) {
    if (with("unloaded")) return DRIVER_NOT_LOADED;
    users++;
    return SUCCESS;
}
int nvmlShutdown(void) { users--; return SUCCESS; }
int stub_users(void) { return users; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = with("empty") ? 0 : 3; return SUCCESS; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device) {
    if (with("lost")) return 15;
    if (index == 2 && !with("all")) return NO_PERMISSION;
    *device = (nvmlDevice_t)&gpus[index];
    return SUCCESS;
}
int nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned int room) { return told(name, room, device->name); }
int nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned int room) { return told(uuid, room, device->uuid); }
int nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory) {
    if (with("secret") && device->most_parts) return NO_PERMISSION;
    memory->total = device->total - 300 * MIB;
    memory->free = device->free - 300 * MIB;
    return SUCCESS;
}
#ifndef OLD
int nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory) {
    if (memory->version != (sizeof(nvmlMemory_v2_t) | 2 << 24)) return VERSION_MISMATCH;
    if (with("secret") && device->most_parts) return NO_PERMISSION;
    memory->total = device->total;
    memory->reserved = 300 * MIB;
    memory->free = device->free;
    return SUCCESS;
}
int nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t device, unsigned int *count) {
    *count = device->most_parts;
    return SUCCESS;
}
int nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device, unsigned int index, nvmlDevice_t *part) {
    if (index != 0 && index != 2) return NOT_FOUND;
    *part = (nvmlDevice_t)&parts[index / 2];
    return SUCCESS;
}
#endif
"""

# The driver's library stays loaded in a process; the environment says what it answers.
PROGRAM = """
import ctypes, json, os, sys
from tuneport.backends.local.memory import detect_local_memory
from tuneport.devices import find_devices
from tuneport.gpus import list_gpus
from tuneport.lifecycle.planning.planning import detect_job_machine
from tuneport.workflows.doctor import _device

said = {}
for stub in sys.argv[1:]:
    os.environ["STUB"] = stub
    gpus, problem = list_gpus()
    memory, finding = detect_local_memory(), _device()
    said[stub] = {
        "gpus": [vars(gpu) for gpu in gpus], "problem": problem,
        "devices": [device.uuid or device.name for device in find_devices(None, {})],
        "memory": [memory.place, memory.total_gib, memory.free_gib],
        "doctor": [finding.verdict, finding.message], "machine": detect_job_machine().gpu,
    }
    try:
        said[stub]["open"] = ctypes.CDLL("libnvidia-ml.so.1").stub_users()
    except OSError as error:
        said[stub]["missing"] = str(error)
print(json.dumps(said | {"torch": "torch" in sys.modules}))
"""
L4, A100, LAST = (
    "GPU-e86cb44c-6756-fd30-cd4a-1e6da3caf9b0",
    "GPU-4200ccc0-2667-d4cb-9137-f932c716232a",
    "GPU-77b8c1e2-0000-1111-2222-333344445555",
)
PARTS = ["MIG-c7384736-a75d-5afc-978f-d2f1294409fd", "MIG-a28ad590-3fda-56dd-84fc-0a0b96edc58d"]


def asked(folder: Path, *stubs: str) -> tuple[dict[str, Any], str]:
    """What is said with the library in this folder, and on standard error."""
    sources = str(Path(tuneport.__file__).parents[1])
    environment = os.environ | {
        "LD_LIBRARY_PATH": str(folder),
        "PYTHONPATH": os.pathsep.join([sources, *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    command = [sys.executable, "-c", PROGRAM, *stubs]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout), done.stderr


def driver(folder: Path, *flags: str) -> Path:
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("no C compiler makes a library for Linux here")
    (folder / "nvml.c").write_text(LIBRARY)
    command = [compiler, "-shared", "-fPIC", *flags, "-o", folder / "libnvidia-ml.so.1", folder / "nvml.c"]
    subprocess.run(command, check=True)
    return folder


def test_the_gpus_are_what_their_driver_says(tmp_path: Path) -> None:
    said, errors = asked(driver(tmp_path), "", "all secret", "unloaded", "empty", "lost")
    whole = {"index": 0, "name": "NVIDIA L4", "uuid": L4, "parts": [], "total_gib": 23034 / 1024, "free_gib": 20.0}
    divided = {"index": 1, "name": "NVIDIA A100-SXM4-40GB", "uuid": A100, "parts": PARTS}
    assert said[""]["gpus"] == [whole, divided | {"total_gib": 40.0, "free_gib": 40000 / 1024}]
    assert said[""]["devices"] == [L4, *PARTS]
    assert said[""]["memory"] == ["NVIDIA L4", 23034 / 1024, 20.0]
    assert said[""]["doctor"] == ["ok", "NVIDIA L4, 23034 MiB; NVIDIA A100-SXM4-40GB, 40960 MiB"]
    assert said[""]["machine"] == "L4" and said["torch"] is False
    # Who may not ask for the memory of a divided GPU may use it.
    assert said["all secret"]["gpus"][1] == divided | {"total_gib": None, "free_gib": None}
    assert said["all secret"]["devices"] == [L4, *PARTS, LAST]
    assert said["all secret"]["doctor"][1].split("; ")[1] == "NVIDIA A100-SXM4-40GB"
    for stub, problem in (
        ("unloaded", "Driver Not Loaded"),
        ("empty", "no devices were found"),
        ("lost", "GPU is lost"),
    ):
        assert (said[stub]["gpus"], said[stub]["problem"]) == ([], problem)
        assert said[stub]["devices"] == ["cpu"] and said[stub]["memory"][0] == "this machine"
        assert said[stub]["doctor"] == ["warn", f"the NVIDIA driver lists no GPU: {problem}"]
        assert f"the NVIDIA driver lists no GPU ({problem}); continuing without" in errors
    assert [said[stub]["open"] for stub in ("", "all secret", "unloaded", "empty", "lost")] == [0] * 5


def test_an_old_driver_says_what_it_can(tmp_path: Path) -> None:
    said, _ = asked(driver(tmp_path, "-DOLD"), "")
    assert [gpu["parts"] for gpu in said[""]["gpus"]] == [[], []]
    assert said[""]["memory"] == ["NVIDIA L4", (23034 - 300) / 1024, (20480 - 300) / 1024]


def test_a_machine_without_a_driver_has_no_gpu_and_says_nothing(tmp_path: Path) -> None:
    said, errors = asked(tmp_path, "")
    if "missing" not in said[""]:
        pytest.skip("this machine has NVIDIA's driver")
    assert (said[""]["gpus"], said[""]["problem"], errors) == ([], "", "")
    assert said[""]["devices"] == ["cpu"] and said[""]["machine"] == "" and "no GPU" in said[""]["doctor"][1]
