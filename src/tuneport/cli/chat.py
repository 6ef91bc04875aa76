"""chat: talks to a tuned or a base model."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from tuneport.cli import output
from tuneport.errors import ConfigError, TuneportError

if TYPE_CHECKING:
    from tuneport.types import Completion

Json = output.Json
Complete = Callable[..., "Completion | Iterator[str]"]


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
    """Talk to a tuned model, or to a base model.

    Without MESSAGE, on a terminal, a conversation: Ctrl-C stops an answer, Ctrl-D ends it.
    """
    from tuneport.jobs.service import Workspace

    history: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    options = {"max_tokens": max_tokens, "temperature": temperature}
    with Workspace() as workspace:
        name, model_id = workspace.locate(model, backend=backend)

        def complete(*, stream: bool) -> Completion | Iterator[str]:
            return workspace.backend(name).complete(model_id, history, stream=stream, **options)

        if message is None and sys.stdin.isatty() and not output.as_json:
            _converse(history, complete)
            return
        said = message if message is not None else _piped()
        if not said:
            raise ConfigError("there is nothing to say; give a MESSAGE, or write one to standard input")
        history.append({"role": "user", "content": said})
        if sys.stdout.isatty() and not output.as_json:
            _show(cast("Iterator[str]", complete(stream=True)))
            return
        answer = cast("Completion", complete(stream=False))
        if output.as_json:
            output.document(answer.model_dump(mode="json") | {"backend": name})
        else:
            print(answer.text, flush=True)


def _converse(history: list[dict[str, Any]], complete: Complete) -> None:
    """Until Ctrl-D. An answer that was stopped stays in the history as far as it was written."""
    answered = False
    while True:
        try:
            said = input("> ").strip()
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            output.ctrl_c = False
            output.note("\n(Ctrl-D ends the chat)")
            continue
        if not said:
            continue
        history.append({"role": "user", "content": said})
        pieces: list[str] = []
        try:
            _show(cast("Iterator[str]", complete(stream=True)), pieces)
        except KeyboardInterrupt:
            output.ctrl_c = False
            print()
            output.note("(stopped)")
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
    """Write the pieces as they come, and keep them in `pieces`."""
    try:
        for piece in answer:
            if not piece:
                continue  # it tells how the answer ended
            if pieces is not None:
                pieces.append(piece)
            sys.stdout.write(_harmless(piece) if sys.stdout.isatty() else piece)
            sys.stdout.flush()
            output.stop_if_interrupted()
    finally:
        if (close := getattr(answer, "close", None)) is not None:
            close()
    print(flush=True)


def _harmless(text: str) -> str:
    """A model may write what a terminal takes for a command."""
    return "".join(mark if mark.isprintable() or mark in "\n\t" else "\ufffd" for mark in text)


def _piped() -> str:
    try:
        return sys.stdin.read().strip()
    except UnicodeDecodeError as error:
        raise ConfigError(f"standard input is not UTF-8 ({error.reason}); convert it") from error
