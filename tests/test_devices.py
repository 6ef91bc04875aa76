"""What this machine is said to have, without torch, from what its driver lists (`test_gpus.py`)."""

from __future__ import annotations

import pytest

from tuneport import devices
from tuneport.devices import Device, check_device_names, find_devices, pin_devices
from tuneport.errors import ConfigError
from tuneport.gpus import GPUListing, NvidiaGPU

FIRST = Device("cuda:0", "GPU-e86cb44c-6756-fd30-cd4a-1e6da3caf9b0")
PARTS = [
    Device(f"cuda:{uuid}", uuid)
    for uuid in ("MIG-c7384736-a75d-5afc-978f-d2f1294409fd", "MIG-a28ad590-3fda-56dd-84fc-0a0b96edc58d")
]
LAST = Device("cuda:2", "GPU-77b8c1e2-0000-1111-2222-333344445555")
A100 = "NVIDIA A100-SXM4-40GB"
# Of a machine with three A100s, the second of which is divided (NVIDIA's MIG user guide has such listings).
LISTED = [
    NvidiaGPU(0, A100, FIRST.uuid),
    NvidiaGPU(1, A100, "GPU-4200ccc0-2667-d4cb-9137-f932c716232a", tuple(part.uuid for part in PARTS)),
    NvidiaGPU(2, A100, LAST.uuid),
]


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "list_gpus", lambda: GPUListing(LISTED))


@pytest.mark.parametrize(
    ("visible", "found"),
    [
        (None, [FIRST, *PARTS, LAST]),
        ("2,0", [LAST, FIRST]),
        ("GPU-77b8", [LAST]),
        (PARTS[1].uuid, [PARTS[1]]),
        ("0,9,2", [FIRST]),  # CUDA ignores what follows a number that there is not
        ("", [Device("cpu")]),
        ("-1", [Device("cpu")]),
    ],
)
def test_gpus_are_those_that_cuda_would_show(gpus: None, visible: str | None, found: list[Device]) -> None:
    assert find_devices(None, {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}) == found


def test_named_devices_must_be_there(gpus: None) -> None:
    assert find_devices(["cuda:2"], {}) == [LAST]
    assert find_devices(["cuda:GPU-e86"], {}) == [FIRST]
    assert find_devices(["cpu:0", "cpu:1"], {}) == [Device("cpu:0"), Device("cpu:1")]
    with pytest.raises(ConfigError, match=r"names cuda:2, and this machine has cuda:0;"):
        find_devices(["cuda:2"], {"CUDA_VISIBLE_DEVICES": "0"})


def test_a_mac_has_one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "list_gpus", lambda: GPUListing([]))
    monkeypatch.setattr(devices.sys, "platform", "darwin")
    monkeypatch.setattr(devices.platform, "machine", lambda: "arm64")
    assert find_devices(None, {}) == [Device("mps")]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["gpu0"], "'gpu0' is not a device; use cuda:0"),
        ([], "at least one device"),
        (["cuda:0", "cuda:0"], "each once"),
        (["cuda:0", "cpu"], "of one kind"),
        (["cpu", "cpu:1"], "all of the CPU"),
    ],
)
def test_a_list_of_devices_that_cannot_be_is_refused(names: list[str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        check_device_names(names)


def test_a_process_sees_what_its_run_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_cores", lambda: 16)

    def pinned(taken: list[Device], names: list[str] | None, **before: str) -> dict[str, str]:
        pin_devices(taken, names, before)
        return before

    by_uuid = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": f"{LAST.uuid},{FIRST.uuid}"}
    assert pinned([LAST, FIRST], None, CUDA_VISIBLE_DEVICES="2,0") == by_uuid
    assert pinned([Device("cpu")], ["cpu"]) == {"CUDA_VISIBLE_DEVICES": ""}
    assert pinned([Device("cpu")], None) == {"CUDA_VISIBLE_DEVICES": "0"}  # one that only torch knows how to find
    shares = ["cpu:0", "cpu:1", "cpu:2", "cpu:3"]
    threads = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "4", "MKL_NUM_THREADS": "4"}
    assert pinned([Device("cpu:1")], shares) == threads
    assert pinned([Device("cpu:0"), Device("cpu:1")], shares)["OMP_NUM_THREADS"] == "8"
    assert pinned([Device("cpu:1")], shares, OMP_NUM_THREADS="1")["OMP_NUM_THREADS"] == "1"
