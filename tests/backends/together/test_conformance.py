"""A run of every feature, held to the published document; and, where that has no such path, to the types of the SDK."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from together.types import endpoint_create_params, endpoint_update_params, whoami_project_api_key
from together.types import model as model_type
from together.types.endpoint import Endpoint
from together.types.endpoint_deployment import EndpointDeployment
from together.types.endpoints import deployment_create_params, deployment_update_params, hardware_list_response
from together.types.models.config import Config

from tests.support.conformance import specification
from tuneport.errors import DatasetError, TuneportError
from tuneport.testing.contract import contract_job_token, prepared_chats, write_contract_rows
from tuneport.testing.emulators import TogetherEmulator
from tuneport.testing.emulators.server import EmulatorExchange
from tuneport.types import Adapter, Hyperparameters, Method, PreparedData, TuneSpec

MODEL = "Qwen/Qwen3.5-4B"

# Paths that the document does not have, with the SDK's types of what they take and give; None: nothing of interest.
PROJECTS = "/v2/projects/{}"
ONLY_IN_THE_SDK: dict[str, tuple[Any, Any]] = {
    "GET /v3/whoami": (None, whoami_project_api_key.WhoamiProjectAPIKey),
    "GET /v2/public/inference-instance-types": (None, hardware_list_response.HardwareListResponse),
    f"GET {PROJECTS}/models/{{}}": (None, model_type.Model),
    f"GET {PROJECTS}/configs": (None, [Config]),
    f"GET {PROJECTS}/endpoints": (None, [Endpoint]),
    f"POST {PROJECTS}/endpoints": (endpoint_create_params.EndpointCreateParams, Endpoint),
    f"GET {PROJECTS}/endpoints/{{}}": (None, Endpoint),
    f"PATCH {PROJECTS}/endpoints/{{}}": (endpoint_update_params.EndpointUpdateParams, Endpoint),
    f"DELETE {PROJECTS}/endpoints/{{}}": (None, None),
    f"POST {PROJECTS}/endpoints/{{}}/deployments": (
        deployment_create_params.DeploymentCreateParams,
        EndpointDeployment,
    ),
    f"GET {PROJECTS}/endpoints/{{}}/deployments/{{}}": (None, EndpointDeployment),
    f"PATCH {PROJECTS}/endpoints/{{}}/deployments/{{}}": (
        deployment_update_params.DeploymentUpdateParams,
        EndpointDeployment,
    ),
    f"DELETE {PROJECTS}/endpoints/{{}}/deployments/{{}}": (None, None),
    # The address that the first step of an upload gives: object storage, not the API.
    "PUT /_storage/{}": (None, None),
}


@pytest.fixture
def captured(
    together: TogetherEmulator, connect: Callable[..., Any], tmp_path: Path
) -> Iterator[list[EmulatorExchange]]:
    """Every exchange of a run through all that the backend can do."""
    backend, data = connect(together), prepared_chats(tmp_path)
    (tmp_path / "validation").mkdir()
    held_out = prepared_chats(tmp_path / "validation", repeat=1).training
    both = PreparedData(training=data.training, validation=held_out)
    pair = {
        "input": {"messages": [{"role": "user", "content": "Hi"}]},
        "preferred_output": [{"role": "assistant", "content": "Hello!"}],
        "non_preferred_output": [{"role": "assistant", "content": "What?"}],
    }
    pairs = PreparedData(training=write_contract_rows(tmp_path / "pairs.jsonl", [pair] * 4, "openai-preference"))
    plain = TuneSpec(model=MODEL, dataset=data.training.path)

    def run(number: int, data: PreparedData, **change: Any) -> str:
        spec = plain.model_copy(update=change)
        files = list(backend.prepare(spec, data))
        assert backend.quote(spec, files) is not None
        return str(backend.submit(spec, files, token=contract_job_token(f"job {number}")).remote_id)

    settings = Hyperparameters(
        epochs=4, batch_size=4, learning_rate=2e-5, warmup_ratio=0.1, weight_decay=0.01, max_length=2048, lora_rank=8,
        lora_alpha=16, lora_dropout=0.05,
    )  # fmt: skip
    early = {"early_stopping_enabled": True, "early_stopping_patience": 1, "n_checkpoints": 2, "min_lr_ratio": 0.1}
    whole = run(
        1, both, hyperparameters=settings, suffix="bot", seed=7, validation=held_out.path, provider_options=early
    )
    full = run(2, data, adapter=Adapter.FULL)
    for number, options in enumerate(({}, {"rpo_alpha": 0.5}, {"simpo_gamma": 0.4}), start=3):
        run(number, pairs, method=Method.DPO, provider_options=options, hyperparameters=Hyperparameters(beta=0.2))
    together.pace = 600
    cancelled = run(6, data)
    together.pace = 0.03
    backend.cancel(cancelled)
    assert backend.find(contract_job_token("job 1")).answer == "found"
    together.advance(3600)
    run(7, data, from_checkpoint=f"{full}:{backend.checkpoints(full)[-1].step}")
    run(8, data, provider_options={"from_hf_model": "me/tuned", "hf_model_revision": "607a30d7"})
    list(backend.events(whole)), backend.metrics(whole, resolution=2, global_step_from=1)
    for listed in (backend.list_jobs(), backend.list_models(), backend.list_files()):
        assert list(listed)
    file = next(iter(backend.list_files()))
    backend.save_file(file.id, tmp_path / "saved.jsonl")
    backend.download(whole, tmp_path / "weights")
    backend.download(whole, tmp_path / "merged", merged=True)
    tuned = backend.fetch(whole).tuned_model
    with pytest.raises(TuneportError):
        backend.complete(tuned, [{"role": "user", "content": "Hi"}])
    started = backend.deploy(tuned)
    together.advance(60)
    backend.complete(tuned, [{"role": "user", "content": "Hi"}])
    list(backend.complete(tuned, [{"role": "user", "content": "Hi"}], stream=True))
    together.advance(3600)
    backend.deploy(tuned)
    assert list(backend.deployments())
    backend.undeploy(started.id)
    bad = PreparedData(training=write_contract_rows(tmp_path / "bad.jsonl", [{"messages": [{"content": "no role"}]}]))
    with pytest.raises(DatasetError):
        list(backend.prepare(plain, bad))
    with pytest.raises(TuneportError):
        list(backend.prepare(plain.model_copy(update={"model": "nobody/knows"}), data))
    backend.delete_file(file.id)
    backend.delete(full)
    yield together.log


def path_of(exchange: EmulatorExchange) -> str:
    """The method and the path with its ids left out."""
    path = re.sub(r"/(proj|ep|dep|ml|file)[-_][\w-]+", "/{}", exchange.path)
    return f"{exchange.method} {path}"


def test_every_exchange_is_as_the_document_says(captured: list[EmulatorExchange]) -> None:
    document = specification("together")
    if document is None:
        pytest.skip("the vendor's document is not part of the project")
    inside = [item for item in captured if path_of(item) not in ONLY_IN_THE_SDK]
    assert [complaint for item in inside for complaint in document.complaints(item)] == []
    operations = {found for item in inside if (found := document.operation(item)) is not None}
    assert len(operations) >= 19, "the run goes through the whole of it"
    outside = {path_of(item) for item in captured if document.operation(item) is None}
    assert outside == set(ONLY_IN_THE_SDK), "and what else was asked is exactly this"


@pytest.mark.parametrize("path", [path for path, types in ONLY_IN_THE_SDK.items() if any(types)])
def test_what_the_document_lacks_is_as_the_sdk_says(captured: list[EmulatorExchange], path: str) -> None:
    takes, gives = ONLY_IN_THE_SDK[path]
    exchanges = [item for item in captured if path_of(item) == path and item.status == 200]
    assert exchanges
    for item in exchanges:
        if takes is not None:
            assert set(item.request_json()) <= wire_names(takes)
        answer = item.json()
        if isinstance(gives, list):
            for row in answer["data"]:
                validated(gives[0], row)
        elif gives is not None:
            validated(gives, answer)


def validated(type_: Any, answer: dict[str, Any]) -> None:
    """By pydantic itself (the SDK constructs its types without a look), and without a field that it does not know."""
    model = type_.model_validate(answer)
    assert not model.model_extra, f"{type_.__name__} has no {model.model_extra}"


def wire_names(params: Any) -> set[str]:
    """What a request's fields are called on the wire: the alias, where the SDK gives one."""
    names = set()
    for name, hint in get_type_hints(params, include_extras=True).items():
        found = [extra.alias for extra in annotations(hint) if getattr(extra, "alias", None)]
        names.add(found[0] if found else name)
    return names


def annotations(hint: Any) -> Iterator[Any]:
    for part in (*getattr(hint, "__metadata__", ()), *(get_args(hint) if hasattr(hint, "__origin__") else ())):
        yield part
        yield from annotations(part)
