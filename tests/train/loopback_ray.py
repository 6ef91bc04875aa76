"""A Ray cluster of several nodes on the loopback addresses of this machine, each a process group that can be lost."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from tests.support.waiting import until

PATIENCE = 180.0
START = """
from ray._private import ray_constants, services
# All of it on loopback, as Ray does it on systems for which it has no clusters; and a cluster all the same.
ray_constants.ENABLE_RAY_CLUSTER = True
services.resolve_ip_for_localhost = lambda host: host
from ray.scripts.scripts import main
main()
"""


class LoopbackCluster:
    """`address` is the head's, for RAY_ADDRESS. One CPU a node."""

    def __init__(self, home: Path) -> None:
        # Short: the path of a socket, which has a limit of about 100 characters, is below.
        self.folder = Path(tempfile.gettempdir()) / f"tp-ray-{secrets.token_hex(3)}"
        self.folder.mkdir()
        self.nodes: list[subprocess.Popen[bytes]] = []
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {
            "HOME": str(home),
            "TUNEPORT_HOME": str(home / "nodes"),
            "HF_HUB_OFFLINE": "1",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
            "OMP_NUM_THREADS": "1",
            # A node that was killed counts as lost after seconds, not half a minute.
            "RAY_health_check_initial_delay_ms": "1000",
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_failure_threshold": "5",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        self.environment.pop("PYTHONPATH", None)  # the code has to travel
        gcs, self.dashboard = _free_port(), _free_port()
        self.address = f"http://127.0.0.1:{self.dashboard}"
        self.gcs = f"127.0.0.1:{gcs}"
        self._start(
            "--head",
            f"--port={gcs}",
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={self.dashboard}",
            f"--ray-client-server-port={_free_port()}",
            f"--temp-dir={self.folder}",
        )
        self._await(1)

    def add_node(self) -> subprocess.Popen[bytes]:
        before = self.alive()
        node = self._start(f"--address={self.gcs}")
        self._await(before + 1)
        return node

    def lose(self, node: subprocess.Popen[bytes]) -> None:
        """As a machine that loses power: everything on it is gone at once."""
        self.nodes.remove(node)
        _kill(node)

    def alive(self) -> int:
        import urllib.request

        with contextlib.suppress(OSError, ValueError):
            import json

            with urllib.request.urlopen(f"{self.address}/api/v0/nodes?detail=1", timeout=30) as answer:
                rows = json.load(answer)["data"]["result"]["result"]
                return sum(row["state"] == "ALIVE" for row in rows)
        return 0

    def workers(self, node: subprocess.Popen[bytes] | None = None) -> list[psutil.Process]:
        """Ray Train's workers on one node or on all."""
        found = []
        for root in [node] if node else self.nodes:
            for process in psutil.Process(root.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if "RayTrainWorker" in " ".join(process.cmdline()):
                        found.append(process)
        return found

    def stop(self) -> None:
        for node in reversed(self.nodes):
            _kill(node)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            "-c",
            START,
            "start",
            "--block",
            "--disable-usage-stats",
            "--node-ip-address=127.0.0.1",
            "--num-cpus=1",
            f"--object-store-memory={150 * 1024 * 1024}",
            f"--dashboard-agent-listen-port={_free_port()}",
            *arguments,
        ]
        with (self.folder / f"{secrets.token_hex(3)}.log").open("wb") as log:
            node = subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.nodes.append(node)
        return node

    def _await(self, count: int) -> None:
        until(
            lambda: self.alive() == count,
            PATIENCE,
            pause=0.5,
            told=lambda: [path.read_text()[-2000:] for path in self.folder.glob("*.log")],
            alive=lambda: all(node.poll() is None for node in self.nodes),
        )


def _kill(node: subprocess.Popen[bytes]) -> None:
    processes = []
    with contextlib.suppress(psutil.Error):
        processes = [*psutil.Process(node.pid).children(recursive=True), psutil.Process(node.pid)]
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=30)
    node.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
