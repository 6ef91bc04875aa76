"""OpenAI's graders here: the shapes of its schemas, what each operation gives, and what is refused by name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tuneport.data.graders.code import AnswerError, GraderCode
from tuneport.data.graders.graders import Grader, GraderError, render_grader_template
from tuneport.errors import ConfigError, TuneportError, UnsupportedError
from tuneport.sandbox.session import SandboxLimits

EXACT = {
    "type": "string_check",
    "name": "exact",
    "input": "{{sample.output_text}}",
    "reference": "{{item.label}}",
    "operation": "eq",
}
FUZZY = {
    "type": "text_similarity",
    "name": "fuzzy",
    "input": "{{sample.output_text}}",
    "reference": "{{item.label}}",
    "evaluation_metric": "fuzzy_match",
}


@pytest.mark.parametrize(
    ("template", "answer", "item", "expected"),
    [
        ("{{sample.output_text}}", "Paris", {}, "Paris"),
        ("{{ sample.output_text }}!", "Paris", {}, "Paris!"),
        ("{{item.label}} {{item['the label']}}", "", {"label": "a", "the label": "b"}, "a b"),
        ("{{ item.facts[1].name }}", "", {"facts": [0, {"name": "x"}]}, "x"),
        ("{{sample.output_json.city}}", '{"city": "Paris"}', {}, "Paris"),
        ("{{sample.output_json}}", '{"n": [1, 2]}', {}, '{"n": [1, 2]}'),
        ("{{item.count}} and {not a variable}", "", {"count": 3}, "3 and {not a variable}"),
    ],
)
def test_templates_are_filled_in(template: str, answer: str, item: dict[str, Any], expected: str) -> None:
    assert render_grader_template(template, answer, item) == expected


@pytest.mark.parametrize(
    ("operation", "answer", "score"),
    [
        ("eq", "Paris", 1.0),
        ("eq", "paris", 0.0),
        ("ne", "paris", 1.0),
        ("like", "In Paris.", 1.0),
        ("like", "In paris.", 0.0),
        ("ilike", "In PARIS.", 1.0),
        ("ilike", "In Rome.", 0.0),
    ],
)
def test_string_check(operation: str, answer: str, score: float) -> None:
    assert Grader({**EXACT, "operation": operation}).score_answer(answer, {"label": "Paris"}) == score


@pytest.mark.parametrize(
    ("metric", "library", "low", "high"),
    [
        ("fuzzy_match", "rapidfuzz", 0.88, 0.9),  # 2 x 4 / 9 letters in common
        ("bleu", "sacrebleu", 0.0, 0.5),
        ("rouge_1", "rouge_score_rs", 0.66, 0.67),  # 1 word of 1 and of 2: F = 2/3
        ("rouge_l", "rouge_score_rs", 0.66, 0.67),
    ],
)
def test_text_similarity_is_a_share(metric: str, library: str, low: float, high: float) -> None:
    pytest.importorskip(library, reason="the metric's library is an extra: pip install 'tuneport[eval]'")
    grader = Grader({**FUZZY, "evaluation_metric": metric})
    answer, reference = ("abcd", "abcde") if metric == "fuzzy_match" else ("red", "red car")
    assert low <= grader.score_answer(answer, {"label": reference}) <= high
    assert grader.score_answer("one two three four", {"label": "one two three four"}) == pytest.approx(1.0)


def test_python_sees_sample_and_item_and_its_failures_are_worth_nothing() -> None:
    source = 'def grade(sample, item):\n    return sample["output_json"]["n"] / item["most"]'
    grader = Grader({"type": "python", "name": "share", "source": source}, run_code=True)
    assert grader.score_answer('{"n": 2}', {"most": 4}) == 0.5 and grader.failures == []
    assert grader.score_answer("no JSON", {"most": 4}) == 0.0
    assert grader.failures == [
        "the grader share failed on an answer: TypeError: 'NoneType' object is not subscriptable"
    ]


def test_python_is_not_run_unasked_nor_when_it_is_only_looked_at(tmp_path: Any) -> None:
    source = f"open({str(tmp_path / 'touched')!r}, 'w')\ndef grade(sample, item):\n    return 1"
    grader = {"type": "python", "name": "mine", "source": source}
    with pytest.raises(UnsupportedError, match="run_grader_code=true"):
        Grader(grader)
    Grader(grader, run_code=True)
    assert not (tmp_path / "touched").exists()
    with pytest.raises(GraderError, match="cannot be run: KeyError: 'grade'"):
        Grader({**grader, "source": "x = 1"}, run_code=True).score_answer("", {})


def test_python_runs_in_the_sandbox_not_in_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sk-secret")
    kept = tmp_path / "kept.txt"
    kept.write_text("kept")
    source = f"""
import os, sys
calls = []
def grade(sample, item):
    calls.append(item)
    if item["do"] == "exit": os._exit(0)
    if item["do"] == "print": print("x" * 100_000)
    if item["do"] == "pid": return os.getppid() == {os.getpid()} or "SOME_API_KEY" in os.environ
    if item["do"] == "write": open({str(kept)!r}, "w")
    return len(calls)
"""
    grader = Grader({"type": "python", "name": "mine", "source": source}, run_code=True)
    assert [grader.score_answer("", {"do": do}) for do in ("count", "count", "print", "pid", "count")] == [
        1,
        2,
        3,
        0,
        5,
    ]
    assert grader.failures == []
    assert grader.score_answer("", {"do": "write"}) == 0.0 and kept.read_text() == "kept"
    assert "the grader mine failed on an answer: " in grader.failures[0]
    # The process has gone; the next answer is judged by another.
    assert [grader.score_answer("", {"do": do}) for do in ("exit", "count")] == [0.0, 1.0]
    grader.close()
    multi = Grader({"type": "multi", "graders": {"m": grader._grader}, "calculate_output": "m"}, run_code=True)
    assert grader.runs_code and multi.runs_code and not Grader(EXACT).runs_code


def test_python_that_takes_too_long_is_worth_nothing() -> None:
    code = GraderCode("import time\ndef grade(sample, item): time.sleep(item)", "slow", SandboxLimits(seconds=1))
    with pytest.raises(AnswerError, match="no answer after 1 s"):
        code.grade({}, 30)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="more than 256 kB"):
        GraderCode("#" * 300_000, "long")


@pytest.mark.parametrize("source", ["x=" + "-" * 200_000 + "1", "x=a" + "+a" * 100_000])
def test_python_too_deep_for_the_parser_is_refused_by_name(source: str) -> None:
    with pytest.raises(ConfigError, match="the grader deep is too deeply nested for Python's parser .*; shorten") as no:
        GraderCode(source, "deep")
    assert "\n" not in str(no.value) and len(str(no.value)) < 300


def test_python_that_gives_no_finite_number_fails_on_the_answer() -> None:
    # The last goes around `grade` and writes the reply itself.
    source = """import os, stat
def grade(sample, item):
    if item["say"] != "huge":
        return float(item["say"])
    for fd in range(3, 64):
        try:
            os.write(fd, b'{"score": 1' + b"0" * 400 + b"}\\n")
        except OSError:
            pass
"""
    code = GraderCode(source, "odd")
    for say, why in (("nan", "it gave nan"), ("inf", "it gave inf"), ("huge", "a number that is too large")):
        with pytest.raises(AnswerError, match=why):
            code.grade({}, {"say": say})
    code.close()
    grader = Grader({"type": "python", "name": "odd", "source": source}, run_code=True)
    assert grader.score_answer("", {"say": "nan"}) == 0.0 and "it must give a finite number" in grader.failures[0]
    grader.close()


def test_multi_combines_its_graders() -> None:
    pytest.importorskip("rapidfuzz")
    graders = {"exact": EXACT, "fuzzy": FUZZY}
    grader = Grader(
        {"type": "multi", "name": "both", "graders": graders, "calculate_output": "0.5 * exact + 0.5*fuzzy"}
    )
    assert grader.score_answer("abcde", {"label": "abcde"}) == 1.0
    assert grader.score_answer("abcd", {"label": "abcde"}) == pytest.approx(0.5 * 8 / 9)
    single = Grader({"type": "multi", "name": "one", "graders": EXACT, "calculate_output": "min(1, exact + 1) ^ 2"})
    assert single.score_answer("x", {"label": "y"}) == 1.0
    nothing = Grader({"type": "multi", "name": "one", "graders": EXACT, "calculate_output": "log(exact)"})
    assert nothing.score_answer("x", {"label": "y"}) == 0.0  # of nothing there is no logarithm


def test_an_answer_without_the_wanted_json_is_worth_nothing_but_a_row_without_a_column_is_an_error() -> None:
    grader = Grader({**EXACT, "input": "{{sample.output_json.city}}"})
    assert grader.score_answer("{}", {"label": "x"}) == 0.0
    assert grader.score_answer("not JSON", {"label": "x"}) == 0.0
    with pytest.raises(GraderError, match=r"the grader exact names item.label, and a row lacks it"):
        grader.score_answer('{"city": "x"}', {})


@pytest.mark.parametrize(
    ("grader", "kind", "said"),
    [
        ({"type": "score_model", "name": "judge"}, UnsupportedError, "judge is a score_model, .* OpenAI's models"),
        ({"type": "label_model", "name": "judge"}, UnsupportedError, "label_model"),
        ({**FUZZY, "evaluation_metric": "cosine"}, UnsupportedError, "cosine, which cannot run here"),
        ({**FUZZY, "evaluation_metric": "meteor"}, UnsupportedError, "meteor, which cannot run here"),
        ({**FUZZY, "evaluation_metric": "exact"}, ConfigError, "known are fuzzy_match, bleu"),
        ({**EXACT, "operation": "is"}, ConfigError, "known are eq, ne, like, ilike"),
        ({**EXACT, "input": "{{sample.output_tools}}"}, ConfigError, "names {{sample.output_tools}}"),
        ({**EXACT, "input": "{{item}}"}, ConfigError, "names {{item}}"),
        ({**EXACT, "threshold": 1}, ConfigError, "has threshold, which a string_check does not take"),
        ({"type": "string_check", "name": "x"}, ConfigError, "lacks input, reference, operation"),
        ({"type": "endpoint", "name": "x"}, ConfigError, "known are string_check"),
        ({"name": "x"}, ConfigError, "not an object with a type"),
        ({"type": "python", "name": "x", "source": "def"}, ConfigError, "not valid Python"),
        ({"type": "multi", "name": "x", "graders": {}, "calculate_output": "1"}, ConfigError, "needs graders"),
        ({"type": "multi", "name": "x", "graders": EXACT, "calculate_output": "fuzzy"}, ConfigError, "names fuzzy"),
        ({"type": "multi", "name": "x", "graders": EXACT, "calculate_output": "exact +"}, ConfigError, "no formula"),
        (
            {"type": "multi", "name": "x", "graders": EXACT, "calculate_output": "exact.__class__"},
            ConfigError,
            "it takes numbers, graders",
        ),
        (
            {"type": "multi", "name": "x", "graders": {"a": {"type": "multi"}}, "calculate_output": "a"},
            ConfigError,
            "a multi itself",
        ),
    ],
)
def test_what_cannot_run_here_is_refused_by_name(grader: Any, kind: type[TuneportError], said: str) -> None:
    with pytest.raises(kind, match=said):
        Grader(grader, run_code=True)


@pytest.mark.parametrize(
    "formula", ["9^9^9^9", "-" * 9_000 + "a", "a" + "+a" * 3_000, "(-8)^0.5", "a*" + "9" * 5_000, "x" * 200_000]
)
def test_a_formula_that_would_keep_the_gateway_busy_ends_at_once(formula: str) -> None:
    """A client of the gateway sends it, and it is computed in the gateway's process."""
    code = (
        "import sys; from tuneport.data.graders.graders import Grader; from tuneport.errors import ConfigError\n"
        f"inner = {EXACT!r} | {{'name': 'a'}}\n"
        "multi = {'type': 'multi', 'name': 'm', 'graders': {'a': inner}, 'calculate_output': sys.stdin.read()}\n"
        "try: print(Grader(multi).score_answer('x', {'label': 'x'}))\n"
        "except ConfigError as error: print('refused', len(str(error)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=formula, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "0.0" or done.stdout.startswith("refused"), done.stdout


def test_a_template_of_many_braces_is_read_once() -> None:
    """Twice as many took four times as long, with nobody else served meanwhile."""
    grader = EXACT | {"input": "{{" * 500_000 + "{{sample.output_text}}"}
    assert Grader(grader).score_answer("x", {"label": "x"}) == 0
