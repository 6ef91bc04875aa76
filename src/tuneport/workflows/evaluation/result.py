"""The plan of an evaluation, and its measurements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tuneport.data.pii.search import find_personal_data
from tuneport.errors import BudgetError, ConfigError
from tuneport.formatting import money
from tuneport.scoring.general import GeneralAbilityComparison
from tuneport.scoring.metrics import Metric, current_metric_name
from tuneport.scoring.scores import Score, Scored
from tuneport.workflows.evaluation.answering import EvaluationAnswer
from tuneport.workflows.evaluation.held_out import HeldOutRows
from tuneport.workflows.evaluation.judging.judgement import EvaluationJudgement
from tuneport.workflows.evaluation.judging.judging import EvaluationJudgePlan
from tuneport.workflows.evaluation.latency import EvaluationAnswerSpeed
from tuneport.workflows.evaluation.lm_eval import LmEvalEvaluation, LmEvalPlan
from tuneport.workflows.evaluation.majority import MajorityBaseline, MajorityClass
from tuneport.workflows.evaluation.models.asked_models import EvaluatedModel, plain_model_name
from tuneport.workflows.evaluation.models.planned_models import ModelAnswersPlan


@dataclass(frozen=True)
class EvaluationPlan:
    """The questions of an evaluation, its models, and what the answers would cost. Nothing has been sent.

    `general`: the general-ability set, once for each of the weights, if it is asked for. `majority`: the most frequent
    class, of a classification.
    """

    held_out: HeldOutRows
    models: tuple[ModelAnswersPlan, ...]
    metrics: tuple[Metric, ...]
    answer_limit: int
    general: tuple[ModelAnswersPlan, ...] = ()
    judge: EvaluationJudgePlan | None = None
    lm_eval: LmEvalPlan | None = None
    majority: MajorityClass | None = None

    @property
    def third_parties(self) -> list[str]:
        """Return the third parties that receive rows."""
        parties = {each.third_party for each in self.models if each.third_party and each.waiting}
        if self.judge is not None and self.judge.third_party is not None:
            parties.add(self.judge.third_party)
        return sorted(parties)

    @property
    def requests(self) -> tuple[ModelAnswersPlan, ...]:
        return self.models + self.general

    @property
    def sent(self) -> list[tuple[str, ModelAnswersPlan | EvaluationJudgePlan]]:
        """Return what goes to a third party, each part with its name."""
        parts: list[tuple[str, ModelAnswersPlan | EvaluationJudgePlan]] = [
            (each.asked.name, each) for each in self.requests
        ]
        if self.judge is not None:
            parts.append((f"judge {self.judge.judge.name}", self.judge))
        return [(name, each) for name, each in parts if each.third_party is not None and each.waiting]

    def refuse_over_budget(self, budget: float) -> None:
        for each in self.requests:
            if each.usd is None and each.waiting:
                raise BudgetError(f"the price of {each.asked.name} is unknown, because {each.why}; leave --budget out")
        most = sum(each.usd or 0.0 for each in self.requests)
        if self.judge is not None:
            most += self.judge.usd_at_most
        if most > budget:
            counting = "; ".join(dict.fromkeys(each.counting for _, each in self.sent))
            raise BudgetError(
                f"the evaluation may cost {money(most)}{f' ({counting})' if counting else ''}, above the budget of "
                f"{money(budget)}; ask fewer --rows"
            )

    def refuse_personal_data(self) -> None:
        """Raise ConfigError if what would go to a third party holds what looks like personal data."""
        if not self.third_parties:
            return
        sent = [(row.messages, row.expected) for row in self.held_out.rows]
        # The examples of few-shot prompts are training rows, and the same ones in each of them.
        sent += [(each.prompts[0].messages, "") for each in self.models if each.third_party and each.shots]
        for messages, expected in sent:
            calls = [call["function"]["arguments"] for each in messages for call in each.get("tool_calls", ())]
            if matches := find_personal_data(
                "\n".join([*(str(each["content"]) for each in messages), *calls, expected])
            ):
                raise ConfigError(
                    f"what is sent holds what looks like personal data ({matches[0].kind} {matches[0].masked}) and "
                    f"{self.third_parties[0]} is a third party; `tuneport clean --redact` replaces it, "
                    "--allow-personal-data sends it anyway"
                )


@dataclass(frozen=True)
class EvaluatedModelMeasurement:
    """A model's answers, and what they took. `usd_per_thousand` requests: None with the reason in `price`.

    `seconds` is the time of the answers that were asked now; `cached` of them were kept from before.
    """

    asked: EvaluatedModel
    said: tuple[EvaluationAnswer, ...]
    speed: EvaluationAnswerSpeed
    usd_per_thousand: float | None
    price: str
    seconds: float
    cached: int

    @property
    def refused(self) -> int:
        return sum(each.refused is not None for each in self.said)


@dataclass(frozen=True)
class Evaluation:
    """`scored`: see `evaluate.scores`. Models are compared with the first one, in `general` too, by their names.
    `majority`: what the last one is to beat in a classification."""

    held_out: HeldOutRows
    models: tuple[EvaluatedModelMeasurement, ...]
    metrics: tuple[Metric, ...]
    scored: Scored
    general: Mapping[str, GeneralAbilityComparison] = field(default_factory=dict)
    judgement: EvaluationJudgement | None = None
    lm_eval: LmEvalEvaluation | None = None
    majority: MajorityBaseline | None = None

    def score(self, model: str, name: str) -> Score:
        return self.scored.scores[model][name]

    def general_of(self, model: str) -> GeneralAbilityComparison | None:
        """Return what the model kept of the first one's abilities, however it was asked, or None if that was not
        measured."""
        return self.general.get(plain_model_name(model))

    def failing(self, least: Mapping[str, float]) -> list[str]:
        """Return the limits that the last model misses, as text. Raises ConfigError for a metric that was not
        measured."""
        model = self.models[-1].asked.name
        told = []
        for asked, limit in least.items():
            name = current_metric_name(asked)
            if name not in self.scored.scores[model]:
                raise ConfigError(f"--fail-under {name}: measured were {', '.join(self.scored.scores[model])}")
            score = self.score(model, name)
            if score.value < limit if score.higher_is_better else score.value > limit:
                told.append(f"{name} of {model} is {score.value:.4g}, and {limit:g} was asked for")
        return told

    def as_dict(self) -> dict[str, Any]:
        return {
            "held_out": self.held_out.as_dict(),
            "models": [
                {
                    "name": each.asked.name,
                    "backend": each.asked.backend,
                    "model": each.asked.model,
                    "few_shot": each.asked.few_shot,
                    "prompting": each.asked.prompting,
                    "answers": len(each.said),
                    "cached": each.cached,
                    "refused": each.refused,
                    "seconds": each.seconds,
                    "speed": each.speed.as_dict(),
                    "usd_per_thousand_requests": each.usd_per_thousand,
                    "price": each.price,
                }
                for each in self.models
            ],
            **self.scored.as_dict(),
            "majority": None if self.majority is None else self.majority.as_dict(),
            "general_ability": {name: each.as_dict() for name, each in self.general.items()},
            "judgement": None if self.judgement is None else self.judgement.as_dict(),
            "lm_eval": None if self.lm_eval is None else self.lm_eval.as_dict(),
            "rows": [
                {
                    "line": line,
                    "expected": row.expected,
                    "answers": {each.asked.name: each.said[index].text for each in self.models},
                }
                for index, (line, row) in enumerate(zip(self.held_out.lines, self.held_out.rows, strict=True))
            ],
        }
