"""Weights on the model hub: the real client against an emulator of the hub's upload endpoints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hub import HubEmulator
from tuneport.cli.main import main
from tuneport.errors import AuthError, ConfigError, UnavailableError
from tuneport.lifecycle.hub import check_job_push, push_folder_to_hub
from tuneport.settings import Settings

pytest.importorskip("huggingface_hub", reason="pushing needs the hub's client")
TOKEN = "hf_0123456789abcdefghij"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubEmulator]:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(
        huggingface_hub.constants, "HF_HUB_DISABLE_XET", True
    )  # a wire of its own, behind the same client
    with HubEmulator(TOKEN) as emulator:
        monkeypatch.setenv("HF_ENDPOINT", emulator.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield emulator


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "README.md").write_text("---\nlicense: mit\n---\n\n# Mine\n")
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(bytes(range(256)) * 256)
    return folder


def test_a_folder_is_one_commit_to_a_private_repository(hub: HubEmulator, weights: Path, isolated: Path) -> None:
    settings = Settings.load(isolated)
    url = push_folder_to_hub(weights, "me/mine", settings)
    assert url.startswith(f"{hub.url}/me/mine/commit/") and hub.commits == 1 and hub.private == {"me/mine": True}
    files = {name: content for name, content in hub.files["me/mine"].items() if name != ".gitattributes"}
    assert files == {path.name: path.read_bytes() for path in weights.iterdir()}

    (weights / "README.md").write_text("changed")
    push_folder_to_hub(weights, "me/mine", settings)
    assert hub.files["me/mine"]["README.md"] == b"changed"
    assert sum(request.startswith("PUT") for request in hub.requests) == 1, "the weights were there already"


def test_what_cannot_be_pushed_is_one_line(
    hub: HubEmulator, weights: Path, isolated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="OWNER/NAME"):
        check_job_push("mine", Settings.load(isolated))
    monkeypatch.setenv("HF_TOKEN", "hf_another-0123456789")
    with pytest.raises(AuthError, match="right to write") as refused:
        push_folder_to_hub(weights, "me/mine", Settings.load(isolated))
    assert "\n" not in str(refused.value) and "hf_another" not in str(refused.value)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(AuthError, match="set HF_TOKEN"):
        push_folder_to_hub(weights, "me/mine", Settings.load(isolated))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UnavailableError) as unreachable:
        push_folder_to_hub(weights, "me/mine", Settings.load(isolated))
    assert "\n" not in str(unreachable.value)


def test_the_commands_ask_for_the_key_first(capsys: pytest.CaptureFixture[str], isolated: Path) -> None:
    Path("train.jsonl").write_text(
        '{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}\n'
    )
    submit = [
        "submit",
        "--yes",
        "--anyway",
        "train.jsonl",
        "--model",
        "m",
        "--backend",
        "local",
        "--push-to-hub",
        "me/mine",
        "--json",
    ]
    assert main(submit) == 2
    assert "needs --wait" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert main([*submit, "--wait"]) == 2
    assert "set HF_TOKEN" in json.loads(capsys.readouterr().out)["error"]["message"]
