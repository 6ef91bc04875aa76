"""Every verb is asked for the same names under the same settings: all find the same model, or refuse alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.folders import FIXTURES
from tests.support.gateways import Running
from tuneport.cli.main import main
from tuneport.errors import ConfigError, TuneportError
from tuneport.lifecycle.proposing.consent import choose_unnamed_backend
from tuneport.lifecycle.schema.request_context import RequestContext, use_store_request_context
from tuneport.lifecycle.service import JobService
from tuneport.serve.http.errors import Refusal
from tuneport.settings import Settings
from tuneport.testing.emulators import OpenAIEmulator
from tuneport.types import TuneSpec

openai = pytest.importorskip("openai", reason="the client of these tests: pip install 'tuneport[openai]'")

DATA = FIXTURES / "datasets" / "support_intents.test.jsonl"
MINI = ("openai", "gpt-4.1-mini-2025-04-14")
LLAMA = ("together", "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference")
HERE = ("local", "smollm2-135m-instruct")
OPENAI, TOGETHER = {"OPENAI_API_KEY": "k"}, {"TOGETHER_API_KEY": "k"}
AZURE = {"AZURE_OPENAI_API_KEY": "k", "TUNEPORT_AZURE_BASE_URL": "http://127.0.0.1:1/openai/v1"}
SEVERAL, NOBODY, NOT_SET_UP = "more than one backend has", "no backend offers", "set up here"
UNNAMED = "third parties: "


def chat(name: str, workspace: JobService) -> Any:
    return workspace.locate(name)


def evaluation(name: str, workspace: JobService) -> Any:
    from tuneport.workflows.evaluation.models.asked_models import find_evaluated_models

    (found,) = find_evaluated_models(workspace, [name])
    return found.backend, found.model


def judge(name: str, workspace: JobService) -> Any:
    from tuneport.workflows.evaluation.judging.judge_models import find_judge_model

    found = find_judge_model(workspace, name, [])
    return found.where[0], found.model


def deploy(name: str, workspace: JobService) -> Any:
    from tuneport.cli.commands.deployments import _find_deployed_model

    return _find_deployed_model(workspace, name, None)


def gateway_chat(name: str, workspace: JobService) -> Any:
    from tuneport.serve import Gateway
    from tuneport.serve.openai.chat import _located

    gateway = Gateway(workspace.settings)
    try:
        with use_store_request_context(RequestContext()):
            return _located(gateway, name)
    finally:
        gateway.close(patience=1)


def target(name: str, workspace: JobService) -> Any:
    """Of check, preview and advise."""
    from tuneport.workflows.target import find_target_model

    found = find_target_model(name, None, workspace.settings)
    return found.manifest.name, found.model


def submit(name: str, workspace: JobService) -> Any:
    chosen = choose_unnamed_backend(workspace.plan(TuneSpec(model=name, dataset=DATA)), None).chosen
    return chosen.backend, chosen.model


def gateway_job(name: str, workspace: JobService) -> Any:
    from tuneport.serve import Gateway
    from tuneport.serve.jobs.specs import route_client_start

    gateway = Gateway(workspace.settings)
    try:
        with use_store_request_context(RequestContext()):
            start = route_client_start(gateway, name)
    finally:
        gateway.close(patience=1)
    planned = workspace.plan(TuneSpec(model=start.model, dataset=DATA), backend=start.backend)
    chosen = choose_unnamed_backend(planned, None).chosen
    return chosen.backend, chosen.model


ASKING = [chat, evaluation, deploy, gateway_chat]
RANKING = [submit, gateway_job]
CASES: list[tuple[str, dict[str, str], Any, Any, Any]] = [  # what asking verbs, `target` and ranking verbs answer
    ("gpt-4.1-mini", OPENAI, MINI, MINI, UNNAMED),
    ("gpt-4.1-mini", OPENAI | TOGETHER, MINI, MINI, UNNAMED),
    ("gpt-4.1-mini", OPENAI | AZURE, SEVERAL, SEVERAL, UNNAMED),
    ("azure/gpt-4.1-mini", OPENAI | AZURE, ("azure", MINI[1]), ("azure", MINI[1]), ("azure", MINI[1])),
    ("gpt-4.1-mini", {}, NOT_SET_UP, MINI, ""),
    ("openai/gpt-4.1-mini", {}, MINI, MINI, ""),
    ("gpt-4.1-mini", TOGETHER | {"TUNEPORT_BACKEND": "openai"}, MINI, MINI, ""),
    ("llama-3.1-8b-instruct", TOGETHER, SEVERAL, SEVERAL, None),
    ("together/llama-3.1-8b-instruct", TOGETHER | OPENAI, LLAMA, LLAMA, LLAMA),
    ("together/llama-3.1-8b-instruct", TOGETHER | {"TUNEPORT_BACKEND": "local"}, LLAMA, LLAMA, LLAMA),
    ("llama-3.1-8b-instruct", TOGETHER | {"TUNEPORT_BACKEND": "together"}, LLAMA, LLAMA, LLAMA),
    (HERE[1], TOGETHER | OPENAI, HERE, HERE, HERE),
    ("support-intents", TOGETHER | OPENAI, HERE, HERE, None),
    ("bot", OPENAI | TOGETHER, LLAMA, LLAMA, LLAMA),
    ("nonsense", OPENAI | TOGETHER, NOBODY, NOBODY, ""),
    ("openai/nonsense", OPENAI, "OpenAI does not offer nonsense", "OpenAI does not offer nonsense", ""),
]


@pytest.mark.parametrize(
    ("name", "environment", "asked", "looked_at", "ranked"),
    CASES,
    ids=lambda value: value if isinstance(value, str) else "+".join(value) if isinstance(value, dict) else "",
)
def test_every_verb_finds_the_same_model(
    name: str, environment: dict[str, str], asked: Any, looked_at: Any, ranked: Any, isolated: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (isolated / "tuneport.toml").write_text('[models.bot]\ntogether = "llama-3.1-8b-instruct"\n')
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    told: dict[str, Any] = {}
    with JobService(Settings.load(isolated)) as workspace:
        for verb in [*ASKING, target, *RANKING]:
            try:
                told[verb.__name__] = verb(name, workspace)
            except (TuneportError, Refusal) as error:
                told[verb.__name__] = str(error)
    assert_alike({verb.__name__: told[verb.__name__] for verb in ASKING}, asked)
    assert_alike({"target": told["target"]}, looked_at)
    if ranked is None:  # whether this machine can is the router's word, and the same for both
        assert told["submit"] == told["gateway_job"] and ("local" in told["submit"] or UNNAMED in told["submit"])
    else:
        assert_alike({verb.__name__: told[verb.__name__] for verb in RANKING}, ranked)


def assert_alike(told: dict[str, Any], expected: Any) -> None:
    for verb, answer in told.items():
        if isinstance(expected, tuple):
            assert answer == expected, verb
        else:
            assert isinstance(answer, str) and expected in answer and "\n" not in answer.split(":")[0], (verb, answer)


def test_chat_and_evaluation_ask_whom_the_gateway_asks(
    serve: Callable[..., Running], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with OpenAIEmulator() as upstream:
        monkeypatch.setenv("TUNEPORT_OPENAI_BASE_URL", upstream.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", upstream.key)
        assert main(["chat", "gpt-4.1-mini", "Hello", "--json"]) == 0, capsys.readouterr().err
        said = json.loads(capsys.readouterr().out)
        code = main(["eval", str(DATA), "gpt-4.1-mini", "--rows", "2", "--yes", "--json"])
        out, error = capsys.readouterr()
        assert code == 0, error
        (measured,) = json.loads(out)["models"]
        client = serve(background=False).client()
        client.chat.completions.create(model="gpt-4.1-mini", messages=[{"role": "user", "content": "Hello"}])
        models = {exchange.request_json()["model"] for exchange in upstream.requests("POST", "/chat/completions")}
    assert said["backend"] == "openai" and (measured["backend"], measured["model"]) == MINI
    assert models == {MINI[1]}


def test_a_jobs_model_is_where_the_job_ran(workspace_with_job: tuple[JobService, str]) -> None:
    workspace, job = workspace_with_job
    tuned = str(workspace.job(job).tuned_model)
    for verb in (chat, evaluation, deploy):
        assert verb(job, workspace) == verb(tuned, workspace) == ("fake", tuned), "whatever TUNEPORT_BACKEND says"
    with pytest.raises(ConfigError, match=f"{job} ran on fake, and its model is there; leave out --backend openai"):
        workspace.locate(job, backend="openai")
    assert workspace.locate(tuned, backend="fake") == ("fake", tuned)
    with pytest.raises(TuneportError, match="no job here has tuned ft:x:y; name the backend that did"):
        JobService(Settings.load(environment={"TUNEPORT_HOME": str(workspace.settings.home)})).locate("ft:x:y")


@pytest.fixture
def workspace_with_job(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TUNEPORT_BACKEND", "openai")
    with JobService(Settings.load(isolated)) as workspace:
        row = workspace.submit(TuneSpec(model="tiny", dataset=DATA), backend="fake")
        row = workspace.drive(row.id, poll_seconds=0.01)
        assert row.status == "succeeded", row.job_error
        yield workspace, row.id


def test_a_folder_comes_before_what_others_list(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    (isolated / "gpt-4.1-mini").mkdir()
    with JobService(Settings.load(isolated)) as workspace:
        here = ("local", str(isolated / "gpt-4.1-mini"))
        assert chat("gpt-4.1-mini", workspace) == target("gpt-4.1-mini", workspace) == here
        assert chat("openai/gpt-4.1-mini", workspace) == MINI
        with pytest.raises(TuneportError, match=NOBODY):
            gateway_chat("gpt-4.1-mini", workspace)  # a client's name is never a path


def test_a_comparison_has_the_backend_that_is_named(isolated: Path) -> None:
    from tuneport.workflows.compare import compare

    settings = Settings.load(isolated)
    found = compare(DATA, model=["together/llama-3.1-8b-instruct", "gpt-4.1-mini"], settings=settings)
    assert {(row.backend, row.model) for row in found.choices} == {LLAMA, MINI, ("azure", MINI[1])}
    with pytest.raises(ConfigError, match="is on together, which is not compared here; add --backend together"):
        compare(DATA, model=["together/llama-3.1-8b-instruct"], backend=["openai"], settings=settings)


def test_a_judge_that_litellm_knows_is_not_taken_by_a_backend_that_takes_any_name(isolated: Path) -> None:
    (isolated / "tuneport.toml").write_text('[backends.fake]\nlike = "fake"\n')
    with JobService(Settings.load(isolated)) as workspace:
        assert judge("claude-sonnet-4-5", workspace)[0] == "litellm"
        assert judge("my-own-model", workspace) == chat("my-own-model", workspace) == ("fake", "my-own-model")
