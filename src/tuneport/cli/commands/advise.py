"""The command advise: fine-tune, prompt, few-shot or retrieval?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuneport.cli.commands.data import DATA, Task
from tuneport.cli.counts import parse_count_option, parse_tokens_per_request
from tuneport.cli.reading import takes_reading_options
from tuneport.cli.views import output
from tuneport.data.rows.reading_options import ReadingOptions
from tuneport.errors import ConfigError

if TYPE_CHECKING:
    from tuneport.advisor import AdvisorQuestion
    from tuneport.scoring.prompting import PromptingResult
    from tuneport.workflows.advise import AdviceFacts
    from tuneport.workflows.advising.probing import AdvisingProbePlan

NEEDS = "What has to change: task, format, style, behaviour, domain, knowledge, language, cost or latency; repeatable."
RESULT = "no, fails, partly or works."
RESULTS = ("prompt", "few_shot")


@takes_reading_options("columns", "format", "template")
def advise_command(
    dataset: Annotated[Path | None, typer.Argument(metavar="DATA", help=DATA, show_default=False)] = None,
    need: Annotated[list[str] | None, typer.Option("--need", "-n", help=NEEDS)] = None,
    prompt: Annotated[str | None, typer.Option(help=f"Result of a plain prompt: {RESULT}")] = None,
    few_shot: Annotated[str | None, typer.Option(help=f"Result of examples in the prompt: {RESULT}")] = None,
    task: Task = None,
    examples: Annotated[str | None, typer.Option(help="Number of good examples. Default: DATA's records.")] = None,
    text_tokens: Annotated[str | None, typer.Option(help="Tokens of plain text of the field or language.")] = None,
    sources: Annotated[
        bool | None, typer.Option("--sources/--no-sources", help="Documents with the facts can be searched.")
    ] = None,
    facts_change: Annotated[
        bool | None, typer.Option("--facts-change/--facts-stay", help="The facts change weekly or faster.")
    ] = None,
    requests: Annotated[str | None, typer.Option(help="Requests a month, e.g. 20k.")] = None,
    has_evaluation: Annotated[
        bool | None, typer.Option("--has-evaluation/--no-evaluation", help="There is a set to measure on.")
    ] = None,
    generated_only: Annotated[
        bool | None, typer.Option("--generated-only/--by-people", help="No person wrote or checked an example.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs that you have in mind.")] = None,
    validation: Annotated[Path | None, typer.Option(help="A held-out file, checked for leaks.")] = None,
    reading: ReadingOptions = ReadingOptions(),
    allow_large: output.AllowLarge = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="First measure --model with a plain and a few-shot prompt on held-out rows.")
    ] = False,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The base model: an alias, a name or an id.")
    ] = None,
    backend: Annotated[
        str | None, typer.Option("--backend", "-b", help="The base model's backend. Default: the first that has it.")
    ] = None,
    rows: Annotated[int, typer.Option(min=5, max=1000, help="How many held-out rows a probe asks.")] = 50,
    system: Annotated[str | None, typer.Option(help="A system prompt for the probe instead of the data's own.")] = None,
    budget: Annotated[float | None, typer.Option(min=0, help="The most that a probe may cost, in US dollars.")] = None,
    allow_personal_data: Annotated[
        bool, typer.Option("--allow-personal-data", help="Let a probe send personal data to a third party.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before a probe sends rows elsewhere.")] = False,
    smaller: Annotated[str | None, typer.Option(metavar="MODEL", help="A smaller model, to price as well.")] = None,
    tokens_per_request: Annotated[
        str | None, typer.Option(metavar="IN:OUT", help="Default: the means of DATA.")
    ] = None,
    json_: output.Json = False,
) -> None:
    """Recommend fine-tuning, a prompt, examples in the prompt or retrieval. Without --need, it asks on a terminal."""
    from tuneport.data.dataset import Dataset
    from tuneport.workflows.advise import advise_option, gather_advice_facts

    facts = gather_advice_facts(
        None if dataset is None else Dataset(dataset, **vars(reading)),
        needs=need or (),
        prompt=prompt,
        few_shot=few_shot,
        task=task,
        examples=parse_count_option(examples, "--examples"),
        text_tokens=parse_count_option(text_tokens, "--text-tokens"),
        facts_change=facts_change,
        sources=sources,
        requests=parse_count_option(requests, "--requests"),
        has_evaluation=has_evaluation,
        generated_only=generated_only,
        epochs=epochs,
        validation=validation,
    )
    if probe:
        plan = facts.plan_probe(model, backend, rows=rows, system=system)
        _confirm_probe(plan, yes=yes)
        facts.run_probe(plan, budget=budget, allow_personal_data=allow_personal_data, on_measured=_print_probe_results)
    shown = False
    if sys.stdin.isatty() and not output.as_json:
        shown = _show_open_answers(facts)
        if shown or not need:
            _ask(facts, only=RESULTS if need else None)
    facts.price(model, backend, smaller=smaller, tokens_per_request=parse_tokens_per_request(tokens_per_request))
    made = advise_option(facts)
    if output.print_if_json(made.as_dict()):
        return
    for note in made.notes:
        output.print_note(f"note: {note}")
    from tuneport.cli.views.advice import print_advice

    print_advice(made, shows_probe=not shown)


def _show_open_answers(facts: AdviceFacts) -> bool:
    """Show the base model's answers before the questions, if only a person can judge them. Returns whether it did."""
    if facts.probe is None or facts.probe.results:
        return False
    from tuneport.cli.views.advice import print_probe

    print_probe(facts.probe, output.console())
    return True


def _confirm_probe(plan: AdvisingProbePlan, *, yes: bool) -> None:
    """Print the cost of a probe, and ask before rows leave this machine."""
    from tuneport.workflows.advise import probe_quote

    quote, manifest = probe_quote(plan), plan.target.manifest
    cost = f"cost unavailable, because {quote.unavailable}"
    if quote.high == 0:
        cost = "$0, your own machine; electricity not counted"
    elif quote.expected is not None:
        cost = f"about {output.money(quote.expected)}, {output.money(quote.high)} at the most"
    output.print_note(
        f"probe: {plan.prompts} prompts to {plan.target.model} ({manifest.title}), {plan.input_tokens:,} tokens in, at "
        f"most {plan.most_output_tokens:,} out: {cost}"
    )
    if manifest.third_party:
        question = f"send {len(plan.drawn.rows)} rows and {len(plan.drawn.shots)} examples to {manifest.title}?"
        output.confirm_action(question, yes=yes, otherwise="nothing was sent")


def _print_probe_results(measured: PromptingResult) -> None:
    score = measured.score
    output.print_note(
        f"{measured.name:<14} {score.accuracy:6.1%}  ({score.low:.0%} to {score.high:.0%})  {measured.what}, "
        f"{score.total} rows, {output.duration(measured.seconds)}"
    )


def _ask(facts: AdviceFacts, only: Sequence[str] | None = None) -> None:
    """Ask until enough is known. Enter skips a question, Ctrl-D all remaining ones; Ctrl-C ends the command."""
    from tuneport.advisor import next_advisor_question

    output.print_line("Enter skips a question, Ctrl-D the rest.")
    while (question := next_advisor_question(facts.known)) is not None and (only is None or question.field in only):
        try:
            facts.known[question.field] = _answer(question)
        except EOFError:
            output.print_line()
            facts.known.setdefault("needs", question.skipped)
            return


def _answer(question: AdvisorQuestion) -> Any:
    output.print_line()
    output.print_line(question.text + (" (several: 1,3)" if question.several else ""))
    for number, (_, words) in enumerate(question.choices, start=1):
        output.print_line(f"  {number}  {words}")
    while True:
        try:
            with output.interrupted_question():
                answer = input("> ")
            return question.parse_answer(answer)
        except ConfigError as error:
            output.print_line(error)
