from __future__ import annotations

import json
import os
import pwd
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system_packages import postgres_programs
from tuneport.backends.fake import FakeBackend
from tuneport.jobs.service import Workspace
from tuneport.settings import Settings
from tuneport.types import TuneSpec


def write_chats(path: Path, rows: int = 12) -> Path:
    """A small chat dataset with one question and answer a row, all different."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            messages = [
                {"role": "user", "content": f"Question number {number}?"},
                {"role": "assistant", "content": f"Answer {number}."},
            ]
            file.write(json.dumps({"messages": messages}) + "\n")
    return path


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server of the test's own on a loopback port, ended with it."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed; `make test-full` installs it as root on Debian")
    folder = tmp_path_factory.mktemp("postgres")
    user: dict[str, int] = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        entry = pwd.getpwnam("postgres")
        user = {"user": entry.pw_uid, "group": entry.pw_gid}
        os.chown(folder, entry.pw_uid, entry.pw_gid)
        for parent in [folder, *folder.parents]:
            if parent.stat().st_uid == 0 and str(parent).startswith(str(tmp_path_factory.getbasetemp().parent.parent)):
                parent.chmod(parent.stat().st_mode | 0o055)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run = {"check": True, "capture_output": True, "cwd": "/", **user}
    subprocess.run([programs / "initdb", "-D", folder / "data", "-U", "tuneport", "-A", "trust"], **run)  # type: ignore[call-overload]
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    start = [programs / "pg_ctl", "-D", folder / "data", "-o", options, "-l", folder / "log", "-w", "start"]
    subprocess.run(start, **run | {"capture_output": False, "stdout": subprocess.DEVNULL})  # type: ignore[call-overload]
    try:
        yield f"postgresql+psycopg://tuneport@127.0.0.1:{port}/postgres"
    finally:
        # Not checked: other runs of pytest may have swept its folder away by now, and the server ends with that, too.
        stop = [programs / "pg_ctl", "-D", folder / "data", "-m", "immediate", "stop"]
        subprocess.run(stop, **run | {"check": False})  # type: ignore[call-overload]


@pytest.fixture
def dataset(isolated: Path) -> Path:
    return write_chats(isolated / "train.jsonl")


@pytest.fixture
def workspace(settings: Settings) -> Iterator[Workspace]:
    with Workspace(settings) as opened:
        yield opened


@pytest.fixture
def fake(workspace: Workspace) -> FakeBackend:
    backend = workspace.backend("fake")
    assert isinstance(backend, FakeBackend)
    return backend


@pytest.fixture
def start(workspace: Workspace, dataset: Path) -> Callable[..., str]:
    """Submit a spec to the fake backend and return the job's id; nothing has been driven yet."""

    def submit(**values: object) -> str:
        spec = TuneSpec.model_validate({"model": "base", "dataset": dataset} | values)
        return workspace.submit(spec, backend="fake").id

    return submit
