"""What is written passes the checks of those who read it, whatever was lost on the way there.

OpenAI's are its published line schemas, Together's its client's `check_file` and the stricter rules that its server
has, TRL's its own functions that tell, format and split datasets.
"""

from __future__ import annotations

import functools
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from tests.data.formats.test_round_trips import records
from tests.support.folders import FIXTURES, SHARED
from tuneport.data.conversion.convert import convert
from tuneport.data.dataset import Dataset
from tuneport.data.formats import load_dataset_format
from tuneport.data.rows.records import Message, PlainText, Preference, PromptCompletion, Record
from tuneport.errors import DatasetError
from tuneport.testing.emulators.datasets import apply_emulated_together_rules

jsonschema = pytest.importorskip("jsonschema", reason="the line schemas need jsonschema")
yaml = pytest.importorskip("yaml", reason="the line schemas are YAML")
quick = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
REAL = [
    "alpaca_en_demo.json",
    "glaive_toolcall_en_demo.json",
    "dpo_en_demo.json",
    "toy_chat_fine_tuning.jsonl",
    "gpt_tokens_fine-tuning-data.jsonl",
]


def written(format: str, record: Record) -> dict[str, Any] | None:
    row, _ = load_dataset_format(format).write_format_row(record)
    return None if row is None else json.loads(msgspec.json.encode(row))


def converted(source: Path, target: str, folder: Path) -> Path:
    """The file in that format, whatever it loses."""
    return convert(source, target, folder / f"{source.stem}.{target}.jsonl", allow_loss=True).output


# --- OpenAI ----------------------------------------------------------------------------------------------------------


@functools.cache
def line_schema(name: str) -> Any:
    path = SHARED / "specs" / "openai_dataset_line_schemas.yaml"
    if not path.is_file():
        pytest.skip(f"the line schemas are not at {path} (set TUNEPORT_SHARED)")
    document = _nullable(yaml.safe_load(path.read_text(encoding="utf-8")))
    pair = document["components"]["schemas"]["FineTunePreferenceRequestInput"]["properties"]
    for key in ("preferred", "non_preferred"):  # the guide and the API say output where the schema says completion
        pair[f"{key}_output"] = pair.pop(f"{key}_completion")
    return jsonschema.Draft202012Validator({"$ref": f"#/components/schemas/{name}", **document})


def _nullable(value: Any) -> Any:
    """OpenAPI 3.0's `nullable`, which JSON schema does not know, as a choice with null."""
    if isinstance(value, list):
        return [_nullable(item) for item in value]
    if not isinstance(value, dict):
        return value
    plain = {key: _nullable(item) for key, item in value.items() if key != "nullable"}
    return {"anyOf": [{"type": "null"}, plain]} if value.get("nullable") is True else plain


def developers_as_system(record: Record) -> None:
    """The schemas are older than the role developer, which the API has."""
    for name in ("messages", "context"):
        for message in getattr(record, name, []):
            message.role = "system" if message.role == "developer" else message.role


@quick
@given(record=records)
def test_openai_rows_match_the_line_schemas(record: Record) -> None:
    developers_as_system(record)
    for format, name in (
        ("openai", "FineTuneChatRequestInput"),
        ("openai-preference", "FineTunePreferenceRequestInput"),
        ("prompt-completion", "FineTuneCompletionRequestInput"),
    ):
        row = written(format, record)
        if row is not None:
            line_schema(name).validate(row)


def test_the_line_schemas_refuse_what_is_wrong() -> None:
    """So the test above can fail."""
    answer = {"role": "assistant", "content": "b"}
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": {}}}
    valid = line_schema("FineTuneChatRequestInput").is_valid
    assert valid({"messages": [{"role": "user", "content": "a"}, answer]})
    assert not valid({"messages": [{"role": "user"}, answer]})
    assert not valid({"messages": [{**answer, "weight": 0.5}]})
    assert not valid({"messages": [{**answer, "tool_calls": [call]}]})
    assert not valid({"messages": [{"role": "tool", "content": "x"}, answer]})


@pytest.mark.parametrize("name", REAL)
def test_real_files_match_the_line_schemas(shared_data: Path, tmp_path: Path, name: str) -> None:
    target = "openai-preference" if name.startswith("dpo") else "openai"
    schema = "FineTunePreferenceRequestInput" if name.startswith("dpo") else "FineTuneChatRequestInput"
    for line in converted(shared_data / name, target, tmp_path).read_bytes().splitlines():
        line_schema(schema).validate(json.loads(line))


# --- Together --------------------------------------------------------------------------------------------------------


def check_together_row(row: dict[str, Any]) -> str:
    """The emulator's rules, which are those of Together's client until version 2; and those on images and reasoning."""
    form = apply_emulated_together_rules([row])
    messages = row.get("messages") or row.get("input", {}).get("messages", [])
    images = 0
    for message in messages:
        assert message["role"] == "assistant" or not message.keys() & {"reasoning", "reasoning_content", "tool_calls"}
        for part in message["content"] if isinstance(message.get("content"), list) else ():
            images += part["type"] == "image_url"
            assert part["type"] == "text" or part["image_url"]["url"].startswith("data:image/")
            assert message["role"] == "user"
    assert images <= 10
    return form


@quick
@given(record=records)
def test_together_rows_keep_the_stricter_rules(record: Record) -> None:
    row = written("together", record)
    if row is not None:
        forms = {Preference: "preference_openai", PromptCompletion: "instruction", PlainText: "general"}
        assert check_together_row(row) == forms.get(type(record), "conversation")


@pytest.mark.parametrize("name", REAL)
def test_real_files_pass_together(shared_data: Path, tmp_path: Path, name: str) -> None:
    check_file = pytest.importorskip("together.lib.utils.files").check_file
    path = converted(shared_data / name, "together", tmp_path)
    report = check_file(path)
    assert report["is_check_passed"], report["message"]
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert report["num_samples"] == len(rows)
    assert len({check_together_row(row) for row in rows}) == 1


def test_eleven_images_are_ten_for_together() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    turns = [{"role": "user", "content": [image] * 6}, {"role": "assistant", "content": "a"}] * 2
    record = load_dataset_format("openai").read_format_row(json.dumps({"messages": turns}).encode())
    row, lost = load_dataset_format("together").write_format_row(record)
    assert row is not None and check_together_row(row) == "conversation"
    assert [loss.reason for loss in lost] == ["there are 10 images at most; more are left out"] * 2


# --- TRL -------------------------------------------------------------------------------------------------------------


@functools.cache
def tokenizer() -> Any:
    """A vocabulary of bytes and the chat template that TRL trains Qwen 3 with, which renders tools and calls."""
    import trl
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()))
    folder = Path(trl.__file__).parent / "chat_templates"
    fast.chat_template = (folder / "qwen3_training.jinja").read_text(encoding="utf-8")
    return fast


def rendered(row: dict[str, Any]) -> dict[str, Any]:
    """The row as TRL makes text of it; raises where TRL refuses it."""
    from trl.data_utils import apply_chat_template, is_conversational, maybe_extract_prompt

    row = maybe_extract_prompt(row)
    if not is_conversational(row):
        return row
    known = ("messages", "prompt", "completion", "chosen", "rejected", "label")
    return apply_chat_template({k: row[k] for k in known if k in row}, tokenizer(), tools=row.get("tools"))


needs_trl = pytest.mark.skipif(find_spec("trl") is None, reason="the extra `local` is not installed")


@needs_trl
@quick
@given(record=records)
def test_trl_formats_the_rows(record: Record) -> None:
    for message in (m for name in ("messages", "context", "chosen", "rejected") for m in getattr(record, name, [])):
        for call in message.tool_calls:
            call.arguments = '{"a":  1}'
    if isinstance(getattr(record, "messages", None), list) and record.messages[-1].role == "system":  # type: ignore[union-attr]
        return
    row = written("trl", record)
    if row is None:
        return
    out = rendered(row)
    if isinstance(record, PlainText):
        assert out["text"] == record.text
    elif "messages" in row:
        assert set(out) == {"text"}
        assert out["text"].count("<tool_call>\n") >= sum(len(m.get("tool_calls", ())) for m in row["messages"])
    else:
        assert {"prompt"} < set(out) and not set(out) & {"messages"}


@needs_trl
@pytest.mark.parametrize("name", REAL)
def test_trl_reads_and_formats_real_files(shared_data: Path, tmp_path: Path, name: str) -> None:
    """Through `load_dataset`, as a trainer gets them: no key of one row's tools appears in another's."""
    from datasets import load_dataset
    from trl.data_utils import unpair_preference_dataset

    path = converted(shared_data / name, "trl", tmp_path)
    loaded = load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert len(loaded) == len(rows)
    for row, read in list(zip(rows, loaded, strict=True))[:60]:
        assert rendered(row) == rendered(read)
    if "chosen" in rows[0]:
        assert len(unpair_preference_dataset(loaded.select(range(20)))) == 40


@needs_trl
def test_trl_agrees_on_the_prompt_of_a_pair() -> None:
    """Its extract_prompt and `trl`'s reader split an implicit prompt at the same place."""
    from trl.data_utils import extract_prompt

    context = [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}]
    row = {key: [*context, {"role": "assistant", "content": key}] for key in ("chosen", "rejected")}
    record = load_dataset_format("trl").read_format_row(json.dumps(row).encode())
    assert isinstance(record, Preference)
    assert written("trl", record) == extract_prompt(row)
    text = {"chosen": "The sky is blue.", "rejected": "The sky is green."}
    record = load_dataset_format("trl").read_format_row(json.dumps(text).encode())
    assert isinstance(record, Preference)
    sides = extract_prompt(text)
    assert record.context == [Message("user", sides["prompt"])]
    assert [record.chosen[0].content, record.rejected[0].content] == [sides["chosen"], sides["rejected"]]


# --- the project's own rows ------------------------------------------------------------------------------------------


@needs_trl
def test_the_fixtures_pass_everywhere(tmp_path: Path) -> None:
    for source in sorted((FIXTURES / "datasets").glob("*.jsonl")):
        for line in converted(source, "together", tmp_path).read_bytes().splitlines()[:20]:
            check_together_row(json.loads(line))
        for line in converted(source, "trl", tmp_path).read_bytes().splitlines()[:20]:
            rendered(json.loads(line))
        try:
            path = converted(source, "openai", tmp_path)
        except DatasetError:
            assert Dataset(source).format == "text"
            continue
        for line in path.read_bytes().splitlines()[:20]:
            line_schema("FineTuneChatRequestInput").validate(json.loads(line))
