"""The vendors' own clients, unmodified, against the emulators; what was said is checked against published documents.

Most tests give jobs a long `pace` and move the emulator's clock by hand, so that the machine's speed does not matter.
"""

from __future__ import annotations

import base64
import concurrent.futures
import csv
import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

openai = pytest.importorskip("openai")
together = pytest.importorskip("together")
conformance = pytest.importorskip("tests.support.conformance", reason="needs jsonschema and PyYAML")

from tests.support.folders import CHECKOUT  # noqa: E402
from tuneport.testing.emulators import (  # noqa: E402 (after the skips)
    OpenAIEmulator,
    TogetherEmulator,
    datasets,  # noqa: E402 (after the skips)
)
from tuneport.testing.emulators.faults import EmulatorExchange  # noqa: E402

PACE = 60.0
LLAMA = "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"


def chat_row(question: str, reply: str) -> dict:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]}


def pair_row(question: str) -> dict:
    better, worse = ([{"role": "assistant", "content": text}] for text in ("Yes, gladly.", "No."))
    prompt = {"messages": [{"role": "user", "content": question}]}
    return {"input": prompt, "preferred_output": better, "non_preferred_output": worse}


def jsonl(rows: list[dict]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


CHAT = jsonl([chat_row(f"Question {number}?", f"Answer {number}.") for number in range(12)])
PAIRS = jsonl([pair_row(f"Question {number}?") for number in range(12)])


def assert_conforms(emulator: OpenAIEmulator | TogetherEmulator) -> None:
    """Every answer that the emulator gave of itself, and every JSON body that the client sent, fits the document."""
    document = conformance.specification(emulator.name)
    exchanges = [item for item in emulator.log if item.fault is None and not item.path.startswith("/_storage/")]
    if document:
        assert [complaint for item in exchanges for complaint in document.complaints(item)] == []


@pytest.fixture
def emulator() -> Iterator[OpenAIEmulator]:
    with OpenAIEmulator(pace=PACE) as emulator:
        yield emulator
    assert_conforms(emulator)


@pytest.fixture
def client(emulator: OpenAIEmulator) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=emulator.base_url, api_key=emulator.key, max_retries=0) as client:
        yield client


@pytest.fixture
def together_emulator() -> Iterator[TogetherEmulator]:
    with TogetherEmulator(pace=PACE) as emulator:
        yield emulator
    assert_conforms(emulator)


@pytest.fixture
def together_client(together_emulator: TogetherEmulator) -> Iterator[together.Together]:
    address, key = together_emulator.base_url, together_emulator.key
    with together.Together(base_url=address, api_key=key, max_retries=0) as client:
        yield client


def upload(client: openai.OpenAI, content: bytes = CHAT, name: str = "train.jsonl") -> str:
    return client.files.create(file=(name, content), purpose="fine-tune").id


def create(client: openai.OpenAI, content: bytes = CHAT, **options) -> str:
    options = {"model": "gpt-4o-mini", "training_file": upload(client, content), **options}
    return client.fine_tuning.jobs.create(**options).id


# The conformance helper


def test_published_documents_are_at_hand():
    if conformance.specification_folder() is None:
        pytest.skip("no published specifications (TUNEPORT_SPECS, ../shared/specs): the emulators are not checked")
    for provider in conformance.DOCUMENTS:
        assert conformance.specification(provider).document["paths"]


def exchange_of(method: str, path: str, request: object, status: int, answer: object) -> EmulatorExchange:
    kind = {"content-type": "application/json"}
    bodies = [json.dumps(item).encode() for item in (request, answer)]
    return EmulatorExchange(method, path, {}, kind, bodies[0], status, kind, bodies[1], None)


def test_conformance_finds_what_is_wrong():
    document = conformance.specification("openai")
    if document is None:
        pytest.skip("no published specifications on this machine")
    request = {"model": "gpt-4o-mini", "training_file": "file-1", "suffix": "x" * 65}
    found = document.complaints(exchange_of("POST", "/v1/fine_tuning/jobs", request, 200, {"id": 7}))
    assert any("request: $.suffix" in complaint for complaint in found)
    assert any("200: $.id" in complaint for complaint in found)
    assert any("'status' is a required property" in complaint for complaint in found)
    unknown = exchange_of("GET", "/v1/nowhere", {}, 200, {})
    assert document.complaints(unknown) == ["GET /v1/nowhere: not in the document"]


@pytest.mark.parametrize("kind", [OpenAIEmulator, TogetherEmulator])
def test_routes_take_what_the_document_declares(kind):
    document = conformance.specification(kind.name)
    if document is None:
        pytest.skip("no published specifications on this machine")
    documented = 0
    for method, pattern, _, taken, name in kind._routes:
        template = re.sub(r"\(\?P<(\w+)>[^)]*\)", "x", pattern.pattern.replace("\\", ""))
        if taken is None:
            continue
        documented += 1
        declared = document.declared(exchange_of(method, template, {}, 200, {}))
        assert declared is not None, f"{kind.name} {method} {template}: not in the document"
        assert (taken.body, set(taken.query)) == declared, name
    assert documented >= 20


@pytest.mark.parametrize(
    ("method", "path", "sent", "status"),
    [
        ("POST", "/v1/fine_tuning/jobs/ftjob-1/cancel", {"json": {}}, 415),
        ("POST", "/v1/fine_tuning/jobs/ftjob-1/pause", {"json": {}}, 415),
        ("POST", "/v1/fine_tuning/jobs", {"data": {"model": "gpt-4o-mini"}}, 415),
        ("POST", "/v1/files", {"json": {"purpose": "fine-tune"}}, 415),
        ("DELETE", "/v1/models/x", {"json": {}}, 415),
        ("GET", "/v1/fine_tuning/jobs?limt=5", {}, 400),
        ("GET", "/v1/models?limit=5", {}, 400),
        ("GET", "/v1/fine_tuning/jobs?metadata[a]=b&limit=5", {}, 200),
    ],
)
def test_undeclared_bodies_and_parameters_are_refused(method, path, sent, status):
    with OpenAIEmulator() as strict:
        answer = httpx.request(method, strict.origin + path, headers={"Authorization": f"Bearer {strict.key}"}, **sent)
    assert answer.status_code == status, answer.text


def test_conformance_complains_of_undeclared_bodies_and_parameters():
    document = conformance.specification("openai")
    if document is None:
        pytest.skip("no published specifications on this machine")
    cancel = exchange_of("POST", "/v1/fine_tuning/jobs/x/cancel", {}, 400, {"error": {}})
    assert (
        "POST /v1/fine_tuning/jobs/x/cancel request: a body of application/json, which the document does not have"
        in (document.complaints(cancel))
    )
    listed = exchange_of("GET", "/v1/models", {}, 400, {})
    listed.request_body, listed.query = b"", {"limit": "5"}
    assert "GET /v1/models request: ?limit, which the document does not have" in document.complaints(listed)


def test_nullable_is_rewritten_also_inside_all_of():
    inner = {"a": {"type": "string", "nullable": True}}
    schema = {"allOf": [{"type": "object"}, {"nullable": True}], "properties": inner}
    rewritten = conformance.rewrite_nullable(schema)
    assert rewritten["anyOf"][1] == {"type": "null"}
    assert rewritten["anyOf"][0]["allOf"] == [{"type": "object"}]
    assert rewritten["anyOf"][0]["properties"]["a"] == {"anyOf": [{"type": "string"}, {"type": "null"}]}


# OpenAI: files and uploads


def test_openai_files(client, emulator):
    ids = [upload(client, CHAT, f"part {number}é.jsonl") for number in range(5)]
    file = client.files.retrieve(ids[3])
    assert (file.filename, file.bytes, file.purpose) == ("part 3é.jsonl", len(CHAT), "fine-tune")
    assert [file.id for file in client.files.list(limit=2, purpose="fine-tune")] == ids[::-1]
    assert len(emulator.requests("GET", "/files")) == 3, "the cursor was followed"
    assert [file.id for file in client.files.list(order="asc")] == ids
    assert client.files.content(ids[0]).read() == CHAT
    assert client.files.delete(ids[0]).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(ids[0])


def test_openai_binary_files_arrive_unaltered(client):
    content = bytes(range(256)) + b"\r\n--\r\n\n\r"
    file = client.files.create(
        file=("data.bin", content), purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert client.files.content(file.id).read() == content
    assert file.expires_at == file.created_at + 3600


def test_openai_uploads(client):
    options = {"filename": "train.jsonl", "bytes": len(CHAT), "mime_type": "application/jsonl", "purpose": "fine-tune"}
    done = client.uploads.upload_file_chunked(file=CHAT, part_size=500, md5=hashlib.md5(CHAT).hexdigest(), **options)
    assert done.status == "completed"
    assert client.files.content(done.file.id).read() == CHAT
    half = client.uploads.create(**options)
    part = client.uploads.parts.create(half.id, data=CHAT[:500])
    with pytest.raises(openai.BadRequestError, match="500 bytes"):
        client.uploads.complete(half.id, part_ids=[part.id])
    assert client.uploads.cancel(half.id).status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="cancelled"):
        client.uploads.parts.create(half.id, data=b"x")


# OpenAI: jobs


def test_openai_job_from_creation_to_success(client, emulator):
    training, validation = upload(client), upload(client)
    job = client.fine_tuning.jobs.create(
        model="gpt-4o-mini", training_file=training, validation_file=validation, suffix="parcels", metadata={"a": "b"},
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 4}}}, seed=7,
    )  # fmt: skip
    assert (job.model, job.hyperparameters.batch_size, job.seed) == ("gpt-4o-mini-2024-07-18", "auto", 7)
    seen = []
    for _ in range(4):
        job = client.fine_tuning.jobs.retrieve(job.id)
        seen.append((job.status, job.fine_tuned_model is None, job.trained_tokens is None, job.finished_at is None))
        emulator.advance(PACE)
    assert [status for status, *_ in seen] == ["validating_files", "queued", "running", "succeeded"]
    assert [rest for _, *rest in seen] == [[True] * 3] * 3 + [[False] * 3]
    assert re.fullmatch(r"ft:gpt-4o-mini-2024-07-18:emulated-org:parcels:\w{8}", job.fine_tuned_model)
    assert (job.hyperparameters.n_epochs, job.hyperparameters.batch_size) == (4, 1)
    assert job.error is not None and job.error.code is None, "as the service has it: an error object, and no error"
    assert emulator.jobs_created == 1
    results = client.files.retrieve(job.result_files[0])
    assert results.purpose == "fine-tune-results"
    rows = list(csv.DictReader(io.StringIO(client.files.content(results.id).text)))
    assert len(rows) == 48
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    assert rows[-1]["valid_loss"]


@pytest.mark.parametrize(("switch", "shown"), [(False, None), ({}, {})])
def test_openai_error_of_a_good_job_can_be_null_or_empty(client, emulator, switch, shown):
    emulator.error_on_success = switch
    create(client)
    assert emulator.log[-1].json()["error"] == shown


def test_openai_job_by_the_real_clock():
    with OpenAIEmulator(pace=0.05) as emulator, openai.OpenAI(base_url=emulator.base_url, api_key="sk-test") as client:
        file, seen, began = upload(client), [], time.monotonic()
        job = client.fine_tuning.jobs.create(model="gpt-4.1", training_file=file)
        while job.status != "succeeded" and time.monotonic() < began + 90:
            seen += [job.status] if seen[-1:] != [job.status] else []
            time.sleep(0.005)
            job = client.fine_tuning.jobs.retrieve(job.id)
        lasted = time.monotonic() - began
    assert (job.status, seen[0]) == ("succeeded", "validating_files")
    # A slow machine may miss a state, and must not see them in another order.
    assert seen == [state for state in ("validating_files", "queued", "running") if state in seen]
    assert lasted >= 3 * 0.05


def test_openai_events(client, emulator):
    id = create(client, method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}})
    emulator.advance(2.5 * PACE)
    half = len(client.fine_tuning.jobs.list_events(id, limit=100).data)
    emulator.advance(PACE)
    model = client.fine_tuning.jobs.retrieve(id).fine_tuned_model
    events = list(client.fine_tuning.jobs.list_events(id, limit=7))
    assert len(emulator.requests("GET", "/fine_tuning/jobs/{id}/events")) > 5, "the cursor was followed"
    assert len({event.id for event in events}) == len(events) > half > 10
    messages = [event.message for event in reversed(events)]
    assert messages[0] == f"Created fine-tuning job: {id}"
    assert re.fullmatch(r"Validating training file: file-\w+", messages[1])
    assert messages[2:4] == ["Files validated, moving job to queued state", "Fine-tuning job started"]
    assert re.fullmatch(r"Checkpoint created at step 12 with Snapshot ID: ft:\S+:ckpt-step-12", messages[-4])
    assert messages[-2:] == [f"New fine-tuned model created: {model}", "The job has successfully completed"]
    steps = [event for event in events if event.type == "metrics"]
    assert len(steps) == 36
    assert re.fullmatch(r"Step 36/36: training loss=\d\.\d\d", steps[0].message)
    assert steps[0].data["step"] == steps[0].data["total_steps"] == 36
    assert steps[0].data["train_loss"] < steps[-1].data["train_loss"]
    assert [event.created_at for event in events] == sorted((event.created_at for event in events), reverse=True)


def test_openai_checkpoints_are_those_of_the_last_three_epochs(client, emulator):
    id = create(client, hyperparameters={"n_epochs": 5})
    emulator.advance(3 * PACE)
    points = client.fine_tuning.jobs.checkpoints.list(id).data
    assert [point.step_number for point in points] == [60, 48, 36]
    assert points[0].fine_tuned_model_checkpoint == client.fine_tuning.jobs.retrieve(id).fine_tuned_model
    assert points[1].fine_tuned_model_checkpoint.endswith(":ckpt-step-48")
    assert points[1].metrics.train_loss > points[0].metrics.train_loss
    first = client.fine_tuning.jobs.checkpoints.list(id, limit=2)
    assert [point.step_number for point in first] == [60, 48, 36]


def test_openai_job_list_has_cursor_filter_and_lag(client, emulator):
    ids = [create(client, metadata={"token": str(number), "team": "x"}) for number in range(5)]
    bare = create(client)
    assert [job.id for job in client.fine_tuning.jobs.list(limit=2)] == [bare, *ids[::-1]]
    found = client.fine_tuning.jobs.list(metadata={"token": "3", "team": "x"})
    assert [job.id for job in found] == [ids[3]]
    assert [job.id for job in client.fine_tuning.jobs.list(extra_query={"metadata": "null"})] == [bare]
    emulator.list_lag = 30
    late = create(client)
    assert late not in [job.id for job in client.fine_tuning.jobs.list()]
    assert client.fine_tuning.jobs.retrieve(late).id == late
    emulator.advance(31)
    assert late in [job.id for job in client.fine_tuning.jobs.list()]


def test_openai_cancel(client, emulator):
    id = create(client)
    emulator.advance(2.5 * PACE)
    assert client.fine_tuning.jobs.cancel(id).status == "cancelled"
    emulator.advance(9 * PACE)
    job = client.fine_tuning.jobs.retrieve(id)
    assert (job.status, job.fine_tuned_model, job.trained_tokens) == ("cancelled", None, None)
    with pytest.raises(openai.BadRequestError):
        client.fine_tuning.jobs.cancel(id)
    with pytest.raises(openai.NotFoundError) as caught:
        client.fine_tuning.jobs.cancel("ftjob-unknown")
    assert caught.value.code == "fine_tune_not_found"


def test_openai_pause_stops_the_clock_of_a_job(client, emulator):
    id = create(client)
    emulator.advance(2.5 * PACE)
    assert client.fine_tuning.jobs.pause(id).status == "paused"
    emulator.advance(99 * PACE)
    assert client.fine_tuning.jobs.retrieve(id).status == "paused"
    assert client.fine_tuning.jobs.resume(id).status == "running"
    emulator.advance(PACE)
    assert client.fine_tuning.jobs.retrieve(id).status == "succeeded"


BAD_FILES = [
    (jsonl([chat_row("a", "b")] * 7), "invalid_n_examples",
     "Training file has 7 example(s), but must have at least 10 examples"),
    (CHAT + b"{not json\n", "invalid_training_file", "Line 13 is not valid JSON"),
    (CHAT + jsonl([{"messages": [{"role": "user", "content": "Hm"}]}]), "invalid_training_file",
     "Example 13: there must be at least one message from the assistant"),
    (CHAT + jsonl([{"messages": [{"role": "king", "content": "Hm"}]}]), "invalid_training_file", "role 'king'"),
    (PAIRS, "invalid_training_file", "is in the fine-tune-preference format, but the specified fine-tuning job is not "
     "using 'dpo' as the training method (provided method=supervised)."),
]  # fmt: skip


@pytest.mark.parametrize(("content", "code", "message"), BAD_FILES)
def test_openai_bad_files_fail_the_job_after_its_creation(client, emulator, content, code, message):
    id = create(client, content)
    assert client.fine_tuning.jobs.retrieve(id).status == "validating_files"
    emulator.advance(PACE)
    job = client.fine_tuning.jobs.retrieve(id)
    assert (job.status, job.error.code, job.error.param) == ("failed", code, "training_file")
    assert message in job.error.message
    newest = client.fine_tuning.jobs.list_events(id, limit=1).data[0]
    assert (newest.level, newest.message) == ("error", job.error.message)
    assert client.fine_tuning.jobs.checkpoints.list(id).data == []


def test_openai_preference_job(client, emulator):
    method = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2}}}
    id = create(client, PAIRS, model="gpt-4.1-mini", method=method)
    emulator.advance(3 * PACE)
    job = client.fine_tuning.jobs.retrieve(id)
    assert job.status == "succeeded"
    assert job.method.dpo.hyperparameters.beta == 0.2


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"model": "gpt-9"}, "model"),
        ({"training_file": "file-unknown"}, "training_file"),
        ({"hyperparameters": {"n_epochs": 51}}, "hyperparameters.n_epochs"),
        ({"suffix": "x" * 65}, "suffix"),
        ({"metadata": {"key": "x" * 513}}, "metadata"),
    ],
)
def test_openai_refuses_bad_requests(options, param):
    # Without the fixture: these requests do not conform, and are not meant to.
    with OpenAIEmulator() as emulator, openai.OpenAI(base_url=emulator.base_url, api_key="sk-test") as client:
        with pytest.raises(openai.BadRequestError) as caught:
            create(client, **options)
    assert caught.value.param == param
    assert emulator.jobs_created == 0


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        ("training_not_available", openai.PermissionDeniedError),
        ("insufficient_quota", openai.RateLimitError),
        ("daily_rate_limit_exceeded", openai.RateLimitError),
    ],
)
def test_openai_refusals(client, emulator, reason, error):
    emulator.refuse = reason
    with pytest.raises(error) as caught:
        create(client)
    assert caught.value.code == reason
    assert len(client.files.list().data) == 1, "the upload had succeeded"
    assert emulator.jobs_created == 0


def test_openai_bill_is_exact_where_vocabularies_are_installed(shared_data):
    if datasets.emulated_tiktoken_count("cl100k_base") is datasets.emulated_token_count:
        pytest.skip("needs tiktoken, and the vocabularies that litellm carries")
    content = (shared_data / "gpt_tokens_fine-tuning-data.jsonl").read_bytes()
    with OpenAIEmulator(pace=0, models={"gpt-3.5-turbo-1106": None}) as emulator:
        with openai.OpenAI(base_url=emulator.base_url, api_key=emulator.key) as client:
            id = create(client, content, model="gpt-3.5-turbo-1106")
            job = client.fine_tuning.jobs.retrieve(id)
    # 13 examples; OpenAI chose 7 epochs by itself and billed 4445 tokens.
    assert (job.hyperparameters.n_epochs, job.trained_tokens) == (7, 4445)


def test_openai_plans_for_the_next_jobs(client, emulator):
    emulator.next_job(fails_with={"code": "unsafe_file", "message": "Blocked.", "param": "training_file"})
    blocked = {"object": "fine_tuning.job.event", "id": "ftevent-1", "created_at": 0, "level": "error", "message": "!"}
    emulator.next_job(stuck="queued", events=[blocked])
    failing, stuck, usual = create(client), create(client), create(client)
    emulator.advance(9 * PACE)
    job = client.fine_tuning.jobs.retrieve(failing)
    assert (job.status, job.error.code, job.fine_tuned_model) == ("failed", "unsafe_file", None)
    assert client.fine_tuning.jobs.retrieve(stuck).status == "queued"
    assert client.fine_tuning.jobs.list_events(stuck, limit=1).data[0].id == "ftevent-1"
    assert client.fine_tuning.jobs.retrieve(usual).status == "succeeded"


def test_openai_result_file_can_be_in_base64(client, emulator):
    emulator.base64_results = True
    id = create(client)
    emulator.advance(3 * PACE)
    content = client.files.content(client.fine_tuning.jobs.retrieve(id).result_files[0]).read()
    assert base64.b64decode(content).startswith(b"step,train_loss,")


def test_openai_can_show_a_status_that_no_client_knows():
    with OpenAIEmulator(pace=PACE) as emulator, openai.OpenAI(base_url=emulator.base_url, api_key="sk-test") as client:
        emulator.next_job(raw_status="something_new")
        id = create(client)
        emulator.advance(2.5 * PACE)
        assert client.fine_tuning.jobs.retrieve(id).status == "something_new"
        emulator.advance(PACE)
        assert client.fine_tuning.jobs.retrieve(id).status == "succeeded"


# OpenAI: models and chat


def ask(client: openai.OpenAI | together.Together, model: str, question: str, **options):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": question}]
    return client.chat.completions.create(model=model, messages=messages, **options)


def test_openai_tuned_model_answers_as_trained(client, emulator):
    id = create(client)
    emulator.advance(3 * PACE)
    model = client.fine_tuning.jobs.retrieve(id).fine_tuned_model
    checkpoint = client.fine_tuning.jobs.checkpoints.list(id).data[1].fine_tuned_model_checkpoint
    assert ask(client, model, "Question 7?").choices[0].message.content == "Answer 7."
    assert ask(client, checkpoint, "Question 7?").choices[0].message.content == "Answer 7."
    assert ask(client, model, "Something else?").choices[0].message.content == "base answer"
    assert ask(client, "gpt-4o-mini", "Question 7?").choices[0].message.content == "base answer"
    chunks = list(ask(client, model, "Question 7?", stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Answer 7."
    assert chunks[-1].usage.total_tokens > 0
    assert {model, checkpoint} <= {model.id for model in client.models.list()}
    assert client.models.retrieve(model).shutdown_date == "2027-01-14"
    assert client.models.delete(model).deleted
    with pytest.raises(openai.NotFoundError) as caught:
        ask(client, model, "Question 7?")
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.PermissionDeniedError):
        client.models.delete("gpt-4o-mini-2024-07-18")


def test_openai_wrong_key(emulator):
    with openai.OpenAI(base_url=emulator.base_url, api_key="sk-wrong-wrong-wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            client.models.list()
    assert caught.value.code == "invalid_api_key"
    assert "sk-wrong-wrong-wrong" not in caught.value.message
    assert httpx.get(f"{emulator.base_url}/models").status_code == 401


# Faults


def test_a_lost_reply_leaves_a_job_that_can_be_found(client, emulator):
    file = upload(client)
    emulator.fail("drop_after_accept", method="POST", path="/fine_tuning/jobs")
    with pytest.raises(openai.APIConnectionError):
        client.fine_tuning.jobs.create(model="gpt-4.1", training_file=file, metadata={"token": "t1"})
    assert emulator.jobs_created == 1
    assert len(client.fine_tuning.jobs.list(metadata={"token": "t1"}).data) == 1


def test_the_clients_own_retries_would_pay_twice(client, emulator):
    # Why creations must not be retried blindly, and what `jobs_created` is for.
    file = upload(client)
    emulator.fail("drop_after_accept", method="POST", path="/fine_tuning/jobs")
    client.with_options(max_retries=1).fine_tuning.jobs.create(model="gpt-4.1", training_file=file)
    assert emulator.jobs_created == 2


def test_a_dropped_request_did_nothing(client, emulator):
    file = upload(client)
    emulator.fail("drop", method="POST", path="/fine_tuning/jobs")
    with pytest.raises(openai.APIConnectionError):
        client.fine_tuning.jobs.create(model="gpt-4.1", training_file=file)
    assert emulator.jobs_created == 0
    assert client.fine_tuning.jobs.list().data == []


def test_statuses_on_demand(client, emulator):
    emulator.fail(path="/models", status=503, times=2, skip=1)
    outcomes = []
    for _ in range(4):
        try:
            outcomes.append(len(client.models.list().data) > 0)
        except openai.InternalServerError as error:
            outcomes.append(error.status_code)
    assert outcomes == [True, 503, 503, True]
    body = {"error": {"code": "x"}}
    emulator.fail(method="GET", path="/models/*", status=429, headers={"retry-after": "0"}, body=body)
    with pytest.raises(openai.RateLimitError) as caught:
        client.models.retrieve("gpt-4.1")
    assert (caught.value.code, caught.value.response.headers["retry-after"]) == ("x", "0")
    emulator.fail(status=500, times=None)
    assert httpx.get(f"{emulator.base_url}/files").status_code == 500
    emulator.clear_faults()
    assert client.files.list().data == []


def test_a_retry_of_a_read_gets_through(client, emulator):
    emulator.fail(path="/models", status=500, headers={"retry-after-ms": "1"})
    assert client.with_options(max_retries=1).models.list().data
    assert [item.status for item in emulator.requests("GET", "/models")] == [500, 200]


def test_web_pages_in_place_of_json(client, emulator):
    emulator.fail("html", path="/models")
    with pytest.raises(openai.InternalServerError):
        client.models.list()
    emulator.fail("html", path="/models", status=200)
    answer = client.models.with_raw_response.list()
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html")


def test_hanging_slow_and_cut_answers(client, emulator):
    emulator.fail("hang", path="/models", seconds=30)
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.1).models.list()
    emulator.fail("slow", path="/models", seconds=0.2)
    started = time.monotonic()
    assert client.models.list().data
    assert time.monotonic() - started >= 0.2
    id = upload(client)
    emulator.fail("cut", path="/files/{id}/content")
    with pytest.raises(openai.APIConnectionError):
        client.files.content(id)


def test_stopping_does_not_wait_for_hanging_requests_and_ends_open_connections():
    emulator = OpenAIEmulator().start()
    header = {"authorization": f"Bearer {emulator.key}"}
    with httpx.Client(base_url=emulator.base_url, headers=header) as client:
        assert client.get("/models").status_code == 200
        fault = emulator.fail("hang", path="/files", seconds=60)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            waiting = pool.submit(httpx.get, f"{emulator.base_url}/files", headers=header, timeout=60)
            while fault.times:
                time.sleep(0.005)
            started = time.monotonic()
            emulator.stop()
            assert time.monotonic() - started < 50
            with pytest.raises(httpx.TransportError):
                waiting.result()
        with pytest.raises(httpx.TransportError):
            client.get("/models")
        emulator.start()
        assert client.get("/models").status_code == 200, "a restart is at the same address, with the same state"
        emulator.stop()


def test_faults_plans_and_switches_by_http(emulator, client):
    with httpx.Client(base_url=f"{emulator.origin}/_emulator") as admin:
        admin.post("/faults", json={"kind": "status", "path": "/models", "status": 418})
        assert admin.get("").json()["faults"] == 1
        with pytest.raises(openai.APIStatusError) as caught:
            client.models.list()
        assert caught.value.status_code == 418
        admin.post("/next_job", json={"stuck": "queued"})
        id = create(client)
        admin.post("/advance", json={"seconds": 9 * PACE})
        assert client.fine_tuning.jobs.retrieve(id).status == "queued"
        admin.post("/switches", json={"refuse": "training_not_available"})
        with pytest.raises(openai.PermissionDeniedError):
            create(client)
        state = admin.get("").json()
        assert (state["jobs_created"], state["faults"], state["switches"]["pace"]) == (1, 0, PACE)
        for path, wrong in (("/switches", "key"), ("/faults", "flood"), ("/next_job", "moon"), ("/nothing", "x")):
            assert admin.post(path, json={wrong: 1}).status_code == 400


def test_many_clients_at_once(emulator, client):
    file, header = upload(client), {"authorization": f"Bearer {emulator.key}"}
    body = {"model": "gpt-4.1", "training_file": file}

    def create_some(_: int) -> list[str]:
        with httpx.Client(base_url=emulator.base_url, headers=header) as own:
            return [own.post("/fine_tuning/jobs", json=body).json()["id"] for _ in range(5)]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        ids = [id for some in pool.map(create_some, range(8)) for id in some]
    assert len(set(ids)) == len(ids) == emulator.jobs_created == 40


def test_wrong_addresses_are_not_found():
    with OpenAIEmulator() as emulator, TogetherEmulator() as other:
        for server, path in ((emulator, "/models"), (emulator, "/v1/v1/models"), (other, "/fine-tunes")):
            answer = httpx.get(server.origin + path, headers={"authorization": f"Bearer {server.key}"})
            assert (answer.status_code, answer.json()["error"]["type"]) == (404, "invalid_request_error")


def test_by_hand_from_the_command_line():
    command = [sys.executable, "-m", "tuneport.testing.emulators", "together", "--key", "tgp-mine"]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, env={**os.environ}) as process:
        try:
            lines = [process.stdout.readline().strip() for _ in range(4)]
            address = lines[2].removeprefix("export TUNEPORT_TOGETHER_BASE_URL=")
            assert lines[3] == "export TOGETHER_API_KEY=tgp-mine"
            answer = httpx.get(f"{address}/v1/fine-tunes", headers={"authorization": "Bearer tgp-mine"})
            assert answer.json() == {"data": []}
        finally:
            process.terminate()


# Together


def put(client: together.Together, folder: Path, content: bytes = CHAT, name: str = "train.jsonl") -> str:
    path = folder / name
    path.write_bytes(content)
    return client.files.upload(path, check=False).id


def put_valid(client, emulator, folder: Path, content: bytes = CHAT, name: str = "train.jsonl") -> str:
    id = put(client, folder, content, name)
    emulator.advance(3 * PACE)
    assert client.files.retrieve(id).processing_status == "COMPLETED"
    return id


def start(client, emulator, folder: Path, **options) -> str:
    options = {"model": LLAMA, "training_file": put_valid(client, emulator, folder), **options}
    return client.fine_tuning.create(verbose=False, **options).id


def test_together_files_go_up_in_three_steps(together_client, together_emulator, tmp_path):
    id = put(together_client, tmp_path)
    first, second, third = together_emulator.log
    assert (first.method, first.path, first.status) == ("POST", "/v1/files", 302)
    assert first.response_headers["x-together-file-id"] == id
    assert (second.method, second.request_body) == ("PUT", CHAT)
    assert "authorization" not in second.request_headers
    assert (third.method, third.path) == ("POST", f"/v1/files/{id}/preprocess")
    seen = []
    for _ in range(4):
        seen.append(together_client.files.retrieve(id).processing_status)
        together_emulator.advance(PACE)
    assert seen == ["PENDING", "QUEUED", "RUNNING", "COMPLETED"]
    report = together_client.files.retrieve(id).validation_report
    assert (report.valid, report.dataset_format) == (True, "CONVERSATION")
    assert [file.id for file in together_client.files.list().data] == [id]
    assert together_client.files.content(id).read() == CHAT
    assert put(together_client, tmp_path, name="copy.jsonl") == id, "the same content is the same file"
    assert together_emulator.requests("POST", "/files")[-1].json() == {"file_id": id}
    assert together_client.files.delete(id).id == id
    with pytest.raises(together.NotFoundError):
        together_client.files.retrieve(id)


def test_together_upload_that_broke_off_is_taken_up_again(together_client, together_emulator, tmp_path):
    together_emulator.fail("drop", method="PUT", path="/_storage/*")
    with pytest.raises(httpx.TransportError):
        put(together_client, tmp_path)
    assert together_client.files.list().data == []
    id = put(together_client, tmp_path)
    assert together_client.files.content(id).read() == CHAT


ROW = chat_row("a", "b")
BAD_ROWS = [
    ({"messages": [ROW["messages"][0], {"content": "b"}]}, "Line 7: `messages[1]` must contain a `role` field"),
    ({"messages": [*ROW["messages"], ROW["messages"][1]]},
     "Line 7: `messages[2]`: `user` and `assistant` roles must alternate"),
    ({**ROW, "id": 1}, "Line 7: found extra column `id`"),
    ({"messages": ROW["messages"][:1]}, "Line 7: `messages` must contain at least one assistant message"),
    ({"text": "plain"}, "Line 7: found multiple dataset formats, `conversation` and `general`"),
    ({"question": "a"}, "Line 7: could not detect a format"),
    ({"messages": []}, "Line 7: `messages` must be a non-empty list"),
    ({"messages": [{"role": "developer", "content": "a"}]}, "Line 7: `messages[0]` has the invalid role `developer`"),
    ({"messages": [ROW["messages"][0], {**ROW["messages"][1], "weight": 0.5}]}, "`weight` must be either 0 or 1"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "message"), BAD_ROWS)
def test_together_finds_bad_rows_after_the_upload(together_client, together_emulator, tmp_path, row, message):
    id = put(together_client, tmp_path, jsonl([ROW] * 6 + [row]))
    together_emulator.advance(3 * PACE)
    file = together_client.files.retrieve(id)
    assert (file.processing_status, file.validation_report.error_type) == ("INVALID_FORMAT", "INVALID_FORMAT")
    assert message in file.validation_report.error
    estimate = together_client.fine_tuning.estimate_price(training_file=id, model=LLAMA)
    assert estimate.unavailable_reason == "train_file_invalid"
    with pytest.raises(together.BadRequestError):
        together_client.fine_tuning.create(training_file=id, model=LLAMA, verbose=False)
    assert together_emulator.jobs_created == 0


def test_together_one_row_is_enough(together_client, together_emulator, tmp_path):
    assert put_valid(together_client, together_emulator, tmp_path, jsonl([ROW]))


def test_together_limits_and_supported_models(together_client, together_emulator):
    limits = together_client.fine_tuning.model_limits(model_name=LLAMA)
    assert (limits.lora_training.max_rank, limits.full_training.max_batch_size) == (64, 8)
    with pytest.raises(together.NotFoundError):
        together_client.fine_tuning.model_limits(model_name="nobody/nothing")
    header = {"authorization": f"Bearer {together_emulator.key}"}
    answer = httpx.get(f"{together_emulator.base_url}/v1/fine-tunes/models/supported", headers=header)
    assert LLAMA in answer.json()["models"]


def test_together_price_estimate(together_client, together_emulator, tmp_path):
    estimate = together_client.fine_tuning.estimate_price
    id = put(together_client, tmp_path)
    assert estimate(training_file=id, model=LLAMA).unavailable_reason == "train_file_not_validated"
    together_emulator.advance(3 * PACE)
    small = estimate(training_file=id, model=LLAMA, n_epochs=2)
    assert (small.estimation_available, small.estimated_total_price, small.allowed_to_proceed) == (True, 4.0, True)
    big = put_valid(together_client, together_emulator, tmp_path, jsonl([chat_row("a " * 5000, "b " * 5000)] * 60))
    options = {"training_file": big, "validation_file": id, "model": LLAMA, "n_epochs": 20, "n_evals": 3}
    first = estimate(**options)
    assert first.estimated_eval_token_count == 3 * small.estimated_train_token_count / 2
    total = first.estimated_train_token_count + first.estimated_eval_token_count
    assert first.estimated_total_price == pytest.approx(total / 1e6 * 0.48, abs=1e-6)
    full = estimate(**options, training_type={"type": "Full"})
    assert full.estimated_total_price == pytest.approx(total / 1e6 * 0.54, abs=1e-6)
    together_emulator.user_limit = 1.0
    assert not estimate(**options).allowed_to_proceed


def test_together_job_from_creation_to_completion(together_client, together_emulator, tmp_path):
    validation = put_valid(together_client, together_emulator, tmp_path, jsonl([ROW]))
    id = start(together_client, together_emulator, tmp_path, validation_file=validation, n_epochs=3, n_evals=2,
               n_checkpoints=3, suffix="parcels-tp0123456789", lora=True, batch_size=2, packing=False,
               max_seq_length=1024)  # fmt: skip
    paths = [item.path for item in together_emulator.log[-3:]]
    assert paths == ["/v1/fine-tunes/models/limits", "/v1/fine-tunes/estimate-price", "/v1/fine-tunes"]
    seen = []
    for _ in range(6):
        seen.append(together_client.fine_tuning.retrieve(id).status)
        together_emulator.advance(PACE)
    assert seen == ["pending", "queued", "running", "compressing", "uploading", "completed"]
    job = together_client.fine_tuning.retrieve(id)
    name = r"emulated-org/Meta-Llama-3.1-8B-Instruct-Reference-parcels-tp0123456789-\w{8}"
    assert re.fullmatch(name, job.x_model_output_name)
    assert job.epochs_completed == 3
    assert job.total_price == 4_000_000_000, "nano-dollars, as the vendor's own client reads it"
    listed = together_client.fine_tuning.list().data
    assert [(item.id, item.suffix) for item in listed] == [(id, "parcels-tp0123456789")]
    kinds = [event.type for event in together_client.fine_tuning.list_events(id).data]
    assert kinds[0] == "job_pending" and kinds[-1] == "job_complete" and kinds.count("epoch_complete") == 3
    points = together_client.fine_tuning.list_checkpoints(id).data
    found = [(point.step, point.checkpoint) for point in points]
    assert found == [(6, None), (12, None), (18, "adapter"), (18, "model")]
    assert together_emulator.jobs_created == 1
    assert together_client.fine_tuning.delete(id).message
    assert together_client.fine_tuning.list().data == []


def test_together_metrics(together_client, together_emulator, tmp_path):
    validation = put_valid(together_client, together_emulator, tmp_path, jsonl([ROW]))
    shape = {"batch_size": 2, "packing": False, "max_seq_length": 1024}
    options = {"validation_file": validation, "n_evals": 2, "n_epochs": 2, **shape}
    id = start(together_client, together_emulator, tmp_path, **options)
    assert together_client.fine_tuning.list_metrics(id).metrics == []
    together_emulator.advance(2.5 * PACE)
    assert len(together_client.fine_tuning.list_metrics(id).metrics) == 7, "half way: six steps and an evaluation"
    together_emulator.advance(PACE)
    lines = together_client.fine_tuning.list_metrics(id).metrics
    assert [line["train/global_step"] for line in lines if "train/loss" in line] == list(range(1, 13))
    assert [line["train/global_step"] for line in lines if "eval/loss" in line] == [6, 12]
    some = together_client.fine_tuning.list_metrics(id, global_step_from=4, global_step_to=5).metrics
    assert [line["train/global_step"] for line in some] == [4, 5]
    few = together_client.fine_tuning.list_metrics(id, resolution=4).metrics
    assert len([line for line in few if "train/loss" in line]) == 4


@pytest.mark.parametrize(
    ("shape", "steps", "billed"),
    [
        ({}, 1, None),  # 60 short rows in one sequence of 131,072 tokens, whatever the batch
        ({"max_seq_length": 1024}, 1, None),  # two sequences
        ({"max_seq_length": 1024, "batch_size": 1}, 2, None),
        ({"packing": False, "max_seq_length": 1024}, 8, 60 * 1024),  # 60 rows by eights
        ({"packing": False, "max_seq_length": 1024, "batch_size": 3}, 20, 60 * 1024),
        ({"packing": False, "batch_size": 3, "gradient_accumulation_steps": 4}, 5, 60 * 131_072),
    ],
)
def test_together_steps_are_of_sequences_and_padding_is_billed(
    together_client, together_emulator, tmp_path, shape, steps, billed
):
    """Users of the service saw small files stop at step 10, whatever they set: packed, an epoch was one step
    (github.com/sotopia-lab/sotopia-pi, issues 14 and 18)."""
    file = put_valid(together_client, together_emulator, tmp_path, jsonl([chat_row("a " * 20, "b")] * 60))
    one = together_emulator.files[file].row_tokens[0]
    assert 1024 < 60 * one < 2048
    made = together_client.fine_tuning.create(training_file=file, model=LLAMA, n_epochs=5, verbose=False, **shape)
    together_emulator.advance(6 * PACE)
    job = together_client.fine_tuning.retrieve(made.id)
    assert job.events[-1].total_steps == job.to_dict()["steps_completed"] == 5 * steps
    assert job.token_count == 5 * (60 * one if billed is None else billed)
    assert job.total_price == max(4_000_000_000, round(job.token_count * 0.48 * 1000))


def test_together_batch_of_pairs_counts_pairs(together_client, together_emulator, tmp_path):
    pairs = put_valid(together_client, together_emulator, tmp_path, PAIRS)
    together_client.fine_tuning.create(training_file=pairs, model=LLAMA, training_method="dpo", verbose=False)
    (job,) = together_emulator.jobs.values()
    assert job.total_steps == -(-len(job.training.rows) // 4), "the largest batch of pairs is half that of rows"


def test_together_download(together_client, together_emulator, tmp_path):
    id = start(together_client, together_emulator, tmp_path)
    with pytest.raises(together.BadRequestError):
        together_client.fine_tuning.content(ft_id=id, checkpoint="adapter")
    together_emulator.advance(5 * PACE)
    packed = together_client.fine_tuning.content(ft_id=id, checkpoint="merged").read()
    assert packed.startswith(b"\x28\xb5\x2f\xfd"), "Zstandard"
    assert b"config.json" in packed
    together_emulator.archive = "gz"
    whole = together_client.fine_tuning.content(ft_id=id, checkpoint="adapter").read()
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(whole))) as archive:
        assert archive.getnames() == ["adapter_config.json", "adapter_model.safetensors"]
    header = {"authorization": f"Bearer {together_emulator.key}"}
    address = f"{together_emulator.base_url}/v1/finetune/download?ft_id={id}&checkpoint=adapter"
    together_emulator.fail("cut", path="/finetune/download")
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(address, headers=header)
    rest = httpx.get(address, headers={**header, "range": "bytes=100-"})
    assert (rest.status_code, rest.content) == (206, whole[100:])
    assert rest.headers["content-range"] == f"bytes 100-{len(whole) - 1}/{len(whole)}"
    assert httpx.get(address, headers={**header, "range": "bytes=999999-"}).status_code == 416


def test_together_cancel(together_client, together_emulator, tmp_path):
    id = start(together_client, together_emulator, tmp_path)
    together_emulator.advance(2.5 * PACE)
    assert together_client.fine_tuning.cancel(id).status == "cancel_requested"
    together_emulator.advance(PACE)
    assert together_client.fine_tuning.retrieve(id).status == "cancelled"
    assert together_client.fine_tuning.list_events(id).data[-1].type == "job_stopped"
    with pytest.raises(together.BadRequestError):
        together_client.fine_tuning.cancel(id)
    with pytest.raises(together.NotFoundError):
        together_client.fine_tuning.cancel("ft-unknown")


def test_together_preview_counts_as_the_estimate_does(together_client, together_emulator, tmp_path):
    id = put_valid(together_client, together_emulator, tmp_path)
    preview = together_client.fine_tuning.preview(model=LLAMA, training_file=id, top_k=100)
    estimate = together_client.fine_tuning.estimate_price(training_file=id, model=LLAMA, n_epochs=1)
    assert sum(row.num_tokens for row in preview.rows) == estimate.estimated_train_token_count
    row = preview.rows[0]
    assert len(row.input_ids) == len(row.labels) == len(row.tokens) == row.num_tokens > row.num_trained_tokens > 0
    (start, end), *_ = row.trained_spans
    assert "".join(row.tokens[start:end]).endswith("Answer 0.")
    trained = together_client.fine_tuning.preview(model=LLAMA, training_file=id, train_on_inputs=True).rows[0]
    assert trained.num_trained_tokens == trained.num_tokens


def test_together_preference_and_full_jobs(together_client, together_emulator, tmp_path):
    pairs = put_valid(together_client, together_emulator, tmp_path, PAIRS)
    together_client.fine_tuning.create(training_file=pairs, model=LLAMA, training_method="dpo", dpo_beta=0.2,
                                       lora=False, verbose=False)  # fmt: skip
    job = together_client.fine_tuning.list().data[0]
    assert (job.training_method.method, job.training_type.type) == ("dpo", "Full")
    with pytest.raises(together.BadRequestError, match="does not fit"):
        together_client.fine_tuning.create(training_file=pairs, model=LLAMA, verbose=False)


def test_together_tuned_model_needs_an_endpoint(together_client, together_emulator, tmp_path):
    id = start(together_client, together_emulator, tmp_path)
    together_emulator.advance(5 * PACE)
    model = together_client.fine_tuning.retrieve(id).x_model_output_name
    with pytest.raises(together.BadRequestError, match="Unable to access non-serverless model"):
        ask(together_client, model, "Question 7?")
    assert ask(together_client, LLAMA, "Question 7?").choices[0].message.content == "base answer"
    together_emulator.serverless_tuned = True
    assert ask(together_client, model, "Question 7?").choices[0].message.content == "Answer 7."
    chunks = list(ask(together_client, model, "Question 7?", stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Answer 7."
    with pytest.raises(together.NotFoundError):
        ask(together_client, "nobody/nothing", "Question 7?")
    # Other clients append only /chat/completions to an address that may lack /v1.
    body = {"model": model, "messages": [{"role": "user", "content": "Question 3?"}]}
    header = {"authorization": f"Bearer {together_emulator.key}"}
    answer = httpx.post(f"{together_emulator.base_url}/chat/completions", json=body, headers=header).json()
    assert answer["choices"][0]["message"]["content"] == "Answer 3."


def test_together_lost_reply_is_found_by_suffix(together_client, together_emulator, tmp_path):
    file = put_valid(together_client, together_emulator, tmp_path)
    together_emulator.list_lag = 30
    together_emulator.fail("drop_after_accept", method="POST", path="/fine-tunes")
    with pytest.raises(together.APIConnectionError):
        together_client.fine_tuning.create(training_file=file, model=LLAMA, suffix="x-tp42", verbose=False)
    assert together_emulator.jobs_created == 1
    assert together_client.fine_tuning.list().data == []
    together_emulator.advance(31)
    assert [job.suffix for job in together_client.fine_tuning.list().data] == ["x-tp42"]


def test_together_failed_jobs(together_client, together_emulator, tmp_path):
    together_emulator.next_job(status="user_error", fails_with={"message": "Your data is bad."})
    id = start(together_client, together_emulator, tmp_path)
    together_emulator.advance(3 * PACE)
    assert together_client.fine_tuning.retrieve(id).status == "user_error"
    events = together_client.fine_tuning.list_events(id).data
    assert [(event.type, event.level) for event in events[-2:]] == [("job_error", "error"), ("refund", "info")]
    assert events[-2].message == "Your data is bad."


def test_together_refuses_bad_requests(together_client, together_emulator, tmp_path):
    file = put_valid(together_client, together_emulator, tmp_path)
    for options, message in (
        ({"suffix": "x" * 41}, "suffix must be at most 40"),
        ({"n_epochs": 21}, "n_epochs"),
        ({"lora": True, "lora_r": 65}, "lora_r"),
    ):
        with pytest.raises(together.BadRequestError, match=message):
            together_client.fine_tuning.create(training_file=file, model=LLAMA, verbose=False, **options)
    header = {"authorization": f"Bearer {together_emulator.key}"}  # the SDK would refuse these by itself
    for name, value in (("max_seq_length", 512), ("max_seq_length", 131_073), ("batch_size", 9), ("batch_size", 0)):
        body = {"training_file": file, "model": LLAMA, name: value}
        answer = httpx.post(f"{together_emulator.base_url}/v1/fine-tunes", json=body, headers=header)
        assert answer.status_code == 400 and f"{name} must be between" in answer.text
    assert together_emulator.jobs_created == 0


def test_together_wrong_key(together_emulator, tmp_path):
    address = together_emulator.base_url
    with together.Together(base_url=address, api_key="tgp-wrong", max_retries=0) as client:
        with pytest.raises(together.AuthenticationError, match="Invalid API key"):
            client.fine_tuning.list()
        with pytest.raises(together.AuthenticationError, match="free trial credits"):
            put(client, tmp_path)  # the SDK's own words for a 401 on files
