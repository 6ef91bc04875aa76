"""The whole journey on the bundled data and model: check, compare, train, and measure whether it helped.

No stage is scripted: each is yielded when it has been measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from tuneport.backends.base import FineTuneBackend
from tuneport.data.checks import CheckReport, check_dataset
from tuneport.data.dataset import Dataset
from tuneport.data.reading import read_records
from tuneport.errors import ConfigError
from tuneport.lifecycle.handle import JobFailedError
from tuneport.lifecycle.schema.records import JobRecord
from tuneport.lifecycle.service import JobService, tuned_model_of_job
from tuneport.scoring.examples import (
    Example,
    Messages,
    choose_scoring_shots,
    expected_scoring_labels,
    read_scoring_examples,
)
from tuneport.scoring.extra import load_scipy_stats
from tuneport.scoring.metrics import load_metric, suitable_metric_names
from tuneport.scoring.prompting import (
    Complete,
    PromptingResult,
    make_scoring_completer,
    score_base_prompting,
    score_choice_likelihoods,
    score_prompting,
    score_zero_shot,
)
from tuneport.scoring.scores import score_all
from tuneport.types import Hyperparameters, TuneSpec
from tuneport.workflows.compare import Comparison, compare
from tuneport.workflows.evaluation.answering import EvaluationAnswer
from tuneport.workflows.evaluation.held_out import find_held_out_rows
from tuneport.workflows.evaluation.latency import EvaluationAnswerSpeed
from tuneport.workflows.evaluation.majority import count_classes, score_majority_class
from tuneport.workflows.evaluation.models.asked_models import BASE, FEW_SHOT, EvaluatedModel
from tuneport.workflows.evaluation.models.prices import evaluation_price_per_thousand
from tuneport.workflows.evaluation.report.page import EvaluationReport, build_evaluation_report
from tuneport.workflows.evaluation.result import EvaluatedModelMeasurement, Evaluation

MODEL = "support-intents"
"""An alias that ships in `providers/models.toml`: one model on each backend."""

ANSWER_TOKENS = 12
"""The longest label has four tokens; a model that rambles is cut off, and its answer is wrong either way."""

HYPERPARAMETERS = Hyperparameters(
    epochs=4, batch_size=8, learning_rate=1e-3, lora_rank=16, lora_alpha=32, lora_dropout=0.0, warmup_ratio=0.06
)
"""Chosen by cross-validation within the training rows; the rate is above the usual range, for a tiny model."""

PROMPT_LOSS_WEIGHT = 0.1
"""Weight of the prompts in the loss: the prompts, ten times as many tokens as the answers, then weigh about as much.
See `tuneport.train.methods.sft`.

Cross-validated exact match within the training rows (160 to train on, 80 to judge by, two folds) was 84 % with it and
78 % without.
"""

RANKED = "base, likelihood"
"""The way of asking that writes nothing."""

SHOTS_PER_LABEL = 1
"""One example of each label. Two a label made the base model no better and the prompt twice as long."""


@dataclass(frozen=True)
class DemoDatasetSummary:
    report: CheckReport


@dataclass(frozen=True)
class DemoComparison:
    comparison: Comparison


@dataclass(frozen=True)
class DemoTraining:
    row: JobRecord
    seconds: float


@dataclass(frozen=True)
class DemoResult:
    """`report`: the base model as it was asked both ways, and the tuned one, as `tuneport eval` compares them."""

    row: JobRecord
    report: EvaluationReport
    adapter: Path
    example: str
    seconds: float


Stage = DemoDatasetSummary | DemoComparison | DemoTraining | PromptingResult | DemoResult


def demo_dataset_path(part: str) -> Path:
    """Return the bundled `train` or `test` rows: in the installed package, else in the checkout."""
    name = f"support_intents.{part}.jsonl"
    installed = Path(str(files("tuneport"))) / "fixtures" / name
    checkout = Path(__file__).parents[3] / "fixtures" / "datasets" / name
    for path in (installed, checkout):
        if path.is_file():
            return path
    raise ConfigError(f"the demo's data is missing: neither {installed} nor {checkout} is there; reinstall tuneport")


def run_demo(
    workspace: JobService,
    *,
    seed: int,
    test: Path | None = None,
    on_change: Callable[[JobRecord], None] = lambda row: None,
) -> Iterator[Stage]:
    """Run the journey on the local backend; `on_change` gets the job's row while it trains.

    `test` replaces the bundled held-out rows: any of the same intents, in the format of the training rows. Raises
    JobFailedError if training fails; everything else that can go wrong raises before it starts.
    """
    load_scipy_stats()  # missed before anything is trained
    started = time.monotonic()
    train, test = demo_dataset_path("train"), test or demo_dataset_path("test")
    yield DemoDatasetSummary(check_dataset(train, validation=test))
    yield DemoComparison(compare(train, model=MODEL, settings=workspace.settings))

    begun = time.monotonic()
    spec = TuneSpec(
        model=MODEL,
        dataset=train,
        suffix="demo",
        seed=seed,
        hyperparameters=HYPERPARAMETERS,
        provider_options={"prompt_loss_weight": PROMPT_LOSS_WEIGHT, "average_weights": True},
    )
    row = workspace.submit(spec, backend="local")
    row = workspace.drive(row.id, on_change=on_change, poll_seconds=0.5)
    if row.status != "succeeded":
        reason = row.job_error.message if row.job_error else "no reason given"
        raise JobFailedError(f"training {row.status}: {reason}", row.job_error)
    yield DemoTraining(row, time.monotonic() - begun)

    rows = read_scoring_examples(test)
    said: list[list[str]] = []
    took: list[float] = []
    for measure in _evaluate(workspace.backend("local"), row, rows, read_scoring_examples(train), seed, said):
        if measure.name != RANKED:
            took.append(measure.seconds)
        yield measure

    state = row.job_state
    assert state is not None
    adapter = next(
        (point.path for point in workspace.backend("local").checkpoints(state.remote_id) if point.path), None
    )
    folder = Path(state.details.get("adapter") or adapter or "")
    report = _report(workspace, row, train, test, said, took)
    yield DemoResult(row, report, folder, rows[0].prompt, time.monotonic() - started)


def _evaluate(
    backend: FineTuneBackend,
    row: JobRecord,
    rows: Sequence[Example],
    train: Sequence[Example],
    seed: int,
    said: list[list[str]],
) -> Iterator[PromptingResult]:
    """Yield the measured models: base zero-shot, base few-shot, base by likelihood, tuned; on the same rows, in one
    inference process. Written answers are added to `said`."""
    state = row.job_state
    assert state is not None and state.tuned_model is not None
    base, tuned = row.model, state.tuned_model
    choices = expected_scoring_labels(train)
    shots = choose_scoring_shots(train, per_label=SHOTS_PER_LABEL, seed=seed)

    yield from score_base_prompting(
        rows, shots, _keeping_answers(make_scoring_completer(backend, base, most_tokens=ANSWER_TOKENS), said)
    )
    yield score_prompting(
        RANKED,
        f"{len(choices)} labels ranked",
        lambda: score_choice_likelihoods(rows, choices, lambda asked, given: backend.score(base, asked, given)),
    )
    ask_tuned = _keeping_answers(make_scoring_completer(backend, tuned, most_tokens=ANSWER_TOKENS), said)
    yield score_prompting("tuned", "the prompt as it is", lambda: score_zero_shot(rows, ask_tuned))


def _keeping_answers(complete: Complete, said: list[list[str]]) -> Complete:
    def asked(prompts: Sequence[Messages]) -> list[str]:
        said.append(list(complete(prompts)))
        return said[-1]

    return asked


def _report(
    workspace: JobService, row: JobRecord, train: Path, test: Path, said: Sequence[Sequence[str]], took: Sequence[float]
) -> EvaluationReport:
    """Return the report on the answers that are there: nothing is asked twice."""
    base = EvaluatedModel(BASE, row.backend, row.model, row.model)
    backend, tuned = tuned_model_of_job(row)
    models = (
        base,
        replace(base, name=BASE + FEW_SHOT, prompting="few-shot"),
        EvaluatedModel(row.id, backend, tuned, row.model),
    )
    held = find_held_out_rows(test, {train.name: train})
    lines = set(held.lines)
    places = [place for place, (line, _) in enumerate(read_records(test)) if line in lines]
    metrics = tuple(load_metric(name) for name in suitable_metric_names(held.rows, held.task))
    measured = []
    for asked, answers, seconds in zip(models, said, took, strict=True):
        usd, why = evaluation_price_per_thousand(
            asked, workspace.settings, prompt_tokens=None, completion_tokens=None, seconds=seconds / len(answers)
        )
        chosen = tuple(EvaluationAnswer(answers[place], []) for place in places)
        measured.append(
            EvaluatedModelMeasurement(
                asked, chosen, EvaluationAnswerSpeed(None, None, None, None, None), usd, why, seconds, 0
            )
        )
    answered = {each.asked.name: [one.answer for one in each.said] for each in measured}
    scored = score_all(held.rows, answered, metrics)
    of = count_classes(held.rows, Dataset(train)).majority
    majority = score_majority_class(of, held.rows, row.id, answered[row.id], metrics)
    found = Evaluation(held, tuple(measured), metrics, scored, majority=majority)
    return build_evaluation_report(workspace, found)
