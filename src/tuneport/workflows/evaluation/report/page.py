"""The report as one HTML file: the decision, then its reasons."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneport.data.containers.folder import dataset_stem
from tuneport.data.running.writing import publish_output_file, temporary_file
from tuneport.errors import ConfigError
from tuneport.pages.notebook import Verdict, render_notebook_view
from tuneport.pages.templates import render_template
from tuneport.workflows.evaluation.decision import EvaluationDecision, Weight, decide_evaluation
from tuneport.workflows.evaluation.for_people import write_rating_pairs
from tuneport.workflows.evaluation.models.trained import TrainedModelJob, jobs_behind_evaluated_models
from tuneport.workflows.evaluation.report.answers import example_answers
from tuneport.workflows.evaluation.report.classes import class_scores
from tuneport.workflows.evaluation.report.curves import draw_training_curve
from tuneport.workflows.evaluation.report.judgement import judged_examples
from tuneport.workflows.evaluation.report.scores import scores_by_metric
from tuneport.workflows.evaluation.words import format_interval, format_p_value, format_score

if TYPE_CHECKING:
    from tuneport.lifecycle.service import JobService
    from tuneport.workflows.evaluation.held_out import HeldOutRows
    from tuneport.workflows.evaluation.result import Evaluation

_KINDS: Mapping[Weight, str] = {"against": "fail", "doubt": "warn", "for": "pass", "note": "note"}
_RULINGS: Mapping[str, Verdict] = {"ship": "pass", "not sure": "warn", "do not ship": "fail"}
_HEADS: Mapping[Weight, str] = {
    "against": "What speaks against it",
    "doubt": "What leaves doubt",
    "for": "What speaks for it",
    "note": "To know, and pitfalls that apply",
}


@dataclass(frozen=True)
class EvaluationReport:
    """An evaluation with its decision. `trained`: the jobs behind its models, by the models' names. `failing`: the
    limits and gates that the last model misses, as text."""

    evaluation: Evaluation
    decision: EvaluationDecision
    trained: Mapping[str, TrainedModelJob]
    day: date
    failing: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Return what was measured on what: a job's id says neither."""
        name, on = self.decision.model, dataset_stem(self.evaluation.held_out.path)
        job = self.trained.get(name)
        if job is None:
            return f"{name}, on {on}"
        return f"{Path(job.spec.model).name} tuned on {dataset_stem(job.spec.dataset)} ({name}), on {on}"

    def __repr__(self) -> str:
        rows = len(self.evaluation.held_out.rows)
        return f"EvaluationReport({self.decision.model!r}: {self.decision.ruling}, {rows:,} rows)"

    def _repr_html_(self) -> str:
        found, decision = self.evaluation, self.decision
        ruling, _, because = decision.sentence.partition(": ")
        names = [each.name for each in found.metrics]
        rows = []
        for each in found.models:
            scores = [found.score(each.asked.name, name) for name in names]
            rows.append(
                (
                    each.asked.name,
                    *(f"{format_score(score, score.value)} ({format_interval(score)})" for score in scores),
                )
            )
        facts = [("rows", f"{len(found.held_out.rows):,}"), ("task", found.held_out.task), ("on", self.day.isoformat())]
        ruled = (ruling, _RULINGS[decision.ruling])
        notes = [because, *(f"missed: {each}" for each in self.failing if each not in because)]
        return render_notebook_view(self.title, facts, ruling=ruled, head=("model", *names), rows=rows, notes=notes)

    def as_dict(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "decision": self.decision.as_dict(),
            **self.evaluation.as_dict(),
            "training": {name: job.as_dict() for name, job in self.trained.items()},
        }

    def write_pairs(self, path: Path | str) -> None:
        """Write the first and the last model's answers for `tuneport rate`. Raises ConfigError if there is one
        model."""
        if len(self.evaluation.models) < 2:
            raise ConfigError("pairs set one model's answers beside another's: name two")
        write_rating_pairs(self.evaluation, Path(path))

    def write_html(self, path: Path | str) -> None:
        """Write the page as a file, whole or not at all. Raises StorageError if it cannot be written."""
        path = Path(path)
        with temporary_file(path.parent) as (file, temporary):
            file.write(render_evaluation_page(self).encode("utf-8"))
            publish_output_file(file, temporary, path)


def build_evaluation_report(
    workspace: JobService, found: Evaluation, *, missed: Sequence[str] = ()
) -> EvaluationReport:
    """Return the report, with the state of the jobs behind the models at their backends. `missed`: the user's limits
    that are missed, as text."""
    trained = jobs_behind_evaluated_models(workspace, [each.asked for each in found.models], found.held_out.rows)
    return EvaluationReport(found, decide_evaluation(found, trained=trained, missed=missed), trained, date.today())


def render_evaluation_page(report: EvaluationReport) -> str:
    """Return the whole document. Everything from outside is escaped, and the page forbids scripts anyway."""
    found, decision = report.evaluation, report.decision
    held = found.held_out
    beside = "" if decision.against is None else f", beside {decision.against}"
    facts = [
        ("rows", f"{len(held.rows):,}" + (f" of {held.of:,}" if held.of > len(held.rows) else "")),
        ("task", held.task),
        ("models", f"{len(found.models)}"),
        ("metrics", ", ".join(each.name for each in found.metrics)),
    ]
    ruling, _, because = decision.sentence.partition(": ")
    return render_template(
        "workflows/evaluation/report/page.html",
        title=f"{report.title}: {decision.ruling}",
        headline=report.title,
        decision=decision,
        what=f"Measured on {held.path.name}{beside}, on {report.day}.",
        kind=_RULINGS[decision.ruling],
        ruling=ruling,
        because=because,
        facts=facts,
        groups=[
            (_HEADS[weight], _KINDS[weight], list(reasons))
            for weight, reasons in groupby(decision.reasons, key=lambda each: each.weight)
        ],
        models=found.models,
        first=found.models[0].asked.name,
        scores=scores_by_metric(found),
        trained=report.trained,
        draw_curve=draw_training_curve,
        classes=class_scores(found),
        answers=example_answers(found),
        judgement=found.judgement,
        judged_pairs=judged_examples(found),
        general=found.general_of(decision.model),
        lm_eval=found.lm_eval,
        amount=_amount,
        format_p_value=format_p_value,
        data=_held_out_entries(found.held_out),
        jobs=[(name, _job_entries(job)) for name, job in report.trained.items()],
    )


def _held_out_entries(held: HeldOutRows) -> list[tuple[str, str]]:
    left = f"{len(held.exact):,} exactly and {len(held.near):,} nearly in the training data"
    return [
        ("held-out rows", f"{held.path.name}: {held.proof}"),
        ("left out", f"{left}; {held.unusable:,} without a question and answer"),
        ("sha256 of the held-out file", held.sha256),
        *((f"sha256 of {name}", sha256) for name, sha256 in held.against.items()),
    ]


def _job_entries(job: TrainedModelJob) -> list[tuple[str, str]]:
    written = job.spec.model_dump(mode="json", exclude_defaults=True, exclude={"metadata", "wandb"})
    # Names, not paths: a report is attached where others read it.
    written |= {key: Path(str(written[key])).name for key in ("dataset", "validation") if written.get(key)}
    return [
        ("job", job.id),
        ("trained on", f"{job.data.training.rows:,} rows, as uploaded: sha256 {job.data.training.sha256}"),
        ("sha256 of the spec", job.spec_sha256),
        *((key, value if isinstance(value, str) else json.dumps(value)) for key, value in written.items()),
    ]


def _amount(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
