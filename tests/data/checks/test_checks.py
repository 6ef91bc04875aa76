"""Every check finds a planted defect and leaves clean data alone."""

from __future__ import annotations

import json
import random
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.folders import FIXTURES
from tests.support.rows import chat, write
from tuneport.data.checks import CheckReport
from tuneport.data.checks.dataset import contradictions, holdout
from tuneport.data.checks.gathering import run_row_checks
from tuneport.data.checks.near import near_duplicates as alike
from tuneport.data.checks.near.lookup import examples_at_lines
from tuneport.data.dataset import Dataset
from tuneport.data.tokens.tokenizer import TokenizerVocabulary
from tuneport.errors import ConfigError, DatasetError
from tuneport.workflows.check import check

NOUNS = "parcel lamp kettle sofa radio camera ladder carpet mirror drill fridge heater blender desk clock shelf".split()
VERBS = "arrived broke vanished leaked rattled stopped overheated faded cracked jammed sparked bent rusted tore".split()


def sentence(seed: int, words: int = 14) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice(NOUNS if index % 2 else VERBS) + str(draw.randrange(60)) for index in range(words))


def intents(count: int = 80, labels: str = "abcd") -> list[dict[str, Any]]:
    return [chat(sentence(i), f"label_{labels[i % len(labels)]}", system="Label it.") for i in range(count)]


def stories(count: int = 220) -> list[dict[str, Any]]:
    return [chat(sentence(i), sentence(1_000 + i, 30)) for i in range(count)]


def run(path: Path, rows: list[Any], **options: Any) -> CheckReport:
    return check(write(path / "train.jsonl", rows), **options)


def verdicts(report: CheckReport) -> dict[str, str]:
    return {finding.check: finding.verdict.value for finding in report.findings}


def complaints(report: CheckReport) -> dict[str, str]:
    return {check: verdict for check, verdict in verdicts(report).items() if verdict != "pass"}


ALWAYS = {"schema", "sample-size", "diversity", "consistency", "answers", "generated", "personal", "duplicates"}
ALWAYS |= {"contradictions", "classes", "hold-out", "lengths", "columns"}
"""Checks whose verdict a report has for any dataset; others may have come."""


def test_clean_data_passes_every_check(tmp_path: Path) -> None:
    held_out = write(tmp_path / "held_out.jsonl", [chat(sentence(i), "label_a") for i in range(5_000, 5_012)])
    for rows in (intents(), stories()):
        report = run(tmp_path, rows, validation=held_out, context=4096)
        assert not complaints(report) and ALWAYS <= verdicts(report).keys()
        assert report.ok and report.rows == len(rows) == report.tokens.rows
    assert report.classes is None and report.task == "style"


def test_the_demo_dataset_is_clean_and_does_not_leak() -> None:
    folder = FIXTURES / "datasets"
    report = check(folder / "support_intents.train.jsonl", validation=folder / "support_intents.test.jsonl")
    assert not complaints(report) and ALWAYS <= verdicts(report).keys()
    assert report.task == "classification" and set((report.classes or {}).values()) == {30}


def test_the_report_is_json(tmp_path: Path) -> None:
    document = json.loads(json.dumps(run(tmp_path, [*intents(), {"messages": []}]).as_dict()))
    assert document["format"]["format"] == "openai" and document["ok"] is False and document["rows"] == 81
    assert document["findings"][0]["evidence"] == [
        {"lines": [81], "at": "line 81", "text": "messages is empty; add the conversation's messages"}
    ]


def test_schema_problems_are_a_finding_and_the_rest_is_checked(tmp_path: Path) -> None:
    rows = [*intents(60), "{broken", {"messages": [{"role": "user", "content": 1}]}, *intents(80)[60:]]
    finding = run(tmp_path, rows).finding("schema")
    assert (finding.verdict, finding.count) == ("fail", 2)
    assert [each.lines for each in finding.evidence] == [(61,), (62,)]
    assert complaints(run(tmp_path, rows)) == {"schema": "fail", "hold-out": "warn"}


def test_pictures_that_are_read_are_told(tmp_path: Path) -> None:
    shown = {**chat("<image>What is it?", "A cat."), "images": ["a.jpg"]}
    finding = run(tmp_path, [shown, {**chat("a", "b"), "images": []}]).finding("schema")
    assert finding.verdict == "pass"
    assert finding.message == "all 2 records are in the format llamafactory, 1 of them with pictures"


def test_schema_counts_records_and_numbers_them_as_all_checks_do(tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    write(tmp_path / "all" / "a.jsonl", stories(120))
    wrong = {"messages": [{"role": "x", "content": 1}, {"role": "y", "content": 2}]}
    alpaca = {"instruction": "a", "input": "", "output": "b"}
    write(tmp_path / "all" / "b.jsonl", [chat(sentence(50), "b"), wrong, alpaca])
    report = check(tmp_path / "all")
    finding = report.finding("schema")
    assert finding.count == 2 and finding.message.startswith("2 records not in the format openai (")
    assert [each.lines for each in finding.evidence] == [(123,), (122,)]
    assert report.flagged["schema.invalid"] == [122, 123]


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        check(tmp_path / "no.jsonl")
    with pytest.raises(ConfigError, match="the task 'poetry' is not known; known tasks: classification, extraction"):
        run(tmp_path, intents(), task="poetry")


@pytest.mark.parametrize(
    ("answer", "task", "minimum"),
    [
        (lambda i: ("yes", "no")[i % 2], "classification", 50),
        (lambda i: json.dumps({"name": sentence(i), "count": i}), "extraction", 100),
        (lambda i: f"```python\nprint({i})\n```", "code", 1_000),
        (lambda i: sentence(i, 20), "style", 200),
    ],
)
def test_enough_by_the_guessed_task(tmp_path: Path, answer: Any, task: str, minimum: int) -> None:
    report = run(tmp_path, [chat(sentence(9_000 + i), answer(i)) for i in range(40)])
    finding = report.finding("enough")
    assert (report.task, finding.verdict) == (task, "fail")
    assert f"fewer than the minimum of {minimum:,}" in finding.message


def test_enough_for_the_given_task(tmp_path: Path) -> None:
    message = run(tmp_path, intents(), task="domain").finding("enough").message
    assert message == "80 records for domain expertise (given): fewer than the minimum of 500"


def test_exact_duplicates_are_found_whatever_their_case_and_space(tmp_path: Path) -> None:
    again = chat(sentence(3).upper().replace(" ", "  "), "LABEL_D ", system="label it.")
    finding = run(tmp_path, [*intents(), again]).finding("duplicates")
    assert (finding.verdict, finding.details["exact"], finding.details["near"]) == ("warn", 1, 0)
    assert finding.evidence[0].lines == (4, 81)


def test_near_duplicates_are_found(tmp_path: Path) -> None:
    rows = stories(200)
    for i in range(10):  # two words of 44 changed
        question, answer = sentence(i), sentence(1_000 + i, 30).split()
        answer[4], answer[20] = "otherwise", "somewhat"
        rows.append(chat(question, " ".join(answer)))
    finding = run(tmp_path, rows).finding("duplicates")
    assert (finding.verdict, finding.details["exact"], finding.details["near"]) == ("warn", 0, 10)
    assert finding.evidence[0].lines == (1, 201) and "alike" in finding.evidence[0].text


def test_same_words_with_other_tools_or_rejections_are_no_duplicates(tmp_path: Path) -> None:
    pair = {"conversations": [{"from": "human", "value": "Hi"}], "chosen": {"from": "gpt", "value": "Hello"}}
    rows = [{**pair, "rejected": {"from": "gpt", "value": text}} for text in ("What?", "Who?")]
    assert run(tmp_path, rows).finding("duplicates").details["exact"] == 0


def test_contradictions_are_shown_side_by_side(tmp_path: Path) -> None:
    rows = [*intents(), chat(sentence(0).title(), "label_c", system="Label it.")]
    finding = run(tmp_path, rows).finding("contradictions")
    assert (finding.verdict, finding.count, finding.evidence[0].lines) == ("fail", 1, (1, 81))
    assert "'label_a' and 'label_c'" in finding.evidence[0].text
    other_prompt = [*intents(), chat(sentence(0), "label_c", system="Label it in French.")]
    assert run(tmp_path, other_prompt).finding("contradictions").verdict == "pass"
    open_question = [*stories(), chat(sentence(0), "Something quite different, told at length.")]
    assert run(tmp_path, open_question).finding("contradictions").verdict == "warn"


def test_inputs_of_a_long_template_differ_and_are_alike(tmp_path: Path) -> None:
    begin = sentence(77, 200)
    rows = [chat(f"{begin}\n\nText: {sentence(i, 9)}", f"label_{'ab'[i % 2]}") for i in range(60)]
    finding = run(tmp_path, rows).finding("diversity")
    assert finding.details["distinct"] == 1 and finding.details["alike"] > 0.5 and "every input" not in finding.message


def test_the_same_input_everywhere_and_no_input_at_all(tmp_path: Path) -> None:
    finding = run(tmp_path, [chat("Tell me a joke.", sentence(i)) for i in range(9)]).finding("diversity")
    assert (finding.verdict, finding.message) == ("fail", "every input is the same")
    finding = run(tmp_path, [{"messages": [{"role": "user", "content": 3}]}] * 3, format="openai").finding("diversity")
    assert (finding.verdict, finding.message, finding.count) == ("pass", "there are no inputs", 0)


def test_rare_and_single_classes(tmp_path: Path) -> None:
    rows = [*intents(100, "ab"), *[chat(sentence(700 + i), "label_rare") for i in range(3)]]
    report = run(tmp_path, rows)
    finding = report.finding("classes")
    assert finding.verdict == "warn" and finding.evidence[0].text == "'label_rare': 3"
    assert "3 classes, entropy" in finding.message and "rarest 'label_rare' 3" in finding.message
    assert report.classes == {"label_a": 50, "label_b": 50, "label_rare": 3}
    assert run(tmp_path, intents(60, "a")).finding("classes").verdict == "fail"


def test_answers_too_long_to_be_classes_are_told(tmp_path: Path) -> None:
    finding = run(tmp_path, stories(60), task="classification").finding("classes")
    assert (finding.verdict, finding.message) == ("fail", "every answer is too long to be a class")
    finding = run(tmp_path, [*intents(100, "ab"), *stories(3)], task="classification").finding("classes")
    assert finding.message.endswith("; 3 records left out as too long to be a class")


def test_empty_untrained_and_overlong_answers(tmp_path: Path) -> None:
    finding = run(tmp_path, [*intents(), chat(sentence(800), " ")]).finding("answers")
    assert (finding.verdict, finding.evidence[0].lines) == ("fail", (81,))
    untrained = chat(sentence(800), "label_a")
    untrained["messages"][1]["weight"] = 0
    finding = run(tmp_path, [*intents(), untrained]).finding("answers")
    assert (finding.verdict, finding.message) == ("fail", "1 record with nothing trained on")
    finding = run(tmp_path, [*stories(), chat(sentence(800), sentence(801, 2_000))]).finding("answers")
    assert (finding.verdict, finding.evidence[0].lines) == ("warn", (221,))


def test_an_answer_of_tool_calls_is_not_empty(tmp_path: Path) -> None:
    report = check(FIXTURES / "datasets" / "support_tools.jsonl")
    assert report.finding("answers").verdict == "pass"


def test_hold_out_missing_leaking_and_small(tmp_path: Path) -> None:
    assert "`tuneport split" in run(tmp_path, intents()).finding("hold-out").fix
    fresh = [chat(sentence(5_000 + i), "label_a") for i in range(10)]
    near = sentence(1).split()
    near[-1] = "otherwise"
    leaking = [chat(sentence(0).upper(), "label_b"), chat(" ".join(near), "label_b")]
    finding = run(tmp_path, intents(), validation=write(tmp_path / "v.jsonl", [*fresh, *leaking])).finding("hold-out")
    assert (finding.verdict, finding.count) == ("fail", 2)
    assert [each.lines for each in finding.evidence] == [(1,), (2,)]
    assert "the same input is on line 11 of v.jsonl" in finding.evidence[0].text
    finding = run(tmp_path, intents(), validation=write(tmp_path / "v.jsonl", fresh[:1])).finding("hold-out")
    assert finding.verdict == "warn" and "which is little" in finding.message


def crowd(count: int) -> tuple[str, list[str]]:
    """A text, and others that are each nearer to it than to one another."""
    words = sentence(7_000, 40).split()
    return " ".join(words), [" ".join([*words[: 4 * i], "altered", *words[4 * i + 1 :]]) for i in range(count)]


def test_every_training_row_like_a_held_out_one_is_flagged(tmp_path: Path) -> None:
    text, variants = crowd(8)
    rows = [*intents(), *[chat(each, "label_a") for each in variants]]
    held_out = write(tmp_path / "v.jsonl", [chat(text, "label_a"), chat(sentence(5_000), "label_b")])
    report = run(tmp_path, rows, validation=held_out)
    assert report.flagged["holdout.near"] == list(range(81, 89))
    assert report.finding("hold-out").count == 1
    rest = run(tmp_path, intents(), validation=held_out)
    assert "holdout.near" not in rest.flagged


def test_beyond_the_compared_pairs_the_estimate_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nearly = write(tmp_path / "v.jsonl", [chat(f"{sentence(i, 40)} extra", "label_a") for i in range(60)])
    rows = [chat(sentence(i, 40), sentence(1_000 + i, 30)) for i in range(60)]
    monkeypatch.setattr(alike, "AT_ONCE", 7)
    assert run(tmp_path, rows, validation=nearly).finding("hold-out").count == 60
    monkeypatch.setattr(holdout, "MOST_COMPARED", 10)
    assert run(tmp_path, rows, validation=nearly).finding("hold-out").count == 60
    again = [*rows, *[chat(f"{sentence(i, 40)} please", sentence(2_000 + i, 30)) for i in range(60)]]
    assert run(tmp_path, again).flagged["contradictions.near"] == list(range(61, 121))
    monkeypatch.setattr(contradictions, "MOST_COMPARED", 10)
    finding = run(tmp_path, again).finding("contradictions")
    assert (finding.details["near"], finding.details["not_compared"]) == (10, 50)


def test_answers_labelled_as_bad_contradict_nothing(tmp_path: Path) -> None:
    def rows(labels: tuple[bool, bool, bool]) -> list[dict[str, Any]]:
        inputs = (sentence(3), sentence(3), f"please {sentence(3)}")
        answers = zip(inputs, labels, strict=True)
        return [
            {"prompt": each, "completion": sentence(20 + i), "label": good} for i, (each, good) in enumerate(answers)
        ]

    assert run(tmp_path, rows((False, True, False))).finding("contradictions").verdict == "pass"
    assert run(tmp_path, rows((False, True, True))).flagged["contradictions.near"] == [3]
    assert run(tmp_path, rows((True, True, False))).flagged["contradictions.exact"] == [2]


def test_a_record_contradicts_once(tmp_path: Path) -> None:
    rows = [chat(f"please {sentence(300)}", "north"), chat(sentence(300), "south"), chat(sentence(300), "east")]
    report = run(tmp_path, [chat(sentence(301), "x"), *rows, *stories(40)])
    assert (report.flagged["contradictions.near"], report.flagged["contradictions.exact"]) == ([3], [4])
    assert report.finding("contradictions").count == 2


@pytest.mark.parametrize(("rows", "held_out"), [(0, 2), (2, 0)])
def test_of_nothing_no_leak_is_denied(tmp_path: Path, rows: int, held_out: int) -> None:
    good, bad = [chat(sentence(i), "label_a") for i in range(2)], {"messages": [{"role": "user", "content": 3}]}
    columns = []
    for name, count in (("train", rows), ("held_out", held_out)):
        (tmp_path / name).mkdir()
        path = write(tmp_path / f"{name}.jsonl", good[:count] or [bad])
        found = run_row_checks(
            Dataset(path, format="openai"), vocabulary=TokenizerVocabulary(), folder=tmp_path / name, judged=False
        )
        lookup = partial(examples_at_lines, path, "openai", None)
        columns.append((path, holdout.HeldOutColumns(found.columns, lookup, found.numbering)))
    path, (ours, lookup, _) = columns[0]
    finding = holdout.HoldoutLeakCheck(Dataset(path), ours, lookup, columns[1][1]).finding()
    assert finding.verdict == "warn" and "training data" not in finding.message
    assert f"{'held_out' if rows else 'train'}.jsonl has no record to compare" in finding.fix


def test_lengths_over_the_context(tmp_path: Path) -> None:
    report = run(tmp_path, [*intents(), chat("word " * 300, "label_a")], context=200)
    finding = report.finding("lengths")
    assert (finding.verdict, finding.evidence[0].lines) == ("fail", (81,))
    assert "tokens, of which the last" in finding.evidence[0].text
    assert report.tokens.over_context == 1 and report.tokens.longest_line == 81


def test_personal_data_is_shown_masked(tmp_path: Path) -> None:
    report = run(tmp_path, [*intents(), chat("I am anna.bauer@web.de, call me", "label_a")])
    finding = report.finding("personal")
    assert (finding.verdict, finding.count, finding.details["kinds"]) == ("warn", 1, {"email": 1})
    assert finding.evidence[0].told(report.numbering.words) == "line 81: email a***@w***.de"
    assert "bauer" not in json.dumps(report.as_dict())


def test_the_same_words_about_another_image_or_with_another_label_are_another_record(tmp_path: Path) -> None:
    def shown(url: str) -> dict[str, Any]:
        parts = [{"type": "text", "text": "What is in this picture?"}, {"type": "image_url", "image_url": {"url": url}}]
        return {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": "A red kettle."}]}

    report = run(tmp_path, [shown(f"https://example.com/{i}.png") for i in range(40)])
    assert not {"duplicates.exact", "duplicates.near", "contradictions.exact"} & set(report.flagged)
    assert report.finding("diversity").details["distinct"] == 1
    labelled = [
        {"prompt": sentence(i), "completion": sentence(i + 90), "label": label}
        for i in range(20)
        for label in (True, False)
    ]
    report = run(tmp_path, labelled, format="trl")
    assert "duplicates.exact" not in report.flagged and "duplicates.near" not in report.flagged
    thinking = chat("How many parcels came today?", "Two.")
    thoughts = [json.loads(json.dumps(thinking)) for _ in range(2)]
    for row, thought in zip(thoughts, ("One and one.", "Three less one."), strict=True):
        row["messages"][1]["reasoning_content"] = thought
    assert "duplicates.exact" not in run(tmp_path, thoughts).flagged


def test_check_for_a_model_reports_a_bad_first_record(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", ["{broken", *intents()])
    assert check(path, model="gpt-4.1-mini", backend="openai").finding("schema").verdict == "fail"
