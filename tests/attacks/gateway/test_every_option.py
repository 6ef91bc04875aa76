"""Every option of every backend is on the list of what clients may set, or refused by name. One that is added without a
decision fails here."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.gateway.conftest import TINY, Target
from tests.attacks.gateway.generated import Attack
from tuneport.backends import open_backend
from tuneport.backends.base import FineTuneBackend
from tuneport.backends.together import request as together_arguments
from tuneport.backends.together import serving as together_serving
from tuneport.client_rules import CheckedByGateway, ClientsMaySet, OperatorOnly, Rule, client_rule_of_field
from tuneport.lifecycle.submitting.options import JobOptions
from tuneport.manifests import manifest_names
from tuneport.serve.wire.chat import CreateChatCompletion
from tuneport.serve.wire.native import SubmitJob
from tuneport.settings import Settings
from tuneport.training_options import SlurmOptions, TrainingOptions
from tuneport.types import Hyperparameters, TuneSpec

PROVIDERS = Path(__file__).parents[3] / "providers"
MODELS = {
    "local": TINY,
    "together": "llama-3.1-8b-instruct",
    "openai": "gpt-4.1-mini-2025-04-14",
    "azure": "gpt-4.1-mini-2025-04-14",
    "fake": "stand-in",
}
WRONG: tuple[Any, ...] = (
    "/etc/passwd",
    ["x; id", "/"],
    {"a": {"b": ["$(id)"]}},
    -7,
    1e300,
    10**30,
    "",
    [],
    [[]],
    {"": 0},
)
"""Of these no option takes any, whatever its kind: a list holds one that is no name."""
SDK_CALL = {"self", "extra_headers", "extra_query", "extra_body", "timeout"}


def backends(settings: Settings) -> Iterator[FineTuneBackend]:
    for name in [*manifest_names(), "fake"]:
        yield open_backend(name, settings)


@pytest.mark.parametrize(
    "declared", [TrainingOptions, SlurmOptions, Hyperparameters, TuneSpec, JobOptions], ids=lambda m: m.__name__
)
def test_each_field_says_who_may_set_it(declared: Any) -> None:
    undecided = [name for name, field in declared.model_fields.items() if client_rule_of_field(field) is None]
    assert not undecided, f"{declared.__name__}: say beside the field who may set it, see client_rules: {undecided}"
    nested = [field.annotation for field in declared.model_fields.values() if client_rule_of_field(field) is not None]
    if declared is TrainingOptions:
        assert any("SlurmOptions" in str(kind) for kind in nested), "the one that is walked below it"


def test_each_argument_of_the_sdks_is_decided() -> None:
    pytest.importorskip("together", reason="its signature is walked: pip install 'tuneport[together]'")
    from openai.resources.chat.completions import Completions as OpenAIChats
    from together.resources.chat.completions import CompletionsResource as TogetherChats

    assert set(together_arguments.CLIENT_RULES) == set(together_arguments.list_together_options())
    ours = set(CreateChatCompletion.model_fields) | SDK_CALL
    theirs = {name.partition(".")[0] for name in together_serving.CHAT_CLIENT_RULES}
    assert set(inspect.signature(TogetherChats.create).parameters) - ours - theirs == set()
    assert set(inspect.signature(OpenAIChats.create).parameters) - ours == set()


def test_each_option_of_a_manifest_is_decided() -> None:
    found = 0
    for path in PROVIDERS.glob("*.toml"):
        for name, option in tomllib.loads(path.read_text()).get("options", {}).items():
            assert isinstance(option.get("clients"), bool), f"{path.name}: options.{name} does not say `clients`"
            found += 1
    assert found > 0


def test_what_a_job_may_hold_is_what_a_spec_holds_and_what_the_gateway_does_with_it() -> None:
    at_the_gateway = {
        "training_file",
        "validation_file",
        "backend",
        "cancel_over_budget",
        "stop_on_overfit",
        "delete_files",
    }
    of_the_spec = {name for name in TuneSpec.model_fields} - {"dataset", "validation", "reward_folder", "inline_images"}
    assert set(SubmitJob.model_fields) == at_the_gateway | of_the_spec


def good(rule: ClientsMaySet) -> list[Any]:
    if rule.kind == "yes_no":
        return [True, False, *rule.words]
    if rule.kind == "word":
        return list(rule.words)
    if rule.kind == "module_names":
        return [["q_proj"], *rule.words]
    high = int(rule.high) if rule.kind == "whole" else rule.high
    return [high, *rule.words] if rule.above else [high, int(rule.low), *rule.words]


def bad(rule: Rule) -> list[Any]:
    wrong = [value for value in WRONG if not isinstance(value, str) or value]
    if isinstance(rule, ClientsMaySet) and rule.kind in ("whole", "number"):
        wrong += [True, rule.high * 2 + 1, rule.low - 1, *([0] if rule.above else [])]
    return wrong


@pytest.mark.parametrize("name", MODELS)
def test_each_option_of_each_backend_is_on_the_list_or_refused_by_name(
    target: Callable[..., Target], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """By requests to the gateway. What is on the list may still be refused by the backend, but as its own matter."""
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "k")
    monkeypatch.setenv("TUNEPORT_AZURE_BASE_URL", "http://127.0.0.1:9/v1")
    here = target()
    rules = here.running.gateway.unscoped.backend(name).client_rules()
    hard = {each: rule for each, rule in rules.items() if each != "*"}
    known = {"anything": None, "slurm.setup" if name != "local" else "colour": None}

    def asked(option: str, value: Any) -> tuple[int, dict[str, Any]]:
        outer, _, inner = option.partition(".")
        given = {outer: {inner: value} if inner else value}
        body = {"model": MODELS[name], "backend": name, "training_file": here.file_id, "method": "sft"}
        told = here.send(Attack("", "POST", "/tuneport/v1/jobs", body | {"provider_options": given}))
        return told.status, told.error if told.status != 200 else {}

    for option, rule in {**hard, **known}.items():
        if isinstance(rule, ClientsMaySet):
            for value in good(rule):
                status, error = asked(option, value)
                assert status == 200 or error["code"] != "operator_only", (option, value, error)
                assert status == 200 or error["param"] != f"provider_options.{option}", (option, value, error)
            for value in bad(rule)[:2] if option != next(iter(hard)) else bad(rule):
                status, error = asked(option, value)
                assert status == 400 and error["param"] == f"provider_options.{option}", (option, value, status, error)
            continue
        assert rule is None or isinstance(rule, OperatorOnly), (option, rule)
        for value in (True, "x", {"a": 1}):
            status, error = asked(option, value)
            outer = f"provider_options.{option.partition('.')[0]}"
            assert status == 400 and error["param"].startswith(outer), (option, value, status, error)
            assert error["code"] == "operator_only" and "this gateway" in error["message"], error


def test_rules_take_what_they_say_and_nothing_else() -> None:
    for declared in (TrainingOptions, Hyperparameters):
        for name, field in declared.model_fields.items():
            rule = client_rule_of_field(field)
            if isinstance(rule, ClientsMaySet):
                assert all(map(rule.accepts, good(rule))), name
                assert not any(map(rule.accepts, bad(rule))), name
                for value in good(rule):
                    if declared is TrainingOptions or value != 0:
                        declared.model_validate({name: value})
            else:
                assert isinstance(rule, OperatorOnly | CheckedByGateway), name
    nan = float("nan")
    for rule in (client_rule_of_field(field) for field in Hyperparameters.model_fields.values()):
        assert isinstance(rule, ClientsMaySet) and not any(
            map(rule.accepts, (nan, -nan, float("inf"), 10**400, b"1", None))
        )
