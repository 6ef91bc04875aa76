"""Counts the input of a planned evaluation as its providers bill it, where they offer that: it sends the prompts to
them, so it waits for the user's word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from tuneport.backends.base import FineTuneBackend
from tuneport.data.pii.search import find_personal_data
from tuneport.data.running.underway import report_data_activity
from tuneport.errors import TuneportError
from tuneport.lifecycle.service import JobService
from tuneport.workflows.evaluation.answering import AT_ONCE, EvaluationChatCompleter, Prompt
from tuneport.workflows.evaluation.judging.judging import EvaluationJudgePlan
from tuneport.workflows.evaluation.models.planned_models import ESTIMATED, ModelAnswersPlan, price_waiting_prompts
from tuneport.workflows.evaluation.result import EvaluationPlan


def is_input_counted_by_provider(workspace: JobService, plan: EvaluationPlan) -> bool:
    """Return whether a provider to which something of the plan goes counts tokens."""
    backends = [_answering(workspace, each) for _, each in plan.sent]
    return any(isinstance(each, FineTuneBackend) and each.supports("count_input_tokens") for each in backends)


def count_planned_input(
    workspace: JobService, plan: EvaluationPlan, *, allow_personal_data: bool = False
) -> EvaluationPlan:
    """Return the plan with its input and prices by the providers' own counts, which cost nothing. A part whose provider
    offers none, or does not answer, keeps its estimate; its `counting` says so.

    Prompts of a judge that hold what looks like personal data are not sent, unless that is allowed: answers of models
    are in them, which nothing has checked yet.
    """

    def model(planned: ModelAnswersPlan) -> ModelAnswersPlan:
        waiting = [*planned.missing, *planned.again]
        count, counting = _count(workspace, planned, planned.asked.model, waiting)
        if count is None:
            return replace(planned, counting=counting)
        tokens, usd, why = price_waiting_prompts(
            planned.asked, workspace.settings, planned.missing, planned.again, count
        )
        return replace(planned, input_tokens=tokens, usd=usd, why=why, counting=counting)

    def judge(planned: EvaluationJudgePlan) -> EvaluationJudgePlan:
        count, counting = _count(
            workspace, planned, planned.judge.model, planned.prompts, keep_personal_data=not allow_personal_data
        )
        if count is None:
            return replace(planned, counting=counting)
        tokens = sum(map(count, planned.prompts)) + planned.unknown_tokens
        usd, why = planned.judge.price(
            workspace, requests=planned.waiting, input_tokens=tokens, output_tokens=planned.output_tokens
        )
        return replace(planned, input_tokens=tokens, usd=usd, why=why, counting=counting)

    return replace(
        plan,
        models=tuple(map(model, plan.models)),
        general=tuple(map(model, plan.general)),
        judge=None if plan.judge is None else judge(plan.judge),
    )


def _answering(workspace: JobService, planned: ModelAnswersPlan | EvaluationJudgePlan) -> EvaluationChatCompleter:
    if isinstance(planned, EvaluationJudgePlan):
        return planned.judge.completes(workspace)
    return workspace.backend(planned.asked.backend)


def _count(
    workspace: JobService,
    planned: ModelAnswersPlan | EvaluationJudgePlan,
    model: str,
    prompts: Sequence[Prompt],
    *,
    keep_personal_data: bool = False,
) -> tuple[Callable[[Prompt], int] | None, str]:
    """Return the provider's counts (None if there are none), and in words how the input is counted."""
    backend = _answering(workspace, planned)
    if planned.third_party is None or not isinstance(backend, FineTuneBackend):
        return None, planned.counting
    if not prompts or not backend.supports("count_input_tokens"):
        return None, planned.counting
    if keep_personal_data and any(map(_holds_personal_data, prompts)):
        return None, f"{ESTIMATED}, as it holds what looks like personal data"
    distinct = {id(prompt): prompt for prompt in prompts}
    counts: dict[int, int] = {}
    words = f"{planned.third_party} counts tokens"
    with ThreadPoolExecutor(AT_ONCE) as pool, report_data_activity(words, lambda: len(counts) / len(distinct)):
        futures = {
            name: pool.submit(backend.count_input_tokens, model, prompt.messages, **prompt.options)
            for name, prompt in distinct.items()
        }
        try:
            for name, future in futures.items():
                counts[name] = future.result()
        except TuneportError as error:
            return None, f"{ESTIMATED}, as {planned.third_party} did not count it: {error}"
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return lambda prompt: counts[id(prompt)], f"input as {planned.third_party} counts it"


def _holds_personal_data(prompt: Prompt) -> bool:
    return bool(find_personal_data("\n".join(str(each["content"]) for each in prompt.messages)))
