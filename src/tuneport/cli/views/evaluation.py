"""The view of an evaluation: each metric with all models, then their costs and times, for 80 columns."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from rich.text import Text

from tuneport.cli.views import output
from tuneport.cli.views.judgement import print_judgement
from tuneport.errors import one_line
from tuneport.workflows.evaluation.mistakes import find_mistakes
from tuneport.workflows.evaluation.words import answer_words, format_interval, format_p_value, format_score

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from tuneport.scoring.examples import Call
    from tuneport.scoring.general import GeneralAbilityComparison
    from tuneport.workflows.evaluation.decision import EvaluationDecision
    from tuneport.workflows.evaluation.lm_eval import LmEvalEvaluation
    from tuneport.workflows.evaluation.result import EvaluatedModelMeasurement, Evaluation

_COLOURS = {"better": "green", "worse": "red", "no difference shown": "yellow"}
_VERDICTS = {"better": "green", "no difference shown": "yellow", "nothing to lose": "dim"}
_RULINGS = {"ship": "bold green", "do not ship": "bold red", "not sure": "bold yellow"}
_MARKS = {"against": ("-", "red"), "doubt": ("?", "yellow"), "for": ("+", "green"), "note": ("·", "dim")}
_MISTAKES, _ANSWER = 3, 18  # shown, and characters of an answer
_NAME, _END = 27, 16  # characters of a model's name, and of its end where it is cut


def print_evaluation(found: Evaluation, console: Console | None = None) -> None:
    console = console or output.console()
    first = found.models[0].asked.name
    beside = {(each.metric, each.model): each for each in found.scored.comparisons}
    for metric in found.metrics:
        arrow = "" if metric.higher_is_better else "; lower is better"
        console.print(Text.assemble((metric.name, "bold"), (f"  {metric.what}{arrow}", "dim")))
        for model in found.models:
            name = model.asked.name
            score = found.score(name, metric.name)
            line = Text(f"  {_short(name):<{_NAME}} {format_score(score, score.value):>6}  ")
            line.append(f"({format_interval(score)})".ljust(20))
            if (compared := beside.get((metric.name, name))) is not None:
                verdict = compared.difference.verdict
                line.append(
                    verdict
                    if verdict == "no difference shown"
                    else f"{verdict} ({format_p_value(compared.difference.adjusted_p)})",
                    _COLOURS[verdict],
                )
            console.print(line)
        if found.majority is not None and (always := found.majority.score(metric.name)) is not None:
            told = f"  {_short(found.majority.name):<{_NAME}} {format_score(always, always.value):>6}  "
            console.print(Text(f"{told}({format_interval(always)})", style="dim"))
        console.print()
    for name, comparison in found.general.items():
        _print_general(console, name, first, comparison)
    if found.judgement is not None:
        print_judgement(console, found.judgement)
    if found.lm_eval is not None:
        _print_lm_eval(console, found.lm_eval)
    table = output.console_table(
        "MODEL", "FIRST TOKEN", "TOKENS/S", "$/1,000", right=("FIRST TOKEN", "TOKENS/S", "$/1,000")
    )
    for model in found.models:
        speed = model.speed
        table.add_row(
            _short(model.asked.name),
            "-" if speed.seconds_to_first_token is None else f"{1000 * speed.seconds_to_first_token:,.0f} ms",
            "-" if speed.tokens_per_second is None else f"{speed.tokens_per_second:,.3g}",
            "-" if model.usd_per_thousand is None else f"{model.usd_per_thousand:,.4f}",
        )
    console.print(table)
    for note in _notes(found, first):
        console.print(Text(note, style="dim"))
    _print_mistakes(console, found)


def _print_mistakes(console: Console, found: Evaluation) -> None:
    """Print the last model's worst answers, a line each: its mistakes tell more than its score."""
    if (mistakes := find_mistakes(found)) is None:
        return
    judged = found.models[-1]
    console.print()
    title = Text.assemble((judged.asked.name, "bold"), f": {mistakes.sentence}")
    title.truncate(80, overflow="ellipsis")
    console.print(title)
    for place in mistakes.places[:_MISTAKES]:
        row, said = found.held_out.rows[place], judged.said[place]
        answer = "refused" if said.refused is not None else f"said {_quoted(said.text, said.answer.calls)}"
        expected = _quoted(row.expected, row.calls)
        line = f"  line {found.held_out.lines[place]:,}: expected {expected}, {answer}: {one_line(row.prompt)}"
        told = Text(line, style="dim")
        told.truncate(80, overflow="ellipsis")
        console.print(told)


def _quoted(said: str, calls: Sequence[Call]) -> str:
    words = one_line(answer_words(said, calls).strip())
    return repr(words if len(words) <= _ANSWER else f"{words[:_ANSWER]}…") if words else "nothing"


def _print_general(console: Console, model: str, first: str, comparison: GeneralAbilityComparison) -> None:
    """Print forgetting and safety drift: right answers before and after, and the interval of the difference in
    points."""
    console.print(
        Text.assemble(
            (f"{model}, in general", "bold"), (f"  right before ({first}) and after, change in points", "dim")
        )
    )
    for change in comparison.changes:
        shares = f"{change.base.share:.0%} > {change.tuned.share:.0%}"
        moved = f"({100 * change.difference.low:+.0f} to {100 * change.difference.high:+.0f})"
        line = Text(f"  {f'{change.ability}, {change.way}':<28}{shares:>11}  {moved:<13}")
        line.append(change.verdict, _VERDICTS.get(change.verdict, "red"))
        console.print(line)
    console.print(Text(f"  {comparison.sentence}", style="red" if comparison.losses else "green"))
    console.print()


def _print_lm_eval(console: Console, found: LmEvalEvaluation) -> None:
    """Print each score under its task, a line a model, with its standard error."""
    rows = "" if found.limit is None else f", the first {found.limit:,} rows of each task"
    console.print(Text.assemble(("lm-eval", "bold"), (f"  {found.version}{rows}, with standard errors", "dim")))
    for together in found.beside:
        _, score, _ = together[0]
        arrow = "" if score.higher_is_better else "; lower is better"
        console.print(Text.assemble(f"  {score.name}", (f"  {score.count:,} rows{arrow}", "dim")))
        for name, score, change in together:
            error = "" if score.stderr is None else f"± {score.stderr:.4f}"
            line = Text(f"    {_short(name):<{_NAME}} {score.value:>8.4f}  {error:<10}")
            if change is not None:
                moved = change.difference if change.verdict in ("better", "worse") else None
                told = "" if moved is None else f" ({format_p_value(moved.adjusted_p)})"
                line.append(f"{change.verdict}{told}", _COLOURS.get(change.verdict, "dim"))
            console.print(line)
    console.print()


def print_decision(decision: EvaluationDecision, title: str, console: Console | None = None) -> None:
    """Print the decision and each reason for it; `title`: what it is about. It comes last: a reader of a terminal looks
    there first."""
    console = console or output.console()
    console.print()
    ruling = f"{decision.ruling[0].upper()}{decision.ruling[1:]}"
    console.print(Text.assemble((ruling, _RULINGS[decision.ruling]), f": {one_line(title)}"))
    for each in decision.reasons:
        mark, colour = _MARKS[each.weight]
        words, lead = f"{each.about}: {each.words}", f"  {mark} "
        told = textwrap.fill(words, 80, initial_indent=lead, subsequent_indent="    ", break_on_hyphens=False)
        console.print(Text(told, style=colour))


def _notes(found: Evaluation, first: str) -> list[str]:
    rows = len(found.held_out.rows)
    notes = [f"{rows:,} rows, 95 % intervals; {found.held_out.proof}"]
    if len(found.models) > 1:
        many = ", corrected for several models (Holm)" if len(found.models) > 2 else ""
        notes.append(f"better and worse: than {first}, by a paired test on the same rows{many}")
    if found.majority is not None:
        of = found.majority.of
        notes.append(
            f"{found.majority.name}: the most frequent class, {of.share:.0%} of {of.source}; no model is asked"
        )
    notes.append("latency: median of prompts asked by themselves, one after the other")
    notes += [
        f"{model.asked.name}: {model.refused:,} of its answers were refused and count as wrong"
        for model in found.models
        if model.refused
    ]
    unpriced: dict[str, list[EvaluatedModelMeasurement]] = {}
    for model in found.models:
        if model.usd_per_thousand is None:
            unpriced.setdefault(model.price, []).append(model)
    notes += [f"no price of {', '.join(each.asked.name for each in models)}: {why}" for why, models in unpriced.items()]
    return notes


def _short(name: str) -> str:
    """Return the beginning and the end of a long name: names differ there."""
    if len(name) <= _NAME:
        return name
    return f"{name[: _NAME - _END - 1]}…{name[-_END:]}"
