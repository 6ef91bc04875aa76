"""The section on benchmarks: what lm-eval measured of each model, beside the first."""

from __future__ import annotations

from tuneport.pages.text import html_text
from tuneport.scoring.benchmarks import BenchmarkScore, BenchmarkScoreChange
from tuneport.workflows.evaluation.lm_eval import LmEvalEvaluation
from tuneport.workflows.evaluation.words import format_p_value

_KINDS = {"better": "pass", "worse": "fail"}


def render_benchmarks(found: LmEvalEvaluation | None) -> str:
    if found is None:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{html_text(score.name, 200)}<br><span class="quiet">{html_text(name, 200)}</span></th>'
        f"<td>{_score_cell(score)}{_change(change)}</td></tr>"
        for together in found.beside
        for name, score, change in together
    )
    limit = "" if found.limit is None else f" Of each task the first {found.limit:,} rows."
    return (
        f'<h2>Public benchmarks</h2><table class="entries">{rows}</table>'
        f'<p class="quiet">By EleutherAI\'s lm-eval {html_text(found.version, 50)}, prompts without a chat template, '
        f"with standard errors; p corrected for all scores of a model (Holm).{limit}</p>"
    )


def _score_cell(score: BenchmarkScore) -> str:
    error = "" if score.stderr is None else f" ± {score.stderr:.4f}"
    less = "" if score.higher_is_better else ", less is better"
    return f'<b>{score.value:.4f}</b>{error} <span class="quiet">{score.count:,} rows{less}</span>'


def _change(change: BenchmarkScoreChange | None) -> str:
    if change is None:
        return ""
    kind, moved = _KINDS.get(change.verdict, "note"), change.difference
    told = "" if moved is None else f"{moved.value:+.4f} ({moved.low:+.4f} to {moved.high:+.4f})"
    how = (
        ""
        if moved is None
        else f'<span class="quiet">{format_p_value(moved.adjusted_p)}, {html_text(moved.test, 100)}</span>'
    )
    return f'<br><span class="{kind}"><b class="verdict">{change.verdict}</b></span> {told} {how}'
