"""Values of any nesting, for every option and every field: refused or taken, never a process, a file or a socket."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.attacks.gateway.conftest import TINY, Target
from tests.attacks.gateway.generated import Attack
from tests.attacks.gateway.watched import watching

hypothesis = pytest.importorskip("hypothesis", reason="a test tool: .ci/development.txt")
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as some  # noqa: E402

NAMES = some.sampled_from(
    ["trust_remote_code", "run_grader_code", "allow_oversize", "executor", "slurm", "setup", "sbatch", "cluster",
     "wrap", "partition", "workers", "generations", "temperature", "lora_target_modules", "lora_modules_to_save",
     "save_every", "wandb_base_url", "from_hf_model", "n_evals", "integrations", "type", "python", "source",
     "graders", "$ref", "__class__"]
) | some.text(max_size=8)  # fmt: skip
LEAVES = (
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False, allow_infinity=False)
    | some.sampled_from(["/etc/passwd", "../../x", "os:system", "$(id)", "http://127.0.0.1:9", "python", "auto"])
    | some.text(max_size=20)
)  # fmt: skip
NESTED = some.recursive(
    LEAVES, lambda inner: some.lists(inner, max_size=4) | some.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)
OPTIONS = some.dictionaries(NAMES, NESTED, min_size=1, max_size=4)
FIELDS = some.sampled_from(
    ["grader", "reward", "from_checkpoint", "wandb", "hyperparameters", "columns", "metadata", "seed",
     "adapter", "method", "budget", "suffix", "model", "training_file", "delete_files"]
)  # fmt: skip
SHUT = ("trust_remote_code", "run_grader_code", "allow_oversize", "executor", "slurm", "workers", "sharding",
        "lora_modules_to_save")  # fmt: skip
MODELS = {"local": TINY, "together": "llama-3.1-8b-instruct", "openai": "gpt-4.1-mini-2025-04-14", "fake": "stand-in"}


@pytest.mark.full
def test_nested_values_start_nothing_and_open_nothing(target: Callable[..., Target]) -> None:
    here, sent = target(), []

    def check(method: str, path: str, body: Any) -> int:
        sent.append(path)
        told = here.send(Attack("", method, path, json.dumps(body).encode("utf-8", "surrogatepass")))
        assert told.status < 500, (body, told.text)
        return told.status

    @settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(
        backend=some.sampled_from(sorted(MODELS)), options=OPTIONS, more=some.dictionaries(FIELDS, NESTED, max_size=2)
    )
    def own_jobs(backend: str, options: dict[str, Any], more: dict[str, Any]) -> None:
        plain = {"model": MODELS[backend], "backend": backend, "training_file": here.file_id, "method": "sft"}
        status = check("POST", "/tuneport/v1/jobs", plain | more | {"provider_options": options})
        assert status != 200 or not set(SHUT) & set(options), options

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(method=NESTED, more=some.dictionaries(NAMES, NESTED, max_size=2))
    def openai_jobs(method: Any, more: dict[str, Any]) -> None:
        plain = {"model": f"local/{TINY}", "training_file": here.file_id}
        grader = {"type": "reinforcement", "reinforcement": {"grader": method}}
        check("POST", "/v1/fine_tuning/jobs", plain | {"method": grader} | more)
        check("POST", "/v1/fine_tuning/jobs", plain | {"method": method, "integrations": [method]} | more)

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(extra=some.dictionaries(NAMES, NESTED, min_size=1, max_size=3))
    def chats(extra: dict[str, Any]) -> None:
        plain = {"model": "openai/gpt-4.1-mini-2025-04-14", "messages": [{"role": "user", "content": "Hi"}]}
        assert check("POST", "/v1/chat/completions", plain | extra | {"anything": 1}) >= 400

    with watching(here.home, here.address[1]) as done:
        own_jobs()
        openai_jobs()
        chats()
    assert not done, "\n".join(done)
    assert len(sent) > 700


@pytest.mark.full
def test_schemathesis_over_the_routes_of_jobs_starts_nothing(target: Callable[..., Target]) -> None:
    schemathesis = pytest.importorskip("schemathesis", reason="a test tool: .ci/development.txt")
    from schemathesis.config import SchemathesisConfig
    from schemathesis.engine import Status, events, from_schema

    here = target()
    address = f"http://{here.address[0]}:{here.address[1]}"
    document = json.loads(here.send(Attack("", "GET", "/tuneport/v1/openapi.json")).text)
    config = {
        "base-url": address, "seed": 1, "continue-on-failure": True,
        "checks": {"positive_data_acceptance": {"enabled": False}, "unsupported_method": {"enabled": False}},
        "dictionaries": {"models": {"values": [TINY, "stand-in"]}, "files": {"values": [here.file_id]},
                         "backends": {"values": ["local", "fake"]}},
        "parameters": {"body.model": {"dictionary": "models", "probability": 0.9},
                       "body.training_file": {"dictionary": "files", "probability": 0.9},
                       "body.backend": {"dictionary": "backends", "probability": 0.9}},
        "generation": {"database": "none"},
        "phases": {"examples": {"enabled": False}, "coverage": {"enabled": True}, "stateful": {"enabled": False},
                   "fuzzing": {"generation": {"max-examples": 60}}},
    }  # fmt: skip
    schema = schemathesis.openapi.from_dict(document, config=SchemathesisConfig.from_dict(config))
    schema = schema.include(path=["/tuneport/v1/jobs", "/v1/fine_tuning/jobs"], method="POST")
    told, sent = [], 0
    with watching(here.home, here.address[1]) as done:
        for event in from_schema(schema).execute():
            if not isinstance(event, events.ScenarioFinished):
                continue
            sent += len(event.recorder.cases)
            for checks in event.recorder.checks.values():
                told += [str(check.failure_info.failure.title) for check in checks if check.status == Status.FAILURE]
    assert not done, "\n".join(done)
    assert not told and sent > 100, (told, sent)
