"""Preview shows what trains: the same tokens, the same loss, the same file."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.support.rows import chat, write
from tests.support.tiny import make_run, preference_rows, tiny_model
from tuneport.cli.commands.preview import print_preview
from tuneport.data.conversion.prepare import prepare_dataset
from tuneport.errors import ConfigError, DatasetError, ModelNotOfferedError, UnsupportedError
from tuneport.workflows import preview as module
from tuneport.workflows.preview import Preview, preview

CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny", context=400)


def printed(made: Preview, *, terminal: bool = False, tokens: bool = False) -> str:
    screen = Console(file=io.StringIO(), width=80, force_terminal=terminal, highlight=False)
    print_preview(made, tokens=tokens, console=screen)
    return screen.file.getvalue()  # type: ignore[attr-defined]


def test_it_shows_the_tokens_that_the_trainer_trains_on(tiny: Path, tmp_path: Path) -> None:
    rows = [chat("Hi", "Hello", "Bye", "So long", system="Be brief."), chat("One?", "Zwei – drei 🙂")]
    data = write(tmp_path / "train.jsonl", [{**row, "id": 7} for row in rows])
    made = preview(data, model=str(tiny), backend="local")

    from tuneport.data.tokens.tokenizer import training_template_renderer
    from tuneport.train.recipe import _rendered
    from tuneport.train.run.run_folder import TrainingRunFolder

    prepared = prepare_dataset(data, "openai", tmp_path / "files")
    run = TrainingRunFolder(make_run(tmp_path, tiny, prepared.path))
    trained = _rendered(training_template_renderer(tiny, None), run.training, run.spec.method)
    for shown, expected in zip(made.rows, trained, strict=True):
        assert [token for segment in shown.segments for token in segment.ids] == expected.input_ids
        in_loss = [token for segment in shown.segments if segment.kind == "trained" for token in segment.ids]
        assert in_loss == [label for label in expected.labels if label != -100]
    assert made.rows[0].segments[1].text == "Hello<|im_end|>"
    assert made.rows[1].segments[1].text == "Zwei – drei 🙂<|im_end|>"
    assert made.trained_tokens == sum(row.trained_tokens for row in trained)
    assert made.tokens == sum(len(row.input_ids) for row in trained)
    assert made.left_out == ("id",) and made.complete and made.records == 2


def test_it_shows_the_loss_where_an_option_puts_it(tiny: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "train.jsonl", [chat("Hi", "Hello", "Bye", "So long")])
    made = preview(data, model=str(tiny), backend="local", loss_on="last")
    assert [segment.text for segment in made.rows[0].segments if segment.kind == "trained"] == ["So long<|im_end|>"]
    with pytest.raises(UnsupportedError, match="decides itself what the loss is on"):
        preview(data, model="gpt-4.1-mini", backend="openai", loss_on="last")


def test_questions_to_be_graded_are_shown_as_they_are_asked(tiny: Path, tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "2 + 2?"}], "answer": "4"}
    made = preview(write(tmp_path / "q.jsonl", [row]), model=str(tiny), backend="local")
    [segment] = made.rows[0].segments
    assert segment.kind == "context" and segment.text.endswith("2 + 2?<|im_end|>\n<|im_start|>assistant\n")
    assert made.trained_tokens == 0 and made.tokens == len(segment.ids)


def test_a_message_of_weight_zero_is_context(tiny: Path, tmp_path: Path) -> None:
    row = chat("Hi", "unseen", "Bye", "seen")
    row["messages"][1]["weight"] = 0
    made = preview(write(tmp_path / "train.jsonl", [row]), model=str(tiny), backend="local")
    assert [segment.text for segment in made.rows[0].segments if segment.kind == "trained"] == ["seen<|im_end|>"]
    text = printed(made)
    assert "«seen<|im_end|>»" in text and "«unseen" not in text


def test_what_is_cut_is_shown(tiny: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "train.jsonl", [chat("Hi", "long " * 200), chat("Hi", "short")])
    made = preview(data, model=str(tiny), backend="local")
    assert made.limit == 400 and made.rows[0].tokens == 400 and made.rows[0].cut > 600 and made.rows[1].cut == 0
    assert f"{made.rows[0].cut:,} tokens cut off" in printed(made)
    assert any("line 1 by" in note for note in made.notes)
    assert preview(data, model=str(tiny), backend="local", max_length=300).rows[0].tokens == 300


def test_pairs_show_both_answers(tiny: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "pairs.jsonl", preference_rows(2))
    made = preview(data, model=str(tiny), backend="local", rows=1)
    assert [segment.kind for segment in made.rows[0].segments] == ["context", "chosen", "rejected"]
    assert "chosen: «Hello!<|im_end|>»\nrejected: ‹Go away.<|im_end|>›" in printed(made)


def test_tools_that_the_template_lacks_are_told(tiny: Path, tmp_path: Path) -> None:
    row = chat("Weather?", "", "x", "Sunny")
    row["messages"][1:3] = [
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "sun"},
    ]
    made = preview(write(tmp_path / "train.jsonl", [row]), model=str(tiny), backend="local")
    assert '<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}' in made.rows[0].segments[1].text
    assert any("cannot show tools" in note for note in made.notes)


def test_colours_on_a_terminal_and_marks_elsewhere(tiny: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "train.jsonl", [chat("Hi \x1b[31m", "Hello")])
    made = preview(data, model=str(tiny), backend="local")
    plain, coloured = printed(made), printed(made, terminal=True)
    assert "«Hello<|im_end|>»" in plain and "\x1b" not in plain and "\\x1b[31m" in plain
    assert "«" not in coloured and "\x1b[1;32mHello" in coloured and "\x1b[31m" not in coloured
    tokens = printed(made, tokens=True)
    assert "trained   'H'" in tokens and "context   '<|im_start|>'" in tokens


def test_totals_of_a_long_file_are_those_of_its_beginning(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENDERED_RECORDS", 5)
    data = write(tmp_path / "train.jsonl", [chat(f"{number}", "x") for number in range(30)])
    made = preview(data, model=str(tiny), backend="local", rows=2)
    assert not made.complete and made.records == 5 and [row.line for row in made.rows] == [1, 2]
    later = preview(data, model=str(tiny), backend="local", rows=2, line=29)
    assert [row.line for row in later.rows] == [29, 30]
    assert "the 7 records looked at" in " ".join(printed(later).split())
    with pytest.raises(ConfigError, match="has nothing at line 31 or after it"):
        preview(data, model=str(tiny), backend="local", line=31)


def test_a_remote_backend_shows_the_file_that_is_uploaded(tmp_path: Path) -> None:
    rows = [{"instruction": f"Say {number}", "input": "", "output": "done"} for number in range(4)]
    data = write(tmp_path / "alpaca.jsonl", rows)
    made = preview(data, model="gpt-4.1-mini", rows=2)
    prepared = prepare_dataset(data, "openai", tmp_path / "files")
    assert made.backend == "openai" and not made.rendered
    assert [row.uploaded for row in made.rows] == prepared.path.read_text().splitlines()[:2]
    assert made.tokens == prepared.trained_tokens and made.records == 4
    assert f"{made.tokens} tokens billed each epoch" in printed(made)


def test_the_published_bill(shared_data: Path) -> None:
    made = preview(shared_data / "gpt_tokens_fine-tuning-data.jsonl", model="gpt-4.1-mini", backend="openai")
    assert made.low == made.tokens == made.high == 595


def test_a_count_with_another_vocabulary_is_an_estimate(tmp_path: Path) -> None:
    made = preview(
        write(tmp_path / "train.jsonl", [chat("Hi", "Hello")]), model="llama-3.1-8b-instruct", backend="together"
    )
    assert made.low < made.tokens < made.high and "own vocabulary" in made.notes[0]


def test_losses_are_shown_with_the_way_on(tmp_path: Path) -> None:
    asked = {"from": "human", "value": "Hi"}
    pair = {name: {"from": "gpt", "value": name} for name in ("chosen", "rejected")}
    rows = [{"conversations": [asked], **pair}, {"conversations": [asked, {"from": "gpt", "value": "Hello"}]}]
    made = preview(write(tmp_path / "pairs.jsonl", rows), model="gpt-4.1-mini", backend="openai")
    assert made.target_format == "openai-preference" and made.records == 1
    assert made.rows[0].uploaded and made.rows[1].uploaded is None
    text = " ".join(printed(made).split())
    assert "left out: record: there is no rejected answer" in text
    assert "`tuneport convert --to openai-preference --allow-loss`" in text


def test_what_would_stop_the_training_stops_the_preview(tiny: Path, tmp_path: Path) -> None:
    bad = write(tmp_path / "bad.jsonl", [chat("Hi", "Hello"), {"messages": "?"}])
    with pytest.raises(DatasetError) as caught:
        preview(bad, model=str(tiny), backend="local")
    assert caught.value.line == 2
    image = [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
    picture = chat("x", "A cat")
    picture["messages"][0]["content"] = image
    with pytest.raises(UnsupportedError, match="pictures.jsonl:1: .*image"):
        preview(write(tmp_path / "pictures.jsonl", [picture]), model=str(tiny), backend="local")
    with pytest.raises(ModelNotOfferedError):
        preview(write(tmp_path / "good.jsonl", [chat("Hi", "Hello")]), model="no-such-model")


def test_tokens_of_one_character_stand_together(tiny: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "train.jsonl", [chat("One?", "Zwei – 🙂 \ufffd!")])
    made = preview(data, model=str(tiny), backend="local")
    segment = made.rows[0].segments[1]
    assert "".join(segment.pieces) == segment.text and len(segment.pieces) == len(segment.ids)
    shown = printed(made, tokens=True)
    assert "'🙂'" in shown and shown.count("\ufffd") == 1


def test_columns_are_mapped_and_records_of_arrays_are_called_so(tiny: Path, tmp_path: Path) -> None:
    data = tmp_path / "faq.json"
    data.write_text(json.dumps([{"question": "a", "answer": "b" * 500}, {"question": "c", "answer": "d"}]))
    made = preview(data, model=str(tiny), backend="local", columns={"prompt": "question", "completion": "answer"})
    assert [row.at for row in made.rows] == ["record 1", "record 2"] and "record 2, " in printed(made)
    assert "record 1 by" in made.notes[-1]


def test_the_document(tiny: Path, tmp_path: Path) -> None:
    made = preview(write(tmp_path / "train.jsonl", [chat("Hi", "Hello")]), model=str(tiny), backend="local")
    document: dict[str, Any] = json.loads(json.dumps(made.as_dict()))
    segment = document["rows"][0]["segments"][1]
    assert segment["kind"] == "trained" and "".join(segment["pieces"]) == segment["text"] == "Hello<|im_end|>"


@pytest.mark.full
def test_the_demo_model(tmp_path: Path) -> None:
    data = write(tmp_path / "train.jsonl", [chat("Where is it?", "On its way.")])
    made = preview(data, model="smollm2-135m-instruct", backend="local")
    assert [segment.text for segment in made.rows[0].segments if segment.kind == "trained"] == ["On its way.<|im_end|>"]
