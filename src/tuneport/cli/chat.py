"""chat: talks to a tuned or a base model."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from tuneport.cli import output
from tuneport.errors import ConfigError

Json = output.Json


def register(app: typer.Typer) -> None:
    app.command()(chat)


def chat(
    model: Annotated[str, typer.Argument(metavar="JOB|MODEL", help="A job, a tuned model or any model.")],
    message: Annotated[
        str | None,
        typer.Argument(metavar="MESSAGE", help="What to say. Left out: from standard input, or asked for."),
    ] = None,
    system: Annotated[str | None, typer.Option(help="A system prompt.")] = None,
    backend: Annotated[str | None, typer.Option("--backend", "-b", help="For a model that is no job's.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="At most so many tokens in the answer.")] = 512,
    temperature: Annotated[float, typer.Option(min=0, help="0 always gives the likeliest answer.")] = 0.0,
    json_: Json = False,
) -> None:
    """Talk to a tuned model, or to a base model."""
    from tuneport.jobs.service import Workspace
    from tuneport.types import Completion

    history: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    with Workspace() as workspace:
        name, model_id = workspace.locate(model, backend=backend)
        while True:
            said = message if message is not None else _next_line()
            if not said:
                if output.as_json or message is not None or not sys.stdin.isatty():
                    raise ConfigError("there is nothing to say; give a MESSAGE, or write one to standard input")
                return
            history.append({"role": "user", "content": said})
            options = {"max_tokens": max_tokens, "temperature": temperature}
            answer = workspace.backend(name).complete(model_id, history, stream=not output.as_json, **options)
            if isinstance(answer, Completion):
                output.document(answer.model_dump(mode="json") | {"backend": name})
                text = answer.text
            else:
                text = ""
                for piece in answer:
                    text += piece
                    sys.stdout.write(piece)
                    sys.stdout.flush()
                print()
            if output.as_json or message is not None or not sys.stdin.isatty():
                return
            history.append({"role": "assistant", "content": text})


def _next_line() -> str:
    if not sys.stdin.isatty():
        try:
            return sys.stdin.read().strip()
        except UnicodeDecodeError as error:
            raise ConfigError(f"standard input is not UTF-8 ({error.reason}); convert it") from error
    try:
        return input("> ").strip()
    except EOFError:
        return ""
