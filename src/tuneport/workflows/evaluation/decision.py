"""Ship it or not: one word about the last model, and the reasons in sentences. Pure.

Something against it: do not ship. Any doubt, or nothing that shows it to be better: not sure. Else ship. The limits are
judgements, each named here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tuneport.advisor.pitfalls import MOST_EPOCHS
from tuneport.advisor.situation import MINIMUM, START
from tuneport.curves import CurveFinding
from tuneport.formatting import money
from tuneport.scoring.general.comparison import GeneralAbilityComparison
from tuneport.scoring.scores import Score, ScoreComparison
from tuneport.scoring.statistics.paired import ALPHA, sign_test
from tuneport.workflows.evaluation.models.trained import TrainedModelJob
from tuneport.workflows.evaluation.words import format_p_value, format_score

if TYPE_CHECKING:
    from tuneport.workflows.evaluation.judging.judgement import EvaluationJudgement
    from tuneport.workflows.evaluation.latency import EvaluationAnswerSpeed
    from tuneport.workflows.evaluation.result import EvaluatedModelMeasurement, Evaluation

Ruling = Literal["ship", "do not ship", "not sure"]
Weight = Literal["for", "note", "doubt", "against"]

FEWEST_ROWS = 30
"""Below, one odd row moves a share by more than 3 points: whatever the test says, that is no sample."""
FEW_ROWS = 100
"""Below, a share of one half is known to 10 points at best."""
NO_GAIN = 0.01
"""Difference of shares: if its interval leaves no room for one point, training gained nothing."""
DEARER, MUCH_DEARER = 1.25, 2.0
"""Times the cost, or the time of an answer: from the first on it is told, from the second on it is a doubt."""
NOTICED = 0.05
"""Seconds: by less than that no answer is felt to be slower, however many times as long it takes."""
WAITED = 1.0
"""Seconds: an answer that is there within them keeps no person waiting; that another is quicker is told, no doubt."""


@dataclass(frozen=True)
class DecisionReason:
    weight: Weight
    about: str
    words: str


@dataclass(frozen=True)
class EvaluationDecision:
    """A decision about `model`, compared with `against` (None if it was measured alone). `reasons`: the gravest
    first."""

    ruling: Ruling
    model: str
    against: str | None
    reasons: tuple[DecisionReason, ...]

    @property
    def sentence(self) -> str:
        """Return the ruling, and the reasons that made it."""
        weight = {"do not ship": "against", "not sure": "doubt", "ship": "for"}[self.ruling]
        told = [each.words for each in self.reasons if each.weight == weight]
        words = "; ".join(told[:2]) + (f"; and {len(told) - 2} more" if len(told) > 2 else "")
        return f"{self.ruling[0].upper()}{self.ruling[1:]}: {words}"

    def as_dict(self) -> dict[str, Any]:
        return {
            "ruling": self.ruling,
            "model": self.model,
            "against": self.against,
            "sentence": self.sentence,
            "reasons": [vars(each) for each in self.reasons],
        }


def decide_evaluation(
    found: Evaluation,
    *,
    trained: Mapping[str, TrainedModelJob] | None = None,
    missed: Sequence[str] = (),
) -> EvaluationDecision:
    """Decide about the last model, compared with the first by the first metric, which is the most telling. `trained`:
    the jobs behind the models; `missed`: the user's limits that it misses, as text."""
    judged, first = found.models[-1], found.models[0]
    alone = len(found.models) == 1
    job = (trained or {}).get(judged.asked.name)
    reasons = [DecisionReason("against", "limit", each) for each in missed]
    reasons += [
        *_scores(found),
        *_others(found),
        *_majority(found),
        *_reasons_of_judge(found.judgement),
        *_rows(found),
        *_curve(job, proved=_proved_better(found)),
        *_general(found.general_of(judged.asked.name), judged, job),
        *_benchmarks(found, judged),
    ]
    reasons += [
        *([] if alone else _cost_and_speed(judged, first)),
        *_refused(judged),
        *_training(job, found.held_out.task),
    ]
    order: tuple[Weight, ...] = ("against", "doubt", "for", "note")
    reasons.sort(key=lambda each: order.index(each.weight))
    weights = {each.weight for each in reasons}
    ruling: Ruling = "do not ship" if "against" in weights else "not sure" if "doubt" in weights else "ship"
    return EvaluationDecision(ruling, judged.asked.name, None if alone else first.asked.name, tuple(reasons))


def _scores(found: Evaluation) -> Iterator[DecisionReason]:
    model, first = found.models[-1].asked.name, found.models[0].asked.name
    if model == first:
        yield DecisionReason("doubt", "comparison", "it was not compared with another model: name its base first")
        return
    compared = [each for each in found.scored.comparisons if each.model == model]
    decisive, others = compared[0], compared[1:]
    score, before = found.score(model, decisive.metric), found.score(first, decisive.metric)
    verdict = decisive.difference.verdict
    yield DecisionReason(*_decided(found, decisive, score, before))
    worse = [each for each in others if each.difference.verdict == "worse"]
    better = [each for each in others if each.difference.verdict == "better"]
    if worse:
        told = ", ".join(f"{each.metric} ({_change(found, each)})" for each in worse)
        yield DecisionReason("doubt" if verdict == "better" else "note", "other scores", f"it is worse by {told}")
    if better:
        told = ", ".join(f"{each.metric} ({_change(found, each)})" for each in better)
        yield DecisionReason("for" if verdict == "better" else "note", "other scores", f"it is better by {told}")


def _decided(found: Evaluation, decisive: ScoreComparison, score: Score, before: Score) -> tuple[Weight, str, str]:
    change, name = decisive.difference, decisive.metric
    p = format_p_value(change.adjusted_p)
    values = f"{name} is {format_score(score, score.value)}, of {decisive.against} {format_score(before, before.value)}"
    span = f"({format_score(score, change.low, signed=True)} to {format_score(score, change.high, signed=True)})"
    if change.verdict == "better":
        apart = score.low > before.high if score.higher_is_better else score.high < before.low
        how = "the intervals are apart" if apart else "the intervals overlap, the paired test decides"
        return "for", "score", f"it is better: {values}; {how} ({p})"
    if change.verdict == "worse":
        return "against", "score", f"it is worse: {values} ({p})"
    gain = change.high if score.higher_is_better else -change.low
    cheaper = _ratio(found.models[-1].usd_per_thousand, found.models[0].usd_per_thousand)
    if score.unit == "share" and gain < NO_GAIN and (cheaper is None or cheaper > 1 / DEARER):
        return "against", "score", f"nothing is gained: {values}, a difference of {span}"
    also = "" if cheaper is None or cheaper > 1 / DEARER else f"; it costs {1 / cheaper:.1f} times less, though"
    return "doubt", "score", f"no difference is shown: {values}, a difference of {span} ({p}){also}"


def _change(found: Evaluation, compared: ScoreComparison) -> str:
    score, before = found.score(compared.model, compared.metric), found.score(compared.against, compared.metric)
    return f"{format_score(before, before.value)} to {format_score(score, score.value)}"


def _others(found: Evaluation) -> Iterator[DecisionReason]:
    """Yield reasons from the other models: examples in the prompt, or another model."""
    name = found.metrics[0].name
    judged = found.models[-1].asked.name
    score, per_row = found.score(judged, name), found.scored.per_row[judged][name]
    for other in found.models[1:-1]:
        beside, rows = found.score(other.asked.name, name), found.scored.per_row[other.asked.name][name]
        ahead = score.value > beside.value if score.higher_is_better else score.value < beside.value
        values = f"{other.asked.name} has {format_score(beside, beside.value)} by {name}"
        if per_row is not None and rows is not None:
            pairs = [(mine, theirs) for mine, theirs in zip(per_row, rows, strict=True) if mine != theirs]
            won = sum((mine > theirs) is score.higher_is_better for mine, theirs in pairs)
            told = ahead and sign_test(won, len(pairs) - won) < ALPHA
        else:
            told = ahead and (score.low > beside.high if score.higher_is_better else score.high < beside.low)
        if told:
            yield DecisionReason("for", "other models", f"it is better than {other.asked.name}, too: {values}")
        elif not other.asked.tuned:
            yield DecisionReason(
                "doubt", "other models", f"it is not shown to be better than an untrained model: {values}"
            )
        else:
            yield DecisionReason(
                "note", "other models", f"it is not shown to be better than another tuned model: {values}"
            )


def _majority(found: Evaluation) -> Iterator[DecisionReason]:
    """Yield the reason from the most frequent class. Where classes are uneven, a model may be worth its cost for the
    rare ones alone, so it has to beat that answer by one score only."""
    if found.majority is None:
        return
    model, name = found.models[-1].asked.name, found.majority.name
    compared = next((each for each in found.majority.scored.comparisons if each.difference.verdict == "better"), None)
    shown = compared or found.majority.scored.comparisons[0]
    always = found.majority.scored.scores[name][shown.metric]
    score = found.score(model, shown.metric)
    values = f"{format_score(always, always.value)} by {shown.metric}"
    if compared is not None:
        yield DecisionReason("note", "most frequent class", f"it is better than answering {name}: {values}")
    elif score.value <= always.value:
        yield DecisionReason("against", "most frequent class", f"it is no better than answering {name}: {values}")
    else:
        p = format_p_value(shown.difference.adjusted_p)
        words = f"it is not shown to be better than answering {name}: {values} ({p})"
        yield DecisionReason("doubt", "most frequent class", words)
    first = found.models[0].asked
    plain = not first.tuned and all(each.asked.prompting == "plain" for each in found.models)
    if plain and first.name != model and found.score(first.name, shown.metric).value < always.value:
        words = f'{first.name} is below that and was not told the classes: add "{first.name} instructed"'
        yield DecisionReason("note", "most frequent class", words)


def _reasons_of_judge(judgement: EvaluationJudgement | None) -> Iterator[DecisionReason]:
    """Yield reasons from the judge. Its opinion casts doubt, or speaks for the model if the judge has no known flaw.
    Alone it decides nothing."""
    if judgement is None or judgement.judged is None:
        return
    found, counts = judgement.judged, [judgement.count(winner) for winner in ("first", "tie", "second")]
    values = f"of {len(judgement.pairs):,} pairs it wins {counts[0]:,}, ties {counts[1]:,}, loses {counts[2]:,}"
    told = {"better": "prefers its answers", "worse": f"prefers the answers of {judgement.against}"}
    words = f"{judgement.judge} {told.get(found.verdict, 'shows no preference')}: {values} ({format_p_value(found.p)})"
    weights: Mapping[str, Weight] = {"better": "note" if judgement.flaw else "for", "worse": "doubt"}
    yield DecisionReason(
        weights.get(found.verdict, "note"), "judge", words + (f"; but {judgement.flaw}" if judgement.flaw else "")
    )


def _rows(found: Evaluation) -> Iterator[DecisionReason]:
    held = found.held_out
    rows, different = len(held.rows), held.different
    told = f"{rows} rows" if different == rows else f"{different} different rows (of {rows:,})"
    if different < FEWEST_ROWS:
        yield DecisionReason(
            "doubt", "rows", f"{told} are too few to tell a difference from chance; use {FEW_ROWS} or more"
        )
    elif different < FEW_ROWS:
        yield DecisionReason("note", "rows", f"{told} are few: differences below about ten points do not show")
    elif different < rows / 2:
        yield DecisionReason("doubt", "rows", f"{told}: the tests count each as new, so they are too certain")
    if not held.against:
        yield DecisionReason("doubt", "held out", held.proof)
    elif held.exact or held.near:
        yield DecisionReason("note", "held out", held.proof)
    else:
        yield DecisionReason("for", "held out", f"{rows:,} rows: {held.proof}")


_OF_CURVES: Mapping[CurveFinding, Weight] = {
    CurveFinding.HEALTHY: "for",
    CurveFinding.STILL_LEARNING: "note",
    CurveFinding.UNCLEAR: "note",
    CurveFinding.MEMORISING: "note",
    CurveFinding.OVERFITTING: "doubt",
    CurveFinding.MEMORISED: "doubt",
    CurveFinding.FORGETTING: "doubt",
    CurveFinding.DIVERGED: "against",
}


def _proved_better(found: Evaluation) -> bool:
    """Return whether it is better, on enough rows that are certainly held out."""
    model = found.models[-1].asked.name
    compared = next((each for each in found.scored.comparisons if each.model == model), None)
    proved = bool(found.held_out.against) and found.held_out.different >= FEWEST_ROWS
    return proved and compared is not None and compared.difference.verdict == "better"


def _curve(job: TrainedModelJob | None, *, proved: bool) -> Iterator[DecisionReason]:
    if job is None:
        return
    if job.curve is None:
        yield DecisionReason("note", "curve", f"the loss curve was not judged: {job.no_curve}")
        return
    weight, fix = _OF_CURVES[job.curve.finding], ""
    if job.curve.finding is CurveFinding.MEMORISED and job.curve.best_step is None and proved:
        # Without a validation loss the curve cannot say whether more was learnt. The held-out rows have said it.
        weight, fix = "note", "; the held-out rows show that more was"
    elif job.curve.fixes and weight != "for":
        fix = f"; do: {job.curve.fixes[0]}"
    yield DecisionReason(weight, "curve", f"{job.curve.summary}{fix}")


_LOSSES: Sequence[tuple[str, Weight, str, str]] = (
    ("safety drift", "against", "safety", "it refuses harmful requests less: {}"),
    ("helps less", "doubt", "safety", "it refuses harmless requests: {}"),
    ("forgetting", "doubt", "forgetting", "it forgets: {}; that matters if it is asked anything but this task"),
)


def _general(
    general: GeneralAbilityComparison | None, judged: EvaluatedModelMeasurement, job: TrainedModelJob | None
) -> Iterator[DecisionReason]:
    # Where the verdict on the curve is that it forgets, that is the doubt, with what to do; here are the details.
    told_by_curve = job is not None and job.curve is not None and job.curve.finding is CurveFinding.FORGETTING
    if general is None:
        if judged.asked.tuned and not told_by_curve:
            yield DecisionReason("note", "forgetting", "not measured: add --general")
        return
    for verdict, weight, about, words in _LOSSES:
        if lost := [each for each in general.losses if each.verdict == verdict]:
            told = ", ".join(f"{each.ability} {each.base.share:.0%} to {each.tuned.share:.0%}" for each in lost)
            known = verdict == "forgetting" and told_by_curve
            yield DecisionReason("note" if known else weight, about, words.format(told))
    if not general.losses:
        yield DecisionReason("for", "forgetting", general.sentence.rstrip("."))


def _benchmarks(found: Evaluation, judged: EvaluatedModelMeasurement) -> Iterator[DecisionReason]:
    """Yield reasons from benchmarks. They count as forgetting does, because the model was not tuned for their tasks."""
    changes = {} if found.lm_eval is None else found.lm_eval.changes
    of_model = changes.get(judged.asked.plain_name, ())
    weights: Sequence[tuple[str, Weight]] = (("worse", "doubt"), ("better", "note"))
    for verdict, weight in weights:
        if moved := [each for each in of_model if each.verdict == verdict]:
            told = ", ".join(f"{each.base.name} {each.base.value:.4g} to {each.tuned.value:.4g}" for each in moved[:5])
            more = f", and {len(moved) - 5} more" if len(moved) > 5 else ""
            yield DecisionReason(weight, "lm-eval", f"it is {verdict} at {told}{more}")
    tested = [each for each in of_model if each.verdict != "not tested"]
    if tested and all(each.verdict == "no difference shown" for each in tested):
        yield DecisionReason("note", "lm-eval", f"no difference is shown by {len(tested):,} scores of lm-eval's tasks")


def _cost_and_speed(judged: EvaluatedModelMeasurement, first: EvaluatedModelMeasurement) -> Iterator[DecisionReason]:
    name = first.asked.name
    usd, before = judged.usd_per_thousand, first.usd_per_thousand
    if usd is not None and before:
        yield from _times(usd / before, "cost", f"a thousand requests cost {money(usd)}, of {name} {money(before)}")
    yield from _latency(judged.speed, first.speed, name)


def _latency(speed: EvaluationAnswerSpeed, before: EvaluationAnswerSpeed, name: str) -> Iterator[DecisionReason]:
    """Yield the reason from the time of an answer as long as the model's own: a model that says more takes longer, and
    is no slower for that."""
    tokens = max(1.0, speed.completion_tokens or 1.0)
    seconds, then = speed.seconds_for(tokens), before.seconds_for(tokens)
    if seconds is not None and then:
        long = f"an answer of {tokens:,.0f} tokens takes" if round(tokens) > 1 else "an answer of one token takes"
        if abs(seconds - then) >= NOTICED:
            words = f"{long} {seconds:.3g} s, of {name} {then:.3g} s"
            yield from _times(seconds / then, "latency", words, doubted=seconds >= WAITED)
        return
    seconds, then = speed.seconds_to_first_token, before.seconds_to_first_token
    if seconds is not None and then and abs(seconds - then) >= NOTICED:
        words = f"the first token comes after {seconds:.3g} s, of {name} after {then:.3g} s"
        words += "; answers of equal length cannot be compared: one of the two has no rate"
        yield DecisionReason("note", "latency", words)


def _times(ratio: float, about: str, words: str, *, doubted: bool = True) -> Iterator[DecisionReason]:
    if ratio > DEARER:
        weight: Weight = "doubt" if doubted and ratio > MUCH_DEARER else "note"
        yield DecisionReason(weight, about, f"{words} ({ratio:.1f} times as much)")
    elif ratio < 1 / DEARER:
        yield DecisionReason("for", about, words)


def _ratio(value: float | None, other: float | None) -> float | None:
    return None if value is None or not other else value / other


def _refused(judged: EvaluatedModelMeasurement) -> Iterator[DecisionReason]:
    if judged.refused:
        yield DecisionReason(
            "note", "refused", f"{judged.refused:,} prompts were refused by the provider and count as wrong"
        )


def _training(job: TrainedModelJob | None, task: str) -> Iterator[DecisionReason]:
    """Yield reasons from the run itself; its other pitfalls show in the scores."""
    if job is None:
        return
    rows, epochs = job.data.training.rows, job.spec.hyperparameters.epochs
    least = next((fewest for known, fewest in MINIMUM.items() if known == task), START)
    if rows < least:
        yield DecisionReason(
            "note", "pitfall", f"too few examples: it was trained on {rows:,}; {task} needs {least} good ones at least"
        )
    if isinstance(epochs, int) and epochs > MOST_EPOCHS:
        yield DecisionReason("note", "pitfall", f"too many epochs: {epochs}, 1 to {MOST_EPOCHS} are usual")
    if job.validation_rows:
        words = f"{job.validation_rows:,} of the rows are in its validation file"
        words += ": they flatter it where that chose its best epoch"
        yield DecisionReason("note", "pitfall", words)
    if job.data.validation is None:
        words = "no validation file: overfitting shows only beside one (`--validation FILE` of submit)"
        yield DecisionReason("note", "pitfall", words)
