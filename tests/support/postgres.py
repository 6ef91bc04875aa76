"""A real PostgreSQL server."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.system_packages import postgres_programs


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A PostgreSQL server of the test's own on a loopback port, ended with it."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed; `make test-full` installs it as root on Debian")
    # Not in pytest's own folder: each run of pytest, those that tests start included, closes that to the server's user
    # and sweeps what is old in it.
    folder = Path(tempfile.mkdtemp(prefix="tuneport-postgres-"))
    owner = os.getpid()
    user: dict[str, int] = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        entry = pwd.getpwnam("postgres")
        user = {"user": entry.pw_uid, "group": entry.pw_gid}
        os.chown(folder, entry.pw_uid, entry.pw_gid)
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
        if os.getpid() == owner:  # a child that a test forked ends here, too
            stop = [programs / "pg_ctl", "-D", folder / "data", "-m", "immediate", "stop"]
            subprocess.run(stop, **run)  # type: ignore[call-overload]
            shutil.rmtree(folder)
