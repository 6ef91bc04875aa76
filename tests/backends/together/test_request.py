"""Each argument of the SDK's `create`: mapped, passed on or refused; and what a model's limits rule out."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from together.resources.fine_tuning import FineTuningResource

from tests.support.emulated import settings_for
from tuneport.backends.together import request as arguments
from tuneport.backends.together.backend import TogetherBackend
from tuneport.errors import (
    ConfigError,
    DatasetError,
    ModelNotOfferedError,
    QuotaError,
    RejectedError,
    UnsupportedError,
)
from tuneport.manifests import load_manifest
from tuneport.testing.contract import contract_job_token, prepared_chats, write_contract_rows
from tuneport.testing.emulators import TogetherEmulator
from tuneport.types import Adapter, Hyperparameters, JobStatus, Method, PreparedData, TuneSpec, Wandb

MODEL = "Qwen/Qwen3.5-4B"
PAIR = {
    "input": {"messages": [{"role": "user", "content": "Hi"}]},
    "preferred_output": [{"role": "assistant", "content": "Hello!"}],
    "non_preferred_output": [{"role": "assistant", "content": "What?"}],
}


@pytest.fixture
def with_validation(tmp_path: Path, data: PreparedData) -> PreparedData:
    folder = tmp_path / "validation"
    folder.mkdir()
    return PreparedData(training=data.training, validation=prepared_chats(folder, repeat=1).training)


@pytest.fixture
def pairs(tmp_path: Path) -> PreparedData:
    return PreparedData(training=write_contract_rows(tmp_path / "pairs.jsonl", [PAIR] * 8, "openai-preference"))


def spec_of(data: PreparedData, **change: Any) -> TuneSpec:
    return TuneSpec(model=MODEL, dataset=data.training.path).model_copy(update=change)


def sent(together: TogetherEmulator) -> dict[str, Any]:
    request: dict[str, Any] = together.requests("POST", "/fine-tunes")[-1].request_json()
    return request


# --- every argument --------------------------------------------------------------------------------------------------

PLACES: dict[str, tuple[Any, Callable[[dict[str, Any]], Any]]] = {
    "packing": (False, lambda body: body["packing"]),
    "n_evals": (5, lambda body: body["n_evals"]),
    "n_checkpoints": (2, lambda body: body["n_checkpoints"]),
    "gradient_accumulation_steps": (4, lambda body: body["gradient_accumulation_steps"]),
    "lr_scheduler_type": ("linear", lambda body: body["lr_scheduler"]["lr_scheduler_type"]),
    "min_lr_ratio": (0.1, lambda body: body["lr_scheduler"]["lr_scheduler_args"]["min_lr_ratio"]),
    "scheduler_num_cycles": (1.5, lambda body: body["lr_scheduler"]["lr_scheduler_args"]["num_cycles"]),
    "max_grad_norm": (0.5, lambda body: body["max_grad_norm"]),
    "lora_trainable_modules": ("q_proj,v_proj", lambda body: body["training_type"]["lora_trainable_modules"]),
    "train_on_inputs": (True, lambda body: body["training_method"]["train_on_inputs"]),
    "wandb_base_url": ("https://wandb.example", lambda body: body["wandb_base_url"]),
    "wandb_project_name": ("p", lambda body: body["wandb_project_name"]),
    "wandb_name": ("run", lambda body: body["wandb_name"]),
    "wandb_entity": ("team", lambda body: body["wandb_entity"]),
    "early_stopping_enabled": (True, lambda body: body["early_stopping_enabled"]),
    "early_stopping_patience": (3, lambda body: body["early_stopping_patience"]),
    "early_stopping_min_delta": (0.01, lambda body: body["early_stopping_min_delta"]),
    "early_stopping_warmup_evals": (2, lambda body: body["early_stopping_warmup_evals"]),
    "from_hf_model": ("me/tuned", lambda body: body["from_hf_model"]),
    "hf_model_revision": ("607a30d7", lambda body: body["hf_model_revision"]),
    "hf_output_repo_name": ("me/mine", lambda body: body["hf_output_repo_name"]),
    # Of dpo: see below.
    "dpo_normalize_logratios_by_length": (True, lambda body: body["training_method"][NORMALIZE]),
    "rpo_alpha": (0.5, lambda body: body["training_method"]["rpo_alpha"]),
    "simpo_gamma": (0.3, lambda body: body["training_method"]["simpo_gamma"]),
    # Of models that see.
    "train_vision": (True, lambda body: body["multimodal_params"]["train_vision"]),
}
NORMALIZE = "dpo_normalize_logratios_by_length"
OF_DPO = (NORMALIZE, "rpo_alpha", "simpo_gamma")


def test_every_argument_of_the_sdk_is_mapped_passed_or_refused() -> None:
    known = set(inspect.signature(FineTuningResource.create).parameters) - {"self"}
    groups = [
        set(arguments.MAPPED),
        set(arguments.SECRETS),
        set(arguments.REFUSED),
        set(arguments.list_together_options()),
    ]
    assert set().union(*groups) == known
    assert sum(len(group) for group in groups) == len(known), "each in one group only"
    assert set(PLACES) == set(arguments.list_together_options()), "each option is tried below"
    ours = {*TuneSpec.model_fields, *Hyperparameters.model_fields}
    assert set(arguments.MAPPED.values()) <= ours
    assert set(arguments.WANDB.values()) <= set(Wandb.model_fields)


@pytest.mark.parametrize("name", PLACES)
def test_option_reaches_the_wire(
    together: TogetherEmulator, monkeypatch: pytest.MonkeyPatch, with_validation: PreparedData, pairs: PreparedData,
    name: str, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    keys = {"WANDB_API_KEY": "wandb-key-1234567", "HF_TOKEN": "hf_token_1234567"}
    settings = settings_for("together", together.base_url, key=together.key)
    settings = settings.model_copy(update={"environment": settings.environment | secrets(keys)})
    backend = TogetherBackend(load_manifest("together"), settings, sleep=lambda seconds: None)
    value, place = PLACES[name]
    data = pairs if name in OF_DPO else with_validation
    if name == "train_vision":
        monkeypatch.setattr("tuneport.testing.emulators.together.emulator.emulated_model_limits", seeing)
    spec = spec_of(
        data,
        method=Method.DPO if name in OF_DPO else Method.SFT,
        validation=None if data.validation is None else data.validation.path,
        provider_options={name: value},
    )
    backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token(name))
    assert place(sent(together)) == value
    assert capsys.readouterr().out == "", "stdout is for a command's own document"
    backend.close()


def secrets(keys: dict[str, str]) -> dict[str, Any]:
    from pydantic import SecretStr

    return {name: SecretStr(value) for name, value in keys.items()}


def seeing(name: str, model: Any) -> dict[str, Any]:
    from tuneport.testing.emulators.together.jobs import emulated_model_limits

    return {**emulated_model_limits(name, model), "supports_vision": True}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_checkpoints": "three"}, "n_checkpoints: Input should be a valid integer; got 'three'"),
        ({"n_checkpoints": True}, "n_checkpoints"),
        ({"packing": "yes"}, "packing: Input should be a valid boolean"),
        ({"lr_scheduler_type": "constant"}, "lr_scheduler_type: Input should be 'linear' or 'cosine'"),
        ({"min_lr_ratio": float("nan")}, "min_lr_ratio"),
        ({"train_on_inputs": "never"}, "train_on_inputs"),
        ({"lora_trainable_modules": ["q_proj"]}, "lora_trainable_modules"),
        ({"verbose": True}, "verbose is refused: it makes the SDK print"),
        ({"random_seed": 1}, "random_seed clashes .* own seed"),
        ({"from_checkpoint": "ft-1"}, "from_checkpoint clashes"),
        ({"wandb_api_key": "x"}, "secret.*WANDB_API_KEY in the environment"),
        ({"hf_api_token": "x"}, "secret.*HF_TOKEN in the environment"),
    ],
)
def test_wrong_options_are_refused_with_name_and_reason(
    together: TogetherEmulator, connect: Callable[..., Any], data: PreparedData, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        connect(together).check(spec_of(data, provider_options=options))
    assert together.log == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"min_lr_ratio": 2.0}, "ratio should be between 0 and 1"),
        ({"max_grad_norm": -1.0}, "non-negative"),
        ({"scheduler_num_cycles": 0.0}, "greater than 0"),
        ({"rpo_alpha": 0.5}, "rpo_alpha is only supported for DPO"),
        ({"simpo_gamma": 0.5}, "simpo_gamma is only supported for DPO"),
        ({"early_stopping_enabled": True}, "validation file"),
    ],
)
def test_values_that_the_sdk_refuses_are_refused_before_anything_is_asked(
    together: TogetherEmulator, connect: Callable[..., Any], data: PreparedData, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UnsupportedError, match=words):
        connect(together).check(spec_of(data, provider_options=options))
    assert together.log == []


def test_simpo_is_free_of_a_reference(
    together: TogetherEmulator, connect: Callable[..., Any], pairs: PreparedData
) -> None:
    backend = connect(together)
    spec = spec_of(pairs, method=Method.DPO, provider_options={"simpo_gamma": 0.5})
    backend.submit(spec, list(backend.prepare(spec, pairs)), token=contract_job_token("t"))
    method = sent(together)["training_method"]
    assert (method["dpo_reference_free"], method[NORMALIZE]) == (True, True)


# --- keys that a job needs -------------------------------------------------------------------------------------------


def test_wandb_key_comes_from_the_environment_and_shows_nowhere(
    together: TogetherEmulator, data: PreparedData, caplog: pytest.LogCaptureFixture
) -> None:
    key = "wandb-0123456789abcdef"
    settings = settings_for("together", together.base_url, key=together.key)
    spec = spec_of(data, wandb=Wandb(project="p", name="run", entity="team"))
    bare = TogetherBackend(load_manifest("together"), settings)
    with pytest.raises(ConfigError, match="WANDB_API_KEY"):
        list(bare.prepare(spec, data))
    assert together.requests("POST", "/files") == []
    settings = settings.model_copy(update={"environment": settings.environment | secrets({"WANDB_API_KEY": key})})
    backend = TogetherBackend(load_manifest("together"), settings)
    files = list(backend.prepare(spec, data))
    state = backend.submit(spec, files, token=contract_job_token("t"))
    body = sent(together)
    assert (body["wandb_key"], body["wandb_project_name"], body["wandb_name"]) == (key, "p", "run")
    refused = {"error": {"message": f"wandb does not know {key}", "type": "invalid_request_error"}}
    together.fail("status", method="POST", path="/fine-tunes", status=400, body=refused)
    with pytest.raises(RejectedError, match=r"wandb does not know \[key\]") as caught:
        backend.submit(spec, files, token=contract_job_token("u"))
    for text in (state.model_dump_json(), str(caught.value), repr(caught.value.__cause__), repr(backend), caplog.text):
        assert key not in text
    other = spec.model_copy(update={"wandb": None})
    backend.submit(other, files, token=contract_job_token("v"))
    assert "wandb_key" not in sent(together), "only where the job reports there"


# --- what a model's limits rule out ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hyperparameters": Hyperparameters(epochs=21)}, "n_epochs is 21, at most 20"),
        ({"hyperparameters": Hyperparameters(batch_size=9)}, "batch_size is 9, at most 8"),
        ({"hyperparameters": Hyperparameters(learning_rate=0.5)}, "learning_rate is 0.5, at most 0.1"),
        ({"hyperparameters": Hyperparameters(learning_rate=1e-9)}, "learning_rate is 1e-09, at least 1e-08"),
        ({"hyperparameters": Hyperparameters(max_length=512)}, "max_seq_length is 512, at least 1,024"),
        ({"hyperparameters": Hyperparameters(max_length=200_000)}, "max_seq_length is 200,000, at most 131,072"),
        ({"hyperparameters": Hyperparameters(lora_rank=128)}, "lora_r is 128, at most 64"),
        ({"hyperparameters": Hyperparameters(lora_rank=128, epochs=99)}, "n_epochs is 99.*lora_r is 128"),
        ({"provider_options": {"n_checkpoints": 500}}, "n_checkpoints is 500, at most 100"),
        ({"provider_options": {"lora_trainable_modules": "w_up"}}, "has w_up, the model has q_proj"),
        ({"provider_options": {"train_vision": True}}, "sees no images"),
        ({"model": "openai/gpt-oss-20b", "adapter": Adapter.FULL}, "adapter full.*takes lora"),
    ],
)
def test_limits_are_kept_before_a_file_is_sent(
    together: TogetherEmulator, connect: Callable[..., Any], data: PreparedData, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(UnsupportedError, match=words):
        list(connect(together).prepare(spec_of(data, **change), data))
    assert {item.path for item in together.log} == {"/v1/fine-tunes/models/limits"}


def test_batch_of_pairs_has_a_limit_of_its_own(
    together: TogetherEmulator, connect: Callable[..., Any], pairs: PreparedData
) -> None:
    spec = spec_of(pairs, method=Method.DPO, hyperparameters=Hyperparameters(batch_size=8))
    with pytest.raises(UnsupportedError, match="batch_size is 8, at most 4"):
        list(connect(together).prepare(spec, pairs))


def test_unknown_model_is_told_with_the_nearest(
    together: TogetherEmulator, connect: Callable[..., Any], data: PreparedData
) -> None:
    with pytest.raises(ModelNotOfferedError, match="Qwen/Qwen3.5-4B") as caught:
        list(connect(together).prepare(spec_of(data, model="Qwen/Qwen3.5-44B"), data))
    assert caught.value.nearest[0] == MODEL
    assert together.requests("POST", "/files") == []


def test_images_for_a_model_that_sees_none_are_refused(
    together: TogetherEmulator, connect: Callable[..., Any], tmp_path: Path, data: PreparedData
) -> None:
    plain = json.loads(data.training.path.read_text().splitlines()[0])
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    seen = {"messages": [{"role": "user", "content": [image]}, {"role": "assistant", "content": "a"}]}
    spoken = {"messages": [{"role": "user", "content": 'what is "image_url"?'}, *plain["messages"][-1:]]}
    file = PreparedData(training=write_contract_rows(tmp_path / "images.jsonl", [plain, spoken, seen], "together"))
    with pytest.raises(UnsupportedError, match="does not support vision, and record 3"):
        list(connect(together).prepare(spec_of(file), file))
    words = PreparedData(training=write_contract_rows(tmp_path / "words.jsonl", [plain, spoken], "together"))
    assert list(connect(together).prepare(spec_of(words), words)), "a word in a text is no image"


def test_account_that_may_not_start_the_job_is_told_before_money(
    together: TogetherEmulator, connect: Callable[..., Any], data: PreparedData
) -> None:
    backend = connect(together)
    together.user_limit = 1.0
    files = list(backend.prepare(spec_of(data), data))
    with pytest.raises(QuotaError, match=r"\$4.00 is more than this account's limit of \$1.00") as caught:
        backend.submit(spec_of(data), files, token=contract_job_token("t"))
    assert not caught.value.retryable
    assert together.jobs_created == 0


def test_without_packing_the_quote_is_of_padded_rows(
    together: TogetherEmulator, connect: Callable[..., Any], data: PreparedData
) -> None:
    backend = connect(together)
    spec = spec_of(data, provider_options={"packing": False}, hyperparameters=Hyperparameters(max_length=65_536))
    dataset = spec.model_copy(update={"dataset": data.training.path})
    quote = backend.quote(dataset, list(backend.prepare(dataset, data)))
    assert quote.authority == "manifest" and "assumes packing" in quote.explanation
    assert f"{12 * 65_536:,} tokens" in quote.explanation


# --- starting from a checkpoint, stopping early ----------------------------------------------------------------------


def test_training_goes_on_from_a_checkpoint(
    together: TogetherEmulator, connect: Callable[..., Any], data: PreparedData
) -> None:
    backend = connect(together)
    full = spec_of(data, adapter=Adapter.FULL)
    files = list(backend.prepare(full, data))
    parent = backend.submit(full, files, token=contract_job_token("parent")).remote_id
    together.advance(3600)
    step = backend.checkpoints(parent)
    spec = spec_of(data, from_checkpoint=f"{parent}:{step[-1].step}")
    state = backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token("child"))
    body = sent(together)
    assert body["from_checkpoint"] == f"{parent}:{step[-1].step}"
    assert "model" not in body and "training_type" not in body, "the checkpoint says both"
    assert state.details["from_checkpoint"] == body["from_checkpoint"]
    assert state.hyperparameters["training_type"]["type"] == "Full", "inherited over there"
    assert backend.quote(spec, files).authority == "provider"
    assert "from_checkpoint" in together.requests("POST", "/fine-tunes/estimate-price")[-1].request_json()
    ranked = spec.model_copy(update={"hyperparameters": Hyperparameters(lora_rank=8)})
    backend.submit(ranked, files, token=contract_job_token("ranked"))
    assert sent(together)["training_type"]["lora_r"] == 8, "a rank that is asked for is never left out"


@pytest.mark.parametrize("way", ["{id}", "{id}:{step}", "{name}"])
def test_training_goes_on_only_from_a_job_of_the_same_model(
    together: TogetherEmulator, connect: Callable[..., Any], data: PreparedData, way: str
) -> None:
    backend, other = connect(together), "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"
    parent = spec_of(data, model=other)
    files = list(backend.prepare(parent, data))
    id = backend.submit(parent, files, token=contract_job_token("parent")).remote_id
    together.advance(3600)
    start = way.format(id=id, step=backend.checkpoints(id)[-1].step, name=backend.fetch(id).tuned_model)
    uploads = len(together.requests("POST", "/files"))
    spec = spec_of(data, from_checkpoint=start, budget=5.0)
    for call in (
        lambda: list(backend.prepare(spec, data)),
        lambda: backend.submit(spec, files, token=contract_job_token("child")),
    ):
        with pytest.raises(ConfigError, match=f"was tuned from {other}, not from {MODEL}; give --model {other}"):
            call()
    assert together.jobs_created == 1 and len(together.requests("POST", "/files")) == uploads


def test_early_stop_is_told_with_its_step(
    together: TogetherEmulator, connect: Callable[..., Any], with_validation: PreparedData
) -> None:
    together.pace = 60
    backend = connect(together)
    assert with_validation.validation is not None
    spec = spec_of(
        with_validation,
        validation=with_validation.validation.path,
        hyperparameters=Hyperparameters(epochs=8, batch_size=2),
        provider_options={"early_stopping_enabled": True, "early_stopping_min_delta": 5.0},
    )
    together.pace = 0.01
    files = list(backend.prepare(spec, with_validation))
    state = backend.submit(spec, files, token=contract_job_token("t"))
    assert sent(together)["n_evals"] == 8
    together.advance(3600)
    state = backend.fetch(state.remote_id)
    assert state.status is JobStatus.SUCCEEDED and state.details["early_stopped"] is True
    total = together.jobs[state.remote_id].total_steps
    assert state.progress.step == state.details["early_stopped_at_step"] < total
    assert state.details["early_stopping_best_step"] < state.details["early_stopped_at_step"]
    assert "early_stopped" in [event.type for event in backend.events(state.remote_id)]
    assert max(point.step for point in backend.metrics(state.remote_id)) == state.progress.step


def test_early_stopping_gets_the_evaluations_that_it_needs(
    together: TogetherEmulator, connect: Callable[..., Any], with_validation: PreparedData
) -> None:
    backend = connect(together)
    assert with_validation.validation is not None
    spec = spec_of(
        with_validation,
        validation=with_validation.validation.path,
        provider_options={"early_stopping_enabled": True, "early_stopping_patience": 3},
    )
    backend.submit(spec, list(backend.prepare(spec, with_validation)), token=contract_job_token("t"))
    assert sent(together)["n_evals"] == 5, "a baseline, one to warm up, three of patience"


# --- a refused file --------------------------------------------------------------------------------------------------


def test_refusal_of_a_file_names_the_line_of_the_users_own(
    together: TogetherEmulator, connect: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CSV with a heading and a cell of two lines: the third record of the prepared file stands elsewhere in it."""
    from tuneport.data.conversion.prepare import prepare_dataset

    rows = 'instruction,output\nq1,"a1\nb1"\nq2,a2\nq3,a3\n'
    (tmp_path / "mine.csv").write_text(rows)
    file = prepare_dataset(tmp_path / "mine.csv", "together", tmp_path / "store")
    data, backend = PreparedData(training=file), connect(together)
    spec = TuneSpec(model=MODEL, dataset=tmp_path / "mine.csv")

    def refuse(rows: Any) -> str:
        from tuneport.testing.emulators.datasets import EmulatedDataError

        raise EmulatedDataError("Line 3: `messages[1]` must contain a `role` field")

    monkeypatch.setattr("tuneport.testing.emulators.together.files.apply_emulated_together_rules", refuse)
    with pytest.raises(DatasetError) as caught:
        list(backend.prepare(spec, data))
    assert (caught.value.path, caught.value.field) == (str(tmp_path / "mine.csv"), "messages[1]")
    assert caught.value.line == 5
    assert "role" in caught.value.rule and "correct that record" in caught.value.fix
    (tmp_path / "mine.csv").write_text(rows.replace("q3", "another"))
    with pytest.raises(DatasetError) as caught:
        list(backend.prepare(spec, data))
    assert (caught.value.path, caught.value.line) == (str(file.path), 3), "the dataset has changed: only this is sure"
