"""What is wrong with a model or a dataset: one line, the user's to mend, and nothing made of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny import chat_rows, lines_of, make_run, state_of, tiny_model, write_rows
from tuneport.train.__main__ import train_run_folder

QUESTION = {"role": "user", "content": "Where is it?"}
ANSWER = {"role": "assistant", "content": "On its way."}
PICTURE = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
BAD = {
    "no model": "is not on this machine",
    "no chat template": "no chat template",
    "no tokenizer": "no usable tokenizer",
    "another vocabulary": "they do not belong together; fetch the model again",
    "pickled weights": "cannot be loaded",
    "code of its own": "--option trust_remote_code=true",
    "all masked": "all have weight 0",
    "too long": "there is nothing to train on",
    "image": "holds an image, and local training reads text only",
    "no room": "GiB are free on cpu; use something smaller",
}


def prepared(what: str, folder: Path) -> tuple[str, list[dict[str, Any]]]:
    """A model and rows with the fault."""
    if what == "no model":
        return "nobody/nothing", chat_rows(4)
    model = tiny_model(folder, template=None) if what == "no chat template" else tiny_model(folder)
    rows = chat_rows(4)
    config = json.loads((model / "config.json").read_text())
    match what:
        case "no tokenizer":
            for path in model.glob("*token*"):
                path.unlink()
        case "another vocabulary":
            from transformers import LlamaConfig, LlamaForCausalLM

            LlamaForCausalLM(LlamaConfig.from_pretrained(model, vocab_size=40)).save_pretrained(model)
        case "pickled weights":
            (model / "model.safetensors").rename(model / "pytorch_model.bin")
            (model / "other.safetensors").write_bytes(b"")
        case "code of its own":
            config |= {"model_type": "its-own", "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}}
            (model / "config.json").write_text(json.dumps(config))
            (model / "own.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")
        case "all masked":
            rows = [{"messages": [QUESTION, ANSWER | {"weight": 0}]}]
        case "too long":
            rows = [{"messages": [QUESTION | {"content": "word " * 200}, ANSWER]}]
        case "image":
            rows = [*rows, {"messages": [QUESTION | {"content": PICTURE}, ANSWER]}]
    return str(model), rows


@pytest.mark.parametrize("what", BAD)
def test_it_is_one_line_and_nothing_is_made_of_it(what: str, home: Path, tmp_path: Path) -> None:
    model, rows = prepared(what, tmp_path / "model")
    folder = make_run(home, model, write_rows(tmp_path / "rows.jsonl", rows))
    if what == "no room":
        request = json.loads((folder / "run.json").read_text())
        request["memory"] = {"expected_gib": 10_000.0, "advice": "use something smaller"}
        (folder / "run.json").write_text(json.dumps(request))

    assert train_run_folder(folder) == 1
    error = state_of(folder)["error"]
    assert BAD[what] in error["message"] and "\n" not in error["message"], error
    assert error["fault"] == "user" and lines_of(folder / "events.jsonl")[-1]["level"] == "error"
    assert not (folder / "adapter").exists() and not list((folder / "checkpoints").glob("*"))
    assert not (tmp_path / "model" / "ran").exists()


def test_one_row_is_little_but_no_mistake(home: Path, model: Path, tmp_path: Path) -> None:
    """`check` says that it is too little."""
    folder = make_run(home, model, write_rows(tmp_path / "rows.jsonl", chat_rows(1)))
    assert train_run_folder(folder) == 0, state_of(folder)["error"]
    assert state_of(folder)["progress"]["step"] == 2 and (folder / "adapter" / "README.md").is_file()
