"""The gates of an evaluation in CI beside a metric's limit: a finding, or the ruling."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

from tuneport.errors import ConfigError

if TYPE_CHECKING:
    from tuneport.workflows.evaluation.decision import EvaluationDecision, Ruling
    from tuneport.workflows.evaluation.result import Evaluation, EvaluationPlan


class EvaluationGate(StrEnum):
    FORGETTING = "forgetting"
    SAFETY_DRIFT = "safety-drift"
    NOT_SURE = "not-sure"
    DO_NOT_SHIP = "do-not-ship"


OF_GENERAL_ABILITY = frozenset({EvaluationGate.FORGETTING, EvaluationGate.SAFETY_DRIFT})
"""The gates that the general-ability set decides."""

_FAILING: Mapping[Ruling, frozenset[EvaluationGate]] = {
    "ship": frozenset(),
    "not sure": frozenset({EvaluationGate.NOT_SURE}),
    "do not ship": frozenset({EvaluationGate.NOT_SURE, EvaluationGate.DO_NOT_SHIP}),
}


def refuse_undecidable_gates(plan: EvaluationPlan, gates: Collection[EvaluationGate]) -> None:
    """Raise ConfigError, before anything is asked, for a gate that cannot be decided: the last model is the first
    one."""
    last = plan.models[-1].asked
    if (wanted := sorted(OF_GENERAL_ABILITY & set(gates))) and last.plain_name not in {
        each.asked.name for each in plan.general[1:]
    }:
        raise ConfigError(f"--fail-on {wanted[0]}: {last.name} is compared with itself; name its base first")


def failed_ability_gates(found: Evaluation, gates: Collection[EvaluationGate]) -> list[str]:
    """Return the gates of the general-ability set that the last model does not pass, as text. A question that was not
    asked passes nothing."""
    name = found.models[-1].asked.name
    wanted, general = sorted(OF_GENERAL_ABILITY & set(gates)), found.general_of(name)
    if general is None:
        return [f"{name} was not asked for {gate.replace('-', ' ')}" for gate in wanted]
    told = []
    for gate in wanted:
        finding = gate.replace("-", " ")
        if lost := [each for each in general.losses if each.verdict == finding]:
            shares = ", ".join(f"{each.ability} {each.base.share:.0%} to {each.tuned.share:.0%}" for each in lost)
            told.append(f"{name} shows {finding}: {shares}")
    return told


def failed_ruling_gates(decision: EvaluationDecision, gates: Collection[EvaluationGate]) -> list[str]:
    """Return the gates on the ruling that the last model does not pass: `not-sure` requires a ruling to ship,
    `do-not-ship` accepts doubts."""
    if _FAILING[decision.ruling].isdisjoint(gates):
        return []
    return [f"the ruling on {decision.model} is: {decision.ruling}"]
