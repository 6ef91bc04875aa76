"""The metrics by name, and which of them suit a dataset. Each is a row here; what it counts is in a file of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from typing import Any, Literal

from tuneport.errors import ConfigError
from tuneport.scoring.examples import Answer, Example
from tuneport.scoring.metrics.bertscore import tally_bertscore
from tuneport.scoring.metrics.classes import class_score_report, tally_macro_f1
from tuneport.scoring.metrics.code import tally_code
from tuneport.scoring.metrics.custom import load_metric_function, tally_custom
from tuneport.scoring.metrics.likelihood import tally_answer_loss, tally_bits_per_byte, tally_word_perplexity
from tuneport.scoring.metrics.normalisation import SAME
from tuneport.scoring.metrics.overlap import tally_bleu, tally_chrf, tally_rouge
from tuneport.scoring.metrics.structured import field_score_report, tally_fields, tally_json_valid, tally_schema_valid
from tuneport.scoring.metrics.token_f1 import tally_token_f1
from tuneport.scoring.metrics.tool_calls import tally_call_f1, tally_tool_calls, tally_tool_names
from tuneport.scoring.statistics.tally import Tally, tally_right

Unit = Literal["share", "points", "nats", "bits", "words", "value"]
"""share: 0 to 1. points: 0 to 100. nats, bits: of likelihood. words: as many equally likely ones. value: your own."""


@dataclass(frozen=True)
class Metric:
    """`tally` takes rows and a model's answers to them, in the same order. `details` is a table behind the number.

    `needs_likelihood`: it looks at how likely the expected answers are, not at what was said.
    """

    name: str
    what: str
    tally: Callable[..., Tally]
    unit: Unit = "share"
    higher_is_better: bool = True
    needs_likelihood: bool = False
    details: Callable[[Sequence[Example], Sequence[Answer]], dict[str, Any]] | None = None
    options: tuple[str, ...] = ()


def _tally_same(rows: Sequence[Example], answers: Sequence[Answer], *, same: Callable[[str, str], bool]) -> Tally:
    return tally_right([same(row.expected, said.text) for row, said in zip(rows, answers, strict=True)])


_RULES = {
    "text": "case, kind and amount of space and a final full stop aside",
    "strict": "character by character",
    "squad": "lower case, without punctuation and English articles",
    "json": "the same value in JSON, order of keys and a code fence aside",
    "number": "the last number of each",
}

METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "exact_match",
            f"answers that equal the expected one; {_RULES['text']}",
            partial(_tally_same, same=SAME["text"]),
        ),
        *(
            Metric(
                f"exact_match:{name}",
                f"answers that equal the expected one; {_RULES[name]}",
                partial(_tally_same, same=same),
            )
            for name, same in SAME.items()
        ),
        Metric(
            "accuracy",
            "answers that are the right class",
            partial(_tally_same, same=SAME["text"]),
            details=class_score_report,
        ),
        Metric("macro_f1", "mean F1 of the classes, each as important", tally_macro_f1, details=class_score_report),
        Metric("json_valid", "answers that are JSON, with nothing around it", tally_json_valid),
        Metric("schema_valid", "answers that fit the JSON schema", tally_schema_valid, options=("schema",)),
        *(
            Metric(
                f"field_{part}",
                f"{what} of the fields in JSON",
                partial(tally_fields, part=part),
                details=field_score_report,
            )
            for part, what in (("precision", "precision"), ("recall", "recall"), ("f1", "F1"))
        ),
        Metric("tool_name_exact", "rows that call the right tools", tally_tool_names),
        Metric("tool_call_exact", "rows with the right calls and arguments, in any order", tally_tool_calls),
        Metric("calls_in_order", "the same, in the right order", partial(tally_tool_calls, in_order=True)),
        Metric("call_f1", "F1 of single calls with the right arguments", tally_call_f1),
        Metric("token_f1", "F1 of the words", tally_token_f1),
        Metric("bleu", "words in a row that the reference has, too", tally_bleu, "points"),
        Metric("chrf", "characters in a row that the reference has, too", tally_chrf, "points"),
        *(
            Metric(kind, f"{what} that the reference has, too", partial(tally_rouge, kind=kind))
            for kind, what in (("rouge1", "words"), ("rouge2", "pairs of words"), ("rougeL", "words in the same order"))
        ),
        Metric("bertscore", "similarity of meaning, by an encoder", tally_bertscore, options=("encoder", "layer")),
        Metric("answer_loss", "how unlikely the expected answer is", tally_answer_loss, "nats", False, True),
        Metric("bits_per_byte", "the same, by its bytes", tally_bits_per_byte, "bits", False, True),
        Metric("word_perplexity", "the same, by its words", tally_word_perplexity, "words", False, True),
        Metric(
            "code_passed", "answers whose code passes the row's tests", tally_code, options=("allow_code", "limits")
        ),
    )
}


EARLIER_NAMES = {"words_shared": "token_f1", "calls": "tool_call_exact", "call_names": "tool_name_exact"}
"""Names of earlier releases, which are still understood."""


def current_metric_name(name: str) -> str:
    """Return the name of the metric that `name` is or was called."""
    return EARLIER_NAMES.get(name, name)


def load_metric(name: str, **options: Any) -> Metric:
    """Return the metric of that name, or of `package.module:function`. Raises ConfigError for an unknown name or
    option."""
    name = current_metric_name(name)
    found = METRICS.get(name)
    if found is None and ":" in name and not name.startswith("exact_match:"):
        function = load_metric_function(name)
        found = Metric(name, "a function of your own", partial(tally_custom, function=function), "value")
    if found is None:
        near = get_close_matches(name, METRICS, 3) or list(METRICS)
        raise ConfigError(f"there is no metric {name!r}; near are {', '.join(near)}, or package.module:function")
    if unknown := sorted(options.keys() - set(found.options)):
        takes = ", ".join(found.options) or "none"
        raise ConfigError(f"the metric {name} takes no option {unknown[0]}; it takes {takes}")
    return replace(found, tally=partial(found.tally, **options)) if options else found


def validate_metric(metric: Metric, rows: Sequence[Example]) -> None:
    """Raise ConfigError if the rows cannot be measured (a missing package, schema or permission), before any model is
    asked.

    Tries blank answers. A function of the user's own is not called.
    """
    if metric.unit != "value":
        some = rows if metric.options else rows[:1]
        metric.tally(some, [Answer("", log_likelihood=-1.0)] * len(some))


def suitable_metric_names(rows: Sequence[Example], task: str | None) -> list[str]:
    """Return the metrics that suit the rows, the most informative first. `task` is the finding of `tuneport check`."""
    if any(row.calls for row in rows):
        return ["tool_call_exact", "tool_name_exact", "call_f1"]
    if task == "classification":
        return ["accuracy", "macro_f1"]
    if task == "extraction":
        schema = ["schema_valid"] if all(row.schema for row in rows) else []
        return ["exact_match:json", "field_f1", "field_precision", "field_recall", "json_valid", *schema]
    if task == "code" and all(row.tests for row in rows):
        return ["code_passed", "exact_match"]
    return ["chrf", "rougeL", "token_f1", "exact_match"]
