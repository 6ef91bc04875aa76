"""What differs by accident from the rest of a dataset is found; what differs on purpose is not."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.data.checks.rows.test_answers import example, examples
from tests.support.rows import chat
from tuneport.data.checks.finding import Finding
from tuneport.data.checks.near.line_index import MAX_KEYS, MAX_LINES, RowLineIndex
from tuneport.data.checks.rows.consistency import ConsistencyCheck
from tuneport.data.checks.rows.json_shapes import JsonShapeCheck
from tuneport.data.formats import load_dataset_format
from tuneport.data.reading import read_records

PROMPT = "You are the support agent of a lamp shop. Answer in one sentence."


def judged(rows: list[dict[str, Any]]) -> tuple[ConsistencyCheck, Finding]:
    check = ConsistencyCheck()
    for each in examples(rows):
        check.add(each)
    return check, check.finding()


def rows(count: int = 40, system: str | None = PROMPT) -> list[dict[str, Any]]:
    return [chat(f"Where is lamp {i}?", f"It stands in the hall near door {i}.", system=system) for i in range(count)]


def found(extra: list[dict[str, Any]], count: int = 40) -> dict[str, list[int]]:
    return {kind: list(lines) for kind, lines in judged([*rows(count), *extra])[0].lines().items()}


def test_system_prompts_that_vary_by_accident() -> None:
    variants = [
        PROMPT.lower(),
        PROMPT.replace(" ", "  "),
        PROMPT.removesuffix("."),
        f"{PROMPT}\n",
        PROMPT.replace("support", "suport"),
        PROMPT.replace("one", "a"),
        PROMPT.replace("lamp ", ""),
    ]
    lines = found([chat("Where is it?", "It stands in the hall.", system=each) for each in variants])
    assert lines == {"prompt": list(range(41, 48))}
    finding = judged([*rows(), *[chat("Where?", "It is there.", system=each) for each in variants]])[1]
    assert finding.verdict == "warn" and "'suport' for 'support', in 1 record" in " ".join(map(str, finding.evidence))


def test_system_prompts_that_differ_on_purpose() -> None:
    names = "Anna Bert Carla David Emma Frank Gina Hugo Iris Jan Karl Lea".split()
    slots = [chat("Where?", "It is there.", system=f"You are helping {name} with an order today.") for name in names]
    assert judged(slots)[1].verdict == "pass"
    tasks = [chat("Where?", "It is there.", system=f"Answer {how}.") for how in ("in French", "as a pirate", "briefly")]
    assert judged(tasks * 10)[1].verdict == "pass"
    assert found([chat("Where?", "It is there.", system="Translate the text into German.")]) == {}
    numbers = [
        chat("Where?", "It is there.", system=f"You have {i} tools at hand, use them.") for i in (1, 1, 1, 1, 1, 2)
    ]
    assert judged(numbers)[1].verdict == "pass"


def test_a_system_prompt_or_tools_in_some_records_only() -> None:
    assert found(rows(2, None)) == {"system": [41, 42]}
    assert found(rows(40, None)) == {}
    tool = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}
    assert found([{**row, "tools": [tool]} for row in rows(2)]) == {"tools": [41, 42]}


def test_prefixes() -> None:
    prefixed = [chat(f"Question: where is lamp {i}?", f"Answer: in hall {i}.", system=PROMPT) for i in range(40)]
    odd = [chat("Where is it?", "Answer: there.", system=PROMPT), chat("Question: where?", "There.", system=PROMPT)]
    check, finding = judged([*prefixed, *odd])
    assert list(check.lines()["prefix"]) == [41, 42]
    assert "does not begin with 'Question:'" in str(finding.evidence[0])
    assert judged(prefixed)[1].verdict == "pass"


@pytest.mark.parametrize(
    ("roles", "problem"),
    [
        ("sau", "the assistant speaks first"),
        ("suua", "two turns of the user in a row"),
        ("suaa", "two turns of the assistant in a row"),
        ("suasua", "a system prompt in the middle"),
    ],
)
def test_turns_out_of_order(roles: str, problem: str) -> None:
    names = {"s": "system", "u": "user", "a": "assistant"}
    messages = [
        {"role": names[role], "content": PROMPT if role == "s" else f"Words {i}."} for i, role in enumerate(roles)
    ]
    check = ConsistencyCheck()
    for each in examples(rows()):
        check.add(each)
    check.add(example(41, load_dataset_format("openai").read_format_row(msgspec.json.encode({"messages": messages}))))
    assert list(check.lines()["roles"]) == [41]
    assert any(problem in each.text for each in check.finding().evidence)


def answers_in_json(answers: list[Any]) -> dict[int, str]:
    shapes = JsonShapeCheck()
    for line, answer in enumerate(answers, start=1):
        shapes.add(line, answer if isinstance(answer, str) else json.dumps(answer))
    return shapes.odd_lines()


def test_json_with_odd_keys_and_types() -> None:
    usual = [
        {"name": f"n{i}", "total": i + 0.5, "items": [{"id": i}], "note": None if i % 2 else "x"} for i in range(60)
    ]
    assert answers_in_json(usual) == {}
    odd: list[Any] = [
        {"name": "a", "items": [{"id": 1}], "note": "x"},
        {"name": "a", "total": "3.5", "items": [{"id": 1}], "note": "x"},
        {"name": "a", "total": 3, "items": [{"id": 1}], "note": "x", "colour": "red"},
        {"name": "a", "total": 3, "items": [{"number": 1}], "note": "x"},
        "The name is a and the total is 3.",
        "```json\n" + json.dumps(usual[0]) + "\n```",
        [usual[0]],
    ]
    reasons = answers_in_json([*usual, *odd])
    assert sorted(reasons) == list(range(61, 68))
    assert reasons[61] == "the key 'total' is missing"
    assert reasons[62] == "'total' is text, elsewhere number"
    assert reasons[63] == "the key 'colour' is in few others"
    assert reasons[64] == "the key 'items[].id' is missing"
    assert reasons[65] == "not JSON, unlike most answers"
    assert reasons[66] == "JSON in a code fence, unlike most"


def test_json_that_differs_on_purpose() -> None:
    two = [{"kind": "a", "x": i} if i % 2 else {"kind": "b", "y": i} for i in range(60)]
    counts = [{f"word{i}": i, f"word{i * 7}": 1} for i in range(60)]
    empty = [{"items": [{"id": i}] if i % 3 else [], "total": i if i % 2 else i + 0.5} for i in range(60)]
    for answers in (two, counts, empty, ["Yes.", "No."] * 30):
        assert answers_in_json(answers) == {}


def test_labels_in_several_spellings() -> None:
    labels = ["billing question", "refund", "lost parcel"]
    usual = [chat(f"Text {i}", labels[i % 3], system=PROMPT) for i in range(60)]
    odd = [
        chat("Text", each, system=PROMPT)
        for each in ("Refund", "refund.", " refund", "billing_question", "LOST PARCEL")
    ]
    check, finding = judged([*usual, *odd])
    assert list(check.lines()["labels"]) == [61, 62, 63, 64, 65]
    assert "'Refund', elsewhere 'refund'" in str(finding.evidence[0])
    languages = [chat(f"Text {i}", ("C", "C++", "C#")[i % 3], system=PROMPT) for i in range(60)]
    assert judged(languages)[1].verdict == "pass"


def test_labels_with_a_prefix_or_misspelt() -> None:
    labels = ["lost_parcel", "refund", "moral", "grade 1"]
    usual = [chat(f"Text {i}", labels[i % 4], system=PROMPT) for i in range(160)]
    odd = ["Label: refund", "lostparcel", "lost_parcels", "refnud", "refud"]
    check, _ = judged([*usual, *[chat("Text", each, system=PROMPT) for each in odd]])
    assert list(check.lines()["labels"]) == [161, 162, 163, 164, 165]
    other = [chat("Text", each, system=PROMPT) for each in ("amoral", "grade 2", "mortal sin")]
    assert judged([*usual, *other])[1].verdict == "pass"


def test_each_frequent_system_prompt_has_its_accidents() -> None:
    second = "You are an editor. Explain things plainly and be brief."
    both = [*rows(30), *rows(30, second)]
    odd = [
        PROMPT.replace("support", "supprot"),
        second.replace("things ", ""),
        second.replace("things", "things things"),
    ]
    check, _ = judged([*both, *[chat("Where?", "It is there.", system=each) for each in odd]])
    assert list(check.lines()["prompt"]) == [61, 62, 63]


def test_it_is_the_same_however_it_is_divided() -> None:
    extra = [*rows(3, None), *rows(2, PROMPT.upper()), chat("Where?", '{"a": 1}', system=PROMPT)]
    both = [*rows(), *extra, *[chat(f"T {i}", json.dumps({"a": i})) for i in range(30)]]
    whole = judged(both)[0]
    parts = [ConsistencyCheck() for _ in range(3)]
    for each in examples(both):
        parts[each.line % 3].add(each)
    parts[1].merge(pickle.loads(pickle.dumps(parts[2].state())))
    parts[1].merge(pickle.loads(pickle.dumps(parts[0].state())))
    assert parts[1].finding() == whole.finding() and parts[1].lines() == whole.lines()


def test_memory_is_bounded() -> None:
    places: RowLineIndex[str] = RowLineIndex()
    for line in range(3 * MAX_KEYS):
        places.add(f"prompt {line}", line)
        places.add("prompt 0", line)
    assert len(places) == MAX_KEYS and places.others == 2 * MAX_KEYS
    assert places.count("prompt 0") == 3 * MAX_KEYS + 1 and len(places.lines("prompt 0")) == MAX_LINES
    assert places.rows == 6 * MAX_KEYS


def test_beyond_what_is_listed_the_counts_go_on() -> None:
    many = [row for row in rows(2_000) for _ in range(4)]
    finding = judged([*many, *rows(1_500, None)])[1]
    assert finding.message == "1,500 records unlike the others in having a system prompt (the first 1,000 are listed)"
    assert (finding.count, finding.details["system"]) == (1_500, 1_500)


# Read by eye: toy 3 has no system prompt while the other four have the same one; in toy 4 the assistant speaks first.
TRUE = {"toy_chat_fine_tuning.jsonl": {"system": [3], "roles": [4]}}


@pytest.mark.parametrize(
    "name",
    [
        "alpaca_en_demo.json",
        "glaive_toolcall_en_demo.json",
        "dpo_en_demo.json",
        *TRUE,
        "gpt_tokens_fine-tuning-data.jsonl",
    ],
)
def test_real_files(shared_data: Path, name: str) -> None:
    check = ConsistencyCheck()
    for line, record in read_records(shared_data / name):
        check.add(example(line, record))
    assert {kind: list(lines) for kind, lines in check.lines().items()} == TRUE.get(name, {})
