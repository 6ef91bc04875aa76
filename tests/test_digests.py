"""Lists of SHA-256: what coreutils reads and writes, and every damage found."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tuneport import digests
from tuneport.digests import DamagedError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Weights, a text, and a file in a folder, with the list that coreutils makes of them."""
    made = tmp_path / "weights"
    (made / "part").mkdir(parents=True)
    contents = {"model.safetensors": random.Random(1).randbytes(5000), "README.md": b"A card.\n", "part/a.pt": b"0123"}
    for name, content in contents.items():
        (made / name).write_bytes(content)
    told = subprocess.run(["sha256sum", *sorted(contents)], cwd=made, capture_output=True, text=True, check=True).stdout
    (made / "SHA256SUMS").write_text(told)
    return made


def test_the_list_is_that_of_coreutils(folder: Path) -> None:
    by_coreutils = (folder / "SHA256SUMS").read_text()
    assert digests.check_digests(folder, exact=True)
    digests.write_digest_list(folder)
    assert sorted((folder / "SHA256SUMS").read_text().splitlines()) == sorted(by_coreutils.splitlines())


@pytest.mark.parametrize("seed", range(20))
def test_one_bit_anywhere_is_found(folder: Path, seed: int) -> None:
    """In a file or in the list itself."""
    dice = random.Random(seed)
    path = dice.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
    content = bytearray(path.read_bytes())
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    path.write_bytes(bytes(content))
    with pytest.raises(DamagedError) as found:
        digests.check_digests(folder, exact=True)
    assert "\n" not in str(found.value) and str(folder) in str(found.value)
    if path.name != "SHA256SUMS":
        assert found.value.name == path.relative_to(folder).as_posix()


def test_what_is_missing_or_in_no_list_is_found(folder: Path) -> None:
    lines = (folder / "SHA256SUMS").read_text().splitlines(keepends=True)
    for kept in range(len(lines)):
        (folder / "SHA256SUMS").write_text("".join(lines[:kept]))
        with pytest.raises(DamagedError):
            digests.check_digests(folder, exact=True)
    (folder / "SHA256SUMS").write_text("".join(lines))
    (folder / "part" / "a.pt").rename(folder / "b.txt")
    with pytest.raises(DamagedError, match="part/a.pt is missing"):
        digests.check_digests(folder)


def test_without_a_list_nothing_is_said(folder: Path) -> None:
    (folder / "SHA256SUMS").unlink()
    assert digests.check_digests(folder) is False and digests.check_digests_once(folder) is False


def test_a_folder_is_read_again_when_it_changes(folder: Path) -> None:
    assert digests.check_digests_once(folder)
    path = folder / "model.safetensors"
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[7] ^= 1
    path.write_bytes(bytes(content))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # of the same size and time
    with pytest.raises(DamagedError, match="model.safetensors"):
        digests.check_digests_once(folder)


def test_a_part_of_a_folder_takes_its_part_of_the_list(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    target.mkdir()
    (target / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    assert digests.carry_digest_list(folder, target)
    assert subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=target, capture_output=True).returncode == 0
    (target / "model.safetensors").write_bytes(b"damaged on its way")
    with pytest.raises(DamagedError):
        digests.carry_digest_list(folder, target)


@pytest.mark.parametrize("name", ["/etc/hostname", "../elsewhere", "part/../../elsewhere"])
def test_a_list_names_only_files_of_its_folder(folder: Path, name: str) -> None:
    """Whoever wrote the list would else learn, from the answer, what other files hold."""
    (folder.parent / "elsewhere").write_bytes(b"secret")
    outside = (folder / name).read_bytes()
    with (folder / "SHA256SUMS").open("a") as file:
        file.write(f"{hashlib.sha256(outside).hexdigest()}  {name}\n")
    with pytest.raises(DamagedError, match="which is not in this folder") as found:
        digests.check_digests(folder)
    assert found.value.name == "SHA256SUMS" and "\n" not in str(found.value)
    assert digests.check_weights(folder) is False


@pytest.mark.parametrize("kind", ["link", "folder", "pipe", "device"])
def test_what_is_no_file_of_the_folder_is_not_read(folder: Path, kind: str) -> None:
    """A pipe or a device would keep the process for ever, so each check has a process of its own."""
    (folder / "part" / "a.pt").unlink()
    if kind == "link":
        (folder.parent / "a.pt").write_bytes(b"0123")
        (folder / "part" / "a.pt").symlink_to(folder.parent / "a.pt")
    elif kind == "folder":
        (folder / "part").rmdir()
        (folder.parent / "other").mkdir()
        (folder.parent / "other" / "a.pt").write_bytes(b"0123")
        (folder / "part").symlink_to(folder.parent / "other")
    elif kind == "pipe":
        os.mkfifo(folder / "part" / "a.pt")
    else:
        (folder / "part" / "a.pt").symlink_to("/dev/zero")
    code = "import sys, pathlib; from tuneport import digests; digests.check_digests(pathlib.Path(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=10)
    assert "part/a.pt is a link or no regular file" in done.stderr


def test_a_list_that_is_a_pipe_is_not_read(folder: Path) -> None:
    (folder / "SHA256SUMS").unlink()
    os.mkfifo(folder / "SHA256SUMS")
    code = "import sys, pathlib; from tuneport import digests; digests.check_digests(pathlib.Path(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=10)
    assert "SHA256SUMS is no list of SHA-256 digests" in done.stderr
