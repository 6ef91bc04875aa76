"""Files of an OpenAI account: found again, listed over pages, streamed to disk; large ones in parts that survive."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.folders import CHECKOUT
from tests.support.waiting import until
from tuneport.backends.openai.backend import OpenAIBackend
from tuneport.errors import DatasetError, NotFoundError, RejectedError, StorageError, UnavailableError
from tuneport.manifests import Limit
from tuneport.testing.contract import prepared_chats, write_contract_rows
from tuneport.testing.emulators import OpenAIEmulator
from tuneport.types import PreparedData, TuneSpec

MODEL = "gpt-4.1-mini-2025-04-14"
PART = 2_000


@pytest.fixture
def data(tmp_path: Path) -> PreparedData:
    rows = [
        {"messages": [{"role": "user", "content": f"{n}" * 40}, {"role": "assistant", "content": "x"}]}
        for n in range(99)
    ]
    return PreparedData(training=write_contract_rows(tmp_path / "train.jsonl", rows))


def in_parts(backend: Any, *, one_request: int = 100, at_most: int | None = 10**9) -> Any:
    """The same backend, for which already a small file is large."""
    limits = backend.manifest.limits.model_copy(
        update={
            "max_file_bytes": Limit(value=one_request, source="sdk"),
            "max_upload_bytes": None if at_most is None else Limit(value=at_most, source="sdk"),
        }
    )
    backend.manifest = backend.manifest.model_copy(update={"limits": limits})
    backend.part_bytes = PART
    return backend


def parts_sent(openai: OpenAIEmulator) -> int:
    return len([item for item in openai.requests("POST", "/uploads/*/parts") if item.fault is None])


def test_parts_hold_the_file_and_the_digest_of_it(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    backend = in_parts(connect(openai))
    (file,) = backend.prepare(spec, data)
    assert openai.contents[file.id] == data.training.path.read_bytes()
    assert parts_sent(openai) == -(-data.training.bytes // PART)
    assert len(openai.requests("POST", "/uploads/*/complete")[0].request_json()["md5"]) == 32
    assert max(len(item.request_body) for item in openai.requests("POST", "/uploads/*/parts")) < PART + 1_000


def test_each_part_is_tried_again_by_itself(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    openai.fail("drop_after_accept", path="/uploads/*/parts", skip=1)
    openai.fail("status", path="/uploads/*/parts", status=503, skip=2, times=3)
    backend = in_parts(connect(openai))
    (file,) = backend.prepare(spec, data)
    assert openai.contents[file.id] == data.training.path.read_bytes()
    assert len(openai.requests("POST", "/uploads")) == 1
    assert parts_sent(openai) == -(-data.training.bytes // PART)


def test_after_a_failure_only_what_is_missing_is_sent(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    openai.fail("drop", path="/uploads/*/parts", skip=2, times=4)
    with pytest.raises(UnavailableError):
        list(in_parts(connect(openai)).prepare(spec, data))
    assert parts_sent(openai) == 2
    (file,) = in_parts(connect(openai)).prepare(spec, data)
    assert openai.contents[file.id] == data.training.path.read_bytes()
    assert parts_sent(openai) == -(-data.training.bytes // PART)
    assert len(openai.requests("POST", "/uploads")) == 1


KILLED = """
import sys
from pathlib import Path
from tests.backends.openai.test_files import in_parts
from tests.support.emulated import settings_for
from tuneport.backends import open_backend
from tuneport.types import DataFile, PreparedData, TuneSpec

base_url, key, file = sys.argv[1:]
data = PreparedData(training=DataFile.model_validate_json(file))
backend = in_parts(open_backend("openai", settings_for("openai", base_url, key=key)))
print(list(backend.prepare(TuneSpec(model="gpt-4.1-mini-2025-04-14", dataset=data.training.path), data))[0].id)
"""


def test_process_that_is_killed_between_parts_goes_on_where_it_was(
    openai: OpenAIEmulator, data: PreparedData, tmp_path: Path
) -> None:
    root = CHECKOUT
    command = [sys.executable, "-c", KILLED, openai.base_url, openai.key, data.training.model_dump_json()]
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}"}
    slow = openai.fail("slow", path="/uploads/*/parts", skip=2, times=1, seconds=120)
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    until(lambda: not slow.times, alive=lambda: child.poll() is None)
    child.send_signal(signal.SIGKILL)
    child.wait()
    accepted = parts_sent(openai)
    assert slow.times == 0 and accepted == 2
    openai.stop()  # the answer that nobody waits for
    openai.start()
    openai.log.clear()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert openai.contents[done.stdout.strip()] == data.training.path.read_bytes()
    assert openai.requests("POST", "/uploads") == []
    assert parts_sent(openai) == -(-data.training.bytes // PART) - accepted


@pytest.mark.parametrize("by", ["time", "hand", "another server"])
def test_upload_that_is_no_longer_there_begins_anew(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData, by: str
) -> None:
    openai.fail("drop", path="/uploads/*/parts", skip=2, times=4)
    with pytest.raises(UnavailableError):
        list(in_parts(connect(openai)).prepare(spec, data))
    (state,) = openai.uploads.values()
    if by == "time":
        openai.advance(3_700)
    elif by == "hand":
        state["upload"]["status"] = "cancelled"
    else:
        openai.uploads.clear()
    (file,) = in_parts(connect(openai)).prepare(spec, data)
    assert openai.contents[file.id] == data.training.path.read_bytes()
    assert len(openai.requests("POST", "/uploads")) == 2


def test_upload_that_expires_on_the_way_begins_anew(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    backend = in_parts(connect(openai))
    openai.fail("status", path="/uploads/*/parts", status=400, skip=2)
    (file,) = backend.prepare(spec, data)
    assert openai.contents[file.id] == data.training.path.read_bytes()
    assert [state["upload"]["status"] for state in openai.uploads.values()] == ["cancelled", "completed"]


def test_server_that_takes_no_parts_says_so(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    openai.fail("status", path="/uploads/*/parts", status=400, times=None)
    with pytest.raises(RejectedError):
        list(in_parts(connect(openai)).prepare(spec, data))
    assert len(openai.requests("POST", "/uploads")) == 1


def test_answer_of_the_last_call_that_is_lost_makes_no_second_file(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    openai.fail("drop_after_accept", path="/uploads/*/complete")
    backend = in_parts(connect(openai))
    (file,) = backend.prepare(spec, data)
    assert list(openai.files) == [file.id]
    assert len(openai.requests("POST", "/uploads")) == 1


def test_file_over_the_most_is_refused_with_the_figures_before_anything_is_sent(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    for most in (in_parts(connect(openai), at_most=5_000), in_parts(connect(openai), one_request=5_000, at_most=None)):
        with pytest.raises(DatasetError, match=f"{data.training.bytes:,} bytes.*5,000") as caught:
            list(most.prepare(spec, data))
        assert caught.value.path == str(spec.dataset)
    assert openai.log == []


def test_journal_holds_no_key_and_no_address(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    backend = connect(openai)
    list(backend.prepare(spec, data))
    (journal,) = (backend.settings.home / "files").glob("*.upload.json")
    assert data.training.sha256 in journal.name
    for secret in (openai.key, "127.0.0.1"):
        assert secret not in journal.read_text() and secret not in journal.name


def test_file_that_no_list_shows_yet_is_not_sent_again(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    openai.file_lag = 3_600
    first = list(connect(openai).prepare(spec, data))
    second = list(connect(openai).prepare(spec, data))
    assert first == second and len(openai.requests("POST", "/files")) == 1


@pytest.mark.parametrize("content", [b"", b"not JSON", b'{"file_id": 7}', b'{"file_id": "file-unknown"}'])
def test_journal_that_is_wrong_costs_a_look_at_the_list(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData, content: bytes
) -> None:
    first = list(connect(openai).prepare(spec, data))
    (journal,) = (connect(openai).settings.home / "files").glob("*.upload.json")
    journal.write_bytes(content)
    assert list(connect(openai).prepare(spec, data)) == first
    assert len(openai.requests("POST", "/files")) == 1
    assert json.loads(journal.read_text())["file_id"] == first[0].id


def test_file_that_was_deleted_is_sent_again(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    backend = connect(openai)
    (first,) = backend.prepare(spec, data)
    backend.delete_file(first.id)
    (second,) = backend.prepare(spec, data)
    assert second.id != first.id and openai.contents[second.id] == data.training.path.read_bytes()


@pytest.mark.parametrize("fault", ["drop", "drop_after_accept", "cut"])
def test_lost_answer_makes_no_second_file(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData, fault: Any
) -> None:
    openai.fail(fault, method="POST", path="/files")
    (file,) = connect(openai).prepare(spec, data)
    assert list(openai.files) == [file.id]


def many_files(openai: OpenAIEmulator, count: int) -> None:
    for number in range(count):
        openai._add_file(f"file-{number}.jsonl", "fine-tune", b"x")


def test_account_of_ten_thousand_files_is_looked_through(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    first = connect(openai)
    (file,) = first.prepare(spec, data)
    many_files(openai, 10_000)
    openai.files_page = 1_000
    for journal in (first.settings.home / "files").glob("*.upload.json"):
        journal.unlink()
    before = len(openai.log)
    assert list(connect(openai).prepare(spec, data)) == [file]
    assert len([item for item in openai.log[before:] if item.path == "/v1/files"]) == 11
    listed = list(first.list_files())
    assert len(listed) == len({row.id for row in listed}) == 10_001


class Changing(OpenAIEmulator):
    """Deletes the file at the end of the first page before the second one is asked for, and ignores cursors if told."""

    deletes = True
    ignores_cursor = False

    def _page(self, request: Any, things: list[dict[str, Any]], *more: Any, **options: Any) -> dict[str, Any]:
        after = request.query.get("after")
        if after in self.files and self.deletes:
            self.deletes = False
            del self.files[after], self.contents[after]
            things = [thing for thing in things if thing["id"] != after]
        if self.ignores_cursor:
            request.query.pop("after", None)
        return super()._page(request, things, *more, **options)


def test_list_survives_what_is_deleted_between_its_pages(connect: Callable[..., Any]) -> None:
    with Changing(files_page=3) as openai:
        many_files(openai, 8)
        listed = [row.filename for row in connect(openai).list_files()]
    assert sorted(listed) == [f"file-{number}.jsonl" for number in range(8)], "the one that is gone was seen before"


def test_server_that_ignores_the_cursor_is_not_asked_for_ever(connect: Callable[..., Any]) -> None:
    with Changing(files_page=3) as openai:
        openai.deletes, openai.ignores_cursor = False, True
        many_files(openai, 8)
        assert len(list(connect(openai).list_files())) == 3
        assert len(openai.requests("GET", "/files")) < 5


def test_lists_tell_result_files_apart(openai: OpenAIEmulator, connect: Callable[..., Any], tmp_path: Path) -> None:
    backend, data = connect(openai), prepared_chats(tmp_path)
    spec = TuneSpec(model=MODEL, dataset=data.training.path)
    backend.submit(spec, list(backend.prepare(spec, data)), token="t" * 32)
    openai.advance(100)
    listed = {row.purpose: row for row in backend.list_files()}
    assert set(listed) == {"training", "result"}
    assert listed["result"].filename == "step_metrics.csv"
    assert all(row.created_at is not None and row.created_at.tzinfo for row in listed.values())


def test_saved_file_is_whole_or_not_there(openai: OpenAIEmulator, connect: Callable[..., Any], tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    file_id = openai._add_file("big.jsonl", "fine-tune", content)["id"]
    backend, target = connect(openai), tmp_path / "out" / "big.jsonl"
    with pytest.raises(StorageError):
        backend.save_file(file_id, target)
    target.parent.mkdir()
    openai.fail("cut", path="/files/*/content", times=4)
    with pytest.raises(UnavailableError):
        backend.save_file(file_id, target)
    assert list(target.parent.iterdir()) == []
    openai.fail("cut", path="/files/*/content")  # and again, once
    assert backend.save_file(file_id, target) == target
    assert target.read_bytes() == content and list(target.parent.iterdir()) == [target]


def test_parts_are_small_enough_for_the_api() -> None:
    assert OpenAIBackend.part_bytes <= 64 * 2**20


def test_answer_without_an_id_is_no_file(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    openai.fail("status", method="POST", path="/files", status=200, body={"object": "file", "id": None}, times=None)
    with pytest.raises(UnavailableError, match="no id"):
        list(connect(openai).prepare(spec, data))
    openai.fail("status", method="POST", path="/uploads", status=200, body={"object": "upload"}, times=None)
    with pytest.raises(UnavailableError, match="no id"):
        list(in_parts(connect(openai)).prepare(spec, data))


def test_deletion_whose_answer_is_lost_is_no_error(openai: OpenAIEmulator, connect: Callable[..., Any]) -> None:
    file_id = openai._add_file("a.jsonl", "fine-tune", b"x")["id"]
    openai.fail("drop_after_accept", method="DELETE", path="/files/*")
    backend = connect(openai)
    backend.delete_file(file_id)
    with pytest.raises(NotFoundError):
        backend.delete_file(file_id)
