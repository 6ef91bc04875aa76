"""Claude through Anthropic's official SDK: answers, whole or streamed, and the account's models. It trains nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, ClassVar, NoReturn

from pydantic import Field

from tuneport.backends.anthropic.answers import parse_claude_message, stream_claude_message
from tuneport.backends.anthropic.batches import MOST_REQUESTS, MessageBatches, message_batch_error
from tuneport.backends.anthropic.caching import SentPromptHeads, mark_shared_prompt_heads
from tuneport.backends.anthropic.request import COUNTED, SAMPLING, build_message_request
from tuneport.backends.hosted.backend import HostedBackend, HostedOptions, check_provider_list, parse_provider_time
from tuneport.backends.secrets import redact_backend_secrets
from tuneport.client_rules import Rule, client_whole_number_rule
from tuneport.errors import ProviderError, RejectedError, UnsupportedError
from tuneport.estimate.cost import Traffic, inference_quote
from tuneport.manifests import find_manifest_model
from tuneport.types import (
    Completion,
    DataFile,
    Found,
    JobState,
    JobStatus,
    Quote,
    RemoteFile,
    RemoteModel,
    TuneSpec,
)


class AnthropicOptions(HostedOptions):
    """The options of hosted backends, and how many chats at once are asked."""

    prompt_caching: bool = Field(default=True, description="long heads that are sent again are kept by the provider")
    batches: bool = Field(default=False, description="half the price for evaluations, answered within a day")
    batch_poll_interval: float = Field(default=30.0, gt=0, description="seconds between questions whether it is done")


class AnthropicBackend(HostedBackend):
    options_model: ClassVar[type[HostedOptions]] = AnthropicOptions
    options: AnthropicOptions
    has_batches: ClassVar[bool] = True
    chats_per_call: ClassVar[int] = MOST_REQUESTS
    statuses: ClassVar[dict[str, JobStatus]] = {}
    client_chat_rules: ClassVar[Mapping[str, Rule]] = {"top_k": client_whole_number_rule(0, 1_000_000)}

    @cached_property
    def _heads(self) -> SentPromptHeads:
        return SentPromptHeads()

    def _connect(self, key: str) -> Any:
        import anthropic
        import httpx2

        self.sdk_errors = (anthropic.AnthropicError,)
        client = self._open_client(anthropic, anthropic.Anthropic, httpx2, key)
        client.webhook_key = None  # which the SDK takes from the process's environment
        return client

    # --- chats ------------------------------------------------------------------------------------------------------

    def complete(
        self, model: str, messages: Sequence[dict[str, Any]], *, stream: bool = False, **options: Any
    ) -> Completion | Iterator[str]:
        """Answer a chat, with retries as for a read; one whose answer was lost may be billed twice.

        Raises UnsupportedError or RejectedError, before anything is sent, for what a request cannot carry.
        """
        request = self._request(model, messages, options)
        if self.options.prompt_caching:
            request = dict(self._heads.mark_repeated(request, find_manifest_model(self.manifest, model)))
        sampling = {name: request.pop(name) for name in SAMPLING if name in request}  # the SDK has no arguments for it
        create, seconds = self.client.messages.create, self.options.completion_timeout

        def begin() -> Any:
            return create(**request, stream=stream, timeout=seconds, extra_body=sampling or None)

        if stream:
            return stream_claude_message(self._read(begin, "chat"), self.upstream, self._translating_stream())
        return self._read(lambda: parse_claude_message(model, begin().to_dict(mode="json", warnings=False)), "chat")

    def _request(self, model: str, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> dict[str, Any]:
        return build_message_request(self.name, model, find_manifest_model(self.manifest, model), messages, options)

    def supports(self, name: str) -> bool:
        return super().supports(name) and (name != "complete_many" or self.options.batches)

    def complete_many(
        self, model: str, conversations: Sequence[Sequence[dict[str, Any]]], **options: Any
    ) -> Iterator[Completion | ProviderError]:
        """Answer many chats, in order: with the option `batches` in Message Batches at half the price, which takes up
        to a day, else some at the same time. A repeated call goes on with the batches that a killed one has sent."""
        if not self.options.batches:
            yield from super().complete_many(model, conversations, **options)
            return
        asked: list[dict[str, Any] | RejectedError] = []
        for messages in conversations:
            try:
                asked.append(self._request(model, messages, options))
            except RejectedError as error:
                asked.append(error)

        def mark(requests: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
            facts = find_manifest_model(self.manifest, model)
            return mark_shared_prompt_heads(requests, facts) if self.options.prompt_caching else requests

        results = self._batches().results([each for each in asked if isinstance(each, dict)], mark=mark)
        for each in asked:
            yield each if isinstance(each, RejectedError) else self._row_answer(model, next(results))
        next(results, None)  # all is taken: the batches are forgotten

    def quote_answers(self, model: str, conversations: Sequence[Sequence[dict[str, Any]]], **options: Any) -> Quote:
        """Return what answers to these chats cost: `low` without a word of them, `high` and `expected` with all of
        `max_tokens`, nothing read from the cache.

        The provider counts the tokens, one free request for each chat. Raises as `complete` does.
        """
        requests = [self._request(model, messages, options) for messages in conversations]
        with ThreadPoolExecutor(max_workers=8) as pool:
            tokens = sum(pool.map(self._count, requests))
        offered = find_manifest_model(self.manifest, model)
        if offered is None or offered.inference is None:
            return Quote.unknown(self.name, model, f"{self.manifest.title} lists no price of {model}")
        price, most = offered.inference, sum(request["max_tokens"] for request in requests)
        share = 1.0 if self.options.batches else 0.0
        low, high = (
            inference_quote(self.manifest, offered, Traffic(tokens, output, requests=len(requests), batch_share=share))
            for output in (0, most)
        )
        return Quote(
            backend=self.name,
            model=model,
            expected=high.expected,
            low=low.expected,
            high=high.expected,
            explanation=f"{tokens:,} tokens in, by {self.manifest.title}'s own count, and {most:,} out at most",
            source=self.manifest.sources[price.source].url,
            as_of=price.as_of,
        )

    def count_input_tokens(self, model: str, messages: Sequence[dict[str, Any]], **options: Any) -> int:
        """Return the tokens of the chat, by the provider's own count. Raises as `complete` does."""
        return self._count(self._request(model, messages, options))

    def _count(self, request: Mapping[str, Any]) -> int:
        given = {name: request[name] for name in COUNTED if name in request}
        counted: int = self._read(lambda: self.client.messages.count_tokens(**given).input_tokens)
        return counted

    def _batches(self) -> MessageBatches:
        return MessageBatches(
            self.client,
            self.settings.home / "batches",
            self.name,
            self.upstream.base_url,
            read=self._read,
            start=self._start,
            sleep=self._sleep,
            poll_seconds=self.options.batch_poll_interval,
            timeout=self.options.completion_timeout,
        )

    def _row_answer(self, model: str, result: dict[str, Any]) -> Completion | ProviderError:
        result = redact_backend_secrets(result, self.upstream.secret_pattern)
        if result["type"] != "succeeded":
            return message_batch_error(self.name, result)
        try:
            with self._translating():
                return parse_claude_message(model, result["message"])
        except ProviderError as error:
            return error

    # --- the account ------------------------------------------------------------------------------------------------

    def list_models(self) -> Iterable[RemoteModel]:
        def listed() -> list[RemoteModel]:
            page = check_provider_list(self.client.models.list(limit=1000))
            return [_remote_model(model.to_dict(mode="json", warnings=False)) for model in page]

        return self._read(listed)

    # --- training, which there is none of ---------------------------------------------------------------------------

    def check(self, spec: TuneSpec) -> None:
        self._refuse_training()

    def submit(self, spec: TuneSpec, files: Sequence[RemoteFile], *, token: str) -> JobState:
        self._refuse_training()

    def find(self, token: str) -> Found:
        return Found.absent()

    def fetch(self, remote_id: str) -> JobState:
        self._refuse_training()

    def cancel(self, remote_id: str) -> JobState:
        self._refuse_training()

    def _find_or_upload(self, file: DataFile) -> str:
        self._refuse_training()

    def _validated(self, file_id: str, file: DataFile) -> bool:
        self._refuse_training()

    def _refuse_training(self) -> NoReturn:
        because = "" if self.manifest.no_training is None else f": {self.manifest.no_training.text}"
        raise UnsupportedError(f"the backend {self.name} does not train{because}")


def _remote_model(model: dict[str, Any]) -> RemoteModel:
    end = parse_provider_time(model.get("retires_at"))
    return RemoteModel(
        id=model["id"],
        created_at=parse_provider_time(model.get("created_at")),
        owned_by="anthropic",
        shutdown_date=None if end is None else end.date(),
    )
