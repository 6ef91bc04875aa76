"""The verbs as methods of a workspace."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import tuneport
from tests.support.folders import FIXTURES
from tuneport.settings import Settings
from tuneport.workflows.evaluation.latency import ALONE
from tuneport.workflows.evaluation.result import EvaluationPlan

TRAIN = FIXTURES / "datasets" / "support_intents.train.jsonl"
TEST = FIXTURES / "datasets" / "support_intents.test.jsonl"


def test_its_verbs_are_on_its_home(tmp_path: Path, dataset: Path, isolated: Path) -> None:
    elsewhere = Settings.load(isolated, {"TUNEPORT_HOME": str(tmp_path / "elsewhere")})
    with tuneport.Workspace(elsewhere) as workspace:
        job = workspace.submit(dataset, model="tiny", backend="fake", confirm=False, anyway=True)
        assert [each.id for each in workspace.jobs(limit=3)] == [job.id] and workspace.job(job.id).id == job.id
        assert workspace.check(dataset).rows == workspace.compare(dataset, model="gpt-4.1-mini").rows == 12
        assert workspace.clean(dataset, tmp_path / "clean.jsonl").written == 12
        assert str(tmp_path / "elsewhere") in {finding.message.split()[0] for finding in workspace.doctor()} | {
            str(workspace.settings.home)
        }
        assert repr(workspace) == f"Workspace({str(tmp_path / 'elsewhere')!r})"
        with workspace.migrate("openai") as migration:
            assert migration.workspace.settings is workspace.settings
    assert tuneport.jobs() == []
    with pytest.raises(tuneport.UnknownJobError):
        tuneport.job(job.id)


def test_a_method_is_its_function_for_readers() -> None:
    assert tuneport.Workspace.check is tuneport.check
    with tuneport.Workspace() as workspace:
        assert inspect.getdoc(workspace.check) == inspect.getdoc(tuneport.check)
        assert "model" in inspect.signature(workspace.submit).parameters


def test_evaluate_is_what_the_command_does(tmp_path: Path) -> None:
    plans: list[EvaluationPlan] = []
    with tuneport.Workspace() as workspace:
        job = workspace.submit(TRAIN, model="tiny", backend="fake", confirm=False, anyway=True).wait(poll_seconds=0.01)
        report = workspace.evaluate(
            TEST, ["base", job], rows=20, metric="exact_match", fail_under={"exact_match": 1.01}, before=plans.append
        )
        assert [len(plan.held_out.rows) for plan in plans] == [20] and plans[0].third_parties == []
        assert (
            report.evaluation.score(job.id, "exact_match").value > report.evaluation.score("base", "exact_match").value
        )
        assert report.failing and report.failing[0].startswith(f"exact_match of {job.id} is ")
        assert repr(report) == f"Report({job.id!r}: {report.decision.ruling}, 20 rows)"
        page = report._repr_html_()
        assert job.id in page and "exact_match" in page and report.failing[0] in page
        report.write_html(tmp_path / "report.html")
        report.write_pairs(tmp_path / "pairs.json")
        assert (tmp_path / "report.html").stat().st_size > 1000 and (tmp_path / "pairs.json").exists()
        rows = [
            {"prompt": f"A question of another kind, number {number}?", "completion": "account"} for number in range(4)
        ]
        alone = workspace.evaluate(rows, job, train=rows[:1])
        assert len(alone.evaluation.held_out.rows) == 3 and alone.failing == ()
        with pytest.raises(tuneport.ConfigError, match="name two"):
            alone.write_pairs(tmp_path / "pairs.json")


def test_evaluate_stops_before_anything_is_sent(tmp_path: Path) -> None:
    plans: list[EvaluationPlan] = []

    def refuse(plan: EvaluationPlan) -> None:
        plans.append(plan)
        raise RuntimeError("no")

    with tuneport.Workspace() as workspace:
        job = workspace.submit(TRAIN, model="tiny", backend="fake", confirm=False, anyway=True).wait(poll_seconds=0.01)
        with pytest.raises(RuntimeError, match="no"):
            workspace.evaluate(TEST, job, rows=20, before=refuse)
        assert [(plan.models[0].kept, plan.models[0].waiting) for plan in plans] == [(0, 20 + ALONE)]
        with pytest.raises(tuneport.ConfigError, match="a rubric is for a judge"):
            workspace.evaluate(TEST, "base", rubric=tmp_path / "rubric.md")
        with pytest.raises(tuneport.ConfigError, match="'maybe' is no gate; known: forgetting"):
            workspace.evaluate(TEST, "base", fail_on=["maybe"])
        with pytest.raises(tuneport.BudgetError):
            workspace.evaluate(TEST, "openai/gpt-4.1-mini", budget=0.0)
        with pytest.raises(tuneport.ConfigError, match="the schema .* cannot be read"):
            workspace.evaluate(TEST, "openai/gpt-4.1-mini", schema=tmp_path / "none.json")
