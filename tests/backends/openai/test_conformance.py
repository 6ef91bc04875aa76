"""Everything that OpenAI's backend has, in one run, held to OpenAI's own published document."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.backends.openai.test_files import in_parts
from tests.backends.openai.test_reinforcement import GRADER, questions
from tests.support.rows import write
from tuneport.data.conversion.prepare import prepare_dataset
from tuneport.data.formats.openai.reinforcement import NAME
from tuneport.errors import UnavailableError
from tuneport.testing.contract import contract_job_token, prepared_chats, write_contract_rows
from tuneport.testing.emulators import OpenAIEmulator
from tuneport.types import Hyperparameters, JobStatus, Method, PreparedData, TuneSpec, Wandb

conformance = pytest.importorskip("tests.support.conformance", reason="needs jsonschema and PyYAML")

MODEL, REASONER = "gpt-4.1-mini-2025-04-14", "o4-mini-2025-04-16"
USED = {
    ("get", "/files"), ("post", "/files"), ("get", "/files/{file_id}"), ("delete", "/files/{file_id}"),
    ("get", "/files/{file_id}/content"), ("post", "/uploads"), ("post", "/uploads/{upload_id}/parts"),
    ("post", "/uploads/{upload_id}/complete"), ("post", "/uploads/{upload_id}/cancel"),
    ("post", "/fine_tuning/jobs"), ("get", "/fine_tuning/jobs"), ("get", "/fine_tuning/jobs/{fine_tuning_job_id}"),
    ("post", "/fine_tuning/jobs/{fine_tuning_job_id}/cancel"), ("post", "/fine_tuning/jobs/{fine_tuning_job_id}/pause"),
    ("post", "/fine_tuning/jobs/{fine_tuning_job_id}/resume"),
    ("get", "/fine_tuning/jobs/{fine_tuning_job_id}/events"),
    ("get", "/fine_tuning/jobs/{fine_tuning_job_id}/checkpoints"), ("post", "/fine_tuning/alpha/graders/validate"),
    ("get", "/models"), ("delete", "/models/{model}"), ("post", "/chat/completions"),
}  # fmt: skip
"""Not used: the permissions of checkpoints, which need an administrator's key, and a grader's trial run."""


def everything(backend: Any, openai: OpenAIEmulator, tmp_path: Path) -> None:
    training = prepared_chats(tmp_path).training
    (tmp_path / "valid").mkdir()
    chats = PreparedData(training=training, validation=prepared_chats(tmp_path / "valid", repeat=1).training)
    spec = TuneSpec(model=MODEL, dataset=training.path, validation=chats.validation.path if chats.validation else None)
    full = spec.model_copy(
        update={
            "hyperparameters": Hyperparameters(epochs=3, batch_size=2, learning_rate_multiplier=1.5),
            "suffix": "bot", "seed": 7, "metadata": {"team": "blue"},
            "wandb": Wandb(project="p", name="n", entity="e", tags=("t",)),
        }
    )  # fmt: skip
    first = backend.submit(full, list(backend.prepare(full, chats)), token=contract_job_token("sft")).remote_id
    openai.advance(130)
    assert backend.pause(first).status is JobStatus.PAUSED
    assert backend.resume(first).status is JobStatus.RUNNING
    list(backend.metrics(first))
    openai.advance(1_000)
    done = backend.fetch(first)
    assert done.status is JobStatus.SUCCEEDED and backend.find(contract_job_token("sft")).answer == "found"
    assert backend.find(contract_job_token("none")).answer == "absent"
    assert list(backend.events(first)) and backend.metrics(first) and backend.checkpoints(first)
    backend.save_file(done.result_files[0], tmp_path / "result.csv")
    assert backend.complete(done.tuned_model, [{"role": "user", "content": "Where is my parcel?"}]).text
    assert list(backend.complete(done.tuned_model, [{"role": "user", "content": "Hi"}], stream=True))

    pair = {
        "input": {"messages": [{"role": "user", "content": "Hi"}]},
        "preferred_output": [{"role": "assistant", "content": "Hello!"}],
        "non_preferred_output": [{"role": "assistant", "content": "What?"}],
    }
    pairs = PreparedData(training=write_contract_rows(tmp_path / "pairs.jsonl", [pair] * 10))
    dpo = TuneSpec(
        model=MODEL, dataset=pairs.training.path, method=Method.DPO, hyperparameters=Hyperparameters(beta=0.2),
        from_checkpoint=f"{first}:{backend.checkpoints(first)[0].step}",
    )  # fmt: skip
    second = backend.submit(dpo, list(backend.prepare(dpo, pairs)), token=contract_job_token("dpo")).remote_id
    assert backend.cancel(second).status is JobStatus.CANCELLED

    rows = write(tmp_path / "questions.jsonl", questions())
    graded = PreparedData(training=prepare_dataset(rows, NAME, tmp_path / "files"))
    rft = TuneSpec(
        model=REASONER, dataset=rows, method=Method.RFT, grader=GRADER,
        hyperparameters=Hyperparameters(epochs=1, compute_multiplier=1.5, eval_interval=2, eval_samples=2,
                                        reasoning_effort="low"),
    )  # fmt: skip
    third = backend.submit(rft, list(backend.prepare(rft, graded)), token=contract_job_token("rft")).remote_id
    multi = {"type": "multi", "name": "m", "graders": GRADER, "calculate_output": "same"}
    list(backend.prepare(rft.model_copy(update={"grader": multi}), graded))
    openai.advance(1_000)
    assert backend.fetch(third).status is JobStatus.SUCCEEDED

    large = in_parts(backend)
    texts = [
        {"messages": [{"role": "user", "content": "x" * 90}, {"role": "assistant", "content": f"{n}"}]}
        for n in range(60)
    ]
    parted = PreparedData(training=write_contract_rows(tmp_path / "large.jsonl", texts))
    openai.fail("drop", path="/uploads/*/parts", skip=1, times=4)
    with pytest.raises(UnavailableError):
        list(large.prepare(spec, parted))
    openai.advance(4_000)  # the upload has expired, and is begun anew
    (file,) = large.prepare(spec, parted)
    assert {row.purpose for row in backend.list_files()} == {"training", "result"}
    backend.delete_file(file.id)
    assert len(list(backend.list_jobs())) == 3 and list(backend.list_models())
    backend.delete(first)


def test_every_feature_conforms_to_the_published_document(
    openai: OpenAIEmulator, connect: Callable[..., Any], tmp_path: Path
) -> None:
    document = conformance.specification("openai")
    if document is None:
        pytest.skip(f"the published documents are not at {conformance.FOLDER} (set TUNEPORT_SPECS)")
    openai.models[REASONER] = "2026-10-23"
    openai.pace = 60
    everything(connect(openai), openai, tmp_path)
    answered = [item for item in openai.log if item.status is not None]
    assert [complaint for item in answered for complaint in document.complaints(item)] == []
    covered = {(method, path) for path, method in filter(None, map(document.operation, answered))}
    assert covered == USED


def test_form_that_does_not_conform_is_found() -> None:
    document = conformance.specification("openai")
    if document is None:
        pytest.skip(f"the published documents are not at {conformance.FOLDER} (set TUNEPORT_SPECS)")
    body = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfun\r\n--b--\r\n'
    exchange = conformance.EmulatorExchange(
        "POST", "/v1/files", {}, {"content-type": "multipart/form-data; boundary=b"}, body, None, {}, b"", None
    )
    found = document.complaints(exchange)
    assert any("'file' is a required property" in line for line in found)
    assert any("'fun' is not one of" in line for line in found)
