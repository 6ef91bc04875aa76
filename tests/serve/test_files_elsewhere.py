"""Contents by TUNEPORT_FILES_URL: two gateways with homes of their own share them, whole, and as long as needed.

S3 is moto's server on loopback, asked by the real s3fs; `local` is a folder as a store that has no objects.
"""

from __future__ import annotations

import hashlib
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Any

import fsspec
import httpx
import pytest

from tests.support.folders import CHECKOUT
from tests.support.gateways import Running, chats, serving
from tests.support.waiting import until
from tuneport.errors import ConfigError, StorageError
from tuneport.lifecycle.contents.contents import ContentGoneError
from tuneport.lifecycle.contents.remote_contents import open_contents
from tuneport.lifecycle.service import JobService
from tuneport.serve import Gateway, background
from tuneport.serve.jobs.job_maker import make_job_of_request, make_jobs_of_requests
from tuneport.settings import Settings
from tuneport.types import JobStatus
from tuneport.workflows.doctor import _files

openai = pytest.importorskip("openai", reason="the client of these tests: pip install 'tuneport[openai]'")

ROWS = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'


def at(*protocols: Any) -> Any:
    return pytest.mark.parametrize("url", protocols, indirect=True)


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    prefix = f"bucket-{os.urandom(4).hex()}"
    if request.param in ("file", "local"):
        return f"{request.param}://{tmp_path}/{prefix}"
    if request.param == "s3":
        request.getfixturevalue("at_s3")(request.getfixturevalue("s3"))
        fsspec.filesystem("s3").mkdir(prefix)
    return f"{request.param}://{prefix}/deep/er"


def kept(url: str) -> list[str]:
    """What is in the store of files, but for the mark."""
    files, prefix = fsspec.url_to_fs(url)
    files.invalidate_cache()
    return [key for key in files.find(prefix) if key != f"{prefix}/tuneport"]


def settings(tmp_path: Path, home: str, url: str | None, database: str | None = None) -> Settings:
    environment = {
        "TUNEPORT_HOME": str(tmp_path / home),
        "TUNEPORT_DATABASE_URL": database or f"sqlite:///{tmp_path}/shared.db",
        "TUNEPORT_BACKEND": "fake",
    }
    return Settings.load(tmp_path, environment | ({} if url is None else {"TUNEPORT_FILES_URL": url}))


@pytest.fixture
def two(tmp_path: Path, url: str) -> Iterator[list[Running]]:
    """Two machines' gateways: one store, one store of files, nothing else in common. Nothing goes on by itself."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(serving(Gateway(settings(tmp_path, home, url)), background=False))
            for home in ("a", "b")
        ]


@at("file", "local", "s3")
def test_what_one_gateway_takes_the_other_has(two: list[Running], url: str, tmp_path: Path) -> None:
    a, b = (each.client() for each in two)
    first = a.files.create(file=("a.jsonl", ROWS), purpose="fine-tune")
    second = b.files.create(file=("b.jsonl", ROWS), purpose="fine-tune")
    assert len(kept(url)) == 1
    assert kept(url)[0].endswith(f"/{(sha := hashlib.sha256(ROWS).hexdigest())[:2]}/{sha}.jsonl")
    assert b.files.content(first.id).read() == ROWS
    a.files.delete(first.id)
    assert b.files.content(second.id).read() == ROWS
    a.files.delete(second.id)
    assert kept(url) == []

    upload = a.uploads.create(filename="c.jsonl", bytes=2 * len(ROWS), purpose="fine-tune", mime_type="text/jsonl")
    parts = [client.uploads.parts.create(upload.id, data=ROWS).id for client in (a, b)]
    md5 = hashlib.md5(ROWS * 2).hexdigest()
    joined = b.uploads.complete(upload.id, part_ids=parts, md5=md5).file
    assert a.files.content(joined.id).read() == ROWS * 2
    for each in two:
        background.remove_unneeded_gateway_files(each.gateway)
    assert len(kept(url)) == 1, "the parts are gone"
    for each in two:
        assert httpx.get(f"{each.url.removesuffix('/v1')}/readyz").status_code == 503, "nothing runs behind it"
        assert each.gateway.contents.check_writable() is None


@at("s3")
def test_one_takes_the_file_and_another_makes_and_runs_the_job(two: list[Running], url: str, tmp_path: Path) -> None:
    """The file is deleted meanwhile; and who prepared the data is not who uploads it."""
    a, b = two
    file = a.client().files.create(file=chats(tmp_path / "c.jsonl"), purpose="fine-tune")
    job = b.client().fine_tuning.jobs.create(model="stand-in", training_file=file.id)
    make_jobs_of_requests(b.gateway)
    a.client().files.delete(file.id)
    assert len(kept(url)) == 1, "the job is not at its backend yet"
    prepared = b.gateway.unscoped.store.jobs.get(job.id).prepared_data.training
    assert prepared.path.is_relative_to(tmp_path / "b")
    prepared.path.rename(tmp_path / "out-of-reach")
    row = a.gateway.unscoped.drive(job.id, poll_seconds=0.01)
    assert row.job_status is JobStatus.SUCCEEDED, row.error
    sent = a.gateway.unscoped.backend("fake").read_file(a.gateway.unscoped.store.files.list_job_files(job.id)[0].id)
    assert hashlib.sha256(sent).hexdigest() == prepared.sha256
    needed = a.gateway.unscoped.store.uploaded.is_content_needed
    stray = hashlib.sha256((tmp_path / "c.jsonl").read_bytes()).hexdigest()
    assert list(a.gateway.contents.find_strays(needed, seconds=-60)) == [stray]


@at("file", "s3")
def test_what_is_gone_or_damaged_is_told(two: list[Running], url: str) -> None:
    a, b = two
    files, _ = fsspec.url_to_fs(url)
    file = a.client().files.create(file=("a.jsonl", ROWS), purpose="fine-tune")
    (key,) = kept(url)
    if not url.startswith("file:"):  # there the disk's own word counts
        files.pipe_file(key, b"others")
        with pytest.raises(ContentGoneError, match="is damaged in .*: other bytes lie under its name; upload it"):
            b.gateway.contents.fetch_content(hashlib.sha256(ROWS).hexdigest())
    files.rm_file(key)
    with pytest.raises(openai.NotFoundError, match=f"The content of {file.id} is gone from the gateway"):
        b.client().files.content(file.id)
    with pytest.raises(openai.BadRequestError, match=f"The content of {file.id} is gone from the gateway; upload it"):
        b.client().fine_tuning.jobs.create(model="stand-in", training_file=file.id)
    again = b.client().files.create(file=("a.jsonl", ROWS), purpose="fine-tune")
    assert a.client().files.content(again.id).read() == ROWS
    leftovers = [path for path in (b.gateway.contents.folder / "incoming").glob("*")]
    assert leftovers == []


@at("memory")
def test_copies_and_strays_go_in_time(two: list[Running], url: str) -> None:
    a, b = (each.gateway.contents for each in two)
    with a.open_incoming() as incoming:
        incoming.write(ROWS)
        incoming.flush()
        sha256 = incoming.keep()
    copy = b.fetch_content(sha256)
    assert (
        list(b.find_strays(lambda sha256: False)) == [] and list(b.find_strays(lambda sha256: True, seconds=-60)) == []
    )
    b.remove_unfinished(seconds=-60)
    assert not copy.exists()
    assert b.fetch_content(sha256).read_bytes() == ROWS
    assert list(b.find_strays(lambda sha256: False, seconds=-60)) == [sha256]


def test_a_store_that_does_not_answer(
    tmp_path: Path,
    s3: str,
    at_s3: Callable[[str], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    at_s3(s3)
    asked = settings(tmp_path, "a", "s3://no-such-bucket/deep")
    assert [(each.verdict, "no-such-bucket" in each.message) for each in _files(asked)] == [("fail", True)]
    fsspec.filesystem("s3").mkdir("no-such-bucket")
    assert [each.verdict for each in _files(asked)] == ["ok"]
    at_s3("http://127.0.0.1:9")
    with serving(Gateway(asked), background=False) as running:
        began = time.monotonic()
        answer = httpx.get(f"{running.url.removesuffix('/v1')}/readyz", timeout=30)
        print(f"readyz without S3: {time.monotonic() - began:.1f} s")
        assert answer.status_code == 503 and answer.json()["error"]["code"] == "files_unavailable"
        with pytest.raises(openai.InternalServerError, match="store of files does not answer; try again") as refused:
            running.client().files.create(file=("a.jsonl", ROWS), purpose="fine-tune")
        assert refused.value.status_code == 503
        assert running.client().files.list().data == []
    assert "s3://no-such-bucket/deep does not work: Could not connect" in caplog.text
    assert "secret-of-s3" not in caplog.text and "secret-of-s3" not in answer.text


def test_jobs_wait_for_a_store_that_does_not_answer(
    tmp_path: Path,
    s3: str,
    at_s3: Callable[[str], None],
) -> None:
    at_s3(s3)
    fsspec.filesystem("s3").mkdir("waits")
    with serving(Gateway(settings(tmp_path, "a", "s3://waits/deep")), background=False) as running:
        file = running.client().files.create(file=chats(tmp_path / "c.jsonl"), purpose="fine-tune")
        job_id = running.client().fine_tuning.jobs.create(model="stand-in", training_file=file.id).id
    for address, state in (("http://127.0.0.1:9", "waiting"), (s3, "taken")):
        at_s3(address)
        with Gateway(settings(tmp_path, "b", "s3://waits/deep")) as other:
            asked = other.unscoped.store.requests.get(job_id)
            assert asked is not None
            other.unscoped.store.requests.defer(job_id, str(asked.lease_owner), seconds=-1)
            request = other.unscoped.store.requests.claim_oldest("the test")
            assert request is not None
            make_job_of_request(other, request, "the test")
            asked = other.unscoped.store.requests.get(job_id)
            assert asked is not None and (asked.state, asked.error) == (state, None)


def test_a_store_that_hangs_holds_one_thread(tmp_path: Path, at_s3: Callable[[str], None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        at_s3(f"http://127.0.0.1:{silent.getsockname()[1]}")
        contents = open_contents(settings(tmp_path, "a", "s3://hangs"), nullcontext, check_seconds=0.3)

        def ask() -> None:
            with suppress(StorageError):
                contents.check_writable()

        hanging = threading.Thread(target=ask, daemon=True)
        hanging.start()
        time.sleep(0.3)
        with pytest.raises(StorageError, match="s3://hangs does not answer; check it and the way there"):
            contents.check_writable()
        assert hanging.is_alive()
    hanging.join(20)
    assert not hanging.is_alive(), "nobody listens there any more"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("s3://me:hunter2@bucket", "holds a password or a query; leave them out"),
        ("abfs://box/p?sig=hunter2", "holds a password or a query; leave them out"),
        ("bucket/prefix", "write a whole URL, such as s3://bucket/prefix"),
        ("file://folder", "write a whole URL, such as"),
        ("dropboxx://hunter", "cannot be opened: Protocol not known"),
        ("oci://bucket/p", "needs a package: .*pip install ocifs"),
    ],
)
def test_an_address_that_cannot_work_is_told_in_one_line(tmp_path: Path, given: str, message: str) -> None:
    with JobService(settings(tmp_path, "a", given)) as workspace, pytest.raises(ConfigError, match=message) as refused:
        _ = workspace.contents
    assert "hunter2" not in str(refused.value) and "\n" not in str(refused.value)


def test_a_full_disk_here_is_no_fault_of_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        JobService(settings(tmp_path, "a", "memory://full")) as workspace,
        workspace.contents.open_incoming() as incoming,
    ):
        full = OSError(28, "No space left on device")
        monkeypatch.setattr(
            type(workspace.contents._files), "put_file", lambda *given, **named: (_ for _ in ()).throw(full)
        )
        incoming.write(ROWS)
        with pytest.raises(StorageError, match="is full; make room"):
            incoming.flush()


WRITER = """
import contextlib, os
from tuneport.lifecycle.contents.remote_contents import open_contents
from tuneport.settings import Settings
contents = open_contents(Settings.load(), contextlib.nullcontext)
for number in range(10**6):
    if number == 1:
        print("one is kept", flush=True)
    with contents.open_incoming() as incoming:
        for _ in range(24):
            incoming.write(os.urandom(1 << 20))
        incoming.flush()
        incoming.keep()
"""


@at("local", pytest.param("s3", marks=pytest.mark.full))
def test_killed_at_any_moment_it_leaves_no_half_file(tmp_path: Path, url: str) -> None:
    dice, found = random.Random(7), set[str]()
    environment = {
        **os.environ, "PYTHONPATH": str(CHECKOUT / "src"), "TUNEPORT_HOME": str(tmp_path / "killed"),
        "TUNEPORT_FILES_URL": url,
    }  # fmt: skip
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", WRITER], stdout=subprocess.PIPE, env=environment)
        assert writer.stdout is not None and writer.stdout.readline() == b"one is kept\n"
        time.sleep(0.3 + dice.random())
        writer.kill()
        writer.wait()
        writer.stdout.close()
        files, _ = fsspec.url_to_fs(url)
        for key in kept(url):
            if "/incoming/" not in key and key not in found:
                found.add(key)
                assert hashlib.sha256(files.cat_file(key)).hexdigest() == Path(key).stem
    assert len(found) >= 3


def raced(a: Gateway, b: Gateway, seconds: float) -> int:
    """Both take and delete the same content all the while: what has a row has its content. How often that was seen."""
    seen, wrong, ended = [0], list[Any](), threading.Event()

    def bring(gateway: Gateway) -> None:
        while not ended.is_set():
            with gateway.contents.open_incoming() as incoming:
                incoming.write(ROWS)
                incoming.flush()
                with gateway.contents.lock_contents():
                    row = gateway.unscoped.store.uploaded.add(
                        incoming.keep(), filename="a.jsonl", purpose="fine-tune", bytes=len(ROWS)
                    )
            if not gateway.contents._there(gateway.contents._key(row.sha256)):  # type: ignore[attr-defined]
                wrong.append(row.id)
            seen[0] += 1
            with gateway.contents.lock_contents():
                if (unneeded := gateway.unscoped.store.uploaded.remove(row.id)) is not None:
                    gateway.contents.remove(unneeded)

    threads = [threading.Thread(target=bring, args=(each,)) for each in (a, b, a, b)]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    until(lambda: seen[0] > 10)
    ended.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    return seen[0]


def test_taken_and_deleted_at_once_a_row_has_its_content(tmp_path: Path) -> None:
    with ExitStack() as stack:
        a, b = (stack.enter_context(Gateway(settings(tmp_path, home, "memory://raced"))) for home in ("a", "b"))
        raced(a, b, 1.0)
        assert kept("memory://raced") == []


@pytest.mark.full
def test_on_postgresql_the_database_keeps_two_machines_apart(tmp_path: Path, postgres: str) -> None:
    with ExitStack() as stack:
        a, b = (
            stack.enter_context(Gateway(settings(tmp_path, home, "memory://apart", postgres))) for home in ("a", "b")
        )
        assert raced(a, b, 5.0) > 50
        assert kept("memory://apart") == []
        assert not list(tmp_path.rglob("*lock*")), "no file has a part in it"
