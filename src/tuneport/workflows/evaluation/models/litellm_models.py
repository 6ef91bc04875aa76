"""Any model that litellm can ask, for what needs an answer and no training. litellm is imported to ask, not before."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuneport.backends.hosted.http.connection_errors import connection_error_chain
from tuneport.backends.hosted.http.network import ProviderNetwork
from tuneport.backends.hosted.http.redirects import CrossOriginRedirectError
from tuneport.errors import (
    AuthError,
    ConfigError,
    NotFoundError,
    ProviderError,
    QuotaError,
    RateLimitError,
    RejectedError,
    UnavailableError,
    one_line,
)
from tuneport.estimate.cost import Traffic, per_token_quote
from tuneport.installation import install_extra
from tuneport.manifests import load_base_price_manifest
from tuneport.settings import Settings
from tuneport.types import Completion

PREFIX = "litellm/"
"""A prefix of names: litellm is meant, even if nothing here knows the model."""
_TRIES, _SECONDS = 6, 120.0
_LONGEST_QUOTE = 300  # characters of a provider's own words


@dataclass(frozen=True)
class EvaluatedLiteLLMModel:
    """`name` is litellm's own, `provider` who answers. `thinks`: it may think in tokens that are billed as answers."""

    name: str
    provider: str
    thinks: bool
    settings: Settings

    @property
    def listed(self) -> bool:
        """Return whether litellm's table has it."""
        return _name_in_table(self.name) is not None

    @property
    def third_party(self) -> str:
        return f"{self.provider}, through litellm"

    @property
    def where(self) -> tuple[str, str | None, str]:
        """Return the key of its answers in the cache."""
        return "litellm", self._address, self.name

    def price(self, *, requests: int, input_tokens: int, output_tokens: int) -> tuple[float | None, str]:
        """Return US dollars of so many tokens by litellm's table, and how they are computed, or None with the reason if
        it has no price."""
        prices = load_base_price_manifest()
        found = prices.find(_name_in_table(self.name) or self.name)
        if found is None:
            return None, f"{prices.title} has no price per token for {self.name}"
        traffic = Traffic(input_tokens, output_tokens, requests=requests)
        quote = per_token_quote("litellm", found.name, found.price, traffic, source=prices.url, as_of=prices.as_of)
        return quote.expected, f"{prices.title}, {found.name}"

    def refuse_without_key(self) -> None:
        """Raise ConfigError that names the missing variable, before anything is asked. Other credentials (a cloud's, a
        token) are left to litellm."""
        found = _litellm().validate_environment(self.name)
        missing = [
            each for each in found["missing_keys"] if each.endswith("_API_KEY") and self.settings.secret(each) is None
        ]
        token = os.environ.get(f"{self.provider.upper()}_AUTH_TOKEN")
        if missing and not token and not found["keys_in_environment"]:
            raise ConfigError(f"{self.name} needs {' and '.join(missing)} in the environment or .env")

    def complete(
        self, model: str, messages: Sequence[dict[str, Any]], *, stream: bool = False, **options: Any
    ) -> Completion:
        """Answer a chat as a backend does; `model` is this one's name. Transient errors are retried; others are raised
        as ProviderError."""
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

        passing = retry_if_exception(lambda error: isinstance(error, ProviderError) and error.retryable)
        retrying = Retrying(
            retry=passing, wait=wait_exponential_jitter(1, 30), stop=stop_after_attempt(_TRIES), reraise=True
        )
        return retrying(self._once, messages, options)

    def _once(self, messages: Sequence[dict[str, Any]], options: dict[str, Any]) -> Completion:
        litellm = _litellm()
        import openai  # litellm needs it, and its errors are openai's

        _use_own_transport(litellm, self.settings)

        reached: dict[str, Any] = {} if self._address is None else {"api_base": self._address}
        if (secret := self.settings.secret(f"{self.provider.upper()}_API_KEY")) is not None:
            reached["api_key"] = secret.get_secret_value()
        try:
            answer = litellm.completion(
                model=self.name,
                messages=list(messages),
                drop_params=True,  # some take no temperature
                num_retries=0,
                max_retries=0,
                timeout=_SECONDS,
                **reached,
                **options,
            )
        except openai.OpenAIError as error:
            raise _error(error, self, reached.get("api_key")) from error
        choice = answer.choices[0]
        usage = getattr(answer, "usage", None)
        return Completion(
            text=choice.message.content or "",
            model=self.name,
            finish_reason=choice.finish_reason,
            prompt_tokens=getattr(usage, "prompt_tokens", None),
            completion_tokens=getattr(usage, "completion_tokens", None),
        )

    @property
    def _address(self) -> str | None:
        """Return the address. It is never `OPENAI_BASE_URL`, which litellm would take: users point that one at tuneport
        itself."""
        if self.provider == "openai":
            return self.settings.base_url("openai", "https://api.openai.com/v1")
        variable = self.provider.upper()
        return os.environ.get(f"{variable}_API_BASE") or os.environ.get(f"{variable}_BASE_URL")


def find_evaluated_litellm_model(name: str, settings: Settings) -> EvaluatedLiteLLMModel | None:
    """Return the model by the table that litellm ships: a model that it lists, or any name after a provider that it
    lists; and any `litellm/PROVIDER/MODEL`. Returns None for other names."""
    said = name.startswith(PREFIX)
    name = name.removeprefix(PREFIX)
    prefix, _, rest = name.partition("/")
    listed, rows = _name_in_table(name), _rows()
    row = {} if listed is None else rows[listed]
    provider = prefix if rest else row.get("litellm_provider")
    if not (said and rest) and listed is None and all(each.get("litellm_provider") != prefix for each in rows.values()):
        return None
    return (
        None if not provider else EvaluatedLiteLLMModel(name, provider, bool(row.get("supports_reasoning")), settings)
    )


def _rows() -> Mapping[str, Mapping[str, Any]]:
    return load_base_price_manifest().rows


def _name_in_table(name: str) -> str | None:
    """Return the model's name in the table: some of its names have the provider before them, some have not."""
    rows = _rows()
    if name in rows:
        return name
    prefix, _, rest = name.partition("/")
    return rest if rest in rows and rows[rest].get("litellm_provider") == prefix else None


def _litellm() -> Any:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it fetches a file when it is imported
    try:
        import litellm
    except ImportError as error:
        raise ConfigError(f"litellm is not installed: {install_extra('litellm')}") from error

    litellm.suppress_debug_info = True  # it prints to stdout
    return litellm


def _use_own_transport(litellm: Any, settings: Settings) -> None:
    """Make litellm send by our transport, unless it has another one: it bounds a whole answer, where litellm bounds the
    wait for the next byte, and sends no prompt on to another server."""
    import httpx

    if getattr(litellm, "sync_transport", None) is not None or litellm.client_session is not None:
        return
    transport: Any = ProviderNetwork(settings.get).transport(httpx, httpx.Limits())
    litellm.sync_transport = transport
    litellm.client_session = httpx.Client(transport=transport, trust_env=False, follow_redirects=True)


def _error(error: Exception, model: EvaluatedLiteLLMModel, key: str | None) -> ProviderError:
    """Return the error for the HTTP status, as for every provider: see `errors`."""
    if elsewhere := next(
        (cause for cause in connection_error_chain(error) if isinstance(cause, CrossOriginRedirectError)), None
    ):
        return RejectedError(f"{elsewhere}, another server: no prompt was sent there", provider=model.provider)
    status = getattr(error, "status_code", None)
    words = str(error).replace(key, "***") if key else str(error)
    words = one_line(" ".join(words.split()))
    words = f"{words[:_LONGEST_QUOTE]}…" if len(words) > _LONGEST_QUOTE else words
    told: dict[str, Any] = {"provider": model.provider, "http_status": status}
    if status in (401, 403):
        return AuthError(
            f"{model.provider} refuses the key for {model.name}; check {model.provider.upper()}_API_KEY", **told
        )
    if status == 404:
        return NotFoundError(f"{model.provider} has no model {model.name}; check the name ({words})", **told)
    if status == 402 or "insufficient_quota" in words:
        return QuotaError(f"{model.provider} has no money or quota left for {model.name} ({words})", **told)
    if status == 429:
        return RateLimitError(
            f"{model.provider} had too many requests; run it again to continue", retryable=True, **told
        )
    if status in (400, 413, 422):
        return RejectedError(f"{model.provider} refused a prompt to {model.name}: {words}", **told)
    return UnavailableError(
        f"{model.provider} did not answer ({words}); run it again to continue", retryable=True, **told
    )
