"""Training and inference on this machine, in child processes: `tuneport.train` and `tuneport.infer`.

All of it lives under the home folder: `files/` (datasets by content), `runs/` (a folder a run, see `runs.run`),
`models/` (base models). The id of a run is made from its token, so `find` is one look. A run survives the process that
started it: any process may submit, another fetch, and a third cancel. This module never imports torch.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tuneport.backends.base import FineTuneBackend
from tuneport.backends.grader_columns import check_backend_grader_columns
from tuneport.backends.local.files import LocalBackendFiles
from tuneport.backends.local.lm_eval import run_local_lm_eval
from tuneport.backends.local.names import LocalModelNames
from tuneport.backends.local.options import LocalBackendOptions
from tuneport.backends.local.request import (
    ResolvedLocalRequest,
    check_local_request,
    local_hyperparameter_names,
    local_run_can_finish_early,
    require_local_sandbox,
    require_local_slurm,
    resolve_local_request,
)
from tuneport.backends.local.reward import check_local_reward_function
from tuneport.backends.local.runs import process as local_process
from tuneport.backends.local.runs.run import LocalRun
from tuneport.backends.local.runs.runs import RUN_ID, LocalRunStore, local_run_storage_errors, new_local_run_id
from tuneport.backends.local.runs.start import LocalWarmStart, apply_local_warm_start
from tuneport.backends.local.runs.state import (
    RESULT_FILES,
    STATUSES,
    local_tuned_model_name,
    read_local_job_state,
    tuned_model_name_of_run,
)
from tuneport.backends.local.serving.infer import child_completion_fields
from tuneport.backends.local.serving.serving import LocalModelServing
from tuneport.backends.local.serving.vllm import VLLM_COMMAND
from tuneport.backends.local.weights import (
    copy_tuned_weights,
    merge_local_adapter,
    place_tuned_weights,
    refuse_damaged_weights,
    refuse_occupied_weights_folder,
    refuse_unmergeable_local_adapter,
)
from tuneport.backends.secrets import backend_key_variables
from tuneport.backends.streaming import Chunk, ChunkStream
from tuneport.client_rules import Rule
from tuneport.data.running.underway import report_data_activity
from tuneport.errors import (
    NotFoundError,
    ProviderError,
    RejectedError,
    UnavailableError,
)
from tuneport.run_protocol import RunRequest
from tuneport.training_options import SlurmOptions, TrainingOptions
from tuneport.types import (
    Adapter,
    Auto,
    Checkpoint,
    Completion,
    DataFile,
    Found,
    JobEvent,
    JobState,
    JobStatus,
    Method,
    MetricPoint,
    PreparedData,
    RemoteFile,
    RemoteModel,
    TuneSpec,
    now,
)

if TYPE_CHECKING:
    from tuneport.manifests import Manifest
    from tuneport.settings import Settings

_EXIT_SECONDS = 5.0
_SAID_ITS_LAST = (JobStatus.PAUSED, JobStatus.FAILED)


class LocalBackend(FineTuneBackend):
    """This machine. `train_command` and `infer_command` start the children; the first gets the run's folder appended,
    the second `--home FOLDER --model FOLDER`, and `vllm_command`, where vLLM serves, `serve FOLDER` and its options.

    Children inherit the environment without keys (`local_process.local_trainer_environment`). A base model that is not
    here yet is fetched by `prepare`, in this process, which has the hub's token.
    """

    statuses = STATUSES
    resumes_failed: ClassVar[bool] = True
    settles_numbers: ClassVar[bool] = True
    cost_neutral_options: ClassVar[frozenset[str]] = frozenset(
        TrainingOptions.model_fields
    )  # the machine is the user's own

    def __init__(
        self,
        manifest: Manifest,
        settings: Settings,
        *,
        train_command: Sequence[str] = (sys.executable, "-m", "tuneport.train"),
        merge_command: Sequence[str] = (sys.executable, "-m", "tuneport.train.output.merge"),
        infer_command: Sequence[str] = (sys.executable, "-m", "tuneport.infer"),
        vllm_command: Sequence[str] = VLLM_COMMAND,
    ) -> None:
        super().__init__(manifest, settings)
        self.options = LocalBackendOptions.from_settings(settings, self.name)
        self.runs = LocalRunStore(settings.home / "runs")
        self.files = LocalBackendFiles(settings.home / "files")
        self._train_command = tuple(train_command)
        self._merge_command = tuple(merge_command)
        self.names = LocalModelNames(manifest, settings, self._existing)
        self._serving = LocalModelServing(
            settings,
            self.options,
            self.names,
            environment=self.environment,
            infer_command=infer_command,
            vllm_command=vllm_command,
        )

    # --- the life of a run ------------------------------------------------------------------------------------------

    @classmethod
    def hyperparameter_names(cls, method: Method, adapter: Adapter | Auto) -> Mapping[str, str]:
        return local_hyperparameter_names(method, adapter)

    @classmethod
    def describe_options(cls, manifest: Manifest) -> Mapping[str, str]:
        return TrainingOptions.describe()

    def client_rules(self) -> Mapping[str, Rule]:
        return TrainingOptions.client_rules()

    def check(self, spec: TuneSpec) -> None:
        spec_with_executor = self._with_executor(spec)
        check_local_request(self._begun(spec_with_executor)[0])
        options = TrainingOptions.parse(spec_with_executor.provider_options)
        if options.executor == "slurm":
            require_local_slurm(options.slurm or SlurmOptions())
        require_local_sandbox(spec, options)
        super().check(spec)

    def prepare(self, spec: TuneSpec, data: PreparedData) -> Iterator[RemoteFile]:
        self.check(spec)
        self._resolved(spec, data.training)  # what cannot run is refused here already
        self.names.find_reward_weights(spec)
        if spec.reward_function is not None:
            check_local_reward_function(spec.reward_folder or Path.cwd(), spec.reward_function, self.environment())
        if spec.grader is not None:
            for file in (data.training, data.validation):
                if file is not None:
                    check_backend_grader_columns(
                        spec.grader, file, spec.dataset if file is data.training else spec.validation or file.path
                    )
        with local_run_storage_errors(self.settings.home, "storing the dataset"):
            yield self.files.add(data.training, "training")
            if data.validation is not None:
                yield self.files.add(data.validation, "validation")

    def submit(self, spec: TuneSpec, files: Sequence[RemoteFile], *, token: str) -> JobState:
        """Write the run's folder and start its child. Called again with the same token, the same run is returned."""
        run = self._run(new_local_run_id(token))
        if not run.folder.is_dir():
            data: dict[str, DataFile] = {file.purpose: self.files.verify_file(file.id) for file in files}
            if "training" not in data:
                raise RejectedError("a local run needs a training file; prepare one first", provider=self.name)
            request, start = self._request(run.id, spec, data, token)
            if start is not None:
                refuse_damaged_weights(start.weights, start.name)
            with local_run_storage_errors(self.settings.home, "creating the run"):
                self.runs.create(run.id, request, None if start is None else start.weights)
        try:
            run.start()
        except OSError as error:
            self._remove_unless_alive(run, error)
            raise ProviderError(
                f"the trainer of the local run {run.id} cannot be started ({error}); nothing was started; "
                "fix that and submit again",
                provider=self.name,
                code="cannot_start",
            ) from error
        return read_local_job_state(run)

    def _remove_unless_alive(self, run: LocalRun, error: OSError) -> None:
        """Remove a run whose child could not be started. Raises UnavailableError if a child may be at work in it."""
        try:
            alive = run.is_alive()
            if not alive:
                self.runs.remove(run.id)
        except OSError:
            alive = True  # unknown; a folder that is left can be deleted, one under a trainer cannot be had back
        if alive:
            raise UnavailableError(
                f"the trainer of the local run {run.id} may be running ({error}); look at the run, or fix that and try "
                "again",
                provider=self.name,
            ) from error

    def find(self, token: str) -> Found:
        try:
            return Found.found(self.fetch(new_local_run_id(token)))
        except NotFoundError:
            return Found.absent()
        except ProviderError as error:
            return Found.unknown(str(error))

    def fetch(self, remote_id: str) -> JobState:
        """Return the state of a run; one whose child died is started again, or given up (see `LocalRun.supervise`)."""
        run = self._existing(remote_id)
        with local_run_storage_errors(self.settings.home, "looking after the run"):
            run.supervise()
        return read_local_job_state(run)

    def cancel(self, remote_id: str) -> JobState:
        """Ask the child to stop after its step. A fetch 20 seconds later kills it if it has not."""
        run = self._existing(remote_id)
        with local_run_storage_errors(self.settings.home, "cancelling the run"):
            run.cancel()
        return read_local_job_state(run)

    def pause(self, remote_id: str) -> JobState:
        """Ask the child to make a checkpoint after its step, and to release the device."""
        run = self._existing(remote_id)
        with local_run_storage_errors(self.settings.home, "pausing the run"):
            run.pause()
        return read_local_job_state(run)

    def stop_early(self, remote_id: str) -> JobState:
        """Ask the child to end after its step with the weights of the lowest validation loss, as early stopping does.

        Several workers, and a Ray cluster, may not be able to restore these: there the run is cancelled, and its
        checkpoints are kept.
        """
        run = self._existing(remote_id)
        with local_run_storage_errors(self.settings.home, "stopping the run"):
            if local_run_can_finish_early(run.read_request()):
                run.stop_early()
            else:
                run.cancel()
        return read_local_job_state(run)

    def resume(self, remote_id: str) -> JobState:
        """Continue a paused run from its newest checkpoint, or a failed one whose error is retryable."""
        run = self._existing(remote_id)
        patience = time.monotonic() + _EXIT_SECONDS  # a child lives a moment after its last word
        while read_local_job_state(run).status in _SAID_ITS_LAST and run.is_alive() and time.monotonic() < patience:
            time.sleep(0.02)
        with local_run_storage_errors(self.settings.home, "resuming the run"):
            run.resume()
        return read_local_job_state(run)

    def events(self, remote_id: str, *, after: str | None = None) -> Iterable[JobEvent]:
        events = self._existing(remote_id).events()
        seen = next((index for index, event in enumerate(events) if event.id == after), -1)
        return events[seen + 1 :]

    def metrics(self, remote_id: str) -> Sequence[MetricPoint]:
        return self._existing(remote_id).metrics()

    def checkpoints(self, remote_id: str) -> Sequence[Checkpoint]:
        run = self._existing(remote_id)
        points = {point.step: point for point in run.metrics()}
        name, reported = local_tuned_model_name(run), run.read_trainer_report()
        best = None if reported is None else reported.best_step
        found = []
        for step, folder in run.checkpoint_folders():
            measured = points[step].model_dump(exclude_none=True) if step in points else {}
            found.append(
                Checkpoint(
                    id=folder.name,
                    step=step,
                    model=f"{name}:ckpt-{folder.name}" if (folder / "adapter_config.json").is_file() else None,
                    path=folder,
                    created_at=datetime.fromtimestamp(folder.stat().st_mtime, UTC),
                    metrics={key: measured[key] for key in ("train_loss", "valid_loss") if key in measured},
                    best=step == best,
                )
            )
        return found

    def delete(self, remote_id: str) -> None:
        """Remove a finished run with its checkpoints and weights. Raises RejectedError while it is at work."""
        run = self._existing(remote_id)
        try:
            over = read_local_job_state(run).status.terminal
        except ProviderError:
            over = True  # damaged: what is left to ask is whether a process writes to it
        patience = time.monotonic() + (_EXIT_SECONDS if over else 0.0)  # a child lives a moment after its last word
        while run.is_alive() and time.monotonic() < patience:
            time.sleep(0.02)
        if not over or run.is_alive():
            raise RejectedError(f"the local run {run.id} is not finished; cancel it first", provider=self.name)
        with local_run_storage_errors(self.settings.home, "deleting the run"):
            self.runs.remove(run.id)

    def list_jobs(self) -> Iterable[JobState]:
        """Return all runs by their folders, newest first; a damaged one is left out. Restarts nothing."""
        states = []
        for run_id in self.runs.list_run_ids():
            with contextlib.suppress(ProviderError):
                states.append(read_local_job_state(self._run(run_id)))
        return sorted(states, key=lambda state: state.created_at or now(), reverse=True)

    # --- files and weights ------------------------------------------------------------------------------------------

    def list_files(self) -> Iterable[RemoteFile]:
        return self.files.list()

    def list_models(self) -> Iterable[RemoteModel]:
        """Return the tuned models that can be asked, newest first."""
        return [
            RemoteModel(id=state.tuned_model, tuned=True, created_at=state.finished_at)
            for state in self.list_jobs()
            if state.tuned_model is not None
        ]

    def read_file(self, file_id: str) -> bytes:
        """Return a dataset, or one of a run's own files, as `JobState.result_files` names them."""
        path = Path(file_id)
        if path.name in RESULT_FILES and path.parent.parent == self.runs.folder and RUN_ID.fullmatch(path.parent.name):
            try:
                return path.read_bytes()
            except FileNotFoundError as error:
                raise NotFoundError(f"the local run has no file {file_id}", provider=self.name) from error
        return self.files.read(file_id)

    def delete_file(self, file_id: str) -> None:
        file, _ = self.files.get(file_id)
        for run_id in self.runs.list_run_ids():
            run = self._run(run_id)
            with contextlib.suppress(ProviderError):
                request = run.read_request()
                used = [part["sha256"] for part in (request.training, request.validation) if part]
                if file.sha256 in used and not read_local_job_state(run).status.terminal:
                    break
        else:
            self.files.delete(file_id)
            return
        raise RejectedError(f"the local run {run.id} is using {file_id}; cancel it first", provider=self.name)

    def download(self, remote_id: str, folder: Path, *, merged: bool = False) -> Path:
        """Copy the tuned weights to `folder`, which must be missing or empty, and return it.

        `remote_id` may have `:STEP` behind it, for a checkpoint. `merged`: a whole model, whose logits a child process
        has compared with the adapter's; the figures are in its `README.md`.
        """
        run, source = self.names.find_run_weights(remote_id)
        refuse_damaged_weights(source, run.id)
        folder = folder.absolute()
        refuse_occupied_weights_folder(folder)
        whole = not (source / "adapter_config.json").is_file()
        if merged and not whole:
            refuse_unmergeable_local_adapter(run.read_request(), self.settings.home)
            environment = self.environment() | {"HF_HUB_OFFLINE": "1"}
            activity = report_data_activity(f"merging the adapter of {run.id} into its base model")
            with activity, local_run_storage_errors(folder.parent, "writing the merged model"):
                place_tuned_weights(folder, lambda aside: self._merge(run, source, aside, environment))
        else:
            with local_run_storage_errors(folder.parent, "copying the weights"):
                place_tuned_weights(folder, lambda aside: copy_tuned_weights(source, aside))
        return folder

    def _merge(self, run: LocalRun, source: Path, target: Path, environment: Mapping[str, str]) -> None:
        merge_local_adapter(self._merge_command, run.folder, source, target, environment)

    # --- inference --------------------------------------------------------------------------------------------------

    def complete(
        self, model: str, messages: Sequence[dict[str, Any]], *, stream: bool = False, **options: Any
    ) -> Completion | Iterator[str]:
        """Answer with a base model, a tuned model (`ft:...`), a checkpoint, a run's id, or a folder with either kind of
        weights, as `download` makes it. Concurrent calls are batched.

        `options`: max_tokens, temperature, top_p, stop, seed, tools; raises UnsupportedError for others. A stream that
        is closed or dropped ends its answer.
        """
        fields = child_completion_fields(options)
        if stream:
            with self._serving.serve_model(model):  # so that an unknown model is told now, and not with the first piece
                return self._stream(model, messages, fields)
        with self._serving.serve_model(model) as server:
            (answer,) = server.complete_many(model, [messages], fields)
            return answer

    def _stream(self, model: str, messages: Sequence[dict[str, Any]], fields: Mapping[str, Any]) -> ChunkStream:
        begun: list[ChunkStream] = []

        def chunks() -> Generator[Chunk]:
            with self._serving.serve_model(model) as server:
                begun.append(server.stream(messages, fields))
                yield from begun[0]

        def stop() -> None:
            for stream in begun:
                stream.close()

        return ChunkStream(chunks(), stop)

    def complete_many(
        self, model: str, conversations: Sequence[Sequence[dict[str, Any]]], **options: Any
    ) -> Iterator[Completion]:
        fields = child_completion_fields(options)
        with self._serving.serve_model(model) as server:
            yield from server.complete_many(model, conversations, fields)

    def score(
        self, model: str, conversations: Sequence[Sequence[dict[str, Any]]], choices: Sequence[str]
    ) -> Iterator[list[float]]:
        """Yield log-likelihoods from a child of our own: no server's wire format has them."""
        with self._serving.serve_in_child(model) as served:
            yield from served.score(conversations, choices)

    def lm_eval(
        self, model: str, tasks: Sequence[str], *, limit: int | None = None
    ) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """Evaluate in a child with a copy of the model of its own."""
        weights, home, environment = self.names.find_weights(model), self.settings.home, self.environment()
        return run_local_lm_eval(
            weights, self.options, tasks, model=model, home=home, environment=environment, limit=limit
        )

    def close(self) -> None:
        """End the inference children. Runs continue."""
        self._serving.close()

    # --- folders ----------------------------------------------------------------------------------------------------

    def _run(self, run_id: str) -> LocalRun:
        return LocalRun(self.runs.folder / run_id, self._train_command, lambda: self._environment_of(run_id))

    def _existing(self, remote_id: str) -> LocalRun:
        run = self._run(remote_id)
        if not RUN_ID.fullmatch(remote_id) or not run.folder.is_dir():
            raise NotFoundError(f"there is no local run {remote_id} in {self.runs.folder}", provider=self.name)
        return run

    def _begun(self, spec: TuneSpec) -> tuple[TuneSpec, LocalWarmStart | None]:
        """Return the spec with the settings of its start, and the start."""
        if spec.from_checkpoint is None:
            return spec, None
        run, weights = self.names.find_run_weights(spec.from_checkpoint)
        start = LocalWarmStart(spec.from_checkpoint, run.read_request(), weights)
        return apply_local_warm_start(spec, start), start

    def _resolved(self, spec: TuneSpec, training: DataFile) -> tuple[ResolvedLocalRequest, LocalWarmStart | None]:
        spec, start = self._begun(self._with_executor(spec))
        busy = any(not state.status.terminal for state in self.list_jobs())
        return resolve_local_request(spec, training, self.manifest, self.settings, start=start, busy=busy), start

    def _environment_of(self, run_id: str) -> dict[str, str]:
        """Return a trainer's environment, with the key of W&B if the user asked for the run to be shown there."""
        environment = self.environment()
        key = self.settings.secret("WANDB_API_KEY")
        with contextlib.suppress(ProviderError):
            wanted = self._run(run_id).read_request().spec.get("wandb") is not None
            if wanted and key is not None:
                environment["WANDB_API_KEY"] = key.get_secret_value()
        return environment

    def environment(self) -> dict[str, str]:
        """Return this process's environment and `.env`, without secrets."""
        own = {name: value.get_secret_value() for name, value in self.settings.environment.items()}
        names = backend_key_variables(self.settings) | {self.options.serve_api_key_env or ""}
        secrets = [source[name] for source in (own, os.environ) for name in names if name in source]
        return local_process.local_trainer_environment({**os.environ, **own}, secrets)

    def _with_executor(self, spec: TuneSpec) -> TuneSpec:
        """Return the spec with the executor of `tuneport.toml`, unless the spec names another."""
        given = dict(spec.provider_options)
        given.setdefault("executor", self.options.executor)
        if given["executor"] == "process":
            return spec
        if given["executor"] != "slurm":
            return spec.model_copy(update={"provider_options": given})
        own = given.get("slurm") or {}
        if isinstance(own, Mapping):  # else it is refused for what it is
            given["slurm"] = self.options.slurm.model_dump(exclude_unset=True) | dict(own)
        return spec.model_copy(update={"provider_options": given})

    def _request(
        self, run_id: str, spec: TuneSpec, data: Mapping[str, DataFile], token: str
    ) -> tuple[RunRequest, LocalWarmStart | None]:
        resolved, start = self._resolved(spec, data["training"])
        validation = data.get("validation")
        request = RunRequest(
            run_id=run_id,
            token=token,
            created_at=now().isoformat(),
            model=spec.model,
            model_name_or_path=resolved.model_name_or_path,
            home=str(self.settings.home),
            devices=None if self.options.devices is None else list(self.options.devices),
            spec=resolved.spec.model_dump(mode="json"),
            reward_model=self.names.find_reward_weights(spec),
            training=data["training"].model_dump(mode="json"),
            validation=None if validation is None else validation.model_dump(mode="json"),
            hyperparameters=resolved.hyperparameters,
            recommended=resolved.recommended,
            base=resolved.base,
            memory=resolved.memory or {},
        )
        return request.model_copy(update={"tuned_name": tuned_model_name_of_run(request, run_id)}), start
