"""Reinforcement fine-tuning at OpenAI: the grader, its columns, its hyperparameters."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.rows import chat, write
from tuneport.backends.grader_columns import find_backend_grader_columns
from tuneport.data.conversion.prepare import prepare_dataset
from tuneport.data.formats.openai.reinforcement import NAME
from tuneport.errors import ConfigError, DatasetError, UnavailableError, UnsupportedError
from tuneport.testing.contract import contract_job_token, prepared_chats
from tuneport.testing.emulators import OpenAIEmulator
from tuneport.types import Hyperparameters, JobStatus, Method, PreparedData, TuneSpec

MODEL = "o4-mini-2025-04-16"
GRADER = {
    "type": "string_check",
    "name": "same",
    "input": "{{ sample.output_text }}",
    "reference": "{{item.answer}}",
    "operation": "eq",
}


PLAIN: dict[str, Any] = {"grader": None}


def questions(count: int = 12, **columns: Any) -> list[dict[str, Any]]:
    return [
        {"messages": [{"role": "user", "content": f"{n} + 1?"}], "answer": str(n + 1), **columns} for n in range(count)
    ]


@pytest.fixture
def tunable(openai: OpenAIEmulator) -> OpenAIEmulator:
    openai.models[MODEL] = "2026-10-23"
    return openai


@pytest.fixture
def data(tmp_path: Path) -> PreparedData:
    training = prepare_dataset(write(tmp_path / "train.jsonl", questions()), NAME, tmp_path / "files")
    validation = prepare_dataset(write(tmp_path / "valid.jsonl", questions(3)), NAME, tmp_path / "files")
    return PreparedData(training=training, validation=validation)


@pytest.fixture
def spec(tmp_path: Path) -> TuneSpec:
    return TuneSpec(
        model=MODEL,
        dataset=tmp_path / "train.jsonl",
        validation=tmp_path / "valid.jsonl",
        method=Method.RFT,
        grader=GRADER,
    )


def test_grader_and_all_its_hyperparameters_are_sent(
    tunable: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    given = Hyperparameters(
        epochs=2, batch_size=4, learning_rate_multiplier=0.5, compute_multiplier=1.5, eval_interval=3, eval_samples=2,
        reasoning_effort="low",
    )  # fmt: skip
    backend, spec = connect(tunable), spec.model_copy(update={"hyperparameters": given})
    state = backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("t"))
    body = tunable.requests("POST", "/fine_tuning/jobs")[-1].request_json()
    assert body["method"] == {
        "type": "reinforcement",
        "reinforcement": {
            "grader": GRADER,
            "hyperparameters": {
                "n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 0.5, "compute_multiplier": 1.5,
                "eval_interval": 3, "eval_samples": 2, "reasoning_effort": "low",
            },
        },
    }  # fmt: skip
    uploaded = tunable.contents[body["training_file"]]
    assert json.loads(uploaded.splitlines()[0])["answer"] == "1"
    tunable.advance(100)
    done = backend.fetch(state.remote_id)
    assert done.status is JobStatus.SUCCEEDED
    assert done.trained_tokens and done.cost is None, "it is billed by the hour"


def test_auto_is_sent_nowhere(
    tunable: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    backend = connect(tunable)
    backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("t"))
    method = tunable.requests("POST", "/fine_tuning/jobs")[-1].request_json()["method"]
    assert method["reinforcement"] == {"grader": GRADER, "hyperparameters": {}}


def test_grader_that_the_service_refuses_costs_no_upload(
    tunable: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    wrong = spec.model_copy(update={"grader": {**GRADER, "operation": ""}})
    with pytest.raises(ConfigError, match="the grader is not valid: .*operation"):
        list(connect(tunable).prepare(wrong, data))
    assert [item.path for item in tunable.log] == ["/v1/fine_tuning/alpha/graders/validate"]


def test_service_that_cannot_be_reached_is_no_judgement_of_the_grader(
    tunable: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    tunable.fail("status", path="/fine_tuning/alpha/graders/validate", status=503, times=None)
    with pytest.raises(UnavailableError):
        list(connect(tunable).prepare(spec, data))
    tunable.clear_faults()
    # A server that does not have the call judges the grader when the job is created.
    tunable.fail("status", path="/fine_tuning/alpha/graders/validate", status=404, times=None)
    assert len(list(connect(tunable).prepare(spec, data))) == 2


def test_column_that_some_rows_lack_is_an_error_with_their_lines(
    tunable: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, tmp_path: Path
) -> None:
    rows = questions()
    del rows[3]["answer"]
    rows[5]["answer"] = None
    data = PreparedData(training=prepare_dataset(write(spec.dataset, rows), NAME, tmp_path / "files"))
    with pytest.raises(DatasetError) as caught:
        list(connect(tunable).prepare(spec.model_copy(update={"validation": None}), data))
    assert [(problem.path, problem.line, problem.field) for problem in caught.value.problems] == [
        (str(spec.dataset), 4, "answer"), (str(spec.dataset), 6, "answer"),
    ]  # fmt: skip
    assert "{{item.answer}}" in str(caught.value)
    assert tunable.log == []


def test_column_that_the_validation_file_lacks_is_an_error_too(
    tunable: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, data: PreparedData
) -> None:
    multi = {"type": "multi", "name": "both", "graders": GRADER, "calculate_output": "same", "note": "{{item.level}}"}
    with pytest.raises(DatasetError, match="level") as caught:
        list(connect(tunable).prepare(spec.model_copy(update={"grader": multi}), data))
    assert caught.value.count == 12
    assert tunable.log == []


@pytest.mark.parametrize(
    ("grader", "columns"),
    [
        (GRADER, {"answer"}),
        ({"input": [{"content": "{{ item.a.b }} {{item['c d']}} {{sample.output_json.e}}"}]}, {"a", "c d"}),
        ({"type": "multi", "graders": {"x": GRADER, "y": {"reference": "{{  item.level  }}"}}}, {"answer", "level"}),
        ({"type": "python", "source": "def grade(sample, item): return '{{item.not_a_template}}'"}, set()),
        ({"reference": "item.answer, {item.answer}"}, set()),
    ],
)  # fmt: skip
def test_columns_are_those_of_the_templates(grader: Any, columns: set[str]) -> None:
    assert find_backend_grader_columns(grader) == columns


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hyperparameters": Hyperparameters(beta=0.2)}, "beta with method rft"),
        ({"hyperparameters": Hyperparameters(compute_multiplier=11)}, "compute_multiplier of 1e-05 to 10, not 11"),
        ({"hyperparameters": Hyperparameters(epochs=51)}, "epochs of 1 to 50, not 51"),
        ({**PLAIN, "method": "another"}, "does not train with method another"),
        ({**PLAIN, "method": Method.SFT, "hyperparameters": Hyperparameters(eval_samples=1)}, "eval_samples with"),
        ({**PLAIN, "method": Method.DPO, "hyperparameters": Hyperparameters(reasoning_effort="low")}, "reasoning"),
    ],
)  # fmt: skip
def test_what_a_method_cannot_take_is_refused(
    tunable: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, change: Any, words: str
) -> None:
    with pytest.raises(UnsupportedError, match=words):
        connect(tunable).check(spec.model_copy(update=change))


def test_chats_are_no_questions(
    tunable: OpenAIEmulator, connect: Callable[..., Any], spec: TuneSpec, tmp_path: Path
) -> None:
    """A file that is prepared in another way fails the job at the service, by the user's fault."""
    data, backend = prepared_chats(tmp_path), connect(tunable)
    plain = spec.model_copy(update={"grader": {**GRADER, "reference": "4"}})
    remote_id = backend.submit(plain, list(backend.prepare(plain, data)), token=contract_job_token("t")).remote_id
    tunable.advance(100)
    error = backend.fetch(remote_id).error
    assert (error.code, error.fault) == ("invalid_training_file", "user")
    with pytest.raises(DatasetError, match="role assistant"):
        prepare_dataset(write(tmp_path / "chats.jsonl", [chat("a", "b", answer="b")]), NAME, tmp_path / "files")
