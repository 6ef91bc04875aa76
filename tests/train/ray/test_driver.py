"""Runs on a Ray cluster of two nodes on loopback: they end as on one process, whoever dies on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny import chat_rows, lines_of, make_run, state_of, tiny_model, write_rows
from tests.support.waiting import until
from tests.train.loopback_ray import LoopbackCluster
from tuneport.train.__main__ import train_run_folder

pytest.importorskip("ray", reason="ray is an extra: pip install 'tuneport[ray]'")
pytestmark = pytest.mark.full

PATIENCE = 300.0
EPOCHS = 24
STEPS = EPOCHS * 5  # 18 rows in batches of 4
OPTIONS = {"precision": "fp32", "workers": 2, "executor": "ray"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ray")


@pytest.fixture(scope="module")
def cluster(place: Path) -> Iterator[LoopbackCluster]:
    (place / "home").mkdir()
    cluster = LoopbackCluster(place / "home")
    try:
        cluster.add_node()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def request_of(place: Path) -> Callable[..., Path]:
    model = tiny_model(place / "model")
    data = write_rows(place / "train.jsonl", chat_rows(18))
    valid = write_rows(place / "valid.jsonl", chat_rows(5))

    def make(name: str, **changes: Any) -> Path:
        given = {"validation": valid, "hyperparameters": {"epochs": EPOCHS}, "provider_options": OPTIONS} | changes
        return make_run(place / "runs-of-test", model, data, name=name, **given)

    return make


@pytest.fixture(scope="module")
def alone(request_of: Callable[..., Path]) -> Path:
    """The same run, on one process and without Ray."""
    folder = request_of("alone", provider_options={"precision": "fp32"})
    assert train_run_folder(folder) == 0
    return folder


class Child:
    """The run's child, as the backend starts it."""

    def __init__(self, folder: Path, cluster: LoopbackCluster) -> None:
        self.folder = folder
        environment = os.environ | {"RAY_ADDRESS": cluster.address, "HOME": cluster.environment["HOME"]}
        with (folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tuneport.train", str(folder)],
                env=environment | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def until(self, condition: Callable[[], bool], what: str) -> None:
        def told() -> str:
            return f"so there is no {what}: {self.log()}"

        until(condition, PATIENCE, pause=0.1, told=told, alive=lambda: self.process.poll() is None)

    def until_checkpoint(self) -> None:
        self.until(lambda: any((self.folder / "checkpoints").glob("step-*")), "a checkpoint")

    def end(self) -> int:
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(self.log()) from None

    def log(self) -> str:
        return (self.folder / "log.txt").read_text(errors="replace")


def restarts(folder: Path) -> list[int]:
    """From which steps the workers went on after one was lost."""
    messages = [event["message"] for event in lines_of(folder / "events.jsonl")]
    return [int(message.rpartition(" ")[2]) for message in messages if "was lost" in message]


def assert_as_alone(folder: Path, alone: Path) -> None:
    from safetensors.torch import load_file

    assert state_of(folder)["status"] == "succeeded", state_of(folder)
    rows, expected = ([row for row in lines_of(run / "metrics.jsonl")] for run in (folder, alone))
    assert [row["step"] for row in rows if "train_loss" in row] == list(range(1, STEPS + 1))
    for name in ("train_loss", "valid_loss"):
        told, wanted = ([row[name] for row in points if name in row] for points in (rows, expected))
        assert told == pytest.approx(wanted, abs=2e-3), name
    shared, once = (load_file(run / "adapter" / "adapter_model.safetensors") for run in (folder, alone))
    for name, weights in once.items():
        assert (shared[name] - weights).abs().max() < 1e-3, name
    assert state_of(folder)["trained_tokens"] == state_of(alone)["trained_tokens"]
    events = [event["id"] for event in lines_of(folder / "events.jsonl")]
    assert len(events) == len(set(events))
    assert not (folder / "ray.json").exists()


def jobs_of(folder: Path, cluster: LoopbackCluster) -> list[dict[str, Any]]:
    import urllib.request

    with urllib.request.urlopen(f"{cluster.address}/api/jobs/", timeout=60) as answer:
        found = json.load(answer)
    return [job for job in found if str(job.get("submission_id")).startswith(f"{folder.name}-")]


def test_two_workers_end_where_one_process_does(
    cluster: LoopbackCluster, request_of: Callable[..., Path], alone: Path
) -> None:
    folder = request_of("two-workers")
    child = Child(folder, cluster)
    assert child.end() == 0, child.log()
    assert_as_alone(folder, alone)
    assert restarts(folder) == []
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == [f"step-{STEPS - 5}", f"step-{STEPS}"]
    assert "Setting up process group" in child.log()  # what the workers say comes back
    left = cluster.folder / "session_latest" / "logs" / "tuneport" / f"{folder.name}-1"
    until(lambda: not left.exists(), PATIENCE, pause=0.5)  # nothing stays on the cluster


def test_a_killed_worker_is_survived(cluster: LoopbackCluster, request_of: Callable[..., Path], alone: Path) -> None:
    folder = request_of("worker-killed")
    child = Child(folder, cluster)
    child.until_checkpoint()
    cluster.workers()[0].kill()
    assert child.end() == 0, child.log()
    assert_as_alone(folder, alone)
    (step,) = restarts(folder)
    assert 0 < step < STEPS and step % 5 == 0


def test_a_lost_node_is_survived(cluster: LoopbackCluster, request_of: Callable[..., Path], alone: Path) -> None:
    folder = request_of("node-lost")
    child = Child(folder, cluster)
    child.until_checkpoint()
    node = cluster.nodes[1]
    assert cluster.workers(node), "no worker on the second node"
    cluster.lose(node)
    child.until(lambda: cluster.alive() == 1, "loss of the node")
    cluster.add_node()
    assert child.end() == 0, child.log()
    assert_as_alone(folder, alone)
    assert restarts(folder) and 0 < min(restarts(folder)) < STEPS


def test_a_killed_driver_finds_its_job_again(
    cluster: LoopbackCluster, request_of: Callable[..., Path], alone: Path
) -> None:
    folder = request_of("driver-killed")
    child = Child(folder, cluster)
    child.until_checkpoint()
    child.process.send_signal(signal.SIGKILL)
    child.process.wait()
    again = Child(folder, cluster)
    assert again.end() == 0, again.log()
    assert_as_alone(folder, alone)
    assert [job["submission_id"] for job in jobs_of(folder, cluster)] == [f"{folder.name}-1"]
    assert restarts(folder) == []


def test_a_cancelled_run_stops_its_job(cluster: LoopbackCluster, request_of: Callable[..., Path]) -> None:
    folder = request_of("cancelled")
    child = Child(folder, cluster)
    child.until_checkpoint()
    (folder / "cancel").touch()
    assert child.end() == 0, child.log()
    assert state_of(folder)["status"] == "cancelled"
    assert [job["status"] for job in jobs_of(folder, cluster)] == ["STOPPED"]
    until(lambda: not cluster.workers(), PATIENCE, pause=0.5)
