"""The checks against planted defects: what they find and leave alone. `benchmarks/checks.py` prints it all."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

import pytest

from tests.data.planted import answers, copies, identities, refusals
from tests.data.planted.base import CLEAN, composed
from tests.data.planted.beds import BEDS
from tests.data.planted.conditions import CLEAN as CLEAN_ROWS
from tests.data.planted.conditions import Condition, conditions
from tests.data.planted.judgements import JUDGED, judged_lines
from tests.data.planted.measuring import alarms, recognisers, run, tallies, verdicts, write
from tests.data.planted.planting import Bed, answer
from tests.support.folders import SHARED

RECALL, FALSE_ALARMS = 0.9, 0.01


def shared() -> Path | None:
    return SHARED / "data" if (SHARED / "data").is_dir() else None


@cache
def bed_of(name: str) -> Bed:
    """Grown once. Not to be changed."""
    return BEDS[name](shared())


@pytest.mark.parametrize("name", BEDS)
def test_planted_defects_are_found_and_clean_rows_left_alone(name: str, tmp_path: Path) -> None:
    bed = bed_of(name)
    wrong = []
    for tally in tallies(bed, run(bed, tmp_path).flagged, shared()):
        similarities = [counts for variant, counts in tally.variants.items() if variant in copies.BANDS]
        if tally.recall < RECALL or any(found / planted < RECALL for planted, found in similarities):
            wrong.append(f"misses lines {tally.missed[:10]}: {json.dumps(tally.as_dict())}")
        if tally.false_alarms > FALSE_ALARMS:
            wrong.append(f"flags lines {tally.false[:10]} for nothing: {json.dumps(tally.as_dict())}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", CLEAN)
def test_clean_shared_files_are_left_alone(name: str, shared_data: Path) -> None:
    rows, found = alarms(shared_data / name)
    flagged = {line for lines in found.values() for line in lines}
    assert len(flagged) <= FALSE_ALARMS * rows, found


@pytest.mark.parametrize("name", CLEAN_ROWS)
def test_clean_composed_files_are_left_alone(name: str, tmp_path: Path) -> None:
    rows, found = alarms(write(tmp_path / "clean.jsonl", CLEAN_ROWS[name]()))
    flagged = {line for lines in found.values() for line in lines}
    assert len(flagged) <= FALSE_ALARMS * rows, found


@pytest.mark.parametrize("condition", conditions(), ids=lambda condition: condition.name)
def test_the_condition_of_a_file_changes_its_verdict(condition: Condition, tmp_path: Path) -> None:
    bad, good = verdicts(condition, tmp_path)
    assert bad in condition.bad_verdicts and good in condition.good_verdicts, (bad, good)


def test_a_judgement_names_rows_that_exist(shared_data: Path) -> None:
    for name, kinds in JUDGED.items():
        text = (shared_data / name).read_text(encoding="utf-8")
        rows = len(json.loads(text)) if name.endswith(".json") else len(text.splitlines())
        for kind in kinds:
            assert judged_lines(name, kind) <= set(range(1, rows + 1))


# The bench itself: what is planted is what it says.


def test_enough_of_each_kind_is_planted_and_every_planted_row_is_changed() -> None:
    planted: Counter[str] = Counter()
    for bed in map(bed_of, BEDS):
        planted.update("personal" if plant.kind.startswith("personal") else plant.kind for plant in bed.plants)
        variants = {line: plant.variant for plant in bed.plants for line in plant.lines}
        for line, original in bed.originals.items():
            assert bed.rows[line - 1] != original or variants[line] == "as it is"
    assert min(planted.values()) >= 200 and len(planted) == 23, planted


@pytest.mark.parametrize("name", ["json_answers", "personal", "contradictions"])
def test_a_bed_is_the_same_each_time(name: str) -> None:
    one, other = bed_of(name), BEDS[name](shared())
    assert (one.rows, one.plants) == (other.rows, other.plants)


@pytest.mark.parametrize("name", ["nothing_and_cut", "personal", "exact_duplicates"])
def test_measuring_tells_a_perfect_report_from_a_useless_one(name: str) -> None:
    bed = bed_of(name)
    perfect = {kind: [plant.lines[0] for plant in bed.planted(kind)] for kind in bed.kinds}
    assert all((tally.recall, tally.false_alarms) == (1, 0) for tally in tallies(bed, perfect, None))
    assert all((tally.found, tally.false_alarms) == (0, 0) for tally in tallies(bed, {}, None))
    all_lines = {kind: range(1, len(bed.rows) + 1) for kind in bed.kinds}
    assert all((tally.recall, tally.false_alarms) == (1, 1) for tally in tallies(bed, all_lines, None))


def test_recognisers_are_shown_by_what_they_flag() -> None:
    bed = bed_of("personal")
    flagged = {
        "personal.mail": [plant.lines[0] for plant in bed.planted("personal.email")] + [0],
        "schema.invalid": [1],
    }
    assert recognisers(bed, flagged) == {"mail": Counter({"email": 40, "nothing": 1})}


def originals(name: str, kind: str) -> list[tuple[str, dict, dict]]:
    """Variant, clean row and planted row of each defect that was planted in place or beside."""
    bed = bed_of(name)
    found = []
    for plant in bed.planted(kind):
        for line in plant.lines:
            if line in bed.originals:
                found.append((plant.variant, bed.originals[line], bed.rows[line - 1]))
    return found


def test_near_copies_have_the_similarity_that_they_are_named_for() -> None:
    counts: Counter[str] = Counter()
    for variant, clean, planted in originals("near_duplicates", "duplicates.near"):
        low, high = copies.BANDS[variant]
        texts = [[message["content"] for message in row["messages"]] for row in (clean, planted)]
        for one, other in [*zip(*texts, strict=True), ("\n".join(texts[0]), "\n".join(texts[1]))]:
            assert low <= copies.similarity(one, other) < high
        counts[variant] += 1
    assert min(counts.values()) >= 100 and len(counts) == 3, counts


def test_other_rows_are_no_near_copies() -> None:
    """Among the rows beside the planted ones, no two whole texts are alike: a near duplicate there is a false alarm."""
    texts = [" ".join(message["content"] for message in row["messages"]) for row in composed(400, 11)]
    pairs = [copies.pairs(text) for text in texts]
    alike = [len(a & b) / len(a | b) for i, a in enumerate(pairs) for b in pairs[:i]]
    assert max(alike) < 0.7


def test_mojibake_comes_from_a_real_round_trip() -> None:
    repaired = Counter()
    for variant, clean, planted in originals("characters", "answers.mojibake"):
        text = answer(planted)
        if variant in ("cp1252", "latin-1"):
            assert text.encode(variant).decode("utf-8").startswith(answer(clean))
        if variant == "twice":
            assert text.encode("cp1252").decode("utf-8").encode("cp1252").decode("utf-8").startswith(answer(clean))
        if variant == "replaced":
            assert "\ufffd" in text
        repaired[variant] += 1
    assert len(repaired) == 6


def test_truncated_answers_are_beginnings_within_a_sentence() -> None:
    for _, clean, planted in originals("nothing_and_cut", "answers.truncated"):
        text, whole = answer(planted), answer(clean)
        assert whole.startswith(text) and len(text) < len(whole) and text[-1] not in ".!?"


def test_refusals_have_many_wordings_in_several_languages() -> None:
    assert len(set(refusals.wordings())) >= 40 and len(refusals.REFUSALS) >= 5
    used = {answer(planted)[:25] for _, _, planted in originals("said_badly", "answers.refusal")}
    assert len(used) >= 40


def test_overlong_answers_are_far_longer_than_any_other() -> None:
    bed = bed_of("overlong")
    usual = max(len(answer(row)) for line, row in enumerate(bed.rows, 1) if line not in bed.lines())
    assert all(len(answer(row)) > 4 * usual for row in (bed.rows[line - 1] for line in bed.lines()))


def test_contradictions_share_the_question_and_not_the_answer() -> None:
    for _, clean, planted in originals("contradictions", "contradictions.exact"):
        assert clean["messages"][:-1] == planted["messages"][:-1]
        assert copies.similarity(answer(clean), answer(planted)) < 0.4
    for variant, clean, planted in originals("contradictions", "contradictions.near"):
        low, high = copies.BANDS[variant]
        assert low <= copies.similarity(clean["messages"][0]["content"], planted["messages"][0]["content"]) < high
        assert copies.similarity(answer(clean), answer(planted)) < 0.4


@pytest.mark.parametrize("length", [15, 16])
def test_cards_and_accounts_have_valid_check_digits(length: int) -> None:
    """By the other direction of the rules: the sum with the check digit is a multiple of 10, the remainder is 1."""
    rng = Random(length)
    for _ in range(50):
        digits = [int(sign) for sign in identities.card(rng) if sign.isdigit()]
        doubled = [sum(divmod(2 * digit, 10)) if at % 2 else digit for at, digit in enumerate(reversed(digits))]
        assert sum(doubled) % 10 == 0
        account = identities.iban(rng).replace(" ", "")
        assert int("".join(str(int(sign, 36)) for sign in account[4:] + account[:4])) % 97 == 1


@pytest.mark.parametrize("spoil", [answers.truncated, answers.repeated, answers.other_language])
def test_spoiling_never_touches_the_question(spoil: Callable) -> None:
    for row in composed(40, 60):
        before = json.dumps(row["messages"][:-1])
        spoiled = spoil(row, Random(1))
        assert spoiled is None or json.dumps(spoiled[1]["messages"][:-1]) == before
