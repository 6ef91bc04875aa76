"""Each hyperparameter has one name here, and on each backend its own word, or a refusal that names it.

`python -m tests.backends.test_hyperparameters` prints the table for `providers/README.md`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.folders import FIXTURES
from tuneport.backends import open_backend
from tuneport.backends.base import FineTuneBackend
from tuneport.backends.local.backend import LocalBackend
from tuneport.backends.openai.backend import OpenAIBackend
from tuneport.backends.together.backend import TogetherBackend
from tuneport.backends.together.request import DEFAULT_LEARNING_RATE, describe_together_options
from tuneport.errors import TuneportError, UnsupportedError
from tuneport.manifests import load_manifest
from tuneport.settings import Settings
from tuneport.testing.contract import contract_job_token, prepared_chats, write_contract_rows
from tuneport.testing.emulators import OpenAIEmulator, TogetherEmulator
from tuneport.testing.fake.backend import FakeBackend
from tuneport.types import Adapter, Auto, Hyperparameters, Method, PreparedData, TuneSpec

README = FIXTURES.parent / "providers" / "README.md"
BACKENDS: dict[str, type[FineTuneBackend]] = {
    "openai": OpenAIBackend,
    "together": TogetherBackend,
    "local": LocalBackend,
    "fake": FakeBackend,
}
MODELS = {"openai": "gpt-4.1-mini-2025-04-14", "together": "Qwen/Qwen3.5-4B", "local": "m", "fake": "m"}
ADAPTERS: list[Any] = ["auto", *Adapter]
KINDS = list(itertools.product(Method, ADAPTERS))
VALUES: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 4,
    "packing": False,
    "learning_rate": 2e-5,
    "learning_rate_multiplier": 1.5,
    "warmup_ratio": 0.1,
    "weight_decay": 0.01,
    "max_length": 2048,
    "lora_rank": 8,
    "lora_alpha": 16,
    "lora_dropout": 0.05,
    "virtual_tokens": 20,
    "beta": 0.2,
    "compute_multiplier": 1.5,
    "eval_interval": 5,
    "eval_samples": 2,
    "reasoning_effort": "low",
}
GRADER = {
    "type": "string_check",
    "name": "same",
    "input": "{{sample.output_text}}",
    "reference": "x",
    "operation": "eq",
}


def spec_of(backend: str, method: Method, adapter: Any, **hyperparameters: Any) -> TuneSpec:
    return TuneSpec(
        model=MODELS[backend],
        dataset=Path("train.jsonl"),
        method=method,
        adapter=adapter,
        hyperparameters=Hyperparameters(**hyperparameters),
        grader=GRADER if method is Method.RFT else None,
        reward="module:function" if method.takes_reward else None,
    )


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, settings: Settings) -> Iterator[FineTuneBackend]:
    opened = open_backend(request.param, settings)
    yield opened
    opened.close()


def runs(backend: FineTuneBackend, method: Method, adapter: Any) -> bool:
    """Whether it does that method with that adapter at all."""
    try:
        backend.check(spec_of(backend.name, method, adapter))
    except UnsupportedError:
        return False
    return True


def test_there_is_a_value_for_every_hyperparameter() -> None:
    assert VALUES.keys() == Hyperparameters.model_fields.keys()


def test_every_hyperparameter_is_taken_or_refused_by_its_name(backend: FineTuneBackend) -> None:
    refused, taken = set(), set()
    for method, adapter in KINDS:
        words = backend.hyperparameter_names(method, adapter)
        assert words.keys() <= Hyperparameters.model_fields.keys()
        if not runs(backend, method, adapter):
            continue
        for name, value in VALUES.items():
            spec = spec_of(backend.name, method, adapter, **{name: value})
            if name in words:
                backend.check(spec)
                taken.add(name)
            else:
                with pytest.raises(UnsupportedError, match=rf"\b{name}\b"):
                    backend.check(spec)
                refused.add(name)
            backend.check(spec_of(backend.name, method, adapter, **{name: "auto"}))
    assert taken and refused


@pytest.mark.parametrize("name", BACKENDS)
def test_the_manifest_has_the_names_that_the_code_has(name: str) -> None:
    # The router cannot import backends, so the names stand in the manifest, too.
    for method, adapter in KINDS:
        in_code = dict(BACKENDS[name].hyperparameter_names(method, adapter))
        if name == "fake":  # it takes everything, whatever the adapter
            continue
        if in_code:
            rules = load_manifest(name).training
            assert rules.names_for(method, Adapter.LORA if adapter == "auto" else adapter) == in_code, (method, adapter)


def test_azure_has_openais_names() -> None:
    assert load_manifest("azure").training.names == load_manifest("openai").training.names


def test_no_words_for_what_is_not_done_at_all(backend: FineTuneBackend) -> None:
    for method, adapter in KINDS:
        if backend.name != "fake" and not runs(backend, method, adapter):
            assert backend.hyperparameter_names(method, adapter) == {}


# --- as they go over the wire ---------------------------------------------------------------------------------------

PAIR = {
    "input": {"messages": [{"role": "user", "content": "Hi"}]},
    "preferred_output": [{"role": "assistant", "content": "Hello!"}],
    "non_preferred_output": [{"role": "assistant", "content": "What?"}],
}


def sent(backend: Any, emulator: Any, tmp_path: Path, spec: TuneSpec) -> dict[str, Any]:
    """The body of the request that creates a job of this spec."""
    emulator.pace = 0
    pairs = spec.method is Method.DPO
    data = (
        PreparedData(training=write_contract_rows(tmp_path / "pairs.jsonl", [PAIR] * 12))
        if pairs
        else prepared_chats(tmp_path)
    )
    backend.submit(spec, list(backend.prepare(spec, data)), token=contract_job_token(repr(spec)))
    path = "/fine_tuning/jobs" if emulator.name == "openai" else "/fine-tunes"
    body: dict[str, Any] = emulator.requests("POST", path)[-1].request_json()
    return body


@pytest.mark.parametrize("method", [Method.SFT, Method.DPO])
def test_openai_gets_each_under_its_own_word(
    openai: OpenAIEmulator, connect: Callable[..., Any], tmp_path: Path, method: Method
) -> None:
    backend = connect(openai)
    words = backend.hyperparameter_names(method, "auto")
    spec = spec_of("openai", method, "auto", **{name: VALUES[name] for name in words})
    kind = {Method.SFT: "supervised", Method.DPO: "dpo"}[method]
    body = sent(backend, openai, tmp_path, spec)
    assert body["method"][kind]["hyperparameters"] == {theirs: VALUES[ours] for ours, theirs in words.items()}


@pytest.mark.parametrize("adapter", [Adapter.LORA, Adapter.FULL])
@pytest.mark.parametrize("method", [Method.SFT, Method.DPO])
def test_together_gets_each_under_its_own_word(
    together: TogetherEmulator, connect: Callable[..., Any], tmp_path: Path, method: Method, adapter: Adapter
) -> None:
    backend = connect(together)
    words = dict(backend.hyperparameter_names(method, adapter))
    assert words.pop("learning_rate_multiplier") == words["learning_rate"]
    spec = spec_of("together", method, adapter, **{name: VALUES[name] for name in words})
    body = sent(backend, together, tmp_path, spec)
    # The SDK sorts some of its arguments into these two.
    flat = {**body["training_type"], **body["training_method"], **body}
    assert {theirs: flat[theirs] for theirs in words.values()} == {
        theirs: VALUES[ours] for ours, theirs in words.items()
    }
    scaled = sent(backend, together, tmp_path, spec_of("together", method, adapter, learning_rate_multiplier=1.5))
    assert scaled["learning_rate"] == pytest.approx(1.5 * DEFAULT_LEARNING_RATE)


@pytest.mark.parametrize("name", ["openai", "together"])
def test_auto_is_left_to_the_provider(
    name: str, request: pytest.FixtureRequest, connect: Callable[..., Any], tmp_path: Path
) -> None:
    emulator = request.getfixturevalue(name)
    body = sent(connect(emulator), emulator, tmp_path, spec_of(name, Method.SFT, "auto"))
    assert "auto" not in (body.get("n_epochs"), body.get("learning_rate"), body.get("max_seq_length"))
    if name == "openai":
        assert body["method"]["supervised"]["hyperparameters"] == {}


@pytest.mark.parametrize(
    ("name", "options", "wire"),
    [
        (
            "openai",
            {"integrations": [{"type": "wandb", "wandb": {"project": "p"}}], "a_field_of_tomorrow": {"deep": [1]}},
            {"integrations": [{"type": "wandb", "wandb": {"project": "p"}}], "a_field_of_tomorrow": {"deep": [1]}},
        ),
        (
            "together",
            {"n_checkpoints": 2, "packing": False, "gradient_accumulation_steps": 2, "max_grad_norm": 0.5},
            {"n_checkpoints": 2, "packing": False, "gradient_accumulation_steps": 2, "max_grad_norm": 0.5},
        ),
    ],
)
def test_provider_options_pass_the_rest_on(
    name: str,
    options: dict[str, Any],
    wire: dict[str, Any],
    request: pytest.FixtureRequest,
    connect: Callable[..., Any],
    tmp_path: Path,
) -> None:
    emulator = request.getfixturevalue(name)
    spec = spec_of(name, Method.SFT, "auto").model_copy(update={"provider_options": options})
    body = sent(connect(emulator), emulator, tmp_path, spec)
    assert {key: body[key] for key in wire} == wire


@pytest.mark.parametrize(
    ("name", "given", "meant"),
    [
        ("local", "preciison", "precision"),
        ("together", "n_checkpoint", "n_checkpoints"),
        ("azure", "training_type", "trainingType"),
    ],
)
def test_a_misspelt_option_is_told_what_was_meant(
    name: str, given: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEPORT_AZURE_BASE_URL", "http://127.0.0.1:1/openai/v1")
    spec = TuneSpec(
        model="m", dataset=FIXTURES / "datasets" / "support_intents.test.jsonl", provider_options={given: "1"}
    )
    with pytest.raises(TuneportError, match=rf"{given}.*; did you mean {meant}\?$"):
        open_backend(name, Settings.load()).check(spec)


def test_every_option_of_together_says_what_it_takes() -> None:
    told = describe_together_options()
    assert told["packing"] == "true or false: Whether to use packing for training"
    assert told["lr_scheduler_type"] == "linear or cosine: Learning rate scheduler type"
    assert told["train_on_inputs"].startswith("true, false or auto: ") and all(told.values())


# --- the table ------------------------------------------------------------------------------------------------------


def cell(backend: type[FineTuneBackend], name: str) -> str:
    """The backend's word, and for which methods and adapters, where not for all that it does."""
    kinds = [kind for kind in KINDS if backend.hyperparameter_names(*kind)]
    taken = [kind for kind in kinds if name in backend.hyperparameter_names(*kind)]
    if not taken:
        return "-"
    (word,) = {backend.hyperparameter_names(*kind)[name] for kind in taken}
    notes = []
    for position, all_of in ((0, Method), (1, Adapter)):
        done = [value for value in all_of if any(kind[position] == value for kind in kinds)]
        those = [value for value in done if any(kind[position] == value for kind in taken)]
        notes += [] if those == done else [", ".join(those)]
    text = "the same" if word == name else f"`{word}`"
    return f"{text} ({'; '.join(notes)})" if notes else text


def table() -> str:
    shown = [name for name in BACKENDS if name != "fake"]
    rows = [["ours", *shown], ["---"] * (len(shown) + 1)]
    rows += [[f"`{name}`", *(cell(BACKENDS[backend], name) for backend in shown)] for name in VALUES]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def test_readme_has_the_table_that_the_code_declares() -> None:
    assert table() in README.read_text(encoding="utf-8"), f"put this into {README.name}:\n{table()}"


def test_a_backend_written_for_the_earlier_name_still_answers() -> None:
    class Earlier(FakeBackend):
        @classmethod
        def words(cls, method: Method, adapter: Adapter | Auto) -> dict[str, str]:
            return {"epochs": "rounds"}

    assert Earlier.hyperparameter_names(Method.SFT, Adapter.LORA) == {"epochs": "rounds"}
    assert FakeBackend.words(Method.SFT, Adapter.LORA) == FakeBackend.hyperparameter_names(Method.SFT, Adapter.LORA)


if __name__ == "__main__":
    print(table())
