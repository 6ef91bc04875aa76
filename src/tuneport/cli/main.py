"""The `tuneport` command. Each command group is a file of its own; heavy imports happen inside the commands."""

from __future__ import annotations

import gc
import logging
import signal
import sys
import threading
import traceback
import warnings
from contextlib import nullcontext
from types import TracebackType
from typing import Annotated, TextIO

import typer

from tuneport.cli.command_group import CommandGroup
from tuneport.cli.views import output
from tuneport.cli.views.live.heartbeat import print_heartbeat
from tuneport.data.templates.limits import bound_template_memory
from tuneport.errors import ConfigError, TuneportError
from tuneport.version import __version__

INTERRUPTED = 130

app = typer.Typer(
    name="tuneport",
    cls=CommandGroup,
    help="Portable fine-tuning: one dataset, one call, any backend.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        output.print_line(f"tuneport {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with every error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    output.debug = debug


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 2 for the caller's mistakes, 3 for the provider's, 130 for
    Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else arguments
    output.reset_command_output(arguments)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, output.handle_ctrl_c)
    if "serve" not in arguments[:2]:
        bound_template_memory()
    try:
        _refuse_non_utf8_arguments(arguments)
        busy = print_heartbeat() if "serve" not in arguments[:2] else nullcontext()  # the gateway has its log
        with busy:
            code: int = app(args=arguments, standalone_mode=False) or 0
        return _interrupted() if code == INTERRUPTED else code  # what typer makes of Ctrl-C
    except KeyboardInterrupt:
        return _interrupted()
    except TuneportError as error:
        if output.debug:
            raise
        output.print_error(error)
        return error.exit_code
    except BrokenPipeError as error:
        return 0 if output.silence_lost_readers() else _click_error(error)  # else a child of ours died
    except Exception as error:
        return _click_error(error)


def _refuse_non_utf8_arguments(arguments: list[str]) -> None:
    """Refuse arguments that are not UTF-8: no job could store them and no document print them."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            raise ConfigError(f"the argument {argument!r} is not UTF-8; correct it, or rename the file") from error


def _interrupted() -> int:
    output.print_error_document({"type": "Interrupted", "message": output.interrupted})
    output.print_note(output.interrupted)
    return INTERRUPTED


def _click_error(error: Exception) -> int:
    """Print a wrong option or argument in one line, and anything else as a bug of tuneport."""
    format_message = getattr(error, "format_message", None)
    if format_message is None:
        if output.debug:
            raise error
        told = " ".join(f"{type(error).__name__}: {error}".split())
        message = f"a bug in tuneport: {told}; `tuneport --debug ...` shows where"
        output.print_error_document({"type": "InternalError", "message": message})
        output.print_note(f"error: {message}")
        return 1
    context = getattr(error, "ctx", None)
    hint = f"; see `{context.command_path} --help`" if context is not None else ""
    message = str(format_message()).replace("\n", " ").rstrip(".")
    if message:
        output.print_error_document({"type": "UsageError", "message": f"{message}{hint}"})
        output.print_note(f"error: {message}{hint}")
    return 2


def run() -> None:
    """Run the console script. Errors that Python itself prints are printed in the same way, too."""
    warnings.showwarning = _print_warning
    logging.lastResort = _WarningLogHandler(logging.WARNING)
    try:
        code = main()
        gc.freeze()  # else the end of the process looks through all that was imported for garbage
        sys.exit(code)
    except Exception as error:  # with --debug; not by `sys.excepthook`, which typer sets to its own
        _print_traceback(type(error), error, error.__traceback__)
        sys.exit(1)


def _print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    output.print_text("".join(traceback.format_exception(kind, error, trace)), stderr=True)


def _print_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    output.print_note(f"{category.__name__}: {message}")


class _WarningLogHandler(logging.Handler):
    """A log handler for commands that configure no logging, unlike `serve`: a warning is a line on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        output.print_note(record.getMessage())


if __name__ == "__main__":
    run()
