"""Files that appear whole or not at all, lines that a kill cut short, and locks between processes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tuneport.files import (
    acquire_file_lock,
    append_line,
    cut_partial_line,
    hold_file_lock,
    is_file_locked,
    publish_folder,
    replace_file_atomically,
    write_atomically,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    return made


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("content", ["naïve\n", b"\x00\xff"])
def test_a_file_is_replaced_whole(folder: Path, content: str | bytes, durable: bool) -> None:
    path = folder / "state.json"
    path.write_text("old")
    write_atomically(path, content, durable=durable)
    assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert os.listdir(folder) == ["state.json"]


def test_an_exception_leaves_the_old_file_and_no_trace(folder: Path) -> None:
    path = folder / "state.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replace_file_atomically(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and os.listdir(folder) == ["state.json"]


@pytest.mark.parametrize(("private", "mode"), [(True, 0o600), (False, 0o640)])
def test_a_private_file_is_its_owners_and_another_follows_the_umask(folder: Path, private: bool, mode: int) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(folder / "file", "x", private=private)
        descriptor = acquire_file_lock(folder / "lock", private=private)
    finally:
        os.umask(before)
    assert descriptor is not None
    os.close(descriptor)
    assert mode_of(folder / "file") == mode_of(folder / "lock") == mode


def test_a_folder_that_a_group_shares_keeps_its_files_shared(folder: Path) -> None:
    folder.chmod(0o2770)
    write_atomically(folder / "file", "x")
    assert mode_of(folder / "file") == 0o660


def test_readers_see_the_old_content_or_the_new(folder: Path) -> None:
    path = folder / "state.json"
    contents = {b"a" * 100_000, b"b" * 150_000}
    write_atomically(path, b"a" * 100_000)
    ended = threading.Event()

    def write() -> None:
        while not ended.is_set():
            for content in contents:
                write_atomically(path, content, durable=False)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert {path.read_bytes() for _ in range(300)} <= contents
    finally:
        ended.set()
        writer.join()


def test_a_published_folder_appears_with_all_it_holds(folder: Path) -> None:
    written = folder / ".writing"
    (written / "inner").mkdir(parents=True)
    (written / "inner" / "weights").write_text("w")
    publish_folder(written, folder / "checkpoints" / "step-1")
    assert (folder / "checkpoints" / "step-1" / "inner" / "weights").read_text() == "w" and not written.exists()


@pytest.mark.parametrize(
    ("there", "left"), [("", ""), ("one\n", "one\n"), ("one\ntw", "one\n"), ("half", ""), ("one\n\n", "one\n\n")]
)
def test_what_a_killed_writer_left_of_a_line_is_dropped(folder: Path, there: str, left: str) -> None:
    path = folder / "metrics.jsonl"
    path.write_text(there)
    append_line(path, "é")
    assert path.read_text() == left + "é\n"
    path.write_text(there)
    cut_partial_line(path)
    assert path.read_text() == left


def test_there_is_nothing_to_cut_without_a_file(folder: Path) -> None:
    cut_partial_line(folder / "metrics.jsonl")
    append_line(folder / "events.jsonl", b"first")
    assert os.listdir(folder) == ["events.jsonl"] and mode_of(folder / "events.jsonl") == 0o600


def test_one_at_a_time_holds_a_lock(folder: Path) -> None:
    path = folder / "lock"
    assert not is_file_locked(path)
    with hold_file_lock(path) as mine:
        assert mine and is_file_locked(path) and acquire_file_lock(path) is None
        with hold_file_lock(path, wait=False) as other:
            assert not other
    assert not is_file_locked(path)
    with pytest.raises(ValueError, match="inside"), hold_file_lock(path):
        raise ValueError("inside")
    assert not is_file_locked(path)


def test_a_lock_is_waited_for_and_is_free_when_its_process_is_killed(folder: Path) -> None:
    hold = "import sys, time; from tuneport.files import acquire_file_lock; from pathlib import Path; "
    hold += "lock = acquire_file_lock(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", hold, str(folder / "lock")], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "held\n"
    assert is_file_locked(folder / "lock")
    threading.Timer(0.2, child.kill).start()
    with hold_file_lock(folder / "lock") as mine:
        assert mine and child.wait() < 0
    child.stdout.close()
