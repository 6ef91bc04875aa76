"""`python -m tuneport.train.ray.job`: what a Ray Job of ours runs, on the cluster's head node.

It reads `job.json` in its working folder, opens the mailbox, and has Ray Train run the workers until they end, and
start them again if a worker or its node was lost. `python -m tuneport.train.ray.job --forget ID` removes what a job
left behind.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import torch  # noqa: F401  before ray: its libraries clash with ray's if they are loaded second

# isort: split
import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tuneport.train.ray.messages import FOLDER, RayMailbox, delete_ray_messages
from tuneport.train.ray.transfer import RayPackedFile, unpack_on_ray_node
from tuneport.train.ray.worker import train_on_ray_worker


def run_ray_job() -> int:
    job = json.loads(Path("job.json").read_text(encoding="utf-8"))
    ray.init(log_to_driver=True)
    node = ray._private.worker._global_node  # no public name for the folders of a session
    logs, session = Path(node.get_logs_dir_path()), Path(node.get_session_dir_path())
    here = ray.get_runtime_context().get_node_id()
    print(f"tuneport: this job's news are on the node {here}", flush=True)
    mailbox: Any = (
        ray.remote(RayMailbox)
        .options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False))
        .remote(str(logs / FOLDER / job["submission_id"]), job["state"])
    )
    _put_checkpoint(job, mailbox)
    workers, resources, on_gpus = _workers(job["workers"])
    missing = _missing_resources(workers, resources)
    told = f"Submitted to the Ray cluster: {workers} workers, each with {_describe_resources(resources)}"
    ray.get(mailbox.post.remote("event", {"message": told}))
    if missing:
        ray.get(mailbox.post.remote("event", {"message": missing, "level": "warning"}))
    loopback = all(row["NodeManagerAddress"].startswith("127.") for row in ray.nodes())
    trainer = TorchTrainer(
        train_on_ray_worker,
        train_loop_config={
            **{name: job[name] for name in ("request", "files", "model_files", "start_files")},
            "mailbox": mailbox,
            "scratch": str(session / FOLDER / job["submission_id"]),
        },
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if on_gpus else "gloo"),
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=on_gpus, resources_per_worker=resources),
        run_config=RunConfig(
            name=job["submission_id"],
            storage_path=str(session / FOLDER / "ray_train"),
            # Without end: the mailbox counts the starts that brought no progress, and ends the run.
            failure_config=FailureConfig(max_failures=-1),
            worker_runtime_env={"env_vars": {"GLOO_SOCKET_IFNAME": "lo"}} if loopback else None,
        ),
    )
    trainer.fit()
    ray.get(mailbox.post.remote("end", {}))
    return 0


def _put_checkpoint(job: dict[str, Any], mailbox: Any) -> None:
    """Put the checkpoint that came with the job into the mailbox, from an earlier job on another cluster."""
    about = job["checkpoint"]
    if about is None:
        return
    for number in range(about["pieces"]):
        packed = RayPackedFile.model_validate(job["checkpoint_files"][f"checkpoint/{number:04}"])
        piece = unpack_on_ray_node(packed, Path("checkpoint-pieces")).read_bytes()
        ray.get(mailbox.write.remote(about["what"], number, piece))
    ray.get(mailbox.post.remote("checkpoint", about))


def _workers(wanted: int | str) -> tuple[int, dict[str, float], bool]:
    """Return the number of workers, the resources of each, and whether they include a GPU."""
    nodes = [row["Resources"] for row in ray.nodes() if row["Alive"]]
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    if gpus:
        return (gpus if wanted == "auto" else int(wanted)), {"GPU": 1}, True
    count = len(nodes) if wanted == "auto" else int(wanted)
    cores = min(int(node.get("CPU", 1)) for node in nodes)
    return count, {"CPU": max(1, cores // math.ceil(count / len(nodes)))}, False


def _missing_resources(workers: int, resources: dict[str, float]) -> str | None:
    there = ray.cluster_resources()
    for name, amount in resources.items():
        if there.get(name, 0) < workers * amount:
            return (
                f"The run waits for more nodes: the cluster has {there.get(name, 0):g} {name}, and the workers need "
                f"{workers * amount:g}. To go on with fewer, cancel it and set --option workers=NUMBER"
            )
    return None


def _describe_resources(resources: dict[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in resources.items())


def forget_ray_job(submission_id: str) -> int:
    ray.init(log_to_driver=False)
    delete_ray_messages(Path(ray._private.worker._global_node.get_logs_dir_path()), submission_id)
    return 0


if __name__ == "__main__":
    sys.exit(forget_ray_job(sys.argv[2]) if sys.argv[1:2] == ["--forget"] else run_ray_job())
