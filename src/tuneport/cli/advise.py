"""advise: fine-tune, prompt, few-shot or retrieval?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuneport.cli import output
from tuneport.cli.data import DATA, Task
from tuneport.cli.mapping import Map, columns_of
from tuneport.errors import ConfigError

if TYPE_CHECKING:
    from tuneport.advisor import Question
    from tuneport.workflows.advise import Facts

NEEDS = "What has to change: task, format, style, behaviour, domain, knowledge, language, cost or latency; repeatable."
RESULT = "no, fails, partly or works."


def register(app: typer.Typer) -> None:
    app.command()(advise)


def advise(
    dataset: Annotated[Path | None, typer.Argument(metavar="[DATA]", help=DATA, show_default=False)] = None,
    need: Annotated[list[str] | None, typer.Option("--need", "-n", help=NEEDS)] = None,
    prompt: Annotated[str | None, typer.Option(help=f"What came of a plain prompt: {RESULT}")] = None,
    few_shot: Annotated[str | None, typer.Option(help=f"What came of examples in the prompt: {RESULT}")] = None,
    task: Task = None,
    examples: Annotated[str | None, typer.Option(help="Good examples that there are. Default: DATA's records.")] = None,
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
    validation: Annotated[Path | None, typer.Option(help="A held-out file; looked at for leaks.")] = None,
    map_: Map = None,
    json_: output.Json = False,
) -> None:
    """Fine-tune, or is a prompt, examples in it or retrieval enough? Without --need, on a terminal, it asks."""
    from tuneport.workflows.advise import gather, recommend

    facts = gather(
        dataset,
        needs=need or (),
        prompt=prompt,
        few_shot=few_shot,
        task=task,
        examples=_count(examples, "--examples"),
        text_tokens=_count(text_tokens, "--text-tokens"),
        facts_change=facts_change,
        sources=sources,
        requests=_count(requests, "--requests"),
        has_evaluation=has_evaluation,
        generated_only=generated_only,
        epochs=epochs,
        validation=validation,
        columns=columns_of(map_),
    )
    if not need and sys.stdin.isatty() and not output.as_json:
        _ask(facts)
    made = recommend(facts)
    if output.as_json:
        output.document(made.as_dict())
        return
    for note in made.notes:
        output.note(f"note: {note}")
    from tuneport.cli.advice_report import print_advice

    print_advice(made)


def _count(text: str | None, option: str) -> int | None:
    from tuneport.advisor.questions import count

    try:
        return None if text is None else count(text)
    except ConfigError as error:
        raise ConfigError(f"{option}: {error}") from None


def _ask(facts: Facts) -> None:
    """Until enough is known; Enter skips a question, Ctrl-D all that are left, Ctrl-C the whole."""
    from tuneport.advisor import next_question

    print("Enter skips a question, Ctrl-D the rest.", flush=True)
    while (question := next_question(facts.known)) is not None:
        try:
            facts.known[question.field] = _answer(question)
        except EOFError:
            print()
            facts.known.setdefault("needs", question.skipped)
            return


def _answer(question: Question) -> Any:
    print(f"\n{question.text}" + (" (several: 1,3)" if question.several else ""))
    for number, (_, words) in enumerate(question.choices, start=1):
        print(f"  {number}  {words}")
    while True:
        try:
            return question.parse(input("> "))
        except ConfigError as error:
            print(error)
