"""Tasks of EleutherAI's lm-eval beside an evaluation's own rows: on models of this machine, and kept as answers are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuneport.backends.local.lm_eval import local_lm_eval_version
from tuneport.errors import ConfigError, UnsupportedError
from tuneport.lifecycle.service import JobService
from tuneport.scoring.benchmarks import BenchmarkScore, BenchmarkScoreChange, compare_scores
from tuneport.workflows.evaluation.answer_cache import EvaluationAnswerCache, answer_cache_key
from tuneport.workflows.evaluation.general_ability import evaluated_weights
from tuneport.workflows.evaluation.models.asked_models import EvaluatedModel, answer_cache_location


@dataclass(frozen=True)
class LmEvalPlan:
    """The plan of a run of lm-eval. `models`: each of the weights once. `limit`: the first rows of each task; None:
    all."""

    version: str
    models: tuple[EvaluatedModel, ...]
    tasks: tuple[str, ...]
    limit: int | None = None


@dataclass(frozen=True)
class LmEvalEvaluation:
    """`scores` of each model, by its name, the first one first."""

    version: str
    limit: int | None
    scores: Mapping[str, tuple[BenchmarkScore, ...]]

    @property
    def changes(self) -> dict[str, tuple[BenchmarkScoreChange, ...]]:
        """Return the changes of each other model compared with the first."""
        (_, first), *others = self.scores.items()
        return {name: compare_scores(first, scores) for name, scores in others}

    @property
    def beside(self) -> list[list[tuple[str, BenchmarkScore, BenchmarkScoreChange | None]]]:
        """Return each score for every model: the model's name, the score, and the change from the first model's."""
        changes = {(name, each.tuned.kind): each for name, every in self.changes.items() for each in every}
        found: dict[tuple[Any, ...], list[tuple[str, BenchmarkScore, BenchmarkScoreChange | None]]] = {}
        for name, scores in self.scores.items():
            for score in scores:
                found.setdefault(score.kind, []).append((name, score, changes.get((name, score.kind))))
        return list(found.values())

    def as_dict(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "limit": self.limit,
            "scores": {name: [each.as_dict() for each in scores] for name, scores in self.scores.items()},
            "changes": {name: [each.as_dict() for each in changes] for name, changes in self.changes.items()},
        }


def plan_lm_eval(
    workspace: JobService, models: Sequence[EvaluatedModel], tasks: Sequence[str], *, limit: int | None = None
) -> LmEvalPlan | None:
    """Return the plan, or None without tasks. `tasks` are names of lm-eval's, or paths of YAML files. Raises
    ConfigError if the package is not installed or a task is named twice, and UnsupportedError for a hosted model:
    lm-eval reads the likelihood of each token, which no provider gives."""
    if not tasks:
        return None
    version = local_lm_eval_version()
    if len(set(tasks)) < len(tasks):
        raise ConfigError(f"--lm-eval names {next(each for each in tasks if tasks.count(each) > 1)} twice")
    for task in tasks:
        if task.endswith((".yaml", ".yml")) and not Path(task).is_file():
            raise ConfigError(f"--lm-eval: there is no file {task}")
    for each in models:
        if not workspace.backend(each.backend).supports("lm_eval"):
            raise UnsupportedError(
                f"--lm-eval runs on this machine's models, and {each.name} is at {each.backend}; leave one of them out"
            )
    return LmEvalPlan(version, tuple(evaluated_weights(models)), tuple(tasks), limit)


def evaluate_with_lm_eval(
    workspace: JobService,
    cache: EvaluationAnswerCache,
    plan: LmEvalPlan,
    on_done: Callable[[str, int, int], None],
) -> LmEvalEvaluation:
    """Return each model's scores, those known from before first. `on_done` gets a model, its tasks that are done, and
    of how many. If it is killed, a repeated call continues after the last finished task."""
    scores = {}
    for each in plan.models:
        keys = {task: _key(workspace, plan, each, task) for task in plan.tasks}
        kept = cache.get(list(keys.values()))
        found = {task: kept[key]["scores"] for task, key in keys.items() if key in kept}
        on_done(each.name, len(found), len(plan.tasks))
        if waiting := [task for task in plan.tasks if task not in found]:
            backend = workspace.backend(each.backend)
            backend.close()  # what answered before holds the memory that lm-eval's own copy of the model needs
            for task, measured in backend.lm_eval(each.model, waiting, limit=plan.limit):
                found[task] = measured
                cache.put(keys[task], {"scores": measured})
                on_done(each.name, len(found), len(plan.tasks))
        scores[each.name] = tuple(
            BenchmarkScore(**score | {"rows": None if score["rows"] is None else tuple(score["rows"])})
            for task in plan.tasks
            for score in found[task]
        )
    return LmEvalEvaluation(plan.version, plan.limit, scores)


def _key(workspace: JobService, plan: LmEvalPlan, model: EvaluatedModel, task: str) -> str:
    """Return the cache key of a task. A file counts by its text; the data that it names may change unseen, as a
    benchmark's on the hub may."""
    path = Path(task)
    named = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else task
    options = {"lm_eval": plan.version, "task": named, "limit": plan.limit}
    return answer_cache_key(answer_cache_location(model, workspace.settings), [], options)
