"""The shared parts of backends that use a vendor's SDK: the key, the retries, files, chats."""

from __future__ import annotations

import random
import tempfile
import time
import uuid
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import tenacity
from pydantic import BaseModel, ConfigDict, Field

from tuneport.backends.base import FineTuneBackend
from tuneport.backends.hosted.chat import (
    CLIENT_RULES,
    parse_provider_completion,
    parse_provider_stream_error,
    provider_rejects_stream_options,
    stream_provider_chunks,
)
from tuneport.backends.hosted.http.connection_errors import provider_request_never_sent
from tuneport.backends.hosted.http.cooldown import CallKind, ProviderCooldown
from tuneport.backends.hosted.http.deadlines import limit_requests_in_total
from tuneport.backends.hosted.http.loop_guard import HOP_HEADER, gateway_hop_header, gateway_hop_hook
from tuneport.backends.hosted.http.network import ProviderNetwork, is_http_url
from tuneport.backends.hosted.http.rate_limit import count_provider_pages, wait_before_provider_read
from tuneport.backends.hosted.http.redirects import CrossOriginRedirectError
from tuneport.backends.hosted.idempotency import send_idempotency_key
from tuneport.backends.hosted.provider_errors import HtmlAnswerError, ProviderConnection, redact_provider_url
from tuneport.backends.hosted.upload_turns import lock_provider_upload, provider_upload_journal_path
from tuneport.backends.secrets import redact_backend_secrets
from tuneport.client_rules import Rule
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
from tuneport.validation import validate_toml_table

if TYPE_CHECKING:
    from tuneport.manifests import Manifest
    from tuneport.settings import Settings

T = TypeVar("T")

_TRIES = 4
_SECONDS_FOR_RETRIES = 60.0
_LAST_TRY = 40.0  # seconds after the first one; so a read with all its tries is over within a minute
_SECONDS_FOR_A_READ = 55.0
_LIST_FROM = 5  # from this many jobs on, a list is asked for instead of each job
_DOWN_AFTER = 3  # so many jobs in a row without an answer, and it is the provider, not the jobs


class HostedOptions(BaseModel):
    """`[backends.NAME.options]` in `tuneport.toml`, all in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
    timeout: float = Field(default=50.0, gt=0, description="for a whole answer, besides what its bytes take")
    completion_timeout: float = Field(default=300.0, gt=0, description="the same, while a model is writing")
    poll_interval: float = Field(default=2.0, gt=0, description="between questions whether a file is validated")
    validation_timeout: float = Field(default=1800.0, gt=0, description="for the validation of one file")


class HostedBackend(FineTuneBackend):
    """A provider behind an SDK. A missing key shows at the first call, so that it can be listed without one.

    Reads are tried up to four times within a minute, as the server asks (`retry-after`), and so are chats: one whose
    answer was lost is asked again, and the provider may bill both. The call that starts a job is sent once. A server
    that asks to be left alone for longer is: until then calls fail here, with the time that is left as `retry_after`.
    """

    listed_per_call: ClassVar[int | None] = 100
    """Jobs in one answer of the list call; None if one answer has them all."""

    lists_are_partial: ClassVar[bool] = False
    """A listed job that has ended lacks something that the job's own address has: it is asked for once more."""

    client_chat_rules: ClassVar[Mapping[str, Rule]] = CLIENT_RULES

    _counts_streams = True
    """Whether to ask for the tokens of a stream. False if the provider reports them unasked, or has refused to."""

    options_model: ClassVar[type[HostedOptions]] = HostedOptions
    """What the table of options may hold."""

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
        self.options = validate_toml_table(self.options_model, table.options, f"backends.{self.name}.options")
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
        if not is_http_url(base_url):
            raise ConfigError(
                f"{redact_provider_url(base_url)} is not an address of {self.name}; write http(s)://HOST[:PORT]/v1 "
                f"into TUNEPORT_{self.name.upper().replace('-', '_')}_BASE_URL, or into base_url under "
                f"[backends.{self.name}] in tuneport.toml"
            )
        self.upstream = ProviderConnection(
            self.name,
            base_url.rstrip("/"),
            key_variable,
            settings.secret(key_variable),
            network=ProviderNetwork(settings.get),
        )
        self._sleep, self._monotonic = sleep, monotonic
        self._cooldown = ProviderCooldown(self.name, monotonic)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.upstream.redacted_url!r})"

    @abstractmethod
    def _connect(self, key: str) -> Any:
        """Make the SDK's client, with its own retries off, and set `sdk_errors`."""

    @cached_property
    def client(self) -> Any:
        return self._connect(self.upstream.require_api_key())

    def _open_client(
        self,
        sdk: Any,
        client_class: Callable[..., Any],
        library: Any,
        key: str,
        *,
        base_url: str | None = None,
        headers: Mapping[str, str] | None = None,
        asking: Sequence[Callable[[Any], None]] = (),
        **own: Any,
    ) -> Any:
        """Make the client of an SDK, with no retries of its own, on the HTTP `library`.

        `asking` are hooks of each request, `own` is what only this SDK takes. The option `timeout` is also the seconds
        without a byte that end a call.
        """
        timeout = sdk.Timeout(self.options.timeout, connect=min(10.0, self.options.timeout))
        # Proxies, certificates, and the user and password of the address, which HTTP libraries would log as part of it.
        transport = self.upstream.network.transport(
            library, sdk.DEFAULT_CONNECTION_LIMITS, user_of=self.upstream.base_url
        )
        gateway = self.settings.gateway_id
        return client_class(
            api_key=key,
            base_url=base_url or self.upstream.address,
            max_retries=0,
            timeout=timeout,
            default_headers={
                "Authorization": f"Bearer {key}",  # again: the SDKs let a variable of custom headers override it
                HOP_HEADER: gateway_hop_header(gateway),
                **(headers or {}),
            },
            http_client=sdk.DefaultHttpxClient(
                timeout=timeout,
                event_hooks={"request": [gateway_hop_hook(gateway), *asking], "response": [self._refuse_html]},
                transport=transport,
            ),
            **own,
        )

    def close(self) -> None:
        if client := self.__dict__.pop("client", None):
            client.close()

    # --- calls ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _translating(self) -> Iterator[None]:
        """Translate the SDK's errors into ours. A body that cannot be parsed, or lacks required fields, counts as
        one."""
        _ = self.client  # the key's absence is not the provider's error; and `sdk_errors` is set from here on
        expected: tuple[type[Exception], ...] = (
            *self.sdk_errors,
            HtmlAnswerError,
            CrossOriginRedirectError,
            ValueError,
            AttributeError,
            LookupError,
            TypeError,
            ArithmeticError,  # of numbers that no float holds
            RecursionError,  # of what is nested without end
            AssertionError,  # Together's SDK asserts what the answer to an upload is
        )
        try:
            yield
        except expected as error:
            ours = self.upstream.translate_error(error)
            # The original, or what caused it, may repeat the key; then it must not appear in a traceback either.
            raise ours from (None if self.upstream.reveals_key(error) else error)

    def _once(self, call: Callable[[], T], kind: CallKind = "read") -> T:
        self._cooldown.check(kind)
        try:
            with self._translating():
                result = call()
        except ProviderError as error:
            self._cooldown.record(kind, error)
            raise
        return redact_backend_secrets(
            result, self.upstream.secret_pattern
        )  # a provider may repeat the key, in events too

    def _read(self, call: Callable[[], T], kind: CallKind = "read", *, within: float | None = _SECONDS_FOR_A_READ) -> T:
        """Call, and retry if that can help. For calls that may be repeated without harm.

        `within`: the seconds for all tries together, or the option `timeout` if that is longer, or None to move files.
        """
        if within is None or kind == "chat":
            return self._tried(call, kind)
        with limit_requests_in_total(max(within, self.options.timeout)):
            return self._tried(call, kind)

    def _tried(self, call: Callable[[], T], kind: CallKind) -> T:
        stop = tenacity.stop_after_attempt(_TRIES) | tenacity.stop_before_delay(_SECONDS_FOR_RETRIES)
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, ProviderError) and error.retryable),
            stop=stop | tenacity.stop_after_delay(_LAST_TRY),
            wait=_wait,
            sleep=self._sleep,
            reraise=True,
        )
        result: T = retrying(self._paced, call, kind)
        return result

    def _paced(self, call: Callable[[], T], kind: CallKind) -> T:
        """Wait first for what the server asked for earlier, without using up a try."""
        if 0 < (left := self._cooldown.remaining(kind)) <= _SECONDS_FOR_RETRIES:
            self._sleep(left)
        wait_before_provider_read()
        return self._once(call, kind)

    def _delete(self, call: Callable[[], object]) -> None:
        """Delete. Success also if it is gone on a second try, whose first answer was lost."""
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
        """Make the one call that spends money. `sent` returns whether the request that starts the job went out.

        Raises UnavailableError only if the job may have started; otherwise a ProviderError that is retryable.
        """
        try:
            return self._once(call, "start")
        except UnavailableError as error:
            if sent() and not provider_request_never_sent(error):
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
        """Refuse a web page: a hook of the HTTP client, because the SDKs return one as a string where an object is
        promised."""
        count_provider_pages()
        if response.status_code == 200 and response.headers.get("content-type", "").startswith("text/html"):
            raise HtmlAnswerError(f"{response.request.method} {response.request.url.path} was answered with a web page")

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
        """Fetch many jobs by list calls, then each missing one by a call of its own.

        Listing stops after more answers without a wanted job than jobs are still missing: never more than twice the
        calls that single fetches would take, however many other jobs the account has. If the provider itself is in
        trouble (it limits us, is down, refuses the key), the rest get that error, instead of 10,000 more calls.
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
        with lock_provider_upload(
            provider_upload_journal_path(self.settings.home, file, self.name, self.upstream.base_url)
        ):
            file_id = self._read(lambda: self._find_or_upload(file), within=None)
        self._await_validation(file_id, file)
        return RemoteFile(
            id=file_id, purpose=purpose, sha256=file.sha256, filename=remote_file_name(file), bytes=file.bytes
        )

    @abstractmethod
    def _find_or_upload(self, file: DataFile) -> str:
        """Return the id of the file, uploaded unless it is there; may be called again after any failure."""

    @abstractmethod
    def _validated(self, file_id: str, file: DataFile) -> bool:
        """Return whether the provider has accepted the file. Raises DatasetError if it has refused it."""

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
        """Answer a chat, with retries as for a read.

        A chat whose answer was lost may be billed twice, unless the provider honours the key that goes with all its
        tries.
        """
        create = self._chat_client().chat.completions.create
        request = {"model": model, "messages": list(messages), "timeout": self.options.completion_timeout}

        def begin() -> Any:
            counting = {"stream_options": {"include_usage": True}} if self._counts_streams else {}
            return create(**request, stream=True, extra_body=counting | options)

        with send_idempotency_key(uuid.uuid4().hex, "/chat/completions"):  # one key for all tries of this chat
            if not stream:
                return self._read(
                    lambda: parse_provider_completion(
                        model, create(**request, extra_body=options).to_dict(mode="json", warnings=False)
                    ),
                    "chat",
                )
            try:
                answer = self._read(begin, "chat")
            except RejectedError as error:
                if (
                    not self._counts_streams
                    or "stream_options" in options
                    or not provider_rejects_stream_options(error)
                ):
                    raise
                self._counts_streams = False
                answer = self._read(begin, "chat")
        return stream_provider_chunks(answer, self.upstream, self._translating_stream())

    def _chat_client(self) -> Any:
        return self.client

    @contextmanager
    def _translating_stream(self) -> Iterator[None]:
        """Translate also the HTTP library's own errors, which surface within a stream. ValueErrors of the reader
        pass."""
        try:
            yield
        except Exception as error:
            if isinstance(error, self.sdk_errors) or type(error).__module__.split(".")[0] in ("httpx", "httpx2"):
                raise parse_provider_stream_error(error, self.upstream) or self.upstream.translate_error(
                    error
                ) from None
            raise


def check_provider_list(page: Any) -> Any:
    """Return the page itself. Raises ValueError for an answer without any list, which the SDKs take for an empty
    one."""
    if not isinstance(getattr(page, "data", None), list):
        raise ValueError("it sent a list without its items; try again")
    return page


def read_provider_id(answer: Any) -> str:
    """Return the id of a new object. Raises ValueError if the answer has none, as the object cannot be found then."""
    if not isinstance(identity := getattr(answer, "id", None), str) or not identity:
        raise ValueError("the answer has no id")
    return identity


def remote_file_name(file: DataFile) -> str:
    """Return the name for uploading a file. It is made of the content alone, so that the file is found again."""
    return f"tuneport-{file.sha256[:32]}.jsonl"


@contextmanager
def link_with_remote_name(file: DataFile) -> Iterator[Path]:
    """Provide a path that ends in the file's remote name, for uploads that take their name from the path."""
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / remote_file_name(file)
        link.symlink_to(file.path.absolute())
        yield link


def parse_provider_time(value: Any) -> datetime | None:
    """Return an aware datetime from Unix seconds or an ISO string, or None from anything else."""
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
    """Return 0.5, 1, 2 s with up to half of that added, or longer if the server asks for it. It may also ask for no
    wait."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, ProviderError) else None
    return max(asked or 0.0, 0.5 * 2.0 ** (state.attempt_number - 1) * random.uniform(1.0, 1.5))
