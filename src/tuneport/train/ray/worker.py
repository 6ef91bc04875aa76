"""One worker of a run on a Ray cluster: the same recipe, in a folder of its own, whose news go to the mailbox."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch  # before ray: its libraries clash with ray's if they are loaded second

# isort: split
import ray
import ray.train

from tuneport import private
from tuneport.heavy_imports import heavy_imports
from tuneport.run_protocol import REQUEST, STATE, run_checkpoint_folder
from tuneport.train.ray.transfer import RayPackedFile, receive_folder_over_ray, send_folder_over_ray, unpack_on_ray_node
from tuneport.train.run.process_group import NonWritingTrainingRun, TrainingRanks
from tuneport.train.run.run_folder import TrainingRunFolder
from tuneport.types import JobError, JobStatus, MetricPoint


class RayTrainingFolder(TrainingRunFolder):
    """The folder of the first rank: on its node's disk for as long as that lives, and told to the mailbox."""

    mailbox: Any

    def tell(self, kind: str, **content: Any) -> None:
        ray.get(self.mailbox.post.remote(kind, content))

    def update(self, **fields: Any) -> None:
        super().update(**fields)
        self.tell("state", **self.state)

    def log_event(self, message: str, *, level: str = "info", type: str = "message", **data: Any) -> None:
        data.pop("path", None)  # of this node; where the folder comes to lie its own machine says
        self.tell("event", message=message, level=level, type=type, data=data)

    def write_record(self, name: str, content: dict[str, Any]) -> None:
        super().write_record(name, content)
        self.tell("record", name=name, content=content)

    def add_metric(self, point: MetricPoint) -> None:
        super().add_metric(point)  # which the model card tells of
        self.tell("metric", point=point.model_dump(mode="json", exclude_none=True))

    def drop_metrics_after(self, step: int) -> None:
        super().drop_metrics_after(step)
        self.tell("forget_after", step=step)

    def publish_checkpoint(self, written: Path, step: int, *, best: int | None = None) -> Path:
        folder = super().publish_checkpoint(written, step, best=best)
        self._send(folder, "checkpoint", f"checkpoint-{step}", step=step, best=best)
        ray.train.report({"step": step})
        return folder

    def publish_weights(self, written: Path, name: str) -> Path:
        folder = super().publish_weights(written, name)
        self._send(folder, "weights", name, name=name)
        return folder

    def _send(self, folder: Path, kind: str, what: str, **about: Any) -> None:
        told = send_folder_over_ray(
            folder, lambda number, piece: ray.get(self.mailbox.write.remote(what, number, piece))
        )
        self.tell(kind, what=what, **told, **about)


class NonWritingRayRun(NonWritingTrainingRun):
    def publish_checkpoint(self, written: Path, step: int, *, best: int | None = None) -> Path:
        ray.train.report({"step": step})
        return super().publish_checkpoint(written, step, best=best)


def train_on_ray_worker(job: dict[str, Any]) -> None:
    """Train on this worker. Ray Train calls it on every worker, and again on all of them after one was lost.

    `job`: the run's request, its packed files, the mailbox, and `scratch`, a folder for this node. An error that
    another try would meet again ends the run; Ray handles any other by restarting the workers.
    """
    os.umask(private.CHILD_UMASK)  # the cluster's own is that of the user who started it
    mailbox = job["mailbox"]
    ranks = TrainingRanks.here()
    # One asks for all: between two answers the number of starts would be another.
    told: list[Any] = [ray.get(mailbox.begin.remote()) if ranks.index == 0 else None]
    if ranks.count > 1:
        torch.distributed.broadcast_object_list(told)
    start = told[0]
    if start["failed"]:
        return
    with _scratch(Path(job["scratch"])) as folder:
        _fill_run_folder(folder, job, start)
        if ranks.index == 0:
            run = RayTrainingFolder(folder)
            run.mailbox = mailbox
        else:
            run = NonWritingRayRun(folder)  # type: ignore[assignment]
        if start["again"]:
            step = start["checkpoint"]["step"] if start["checkpoint"] else 0
            run.log_event(f"A worker or its node was lost; all go on from step {step}", level="warning", type="restart")
        try:
            with heavy_imports():
                from tuneport.train.recipe import train

            train(run, lambda: False)
        except Exception as error:
            traceback.print_exc()
            from tuneport.train.run.failures import training_job_error

            failure = training_job_error(error)
            if not _may_be_transient(failure):
                ray.get(mailbox.fail.remote(failure.model_dump(mode="json")))
            raise


def _may_be_transient(failure: JobError) -> bool:
    """Return whether another try may succeed: an error that the table of failures does not know is mostly a lost
    peer."""
    return failure.code == "training_failed"


@contextlib.contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    """Provide a folder of this process, deleted at its end with what killed processes left."""
    private.make_private_folder(parent)
    for left in parent.iterdir():
        with contextlib.suppress(ProcessLookupError, PermissionError, ValueError):
            os.kill(int(left.name), 0)
            continue
        shutil.rmtree(left, ignore_errors=True)
    folder = parent / str(os.getpid())
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fill_run_folder(folder: Path, job: dict[str, Any], start: dict[str, Any]) -> None:
    """Fill `folder` as the local backend would have, with the newest checkpoint."""
    request = json.loads(json.dumps(job["request"]))
    arrived = {
        name: unpack_on_ray_node(RayPackedFile.model_validate(packed), folder / "data")
        for name, packed in job["files"].items()
    }
    for purpose in ("training", "validation"):
        if request.get(purpose):
            request[purpose]["path"] = str(arrived[purpose])
    for kind, target in (("model_files", folder / "model-files"), ("start_files", folder / "start")):
        for name, packed in job[kind].items():
            path = unpack_on_ray_node(RayPackedFile.model_validate(packed), folder / "data")
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).symlink_to(path)
    if job["model_files"]:
        request["model_name_or_path"] = str(folder / "model-files")
    request["home"] = os.environ.get("TUNEPORT_HOME", str(Path.home() / ".tuneport"))
    (folder / REQUEST).write_text(json.dumps(request), encoding="utf-8")
    state = {name: value for name, value in start["state"].items() if name not in ("adapter", "finished_at")}
    (folder / STATE).write_text(json.dumps(state | {"status": JobStatus.VALIDATING}), encoding="utf-8")
    about = start["checkpoint"]
    if about is not None:
        pieces = (ray.get(job["mailbox"].read.remote(about["what"], n)) for n in range(about["pieces"]))
        receive_folder_over_ray(about, pieces, run_checkpoint_folder(folder, about["step"]))
