"""The report as one HTML file: the decision, then its reasons."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneport.data.running.writing import publish_output_file, temporary_file
from tuneport.errors import ConfigError
from tuneport.pages.frame import render_html_page
from tuneport.pages.notebook import Verdict, render_notebook_view
from tuneport.pages.text import html_text
from tuneport.workflows.evaluation.decision import EvaluationDecision, Weight, decide_evaluation
from tuneport.workflows.evaluation.for_people import write_rating_pairs
from tuneport.workflows.evaluation.models.trained import TrainedModelJob, jobs_behind_evaluated_models
from tuneport.workflows.evaluation.report.abilities import render_abilities
from tuneport.workflows.evaluation.report.answers import render_example_answers
from tuneport.workflows.evaluation.report.benchmarks import render_benchmarks
from tuneport.workflows.evaluation.report.classes import render_class_scores
from tuneport.workflows.evaluation.report.curves import render_training_curves
from tuneport.workflows.evaluation.report.judgement import render_judgement
from tuneport.workflows.evaluation.report.scores import render_answer_costs, render_scores
from tuneport.workflows.evaluation.words import format_interval, format_score

if TYPE_CHECKING:
    from tuneport.lifecycle.service import JobService
    from tuneport.workflows.evaluation.result import Evaluation

_PAGE = Path(__file__).with_name("page.html")
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

    def __repr__(self) -> str:
        return f"Report({self.decision.model!r}: {self.decision.ruling}, {len(self.evaluation.held_out.rows):,} rows)"

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
        return render_notebook_view(decision.model, facts, ruling=ruled, head=("model", *names), rows=rows, notes=notes)

    def as_dict(self) -> dict[str, Any]:
        return {
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
    parts = {
        "name": html_text(decision.model, 200),
        "what": html_text(f"Measured on {held.path.name}{beside}, on {report.day}.", 600),
        "kind": _RULINGS[decision.ruling],
        "ruling": ruling,
        "because": html_text(because),
        "facts": "".join(f"<div><dt>{name}</dt><dd>{html_text(value, 500)}</dd></div>" for name, value in facts),
        "reasons": "".join(_reasons(decision)),
        "scores": render_scores(found),
        "curves": render_training_curves(report.trained),
        "classes": render_class_scores(found),
        "answers": render_example_answers(found),
        "judgement": render_judgement(found),
        "abilities": render_abilities(found.general_of(decision.model)) + render_benchmarks(found.lm_eval),
        "costs": render_answer_costs(found),
        "data": _data(report),
    }
    return render_html_page(f"{decision.model}: {decision.ruling}", _PAGE, parts)


def _reasons(decision: EvaluationDecision) -> Iterator[str]:
    for weight, group in groupby(decision.reasons, key=lambda each: each.weight):
        yield f'<h3 class="group">{_HEADS[weight]}</h3>'
        for each in group:
            head = f'<div class="verdict">{html_text(each.about)}</div>'
            told = html_text(each.words)
            yield f'<section class="finding wide {_KINDS[weight]}">{head}<div><p>{told}</p></div></section>'


def _data(report: EvaluationReport) -> str:
    held = report.evaluation.held_out
    left = f"{len(held.exact):,} exactly and {len(held.near):,} nearly in the training data"
    entries = [
        ("held-out rows", f"{held.path.name}: {held.proof}"),
        ("left out", f"{left}; {held.unusable:,} without a question and answer"),
        ("sha256 of the held-out file", held.sha256),
        *((f"sha256 of {name}", sha256) for name, sha256 in held.against.items()),
    ]
    parts = [_table(entries)]
    for name, job in report.trained.items():
        written = job.spec.model_dump(mode="json", exclude_defaults=True, exclude={"metadata", "wandb"})
        # Names, not paths: a report is attached where others read it.
        written |= {key: Path(str(written[key])).name for key in ("dataset", "validation") if written.get(key)}
        entries = [
            ("job", job.id),
            ("trained on", f"{job.data.training.rows:,} rows, as uploaded: sha256 {job.data.training.sha256}"),
            ("sha256 of the spec", job.spec_sha256),
            *((key, value if isinstance(value, str) else json.dumps(value)) for key, value in written.items()),
        ]
        parts.append(f'<h3 class="group">{html_text(name, 200)}</h3>{_table(entries)}')
    return "".join(parts)


def _table(entries: Sequence[tuple[str, object]]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{html_text(name, 300)}</th><td>{html_text(value, 1000)}</td></tr>'
        for name, value in entries
    )
    return f'<table class="entries">{rows}</table>'
