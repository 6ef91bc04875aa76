"""Every request of OpenAI's backend, held against OpenAI's published document by a validator of others: Prism."""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.backends.openai.test_conformance import MODEL, REASONER, USED, everything
from tests.backends.openai.test_files import in_parts
from tests.backends.openai.test_reinforcement import GRADER, questions
from tests.support.prism import Heard, prism
from tests.support.rows import write
from tuneport.backends.openai.backend import OpenAIBackend
from tuneport.data.conversion.prepare import prepare_dataset
from tuneport.data.formats.openai.reinforcement import NAME
from tuneport.errors import TuneportError, UnsupportedError
from tuneport.testing.contract import contract_job_token, prepared_chats
from tuneport.testing.emulators import OpenAIEmulator
from tuneport.types import Hyperparameters, Method, PreparedData, RemoteFile, TuneSpec, Wandb

conformance = pytest.importorskip("tests.support.conformance", reason="needs jsonschema and PyYAML")

pytestmark = pytest.mark.full
ASKS_NOBODY = {
    "describe_options",
    "check",
    "close",
    "hyperparameter_names",
    "words",
    "mark_of",
    "client_rules",
    "supports",
}
"""The public methods that send nothing; the walk proves it."""
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where is my parcel?"}]
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]
ROUTES = {(method.upper(), path) for method, path in USED}


@pytest.fixture
def document() -> Path:
    folder = conformance.specification_folder()
    if folder is None:
        pytest.skip(f"the published documents are not at {conformance.FOLDER} (set TUNEPORT_SPECS)")
    path: Path = folder / conformance.DOCUMENTS["openai"]
    return path


def specs(tmp_path: Path) -> list[TuneSpec]:
    """A spec with every option, for each method; its files are made up."""
    training = prepared_chats(tmp_path).training.path
    common: dict[str, Any] = {
        "dataset": training, "validation": training, "suffix": "bot", "seed": 7, "metadata": {"team": "blue"},
        "wandb": Wandb(project="p", name="n", entity="e", tags=("t",)),
    }  # fmt: skip
    sft = Hyperparameters(epochs=3, batch_size=2, learning_rate_multiplier=1.5)
    rft = Hyperparameters(
        epochs=1, batch_size=2, learning_rate_multiplier=1.5, compute_multiplier=1.5, eval_interval=2, eval_samples=2,
        reasoning_effort="low",
    )  # fmt: skip
    return [
        TuneSpec(model=MODEL, hyperparameters=sft, **common),
        TuneSpec(model=MODEL, method=Method.DPO, hyperparameters=sft.model_copy(update={"beta": 0.2}), **common),
        TuneSpec(model=REASONER, method=Method.RFT, grader=GRADER, hyperparameters=rft, **common),
        TuneSpec(model=MODEL, dataset=training),
        TuneSpec(model=MODEL, dataset=training, from_checkpoint=f"ft:{MODEL}:o::abc"),
        TuneSpec(model=MODEL, dataset=training, from_checkpoint="ftjob-1"),
    ]


def walk(tmp_path: Path) -> dict[str, Callable[[OpenAIBackend], object]]:
    """A call, or some, of each public method of the backend, by name: those that the class has, and no fewer."""
    data = prepared_chats(tmp_path)
    rows = write(tmp_path / "questions.jsonl", questions())
    graded = PreparedData(training=prepare_dataset(rows, NAME, tmp_path / "files"))
    given = specs(tmp_path)
    files = [
        RemoteFile(id=f"file-{use}", purpose=use, sha256="", filename="", bytes=1) for use in ("training", "validation")
    ]  # type: ignore[arg-type]  # noqa: E501

    def prepares(backend: OpenAIBackend) -> None:
        for spec, prepared in ((given[3], data), (given[2], graded)):
            with suppress(TuneportError):  # the mock's files are never validated
                list(backend.prepare(spec, prepared))
        backend.client._client.event_hooks["response"].append(refusing_the_first_part())
        for _ in range(2):
            with suppress(TuneportError):
                list(in_parts(backend).prepare(given[3], data))

    def submits(backend: OpenAIBackend) -> None:
        for number, spec in enumerate(given):
            sent = files if spec.validation else files[:1]
            with suppress(TuneportError):
                backend.submit(spec, sent, token=contract_job_token(f"t{number}"))

    def completes(backend: OpenAIBackend) -> None:
        options = {"max_tokens": 5, "temperature": 0.2, "tools": TOOLS, "n": 2, "stop": ["x"], "seed": 1}
        for stream, more in ((False, {}), (False, options), (True, {})):
            with suppress(TuneportError):
                answer = backend.complete(MODEL, CHAT, stream=stream, **more)
                list(answer) if stream else None  # type: ignore[call-overload]

    return {
        "prepare": prepares,
        "submit": submits,
        "find": lambda backend: backend.find(contract_job_token("none")),
        "fetch": lambda backend: backend.fetch("ftjob-1"),
        "fetch_many": lambda backend: list(backend.fetch_many([f"ftjob-{number}" for number in range(8)])),
        "cancel": lambda backend: backend.cancel("ftjob-1"),
        "stop_early": lambda backend: backend.stop_early("ftjob-1"),
        "pause": lambda backend: backend.pause("ftjob-1"),
        "resume": lambda backend: backend.resume("ftjob-1"),
        "events": lambda backend: list(backend.events("ftjob-1", after="ftevent-1")),
        "metrics": lambda backend: backend.metrics("ftjob-1"),
        "checkpoints": lambda backend: backend.checkpoints("ftjob-1"),
        "delete": lambda backend: backend.delete("ftjob-1"),
        "list_jobs": lambda backend: list(backend.list_jobs()),
        "list_files": lambda backend: list(backend.list_files()),
        "list_models": lambda backend: list(backend.list_models()),
        "read_file": lambda backend: backend.read_file("file-1"),
        "save_file": lambda backend: backend.save_file("file-1", tmp_path / "saved"),
        "delete_file": lambda backend: backend.delete_file("file-1"),
        "complete": completes,
        "answer": lambda backend: backend.answer(MODEL, CHAT),
        "stream": lambda backend: list(backend.stream(MODEL, CHAT)),
        "complete_many": lambda backend: list(backend.complete_many(MODEL, [CHAT, CHAT])),
        "quote": lambda backend: backend.quote(given[0], files),
        "download": lambda backend: backend.download("ftjob-1", tmp_path / "weights"),
        "deploy": lambda backend: backend.deploy(f"ft:{MODEL}:o::abc"),
        "undeploy": lambda backend: backend.undeploy("x"),
        "deployments": lambda backend: list(backend.deployments()),
        "score": lambda backend: list(backend.score(MODEL, [CHAT], ["a"])),
        "count_input_tokens": lambda backend: backend.count_input_tokens(MODEL, CHAT),
        "lm_eval": lambda backend: list(backend.lm_eval(MODEL, ["arc_easy"])),
    }


def refusing_the_first_part() -> Callable[[Any], None]:
    """A hook that makes a refusal of the first answer about a part, after which the upload is given up and begun anew:
    the mock refuses nothing that is right."""
    told: list[str] = []

    def refuse(response: Any) -> None:
        if response.request.url.path.endswith("/parts") and not told:
            told.append("refused")
            response.status_code = 400

    return refuse


def public_methods() -> set[str]:
    called = inspect.getmembers(OpenAIBackend, callable)
    return {name for name, value in called if not name.startswith("_") and not inspect.isclass(value)} - ASKS_NOBODY


def routes_of(asked: list[tuple[str, str]]) -> set[tuple[str, str]]:
    specification = conformance.specification("openai")
    found = set()
    for method, path in asked:
        exchange = conformance.EmulatorExchange(method, path, {}, {}, b"", None, {}, b"", None)
        template, _ = specification.operation(exchange)
        found.add((method, template))
    return found


def test_every_request_is_taken_by_the_document_itself(
    document: Path, connect: Callable[..., Any], tmp_path: Path
) -> None:
    calls = walk(tmp_path)
    assert set(calls) == public_methods(), "a method of the backend is not in the walk, or the walk has one too many"
    with prism(document, tmp_path / "mock.log") as url, OpenAIEmulator() as named:
        backend = connect(named, base_url=url, validation_timeout=0.05)
        heard = Heard(backend)
        silent = set()
        for name, call in calls.items():
            before = len(heard.asked)
            with suppress(TuneportError):  # the mock's answers are made up: what counts is what it says of requests
                call(backend)
            if len(heard.asked) == before:
                silent.add(name)
        assert heard.complaints == []
        assert silent == {"quote", "download", "deploy", "undeploy", "deployments", "score", "lm_eval",
                          "count_input_tokens"}, "asked nothing"  # fmt: skip
        for name in silent - {"quote"}:
            with pytest.raises(UnsupportedError):
                calls[name](backend)
        assert routes_of(heard.asked) == ROUTES


def test_the_whole_life_passes_a_validating_proxy(
    document: Path, openai: OpenAIEmulator, connect: Callable[..., Any], tmp_path: Path
) -> None:
    """Requests by the document as it is; answers by the same with `nullable` said in the words of JSON Schema, which
    Prism would ignore in a document of version 3.1."""
    openai.models[REASONER] = "2026-10-23"
    openai.pace = 60
    whole = tmp_path / "openai.json"
    words = copy.deepcopy(conformance.specification("openai").document)
    # The document says that a file's content is JSON; the service sends the file's own bytes.
    content = words["paths"]["/files/{file_id}/content"]["get"]["responses"]["200"]
    content["content"] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    # It describes one event of a stream, and Prism takes the whole stream for one.
    answer = words["paths"]["/chat/completions"]["post"]["responses"]["200"]["content"]
    answer["text/event-stream"] = {"schema": {"type": "string"}}
    whole.write_text(json.dumps(words))
    with prism(whole, tmp_path / "proxy.log", upstream=openai.base_url) as url:
        backend = connect(openai, base_url=url)
        heard = Heard(backend)
        try:
            everything(backend, openai, tmp_path)
        finally:
            assert heard.complaints == []
        assert routes_of(heard.asked) == ROUTES
    reached = {conformance.specification("openai").operation(item) for item in openai.log}
    assert {(method.upper(), path) for path, method in filter(None, reached)} == ROUTES


def test_a_body_that_the_document_does_not_have_is_complained_of(
    document: Path, connect: Callable[..., Any], tmp_path: Path
) -> None:
    with prism(document, tmp_path / "mock.log") as url, OpenAIEmulator() as named:
        backend = connect(named, base_url=url)
        heard = Heard(backend)
        backend.manifest = backend.manifest.model_copy(update={"orders": "empty_object"})
        with pytest.raises(TuneportError, match="415"):
            backend.cancel("ftjob-1")
        assert len(heard.complaints) == 1 and "415" in heard.complaints[0]
