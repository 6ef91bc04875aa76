"""The cheap route, all of it: an adapter is downloaded from the emulator, loaded with PEFT, and asked here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.emulated import KEYS, settings_for
from tests.support.tiny import tiny_model
from tuneport.backends import open_backend
from tuneport.backends.local.adapters import find_local_adapter_base
from tuneport.cli.main import main
from tuneport.errors import ConfigError
from tuneport.settings import Settings
from tuneport.testing.contract import contract_job_token, prepared_chats
from tuneport.testing.emulators import TogetherEmulator
from tuneport.types import TuneSpec

QUESTION = [{"role": "user", "content": "apple 1"}]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A LoRA adapter of the tiny model as PEFT saves one, with weights that change what it says."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    config = LoraConfig(r=4, lora_alpha=64, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(str(folder))
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_downloaded_adapter_answers_here(
    together: TogetherEmulator, settings: Settings, base: Path, adapter: dict[str, bytes], tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    together.weights["adapter"] = adapter
    remote = open_backend("together", settings_for("together", together.base_url, key=KEYS["together"]))
    data = prepared_chats(tmp_path)
    spec = TuneSpec(model="Qwen/Qwen3.5-4B", dataset=data.training.path)
    remote_id = remote.submit(spec, list(remote.prepare(spec, data)), token=contract_job_token("t")).remote_id
    together.advance(3600)
    folder = remote.download(remote_id, tmp_path / "my.adapter")
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)

    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(base)
    tuned = PeftModel.from_pretrained(plain, str(folder))
    assert any("lora_A" in name for name in tuned.state_dict())

    local = open_backend("local", settings)
    options = {"max_tokens": 8, "temperature": 0.0}
    before, after = local.complete(str(base), QUESTION, **options), local.complete(str(folder), QUESTION, **options)
    assert after.text and after.text != before.text
    assert local.complete(str(base), QUESTION, **options).text == before.text, "the base is still to be had"
    local.close()

    monkeypatch.setenv("TUNEPORT_BACKEND", "local")
    assert main(["chat", str(folder), "apple 1", "--max-tokens", "8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["text"] == after.text


def test_base_is_found_by_the_providers_name_for_it(tmp_path: Path, settings: Settings) -> None:
    """Together's id is not the hub's: the catalogue knows which weights it means."""
    folder, there = tmp_path / "adapter", settings.home / "models" / "meta-llama--llama-3.1-8b-instruct"
    for path in (folder, there):
        path.mkdir(parents=True)
    (there / "config.json").write_text("{}")
    (there / "model.safetensors").write_bytes(b"")
    config = {"base_model_name_or_path": "/data/models/of/somebody/else"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    receipt = {"model": "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"}
    (folder / "tuneport.json").write_text(json.dumps(receipt))
    assert find_local_adapter_base(folder, home=settings.home).folder == there
    (there / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"base model of the adapter in .* is not here"):
        find_local_adapter_base(folder, home=settings.home)
    (folder / "adapter_config.json").write_text("not json")
    with pytest.raises(ConfigError, match="cannot be read"):
        find_local_adapter_base(folder, home=settings.home)
