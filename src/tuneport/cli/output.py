"""What every command shares in how it prints: documents and tables to stdout, progress and prose to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tuneport.errors import ConfigError, TuneportError
from tuneport.pages.words import duration as duration
from tuneport.pages.words import money as money
from tuneport.pages.words import number as number

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

debug = False
as_json = False
interrupted = "stopped"
"""What to say on Ctrl-C: set by a command whose work goes on without it."""
job: str | None = None
"""The job that the command is about, once it is known: in the document of an error, too."""
printed = False
ctrl_c = False


def reset(arguments: Sequence[str] = ()) -> None:
    """Start anew. `arguments` say whether errors in the arguments themselves are to be JSON."""
    options = list(arguments)[: list(arguments).index("--")] if "--" in arguments else arguments
    values = {"interrupted": "stopped", "job": None, "printed": False, "ctrl_c": False}
    globals().update(values, debug=False, as_json="--json" in options)


def _set_json(wanted: bool) -> bool:
    globals()["as_json"] = wanted
    return wanted


Json = Annotated[
    bool,
    # Eager: an error in another option is printed as JSON, too.
    typer.Option("--json", callback=_set_json, is_eager=True, help="Print one JSON document on stdout."),
]


def say_on_interrupt(message: str, *, job: str) -> None:
    globals().update(interrupted=message, job=job)


def on_ctrl_c(number: int, frame: FrameType | None) -> None:
    """What Python does, remembered: an interrupt that arrives within a destructor or a callback is swallowed there."""
    globals()["ctrl_c"] = True
    raise KeyboardInterrupt


def stop_if_interrupted() -> None:
    if ctrl_c:
        raise KeyboardInterrupt


def console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    # `ft:m:...` is a name, and no picture.
    return Console(stderr=stderr, highlight=False, soft_wrap=False, emoji=False)


def plain(words: object) -> str:
    """What others wrote, on a line of a console: no markup, and nothing that a terminal obeys."""
    from rich.markup import escape

    return escape("".join(each if each.isprintable() else "\ufffd" for each in " ".join(str(words).split())))


def document(value: Any) -> None:
    """The one JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()
    globals()["printed"] = True


def note(message: str) -> None:
    """One line for people, on stderr."""
    print(message, file=sys.stderr, flush=True)


def confirm(question: str, *, yes: bool, otherwise: str = "nothing was deleted") -> None:
    """Ask before what cannot be taken back; ConfigError where the answer is no, or where nobody can be asked."""
    if yes:
        return
    if as_json or not sys.stdin.isatty():
        raise ConfigError(f"{question} Say so with --yes")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ConfigError(otherwise)


def print_error(error: TuneportError) -> None:
    error_document(error.as_dict())
    note(f"error: {error}")


def error_document(error: dict[str, object]) -> None:
    """The document of a command that has no other one to print: where JSON was asked for, and once."""
    if as_json and not printed:
        document({"error": error} | ({} if job is None else {"job": job}))


def table(*columns: str, right: Sequence[str] = (), cut: Sequence[str] = ()) -> Table:
    """A table for 80 columns: only the columns in `cut` give way, their long words end in an ellipsis."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        made.add_column(
            column,
            justify="right" if column in right else "left",
            no_wrap=column not in cut,
            overflow="ellipsis" if column in cut else "fold",
        )
    return made


def ago(moment: datetime) -> str:
    return f"{duration((datetime.now(UTC) - moment).total_seconds())} ago"


def records(count: int) -> str:
    return f"{count:,} record{'s' if count != 1 else ''}"


def size(count: int) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:,.0f} {unit}" if unit == "B" or count >= 100 else f"{count:,.1f} {unit}"
        count = count / 1000  # type: ignore[assignment]
    return ""
