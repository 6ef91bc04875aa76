"""schemathesis over the whole surface: whatever is sent, the answer is one that the gateway's own document declares."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.gateways import OLD_MODEL
from tuneport.cli.commands.serve import apply_map_option
from tuneport.lifecycle.schema.request_context import RequestContext, use_store_request_context  # noqa: E402
from tuneport.serve import background
from tuneport.settings import Settings

pytest.importorskip("schemathesis", reason="a test tool: .ci/development.txt")

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema

from tuneport.serve import Gateway, create_app
from tuneport.serve.jobs.create import create_openai_job
from tuneport.serve.wire import CreateJob

CONFIG: dict[str, Any] = {
    "base-url": "http://localhost",  # as which alone the gateway answers
    "seed": 1,
    "continue-on-failure": True,
    "checks": {
        # A valid request may well be refused: for a file that is not there, a model that nobody offers, a purpose that
        # is not fine-tuning. What is refused, and by which name, is in test_requests.py and test_properties.py.
        "positive_data_acceptance": {"enabled": False},
    },
    # Words that lead somewhere, so that chats are answered; and a file and a job that are there, see below.
    "dictionaries": {
        "models": {"values": [OLD_MODEL, "fake/stand-in"]},
        "names": {"values": ["train.jsonl"]},
        "purposes": {"values": ["fine-tune"]},
    },
    "parameters": {
        "body.model": {"dictionary": "models", "probability": 0.8},
        "body.filename": {"dictionary": "names", "probability": 0.9},
        "body.purpose": {"dictionary": "purposes", "probability": 0.9},
    },
    "generation": {"database": "none"},
}


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    monkeypatch.setenv("TUNEPORT_BACKEND", "fake")
    with Gateway(apply_map_option(Settings.load(), [f"{OLD_MODEL}=stand-in"])) as gateway:
        background.start_gateway_threads(gateway)
        yield gateway


def uploaded(gateway: Gateway) -> str:
    with gateway.contents.open_incoming() as incoming:
        incoming.write(
            b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n' * 10
        )
        incoming.flush()
        with gateway.contents.lock_contents():
            row = gateway.unscoped.store.uploaded.add(
                incoming.keep(), filename="train.jsonl", purpose="fine-tune", bytes=incoming.bytes
            )
    return row.id


LARGE = ("/v1/chat/completions", "/v1/fine_tuning/jobs", "/tuneport/v1/jobs")
"""Bodies with hundreds of properties: their boundaries take 25 seconds, in `make test-full`."""


def findings(gateway: Gateway, phases: dict[str, Any], *, without: tuple[str, ...] = ()) -> tuple[list[str], int]:
    """What schemathesis complains of, and how many requests it made."""
    app = create_app(gateway)
    config = copy.deepcopy(CONFIG)
    file_id = uploaded(gateway)
    with use_store_request_context(RequestContext()):
        job = create_openai_job(gateway, CreateJob(model=OLD_MODEL, training_file=file_id), key=None)
    config["dictionaries"] |= {"files": {"values": [file_id]}, "jobs": {"values": [job.id]}}
    config["parameters"] |= {
        "body.training_file": {"dictionary": "files", "probability": 0.8},
        "path.file_id": {"dictionary": "files", "probability": 0.5},
        "path.fine_tuning_job_id": {"dictionary": "jobs", "probability": 0.5},
    }
    schema = schemathesis.openapi.from_dict(
        app.openapi(), config=SchemathesisConfig.from_dict(config | {"phases": phases})
    )
    schema.app = app
    if without:
        schema = schema.exclude(path=list(without), method="POST")
    told, sent = [], 0
    for event in from_schema(schema).execute():
        if isinstance(event, events.NonFatalError | events.FatalError):
            told.append(str(getattr(event, "info", None) or event.exception))
        if not isinstance(event, events.ScenarioFinished):
            continue
        sent += len(event.recorder.cases)
        for name, checks in event.recorder.checks.items():
            for check in checks:
                if check.status == Status.FAILURE:
                    failure = check.failure_info.failure
                    asked = event.recorder.cases[name].value
                    told.append(f"{asked.method} {asked.formatted_path}: {failure.title}: {failure.message}")
    return told, sent


OFF = {"enabled": False}


def test_each_boundary_of_each_route(gateway: Gateway) -> None:
    phases = {"examples": OFF, "coverage": {"enabled": True}, "fuzzing": OFF, "stateful": OFF}
    told, sent = findings(gateway, phases, without=LARGE)
    assert not told, "\n".join(told)
    assert sent > 200


@pytest.mark.full
def test_anything_in_any_order(gateway: Gateway) -> None:
    told, sent = findings(
        gateway,
        {
            "examples": OFF,
            "coverage": {"enabled": True},
            "fuzzing": {"generation": {"max-examples": 10}},
            "stateful": {"generation": {"max-examples": 15}},
        },
    )
    assert not told, "\n".join(told)
    assert sent > 1000
