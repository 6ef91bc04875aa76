"""The whole life of a job by the `openai` package alone, on the local backend with a real (tiny) model."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.gateways import OLD_MODEL, Running, chats, ended
from tests.support.tiny import tiny_model
from tests.support.waiting import until
from tuneport.serve import background

openai = pytest.importorskip("openai", reason="the client of these tests: pip install 'tuneport[openai]'")
pytest.importorskip("trl", reason="local training is an extra: pip install 'tuneport[local]'")
conformance = pytest.importorskip("tests.support.conformance", reason="needs jsonschema and PyYAML")


def test_everything_and_each_answer_conforms(
    serve: Callable[..., Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEPORT_BACKEND", "local")
    model = tiny_model(tmp_path / "tiny", context=2048)
    running = serve(f"{OLD_MODEL}={model}")
    client = running.client()
    data = chats(tmp_path / "chats.jsonl", 12)

    training = client.files.create(file=data, purpose="fine-tune")
    assert (training.bytes, training.filename, training.status) == (data.stat().st_size, "chats.jsonl", "processed")
    validation = client.files.create(file=("v.jsonl", data.read_bytes()), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(
        model=OLD_MODEL,
        training_file=training.id,
        validation_file=validation.id,
        suffix="fruit",
        seed=1,
        metadata={"team": "blue"},
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 4}}},
    )
    assert (job.status, job.model, job.error, job.seed) == ("validating_files", OLD_MODEL, None, 1)
    assert job.hyperparameters.n_epochs == 2 and job.hyperparameters.learning_rate_multiplier == "auto"
    assert client.fine_tuning.jobs.list(metadata={"team": "blue"}).data[0].id == job.id
    assert client.fine_tuning.jobs.list(metadata={"team": "red"}).data == []

    done = ended(client, job.id)
    assert done.status == "succeeded", done.error
    assert done.fine_tuned_model == f"ft:{OLD_MODEL}:tuneport:fruit:{job.id[-8:]}"
    assert done.finished_at >= done.created_at and done.trained_tokens > 100

    rows = list(csv.DictReader(io.StringIO(client.files.content(done.result_files[0]).text)))
    assert [int(row["step"]) for row in rows] == list(range(1, 7))
    assert all(float(row["train_loss"]) > 0 for row in rows) and float(rows[-1]["valid_loss"]) > 0

    until(lambda: any("success" in event.message for event in client.fine_tuning.jobs.list_events(job.id).data))
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=2))  # pages of two, by cursor
    told = [event.message for event in events]
    assert len({event.id for event in events}) == len(events) > 6
    assert told[0] == "The job has successfully completed"
    assert told[-2:] == [f"Validating training file: {training.id} and validation file: {validation.id}",
                         f"Created fine-tuning job: {job.id}"]  # fmt: skip
    checkpoints = client.fine_tuning.jobs.checkpoints.list(job.id).data
    assert [row.step_number for row in checkpoints] == [6, 3]

    question = [{"role": "system", "content": "Name the colour."}, {"role": "user", "content": "apple 1"}]
    answer = client.chat.completions.create(model=done.fine_tuned_model, messages=question, max_tokens=5, temperature=0)
    assert answer.model == done.fine_tuned_model and answer.usage.completion_tokens >= 1
    pieces = client.chat.completions.create(
        model=done.fine_tuned_model, messages=question, max_tokens=5, temperature=0, stream=True
    )
    streamed = "".join(piece.choices[0].delta.content or "" for piece in pieces)
    assert streamed == answer.choices[0].message.content
    base = client.chat.completions.create(
        model=OLD_MODEL, messages=question, max_tokens=5, temperature=0, user="u", n=1
    )
    assert base.choices[0].message.role == "assistant"
    counted = list(
        client.chat.completions.create(
            model=OLD_MODEL, messages=question, max_tokens=3, stream=True, stream_options={"include_usage": True}
        )
    )
    assert counted[-1].usage.total_tokens > 0 and counted[-1].choices == []
    whole = counted[-1].usage.completion_tokens < 3
    assert counted[-2].choices[0].finish_reason == ("stop" if whole else "length")

    names = {row.id for row in client.models.list()}
    assert {OLD_MODEL, done.fine_tuned_model, "smollm2-135m-instruct"} <= names
    assert client.models.retrieve(done.fine_tuned_model).id == done.fine_tuned_model
    assert client.models.delete(done.fine_tuned_model).deleted
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.chat.completions.create(model=done.fine_tuned_model, messages=question)
    with pytest.raises(openai.BadRequestError, match="already completed"):
        client.fine_tuning.jobs.cancel(job.id)

    assert client.files.delete(training.id).deleted
    with pytest.raises(openai.NotFoundError, match="No such File"):
        client.files.retrieve(training.id)
    assert client.files.content(validation.id).read() == data.read_bytes()
    assert [row.purpose for row in client.files.list(purpose="fine-tune-results").data] == ["fine-tune-results"]

    document = conformance.specification("openai")
    if document is None:
        pytest.skip("the published document is not here (TUNEPORT_SPECS)")
    complaints = [told for exchange in running.exchanges for told in document.complaints(exchange)]
    assert complaints == []


def test_a_job_that_cannot_be_says_why(
    serve: Callable[..., Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEPORT_BACKEND", "local")
    running = serve(f"{OLD_MODEL}={tiny_model(tmp_path / 'tiny')}")
    client = running.client()
    broken = client.files.create(
        file=("b.jsonl", chats(tmp_path / "c.jsonl").read_bytes() + b'{"messages": 7}\n'), purpose="fine-tune"
    )
    job = ended(client, client.fine_tuning.jobs.create(model=OLD_MODEL, training_file=broken.id).id)
    assert job.status == "failed" and job.finished_at is not None
    assert job.error.code == "invalid_training_file" and job.error.param == "training_file"
    assert f"{broken.id}:11" in job.error.message, "the client's file and the line are named"
    assert str(running.gateway.contents.folder) not in job.error.message
    newest = client.fine_tuning.jobs.list_events(job.id).data[0]
    assert newest.level == "error" and "messages" in newest.message


@pytest.mark.full
def test_cancelled_before_and_while_it_runs(
    serve: Callable[..., Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEPORT_BACKEND", "local")
    model = tiny_model(tmp_path / "tiny")
    waiting = serve(f"{OLD_MODEL}={model}", background=False)
    client = waiting.client()
    data = client.files.create(file=chats(tmp_path / "c.jsonl", 200), purpose="fine-tune")  # it runs for minutes
    job = client.fine_tuning.jobs.create(model=OLD_MODEL, training_file=data.id)
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    other = client.fine_tuning.jobs.create(
        model=OLD_MODEL,
        training_file=data.id,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 50, "batch_size": 1}}},
    )
    background.start_gateway_threads(waiting.gateway)
    until(lambda: client.fine_tuning.jobs.retrieve(other.id).status == "running")
    client.fine_tuning.jobs.cancel(other.id)
    assert ended(client, other.id).status == "cancelled"
    assert client.fine_tuning.jobs.retrieve(job.id).status == "cancelled"
    assert [row.id for row in client.fine_tuning.jobs.list()] == [other.id, job.id]
