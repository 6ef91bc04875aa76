"""lm-eval's tasks beside an evaluation: a real run where the package is installed, and what is said where it is not."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.support.document import Document
from tests.support.evaluations import JOB, evaluation, report
from tests.support.tiny import tiny_adapter, tiny_model
from tuneport.backends.local.backend import LocalBackend
from tuneport.cli.views.evaluation import print_evaluation
from tuneport.errors import ConfigError, UnsupportedError
from tuneport.infer.lm_eval_tasks import _scores
from tuneport.lifecycle.service import JobService
from tuneport.scoring.benchmarks import BenchmarkScore
from tuneport.workflows.evaluation.answer_cache import EvaluationAnswerCache
from tuneport.workflows.evaluation.lm_eval import LmEvalEvaluation, evaluate_with_lm_eval, plan_lm_eval
from tuneport.workflows.evaluation.models.asked_models import EvaluatedModel
from tuneport.workflows.evaluation.report.page import render_evaluation_page

TASK = """
task: letters
dataset_path: json
dataset_kwargs:
  data_files: {{test: {rows}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{ask}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{right}}}}"
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
"""


def test_what_cannot_be_run_says_what_to_do(workspace: JobService, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    fake, local = EvaluatedModel("a", "fake", "tiny", "tiny"), EvaluatedModel("b", "local", "tiny", "tiny")
    monkeypatch.setattr(importlib.metadata, "version", version)
    assert plan_lm_eval(workspace, [fake], []) is None
    with pytest.raises(ConfigError, match=r"pip install .*lm-eval"):
        plan_lm_eval(workspace, [local], ["hellaswag"])
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.4.13")
    with pytest.raises(UnsupportedError, match="a is at fake"):
        plan_lm_eval(workspace, [local, fake], ["hellaswag"])
    with pytest.raises(ConfigError, match="there is no file mine.yaml"):
        plan_lm_eval(workspace, [local], ["mine.yaml"])
    with pytest.raises(ConfigError, match="names hellaswag twice"):
        plan_lm_eval(workspace, [local], ["hellaswag", "hellaswag"])
    few_shot = EvaluatedModel("b few-shot", "local", "tiny", "tiny", prompting="few-shot")
    planned = plan_lm_eval(workspace, [few_shot, local], ["hellaswag"])
    assert planned is not None and [each.name for each in planned.models] == ["b"], "each of the weights once"


def test_what_was_lost_is_a_doubt_and_every_score_is_shown() -> None:
    def score(value: float, rows: list[float]) -> BenchmarkScore:
        return BenchmarkScore("arc_easy", "acc", "", value, 0.0401, True, 100, tuple(rows))

    scores = {
        "base": (score(0.8, [1.0] * 80 + [0.0] * 20), BenchmarkScore("wiki", "bits", "", 1.25, None, False, 9)),
        JOB: (score(0.6, [1.0] * 60 + [0.0] * 40), BenchmarkScore("wiki", "bits", "", 1.5, None, False, 9)),
    }
    found = replace(evaluation([30, 110]), lm_eval=LmEvalEvaluation("0.4.13", 100, scores))
    made = report(found)
    (reason,) = (each for each in made.decision.reasons if each.about == "lm-eval")
    assert (reason.weight, reason.words) == ("doubt", "it is worse at arc_easy acc 0.8 to 0.6")
    document = json.loads(json.dumps(made.as_dict()))["lm_eval"]
    assert [each["verdict"] for each in document["changes"][JOB]] == ["worse", "not tested"]
    assert document["scores"]["base"][0]["stderr"] == 0.0401 and "rows" not in document["scores"]["base"][0]
    page = Document(render_evaluation_page(made))
    page.expect_no_way_out()
    shown = " ".join(" ".join(page.texts).split())
    assert "Public benchmarks" in shown and "0.8000 ± 0.0401" in shown and "-0.2000" in shown and "not tested" in shown
    console = Console(width=80, record=True, file=io.StringIO())
    print_evaluation(found, console)
    told = console.export_text()
    assert "arc_easy acc  100 rows" in told and "0.6000  ± 0.0401  worse (p < 0.001)" in told
    assert max(map(len, told.splitlines())) <= 80


def test_a_group_has_one_score_over_the_rows_of_all_its_tasks_and_a_task_outside_its_own() -> None:
    """In the words of lm-eval 0.4.13: a metric, a comma, how the answers were read."""

    def result(value: float, stderr: float | str = 0.1) -> dict[str, object]:
        return {"alias": "it", "sample_len": 4, "acc,none": value, "acc_stderr,none": stderr, "sample_count": {}}

    def samples(*right: float) -> list[dict[str, object]]:
        return [{"filter": "none", "acc": each} for each in right]

    found: dict[str, Any] = {
        "results": {
            "all": result(0.5),
            "a": result(1.0),
            "inner": result(0.25),
            "b": result(0.25),
            "c": result(9, "N/A"),
        },
        "group_subtasks": {"all": ["a", "inner"], "inner": ["b"]},
        "samples": {"a": samples(1, 1), "b": samples(0, 0, 0, 1), "c": samples(1, 0)},
        "n-samples": {"a": {"effective": 2}, "b": {"effective": 4}, "c": {"effective": 2}},
        "higher_is_better": {"a": {"acc": True}, "b": {"acc": True}, "c": {"acc": False}},
    }
    whole, alone = _scores(found)
    assert (whole["task"], whole["count"], whole["rows"]) == ("all", 6, [1, 1, 0, 0, 0, 1]) and whole["stderr"] == 0.1
    assert (alone["task"], alone["rows"], alone["stderr"], alone["higher_is_better"]) == ("c", None, None, False)
    found["results"]["all"] = result(0.625)
    assert next(_scores(found))["rows"] is None, "tasks that weigh alike: no mean of the rows"


@pytest.mark.full
@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed: pip install lm-eval")
def test_a_task_of_ones_own_is_run_on_a_model_and_its_adapter_once(
    workspace: JobService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny_model(tmp_path / "base")
    adapter = tiny_adapter(tmp_path / "adapter", base)
    rows, task = tmp_path / "rows.jsonl", tmp_path / "letters.yaml"
    rows.write_text(
        "".join(json.dumps({"ask": f"{n}:", "choices": ["a", "b", "c"], "right": n % 3}) + "\n" for n in range(40))
    )
    task.write_text(TASK.format(rows=rows))
    asked = [EvaluatedModel(name, "local", str(path), str(base)) for name, path in (("base", base), ("tuned", adapter))]
    plan = plan_lm_eval(workspace, asked, [str(task)], limit=30)
    assert plan is not None
    done: list[tuple[str, int, int]] = []
    with EvaluationAnswerCache(tmp_path / "answers.sqlite") as cache:
        found = evaluate_with_lm_eval(workspace, cache, plan, lambda *each: done.append(each))
        monkeypatch.setattr(LocalBackend, "lm_eval", None)
        assert evaluate_with_lm_eval(workspace, cache, plan, lambda *_: None) == found, "kept"
        monkeypatch.undo()
        with pytest.raises(ConfigError, match="has no task no_such_task"):
            evaluate_with_lm_eval(workspace, cache, replace(plan, tasks=("no_such_task",)), lambda *_: None)
    assert done == [("base", 0, 1), ("base", 1, 1), ("tuned", 0, 1), ("tuned", 1, 1)]
    (before,), (after,) = found.scores.values()
    assert (before.task, before.metric, before.count) == ("letters", "acc", 30) and before.higher_is_better
    for each in (before, after):
        assert each.rows is not None and sum(each.rows) / 30 == each.value and each.stderr is not None
    assert before.rows != after.rows, "the adapter answers"
    (change,) = found.changes["tuned"]
    assert change.difference is not None and change.difference.test == "McNemar, exact"
