"""What the providers that are reached through a vendor's SDK have in common: the key, the retries, files, chats."""

from __future__ import annotations

import random
import tempfile
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import tenacity
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tuneport.backends.base import FineTuneBackend
from tuneport.backends.connection_errors import never_sent
from tuneport.backends.hops import HOP_HEADER, hop_header
from tuneport.backends.hosted_chat import completion_of, pieces_of, refuses_counts, told_in_stream
from tuneport.backends.network import Network, is_address
from tuneport.backends.pacing import after_response, before_request
from tuneport.backends.provider_errors import NotJsonError, Upstream, shown_url
from tuneport.backends.quiet import Lane, Quiet
from tuneport.backends.secrets import without
from tuneport.errors import (
    AuthError,
    ConfigError,
    NotFoundError,
    ProviderError,
    QuotaError,
    RateLimitError,
    RejectedError,
    UnavailableError,
)
from tuneport.settings import BackendSettings
from tuneport.types import Completion, DataFile, JobState, PreparedData, RemoteFile, TuneSpec

if TYPE_CHECKING:
    from tuneport.manifests import Manifest
    from tuneport.settings import Settings

T = TypeVar("T")

_TRIES = 4
_SECONDS_FOR_RETRIES = 60.0
_LIST_FROM = 5  # from this many jobs on, a list is asked for instead of each job
_DOWN_AFTER = 3  # so many jobs in a row without an answer, and it is the provider, not the jobs


class HostedOptions(BaseModel):
    """`[backends.NAME.options]` in `tuneport.toml`, all in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
    timeout: float = Field(default=60.0, gt=0, description="without a byte of an answer")
    completion_timeout: float = Field(default=300.0, gt=0, description="the same, while a model is writing")
    poll_interval: float = Field(default=2.0, gt=0, description="between questions whether a file is validated")
    validation_timeout: float = Field(default=1800.0, gt=0, description="for the validation of one file")


class HostedBackend(FineTuneBackend):
    """A provider behind an SDK. A missing key shows at the first call, so that it can be listed without one.

    Reads are tried up to four times within a minute, as the server wishes (`retry-after`), and so are chats: one whose
    answer was lost is asked again, and the provider may bill both. The call that starts a job is sent once. A server
    that asks to be left alone for longer is: until then calls fail here, with the time that is left as `retry_after`.
    """

    listed_per_call: ClassVar[int | None] = 100
    """Jobs in one answer of the list call; None where one answer has them all."""

    lists_are_partial: ClassVar[bool] = False
    """A listed job that has ended lacks something that the job's own address has: it is asked for once more."""

    _counts_streams = True
    """Whether to ask for the tokens of a stream: not where it tells them unasked, or has refused to."""

    sdk_errors: tuple[type[Exception], ...] = ()
    """What the SDK raises; set when its client is made."""

    def __init__(
        self,
        manifest: Manifest,
        settings: Settings,
        *,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(manifest, settings)
        table = settings.project.backends.get(self.name, BackendSettings())
        try:
            self.options = HostedOptions.model_validate(table.options)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            message = f"tuneport.toml: backends.{self.name}.options.{field}: {first['msg']}; correct that line"
            raise ConfigError(message) from error
        base_url = settings.base_url(self.name, manifest.base_url)
        key_variable = manifest.api_key_env
        if key_variable is None:
            raise ConfigError(f"the manifest of {self.name} names no api_key_env; set it there")
        if base_url is None:
            variable = f"TUNEPORT_{self.name.upper().replace('-', '_')}_BASE_URL"
            form = f", which looks like {manifest.base_url_form}" if manifest.base_url_form else ""
            raise ConfigError(
                f"{self.name} needs your own address: set {variable}, or base_url under [backends.{self.name}] in "
                f"tuneport.toml{form}"
            )
        if not is_address(base_url):
            raise ConfigError(
                f"{shown_url(base_url)} is no address of {self.name}; write http(s)://HOST[:PORT]/v1 into "
                f"TUNEPORT_{self.name.upper().replace('-', '_')}_BASE_URL, or into base_url under "
                f"[backends.{self.name}] in tuneport.toml"
            )
        self.upstream = Upstream(
            self.name, base_url.rstrip("/"), key_variable, settings.secret(key_variable), network=Network(settings.get)
        )
        self._sleep, self._monotonic = sleep, monotonic
        self._quiet = Quiet(self.name, monotonic)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.upstream.shown_url!r})"

    @abstractmethod
    def _connect(self, key: str) -> Any:
        """Make the SDK's client, with its own retries off, and set `sdk_errors`."""

    @cached_property
    def client(self) -> Any:
        return self._connect(self.upstream.key())

    def wiring(self, library: Any, limits: Any) -> dict[str, Any]:
        """Arguments of the SDK's HTTP client, which is `library`'s: the way through proxies, certificates, and the
        user and password of the address, which HTTP libraries would write to their logs with it."""
        return {"transport": self.upstream.network.transport(library, limits, user_of=self.upstream.base_url)}

    def close(self) -> None:
        if client := self.__dict__.pop("client", None):
            client.close()

    # --- calls ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _translating(self) -> Iterator[None]:
        """Our errors in place of the SDK's. A body that cannot be parsed, or lacks what it must have, counts as one."""
        _ = self.client  # the key's absence is not the provider's error; and `sdk_errors` is set from here on
        expected: tuple[type[Exception], ...] = (
            *self.sdk_errors,
            NotJsonError,
            ValueError,
            AttributeError,
            KeyError,
            TypeError,
            AssertionError,  # Together's SDK asserts what the answer to an upload is
        )
        try:
            yield
        except expected as error:
            ours = self.upstream.translate(error)
            # The original, or what caused it, may repeat the key; then it must not appear in a traceback either.
            raise ours from (None if self.upstream.reveals_key(error) else error)

    def _once(self, call: Callable[[], T], lane: Lane = "read") -> T:
        self._quiet.heed(lane)
        try:
            with self._translating():
                result = call()
        except ProviderError as error:
            self._quiet.note(lane, error)
            raise
        return without(result, self.upstream.secrets)  # a provider may repeat the key, in events too

    def _read(self, call: Callable[[], T], lane: Lane = "read") -> T:
        """Call, again where that can help. For whatever may be repeated without harm."""
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, ProviderError) and error.retryable),
            stop=tenacity.stop_after_attempt(_TRIES) | tenacity.stop_before_delay(_SECONDS_FOR_RETRIES),
            wait=_wait,
            sleep=self._sleep,
            reraise=True,
        )
        result: T = retrying(self._paced, call, lane)
        return result

    def _paced(self, call: Callable[[], T], lane: Lane) -> T:
        """What the server asked for earlier is waited for first: a try that sends nothing would be none."""
        if 0 < (left := self._quiet.left(lane)) <= _SECONDS_FOR_RETRIES:
            self._sleep(left)
        before_request()
        return self._once(call, lane)

    def _delete(self, call: Callable[[], object]) -> None:
        """Delete. That it is gone on a second try, the first one's answer being lost, is what was wanted."""
        tries = 0

        def attempt() -> None:
            nonlocal tries
            tries += 1
            call()

        try:
            self._read(attempt)
        except NotFoundError:
            if tries == 1:
                raise

    def _start(self, call: Callable[[], T], *, sent: Callable[[], bool] = lambda: True) -> T:
        """Make the one call that spends money. `sent` says whether the request that starts the job went out.

        UnavailableError only where the job may have started; otherwise a ProviderError that is retryable.
        """
        try:
            return self._once(call, "start")
        except UnavailableError as error:
            if sent() and not never_sent(error):
                raise
            raise ProviderError(
                f"{error}; nothing was started",
                provider=self.name,
                http_status=error.http_status,
                code=error.code,
                request_id=error.request_id,
                retryable=error.retryable,
                retry_after=error.retry_after,
            ) from error

    def _refuse_html(self, response: Any) -> None:
        """A hook of the HTTP client: the SDKs return a web page as a string where an object is promised."""
        after_response()
        if response.status_code == 200 and response.headers.get("content-type", "").startswith("text/html"):
            raise NotJsonError(f"{response.request.method} {response.request.url.path} was answered with a web page")

    def _cancel(self, remote_id: str, call: Callable[[], JobState]) -> JobState:
        """Cancel, or return the state of a job that had already finished."""
        try:
            return self._read(call)
        except ProviderError as error:
            if not isinstance(error, RejectedError) and error.http_status != 409:
                raise
            state = self.fetch(remote_id)
            if state.status.terminal:
                return state
            raise

    def fetch_many(self, remote_ids: Iterable[str]) -> Iterable[tuple[str, JobState | ProviderError]]:
        """List calls where there are many, then a call for each job that was not listed.

        The list is left when it has had more answers without a wanted job than jobs are still missing: that is never
        more than twice the calls that each by itself would take, however many other jobs the account has. Where the
        provider itself is in trouble (it limits us, is down, refuses the key), the rest have that error, and nobody
        asks 10,000 times.
        """
        missing = dict.fromkeys(remote_ids)
        if len(missing) >= _LIST_FROM:
            try:
                fruitless, fruitful = 0, True
                for number, state in enumerate(self.list_jobs()):
                    if self.listed_per_call and number % self.listed_per_call == 0:
                        fruitless += not fruitful
                        fruitful = False
                        if fruitless > len(missing):
                            break
                    if state.remote_id in missing and not (state.status.terminal and self.lists_are_partial):
                        fruitful = True
                        del missing[state.remote_id]
                        yield state.remote_id, state
                    if not missing:
                        return
            except (AuthError, QuotaError, RateLimitError) as error:
                yield from ((remote_id, error) for remote_id in missing)
                return
            except ProviderError:
                pass  # then each is asked for, and says for itself what is wrong
        down = 0
        trouble: ProviderError | None = None
        for remote_id in missing:
            if trouble is not None:
                yield remote_id, trouble
                continue
            ((_, answer),) = super().fetch_many([remote_id])
            yield remote_id, answer
            down = down + 1 if isinstance(answer, UnavailableError) else 0
            if isinstance(answer, (AuthError, QuotaError, RateLimitError)) or (
                isinstance(answer, UnavailableError) and down >= _DOWN_AFTER
            ):
                trouble = answer

    # --- files ------------------------------------------------------------------------------------------------------

    def prepare(self, spec: TuneSpec, data: PreparedData) -> Iterator[RemoteFile]:
        self.check(spec)
        yield self._place("training", data.training)
        if data.validation is not None:
            yield self._place("validation", data.validation)

    def _place(self, purpose: Literal["training", "validation"], file: DataFile) -> RemoteFile:
        file_id = self._read(lambda: self._find_or_upload(file))
        self._await_validation(file_id, file)
        return RemoteFile(id=file_id, purpose=purpose, sha256=file.sha256, filename=remote_name(file), bytes=file.bytes)

    @abstractmethod
    def _find_or_upload(self, file: DataFile) -> str:
        """The id of the file, uploaded unless it is there; may be called again after any failure."""

    @abstractmethod
    def _validated(self, file_id: str, file: DataFile) -> bool:
        """Whether the provider has accepted the file; DatasetError where it has refused it."""

    def _await_validation(self, file_id: str, file: DataFile) -> None:
        waited = 0.0
        while not self._read(lambda: self._validated(file_id, file)):
            if waited >= self.options.validation_timeout:
                raise UnavailableError(
                    f"{self.name} has not validated {file_id} ({file.path}) within {waited:.0f} s; try again later",
                    provider=self.name,
                )
            self._sleep(self.options.poll_interval)
            waited += self.options.poll_interval

    # --- chats ------------------------------------------------------------------------------------------------------

    def complete(
        self, model: str, messages: Sequence[dict[str, Any]], *, stream: bool = False, **options: Any
    ) -> Completion | Iterator[str]:
        """See the base class. Tried again like a read: a chat whose answer was lost may be billed twice."""
        create = self._chat_client().chat.completions.create
        request = {"model": model, "messages": list(messages), "timeout": self.options.completion_timeout}

        def begin() -> Any:
            counting = {"stream_options": {"include_usage": True}} if self._counts_streams else {}
            return create(**request, stream=True, extra_body=counting | options)

        if not stream:
            return self._read(
                lambda: completion_of(model, create(**request, extra_body=options).to_dict(mode="json")), "chat"
            )
        try:
            answer = self._read(begin, "chat")
        except RejectedError as error:
            if not self._counts_streams or "stream_options" in options or not refuses_counts(error):
                raise
            self._counts_streams = False
            answer = self._read(begin, "chat")
        return pieces_of(answer, self.upstream, self._translating_stream())

    def _chat_client(self) -> Any:
        return self.client

    @contextmanager
    def _translating_stream(self) -> Iterator[None]:
        """Within a stream the HTTP library's own errors surface too. ValueErrors of the reader pass."""
        import httpx

        errors: tuple[type[Exception], ...] = (*self.sdk_errors, httpx.HTTPError)
        try:
            yield
        except Exception as error:
            if isinstance(error, errors) or type(error).__module__.split(".")[0] == "httpx2":
                raise told_in_stream(error, self.upstream) or self.upstream.translate(error) from None
            raise


def listed(page: Any) -> Any:
    """The page itself. ValueError for an answer without any list, which the SDKs take for an empty one."""
    if not isinstance(getattr(page, "data", None), list):
        raise ValueError("a list was expected, and there is none")
    return page


def id_of(answer: Any) -> str:
    """The id of what was just made. ValueError where the answer has none: then nobody can tell what was made."""
    if not isinstance(identity := getattr(answer, "id", None), str) or not identity:
        raise ValueError("the answer has no id")
    return identity


def headers_for(key: str, settings: Settings) -> dict[str, str]:
    """For every request. The key once more, because the SDKs let a variable of custom headers override their own."""
    return {"Authorization": f"Bearer {key}", HOP_HEADER: hop_header(settings.gateway_id)}


def remote_name(file: DataFile) -> str:
    """The name under which a file is uploaded: of its content alone, so that it is found again."""
    return f"tuneport-{file.sha256[:32]}.jsonl"


@contextmanager
def named_link(file: DataFile) -> Iterator[Path]:
    """A path that ends in the file's remote name, for uploads that take their name from the path."""
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / remote_name(file)
        link.symlink_to(file.path.absolute())
        yield link


def timestamp(value: Any) -> datetime | None:
    """An aware datetime from Unix seconds or an ISO string; None from what is neither, or is no date."""
    try:
        if isinstance(value, (int, float)) and value:
            return datetime.fromtimestamp(value, UTC)
        if isinstance(value, str) and value:
            parsed = datetime.fromisoformat(value)
            return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        pass  # a date that cannot be read is no reason to lose sight of the job
    return None


def _wait(state: tenacity.RetryCallState) -> float:
    """0.5, 1, 2 s with up to half of that added; longer where the server asks for it. It may ask for no time at all."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, ProviderError) else None
    return max(asked or 0.0, 0.5 * 2.0 ** (state.attempt_number - 1) * random.uniform(1.0, 1.5))
