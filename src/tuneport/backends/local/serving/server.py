"""Servers that answer in place of our own child, in OpenAI's wire format: vLLM, and whatever `serve_url` names."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2

from tuneport.backends.hosted.http.loop_guard import HOP_HEADER, gateway_hop_header, gateway_hop_hook
from tuneport.backends.hosted.http.network import ProviderNetwork, strip_url_credentials
from tuneport.backends.hosted.http.redirects import CrossOriginRedirectError
from tuneport.backends.streaming import Chunk, ChunkStream, abort_provider_response
from tuneport.errors import (
    AuthError,
    ConfigError,
    NotFoundError,
    RateLimitError,
    RejectedError,
    UnavailableError,
    UnsupportedError,
    one_line,
)
from tuneport.types import Completion

if TYPE_CHECKING:
    from pydantic import SecretStr

PARALLEL_REQUESTS = 64  # of one `complete_many`: the server batches what is there at once
CONNECT_SECONDS = 10.0
LOOK_SECONDS = 50.0
# Sent with every request, since servers have defaults of their own and a model's folder may change those.
DEFAULTS = {"max_tokens": 512, "temperature": 1.0, "top_p": 1.0}
_ERRORS = {401: AuthError, 403: AuthError, 404: NotFoundError, 429: RateLimitError}


class ChatServerClient:
    """`url` is the address before `/chat/completions`, such as http://127.0.0.1:8000/v1. May be shared by threads.

    `silence_seconds` bounds an answer, and of a stream the wait for its next line; `look_seconds` bounds the list of
    models. `gateway_id`: of the gateway that asks, where the server may be one, too.
    """

    def __init__(
        self,
        url: str,
        key: SecretStr | None = None,
        *,
        silence_seconds: float,
        look_seconds: float = LOOK_SECONDS,
        direct: bool = False,
        gateway_id: str | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.shown = strip_url_credentials(self.url)
        self._look_seconds = look_seconds
        headers = {} if key is None else {"Authorization": f"Bearer {key.get_secret_value()}"}
        limits = httpx2.Limits(max_connections=None)
        network = ProviderNetwork((lambda name: None) if direct else os.environ.get)
        timeout = httpx2.Timeout(silence_seconds, connect=CONNECT_SECONDS)
        hooks: dict[str, list[Callable[..., Any]]] = {"request": [gateway_hop_hook(gateway_id)]}
        if gateway_id is not None:
            headers[HOP_HEADER] = gateway_hop_header(gateway_id)
        transport: Any = network.transport(httpx2, limits)
        self._client = httpx2.Client(
            headers=headers, timeout=timeout, transport=transport, trust_env=False, event_hooks=hooks
        )
        self._counts_streams = True  # unless the server turns out not to know how to

    def close(self) -> None:
        self._client.close()

    def list_models(self) -> list[dict[str, Any]]:
        """Return the rows of /models: `id`, and at vLLM `root`, the folder or hub name."""
        with self._telling():
            body = _object(self._checked(self._client.get(f"{self.url}/models", timeout=self._look_seconds)))
        rows = body.get("data")
        return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []

    def post(self, path: str, body: Mapping[str, Any]) -> httpx2.Response:
        with self._telling():
            return self._checked(self._client.post(f"{self.url}{path}", json=body))

    def complete(self, name: str, messages: Sequence[dict[str, Any]], fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer's JSON object, which has at least one choice with a message."""
        answer = _object(self.post("/chat/completions", self._request(name, messages, fields)))
        choices = answer.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0].get("message"), dict):
            raise UnavailableError(f"the server at {self.shown} sent an answer without a message", provider="local")
        return answer

    def stream(self, name: str, messages: Sequence[dict[str, Any]], fields: Mapping[str, Any]) -> ChunkStream:
        """Stream the answer. Closing the stream closes the connection, at which servers stop answering."""
        request = self._request(name, messages, fields) | {"stream": True}
        open_: list[httpx2.Response] = []

        def stop() -> None:
            for response in open_:
                abort_provider_response(response)

        return ChunkStream(self._chunks(request, open_), stop)

    def _chunks(self, request: dict[str, Any], open_: list[httpx2.Response]) -> Generator[Chunk]:
        """Yield the answer's chunks. `open_` receives the response as soon as there is one."""
        counting = {"stream_options": {"include_usage": True}} if self._counts_streams else {}
        body = request | counting
        ended = False
        with self._telling(), self._client.stream("POST", f"{self.url}/chat/completions", json=body) as response:
            open_.append(response)
            if response.status_code >= 400:
                response.read()
            if response.status_code in (400, 422) and counting and "stream_options" in response.text:
                self._counts_streams = False  # an older server, which can answer all the same
            else:
                self._checked(response)
                for line in response.iter_lines():
                    if not line.startswith("data:"):
                        continue
                    data = line[len("data:") :].strip()
                    if data == "[DONE]":
                        return
                    chunk = _parsed(data)
                    if "error" in chunk:
                        message = _said(chunk)
                        raise UnavailableError(f"the server at {self.shown} stopped: {message}", provider="local")
                    piece = Chunk.from_openai(chunk)
                    ended = ended or any(choice["finish_reason"] is not None for choice in piece.choices)
                    yield piece
        if counting and not self._counts_streams:
            open_.clear()
            yield from self._chunks(request, open_)
        elif not ended:
            raise UnavailableError(f"the server at {self.shown} stopped in the middle of its answer", provider="local")

    def _request(self, name: str, messages: Sequence[dict[str, Any]], fields: Mapping[str, Any]) -> dict[str, Any]:
        refuse_local_chat_media_urls(messages)
        return DEFAULTS | {"model": name, "messages": list(messages)} | dict(fields)

    def _checked(self, response: httpx2.Response) -> httpx2.Response:
        """Return the response, or raise the error of its status."""
        status = response.status_code
        if status < 400:
            return response
        kind = _ERRORS.get(status, UnavailableError if status >= 500 else RejectedError)
        try:
            said = _said(_object(response))
        except ValueError:
            said = one_line(response.text.strip()[:200])
        raise kind(f"the server at {self.shown} answers {status}: {said}", provider="local", http_status=status)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except httpx2.InvalidURL as error:
            said = f"serve_url {self.shown} is not an address: {error}; write http://HOST:PORT/v1"
            raise ConfigError(said) from error
        except httpx2.UnsupportedProtocol as error:
            raise ConfigError(f"serve_url {self.shown} is not an address: it needs http:// or https://") from error
        except CrossOriginRedirectError as error:
            raise RejectedError(
                f"the server at {error}, another server: nothing was sent there; if that is the right address, set "
                "serve_url to it",
                provider="local",
            ) from error
        except httpx2.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise UnavailableError(
                f"the server at {self.shown} cannot be reached: {reason}", provider="local"
            ) from error
        except ValueError as error:
            raise UnavailableError(
                f"the server at {self.shown} does not answer in JSON: {error}", provider="local"
            ) from error


@dataclass(frozen=True)
class ServerServedModel:
    """A model of a server, by the name that it has there."""

    server: ChatServerClient
    name: str

    def complete_many(
        self, model: str, conversations: Sequence[Sequence[dict[str, Any]]], fields: Mapping[str, Any]
    ) -> Iterator[Completion]:
        def ask(messages: Sequence[dict[str, Any]]) -> Completion:
            started = time.monotonic()
            return _completion(model, self.server.complete(self.name, messages, fields), time.monotonic() - started)

        if len(conversations) == 1:
            yield ask(conversations[0])
            return
        pool = ThreadPoolExecutor(min(PARALLEL_REQUESTS, len(conversations) or 1))
        try:
            yield from pool.map(ask, conversations)
        finally:
            pool.shutdown(cancel_futures=True)

    def stream(self, messages: Sequence[dict[str, Any]], fields: Mapping[str, Any]) -> ChunkStream:
        return self.server.stream(self.name, messages, fields)


class RemoteChatServer:
    """The server of `serve_url`. It is asked for nothing before a model is."""

    def __init__(self, open_server: Callable[[], ChatServerClient]) -> None:
        self._open = open_server
        self._server: ChatServerClient | None = None
        self._names: dict[str, str] = {}

    def serve_model(self, model: str, names: Callable[[], Sequence[str]], hint: Callable[[], str]) -> ServerServedModel:
        """Return the model as served. Raises NotFoundError if the server does not have it.

        `names` are those that the server may have beside its own; `hint` says how it gets there.
        """
        if self._server is None:
            self._server = self._open()
        if model not in self._names:
            rows = self._server.list_models()
            served = {str(row.get(field)): str(row["id"]) for field in ("root", "id") for row in rows if row.get("id")}
            found = next((served[name] for name in (model, *names()) if name in served), None)
            if found is None:
                has = ", ".join(str(row.get("id")) for row in rows) or "no model"
                raise NotFoundError(f"the server at {self._server.shown} has {has}; {hint()}", provider="local")
            self._names[model] = found
        return ServerServedModel(self._server, self._names[model])

    def close(self) -> None:
        if self._server is not None:
            self._server.close()


def refuse_local_chat_media_urls(messages: Sequence[Mapping[str, Any]]) -> None:
    """Raise UnsupportedError for an image, a video or a sound that the server would have to fetch: its network may
    reach more than the author of the message may."""
    for number, message in enumerate(messages):
        content = message.get("content")
        for place, part in enumerate(content) if isinstance(content, list) else ():
            for path, text in _strings(part, f"messages[{number}].content[{place}]"):
                address = text.lstrip().lower()
                if not address.startswith("data:") and ("_url" in path or "://" in address):
                    raise UnsupportedError(
                        f"{path} is an address, and the backend local fetches none; send the content itself as a data: "
                        "URL",
                        param=path,
                    )


def _strings(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield every text in a part of a message by its path, except those that are only read."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _strings(inner, f"{path}[{place}]")
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name not in ("type", "text", "refusal", "detail", "uuid"):
                yield from _strings(inner, f"{path}.{name}")


def _completion(model: str, answer: Mapping[str, Any], seconds: float) -> Completion:
    choice = answer["choices"][0]
    usage = answer.get("usage") or {}
    return Completion(
        text=choice["message"].get("content") or "",
        model=model,
        finish_reason=choice.get("finish_reason"),
        prompt_tokens=usage.get("prompt_tokens"),
        completion_tokens=usage.get("completion_tokens"),
        tool_calls=choice["message"].get("tool_calls") or [],
        seconds=seconds,
    )


def _object(response: httpx2.Response) -> dict[str, Any]:
    return _parsed(response.text)


def _parsed(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"{one_line(text[:80])} is no JSON object")
    return value


def _said(body: Mapping[str, Any]) -> str:
    """Return the error message. OpenAI nests the error; vLLM has done both."""
    error = body.get("error", body)
    said = error.get("message", error) if isinstance(error, dict) else error
    return one_line(" ".join(str(said).split()))[:500]
