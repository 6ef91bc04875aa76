"""A cleaned dataset has what the checks would keep, and the log the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.data.checks.test_checks import sentence, stories
from tests.support.rows import chat, write
from tuneport.data.checks import check_dataset
from tuneport.data.clean import clean
from tuneport.data.reading import read_records
from tuneport.data.review import ReviewDecision, record_hash
from tuneport.data.review.verdicts import ReviewVerdictFile, review_verdicts_path
from tuneport.errors import ConfigError, DatasetError


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_what_teaches_nothing_is_removed_and_logged(tmp_path: Path) -> None:
    rows = stories(40)
    path = write(tmp_path / "d.jsonl", [*rows, rows[3], "{broken", chat(sentence(900), "  "), *stories(45)[40:]])
    made = clean(path, tmp_path / "clean.jsonl")
    source = lines_of(path)
    assert lines_of(made.output) == source[:40] + source[43:]
    assert (made.rows, made.written, made.removed) == (48, 45, 3)
    assert made.why == {"duplicates.exact": 1, "schema.invalid": 1, "answers.empty": 1}
    log = [json.loads(line) for line in lines_of(made.log)]
    assert [(entry["line"], entry["action"]) for entry in log] == [(41, "removed"), (42, "removed"), (43, "removed")]
    assert log[0]["why"] == [{"check": "duplicates.exact", "like_line": 4}]
    assert log[0]["record"] == json.loads(source[40]) and log[1]["record"] == "{broken"
    again = check_dataset(made.output)
    assert not set(again.flagged) & {"duplicates.exact", "schema.invalid", "answers.empty"}


def test_kinds_are_kept_and_dropped_by_name(tmp_path: Path) -> None:
    rows = [*stories(30), stories(1)[0], chat(sentence(0), "Something else, told at length.")]
    path = write(tmp_path / "d.jsonl", rows)
    kept = clean(path, tmp_path / "a.jsonl", keep=["duplicates"])
    assert kept.removed == 0 and lines_of(kept.output) == lines_of(path) and lines_of(kept.log) == []
    dropped = clean(path, tmp_path / "b.jsonl", drop=["contradictions.exact"])
    assert dropped.why == {"duplicates.exact": 1, "contradictions.exact": 1}
    with pytest.raises(ConfigError, match="'duplicates.all' is not known; known: answers"):
        clean(path, tmp_path / "c.jsonl", drop=["duplicates.all"])
    with pytest.raises(ConfigError, match="is the input; name another"):
        clean(path, path)
    with pytest.raises(ConfigError, match="must end in .jsonl"):
        clean(path, tmp_path / "c.csv")
    log = write(tmp_path / "e.jsonl.log.jsonl", rows)
    with pytest.raises(ConfigError, match="is the input"):
        clean(log, tmp_path / "e.jsonl")  # whose log would be the input


def test_leaks_into_the_hold_out_are_removed(tmp_path: Path) -> None:
    rows = stories(30)
    held_out = write(tmp_path / "v.jsonl", [rows[5], chat(sentence(7_000), sentence(7_001, 30))])
    made = clean(write(tmp_path / "d.jsonl", rows), tmp_path / "clean.jsonl", validation=held_out)
    assert made.why == {"holdout.exact": 1} and made.written == 29


def test_nothing_is_written_where_nothing_would_be_left(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [chat(sentence(1), " "), chat(sentence(2), "")])
    with pytest.raises(DatasetError, match="would have no record left"):
        clean(path, tmp_path / "clean.jsonl")
    assert [each for each in tmp_path.iterdir() if each.is_file()] == [path]


def test_a_file_of_the_folder_that_is_read_is_not_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    source = write(folder / "a.jsonl", stories(20)).read_text()
    with pytest.raises(ConfigError, match="is the input"):
        clean(folder, folder / "a.jsonl")
    assert (folder / "a.jsonl").read_text() == source


def test_of_like_records_one_stays_whatever_happens_to_the_first(tmp_path: Path) -> None:
    rows = stories(20)
    unweighted = json.loads(json.dumps(rows[0]))
    unweighted["messages"][1]["content"] = " "
    path = write(tmp_path / "d.jsonl", [unweighted, *rows[1:], rows[1], rows[1]])
    bad = check_dataset(path)
    assert bad.flagged["duplicates.exact"] == [21, 22]
    made = clean(path, tmp_path / "a.jsonl")
    assert made.written == 19 and lines_of(made.output) == [json.dumps(row) for row in rows[1:]]
    # The first of three is rejected by a person, by its content: so are its copies, and nothing of them stays.
    review = ReviewVerdictFile(review_verdicts_path(path))
    review.append_verdict(2, record_hash(next(r for line, r in read_records(path) if line == 2)), ReviewDecision.REJECT)
    made = clean(path, tmp_path / "b.jsonl", review=review_verdicts_path(path))
    assert made.why["review.rejected"] == 3 and made.written == 18


def test_a_persons_word_comes_before_the_checks(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [chat(sentence(900), " "), *stories(20)])
    review = ReviewVerdictFile(review_verdicts_path(path))
    review.append_verdict(
        1, record_hash(next(record for _, record in read_records(path))), ReviewDecision.EDIT, "It was Paris."
    )
    made = clean(path, tmp_path / "clean.jsonl", review=review_verdicts_path(path))
    assert (made.written, made.removed, made.changed, made.why) == (21, 0, 1, {"review.edited": 1})
    assert json.loads(lines_of(made.output)[0])["messages"][1]["content"] == "It was Paris."
    assert json.loads(lines_of(made.log)[0])["record"] == chat(sentence(900), " ")


def test_a_pretty_printed_array_with_a_broken_record(tmp_path: Path) -> None:
    good = [json.dumps(row, indent=2) for row in stories(12)]
    path = tmp_path / "d.json"
    path.write_text("[" + ",\n".join([*good, good[0], '{"messages":\n 1}']) + "]")
    made = clean(path, tmp_path / "clean.jsonl")
    assert made.why == {"duplicates.exact": 1, "schema.invalid": 1}
    assert [json.loads(line) for line in lines_of(made.output)] == stories(12)
    assert [json.loads(line)["line"] for line in lines_of(made.log)] == [13, 14]
    with pytest.raises(ConfigError, match="cannot be redacted either"):
        clean(path, tmp_path / "clean.jsonl", redact=True, keep=["schema.invalid"])


def test_no_value_is_left_in_the_file_or_its_log(tmp_path: Path) -> None:
    mine = chat("Write to anna.bauer@web.de, please, about the parcel", "I wrote to Anna.Bauer@web.de.")
    bad = {"messages": [{"role": "anna.bauer@web.de", "content": "Hi"}]}
    path = write(tmp_path / "d.jsonl", [*stories(12), bad, mine, mine])
    made = clean(path, tmp_path / "clean.jsonl", redact=True)
    assert made.redacted == {"email": 2} and made.changed == 1 and made.removed == 2
    assert "[EMAIL_1]" in lines_of(made.output)[-1] and lines_of(made.output)[-1].count("[EMAIL_1]") == 2
    assert "bauer" not in (made.output.read_text() + made.log.read_text()).lower()


def test_repair_decodes_again_what_was_decoded_wrongly_and_tells_where(tmp_path: Path) -> None:
    broken = chat("OÃ¹ est le cafÃ© ?", "Il est Ã\xa0 cÃ´tÃ© de lâ€™Ã©glise.")
    broken["messages"].append({"role": "user", "content": "Merci"})
    arguments = '{"place": "caf\\u00c3\\u00a9",  "city": "KÃ¶ln"}'
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": arguments}}
    broken["messages"] += [{"role": "assistant", "tool_calls": [call]}]
    broken["messages"] += [
        {"role": "tool", "tool_call_id": "c1", "content": "[]"},
        {"role": "assistant", "content": "Non."},
    ]
    right = chat("Où est le café ?", "Il est à côté de l’église, je crois.")
    lost = chat(sentence(800), "It costs 5\ufffd, they don?t know why.")
    path = write(tmp_path / "d.jsonl", [*stories(12), broken, right, lost])
    made = clean(path, tmp_path / "clean.jsonl", repair=True)
    rows = [json.loads(line) for line in lines_of(made.output)]
    assert (made.removed, made.changed, made.why) == (0, 1, {"repair.mojibake": 1})
    asked, answered, _, called, *_ = rows[12]["messages"]
    assert asked["content"] == "Où est le café ?" and answered["content"] == "Il est à côté de l’église."
    assert called["tool_calls"][0]["function"]["arguments"] == '{"place": "caf\\u00e9",  "city": "Köln"}'
    assert lines_of(made.output)[13:] == lines_of(path)[13:]
    shown = {"before": "…OÃ¹ est le cafÃ© ?…", "after": "…Où est le café ?…"}
    [entry] = [json.loads(line) for line in lines_of(made.log)]
    assert entry["why"] == [{"check": "repair.mojibake", "texts": 3, **shown}] and entry["record"] == broken
    assert made.repairs == ({"at": "line 13", **shown},)
    assert clean(path, tmp_path / "b.jsonl").changed == 0
    assert clean(made.output, tmp_path / "again.jsonl", repair=True).changed == 0


def test_repair_quotes_nothing_where_personal_data_is_redacted(tmp_path: Path) -> None:
    mine = chat("Das BÃ¼ro: anna.bauer@web.de", "Ich schreibe es auf.")
    made = clean(write(tmp_path / "d.jsonl", [*stories(12), mine]), tmp_path / "c.jsonl", repair=True, redact=True)
    assert "Das Büro: [EMAIL_1]" in lines_of(made.output)[-1] and made.repairs == ()
    assert made.why == {"repair.mojibake": 1, "personal.email": 1}
    assert "bauer" not in (made.output.read_text() + made.log.read_text())


def test_verdicts_that_are_about_nothing_here_are_refused(tmp_path: Path) -> None:
    path, other = write(tmp_path / "d.jsonl", stories(12)), write(tmp_path / "e.jsonl", [chat(sentence(1), "Yes.")])
    review = ReviewVerdictFile(review_verdicts_path(other))
    emptied = next(record for _, record in read_records(other))
    review.append_verdict(1, record_hash(emptied), ReviewDecision.EDIT, " ")
    with pytest.raises(ConfigError, match="about a record of"):
        clean(path, tmp_path / "clean.jsonl", review=review_verdicts_path(other))
    both = write(tmp_path / "f.jsonl", [*stories(12), chat(sentence(1), "Yes.")])
    assert clean(both, tmp_path / "clean.jsonl", review=review_verdicts_path(other)).why == {"review.rejected": 1}


def test_the_log_says_what_is_wrong_with_a_record(tmp_path: Path) -> None:
    made = clean(write(tmp_path / "d.jsonl", [*stories(12), {"messages": []}]), tmp_path / "clean.jsonl")
    [entry] = [json.loads(line) for line in lines_of(made.log)]
    assert entry["why"] == [{"check": "schema.invalid", "rule": "messages is empty"}]


def test_more_odd_records_than_a_check_lists_go_in_one_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuneport.data.checks.near.line_index.MAX_LINES", 2)
    monkeypatch.setattr("tuneport.data.checks.near.line_index.MAX_KEYS", 4)
    usual = json.dumps({"mood": "calm", "place": "sea"})
    tool = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}
    odd: dict[str, list[Any]] = {
        "system": [chat(f"Q: {sentence(number)}", usual) for number in range(100, 108)],
        "prompt": [chat(f"Q: {sentence(number)}", usual, system="tell") for number in range(110, 113)],
        "tools": [chat(f"Q: {sentence(number)}", usual, system="Tell.", tools=[tool]) for number in range(120, 128)],
        "prefix": [chat(f"Ask {chr(number)}: {sentence(number)}", usual, system="Tell.") for number in range(65, 73)],
        "json": [chat(f"Q: {sentence(number)}", '{"mood": "calm"}', system="Tell.") for number in range(140, 146)],
        "roles": [chat(f"Q: {sentence(number)}", usual, "why?", system="Tell.") for number in range(150, 158)],
    }
    rows = [chat(f"Q: {sentence(number)}", usual, system="Tell.") for number in range(200)]
    kept = [json.dumps(row, ensure_ascii=False) for row in rows]
    places = iter(range(3, 200, 4))
    for each in (row for rows_of_kind in odd.values() for row in rows_of_kind):
        rows.insert(next(places), each)
    source = write(tmp_path / "a.jsonl", rows)
    listed = check_dataset(source).flagged
    for kind, records in odd.items():
        assert len(listed[f"consistency.{kind}"]) < len(records)
    made = clean(source, tmp_path / "b.jsonl", drop=["consistency"], keep=["duplicates", "answers.untrained"])
    assert {kind: made.why[f"consistency.{kind}"] for kind in odd} == {kind: len(odd[kind]) for kind in odd}
    assert lines_of(tmp_path / "b.jsonl") == kept
    assert check_dataset(tmp_path / "b.jsonl").finding("consistency").verdict == "pass"
    assert clean(tmp_path / "b.jsonl", tmp_path / "c.jsonl", drop=["consistency"], keep=["duplicates"]).removed == 0
