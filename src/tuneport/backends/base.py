"""The one interface that every provider implements. Five methods make a backend; the rest has a default."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from tuneport.backends.provider_options import refuse_provider_option_secrets, refuse_unpriced_provider_option
from tuneport.backends.secrets import known_backend_secrets, refuse_known_secrets
from tuneport.client_rules import Rule
from tuneport.errors import ProviderError, UnsupportedError
from tuneport.files import write_atomically
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
    """One provider. It holds a client and a manifest, and no job state: any process can ask about any job.

    Every method raises `ProviderError` (mapped by status, see `errors`) for what the provider refused or could not
    answer. `spec.model` is always this backend's own model id.
    """

    statuses: ClassVar[dict[str, JobStatus]]
    """The provider's own status words to ours, each exactly once. See `parse_provider_status` for words that are not
    here."""

    resumes_failed: ClassVar[bool] = False
    """Whether `resume` also continues a failed job, if its error is retryable."""

    settles_numbers: ClassVar[bool] = False
    """Whether it makes numbers of `auto` itself, by tuneport's own rules; else it is sent those that were settled."""

    cost_neutral_options: ClassVar[frozenset[str]] = frozenset()
    """The `provider_options` that leave the price as quoted; a spec with a budget may have no others."""

    at_the_provider: ClassVar[frozenset[str]] = frozenset()
    """Names what of `wandb` and `python_graders` the provider does itself, with no key and no process of this machine.
    A gateway's clients may ask for these; for the others its operator decides."""

    chats_per_call: ClassVar[int] = 256
    """How many chats `complete_many` is given at once."""

    client_chat_rules: ClassVar[Mapping[str, Rule]] = {}
    """What a client of a gateway may add to a chat beyond OpenAI's own parameters; all else is refused."""

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a backend holds keys and cannot be pickled; open {self.name} again in the other process")

    def __init__(self, manifest: Manifest, settings: Settings) -> None:
        self.manifest = manifest
        self.settings = settings
        self.name = manifest.name

    def supports(self, name: str) -> bool:
        """Return whether the backend overrides this method. The default refuses, or takes a slower way."""
        return getattr(type(self), name) is not getattr(FineTuneBackend, name)

    @classmethod
    def hyperparameter_names(cls, method: Method, adapter: Adapter | Auto) -> Mapping[str, str]:
        """Return the hyperparameters that it takes for such a job, by our name, with its own; `check` refuses others.

        The table in `providers/README.md` is made of these. Returns an empty mapping for a method or an adapter that
        it does not train.
        """
        return {}

    @classmethod
    def words(cls, method: Method, adapter: Adapter | Auto) -> Mapping[str, str]:
        """Return `hyperparameter_names`, whose earlier name this is; it goes with the next release."""
        return cls.hyperparameter_names(method, adapter)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "words" in vars(cls) and "hyperparameter_names" not in vars(cls):
            cls.hyperparameter_names = cls.words  # type: ignore[method-assign]  # a backend outside this repository

    @classmethod
    def describe_options(cls, manifest: Manifest) -> Mapping[str, str]:
        """Return the `provider_options` that it takes, by name, each with its values and what it does, for
        `tuneport submit --option help`. By default those of the manifest."""
        return {name: " or ".join(option.values) for name, option in manifest.options.items()}

    def client_rules(self) -> Mapping[str, Rule]:
        """Return what a client of a gateway may set of `provider_options`, by name.

        `slurm.setup` lies inside `slurm`; `*` is the rule for all names that are not listed. Options without a rule are
        refused, so by default all are.
        """
        return {}

    def check(self, spec: TuneSpec) -> None:
        """Refuse what this backend can never take, before there is a job: sends nothing, needs no key, writes nothing.

        Raises UnsupportedError, ConfigError or BudgetError. By default it refuses secrets that would be stored with the
        job (`provider_options` whose names sound like one, and keys of the environment anywhere) and, with a budget,
        options that may change the price. An override calls this one last; `prepare` and `submit` refuse the same.
        """
        refuse_provider_option_secrets(spec.provider_options)
        refuse_known_secrets(spec, known_backend_secrets(self.settings))
        refuse_unpriced_provider_option(self.name, spec, self.cost_neutral_options)

    @abstractmethod
    def prepare(self, spec: TuneSpec, data: PreparedData) -> Iterator[RemoteFile]:
        """Upload the files, wait for the provider's validation if it has one, and yield each file when it is there.

        May be called again after a crash: content that was uploaded is found by its hash and reused. Blocks as long as
        the provider takes; raises DatasetError if the provider's validation refuses the file.
        """

    @abstractmethod
    def submit(self, spec: TuneSpec, files: Sequence[RemoteFile], *, token: str) -> JobState:
        """Start the job: the call that spends money. Sent once, never retried; `token` travels with the remote job.

        Raises `UnavailableError` if it is unknown whether the job started: ask `find(token)`. Any other error means
        that it did not start.
        """

    @abstractmethod
    def find(self, token: str) -> Found:
        """Find the job of the submit that carried `token`. Returns UNKNOWN rather than an exception when in doubt.

        ABSENT is what the provider's list says now: it may lag. How long the answer must stay the same before it counts
        is the manifest's `settle_seconds`.
        """

    def mark_of(self, state: JobState) -> str | None:
        """Return the part of a token that the provider's job carries (at least its first ten characters), or None."""
        return None

    @abstractmethod
    def fetch(self, remote_id: str) -> JobState:
        """Ask for the job's state now. Raises NotFoundError only if the provider says that there is no such job."""

    @abstractmethod
    def cancel(self, remote_id: str) -> JobState:
        """Ask for the job to stop, and return its state, which may still be `cancelling`.

        Does nothing to a finished job.
        """

    def fetch_many(self, remote_ids: Iterable[str]) -> Iterable[tuple[str, JobState | ProviderError]]:
        """Fetch each; one failure does not hide the others. Override it if a list call is cheaper."""
        for remote_id in remote_ids:
            try:
                yield remote_id, self.fetch(remote_id)
            except ProviderError as error:
                yield remote_id, error

    def events(self, remote_id: str, *, after: str | None = None) -> Iterable[JobEvent]:
        """Return the job's events, oldest first; those after the event whose id is `after`, if given."""
        self._unsupported("events")

    def metrics(self, remote_id: str) -> Sequence[MetricPoint]:
        self._unsupported("metrics")

    def checkpoints(self, remote_id: str) -> Sequence[Checkpoint]:
        self._unsupported("checkpoints")

    def pause(self, remote_id: str) -> JobState:
        """Ask for the job to be held, and return its state, which may still be `pausing`. Raises RejectedError if it
        has ended."""
        self._unsupported("pausing a job")

    def resume(self, remote_id: str) -> JobState:
        """Continue a paused job; if `resumes_failed`, also one that failed because something was missing that may be
        there now."""
        self._unsupported("resuming a job")

    def stop_early(self, remote_id: str) -> JobState:
        """Ask for the job to end now with its best weights, and return its state.

        By default the job is cancelled and keeps its checkpoints; a backend that can makes the best one its model. Does
        nothing to a finished job.
        """
        return self.cancel(remote_id)

    def delete(self, remote_id: str) -> None:
        self._unsupported("deleting a job")

    def list_jobs(self) -> Iterable[JobState]:
        """Return all jobs that the account has, tuneport's or not, newest first."""
        self._unsupported("listing jobs")

    def list_files(self) -> Iterable[RemoteFile]:
        self._unsupported("listing files")

    def list_models(self) -> Iterable[RemoteModel]:
        self._unsupported("listing models")

    def read_file(self, file_id: str) -> bytes:
        self._unsupported("reading a file back")

    def save_file(self, file_id: str, target: Path) -> Path:
        """Fetch a file of the account to `target`, whole or not at all. Override it if the file can be streamed."""
        write_atomically(target, self.read_file(file_id), durable=False, private=False)
        return target

    def delete_file(self, file_id: str) -> None:
        self._unsupported("deleting a file")

    def download(self, remote_id: str, folder: Path, *, merged: bool = False) -> Path:
        """Fetch the tuned weights into `folder` and return where they lie."""
        self._unsupported("downloading weights")

    def quote(self, spec: TuneSpec, files: Sequence[RemoteFile]) -> Quote | None:
        """Return the provider's own price for the job, or None if it gives none."""
        return None

    def deploy(self, model: str, **options: Any) -> Deployment:
        """Ask for an endpoint for a tuned model; it may still be starting. Finds an existing endpoint instead of a
        second one."""
        self._unsupported("deploying a model")

    def undeploy(self, deployment_id: str) -> None:
        """Stop an endpoint and verify that nothing of it is billed any more. Does nothing if it is already stopped."""
        self._unsupported("deployments")

    def deployments(self) -> Iterable[Deployment]:
        self._unsupported("deployments")

    def complete(
        self, model: str, messages: Sequence[dict[str, Any]], *, stream: bool = False, **options: Any
    ) -> Completion | Iterator[str]:
        """Answer a chat: return a Completion, or with `stream` an iterator over chunks of its text, as it is written.

        `messages` are in OpenAI's shape; `options` take OpenAI's names (`max_tokens`, `temperature`, `tools` ...).
        Joined, the chunks are the text. Each may be a `Chunk`, which also carries what OpenAI's chunks do: further
        choices, fragments of tool calls, the finish reason, token counts. Plain strings count as text of an answer that
        ends by itself. Closing the iterator (a `ClosableStream` from any thread), or dropping it, ends the answer.
        """
        self._unsupported("completing a prompt")

    def answer(self, model: str, messages: Sequence[dict[str, Any]], **options: Any) -> Completion:
        """Answer a chat whole; see `complete`, which a backend implements."""
        found = self.complete(model, messages, **options)
        if not isinstance(found, Completion):
            raise TypeError(f"{type(self).__name__}.complete gave a stream that was not asked for")
        return found

    def stream(self, model: str, messages: Sequence[dict[str, Any]], **options: Any) -> Iterator[str]:
        """Answer a chat piece by piece; see `complete`, which a backend implements."""
        found = self.complete(model, messages, stream=True, **options)
        if isinstance(found, Completion):
            raise TypeError(f"{type(self).__name__}.complete gave no stream, which was asked for")
        return found

    def complete_many(
        self, model: str, conversations: Sequence[Sequence[dict[str, Any]]], **options: Any
    ) -> Iterator[Completion | ProviderError]:
        """Answer many chats, in order, each as it is ready. Override it if the backend batches.

        A backend that knows which chat failed gives its error in its place, and continues with the others.
        """
        with ThreadPoolExecutor(max_workers=8) as pool:
            yield from pool.map(lambda messages: self.answer(model, messages, **options), conversations)

    def count_input_tokens(self, model: str, messages: Sequence[dict[str, Any]], **options: Any) -> int:
        """Return the tokens that the chat is billed for as input, by the provider's own count. It sends the chat, and
        costs nothing."""
        self._unsupported("counting tokens")

    def score(
        self, model: str, conversations: Sequence[Sequence[dict[str, Any]]], choices: Sequence[str]
    ) -> Iterator[list[float]]:
        """Yield for each chat the log-likelihood of each of `choices` as the next assistant message, in nats."""
        self._unsupported("scoring answers by likelihood")

    def lm_eval(
        self, model: str, tasks: Sequence[str], *, limit: int | None = None
    ) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """Run tasks of EleutherAI's lm-eval on the first `limit` rows of each; yield each task with its scores."""
        self._unsupported("lm-eval")

    def close(self) -> None:  # noqa: B027 - a default, not a forgotten abstract method
        """Release clients and child processes. The backend is not used afterwards."""

    def _unsupported(self, capability: str) -> NoReturn:
        raise UnsupportedError(f"the backend {self.name} does not support {capability}")


def raise_chat_errors(answers: Iterable[Completion | ProviderError]) -> Iterator[Completion]:
    """Yield the answers of `complete_many`. Raises the first error among them."""
    for answer in answers:
        if isinstance(answer, ProviderError):
            raise answer
        yield answer
