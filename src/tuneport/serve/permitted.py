"""The rules of what clients may ask for: they stand beside each option, with what the operator has opened to
clients.

The sender of a request is a client, with or without a token: another user of the machine, who needs none on
loopback, is not the operator. The operator writes `tuneport.toml` and starts `tuneport serve`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from tuneport.backends import backend_names, open_backend
from tuneport.client_rules import (
    ClientsMaySet,
    OperatorOnly,
    Rule,
    client_rule_has_inner_options,
    client_rules_of_fields,
)
from tuneport.errors import ConfigError
from tuneport.serve.http.errors import Refusal
from tuneport.types import Hyperparameters, TuneSpec

if TYPE_CHECKING:
    from tuneport.backends.base import FineTuneBackend
    from tuneport.settings import Settings

WANDB, PYTHON_GRADERS, HUB_MODELS = "wandb", "python_graders", "hub_models"
SWITCHES = {
    WANDB: "shows runs in W&B with the operator's key",
    PYTHON_GRADERS: "sends Python code, which runs in the sandbox",
    HUB_MODELS: "names any model of the hub, which is downloaded to this machine",
}
_OPEN_SWITCH = re.compile(r"(?:request|chat)\.[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_OPEN_WORDS = {
    "request": "goes to a provider as a further field of a job's request",
    "chat": "goes to the backend as a further parameter of a chat",
}
_NUMBERS = client_rules_of_fields(Hyperparameters.model_fields)
_NEVER_IN_A_CHAT = ("self", "extra_body", "extra_headers", "extra_query", "timeout")
"""Names that the client libraries use themselves."""


def refuse_operator_options(spec: TuneSpec, backend: FineTuneBackend | None, allowed: Collection[str]) -> None:
    """Refuse by name what only the operator may set. `backend` is None if the router is still to choose one: then
    options that depend on the backend are refused. `allowed` is `GatewaySettings.client_options`."""
    for name, value in spec.hyperparameters.given().items():
        _refuse(name, value, _NUMBERS, (), "hyperparameters")
    at_the_provider = frozenset[str]() if backend is None else backend.at_the_provider
    if spec.wandb is not None and WANDB not in {*allowed, *at_the_provider}:
        raise _operators("wandb", "wandb", "uses the operator's W&B key", WANDB)
    if client_grader_has_code(spec.grader) and PYTHON_GRADERS not in {*allowed, *at_the_provider}:
        raise _operators("grader", "a grader with Python code", "runs on the operator's machine", PYTHON_GRADERS)
    if spec.reward_function is not None or spec.reward_folder is not None:
        raise _operators("reward", "a reward function", "runs on the operator's machine", None)
    if spec.provider_options and backend is None:
        raise Refusal(
            400,
            "'provider_options' belong to one backend, and none is named; say which with 'backend'.",
            param="backend",
            code="invalid_value",
        )
    for name, value in spec.provider_options.items():
        assert backend is not None
        _refuse(name, value, backend.client_rules(), allowed, "provider_options")


def refuse_operator_numbers(numbers: Mapping[str, Any]) -> None:
    """Refuse hyperparameters that only the operator may set, in a question about prices."""
    for name, value in numbers.items():
        _refuse(name, value, _NUMBERS, (), "hyperparameters")


def refuse_chat_options(extra: Mapping[str, Any], backend: FineTuneBackend, allowed: Collection[str]) -> None:
    """Refuse by name the options of a chat that are not sampling parameters of the backend."""
    opened = {name.removeprefix("chat.") for name in allowed if name.startswith("chat.")} - {*_NEVER_IN_A_CHAT}
    for name, value in extra.items():
        _refuse(name, value, backend.client_chat_rules, opened, "", switch="chat.")


def client_grader_has_code(grader: Any) -> bool:
    """Return whether a grader, or one inside it at any depth, is Python code."""
    if isinstance(grader, Mapping):
        return grader.get("type") == "python" or any(map(client_grader_has_code, grader.values()))
    return isinstance(grader, list | tuple) and any(map(client_grader_has_code, grader))


def _refuse(
    name: str, value: Any, rules: Mapping[str, Rule], opened: Collection[str], where: str, *, switch: str = ""
) -> None:
    param = f"{where}.{name}" if where else name
    rule = rules.get(name)
    if rule is None and "*" in rules:
        rule = rules["*"]
    own = f"{switch}{name}"
    if isinstance(rule, OperatorOnly) and rule.switch is not None:
        own = rule.switch.replace("*", name)
    is_open = own.removeprefix(switch) in opened and not (isinstance(rule, OperatorOnly) and rule.never)
    if client_rule_has_inner_options(rules, name) and isinstance(value, Mapping) and value:
        for inner, item in value.items():
            _refuse(f"{name}.{inner}", item, rules, opened, where, switch=switch)
        return
    if isinstance(rule, ClientsMaySet):
        if not rule.accepts(value):
            raise Refusal(400, f"Invalid value for '{param}': it must be {rule}.", param=param, code="invalid_value")
        return
    if is_open:
        return
    if isinstance(rule, OperatorOnly):
        raise _operators(
            param, f"'{param}'", rule.because, None if rule.never or client_rule_has_inner_options(rules, name) else own
        )
    if switch and rules and name not in _NEVER_IN_A_CHAT:  # a server's own parameter, unknown to tuneport
        raise _operators(param, f"'{param}'", "is not a parameter that tuneport knows", own)
    known = ", ".join(sorted(each for each, found in rules.items() if isinstance(found, ClientsMaySet)))
    raise Refusal(
        400,
        f"'{param}' is not an option that clients of this gateway may set"
        + (f"; they may set {known}." if known else "; the backend has none."),
        param=param,
        code="operator_only",
    )


def _operators(param: str, what: str, because: str, switch: str | None) -> Refusal:
    how = (
        "no client can set it."
        if switch is None
        else f'the operator lets clients set it with client_options = ["{switch}"] under [gateway] in tuneport.toml, '
        f"or with serve --client-option {switch}."
    )
    message = f"Only the operator of this gateway may set {what}: it {because}; {how}"
    return Refusal(400, message, param=param, code="operator_only")


# --- what the operator has opened ------------------------------------------------------------------------------------


def list_gateway_client_options(settings: Settings) -> dict[str, str]:
    """Return what clients may set besides the numbers of training, each with what it does. Raises ConfigError for a
    name in `client_options` that opens nothing, or cannot be opened."""
    names = settings.project.gateway.client_options
    rules = _all_rules(settings) if names else {}
    return {name: _opens(name, rules) for name in dict.fromkeys(names)}


def _opens(name: str, rules: Mapping[str, Rule]) -> str:
    if name in SWITCHES:
        return SWITCHES[name]
    rule = rules.get(name)
    if client_rule_has_inner_options(rules, name):
        inside = ", ".join(sorted(each for each in rules if each.startswith(f"{name}.")))
        raise ConfigError(f"client_options: {name} is more than one option; name each that clients may set: {inside}")
    if isinstance(rule, ClientsMaySet):
        raise ConfigError(f"client_options: clients may set {name} anyway; take it out")
    if isinstance(rule, OperatorOnly) and rule.never:
        raise ConfigError(f"client_options: {name} {rule.because} and cannot be opened to clients; take it out")
    if isinstance(rule, OperatorOnly):
        return rule.because
    kind, _, own = name.partition(".")
    if _OPEN_SWITCH.fullmatch(name) and own not in _NEVER_IN_A_CHAT:
        return _OPEN_WORDS[kind]
    known = [*SWITCHES, *sorted(each for each, rule in rules.items() if _can_be_opened(each, rule, rules))]
    raise ConfigError(
        f"client_options: there is no option {name!r}; known are {', '.join(known)}, request.NAME and chat.NAME"
    )


def _can_be_opened(name: str, rule: Rule, rules: Mapping[str, Rule]) -> bool:
    return (
        isinstance(rule, OperatorOnly)
        and not rule.never
        and rule.switch is None
        and not client_rule_has_inner_options(rules, name)
    )


def _all_rules(settings: Settings) -> dict[str, Rule]:
    """Return the rules of every backend that can be opened here, by name."""
    found: dict[str, Rule] = {}
    for name in backend_names(settings):
        try:
            backend = open_backend(name, settings)
        except ConfigError:  # its packages are not installed, or its table is not finished
            continue
        found |= {each: rule for each, rule in backend.client_rules().items() if each != "*"}
        backend.close()
    return found
