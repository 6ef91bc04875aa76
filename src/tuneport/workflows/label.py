"""Answers of a large model for a dataset, so that a small one can be tuned on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuneport.backends import load_backend_class, open_backend
from tuneport.data.checks.rows.task import DatasetTaskGuess
from tuneport.data.conversion.conversion_loss import ConversionLossReport, write_converted_row
from tuneport.data.dataset import Dataset, DatasetLike
from tuneport.data.formats import load_dataset_format
from tuneport.data.rows.records import Record
from tuneport.data.running.writing import publish_output_file, refuse_overwriting, temporary_file
from tuneport.errors import BudgetError, ConfigError, ConversionLossError
from tuneport.formatting import money
from tuneport.lifecycle.open_service import OpenJobService, open_shared_job_service
from tuneport.scoring.examples import Example, Messages
from tuneport.scoring.metrics.normalisation import is_same_answer
from tuneport.settings import Settings
from tuneport.workflows.advising.few_shot import count_probe_sample_tokens
from tuneport.workflows.evaluation.answer_cache import EvaluationAnswerCache
from tuneport.workflows.evaluation.answering import EvaluationAnswer, ask_prompts
from tuneport.workflows.evaluation.models.asked_models import find_evaluated_models
from tuneport.workflows.evaluation.models.instruction import MOST_CLASSES, add_instruction, instruct_classes
from tuneport.workflows.evaluation.models.planned_models import ModelAnswersPlan, plan_model_answers
from tuneport.workflows.evaluation.result import refuse_personal_data_of_messages
from tuneport.workflows.labelling.questions import CHATS, LabelQuestion, read_label_questions

MOST_ANSWER_TOKENS = 1024


@dataclass(frozen=True)
class LabelPlan:
    """The plan of a labelling, before anything is sent. `labels`: the only answers that count, if there are any.

    `in_batches`: at the provider's lower price, answered within a day. `kept`: the records whose own answer stays."""

    questions: tuple[LabelQuestion, ...]
    kept: int
    unusable: int
    labels: tuple[str, ...]
    instruction: str
    in_batches: bool
    answers: ModelAnswersPlan
    settings: Settings

    def refuse_over_budget(self, budget: float) -> None:
        if self.answers.usd is None and self.answers.waiting:
            raise BudgetError(f"the price is unknown, because {self.answers.why}; leave --budget out")
        if (self.answers.usd or 0.0) > budget:
            raise BudgetError(
                f"the answers may cost {money(self.answers.usd or 0.0)} ({self.answers.counting}), above the budget of "
                f"{money(budget)}; label fewer records, or lower --answer-tokens"
            )

    def refuse_personal_data(self) -> None:
        """Raise ConfigError if what would go to a third party holds what looks like personal data."""
        if self.answers.third_party is not None:
            for prompt in self.answers.missing:
                refuse_personal_data_of_messages(prompt.messages, self.answers.third_party)


@dataclass(frozen=True)
class LabelReport:
    """The counts of a labelling. Of the `asked` records, `had_answer` had one, and `agree` of those have the same now.

    Left out are `no_label` (an answer that is none of the labels), `cut_off` at the most tokens, `refused` by the
    provider or `empty`, and the records that ask nothing (`unusable`). `kept` records are written as they were."""

    source: Path
    output: Path
    backend: str
    model: str
    records: int
    asked: int
    cached: int
    written: int
    kept: int
    had_answer: int
    agree: int
    no_label: int
    cut_off: int
    refused: int
    empty: int
    unusable: int
    labels: tuple[str, ...]
    instruction: str
    in_batches: bool
    usd_at_most: float | None

    def as_dict(self) -> dict[str, Any]:
        paths = {"source": str(self.source), "output": str(self.output)}
        return {**vars(self), **paths, "labels": list(self.labels)}


def label(
    dataset: DatasetLike,
    model: str,
    output: Path | str,
    *,
    system: str | None = None,
    labels: Sequence[str] = (),
    task: str | None = None,
    keep_answers: bool = False,
    now: bool = False,
    answer_tokens: int | None = None,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    budget: float | None = None,
    allow_personal_data: bool = False,
    before: Callable[[LabelPlan], None] = lambda plan: None,
    on_progress: Callable[[str, int, int], None] = lambda model, answered, of: None,
    settings: Settings | None = None,
    opened: OpenJobService | None = None,
) -> LabelReport:
    """Ask a model each record's last answer anew and write OpenAI chats (JSON lines), as `tuneport label` does.

    A record's answer goes to its column `earlier_answer`; with `keep_answers` only records without one are asked, and
    the others are written as they are. `system` replaces the data's own system prompts in what is asked, never in what
    is written. For a classification, or with `labels`, the model is told the labels, and answers that are none of them
    are left out. Batches are used where the backend has them, unless `now`. Answers are kept, so that a repeated call
    pays nothing twice. `before` is given the plan with its costs and may raise, before anything is sent.

    Raises ConfigError for what cannot be asked and for personal data on its way to a third party, DatasetError, and
    BudgetError if the answers may cost more than `budget` US dollars; ProviderError if the provider fails.
    """
    opened, data, output = (
        opened or open_shared_job_service(settings),
        Dataset.of(dataset, columns, format),
        Path(output),
    )
    if output.suffix != ".jsonl":
        raise ConfigError(f"the output {output} must end in .jsonl; `tuneport convert` writes other files from that")
    refuse_overwriting([output], data.files)
    plan = plan_labels(
        opened,
        data,
        model,
        system=system,
        labels=labels,
        task=task,
        keep_answers=keep_answers,
        now=now,
        answer_tokens=answer_tokens,
    )
    if budget is not None:
        plan.refuse_over_budget(budget)
    if not allow_personal_data:
        plan.refuse_personal_data()
    before(plan)
    return _write_answers(plan, data, output, _ask(plan, on_progress))


def plan_labels(
    opened: OpenJobService,
    data: Dataset,
    model: str,
    *,
    system: str | None = None,
    labels: Sequence[str] = (),
    task: str | None = None,
    keep_answers: bool = False,
    now: bool = False,
    answer_tokens: int | None = None,
) -> LabelPlan:
    """Return the plan: what is asked, and what it costs at most. Nothing is sent. Raises as `label` does."""
    (asked,) = find_evaluated_models(opened.service, [model])
    questions, unusable = read_label_questions(data)
    names = tuple(dict.fromkeys(labels)) or _labels_of(questions, task)
    wanted = [each for each in questions if not (keep_answers and each.earlier)]
    if not wanted:
        why = (
            "each record has an answer, which --keep-answers keeps" if questions else "no record asks anything in text"
        )
        raise ConfigError(f"there is nothing in {data.path} to label: {why}")
    _refuse_losses(data, questions, keep_answers=keep_answers)
    instruction = _instruction(names, system)
    rows = [_told(each.example, system, instruction) for each in wanted]
    limit = answer_tokens or MOST_ANSWER_TOKENS
    if names and answer_tokens is None:
        limit = 16 + 2 * max(count_probe_sample_tokens([each]) for each in names)  # as for eval: vocabularies differ
    own = opened.service.settings
    batches = not now and load_backend_class(asked.backend, own).has_batches
    settings = own.asking_in_batches(asked.backend, batches) if batches or own.asks_in_batches(asked.backend) else own
    with EvaluationAnswerCache.in_home(own.home) as cache:
        answers = plan_model_answers(settings, cache, asked, rows, [], limit, timed=False)
    kept = len(questions) - len(wanted)
    chosen = tuple(questions) if keep_answers else tuple(wanted)
    return LabelPlan(chosen, kept, unusable, names, instruction, batches, answers, settings)


def _labels_of(questions: Sequence[LabelQuestion], task: str | None) -> tuple[str, ...]:
    """Return the labels of a classification by its answers, none for another task."""
    guess = DatasetTaskGuess()
    for each in questions:
        if each.answer:
            guess.add(each.answer, each.example.prompt, each.line)
    return tuple(sorted(guess.classes)) if (task or guess.name) == "classification" else ()


def _refuse_losses(data: Dataset, questions: Sequence[LabelQuestion], *, keep_answers: bool) -> None:
    """Raise ConversionLossError if what is to be written is no OpenAI chat as it is, before anything is paid."""
    losses, chats = ConversionLossReport(), load_dataset_format(CHATS)
    for each in questions:
        written = each.record if keep_answers and each.earlier else each.answered("-", [])
        losses.add(each.line, write_converted_row(chats, written)[1])
    if found := losses.losses(data.open().numbering):
        raise ConversionLossError(CHATS, found)


def _instruction(labels: Sequence[str], system: str | None) -> str:
    if not labels or (system is not None and (len(labels) > MOST_CLASSES or all(each in system for each in labels))):
        return ""
    if len(labels) > MOST_CLASSES:
        raise ConfigError(
            f"there are {len(labels):,} labels, and at most {MOST_CLASSES} are named by itself; say what they are "
            "with --system TEXT"
        )
    return instruct_classes("classification", labels)


def _told(example: Example, system: str | None, instruction: str) -> Example:
    messages: Messages = example.messages
    if system is not None:
        messages = [{"role": "system", "content": system}, *(each for each in messages if each["role"] != "system")]
    return replace(example, messages=add_instruction(messages, instruction) if instruction else messages)


def _ask(plan: LabelPlan, on_progress: Callable[[str, int, int], None]) -> list[EvaluationAnswer]:
    asked, prompts = plan.answers.asked, plan.answers.prompts
    with (
        EvaluationAnswerCache.in_home(plan.settings.home) as cache,
        closing(open_backend(asked.backend, plan.settings)) as backend,
    ):
        return ask_prompts(
            backend,
            asked.model,
            prompts,
            plan.answers.keys,
            cache,
            lambda answered: on_progress(asked.name, answered, len(prompts)),
        )


def _write_answers(plan: LabelPlan, data: Dataset, output: Path, answers: Sequence[EvaluationAnswer]) -> LabelReport:
    counts: Counter[str] = Counter()
    chats = load_dataset_format(CHATS)
    limit = int(plan.answers.prompts[0].options["max_tokens"])
    said = iter(answers)
    with temporary_file(output.parent) as (file, temporary):
        for question in plan.questions:
            record: Record | None = question.record
            if not (plan.kept and question.earlier):
                record = _labelled(question, next(said), plan.labels, limit, counts)
            if record is None:
                continue
            row, _ = write_converted_row(chats, record)  # what would be lost was told before
            if row is not None:
                file.write(row + b"\n")
                counts["written"] += 1
        if not counts["written"]:
            raise ConfigError(
                f"no answer of {plan.answers.asked.name} can be used, so {output} is not written: "
                f"{left_out_words(counts)}"
            )
        publish_output_file(file, temporary, output)
    return LabelReport(
        source=data.path,
        output=output,
        backend=plan.answers.asked.backend,
        model=plan.answers.asked.model,
        records=len(plan.questions) + plan.unusable,
        asked=len(answers),
        cached=plan.answers.kept,
        kept=plan.kept,
        unusable=plan.unusable,
        labels=plan.labels,
        instruction=plan.instruction,
        in_batches=plan.in_batches,
        usd_at_most=plan.answers.usd,
        **{name: counts[name] for name in ("written", "had_answer", "agree", *LEFT_OUT)},
    )


def _labelled(
    question: LabelQuestion, said: EvaluationAnswer, labels: Sequence[str], limit: int, counts: Counter[str]
) -> Record | None:
    """Return the record with the model's answer, or None if it is left out; counts either."""
    text = said.text.strip()
    if labels and said.refused is None and text:
        label = next((each for each in labels if is_same_answer(each, text)), None)
        if label is None:
            counts["no_label"] += 1
            return None
        text = label
    elif said.refused is not None or not (text or said.tool_calls):
        counts["refused" if said.refused is not None else "empty"] += 1
        return None
    elif (said.completion_tokens or 0) >= limit:
        counts["cut_off"] += 1
        return None
    if question.earlier:
        counts["had_answer"] += 1
        counts["agree"] += is_same_answer(question.answer, text)
    return question.answered(text, said.tool_calls)


LEFT_OUT = {
    "no_label": "none of the labels",
    "cut_off": "cut off at the most tokens (--answer-tokens)",
    "refused": "refused by the provider",
    "empty": "empty",
}


def left_out_words(counts: Mapping[str, int]) -> str:
    """Return how many answers were left out, and why; empty if none was."""
    return ", ".join(f"{counts[name]:,} {words}" for name, words in LEFT_OUT.items() if counts[name])
