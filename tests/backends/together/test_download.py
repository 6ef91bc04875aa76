"""Weights: fetched in as many requests as it takes, verified, unpacked without belief, loaded and asked."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.activities import record_activities
from tests.support.waiting import until
from tuneport.backends.together.archive import RECEIPT, unpack_weights_archive
from tuneport.errors import ConfigError, ProviderError, RejectedError, StorageError, UnavailableError
from tuneport.testing.contract import contract_job_token, prepared_chats
from tuneport.testing.emulators import TogetherEmulator
from tuneport.testing.emulators.together.jobs import emulated_tar, emulated_zstandard
from tuneport.types import Adapter, TuneSpec

MODEL = "Qwen/Qwen3.5-4B"
DOWNLOAD = "/finetune/download"
BIG = os.urandom(400_000)


def safetensors(content: bytes = b"") -> bytes:
    header = {"x": {"dtype": "U8", "shape": [len(content)], "data_offsets": [0, len(content)]}} if content else {}
    told = json.dumps(header).encode()
    return len(told).to_bytes(8, "little") + told + content


ADAPTER = {"adapter_config.json": b'{"peft_type": "LORA"}', "adapter_model.safetensors": safetensors(BIG)}


@pytest.fixture
def job(together: TogetherEmulator, connect: Callable[..., Any], tmp_path: Path) -> Callable[..., tuple[Any, str]]:
    """A backend and the id of a job there that has succeeded."""

    def finished(**change: Any) -> tuple[Any, str]:
        data, backend = prepared_chats(tmp_path), connect(together)
        spec = TuneSpec(model=MODEL, dataset=data.training.path).model_copy(update=change)
        remote_id = backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("t")).remote_id
        together.advance(3600)
        return backend, remote_id

    return finished


def downloads(together: TogetherEmulator) -> list[Any]:
    return together.requests("GET", DOWNLOAD)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name not in ("home", "work"))


# --- what arrives ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("archive", ["zst", "gz"])
@pytest.mark.parametrize(
    ("adapter", "merged", "kind", "inside"),
    [
        ("auto", False, "adapter", "adapter_config.json"),
        ("auto", True, "merged", "config.json"),
        (Adapter.FULL, False, "model_output_path", "config.json"),
    ],
)
def test_weights_arrive_whole_in_a_folder(
    together: TogetherEmulator, job: Callable[..., Any], tmp_path: Path, archive: str, adapter: Any, merged: bool,
    kind: str, inside: str,
) -> None:  # fmt: skip
    together.archive = archive
    backend, remote_id = job(adapter=adapter)
    place = tmp_path / "place"
    together.fail("cut", method="GET", path=DOWNLOAD)
    folder = backend.download(remote_id, place / "weights", merged=merged)
    assert folder == place / "weights"
    assert left(place) == ["weights"], "nothing half done is left"
    assert inside in left(folder)
    receipt = json.loads((folder / RECEIPT).read_text())
    assert (receipt["job"], receipt["weights"], receipt["model"]) == (remote_id, kind, MODEL)
    count = len(together.log)
    assert backend.download(remote_id, place / "weights", merged=merged) == folder
    assert [item.path for item in together.log[count:]] == [f"/v1/fine-tunes/{remote_id}"], "it is there already"


def test_a_download_tells_how_far_it_is(
    together: TogetherEmulator, job: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together.weights["adapter"] = ADAPTER
    backend, remote_id = job()
    told = record_activities(monkeypatch, "tuneport.backends.together.download")
    backend.download(remote_id, tmp_path / "weights")
    assert told == {f"downloading together/{remote_id}/adapter": 1.0}


def test_checkpoint_is_named_by_its_step(together: TogetherEmulator, job: Callable[..., Any], tmp_path: Path) -> None:
    backend, remote_id = job()
    step = backend.checkpoints(remote_id)[-1].step
    backend.download(f"{remote_id}:{step}", tmp_path / "weights")
    assert downloads(together)[-1].query == {"ft_id": remote_id, "checkpoint_step": str(step)}
    with pytest.raises(ConfigError, match="STEP"):
        backend.download(f"{remote_id}:last", tmp_path / "other")


def test_unfinished_job_and_occupied_folder_are_refused(
    together: TogetherEmulator, job: Callable[..., Any], tmp_path: Path
) -> None:
    backend, remote_id = job()
    (tmp_path / "a-file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for place in (tmp_path / "a-file", tmp_path / "full", tmp_path / "a-file" / "inside"):
        with pytest.raises(ConfigError, match=f"{place}"):
            backend.download(remote_id, place)
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"
    together.pace = 6000
    together.jobs[remote_id].timeline.pace = 6000
    with pytest.raises(RejectedError, match="once it has succeeded"):
        backend.download(remote_id, tmp_path / "weights")
    assert downloads(together) == []


# --- broken lines ----------------------------------------------------------------------------------------------------


def test_broken_download_goes_on_where_it_stopped(
    together: TogetherEmulator, job: Callable[..., Any], tmp_path: Path
) -> None:
    together.weights["adapter"] = ADAPTER
    backend, remote_id = job()
    together.fail("cut", method="GET", path=DOWNLOAD)
    backend.download(remote_id, tmp_path / "weights")
    first, second = downloads(together)
    assert (first.status, second.status) == (200, 206)
    start = int(second.request_headers["range"].removeprefix("bytes=").rstrip("-"))
    assert 0 < start < len(first.response_body)
    assert second.request_headers["if-range"] == first.response_headers["etag"]
    assert (tmp_path / "weights" / "adapter_model.safetensors").read_bytes() == ADAPTER["adapter_model.safetensors"]


def test_later_call_goes_on_with_what_an_earlier_one_left(
    together: TogetherEmulator, job: Callable[..., Any], tmp_path: Path
) -> None:
    together.weights["adapter"] = ADAPTER
    backend, remote_id = job()
    together.fail("cut", method="GET", path=DOWNLOAD)
    together.fail("status", method="GET", path=DOWNLOAD, status=503, times=None)
    with pytest.raises(UnavailableError):
        backend.download(remote_id, tmp_path / "weights")
    assert not (tmp_path / "weights").exists()
    together.clear_faults()
    backend.download(remote_id, tmp_path / "weights")
    assert downloads(together)[-1].status == 206
    assert left(tmp_path / "weights") == sorted([*ADAPTER, RECEIPT])


def test_other_content_is_never_joined_to_the_old(
    together: TogetherEmulator, job: Callable[..., Any], tmp_path: Path
) -> None:
    together.weights["adapter"] = ADAPTER
    backend, remote_id = job()
    together.fail("cut", method="GET", path=DOWNLOAD)
    together.fail("status", method="GET", path=DOWNLOAD, status=503, times=None)
    with pytest.raises(UnavailableError):
        backend.download(remote_id, tmp_path / "weights")
    together.clear_faults()
    other = {**ADAPTER, "adapter_model.safetensors": safetensors(BIG[::-1])}
    together.weights["adapter"] = other
    backend.download(remote_id, tmp_path / "weights")
    assert downloads(together)[-1].status == 200, "asked for by If-Range, sent as a whole"
    assert (tmp_path / "weights" / "adapter_model.safetensors").read_bytes() == other["adapter_model.safetensors"]


@pytest.mark.parametrize("switch", ["ranges", "etags"])
def test_server_without_ranges_or_tags_starts_again(
    together: TogetherEmulator, job: Callable[..., Any], tmp_path: Path, switch: str
) -> None:
    setattr(together, switch, False)
    together.weights["adapter"] = ADAPTER
    backend, remote_id = job()
    together.fail("cut", method="GET", path=DOWNLOAD)
    backend.download(remote_id, tmp_path / "weights")
    assert [item.status for item in downloads(together)] == [200, 200]
    assert (tmp_path / "weights" / "adapter_model.safetensors").read_bytes() == ADAPTER["adapter_model.safetensors"]


def test_line_that_always_breaks_is_given_up_and_kept(
    together: TogetherEmulator, job: Callable[..., Any], tmp_path: Path
) -> None:
    together.weights["adapter"] = ADAPTER
    together.ranges = False
    backend, remote_id = job()
    together.fail("cut", method="GET", path=DOWNLOAD, times=None)
    with pytest.raises(UnavailableError):
        backend.download(remote_id, tmp_path / "weights")
    assert 1 < len(downloads(together)) < 20


def test_checksum_of_the_server_is_held(
    together: TogetherEmulator, job: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together.checksums = True
    backend, remote_id = job()
    backend.download(remote_id, tmp_path / "good")
    packed = together._packed

    def flipped(job: Any, kind: str) -> bytes:
        content = bytearray(packed(job, kind))
        content[len(content) // 2] ^= 1
        return bytes(content)

    digest = json.loads((tmp_path / "good" / RECEIPT).read_text())["archive_sha256"]
    together.archives["adapter"] = flipped(together.jobs[remote_id], "adapter")
    monkeypatch.setattr("tuneport.testing.emulators.together.weights.hashlib.sha256", lambda content: Promised(digest))
    with pytest.raises(UnavailableError, match="another sha256 than promised"):
        backend.download(remote_id, tmp_path / "bad")
    assert not (tmp_path / "bad").exists()


class Promised:
    """The digest of what should have been sent."""

    def __init__(self, value: str) -> None:
        self.value = value

    def hexdigest(self) -> str:
        return self.value

    def digest(self) -> bytes:
        return bytes.fromhex(self.value)


def test_killed_download_goes_on_in_the_next_process(
    together: TogetherEmulator, job: Callable[..., Any], tmp_path: Path
) -> None:
    """`kill -9` in the middle: what had come is not asked for again, and what is unpacked is right."""
    together.weights["adapter"] = {**ADAPTER, "adapter_model.safetensors": safetensors(os.urandom(8_000_000))}
    backend, remote_id = job()
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from tuneport.backends import open_backend\n"
        "from tuneport.backends.together import download as together_download\n"
        "from tuneport.settings import Settings\n"
        "write = together_download._storage\n"
        "def slow(part):\n"
        "    time.sleep(0.05)\n"
        "    return write(part)\n"
        "together_download._storage = slow\n"
        "open_backend('together', Settings.load()).download(sys.argv[1], Path(sys.argv[2]))\n"
    )
    environment = {
        **os.environ,
        "TOGETHER_API_KEY": together.key,
        "TUNEPORT_TOGETHER_BASE_URL": together.base_url,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    place = tmp_path / "place"
    child = subprocess.Popen([sys.executable, "-c", script, remote_id, str(place / "weights")], env=environment)
    try:
        until(
            lambda: any(part.stat().st_size > 300_000 for part in place.glob(".*.part")),
            alive=lambda: child.poll() is None,
        )
    finally:
        child.kill()
        child.wait()
    assert not (place / "weights").exists()
    backend.download(remote_id, place / "weights")
    last = downloads(together)[-1]
    assert last.status == 206 and int(last.request_headers["range"][6:-1]) > 300_000
    weights = (place / "weights" / "adapter_model.safetensors").read_bytes()
    assert weights == together.weights["adapter"]["adapter_model.safetensors"]
    assert left(place) == ["weights"]


# --- archives that mean harm, or are damaged -------------------------------------------------------------------------


def member(name: str, content: bytes = b"x", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def archive_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return buffer.getvalue()


GOOD = [member(name, content) for name, content in ADAPTER.items()]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (member("../escaped"), "wants to write to"),
        (member("a/../../escaped"), "wants to write to"),
        (member("/tmp/escaped"), "wants to write to"),
        (member("C:\\escaped"), "wants to write to"),
        (member("link", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "no plain file"),
        (member("link", b"", type=tarfile.LNKTYPE, linkname="adapter_config.json"), "no plain file"),
        (member("pipe", b"", type=tarfile.FIFOTYPE), "no plain file"),
        (member("device", b"", type=tarfile.CHRTYPE), "no plain file"),
        (member("ADAPTER_config.json"), "twice"),
    ],
)
def test_archive_that_would_write_elsewhere_is_not_unpacked(
    together: TogetherEmulator, job: Callable[..., Any], tmp_path: Path, bad: Any, words: str
) -> None:
    together.archives["adapter"] = gzip.compress(archive_of(*GOOD, bad))
    backend, remote_id = job()
    place = tmp_path / "deep" / "place"
    with pytest.raises(ProviderError, match=words) as caught:
        backend.download(remote_id, place / "weights")
    assert (caught.value.code, caught.value.retryable) == ("unsafe_archive", False)
    assert left(place) == [] and left(tmp_path / "deep") == ["place"]
    assert not list(tmp_path.rglob("escaped")) and not Path("/tmp/escaped").exists()


def test_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuneport.backends.together.archive._SPARE", 1 << 20)
    packed = tmp_path / "bomb"
    packed.write_bytes(gzip.compress(archive_of(*GOOD[:1], member("zeros.bin", bytes(64 << 20)))))
    assert packed.stat().st_size < 100_000
    with pytest.raises(ProviderError, match="more than a model of its size"):
        unpack_weights_archive(packed, tmp_path / "weights", {}, "together")
    assert left(tmp_path) == ["bomb"]


@pytest.mark.parametrize("packing", [gzip.compress, emulated_zstandard, lambda content: content])
@pytest.mark.parametrize("cut", [0.3, 0.9])
def test_archive_that_is_cut_short_is_damaged(tmp_path: Path, packing: Callable[[bytes], bytes], cut: float) -> None:
    content = packing(emulated_tar(ADAPTER))
    (tmp_path / "cut").write_bytes(content[: int(len(content) * cut)])
    with pytest.raises(UnavailableError):
        unpack_weights_archive(tmp_path / "cut", tmp_path / "weights", {}, "together")
    assert left(tmp_path) == ["cut"]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"readme.txt": b"hello"}, "holds readme.txt instead of a model"),
        ({"adapter_config.json": b"{}"}, "no weights"),
        ({**ADAPTER, "adapter_model.safetensors": safetensors(BIG)[:-5]}, "long instead of"),
        ({**ADAPTER, "adapter_model.safetensors": b"<html>"}, "no safetensors file"),
    ],
)
def test_archive_without_sound_weights_is_said_to_be_that(tmp_path: Path, files: dict[str, bytes], words: str) -> None:
    (tmp_path / "archive").write_bytes(gzip.compress(emulated_tar(files)))
    with pytest.raises(UnavailableError, match=words):
        unpack_weights_archive(tmp_path / "archive", tmp_path / "weights", {}, "together")
    assert left(tmp_path) == ["archive"]


def test_model_in_a_folder_of_its_own_is_found(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(
        emulated_tar({f"./output/final/{name}": content for name, content in ADAPTER.items()})
    )
    unpack_weights_archive(tmp_path / "archive", tmp_path / "weights", {"job": "ft-1"}, "together")
    assert left(tmp_path / "weights") == sorted([*ADAPTER, RECEIPT])
    assert left(tmp_path) == ["archive", "weights"]


def test_disk_that_is_too_small_is_told_before_the_download(
    together: TogetherEmulator, job: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, remote_id = job()
    import shutil

    real = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: real._replace(free=10))
    with pytest.raises(
        StorageError, match=r"has 10 B free and the download is [\d.]+ kB.*name a folder on another disk"
    ):
        backend.download(remote_id, tmp_path / "weights")
    assert not (tmp_path / "weights").exists()
