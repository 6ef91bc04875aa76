"""The `tuneport` command. Each command group is a file of its own; heavy imports happen inside the commands."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tuneport import __version__
from tuneport.cli import backends, costs, data, demo, jobs, output
from tuneport.errors import TuneportError

INTERRUPTED = 130

app = typer.Typer(
    name="tuneport",
    help="Portable fine-tuning: one dataset, one call, any backend.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"tuneport {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with every error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    output.debug = debug


for group in (demo, data, costs, jobs, backends):
    group.register(app)


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 2 for the caller's mistakes, 3 for the provider's, 130 for Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else arguments
    output.reset()
    try:
        code: int = app(args=arguments, standalone_mode=False) or 0
        if code == INTERRUPTED:  # what typer makes of Ctrl-C
            output.note(output.interrupted or "stopped")
        return code
    except TuneportError as error:
        if output.debug:
            raise
        output.print_error(error)
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()  # the reader (head, less) went away: nothing left to tell anybody
        return 0
    except Exception as error:
        return _click_error(error)


def _click_error(error: Exception) -> int:
    """A wrong option or argument in one line; anything else is our own bug and says so."""
    format_message = getattr(error, "format_message", None)
    if format_message is None:
        if output.debug:
            raise error
        output.note(f"error: a bug in tuneport: {type(error).__name__}: {error}; `tuneport --debug ...` shows where")
        return 1
    context = getattr(error, "ctx", None)
    hint = f"; see `{context.command_path} --help`" if context is not None else ""
    message = str(format_message()).replace("\n", " ").rstrip(".")
    if message:
        output.note(f"error: {message}{hint}")
    return 2


def run() -> None:
    """The console script."""
    sys.exit(main())


if __name__ == "__main__":
    run()
