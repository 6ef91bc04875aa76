"""A run on a Ray cluster, as seen from the machine that asked for it: submits the job, or finds it again, and brings
back what it tells.

Everything goes through the cluster's dashboard, the one port that Ray Jobs need: code, data and checkpoints there as
packages, news and weights back as files that the job leaves in the head node's log folder (see `ray_mailbox`). The
book, `ray.json`, is written before each thing that it tells of, so that after `kill -9` the next process goes on with
the same job and starts no second one.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tuneport import digests
from tuneport.errors import TrainingError
from tuneport.files import write_atomically
from tuneport.run_protocol import EVENTS, METRICS, PAUSE, RAY, REQUEST, parse_run_checkpoint_step
from tuneport.train.launch import RankDiedError, RankFailedError
from tuneport.train.ray.cluster import TrainingRayCluster
from tuneport.train.ray.messages import FOLDER, MESSAGES_PER_FILE, ray_chunk_name, ray_messages_name
from tuneport.train.ray.transfer import pack_folder_for_ray_training, receive_folder_over_ray, send_folder_over_ray
from tuneport.train.run.checkpoint_integrity import check_training_files, newest_whole_checkpoint
from tuneport.train.run.run_folder import TrainingRunFolder
from tuneport.training_options import TrainingOptions
from tuneport.types import JobError, JobEvent, JobStatus, MetricPoint, Model

_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_OF_PATIENCE = 600.0  # with a cluster that cannot be reached
_SECONDS_TO_STOP = 15.0
_TRANSFER_SECONDS = 600


class RayJobRecord(Model):
    """`ray.json`. `applied` messages of the attempt's job are in the run's folder; `over` once nothing is to come."""

    attempt: int = 0
    local: TrainingRayCluster | None = None
    applied: int = 0
    printed: int = 0
    over: dict[str, Any] | None = None


def drive_ray_job(run: TrainingRunFolder, stop: Callable[[], bool]) -> None:
    """Drive the run's job; returns as `recipe.train` does. Raises RankDiedError if another process is to continue; a
    cancelled job is stopped."""
    book = read_ray_job_record(run)
    if book is None and stop():
        return
    driver = _RayJobDriver(run, book or RayJobRecord())
    if driver.book.over is None:
        if not driver.connect(stop):
            return
        if stop():
            driver.leave_after_stop()
            return
        driver.submit_or_adopt()
        if not driver.follow_job(stop):
            driver.leave_after_stop()
            return
    driver.finish_job()


def read_ray_job_record(run: TrainingRunFolder) -> RayJobRecord | None:
    path = run.path / RAY
    return RayJobRecord.model_validate_json(path.read_bytes()) if path.exists() else None


class _RayJobDriver:
    def __init__(self, run: TrainingRunFolder, book: RayJobRecord) -> None:
        self.run, self.book = run, book
        self.client: Any = None
        self.node = ""
        # What was applied and not yet noted when a process died is told again.
        self._event_ids = {row.get("id") for row in _rows(run.path / EVENTS)}
        self._metrics = {json.dumps(row, sort_keys=True) for row in _rows(run.path / METRICS)}

    @property
    def ray_job_id(self) -> str:
        return f"{self.run.run_id}-{self.book.attempt}"

    def add_note(self, **changes: Any) -> None:
        self.book = self.book.model_copy(update=changes)
        write_atomically(self.run.path / RAY, self.book.model_dump_json())

    # --- the cluster and its job ------------------------------------------------------------------------------------

    def connect(self, stop: Callable[[], bool]) -> bool:
        """Reach the cluster of RAY_ADDRESS, or our own, which is started. Returns False if a stop came first."""
        if not os.environ.get("RAY_ADDRESS"):
            self._start_own_cluster(stop)
            if self.book.local is None:
                return False
        from ray.job_submission import JobSubmissionClient

        patience = time.monotonic() + _SECONDS_OF_PATIENCE
        while True:
            try:
                self.client = JobSubmissionClient(os.environ["RAY_ADDRESS"])
                return True
            except Exception as error:  # whatever a network and Ray's own lookups raise
                if stop() and not self.run.cancelled:
                    return False
                if time.monotonic() > patience or (stop() and self.book.attempt == 0):
                    raise TrainingError(
                        f"the Ray cluster at {os.environ['RAY_ADDRESS']} cannot be reached ({_first_line(error)}); "
                        "is RAY_ADDRESS right, and the cluster up?"
                    ) from error
                time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _start_own_cluster(self, stop: Callable[[], bool]) -> None:
        local = self.book.local
        if local is not None and local.dashboard_address() is None:
            local.stop()  # what is left of it
            local = None
            self.add_note(local=None)
        if local is None:
            if stop():
                (self.run.path / RAY).unlink(missing_ok=True)
                return
            local = TrainingRayCluster.choose_folder_and_port()
            self.add_note(local=local)
            self.run.log_event("Starting a Ray cluster on this machine (RAY_ADDRESS names another)")
            workers = TrainingOptions.parse(self.run.spec.provider_options).workers
            local.start(workers if isinstance(workers, int) else 1, self.run.home)
        local.export_ray_address()
        os.environ["RAY_ADDRESS"] = str(local.dashboard_address())

    def submit_or_adopt(self) -> None:
        """Put a job to work: the recorded one, or the next one."""
        status = self._status()
        if status in ("FAILED", "STOPPED"):
            self._apply_new_messages()
            if self.book.over is not None:
                return
            status = None
        if status is None:
            if self.book.applied or self._was_submitted:
                self.add_note(attempt=self.book.attempt + 1, applied=0, printed=0)
            elif self.book.attempt == 0:
                self.add_note(attempt=1)
            self._submit()

    @property
    def _was_submitted(self) -> bool:
        return self.book.attempt > 0 and self._status() is not None

    def _status(self) -> str | None:
        """Return the job's status, or None if the cluster knows no such job."""
        if self.book.attempt == 0:
            return None
        try:
            return str(self.client.get_job_status(self.ray_job_id).value)
        except RuntimeError as error:
            if "404" in str(error) or "does not exist" in str(error):
                return None
            raise

    def _submit(self) -> None:
        self.run.update(status=JobStatus.QUEUED)
        with tempfile.TemporaryDirectory(prefix="tuneport-ray-") as folder:
            parts = self._write_job(Path(folder))
            try:
                self.client.submit_job(
                    submission_id=self.ray_job_id,
                    entrypoint="python -m tuneport.train.ray.job",
                    runtime_env={
                        "working_dir": str(Path(folder) / "job"),
                        "py_modules": [str(Path(folder) / "tuneport"), *map(str, parts)],
                        "env_vars": {
                            "RAY_TRAIN_V2_ENABLED": "1",
                            "RAY_USAGE_STATS_ENABLED": "0",
                            "TOKENIZERS_PARALLELISM": "false",
                            "GOMP_SPINCOUNT": "1000",
                        },
                    },
                    metadata={"tuneport_run": self.run.run_id, "model": self.run.model},
                )
            except RuntimeError as error:
                if "already exists" not in str(error):
                    raise TrainingError(f"the Ray cluster did not take the job: {_first_line(error)}") from error

    def _write_job(self, folder: Path) -> list[Path]:
        """Write what travels: the code, `job.json`, and packages of files, which are returned."""
        check_training_files(self.run)
        if self.run.starting_weights is not None:
            digests.check_digests(self.run.starting_weights)
        _copy_code(folder / "tuneport")
        request = json.loads((self.run.path / REQUEST).read_text(encoding="utf-8"))
        request.pop("token", None)
        sources = {"training": self.run.training.path}
        if self.run.validation is not None:
            sources["validation"] = self.run.validation.path
        files = {f"{purpose}/{path.name}": path for purpose, path in sources.items()}
        model = Path(self.run.model_name_or_path)
        model_files = {
            str(path.relative_to(model)): path for path in sorted(model.rglob("*")) if model.is_dir() and path.is_file()
        }
        files |= {f"model/{name}": path for name, path in model_files.items()}
        start = self.run.starting_weights
        start_files = {} if start is None else {str(f.relative_to(start)): f for f in start.rglob("*") if f.is_file()}
        files |= {f"start/{name}": path for name, path in sorted(start_files.items())}
        about, checkpoint_files = self._packed_checkpoint(folder / "checkpoint")
        files |= checkpoint_files
        packed = {row.name: row.model_dump() for row in pack_folder_for_ray_training(files, folder / "parts")}
        job = {
            "submission_id": self.ray_job_id,
            "request": request,
            "workers": TrainingOptions.parse(self.run.spec.provider_options).workers,
            "state": self.run.state,
            "files": {purpose: packed[f"{purpose}/{path.name}"] for purpose, path in sources.items()},
            "model_files": {name: packed[f"model/{name}"] for name in model_files},
            "start_files": {name: packed[f"start/{name}"] for name in start_files},
            "checkpoint": about,
            "checkpoint_files": {name: packed[name] for name in checkpoint_files},
        }
        (folder / "job").mkdir()
        (folder / "job" / "job.json").write_text(json.dumps(job, default=str), encoding="utf-8")
        return sorted((folder / "parts").iterdir())

    def _packed_checkpoint(self, folder: Path) -> tuple[dict[str, Any] | None, dict[str, Path]]:
        step, _ = newest_whole_checkpoint(self.run)
        if not step:
            return None, {}
        newest = self.run.checkpoint(step)
        folder.mkdir()
        files: dict[str, Path] = {}

        def keep(number: int, piece: bytes) -> None:
            files[f"checkpoint/{number:04}"] = folder / f"{number:04}"
            files[f"checkpoint/{number:04}"].write_bytes(piece)

        about = {"what": f"checkpoint-{step}", "step": step, **send_folder_over_ray(newest, keep)}
        return about, files

    # --- what the job tells -----------------------------------------------------------------------------------------

    def follow_job(self, stop: Callable[[], bool]) -> bool:
        """Copy what the job reports until it has ended. Returns False if a stop came first."""
        lost_since: float | None = None
        while self.book.over is None:
            if stop():
                return False
            try:
                status = self._status()
                self._apply_new_messages()
                self._print_logs()
            except (OSError, RuntimeError) as error:  # what requests and the client raise; the job goes on meanwhile
                lost_since = lost_since or self._lost(error)
                if time.monotonic() - lost_since > _SECONDS_OF_PATIENCE or self._own_cluster_died():
                    raise RankDiedError(f"the Ray cluster cannot be reached: {_first_line(error)}") from error
                time.sleep(_SECONDS_BETWEEN_LOOKS)
                continue
            lost_since = None
            if self.book.over is None and status not in ("PENDING", "RUNNING"):
                raise RankDiedError(f"the Ray job {self.ray_job_id} ended early ({status}): {self._last_words()}")
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        return True

    def _lost(self, error: Exception) -> float:
        print(f"the Ray cluster cannot be reached ({_first_line(error)}); trying again", flush=True)
        return time.monotonic()

    def _own_cluster_died(self) -> bool:
        return self.book.local is not None and self.book.local.dashboard_address() is None

    def _last_words(self) -> str:
        with contextlib.suppress(Exception):
            return _first_line(self.client.get_job_info(self.ray_job_id).message or "it gives no reason")
        return "the cluster does not know it"

    def _apply_new_messages(self) -> None:
        while self.book.over is None:
            content = self._fetch(ray_messages_name(self.book.applied // MESSAGES_PER_FILE))
            lines = [] if content is None else content.split(b"\n")[:-1]
            new = [message for message in map(json.loads, lines) if message["number"] >= self.book.applied]
            if not new:
                return
            for message in new:
                self._apply(message)
            self.add_note(applied=new[-1]["number"] + 1)

    def _apply(self, message: dict[str, Any]) -> None:
        match message.pop("kind"):
            case "state":
                self._apply_state(message)
            case "event":
                self._apply_event(message)
            case "metric":
                point = MetricPoint.model_validate(message["point"])
                if json.dumps(point.model_dump(mode="json", exclude_none=True), sort_keys=True) not in self._metrics:
                    self.run.add_metric(point)
            case "forget_after":
                self.run.drop_metrics_after(message["step"])
            case "record":
                self.run.write_record(message["name"], message["content"])
            case "checkpoint":
                self._bring_checkpoint(message)
            case "weights":
                self._bring_weights(message)
            case "failed":
                self.add_note(over={"status": JobStatus.FAILED, "error": message["error"]})
            case "end" if self.book.over is None:
                self.add_note(over={"status": JobStatus.SUCCEEDED})

    def _apply_state(self, message: dict[str, Any]) -> None:
        told = {name: value for name, value in message.items() if name not in ("number", "at", "adapter", "updated_at")}
        if told.get("finished_at") or JobStatus(told["status"]).terminal:
            return  # that it is over is for `finish_job` to say, when nothing is left on the cluster
        notes = [*self.run.state["notes"], *(n for n in told.pop("notes", []) if n not in self.run.state["notes"])]
        self.run.update(**told, notes=notes)

    def _apply_event(self, message: dict[str, Any]) -> None:
        id = f"{self.book.attempt}-{message['number']}"
        if id not in self._event_ids:
            told = {name: message[name] for name in ("message", "level", "type", "data") if name in message}
            self.run.add_event(JobEvent.model_validate({"id": id, "created_at": message["at"], **told}))

    def _bring_checkpoint(self, about: dict[str, Any]) -> None:
        step = about["step"]
        newest = self.run.newest_checkpoint()
        if newest is not None and parse_run_checkpoint_step(newest) >= step:
            return
        written = self.run.partial_folder / f"checkpoint-{step}"
        try:
            self._bring(about, written)
        except FileNotFoundError:
            return  # a newer one took its place meanwhile, and is told of next
        self.run.publish_checkpoint(written, step, best=about.get("best"))

    def _bring_weights(self, about: dict[str, Any]) -> None:
        written = self.run.partial_folder / "weights"
        self._bring(about, written)
        self.run.update(adapter=str(self.run.publish_weights(written, about["name"])))

    def _bring(self, about: dict[str, Any], folder: Path) -> None:
        def pieces() -> Iterator[bytes]:
            for number in range(about["pieces"]):
                piece = self._fetch(ray_chunk_name(about["what"], number))
                if piece is None:
                    raise FileNotFoundError(ray_chunk_name(about["what"], number))
                yield piece

        shutil.rmtree(folder, ignore_errors=True)
        try:
            receive_folder_over_ray(about, pieces(), folder)
        except FileNotFoundError:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _fetch(self, name: str) -> bytes | None:
        """Return a file of the mailbox, or None if it is not there (yet)."""
        if not self.node:
            self.node = self.client.get_job_info(self.ray_job_id).driver_node_id or ""
        if not self.node:
            return None
        # The client's own way to ask, for its addresses, certificates and token: the API for logs has no method there.
        answer = self.client._do_request(
            "GET",
            "/api/v0/logs/file",
            params={
                "node_id": self.node,
                "filename": f"{FOLDER}/{self.ray_job_id}/{name}",
                "lines": -1,
                "timeout": _TRANSFER_SECONDS,
            },
            timeout=_TRANSFER_SECONDS,
        )
        if answer.status_code == 200:
            return bytes(answer.content)
        if "not found" in answer.text:
            return None
        raise ConnectionError(f"HTTP {answer.status_code}: {answer.text[:200]}")

    def _print_logs(self) -> None:
        """Copy the job's output into this process's own log."""
        said = self.client.get_job_logs(self.ray_job_id)
        if len(said) > self.book.printed:
            print(said[self.book.printed :], end="", flush=True)
            self.add_note(printed=len(said))

    # --- the end ----------------------------------------------------------------------------------------------------

    def leave_after_stop(self) -> None:
        """Leave after a stop: the job of a cancelled or paused run is stopped; another one continues, to be followed
        later."""
        paused = (self.run.path / PAUSE).exists()
        if not (self.run.cancelled or paused or self.run.folder_deleted):
            return
        if self._status() in ("PENDING", "RUNNING"):
            self.client.stop_job(self.ray_job_id)
            deadline = time.monotonic() + _SECONDS_TO_STOP
            while self._status() in ("PENDING", "RUNNING") and time.monotonic() < deadline:
                time.sleep(0.2)
        if paused and not self.run.cancelled:
            self._apply_new_messages()
        self._clear(keep_book=paused and not self.run.cancelled)

    def finish_job(self) -> None:
        """Clean up when nothing more is to come, and only then report how it ended."""
        over = self.book.over or {}
        if self.client is None and self.book.local is None and os.environ.get("RAY_ADDRESS"):
            with contextlib.suppress(TrainingError):
                self.connect(lambda: True)
        self._clear()
        if over["status"] == JobStatus.FAILED:
            raise RankFailedError(JobError.model_validate(over["error"]))
        self.run.clear_partial_folder()
        self.run.finish(JobStatus.SUCCEEDED)

    def _clear(self, *, keep_book: bool = False) -> None:
        """Remove the job's files. `keep_book`: the next job of this run must have another name."""
        if self.book.local is not None:
            self.book.local.stop()
        elif self.client is not None:
            # Only a job can delete files there; if it does not come to that, the cluster's logs hold some more.
            with contextlib.suppress(Exception):
                self.client.submit_job(
                    entrypoint=f"python -m tuneport.train.ray.job --forget {self.ray_job_id}",
                    runtime_env=self.client.get_job_info(self.ray_job_id).runtime_env,
                    metadata={"tuneport_run": self.run.run_id},
                )
        if keep_book:
            self.add_note(local=None)
        else:
            (self.run.path / RAY).unlink(missing_ok=True)


def _copy_code(target: Path) -> None:
    """Copy the installed package, with the facts in `providers`, which a checkout keeps beside it."""
    import tuneport

    package = Path(tuneport.__file__).parent
    skipped = shutil.ignore_patterns("__pycache__", "*.pyc", "fixtures")
    shutil.copytree(package, target, ignore=skipped)
    if not (target / "providers").is_dir():
        shutil.copytree(package.parent.parent / "providers", target / "providers", ignore=skipped)


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    found = []
    for line in path.read_bytes().split(b"\n")[:-1]:
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return found


def _first_line(error: object) -> str:
    return str(error).strip().split("\n", 1)[0][:300] or type(error).__name__
