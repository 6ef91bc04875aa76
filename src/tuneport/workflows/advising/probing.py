"""Measures the base model before anything is advised: a plain and a few-shot prompt, on rows that are in neither."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tuneport.advisor import Tried
from tuneport.backends.base import FineTuneBackend
from tuneport.data.checks import CheckReport
from tuneport.data.dataset import Dataset
from tuneport.data.pii.search import find_personal_data
from tuneport.data.rows.text import normalise_record_text
from tuneport.errors import ConfigError
from tuneport.scoring.accuracy import AccuracyScore
from tuneport.scoring.correctness import Correctness, scored_correctness_for
from tuneport.scoring.examples import Example, prepend_few_shot_turns
from tuneport.scoring.prompting import PromptingResult, make_scoring_completer, score_base_prompting
from tuneport.workflows.advising.few_shot import ProbeSample, count_probe_sample_tokens, draw_probe_sample
from tuneport.workflows.target import TargetModel

DEFAULT_ROWS = 50
"""Their 95 % interval is 8 to 27 points wide; the next halving of that would take four times as many."""
WORKS, SURELY = 0.9, 0.8
"""It works: this share of the answers is right, the interval's lower end is at least `SURELY`, and it is more than
always giving the commonest answer would get. Judgements."""
PARTLY = 0.5
"""It works partly: this share is right, and surely more than always giving the commonest answer would get."""

MOST_ANSWER_TOKENS = 1024


@dataclass(frozen=True)
class AdvisingProbePlan:
    """The plan of a probe, before anything is sent: the questions, the model, and their number.

    `input_tokens` are those of all prompts, `output_tokens` those of the expected answers, `most_output_tokens` those
    of answers as long as the limit.
    """

    target: TargetModel
    metric: Correctness
    drawn: ProbeSample
    input_tokens: int
    output_tokens: int
    answer_limit: int

    @property
    def prompts(self) -> int:
        return len(self.drawn.rows) * (2 if self.drawn.shots else 1)

    @property
    def most_output_tokens(self) -> int:
        return self.prompts * self.answer_limit

    def refuse_personal_data(self) -> None:
        """Check the very texts that would be sent. Raises ConfigError if they hold what looks like personal data."""
        for example in (*self.drawn.rows, *self.drawn.shots):
            texts = [str(message["content"]) for message in example.messages]
            if matches := find_personal_data("\n".join([*texts, example.expected])):
                raise ConfigError(
                    f"the rows to ask hold what looks like personal data ({matches[0].kind} {matches[0].masked}) and "
                    f"{self.target.manifest.title} is a third party; `tuneport clean --redact` replaces it, "
                    "--allow-personal-data sends it anyway"
                )


@dataclass(frozen=True)
class AdvisingProbe:
    """The measurements of a probe. `results`: by field of a `Situation`; empty if a person has to judge the answers."""

    plan: AdvisingProbePlan
    measured: tuple[PromptingResult, ...]
    answers: tuple[dict[str, str], ...]

    @property
    def results(self) -> dict[str, Tried]:
        if not self.plan.metric.decides:
            return {}
        chance = commonest_probe_answer_share(self.plan.drawn.rows)
        fields = {"base": "prompt", "base, few-shot": "few_shot"}
        return {fields[each.name]: probe_result(each.score, chance) for each in self.measured}

    @property
    def evidence(self) -> str:
        told = [
            f"{each.name}: {each.score.correct} of {each.score.total} right ({each.score.accuracy:.0%}, "
            f"{each.score.low:.0%} to {each.score.high:.0%})"
            for each in self.measured
        ]
        return f"measured on {self.plan.target.model}: {'; '.join(told)}"

    def as_dict(self) -> dict[str, Any]:
        plan = self.plan
        return {
            "backend": plan.target.manifest.name,
            "model": plan.target.model,
            "metric": plan.metric.name,
            "decides": plan.metric.decides,
            "rows": len(plan.drawn.rows),
            "of": plan.drawn.of,
            "shots": len(plan.drawn.shots),
            "nearest_shot_similarity": round(plan.drawn.nearest, 3),
            "instruction": plan.drawn.instruction,
            "commonest_answer_share": commonest_probe_answer_share(plan.drawn.rows),
            "thresholds": {"works": WORKS, "works_surely": SURELY, "partly": PARTLY},
            "results": {field: result.value for field, result in self.results.items()},
            "scores": [
                {"name": each.name, "what": each.what, "seconds": each.seconds, **each.score.as_dict()}
                for each in self.measured
            ],
            "answers": list(self.answers),
        }


def plan_probe(
    report: CheckReport,
    target: TargetModel,
    *,
    validation: Dataset | None = None,
    rows: int = DEFAULT_ROWS,
    seed: int = 0,
    system: str | None = None,
) -> AdvisingProbePlan:
    """Draw the rows and the shots; the same file, number and seed draw the same ones. Nothing is sent.

    The rows are those of `validation`, else drawn from the dataset, and no shot equals one of them or nearly so.
    `system` replaces the data's own system prompts; without it, a classification is told its labels and an extraction
    its keys, as is usual in a prompt. Raises ConfigError if there is nothing to ask.
    """
    drawn = draw_probe_sample(report, validation=validation, rows=rows, seed=seed, system=system)
    asked = [row.messages for row in drawn.rows]
    if drawn.shots:
        asked += [prepend_few_shot_turns(row, drawn.shots) for row in drawn.rows]
    answers = [count_probe_sample_tokens([row.expected]) for row in drawn.rows]
    return AdvisingProbePlan(
        target=target,
        metric=scored_correctness_for(report.task),
        drawn=drawn,
        input_tokens=sum(count_probe_sample_tokens(str(each["content"]) for each in messages) for messages in asked),
        output_tokens=sum(answers) * (2 if drawn.shots else 1),
        # Other vocabularies write the same in more tokens: up to twice as many is plenty.
        answer_limit=min(MOST_ANSWER_TOKENS, 16 + 2 * max(answers)),
    )


def run_probe(
    plan: AdvisingProbePlan,
    backend: FineTuneBackend,
    on_measured: Callable[[PromptingResult], None] = lambda measured: None,
) -> AdvisingProbe:
    """Ask the base model. An error of the provider is raised unchanged."""
    texts: list[list[str]] = []
    ask = make_scoring_completer(backend, plan.target.model, most_tokens=plan.answer_limit)

    def complete(conversations: Sequence[list[dict[str, Any]]]) -> list[str]:
        texts.append(list(ask(conversations)))
        return texts[-1]

    measured = []
    for each in score_base_prompting(plan.drawn.rows, plan.drawn.shots, complete, same=plan.metric.same):
        on_measured(each)
        measured.append(each)
    answers = [
        {"prompt": row.prompt, "expected": row.expected}
        | {each.name: said[index] for each, said in zip(measured, texts, strict=True)}
        for index, row in enumerate(plan.drawn.rows[:3])
    ]
    return AdvisingProbe(plan, tuple(measured), tuple(answers))


def probe_result(score: AccuracyScore, chance: float) -> Tried:
    """Return what a measured share of right answers means; `chance` is the share that always giving the commonest
    answer gets."""
    if score.accuracy >= WORKS and score.low >= SURELY and score.accuracy > chance:
        return Tried.WORKS
    if score.accuracy >= PARTLY and score.low > chance:
        return Tried.PARTLY
    return Tried.FAILS


def commonest_probe_answer_share(rows: Sequence[Example]) -> float:
    answers = [normalise_record_text(row.expected) for row in rows]
    return max(answers.count(answer) for answer in set(answers)) / len(answers)
