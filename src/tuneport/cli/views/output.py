"""The output of all commands: documents and tables go to stdout, progress and prose to stderr."""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuneport.cli.views.live_line import erase_live_line, line_was_ended, make_way_for
from tuneport.cli.views.plain_text import escape_markup as escape_markup
from tuneport.cli.views.plain_text import terminal_line as terminal_line
from tuneport.cli.views.plain_text import terminal_text as terminal_text
from tuneport.errors import ConfigError, TuneportError
from tuneport.formatting import ago as ago
from tuneport.formatting import compact as compact
from tuneport.formatting import counted as counted
from tuneport.formatting import duration as duration
from tuneport.formatting import money as money
from tuneport.formatting import number as number
from tuneport.formatting import size as size

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

debug = False
as_json = False
wide = False
"""Whether listings show all columns whole on a terminal, too."""
as_tsv = False
interrupted = "stopped"
"""The message on Ctrl-C: set by a command whose work goes on without it."""
job: str | None = None
"""The command's job, once it is known; error documents name it, too."""
printed = False
ctrl_c = False


def reset_command_output(arguments: Sequence[str] = ()) -> None:
    """Reset the state of a command. `arguments` say whether errors in the arguments themselves are to be JSON."""
    options = list(arguments)[: list(arguments).index("--")] if "--" in arguments else arguments
    values = {"interrupted": "stopped", "job": None, "printed": False, "ctrl_c": False}
    globals().update(values, debug=False, as_json="--json" in options, wide=False, as_tsv=False)


def _set_json(wanted: bool) -> bool:
    globals()["as_json"] = wanted
    return wanted


Json = Annotated[
    bool,
    # Eager: an error in another option is printed as JSON, too.
    typer.Option("--json", callback=_set_json, is_eager=True, help="Print one JSON document on stdout."),
]


def _set_wide(wanted: bool) -> bool:
    globals()["wide"] = wanted
    return wanted


def _set_tsv(wanted: bool) -> bool:
    if wanted and as_json:
        raise ConfigError("--json and --tsv are two formats; give one of them")
    globals()["as_tsv"] = wanted
    return wanted


Wide = Annotated[
    bool,
    typer.Option("--wide", callback=_set_wide, help="Show all columns whole, as in a pipe, however wide they are."),
]
Tsv = Annotated[
    bool, typer.Option("--tsv", callback=_set_tsv, help="Print a line of names and the rows, tabs between the cells.")
]


def _allow_large(wanted: bool) -> bool:
    from tuneport.data.containers.limits import set_large_files_allowed

    set_large_files_allowed(wanted)
    return wanted


AllowLarge = Annotated[
    bool,
    typer.Option(
        "--allow-large", callback=_allow_large, help="Read packed files that unpack to many times their size."
    ),
]


def set_interrupt_message(message: str, *, job: str) -> None:
    globals().update(interrupted=message, job=job)


def handle_ctrl_c(number: int, frame: FrameType | None) -> None:
    """Handle Ctrl-C as Python does, and remember it: an interrupt within a destructor or a callback is swallowed
    there."""
    globals()["ctrl_c"] = True
    raise KeyboardInterrupt


def raise_if_interrupted() -> None:
    if ctrl_c:
        raise KeyboardInterrupt


# --- what a command writes for people goes through `console`, `print_line`, `print_note` or `print_text` --------------


def console(*, stderr: bool = False, width: int | None = None) -> Console:
    from tuneport.cli.views.console import SafeConsole

    # `ft:m:...` is a name, not an emoji.
    return SafeConsole(stderr=stderr, width=width, highlight=False, soft_wrap=False, emoji=False)


def print_line(words: object = "", *, end: str = "\n", stderr: bool = False) -> None:
    """Print one line of plain text on stdout at once. Line ends in it become spaces, as they could fake a line."""
    print_text(" ".join(str(words).splitlines()) + end, stderr=stderr)


def print_note(message: object = "") -> None:
    """Print one line for people on stderr."""
    print_line(message, stderr=True)


def print_text(text: str, *, stderr: bool = False) -> None:
    """Write text of many lines in chunks: a model's answer, or a traceback."""
    file = sys.stderr if stderr else sys.stdout
    make_way_for(text)
    file.write(terminal_text(text))
    file.flush()


def print_json_document(value: Any) -> None:
    """Print the one JSON document on stdout."""
    erase_live_line()
    sys.stdout.write(escape_json_controls(json.dumps(value, indent=2, ensure_ascii=False, default=str)) + "\n")
    sys.stdout.flush()
    globals()["printed"] = True


def print_if_json(value: Any) -> bool:
    """Print the document if JSON was asked for. Returns whether it was: nothing else is printed then."""
    if as_json:
        print_json_document(value)
    return as_json


def escape_json_controls(text: str) -> str:
    """Return JSON in which control characters beyond ASCII, which JSON leaves as they are, are escaped as well."""
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(
        each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] if each != "\x7f" else "\\u007f"
        for each in text
    )


def silence_lost_readers() -> bool:
    """Return whether a reader of stdout or stderr has gone (head, less). What is still to be written for it goes
    nowhere."""
    lost = []
    for stream in (1, 2):
        poll = select.poll()
        poll.register(stream, 0)
        if any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
            lost.append(stream)
    if lost:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in lost:
            os.dup2(nowhere, stream)
        os.close(nowhere)
    return bool(lost)


def confirm_action(question: str, *, yes: bool, otherwise: str = "nothing was deleted") -> None:
    """Ask before an action that cannot be undone. Raises ConfigError if the answer is no, or no terminal can ask."""
    if yes:
        return
    if as_json or not sys.stdin.isatty():
        raise ConfigError(f"{question} Say so with --yes")
    if not ask_yes_or_no(question, otherwise=otherwise):
        raise ConfigError(otherwise)


def ask_yes_or_no(question: str, *, otherwise: str) -> bool:
    """Ask a question on the terminal. Returns whether the answer is yes. On Ctrl-C the command says `otherwise`."""
    print_line(f"{question} [y/N] ", end="", stderr=True)
    with interrupted_question(otherwise):
        return sys.stdin.readline().strip().lower() in ("y", "yes")


@contextmanager
def interrupted_question(otherwise: str = "nothing was done") -> Iterator[None]:
    """Let Ctrl-C end the command with `otherwise` while a question waits for its answer in the block."""
    before = interrupted
    globals()["interrupted"] = otherwise
    yield
    line_was_ended()
    globals()["interrupted"] = before


def print_error(error: TuneportError) -> None:
    print_error_document(error.as_dict())
    print_note(f"error: {error}")


def print_error_document(error: dict[str, object]) -> None:
    """Print the error as the command's JSON document, once, if JSON was asked for."""
    if as_json and not printed:
        print_json_document({"error": error} | ({} if job is None else {"job": job}))


def console_table(*columns: str, right: Sequence[str] = (), cut: Sequence[str] = ()) -> Table:
    """Return a table for 80 columns: only the columns in `cut` shrink, and their long words go on below.

    A listing of things with ids is a `table.CommandTable`.

    A cell is plain text; a styled one is a `rich.text.Text`.
    """
    from rich import box

    from tuneport.cli.views.console import PlainTable

    made = PlainTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        made.add_column(
            column,
            justify="right" if column in right else "left",
            no_wrap=column not in cut,
            overflow="fold",
        )
    return made
