"""A Ray cluster of one machine, for a run without RAY_ADDRESS: started and stopped for this run alone.

It listens on loopback only and asks for a token that only this user can read. It outlives the process that started it,
so that a run continues after that was killed; the next process finds it by a file, its book.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tuneport.errors import TrainingError
from tuneport.types import Model

OBJECT_STORE_BYTES = 200 * 1024**2
_SECONDS_TO_START = 180.0
_SECONDS_TO_STOP = 20.0


class TrainingRayCluster(Model):
    """`folder` holds all of its files, and is in the command line of each of its processes."""

    folder: Path
    dashboard_port: int

    @classmethod
    def choose_folder_and_port(cls) -> TrainingRayCluster:
        """Choose the folder and port of a new cluster. The path of its socket may have about 100 characters, hence the
        short folder."""
        folder = Path(tempfile.gettempdir()) / f"tuneport-ray-{secrets.token_hex(4)}"
        return cls(folder=folder, dashboard_port=_free_port())

    @property
    def token_path(self) -> Path:
        return self.folder / "token"

    def export_ray_address(self) -> None:
        """Point this process at it, before it imports ray."""
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token_path)}

    def dashboard_address(self) -> str | None:
        """Return the address of its dashboard, or None if it does not run."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.dashboard_port), timeout=5):
            return f"http://127.0.0.1:{self.dashboard_port}"
        return None

    def start(self, workers: int, home: Path) -> None:
        """Start the cluster. Raises TrainingError if it does not come up."""
        self.folder.mkdir(mode=0o700)
        self.token_path.touch(mode=0o600)
        self.token_path.write_text(secrets.token_hex(32), encoding="ascii")
        command = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"),
            *("--node-ip-address", "127.0.0.1", "--port", "0", "--dashboard-host", "127.0.0.1"),
            *("--dashboard-port", str(self.dashboard_port), "--dashboard-agent-listen-port", str(_free_port())),
            *("--num-cpus", str(max(os.cpu_count() or 1, workers)), "--temp-dir", str(self.folder)),
            *("--object-store-memory", str(OBJECT_STORE_BYTES), "--ray-client-server-port", str(_free_port())),
        ]
        environment = os.environ | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token_path),
            "RAY_USAGE_STATS_ENABLED": "0",
            "TUNEPORT_HOME": str(home),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        }
        # As Ray does it where it has no clusters of several machines: else it takes the machine's address for itself.
        environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        environment.pop("RAY_ADDRESS", None)
        with (self.folder / "start.log").open("wb") as log:
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + _SECONDS_TO_START
        while self.dashboard_address() is None:
            if process.poll() is not None or time.monotonic() > deadline:
                said = (self.folder / "start.log").read_text(encoding="utf-8", errors="replace").strip()[-400:]
                self.stop()
                raise TrainingError(f"the local Ray cluster did not start: {said}")
            time.sleep(0.2)

    def stop(self) -> None:
        """End all of its processes, also those that other drivers started, and remove its files. Idempotent."""
        import psutil

        mark, deadline = str(self.folder), time.monotonic() + _SECONDS_TO_STOP
        number = signal.SIGTERM
        while found := [process for process in psutil.process_iter() if _belongs(process, mark)]:
            if time.monotonic() > deadline - _SECONDS_TO_STOP / 2:
                number = signal.SIGKILL
            for process in found:
                with contextlib.suppress(psutil.Error):
                    process.send_signal(number)
            psutil.wait_procs(found, timeout=1.0)
            if time.monotonic() > deadline:
                break
        shutil.rmtree(self.folder, ignore_errors=True)


def _belongs(process: object, mark: str) -> bool:
    """Return whether it is one of the cluster's: by its command line or, if Ray has renamed it, by its environment."""
    import psutil

    assert isinstance(process, psutil.Process)
    try:
        if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
            return False
        if any(mark in part for part in process.cmdline()):
            return True
        if process.name().startswith(("ray::", "python")) or "ray" in process.name():
            return str(process.environ().get("RAY_AUTH_TOKEN_PATH", "")).startswith(mark + os.sep)
    except psutil.Error:
        pass
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
