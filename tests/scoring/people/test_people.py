"""People's judgements: agreement as published, figures as counted, a file that survives, sides that tell nothing."""

from __future__ import annotations

import json
import os
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest

from tuneport.errors import ConfigError, DatasetError
from tuneport.scoring.people.agreement import cohens_kappa, krippendorffs_alpha, same_share
from tuneport.scoring.people.answers import read_pairs_for_raters, write_pairs_for_raters
from tuneport.scoring.people.blind import BlindRating, Choice, RaterProgress
from tuneport.scoring.people.ratings import Rating, RatingFile, RatingVerdict, ratings_path, read_ratings
from tuneport.scoring.people.results import compute_rating_results
from tuneport.scoring.statistics.paired import sign_test

NAMES = {"a": "base-model", "b": "tuned-model"}


def pairs_file(path: Path, count: int = 20) -> Path:
    rows = [{"prompt": f"question {n}", "answer_a": f"from a: {n}", "answer_b": f"from b: {n}"} for n in range(count)]
    write_pairs_for_raters(path, NAMES, rows)
    return path


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    return pairs_file(tmp_path / "answers.jsonl")


def rating(path: Path, seed: int = 0) -> BlindRating:
    return BlindRating(read_pairs_for_raters(path), RatingFile(ratings_path(path)), seed=seed)


def seen(work: BlindRating, name: str) -> list[tuple[str, str]]:
    """Judge all as ties; the left and right that were shown, in order."""
    shown, standing = [], work.begin(name)
    while standing.next is not None:
        shown.append((standing.next.left, standing.next.right))
        standing = work.judge(name, standing.next.view, "tie")
    return shown


def test_kappa_and_alpha_are_the_published_ones() -> None:
    # Cohen's: 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no (the example of many textbooks) is 0.4.
    table = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    assert cohens_kappa(table) == pytest.approx(0.4)
    # Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", examples A, B and C (nominal).
    binary = zip("0100000010", "1110010000", strict=True)
    assert krippendorffs_alpha(list(binary)) == pytest.approx(0.095, abs=5e-4)
    nominal = zip("aabbdcccedda", "babbbccceddd", strict=True)
    assert krippendorffs_alpha(list(nominal)) == pytest.approx(0.692, abs=5e-4)
    observers = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
    units = [[label for label in unit if label != "."] for unit in zip(*observers, strict=True)]
    assert krippendorffs_alpha(units) == pytest.approx(0.743, abs=5e-4)
    assert cohens_kappa([]) is None and cohens_kappa([("a", "a")] * 3) is None
    assert krippendorffs_alpha([["a"], ["b"]]) is None and krippendorffs_alpha([["a", "a"]]) is None
    assert same_share([["a", "a", "b"], ["b"]]) == pytest.approx(1 / 3)


def test_kappa_and_the_sign_test_agree_with_the_reference_libraries() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="tuneport[eval]")
    stats = pytest.importorskip("scipy.stats")
    draw = random.Random(5)
    for _ in range(30):
        first = [draw.choice("abn") for _ in range(draw.randint(5, 60))]
        second = [draw.choice([label, "a", "b"]) for label in first]
        kappa = cohens_kappa(list(zip(first, second, strict=True)))
        assert kappa == pytest.approx(float(metrics.cohen_kappa_score(first, second)), abs=1e-12)
        one, other = draw.randint(0, 400), draw.randint(0, 400)
        assert sign_test(one, other) == pytest.approx(stats.binomtest(one, one + other).pvalue, rel=1e-9)
    assert sign_test(0, 0) == 1.0


def test_results_are_those_counted_by_hand(answers: Path) -> None:
    file = read_pairs_for_raters(answers)
    pairs = [pair.key for pair in file.pairs]

    def said(rater: str, words: str, *, left: str = "a") -> list[Rating]:
        meant = {"a": RatingVerdict.A, "b": RatingVerdict.B, "=": RatingVerdict.TIE, "x": RatingVerdict.BAD}
        return [
            Rating(rater, pair, meant[word], left, datetime.now(UTC), seconds=4.0)  # type: ignore[arg-type]
            for pair, word in zip(pairs, words, strict=False)
        ]

    # Won by more than half of a pair's raters: b b b b b, a, then a split, a tie against b, two bad, b by one alone.
    found = compute_rating_results(
        file, [*said("Ana", "bbbbbaa=xb"), *said("Ben", "bbbbbabbx", left="b"), *said("Gone", "")]
    )
    assert (found.pairs, found.judged, found.finished) == (20, 10, 0)
    assert (found.a_wins, found.b_wins, found.ties, found.both_bad) == (1, 6, 3, 1)
    assert found.b_rate.share == pytest.approx(6 / 7) and found.b_rate.low == pytest.approx(0.4869, abs=1e-4)
    assert found.p == pytest.approx(0.125) and found.preferred == "tie"
    assert found.agreement.pairs == 9 and found.agreement.same == pytest.approx(7 / 9)
    assert found.agreement.kappa is not None and found.agreement.alpha is not None
    ana, ben = found.raters
    assert (ana.judged, ana.a, ana.b, ana.tie, ana.bad, ana.median_seconds) == (10, 2, 6, 1, 1, 4.0)
    assert ana.left_share == pytest.approx(2 / 8) and ben.left_share == pytest.approx(7 / 8)
    assert (found.left.of, found.left.total) == (9, 16)

    every = compute_rating_results(file, said("Ana", "b" * 20, left="b"))
    assert every.preferred == "b" and every.side_matters and every.finished == 1
    nobody = compute_rating_results(file, [Rating("Ana", "of an older file", RatingVerdict.A, "a", datetime.now(UTC))])
    assert (nobody.judged, nobody.b_rate.share, nobody.p, nobody.outside) == (0, None, 1.0, 1)


def test_order_and_sides_are_a_raters_own_and_come_back(answers: Path, tmp_path: Path) -> None:
    first = seen(rating(answers), "Ana")
    copy = pairs_file(tmp_path / "again.jsonl")
    assert seen(rating(copy), "Ana") == first, "the same seed, rater and content"
    assert seen(rating(pairs_file(tmp_path / "other.jsonl"), seed=1), "Ana") != first
    second = seen(rating(answers), "Ben")
    assert sorted(map(frozenset, first)) and {frozenset(row) for row in first} == {frozenset(row) for row in second}
    assert first != second
    many = seen(rating(pairs_file(tmp_path / "many.jsonl", 400)), "Ana")
    left = sum(left.startswith("from a") for left, _ in many)
    assert 160 <= left <= 240, "a stands on either side about as often"
    places = [int(left.split(": ")[1]) for left, _ in many]
    assert sum(abs(place - index) for index, place in enumerate(places)) > 400 * 80, "the file's order is not kept"
    # Rows that come later change nothing for those that were there.
    grown = rating(pairs_file(tmp_path / "grown.jsonl", 30))
    assert set(first) < set(seen(grown, "Ana"))


def test_a_sample_is_the_same_for_all_and_grows(answers: Path) -> None:
    whole = read_pairs_for_raters(answers)
    small, large = whole.sample(5), whole.sample(9)
    assert set(small.pairs) < set(large.pairs) and len(large.pairs) == 9
    assert whole.sample(5, seed=1).pairs != small.pairs and len(whole.sample(100).pairs) == 20
    ratings = RatingFile(ratings_path(answers))
    for name in ("Ana", "Ben"):
        assert len(seen(BlindRating(small, ratings), name)) == 5
    found = compute_rating_results(small, read_ratings(ratings.path))
    assert (found.pairs, found.judged, found.finished, found.agreement.pairs) == (5, 5, 2, 5)


def test_a_judgement_names_the_system_wherever_it_stood(answers: Path) -> None:
    work, draw = rating(answers), random.Random(1)
    prompts = {pair.prompt: pair.key for pair in read_pairs_for_raters(answers).pairs}
    wanted: dict[str, RatingVerdict] = {}
    standing = work.begin(" ana   maria ")
    spelled = "ana maria"
    while standing.next is not None:
        choice, shown = draw.choice(get_args(Choice)), standing.next
        text = {"left": shown.left, "right": shown.right}.get(choice)
        wanted[prompts[shown.prompt]] = RatingVerdict(choice if text is None else text[len("from ")])
        standing = work.judge(spelled, shown.view, choice, note=f" because {choice} ", seconds=3.21)
        spelled = "Ana Maria"
    assert len(set(wanted.values())) == 4
    kept = read_ratings(ratings_path(answers))
    assert {row.pair: row.verdict for row in kept} == wanted
    assert {row.rater for row in kept} == {"ana maria"}, "the same person, as first spelled"
    assert all(row.note.startswith("because ") and row.seconds == 3.2 for row in kept)
    assert all(row.side in (None, row.note.removeprefix("because ")) for row in kept)
    assert "tuned-model" not in ratings_path(answers).read_text()
    # Whoever was shown it with another seed is not misunderstood.
    fresh = rating(answers, seed=2).begin("Ben").next
    assert fresh is not None
    with pytest.raises(ConfigError, match="reload the page"):
        rating(answers, seed=3).judge("Ben", fresh.view, "left")


def test_undo_goes_back_and_a_lost_answer_may_be_asked_for_again(answers: Path) -> None:
    work = rating(answers)
    first = work.begin("Ana").next
    assert first is not None
    work.judge("Ana", first.view, "left", note="hm")
    assert work.judge("Ana", first.view, "left").judged == 1, "sent twice, kept once"
    with pytest.raises(ConfigError, match="already judged"):
        work.judge("Ana", first.view, "right")
    back = work.undo("Ana")
    assert back.judged == 0 and back.next is not None
    assert (back.next.view, back.next.note, back.next.choice) == (first.view, "hm", "left")
    with pytest.raises(ConfigError, match="nothing to undo"):
        work.undo("Ana")
    assert read_ratings(ratings_path(answers)) == []
    for wrong in ("", "  ", "x" * 61, "a\x00b"):
        with pytest.raises(ConfigError, match="a rater's name"):
            work.begin(wrong)


def test_whatever_was_cut_short_the_rest_is_there_and_the_next_one_follows(answers: Path) -> None:
    work = rating(answers)
    for _ in range(3):
        shown = work.begin("Ana").next
        assert shown is not None
        work.judge("Ana", shown.view, "tie")
    path = ratings_path(answers)
    whole = path.read_bytes()
    for cut in range(1, len(whole.splitlines()[2]) + 1):
        path.write_bytes(whole[:-cut])
        again: RaterProgress = rating(answers).begin("Ana")
        assert again.judged == (2 if cut > 1 else 3) and again.next is not None
    rating(answers).judge("Ana", again.next.view, "tie")
    assert len(read_ratings(path)) == 3
    assert json.loads(path.read_text().splitlines()[-1])["verdict"] == "tie"
    path.write_text("{}\n")
    with pytest.raises(DatasetError, match=r"answers.jsonl.ratings.jsonl:1: is no judgement of `tuneport rate`"):
        read_ratings(path)


def test_only_one_process_writes_to_a_file(answers: Path) -> None:
    mine = RatingFile(ratings_path(answers))
    with mine.lock_for_writing():
        with (
            pytest.raises(ConfigError, match="another `tuneport rate` writes"),
            RatingFile(mine.path).lock_for_writing(),
        ):
            pass
    with mine.lock_for_writing():
        assert os.path.getsize(mine.path) == 0


def test_a_file_written_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "hand.jsonl"
    call = {"id": "c", "type": "function", "function": {"name": "find", "arguments": '{"order":7}'}}
    rows = [
        {"prompt": "Hello?", "answer_a": "", "answer_b": "Hi."},
        {
            "id": 17,
            "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where?"}],
            "answer_a": {"role": "assistant", "content": None, "tool_calls": [call]},
            "answer_b": "I do not know.",
            "reference": "It is here.",
        },
        {"prompt": "Same?", "answer_a": "Yes.", "answer_b": "Yes. "},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    file = read_pairs_for_raters(path)
    assert file.names == {"a": "A", "b": "B"}
    assert [pair.id for pair in file.pairs] == ["line 1", "17", "line 3"]
    assert file.pairs[1].a == '```json\nfind({\n  "order": 7\n})\n```'
    assert [pair.id for pair in file.identical] == ["line 3"] and len(file.pairs_to_judge) == 2

    wrong = [{"systems": {"a": "x"}}, {"prompt": "?", "answer_a": "1", "answr_b": "2"}, rows[0], rows[0]]
    path.write_text("\n".join(map(json.dumps, wrong)))
    with pytest.raises(DatasetError) as told:
        read_pairs_for_raters(path)
    assert [(each.line, each.field) for each in told.value.problems] == [
        (1, "systems"),
        (2, "answr_b"),
        (2, "answer_b"),
        (4, ""),
    ]
    path.write_text(json.dumps(rows[2]))
    with pytest.raises(ConfigError, match="nothing to judge"):
        rating(path)
