"""The report as one HTML file: the decision, then all that it rests on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuneport.data.writing import aside, publish
from tuneport.pages.frame import document
from tuneport.pages.text import text
from tuneport.workflows.evaluation.decision import Decision, Weight, decide
from tuneport.workflows.evaluation.report.abilities import abilities
from tuneport.workflows.evaluation.report.answers import answers
from tuneport.workflows.evaluation.report.benchmarks import benchmarks
from tuneport.workflows.evaluation.report.classes import classes
from tuneport.workflows.evaluation.report.curves import curves
from tuneport.workflows.evaluation.report.judgement import judgement
from tuneport.workflows.evaluation.report.scores import costs, scores
from tuneport.workflows.evaluation.trained import TrainedJob, trained_jobs

if TYPE_CHECKING:
    from tuneport.jobs.service import Workspace
    from tuneport.workflows.evaluate import Evaluation

_PAGE = Path(__file__).with_name("page.html")
_KINDS: Mapping[Weight, str] = {"against": "fail", "doubt": "warn", "for": "pass", "note": "note"}
_RULINGS = {"ship": "pass", "not sure": "warn", "do not ship": "fail"}
_HEADS: Mapping[Weight, str] = {
    "against": "What speaks against it",
    "doubt": "What leaves doubt",
    "for": "What speaks for it",
    "note": "To know, and pitfalls that apply",
}


@dataclass(frozen=True)
class Report:
    """An evaluation with its decision. `trained`: the jobs behind its models, by the models' names."""

    evaluation: Evaluation
    decision: Decision
    trained: Mapping[str, TrainedJob]
    day: date

    def as_dict(self) -> dict[str, Any]:
        return {
            "decision": self.decision.as_dict(),
            **self.evaluation.as_dict(),
            "training": {name: job.as_dict() for name, job in self.trained.items()},
        }

    def write_html(self, path: Path) -> None:
        """The page as a file, whole or not at all. StorageError where it cannot be written."""
        with aside(path.parent) as (file, temporary):
            file.write(render(self).encode("utf-8"))
            publish(file, temporary, path)


def report_of(workspace: Workspace, found: Evaluation, *, missed: Sequence[str] = ()) -> Report:
    """With what the backends tell of the jobs behind the models. `missed`: limits of the user's, in words."""
    trained = trained_jobs(workspace, [each.asked for each in found.models], found.held_out.rows)
    return Report(found, decide(found, trained=trained, missed=missed), trained, date.today())


def render(report: Report) -> str:
    """The whole document. Everything from outside is escaped, and the page forbids scripts anyway."""
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
        "name": text(decision.model, 200),
        "what": text(f"Measured on {held.path.name}{beside}, on {report.day}.", 600),
        "kind": _RULINGS[decision.ruling],
        "ruling": ruling,
        "because": text(because),
        "facts": "".join(f"<div><dt>{name}</dt><dd>{text(value, 500)}</dd></div>" for name, value in facts),
        "reasons": "".join(_reasons(decision)),
        "scores": scores(found),
        "curves": curves(report.trained),
        "classes": classes(found),
        "answers": answers(found),
        "judgement": judgement(found),
        "abilities": abilities(found.general_of(decision.model)) + benchmarks(found.lm_eval),
        "costs": costs(found),
        "data": _data(report),
    }
    return document(f"{decision.model}: {decision.ruling}", _PAGE, parts)


def _reasons(decision: Decision) -> Iterator[str]:
    for weight, group in groupby(decision.reasons, key=lambda each: each.weight):
        yield f'<h3 class="group">{_HEADS[weight]}</h3>'
        for each in group:
            head = f'<div class="verdict">{text(each.about)}</div>'
            yield f'<section class="finding wide {_KINDS[weight]}">{head}<div><p>{text(each.words)}</p></div></section>'


def _data(report: Report) -> str:
    held = report.evaluation.held_out
    left = f"{len(held.exact):,} exactly and {len(held.near):,} nearly in the training data"
    entries = [
        ("held-out rows", f"{held.path.name}: {held.proof}"),
        ("left out", f"{left}; {held.unusable:,} that are no question and answer"),
        ("sha256 of the held-out file", held.sha256),
        *((f"sha256 of {name}", sha256) for name, sha256 in held.against.items()),
    ]
    parts = [_table(entries)]
    for name, job in report.trained.items():
        written = job.spec.model_dump(mode="json", exclude_defaults=True, exclude={"metadata", "wandb"})
        # Names, not places: a report is attached where others read it.
        written |= {key: Path(str(written[key])).name for key in ("dataset", "validation") if written.get(key)}
        entries = [
            ("job", job.id),
            ("trained on", f"{job.data.training.rows:,} rows, as uploaded: sha256 {job.data.training.sha256}"),
            ("sha256 of the spec", job.spec_sha256),
            *((key, value if isinstance(value, str) else json.dumps(value)) for key, value in written.items()),
        ]
        parts.append(f'<h3 class="group">{text(name, 200)}</h3>{_table(entries)}')
    return "".join(parts)


def _table(entries: Sequence[tuple[str, object]]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{text(name, 300)}</th><td>{text(value, 1000)}</td></tr>' for name, value in entries
    )
    return f'<table class="entries">{rows}</table>'
