"""The command chat: talk to a tuned or a base model."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuneport.cli.views import output
from tuneport.errors import ConfigError, TuneportError

if TYPE_CHECKING:
    from tuneport.lifecycle.service import JobService

Json = output.Json


def chat_command(
    model: Annotated[str, typer.Argument(metavar="JOB|MODEL", help="A job, a tuned model or any model.")],
    message: Annotated[
        str | None,
        typer.Argument(metavar="MESSAGE", help="The message. Default: read from standard input, or typed in."),
    ] = None,
    system: Annotated[
        str | None, typer.Option(help="A system prompt. Default: the one that --system gave the job.")
    ] = None,
    backend: Annotated[
        str | None, typer.Option("--backend", "-b", help="The backend of a model without a job here.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens in the answer.")] = 512,
    temperature: Annotated[float, typer.Option(min=0, help="0 always gives the likeliest answer.")] = 0.0,
    json_: Json = False,
) -> None:
    """Talk to a tuned model, or to a base model.

    Without MESSAGE, on a terminal, it is a conversation: Ctrl-C stops an answer, Ctrl-D ends it.
    """
    from tuneport.lifecycle.service import JobService

    history: list[dict[str, Any]] = []
    options = {"max_tokens": max_tokens, "temperature": temperature}
    with JobService() as workspace:
        name, model_id = workspace.locate(model, backend=backend)
        if system is None:
            system = _system_of(workspace, model)
        if system:
            history.append({"role": "system", "content": system})

        def stream() -> Iterator[str]:
            with workspace.naming_job(model):
                return workspace.backend(name).stream(model_id, history, **options)

        if message is None and sys.stdin.isatty() and not output.as_json:
            _converse(history, stream)
            return
        said = message if message is not None else _piped()
        if not said:
            raise ConfigError("no message; give a MESSAGE, or write one to standard input")
        history.append({"role": "user", "content": said})
        if sys.stdout.isatty() and not output.as_json:
            _show(stream())
            return
        with workspace.naming_job(model):
            answer = workspace.backend(name).answer(model_id, history, **options)
        if not output.print_if_json(answer.model_dump(mode="json") | {"backend": name}):
            output.print_text(f"{answer.text}\n")


def _system_of(workspace: JobService, model: str) -> str | None:
    """Return the system prompt that the model's job was given for its rows, and say that it is used; None for none."""
    from tuneport.data.rows.reading_options import ReadingOptions
    from tuneport.lifecycle.service import CHECKPOINT

    row = workspace.job_behind(model) or workspace.job_behind(CHECKPOINT.sub("", model))
    system = None if row is None else row.tune_spec.system
    if row is not None and system is not None:
        shown = ReadingOptions.of_spec(row.tune_spec).shown()["system"]
        output.print_note(f"with the system prompt that {row.id} was trained with: {shown} (--system '' for none)")
    return system


def _converse(history: list[dict[str, Any]], stream: Callable[[], Iterator[str]]) -> None:
    """Hold a conversation until Ctrl-D. A stopped answer stays in the history as far as it was written."""
    answered = False
    while True:
        try:
            said = input("> ").strip()
        except EOFError:
            output.print_line()
            return
        except KeyboardInterrupt:
            output.ctrl_c = False
            output.print_note()
            output.print_note("(Ctrl-D ends the chat)")
            continue
        if not said:
            continue
        history.append({"role": "user", "content": said})
        pieces: list[str] = []
        try:
            _show(stream(), pieces)
        except KeyboardInterrupt:
            output.ctrl_c = False
            output.print_line()
            output.print_note("(stopped)")
        except TuneportError as error:
            if not answered:
                raise
            output.print_error(error)
        if pieces:
            answered = True
            history.append({"role": "assistant", "content": "".join(pieces)})
        else:
            history.pop()


def _show(answer: Iterator[str], pieces: list[str] | None = None) -> None:
    """Write the chunks as they come, and keep them in `pieces`."""
    try:
        for piece in answer:
            if not piece:
                continue  # it tells how the answer ended
            if pieces is not None:
                pieces.append(piece)
            output.print_text(piece)
            output.raise_if_interrupted()
    finally:
        if (close := getattr(answer, "close", None)) is not None:
            close()
    output.print_line()


def _piped() -> str:
    try:
        return sys.stdin.read().strip()
    except UnicodeDecodeError as error:
        raise ConfigError(f"standard input is not UTF-8 ({error.reason}); convert it") from error
