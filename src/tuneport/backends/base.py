"""The one interface that every provider implements. Five methods make a backend; the rest has a default."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, cast

from tuneport.backends.provider_options import refuse_secrets, refuse_unpriced
from tuneport.backends.secrets import known_secrets, refuse_known
from tuneport.errors import ProviderError, UnsupportedError
from tuneport.types import (
    Adapter,
    Auto,
    Checkpoint,
    Completion,
    Deployment,
    Found,
    JobEvent,
    JobState,
    JobStatus,
    Method,
    MetricPoint,
    PreparedData,
    Quote,
    RemoteFile,
    RemoteModel,
    TuneSpec,
)

if TYPE_CHECKING:
    from tuneport.manifests import Manifest
    from tuneport.settings import Settings


class FineTuneBackend(ABC):
    """One provider. Holds a client and a manifest, and no job state: any process can ask about any job.

    Every method raises `ProviderError` (mapped by status, see `errors`) for what the provider refused or could not
    answer. `spec.model` is always this backend's own model id.
    """

    statuses: ClassVar[dict[str, JobStatus]]
    """The provider's own status words to ours, each exactly once. See `status_of` for words that are not here."""

    settle_seconds: ClassVar[float] = 15.0
    """How long the provider's lists may lag: ABSENT counts only when it is still the answer after this time."""

    resumes_failed: ClassVar[bool] = False
    """Whether `resume` lets a failed job go on, too, where its error is retryable."""

    cost_neutral_options: ClassVar[frozenset[str]] = frozenset()
    """The `provider_options` that leave the price as quoted; a spec with a budget may have no others."""

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a backend holds keys and cannot be pickled; open {self.name} anew in the other process")

    def __init__(self, manifest: Manifest, settings: Settings) -> None:
        self.manifest = manifest
        self.settings = settings
        self.name = manifest.name

    @classmethod
    def words(cls, method: Method, adapter: Adapter | Auto) -> Mapping[str, str]:
        """Our hyperparameters that it takes for such a job, each with its own word for it; `check` refuses the others.

        The table in `providers/README.md` is made of these. None where it does not do that method or adapter.
        """
        return {}

    def check(self, spec: TuneSpec) -> None:
        """Refuse what this backend can never take, before there is a job: asks nobody, needs no key, writes nothing.

        UnsupportedError, ConfigError or BudgetError. By default: what would be stored with the job and is secret, which
        are `provider_options` that sound like it and keys of the environment anywhere; and, with a budget, options that
        may change the price. Whoever overrides it calls this one last; `prepare` and `submit` refuse the same.
        """
        refuse_secrets(spec.provider_options)
        refuse_known(spec, known_secrets(self.settings))
        refuse_unpriced(self.name, spec, self.cost_neutral_options)

    @abstractmethod
    def prepare(self, spec: TuneSpec, data: PreparedData) -> Iterator[RemoteFile]:
        """Upload the files, wait for the provider's validation where it has one, and yield each file when it is there.

        May be called again after a crash: what is already there by content hash is reused. Blocks as long as the
        provider takes; raises DatasetError where the provider's validation refuses the file.
        """

    @abstractmethod
    def submit(self, spec: TuneSpec, files: Sequence[RemoteFile], *, token: str) -> JobState:
        """Start the job: the call that spends money. Sent once, never retried; `token` travels with the remote job.

        An `UnavailableError` means that nobody knows whether it started: ask `find(token)`. Any other error means
        that it did not.
        """

    @abstractmethod
    def find(self, token: str) -> Found:
        """Say what became of the submit that carried `token`. UNKNOWN rather than an exception when in doubt."""

    @abstractmethod
    def fetch(self, remote_id: str) -> JobState:
        """Ask for the job's state now. NotFoundError only where the provider says that there is no such job."""

    @abstractmethod
    def cancel(self, remote_id: str) -> JobState:
        """Ask for the job to stop, and return its state, which may still be `cancelling`.

        Of a finished job: no change, no error.
        """

    def fetch_many(self, remote_ids: Iterable[str]) -> Iterable[tuple[str, JobState | ProviderError]]:
        """Fetch each; one failure does not hide the others. Override where a list call is cheaper."""
        for remote_id in remote_ids:
            try:
                yield remote_id, self.fetch(remote_id)
            except ProviderError as error:
                yield remote_id, error

    def events(self, remote_id: str, *, after: str | None = None) -> Iterable[JobEvent]:
        """The job's events, oldest first; those after the event whose id is `after`, if given."""
        self._unsupported("events")

    def metrics(self, remote_id: str) -> Sequence[MetricPoint]:
        self._unsupported("metrics")

    def checkpoints(self, remote_id: str) -> Sequence[Checkpoint]:
        self._unsupported("checkpoints")

    def pause(self, remote_id: str) -> JobState:
        """Ask for the job to be held, and return its state, which may still be `pausing`. RejectedError of one that
        has ended."""
        self._unsupported("pausing a job")

    def resume(self, remote_id: str) -> JobState:
        """Let a paused job go on; where `resumes_failed`, also one that failed for want of what may be there now."""
        self._unsupported("resuming a job")

    def stop_early(self, remote_id: str) -> JobState:
        """Ask for the job to end now, as good as it was at its best, and return its state. By default it is cancelled,
        and its checkpoints are what is kept of it; a backend that can makes the best one its model. Of a finished job:
        no change, no error."""
        return self.cancel(remote_id)

    def delete(self, remote_id: str) -> None:
        self._unsupported("deleting a job")

    def list_jobs(self) -> Iterable[JobState]:
        """All jobs that the account has, tuneport's or not, newest first."""
        self._unsupported("listing jobs")

    def list_files(self) -> Iterable[RemoteFile]:
        self._unsupported("listing files")

    def list_models(self) -> Iterable[RemoteModel]:
        self._unsupported("listing models")

    def read_file(self, file_id: str) -> bytes:
        self._unsupported("reading a file back")

    def save_file(self, file_id: str, target: Path) -> Path:
        """Fetch a file of the account to `target`, whole or not at all. Override where it can be streamed."""
        part = target.with_name(target.name + ".part")
        part.write_bytes(self.read_file(file_id))
        part.replace(target)
        return target

    def delete_file(self, file_id: str) -> None:
        self._unsupported("deleting a file")

    def download(self, remote_id: str, folder: Path, *, merged: bool = False) -> Path:
        """Fetch the tuned weights into `folder` and return where they lie."""
        self._unsupported("downloading weights")

    def quote(self, spec: TuneSpec, files: Sequence[RemoteFile]) -> Quote | None:
        """The provider's own price for the job, or None where it gives none."""
        return None

    def deploy(self, model: str, **options: Any) -> Deployment:
        """Ask for an endpoint for a tuned model; it may still be starting. The same again finds the one there is."""
        self._unsupported("deploying a model")

    def undeploy(self, deployment_id: str) -> None:
        """Stop an endpoint and see that nothing of it is billed any more. Of one that is gone: no error."""
        self._unsupported("deployments")

    def deployments(self) -> Iterable[Deployment]:
        self._unsupported("deployments")

    def complete(
        self, model: str, messages: Sequence[dict[str, Any]], *, stream: bool = False, **options: Any
    ) -> Completion | Iterator[str]:
        """Answer a chat: a Completion, or with `stream` an iterator over pieces of its text, as it is written.

        `messages` are in OpenAI's shape; `options` take OpenAI's names (`max_tokens`, `temperature`, `tools` ...).
        Joined, the pieces are the text. Each may be a `Piece`, which also carries what OpenAI's chunks do: further
        choices, fragments of tool calls, why the answer ended, its tokens. Plain strings count as text of an answer
        that ends by itself. Closing the iterator (a `Stream` from any thread), or dropping it, ends the answer.
        """
        self._unsupported("completing a prompt")

    def complete_many(
        self, model: str, conversations: Sequence[Sequence[dict[str, Any]]], **options: Any
    ) -> Iterator[Completion]:
        """Answer many chats, in order, each as it is ready. Override where the backend batches."""
        with ThreadPoolExecutor(max_workers=8) as pool:
            answers = pool.map(lambda messages: self.complete(model, messages, **options), conversations)
            yield from cast("Iterator[Completion]", answers)  # without `stream` that is what `complete` gives

    def score(
        self, model: str, conversations: Sequence[Sequence[dict[str, Any]]], choices: Sequence[str]
    ) -> Iterator[list[float]]:
        """For each chat, the log-likelihood of each of `choices` as the next assistant message, in nats."""
        self._unsupported("scoring answers by likelihood")

    def close(self) -> None:  # noqa: B027 - a default, not a forgotten abstract method
        """Release clients and child processes. The backend is not used afterwards."""

    def _unsupported(self, capability: str) -> NoReturn:
        raise UnsupportedError(f"the backend {self.name} does not support {capability}")
