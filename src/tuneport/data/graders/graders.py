"""OpenAI's graders of reinforcement fine-tuning, run here: what an answer is worth, by rules that need no model.

Source: the schemas GraderStringCheck, GraderTextSimilarity, GraderPython and GraderMulti of OpenAI's API, and its guide
to graders for what the operations mean. `score_model` and `label_model` ask one of OpenAI's models and are refused.
A Python grader runs in tuneport's sandbox, as it does in OpenAI's: without files, network, keys or other processes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from tuneport.data.graders.code import AnswerError, GraderCode, GraderCodeError
from tuneport.data.graders.formula import Formula
from tuneport.errors import ConfigError, UnsupportedError
from tuneport.installation import install_extra
from tuneport.validation import decode_json

# No braces within: a text of many "{{" would else be searched to its end from each of them.
_VARIABLE = re.compile(r"\{\{(?!\{)((?:(?!\{\{|\}\}).)*)\}\}", re.DOTALL)
_STEP = re.compile(r"\s*(?:\.?\s*([A-Za-z_]\w*)|\[\s*(?:'([^']*)'|\"([^\"]*)\"|(\d+))\s*\])\s*")
_FIELDS = {
    "string_check": ("input", "reference", "operation"),
    "text_similarity": ("input", "reference", "evaluation_metric"),
    "python": ("source",),
    "multi": ("graders", "calculate_output"),
}
_ALSO = {"python": ("image_tag",)}  # which of OpenAI's images; here it is this Python
_OPERATIONS: dict[str, Callable[[str, str], bool]] = {
    "eq": lambda text, reference: text == reference,
    "ne": lambda text, reference: text != reference,
    "like": lambda text, reference: reference in text,
    "ilike": lambda text, reference: reference.casefold() in text.casefold(),
}
_LIBRARIES = {"fuzzy_match": "rapidfuzz", "bleu": "sacrebleu"} | {
    f"rouge_{kind}": "rouge-score-rs" for kind in ("1", "2", "3", "4", "5", "l")
}
_REFUSED = {
    "score_model": "it asks one of OpenAI's models for a score",
    "label_model": "it asks one of OpenAI's models for a label",
    "cosine": "it compares embeddings of one of OpenAI's models",
    "gleu": "no maintained library computes it as OpenAI does",
    "meteor": "it needs the WordNet database",
}


class GraderError(Exception):
    """A grader cannot judge, whatever the answer: a column is missing, or its code always fails."""


class _NoSuchValue(Exception):
    """The answer has no such part: it is no JSON, or lacks the field."""


class Grader:
    """`score_answer` judges one. ConfigError for a grader that is malformed, UnsupportedError for what cannot run here.

    `run_code` allows Python graders, which run in the sandbox. Making one runs none of their code; the first answer
    raises UnsupportedError if this machine cannot confine it. An answer that is no JSON, or lacks a field that the
    grader reads, is worth 0, and so is one on which the code fails; `failure` is the first such message.
    """

    def __init__(self, grader: Any, *, run_code: bool = False, name: str = "the grader") -> None:
        if not isinstance(grader, Mapping) or not isinstance(grader.get("type"), str):
            raise ConfigError(f"{name} is not an object with a type; known are {', '.join(_FIELDS)}")
        self.kind: str = grader["type"]
        self.name = str(grader.get("name") or name)
        self.failure: str | None = None
        if self.kind in _REFUSED:
            raise UnsupportedError(f"the grader {self.name} is a {self.kind}, which cannot run here: {self._why()}")
        if self.kind not in _FIELDS:
            raise ConfigError(f"the grader {self.name} is a {self.kind!r}; known are {', '.join(_FIELDS)}")
        self._check_fields(grader)
        self._grader = grader
        match self.kind:
            case "string_check":
                self._check_choice("operation", _OPERATIONS)
            case "text_similarity":
                self._check_metric(grader["evaluation_metric"])
            case "python":
                self._allow(grader["source"], run_code)
            case "multi":
                self._open(grader, run_code)

    def score_answer(self, answer: str, item: Mapping[str, Any]) -> float:
        """Return the score of the answer to the row `item`. Raises GraderError that names a column that the row
        lacks."""
        try:
            return self._score(answer, item)
        except _NoSuchValue:
            return 0.0

    def _score(self, answer: str, item: Mapping[str, Any]) -> float:
        match self.kind:
            case "string_check":
                return float(_OPERATIONS[self._grader["operation"]](*self._texts(answer, item)))
            case "text_similarity":
                return _similarity(self._grader["evaluation_metric"], *self._texts(answer, item))
            case "python":
                return self._run(answer, item)
        return self._formula({name: grader.score_answer(answer, item) for name, grader in self._graders.items()})

    def _texts(self, answer: str, item: Mapping[str, Any]) -> tuple[str, str]:
        return tuple(
            render_grader_template(self._grader[name], answer, item, self.name) for name in ("input", "reference")
        )  # type: ignore[return-value]

    # --- what is wrong with it --------------------------------------------------------------------------------------

    def _check_fields(self, grader: Mapping[str, Any]) -> None:
        wanted = _FIELDS[self.kind]
        if missing := [name for name in wanted if name not in grader]:
            raise ConfigError(f"the grader {self.name} ({self.kind}) lacks {', '.join(missing)}")
        if more := sorted(grader.keys() - {"type", "name", *wanted, *_ALSO.get(self.kind, ())}):
            raise ConfigError(f"the grader {self.name} has {', '.join(more)}, which a {self.kind} does not take")
        for name in wanted:
            if name != "graders" and not isinstance(grader[name], str):
                raise ConfigError(f"the grader {self.name}: {name} is not a text")
        for name in ("input", "reference") if self.kind in ("string_check", "text_similarity") else ():
            for variable in _VARIABLE.findall(grader[name]):
                _path(variable, self.name)

    def _check_choice(self, field: str, known: Mapping[str, Any]) -> None:
        if self._grader[field] not in known:
            given = self._grader[field]
            raise ConfigError(f"the grader {self.name}: {field} is {given!r}; known are {', '.join(known)}")

    def _check_metric(self, metric: str) -> None:
        if metric in _REFUSED:
            raise UnsupportedError(f"the grader {self.name} uses {metric}, which cannot run here: {_REFUSED[metric]}")
        self._check_choice("evaluation_metric", _LIBRARIES)
        library = _LIBRARIES[metric]
        if find_spec(library.replace("-", "_")) is None:
            extra = "local" if library == "rapidfuzz" else "eval"
            raise ConfigError(f"the grader {self.name} ({metric}) needs {library}: {install_extra(extra)}")

    def _why(self) -> str:
        return _REFUSED[self.kind] + "; use a reward model of your own with the method grpo, or another grader"

    def _allow(self, source: str, run_code: bool) -> None:
        if not run_code:
            raise UnsupportedError(
                f"the grader {self.name} is Python code; it would run on this machine, in a sandbox without files and "
                "network: allow it with the option run_grader_code=true"
            )
        self._code = GraderCode(source, self.name)

    def _open(self, grader: Mapping[str, Any], run_code: bool) -> None:
        inner = grader["graders"]
        if isinstance(inner, Mapping) and isinstance(inner.get("type"), str):
            inner = {str(inner.get("name")): inner}  # as the API's schema has it; its guide has them by name
        if not isinstance(inner, Mapping) or not inner:
            raise ConfigError(f"the grader {self.name} (multi) needs graders by name")
        if nested := [
            name for name, each in inner.items() if isinstance(each, Mapping) and each.get("type") == "multi"
        ]:
            raise ConfigError(
                f"the grader {self.name} holds {nested[0]}, which is a multi itself; put its graders here"
            )
        self._graders = {str(name): Grader(each, run_code=run_code, name=str(name)) for name, each in inner.items()}
        self._formula = Formula(grader["calculate_output"], self._graders, self.name)

    # --- its code -----------------------------------------------------------------------------------------------------

    def _run(self, answer: str, item: Mapping[str, Any]) -> float:
        sample = {
            "output_text": answer,
            "output_json": _json_of(answer),
            "output_tools": [],
            "choices": [{"message": {"role": "assistant", "content": answer}}],
        }
        try:
            return self._code.grade(sample, item)
        except GraderCodeError as error:
            raise GraderError(f"the grader {self.name} cannot be run: {error}; correct its source") from error
        except AnswerError as error:
            self.failure = self.failure or f"the grader {self.name} failed on an answer: {error}"
            return 0.0

    @property
    def runs_code(self) -> bool:
        """Return whether it, or a grader inside it, is Python code."""
        return self.kind == "python" or (self.kind == "multi" and any(g.runs_code for g in self._graders.values()))

    def close(self) -> None:
        """End the processes of its code, and of the graders inside it."""
        if self.kind == "python":
            self._code.close()
        for inner in self._graders.values() if self.kind == "multi" else ():
            inner.close()

    @property
    def failures(self) -> list[str]:
        """Return the first failure of its code, and of the graders inside it."""
        inner = self._graders.values() if self.kind == "multi" else ()
        return [*([self.failure] if self.failure else []), *(text for each in inner for text in each.failures)]


def render_grader_template(template: str, answer: str, item: Mapping[str, Any], name: str = "the grader") -> str:
    """Return the template with `{{sample.output_text}}`, `{{sample.output_json...}}` and `{{item...}}` filled in."""

    def value(match: re.Match[str]) -> str:
        found = _look_up(_path(match[1], name), answer, item, name)
        return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)

    return _VARIABLE.sub(value, template)


def _path(variable: str, name: str) -> list[str | int]:
    steps: list[str | int] = []
    position = 0
    while position < len(variable) and (step := _STEP.match(variable, position)):
        word = next((part for part in step.groups()[:3] if part is not None), None)
        steps.append(int(step[4]) if word is None else word)
        position = step.end()
    known = steps[:1] == ["item"] and len(steps) > 1
    known = known or steps == ["sample", "output_text"] or steps[:2] == ["sample", "output_json"]
    if position < len(variable) or not known:
        raise ConfigError(
            f"the grader {name} names {{{{{variable}}}}}; known are sample.output_text, sample.output_json and "
            "item.COLUMN"
        )
    return steps


def _look_up(path: list[str | int], answer: str, item: Mapping[str, Any], name: str) -> Any:
    if path[:2] == ["sample", "output_text"]:
        return answer
    if path[0] == "item":
        try:
            return _descend(item, path[1:])
        except _NoSuchValue as error:
            raise GraderError(f"the grader {name} names item.{path[1]}, and a row lacks it; add the column") from error
    return _descend(_json_of(answer), path[2:])


def _descend(value: Any, path: list[str | int]) -> Any:
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError) as error:
            raise _NoSuchValue from error
    if value is None:
        raise _NoSuchValue
    return value


def _json_of(answer: str) -> Any:
    try:
        return decode_json(answer)
    except ValueError:
        return None


def _similarity(metric: str, text: str, reference: str) -> float:
    """Return a similarity from 0 to 1. `fuzzy_match` is rapidfuzz's `ratio`; ROUGE is the F-measure, BLEU sacrebleu's
    of a sentence."""
    if metric == "fuzzy_match":
        from rapidfuzz import fuzz

        return fuzz.ratio(text, reference) / 100
    if metric == "bleu":
        from sacrebleu import sentence_bleu

        return float(sentence_bleu(text, [reference]).score) / 100
    from rouge_score_rs import RougeScorer

    kind = "rougeL" if metric == "rouge_l" else metric.replace("_", "")
    return float(RougeScorer([kind]).score(reference, text)[kind].fmeasure)
