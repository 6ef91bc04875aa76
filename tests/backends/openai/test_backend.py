"""OpenAI's backend: the request it sends, and what it reads from the answers."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuneport.backends import open_backend
from tuneport.backends.openai.backend import TOKEN_KEY
from tuneport.backends.openai.jobs import parse_openai_job_state, parse_openai_metrics_csv
from tuneport.errors import BudgetError, ConfigError, DatasetError, NotFoundError, RejectedError, UnsupportedError
from tuneport.manifests import Limit
from tuneport.settings import ProjectFile, Settings
from tuneport.testing.contract import contract_job_token, prepared_chats, write_contract_rows
from tuneport.testing.emulators import OpenAIEmulator
from tuneport.types import Adapter, Hyperparameters, JobStatus, Method, PreparedData, TuneSpec

MODEL = "gpt-4.1-mini-2025-04-14"


@pytest.fixture
def data(tmp_path: Path) -> PreparedData:
    data = prepared_chats(tmp_path)
    (tmp_path / "validation").mkdir()
    return PreparedData(training=data.training, validation=prepared_chats(tmp_path / "validation", repeat=1).training)


def created(emulator: OpenAIEmulator) -> dict[str, Any]:
    """The body of the last request that created a job."""
    return emulator.requests("POST", "/fine_tuning/jobs")[-1].request_json()


def test_request_says_all_that_the_spec_says(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    backend = connect(openai)
    given = Hyperparameters(epochs=4, batch_size=2, learning_rate_multiplier=1.5)
    full = spec.model_copy(
        update={
            "hyperparameters": given,
            "suffix": "support-bot",
            "seed": 7,
            "metadata": {"team": "blue"},
            "provider_options": {"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]},
        }
    )
    training, validation = backend.prepare(full, data)
    state = backend.submit(full, [training, validation], token=contract_job_token("t"))
    assert created(openai) == {
        "model": MODEL,
        "training_file": training.id,
        "validation_file": validation.id,
        "method": {
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 4, "batch_size": 2, "learning_rate_multiplier": 1.5}},
        },
        "suffix": "support-bot",
        "seed": 7,
        "metadata": {"team": "blue", TOKEN_KEY: contract_job_token("t")},
        "integrations": [{"type": "wandb", "wandb": {"project": "p"}}],
    }
    assert state.hyperparameters["n_epochs"] == 4
    assert state.details["user_provided_suffix"] == "support-bot"


def test_request_leaves_out_what_is_auto(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    backend = connect(openai)
    (training,) = backend.prepare(spec, PreparedData(training=data.training))
    backend.submit(spec, [training], token=contract_job_token("t"))
    assert set(created(openai)) == {"model", "training_file", "method", "metadata"}
    assert created(openai)["method"]["supervised"]["hyperparameters"] == {}


def test_preferences_go_as_dpo(openai: OpenAIEmulator, connect: Callable[..., Any], tmp_path: Path) -> None:
    row = {
        "input": {"messages": [{"role": "user", "content": "Hi"}]},
        "preferred_output": [{"role": "assistant", "content": "Hello!"}],
        "non_preferred_output": [{"role": "assistant", "content": "What?"}],
    }
    data = PreparedData(training=write_contract_rows(tmp_path / "pairs.jsonl", [row] * 10))
    spec = TuneSpec(
        model=MODEL, dataset=data.training.path, method=Method.DPO, hyperparameters=Hyperparameters(beta=0.2)
    )
    backend = connect(openai)
    state = backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("t"))
    assert created(openai)["method"] == {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2}}}
    openai.advance(10)
    assert backend.fetch(state.remote_id).status is JobStatus.SUCCEEDED


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"adapter": Adapter.LORA}, "adapter"),
        ({"hyperparameters": Hyperparameters(beta=0.1)}, "beta with method sft"),
        ({"hyperparameters": Hyperparameters(warmup_ratio=0.1, max_length=512)}, "max_length, warmup_ratio"),
    ],
)
def test_what_it_cannot_take_is_refused_before_anything_is_sent(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData, change: Any, words: str
) -> None:
    backend, changed = connect(openai), spec.model_copy(update=change)
    for call in (lambda: backend.check(changed), lambda: list(backend.prepare(changed, data))):
        with pytest.raises(UnsupportedError, match=words):
            call()
    assert openai.log == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"provider_options": {"model": "other"}}, "provider_options.model clashes"),
        ({"provider_options": {"hyperparameters": {"n_epochs": 50}}}, "provider_options.hyperparameters clashes"),
        ({"provider_options": {"method": {"type": "supervised"}}}, "provider_options.method clashes"),
        ({"provider_options": {"n_epochs": 50}}, "n_epochs clashes .* job's own epochs"),
        ({"provider_options": {"wandb_api_key": "x"}}, "secret"),
        ({"provider_options": {"integrations": [{"wandb": {"key": "x"}}]}}, r"integrations\[0\].wandb.key .* secret"),
        ({"metadata": {TOKEN_KEY: "mine"}}, "tuneport's own"),
    ],
)
def test_options_that_clash_are_refused(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData, change: Any, words: str
) -> None:
    backend = connect(openai)
    files = list(backend.prepare(spec, data))
    changed = spec.model_copy(update=change)
    for call in (lambda: backend.check(changed), lambda: backend.submit(changed, files, token=contract_job_token("t"))):
        with pytest.raises(ConfigError, match=words):
            call()
    assert openai.jobs_created == 0


def test_no_option_takes_the_place_of_what_is_sent(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    backend = connect(openai)
    full = spec.model_copy(update={"suffix": "mine", "seed": 1})
    backend.submit(full, list(backend.prepare(full, data)), token=contract_job_token("t"))
    assert len(created(openai)) == 7
    for name in created(openai):
        with pytest.raises(ConfigError, match=f"provider_options.{name} clashes"):
            backend.check(spec.model_copy(update={"provider_options": {name: "other"}}))


def test_budget_takes_only_options_that_cost_nothing(connect: Callable[..., Any], spec: TuneSpec, openai: Any) -> None:
    backend = connect(openai)
    integrations = {"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}
    backend.check(spec.model_copy(update={"budget": 0.2, "provider_options": integrations}))
    with pytest.raises(BudgetError, match=r"provider_options.service_tier .*\$0.20.*integrations"):
        backend.check(spec.model_copy(update={"budget": 0.2, "provider_options": {"service_tier": "fast"}}))


def test_account_goes_to_openai_alone(openai: OpenAIEmulator) -> None:
    """Another server gets the key that its table names, and never the names of the user's account at OpenAI."""
    ours = {"like": "openai", "base_url": openai.base_url, "api_key_env": "OPENAI_API_KEY"}
    theirs = {"base_url": openai.base_url, "api_key_env": "SECOND_KEY"}
    environment = {"OPENAI_API_KEY": openai.key, "SECOND_KEY": openai.key}
    environment |= {"OPENAI_ORG_ID": "org-mine", "OPENAI_PROJECT_ID": "proj-mine", "TUNEPORT_HOME": str(Path.cwd())}
    project = ProjectFile.model_validate({"backends": {"ours": ours, "openai": theirs}})
    settings = Settings.load(Path.cwd(), environment).model_copy(update={"project": project})
    sent = {}
    for name in ("ours", "openai"):
        backend = open_backend(name, settings)
        list(backend.list_jobs())
        backend.close()
        sent[name] = openai.log[-1].request_headers
    assert "openai-organization" not in sent["ours"] and "openai-project" not in sent["ours"]
    assert (sent["openai"]["openai-organization"], sent["openai"]["openai-project"]) == ("org-mine", "proj-mine")
    assert sent["openai"]["authorization"] == f"Bearer {openai.key}"


def test_address_and_account_of_the_environment_are_not_taken(
    openai: OpenAIEmulator, connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-somebody-else")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-somebody-else")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-of-somebody-else")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer sk-of-somebody-else")
    assert list(connect(openai).list_jobs()) == []
    headers = openai.log[-1].request_headers
    assert headers["authorization"] == f"Bearer {openai.key}"
    assert "openai-organization" not in headers and "openai-project" not in headers


@pytest.mark.parametrize("error", [True, {}, False])
def test_error_object_of_a_job_that_succeeded_is_no_failure(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData, error: Any
) -> None:
    openai.error_on_success, backend = error, connect(openai)
    remote_id = backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("t")).remote_id
    openai.advance(100)
    state = backend.fetch(remote_id)
    assert (state.status, state.error) == (JobStatus.SUCCEEDED, None)
    assert state.trained_tokens and state.tuned_model


def test_bad_file_fails_the_job_by_the_users_fault(
    openai: OpenAIEmulator, connect: Callable[..., Any], tmp_path: Path
) -> None:
    data, backend = prepared_chats(tmp_path, repeat=1), connect(openai)
    spec = TuneSpec(model=MODEL, dataset=data.training.path)
    remote_id = backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("t")).remote_id
    openai.advance(100)
    state = backend.fetch(remote_id)
    assert state.status is JobStatus.FAILED and state.error is not None
    assert (state.error.code, state.error.param) == ("invalid_n_examples", "training_file")
    assert (state.error.fault, state.error.retryable) == ("user", False)
    assert state.tuned_model is None


def test_broken_machine_fails_the_job_by_the_providers_fault(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    backend = connect(openai)
    openai.next_job(fails_with={"code": "server_error", "message": "The job failed due to an internal error."})
    remote_id = backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("t")).remote_id
    openai.advance(100)
    error = backend.fetch(remote_id).error
    assert (error.code, error.fault, error.retryable) == ("server_error", "provider", True)


def test_file_that_is_refused_at_upload_is_a_matter_of_the_dataset(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    body = {
        "id": "file-1", "object": "file", "bytes": 1, "created_at": 1, "filename": "x", "purpose": "fine-tune",
        "status": "error", "status_details": "not a JSONL file",
    }  # fmt: skip
    openai.fail(method="GET", path="/files/*", status=200, body=body)
    with pytest.raises(DatasetError, match="not a JSONL file") as caught:
        list(connect(openai).prepare(spec, data))
    assert caught.value.path == str(data.training.path)


def test_large_file_goes_up_in_parts_and_is_found_again(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    backend = connect(openai)
    small = Limit(value=100, source="sdk")
    limits = backend.manifest.limits.model_copy(update={"max_file_bytes": small})
    backend.manifest = backend.manifest.model_copy(update={"limits": limits})
    first, second = (list(backend.prepare(spec, data)) for _ in range(2))
    assert [file.id for file in first] == [file.id for file in second]
    assert backend.read_file(first[0].id) == data.training.path.read_bytes()
    assert openai.requests("POST", "/files") == []
    assert len(openai.requests("POST", "/uploads")) == 2


def test_pause_and_resume(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    openai.pace, backend = 60, connect(openai)
    remote_id = backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("t")).remote_id
    openai.advance(130)
    assert backend.pause(remote_id).status is JobStatus.PAUSED
    openai.advance(1000)
    assert backend.fetch(remote_id).status is JobStatus.PAUSED
    assert backend.resume(remote_id).status is JobStatus.RUNNING
    openai.advance(1000)
    assert backend.fetch(remote_id).status is JobStatus.SUCCEEDED
    with pytest.raises(RejectedError):
        backend.pause(remote_id)


def test_cancel_pause_and_resume_send_no_body(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    """The published document has none, and a strict server answers 415 to any: a paid job could not be stopped."""
    openai.pace = 60
    backend = connect(openai)
    remote_id = backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("t")).remote_id
    openai.advance(130)
    assert backend.pause(remote_id).status is JobStatus.PAUSED
    assert backend.resume(remote_id).status is JobStatus.RUNNING
    assert backend.cancel(remote_id).status is JobStatus.CANCELLED
    sent = [openai.requests("POST", f"/fine_tuning/jobs/*/{order}") for order in ("pause", "resume", "cancel")]
    assert [(len(asked), asked[0].request_body) for asked in sent] == [(1, b"")] * 3


def test_events_of_many_pages_come_whole_and_after_any_of_them(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    long = spec.model_copy(update={"hyperparameters": Hyperparameters(epochs=25, batch_size=1)})
    backend = connect(openai)
    remote_id = backend.submit(long, list(backend.prepare(long, data)), token=contract_job_token("t")).remote_id
    openai.advance(1000)
    events = backend.events(remote_id)
    assert len(events) > 100 and len({event.id for event in events}) == len(events)
    assert events[0].message.startswith("Created fine-tuning job")
    assert events[-1].message == "The job has successfully completed"
    before = len(openai.log)
    assert [event.id for event in backend.events(remote_id, after=events[-3].id)] == [event.id for event in events[-2:]]
    assert len(openai.log) == before + 1, "only the newest page is needed for what is new"


@pytest.mark.parametrize("encoded", [False, True])
def test_metrics_come_from_the_result_file(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData, encoded: bool
) -> None:
    openai.base64_results, openai.pace, backend = encoded, 60, connect(openai)
    remote_id = backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("t")).remote_id
    openai.advance(150)
    running = backend.metrics(remote_id)
    assert running and running[0].train_loss is not None
    openai.advance(1000)
    points = backend.metrics(remote_id)
    assert [point.step for point in points] == list(range(1, len(points) + 1))
    assert len(points) > len(running)
    assert all(point.train_loss and point.train_accuracy for point in points)
    assert any(point.valid_loss for point in points)
    backend.delete_file(backend.fetch(remote_id).result_files[0])
    assert backend.metrics(remote_id), "the events still tell"


@pytest.mark.parametrize(
    ("head", "row"),
    [
        ("step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy", "3,0.5,0.75,0.6,0.7"),
        (
            "step,train_loss,train_mean_token_accuracy,full_valid_loss,full_valid_mean_token_accuracy",
            "3,0.5,0.75,0.6,0.7",
        ),
    ],
)
def test_result_file_is_read_by_its_header(head: str, row: str) -> None:
    text = f"{head}\n1,0.9,,,\n{row}\n".encode()
    for content in (text, base64.b64encode(text), b"\xef\xbb\xbf" + text):
        first, last = parse_openai_metrics_csv(content)
        assert (first.step, first.train_loss, first.train_accuracy, first.valid_loss) == (1, 0.9, None, None)
        assert (last.step, last.train_loss, last.train_accuracy) == (3, 0.5, 0.75)
        assert (last.valid_loss, last.valid_accuracy) == (0.6, 0.7)


def test_result_file_of_another_kind_is_an_error() -> None:
    with pytest.raises(ValueError, match="neither CSV nor base64"):
        parse_openai_metrics_csv(b"\xff\xfe not a table")


def test_delete_deletes_the_tuned_model(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    openai.pace, backend = 60, connect(openai)
    remote_id = backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("t")).remote_id
    with pytest.raises(NotFoundError, match="nothing to delete"):
        backend.delete(remote_id)
    openai.advance(1000)
    tuned_model = backend.fetch(remote_id).tuned_model
    assert tuned_model in [model.id for model in backend.list_models()]
    backend.delete(remote_id)
    assert tuned_model not in [model.id for model in backend.list_models()]


def test_many_jobs_are_asked_for_with_one_list_call(
    openai: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    openai.pace, backend = 600, connect(openai)
    files = list(backend.prepare(spec, data))
    ids = [backend.submit(spec, files, token=contract_job_token(str(number))).remote_id for number in range(6)]
    before = len(openai.log)
    states = dict(backend.fetch_many(ids))
    assert [states[remote_id].remote_id for remote_id in ids] == ids
    assert len(openai.log) == before + 1
    assert [state.remote_id for state in backend.list_jobs()] == ids[::-1]


def test_job_with_next_to_nothing_in_it_is_read() -> None:
    state = parse_openai_job_state(
        "openai", {"created": JobStatus.VALIDATING}, {"id": "j", "status": "Created", "error": None}
    )
    assert (state.remote_id, state.status, state.raw_status) == ("j", JobStatus.VALIDATING, "Created")


def test_tool_calls_are_part_of_the_answer(openai: OpenAIEmulator, connect: Callable[..., Any], tmp_path: Path) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "track", "arguments": '{"id": 5}'}}
    tools = [{"type": "function", "function": {"name": "track", "parameters": {"type": "object", "properties": {}}}}]
    messages = [{"role": "user", "content": "Where is 5?"}, {"role": "assistant", "tool_calls": [call]}]
    data = PreparedData(
        training=write_contract_rows(tmp_path / "tools.jsonl", [{"messages": messages, "tools": tools}] * 10)
    )
    spec, backend = TuneSpec(model=MODEL, dataset=data.training.path), connect(openai)
    remote_id = backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("t")).remote_id
    openai.advance(100)
    answer = backend.complete(backend.fetch(remote_id).tuned_model, messages[:1], tools=tools)
    assert answer.tool_calls[0]["function"]["name"] == "track"
    assert answer.text == ""
    assert openai.requests("POST", "/chat/completions")[-1].request_json()["tools"] == tools
