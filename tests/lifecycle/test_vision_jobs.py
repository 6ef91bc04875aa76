"""Pictures go to the models that take them, from the dataset to the tuned model."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

import tuneport
from tests.support.emulated import LeadTo
from tests.support.rows import write
from tuneport.errors import DatasetError, TuneportError
from tuneport.testing.emulators import OpenAIEmulator, TogetherEmulator

PNG = b"\x89PNG\r\n\x1a\n" + bytes(24)
EMULATORS: dict[str, Any] = {"openai": OpenAIEmulator, "together": TogetherEmulator}
VISION = {"openai": "gpt-4o-2024-08-06", "together": "Qwen/Qwen3-VL-8B-Instruct"}
BLIND = {"openai": "gpt-4.1-mini", "together": "llama-3.1-8b-instruct"}


def llava(number: int, image: str) -> dict[str, Any]:
    turns = [{"from": "human", "value": f"<image>\nWhich animal is number {number}?"}, {"from": "gpt", "value": "cat"}]
    return {"id": str(number), "image": image, "conversations": turns}


def uploaded(emulator: Any) -> list[dict[str, Any]]:
    """Return the rows that the provider was sent."""
    files = [file.content for file in emulator.files.values()] if emulator.name == "together" else []
    (content,) = files or [each for each in emulator.contents.values() if each.startswith(b"{")]
    return [json.loads(line) for line in content.splitlines()]


def shown(row: dict[str, Any]) -> list[str]:
    parts = row["messages"][0]["content"]
    return [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]


@pytest.mark.parametrize("backend", ["openai", "together"])
def test_a_job_with_pictures_runs_where_they_are_taken(tmp_path: Path, lead_to: LeadTo[Any], backend: str) -> None:
    emulator = lead_to(EMULATORS[backend](pace=0.01))
    url = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(PNG)
    data = write(tmp_path / "llava.jsonl", [llava(number, "pictures/a.png") for number in range(12)])
    asked: dict[str, Any] = {"backend": backend, "confirm": False, "anyway": True}
    with pytest.raises(TuneportError, match="takes no images, and 12 rows show some; take a model that does"):
        tuneport.submit(data, model=BLIND[backend], **asked)
    with pytest.raises(DatasetError, match="12 of 12 records show pictures by a path.*--inline-images"):
        tuneport.submit(data, model=VISION[backend], **asked)
    job = tuneport.submit(data, model=VISION[backend], inline_images=True, **asked)
    job.wait()
    assert job.status == "succeeded"
    assert [shown(row) for row in uploaded(emulator)] == [[url]] * 12
    assert any("12 pictures, 384 B, read into the rows" in event.message for event in job.events())


def test_pictures_are_found_where_the_whole_dataset_is(tmp_path: Path, lead_to: LeadTo[Any]) -> None:
    """The rows that are trained on are a file of their own, elsewhere, once some are held out."""
    lead_to(OpenAIEmulator(pace=0.01))
    (tmp_path / "a.png").write_bytes(PNG)
    data = write(tmp_path / "llava.jsonl", [llava(number * 7919, "a.png") for number in range(24)])
    asked: dict[str, Any] = {"backend": "openai", "inline_images": True}
    proposal = tuneport.propose(data, model=VISION["openai"], validation=0.25, **asked)
    assert proposal.data.validation is not None
    for file in (proposal.data.training, proposal.data.validation):
        rows = [json.loads(line) for line in file.path.read_text().splitlines()]
        assert rows and all(shown(row) for row in rows)
