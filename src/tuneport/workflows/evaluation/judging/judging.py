"""A model judges two others' answers, pair by pair: what that costs, and what it said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tuneport.data.pii.search import find_personal_data
from tuneport.errors import BudgetError, ConfigError
from tuneport.lifecycle.service import JobService
from tuneport.scoring.examples import Answer, Example, Messages
from tuneport.scoring.judge import JudgeRequest, build_judge_request, score_answers_by_judge
from tuneport.workflows.evaluation.answer_cache import EvaluationAnswerCache
from tuneport.workflows.evaluation.answering import EvaluationAnswer, Prompt, answer_cache_keys, ask_prompts
from tuneport.workflows.evaluation.held_out import HeldOutRows
from tuneport.workflows.evaluation.judging.judge_models import EvaluationJudgeModel, find_judge_model
from tuneport.workflows.evaluation.judging.judgement import EvaluationJudgement, JudgedPair
from tuneport.workflows.evaluation.models.asked_models import EvaluatedModel
from tuneport.workflows.evaluation.models.planned_models import ESTIMATED, estimate_input_tokens


@dataclass(frozen=True)
class EvaluationJudgePlan:
    """The plan to judge `model`'s answers against those of `against`. `kept`: judgements that are in the cache;
    `prompts`: those that are still to be asked, and `usd` what these cost. Both are maxima for answers that are not
    known yet (`counted` if all are), for which the input has `unknown_tokens`. `usd` is None with the reason in `why`.
    `own`: the judge is one of the two. `counting` says how `input_tokens` were counted."""

    judge: EvaluationJudgeModel
    rubric: str
    model: str
    against: str
    kept: int
    prompts: tuple[Prompt, ...]
    counted: bool
    unknown_tokens: int
    input_tokens: int
    output_tokens: int
    usd: float | None
    why: str
    own: bool
    counting: str = ESTIMATED

    @property
    def waiting(self) -> int:
        """Return how many judgements are still to be asked."""
        return len(self.prompts)

    @property
    def third_party(self) -> str | None:
        """Return the third party that rows and answers go to."""
        return self.judge.third_party if self.waiting else None

    @property
    def usd_at_most(self) -> float:
        """Return the maximum cost. Raises BudgetError if that is unknown."""
        if self.usd is None and self.waiting:
            raise BudgetError(
                f"the price of the judge {self.judge.name} is unknown, because {self.why}; leave --budget out"
            )
        return self.usd or 0.0


def plan_judge(
    workspace: JobService,
    cache: EvaluationAnswerCache,
    name: str,
    rubric: str,
    rows: Sequence[Example],
    models: Sequence[EvaluatedModel],
    keys: Sequence[Sequence[str]],
    answer_limit: int,
    *,
    base: str | None = None,
) -> EvaluationJudgePlan:
    """Plan the judging of the last of `models` against the first. `keys` has those of each one's answers: an answer
    that is not in the cache yet counts as `answer_limit` tokens. Nothing is sent. Raises ConfigError for a single
    model."""
    if len(models) < 2:
        raise ConfigError("--judge sets one model's answers beside another's: name two")
    found = find_judge_model(workspace, name, [each.name for each in models], base=base)
    against, model = models[0], models[-1]
    theirs, mine = (
        {key: EvaluationAnswer(**kept).answer for key, kept in cache.get(each).items()} for each in (keys[0], keys[-1])
    )
    known = [
        (row, mine[key], theirs[other])
        for row, key, other in zip(rows, keys[-1], keys[0], strict=True)
        if key in mine and other in theirs
    ]
    unknown = [
        (row, Answer(""), Answer(""))
        for row, key, other in zip(rows, keys[-1], keys[0], strict=True)
        if key not in mine or other not in theirs
    ]
    prompts = _prompts(found, _question([each for each in known if _differ(each[1], each[2])], rubric))
    names = answer_cache_keys(found.where, prompts)
    kept = cache.get(names)
    waiting = [prompt for prompt, key in zip(prompts, names, strict=True) if key not in kept]
    waiting += _prompts(found, _question(unknown, rubric))
    unknown_tokens = 2 * len(unknown) * 2 * answer_limit  # both orders, both answers
    input_tokens = 0
    if found.third_party is not None:
        input_tokens = sum(map(estimate_input_tokens, waiting)) + unknown_tokens
    output_tokens = len(waiting) * found.answer_limit
    usd, why = found.price(workspace, requests=len(waiting), input_tokens=input_tokens, output_tokens=output_tokens)
    return EvaluationJudgePlan(
        judge=found,
        rubric=rubric,
        model=model.name,
        against=against.name,
        kept=len(names) - len(waiting) + 2 * len(unknown),
        prompts=tuple(waiting),
        counted=not unknown,
        unknown_tokens=unknown_tokens,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        usd=usd,
        why=why,
        own=found.is_among_models([against, model]),
    )


def run_judge(
    workspace: JobService,
    cache: EvaluationAnswerCache,
    plan: EvaluationJudgePlan,
    held: HeldOutRows,
    mine: Sequence[EvaluationAnswer],
    theirs: Sequence[EvaluationAnswer],
    *,
    allow_personal_data: bool = False,
    on_progress: Callable[[str, int, int], None] = lambda model, answered, of: None,
) -> EvaluationJudgement:
    """Ask about all pairs that differ, in both orders. Judgements are kept as answers are: a repeated call, after `kill
    -9` too, asks only the rest. Raises ConfigError if what looks like personal data would leave this machine."""
    places = [
        place for place, (one, other) in enumerate(zip(mine, theirs, strict=True)) if _differ(one.answer, other.answer)
    ]
    asked = _question([(held.rows[place], mine[place].answer, theirs[place].answer) for place in places], plan.rubric)
    prompts = _prompts(plan.judge, asked)
    keys = answer_cache_keys(plan.judge.where, prompts)
    there = cache.get(keys)
    kept = sum(key in there for key in keys)
    if plan.judge.third_party is not None and kept < len(keys) and not allow_personal_data:
        for place in places:
            for name, said in ((plan.model, mine[place]), (plan.against, theirs[place])):
                _refuse_personal_data(plan, name, held.lines[place], said)
    answers: list[EvaluationAnswer] = []

    def complete(conversations: Sequence[Messages]) -> list[str]:
        backend, of = plan.judge.completes(workspace), len(conversations)
        answers.extend(
            ask_prompts(
                backend,
                plan.judge.model,
                prompts,
                keys,
                cache,
                lambda answered: on_progress(f"judge {plan.judge.name}", answered, of),
            )
        )
        return [each.text for each in answers]

    judged = score_answers_by_judge(asked, complete) if places else None
    pairs = tuple(
        JudgedPair(place, held.lines[place], winner, in_order.text, turned.text)
        for place, winner, in_order, turned in zip(
            places, () if judged is None else judged.winners, answers[0::2], answers[1::2], strict=True
        )
    )
    return EvaluationJudgement(
        judge=plan.judge.name,
        rubric=plan.rubric,
        model=plan.model,
        against=plan.against,
        judged=judged,
        pairs=pairs,
        identical=len(held.rows) - len(places),
        cached=kept,
        refused=sum(each.refused is not None for each in answers),
        own=plan.own,
    )


def _question(pairs: Sequence[tuple[Example, Answer, Answer]], rubric: str) -> JudgeRequest:
    rows, mine, theirs = [row for row, _, _ in pairs], [one for _, one, _ in pairs], [other for _, _, other in pairs]
    return build_judge_request(rows, mine, theirs, rubric=rubric)


def _prompts(found: EvaluationJudgeModel, asked: JudgeRequest) -> list[Prompt]:
    options = {"max_tokens": found.answer_limit, "temperature": 0.0}
    return [Prompt(messages, options) for messages in asked.prompts]


def _differ(one: Answer, other: Answer) -> bool:
    """Return whether the answers differ, apart from the space around them."""
    return (one.text.strip(), one.calls) != (other.text.strip(), other.calls)


def _refuse_personal_data(plan: EvaluationJudgePlan, model: str, line: int, said: EvaluationAnswer) -> None:
    written = "\n".join([said.text, *(call.arguments for call in said.answer.calls)])
    if matches := find_personal_data(written):
        raise ConfigError(
            f"the answer of {model} to line {line} holds what looks like personal data ({matches[0].kind} "
            f"{matches[0].masked}) and the judge, {plan.judge.third_party}, is a third party; --allow-personal-data "
            "sends it anyway; the answers are kept"
        )
