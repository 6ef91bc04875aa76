"""A real PostgreSQL server."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.system_packages import postgres_programs


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
