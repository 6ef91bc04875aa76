"""Chats with a tuned model at Together: it answers from a dedicated endpoint, and not at all without one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, ClassVar

from tuneport.backends.hosted.backend import HostedBackend
from tuneport.backends.hosted.chat import CLIENT_RULES
from tuneport.backends.together.deployments import TogetherDedicatedEndpoints
from tuneport.backends.together.endpoints import TogetherRegisteredModel
from tuneport.client_rules import YES_NO, OperatorOnly, Rule, client_choice_rule
from tuneport.errors import (
    AuthError,
    NotDeployedError,
    NotFoundError,
    ProviderError,
    RejectedError,
    TuneportError,
    UnavailableError,
    UnsupportedError,
)
from tuneport.estimate.cost import HOURS_PER_MONTH
from tuneport.formatting import money
from tuneport.types import Deployment

_API, _CHAT = "https://api.together.ai", "https://api-inference.together.ai"
_NOT_TAKEN = frozenset(
    "audio function_call functions logprobs modalities moderation parallel_tool_calls prediction service_tier store "
    "top_logprobs verbosity web_search_options".split()
)
"""OpenAI's options of a chat that the API does not have, or means otherwise: it would ignore them."""
_DEPLOY_OPTIONS = ("agree", "hardware", "inactive_timeout", "max_usd_per_hour", "replicas")


CHAT_CLIENT_RULES: dict[str, Rule] = CLIENT_RULES | {
    "echo": YES_NO,
    "context_length_exceeded_behavior": client_choice_rule("truncate", "error"),
    "reasoning": OperatorOnly("is an object, of which only enabled is known"),
    "reasoning.enabled": YES_NO,
    "chat_template_kwargs": OperatorOnly("goes into the model's chat template"),
    "safety_model": OperatorOnly("names a further model, which is billed"),
    "compliance": OperatorOnly("changes where the provider keeps the chat"),
}
"""Together's own parameters of a chat, each: what a client of a gateway may set."""


class TogetherServing(HostedBackend):
    _counts_streams = False
    client_chat_rules: ClassVar[Mapping[str, Rule]] = CHAT_CLIENT_RULES

    @abstractmethod
    def _listed(self) -> list[dict[str, Any]]:
        """Return the account's jobs, as the service lists them."""

    @abstractmethod
    def _retrieved(self, remote_id: str) -> dict[str, Any]:
        """Return one job from its own page, in a single request."""

    @cached_property
    def _served_as(self) -> dict[str, str]:
        """Return the endpoints' names by which tuned models have answered."""
        return {}

    def _endpoints(self) -> TogetherDedicatedEndpoints:
        project = self.settings.get("TOGETHER_PROJECT_ID")
        return TogetherDedicatedEndpoints(self.name, self.client, read=self._read, once=self._once, project=project)

    def deploy(self, model: str, **options: Any) -> Deployment:
        """Start a dedicated endpoint for a tuned model (its name, or its job's id), or find the existing one.

        `options`: hardware (a part of a name; the cheapest by default), replicas (1), inactive_timeout (30 minutes),
        max_usd_per_hour, agree (called with the `EndpointOffer`; what it raises stops). Raises BudgetError,
        UnsupportedError or ConfigError before anything that costs money.
        """
        if unknown := sorted(set(options) - set(_DEPLOY_OPTIONS)):
            takes = ", ".join(_DEPLOY_OPTIONS)
            raise UnsupportedError(f"the backend {self.name} does not take {unknown[0]} to deploy; it takes {takes}")
        return self._endpoints().start_endpoint(self._registered(model), **options)

    def undeploy(self, deployment_id: str) -> None:
        self._endpoints().stop_endpoint(deployment_id)

    def _stop_endpoint(self, model: str) -> None:
        """Stop the endpoint that `deploy` made, if there is one. A key that sees no endpoints has made none."""
        try:
            self._endpoints().stop_model_endpoint(self._registered(model))
        except (UnsupportedError, AuthError, NotFoundError):
            pass

    def deployments(self) -> Iterable[Deployment]:
        return self._endpoints().list_deployments(
            str(job["model_output_name"]) for job in self._listed() if job.get("model_output_name")
        )

    def _registered(self, model: str) -> TogetherRegisteredModel:
        """Return the weights behind a tuned model's name or a job's id. Raises UnsupportedError if they cannot be
        deployed."""
        for job in self._listed():
            if model in (job.get("id"), job.get("model_output_name"), job.get("model_object_name")):
                whole = self._read(partial(self._retrieved, job["id"]))
                if (found := TogetherRegisteredModel.from_job(whole)) is not None and whole["status"] == "completed":
                    return found
        raise UnsupportedError(
            f"{self.name} has no tuned model {model} to deploy; `tuneport jobs` shows what has succeeded"
        )

    def _chat_client(self) -> Any:
        # Chats live at another host than jobs, unless an address is set.
        return self.client.with_options(base_url=_CHAT) if self.upstream.base_url == _API else self.client

    def complete(self, model: str, messages: Sequence[dict[str, Any]], *, stream: bool = False, **options: Any) -> Any:
        """Answer a chat, for a tuned model at its endpoint if it has one.

        Raises NotDeployedError without an endpoint, with its price, how to get it, and the cheaper way. Raises
        UnsupportedError for an option of OpenAI's that would be ignored.
        """
        if unknown := sorted(_NOT_TAKEN & {name for name, value in options.items() if value is not None}):
            raise UnsupportedError(f"the backend {self.name} does not take {unknown[0]} for a chat", param=unknown[0])
        if "max_completion_tokens" in options:
            options["max_tokens"] = options.pop("max_completion_tokens")
        try:
            return super().complete(self._served_as.get(model, model), messages, stream=stream, **options)
        except (RejectedError, NotFoundError, UnavailableError) as error:
            # An endpoint that was there may have been stopped since; what is said then is not published.
            if self._served_as.pop(model, None) is None and "non-serverless" not in str(error):
                raise
            self._served_as[model] = self._endpoint_of(model, error)
        return super().complete(self._served_as[model], messages, stream=stream, **options)

    def _endpoint_of(self, model: str, error: ProviderError) -> str:
        """Return the name of the endpoint that answers as `model`."""
        try:
            found = self._endpoints().find_deployments(self._registered(model))[:1]
        except TuneportError:
            found = []  # of a model that is none of this account's, or with a key that sees no endpoints
        if found and found[0].status == "ready":
            return str(found[0].details["name"])
        if found and found[0].status == "starting":
            raise NotDeployedError(
                f"the endpoint of {model} at {self.name} is starting ({found[0].raw_status}); ask again in some "
                f"minutes (`tuneport undeploy {found[0].id}` stops it)",
                starting=True,
            ) from error
        stopped = f" (its own, {found[0].id}, is {found[0].status})" if found else ""
        needs = f"{self.name} answers as {model} only from a dedicated endpoint{stopped}{self._price_of_hosting()}"
        raise NotDeployedError(
            f"{needs}: `tuneport deploy {model} --backend {self.name}` starts one; or, which is cheaper, download the "
            "weights and run them here: `tuneport download JOB -o FOLDER`, then `tuneport chat FOLDER --backend local`",
            starting=False,
            needs=needs,
        ) from error

    def _price_of_hosting(self) -> str:
        rows = sorted(self.manifest.hosting, key=lambda row: row.usd_per_hour)
        if not rows:
            return ""
        high = "" if rows[0].usd_per_hour_high is None else f" to {money(rows[0].usd_per_hour_high)}"
        month = money(HOURS_PER_MONTH * rows[0].usd_per_hour, short=True)
        return f", from {money(rows[0].usd_per_hour)}{high} an hour and {rows[0].gpu} while it is up ({month} a month)"
