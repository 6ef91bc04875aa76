"""Options of every command that reads a dataset, as `submit` has them: `takes_reading_options`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from tuneport.cli.mapping import parse_map_option
from tuneport.data.rows.reading_options import ReadingOptions
from tuneport.lifecycle.submitting.flags import SPEC_FLAGS, Flag, parse_template_flag

READS = ("columns", "format", "system", "template")
"""The options of a command that only reads the rows."""
TRAINS = (*READS, "ignored_columns", "keep_unliked")
"""The options of a command that says what a job would make of them."""

_TYPES: dict[str, Any] = {"columns": list[str] | None, "names": list[str] | None, "switch": bool}


def takes_reading_options(*fields: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a command a flag for each of `fields` in place of its parameter `reading`, which
    then gets the `ReadingOptions` that they say."""
    flags = [flag for flag in SPEC_FLAGS if flag.field in fields]

    def with_flags(function: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(function, eval_str=True)
        parameters: list[inspect.Parameter] = []
        for each in own.parameters.values():
            if each.name == "reading":
                parameters += map(_parameter, flags)
            else:
                parameters.append(each.replace(kind=inspect.Parameter.KEYWORD_ONLY))

        def command(**given: Any) -> None:
            reading = {flag.field: _value(flag, given.pop(flag.field)) for flag in flags}
            function(**given, reading=ReadingOptions(**reading))

        command.__name__, command.__module__, command.__doc__ = function.__name__, function.__module__, function.__doc__
        command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        return command

    return with_flags


def _parameter(flag: Flag) -> inspect.Parameter:
    option = typer.Option(flag.flag, help=flag.help, metavar=flag.metavar)
    annotation: Any = Annotated[_TYPES.get(flag.kind, str | None), option]
    default = False if flag.kind == "switch" else None
    return inspect.Parameter(flag.field, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _value(flag: Flag, given: Any) -> Any:
    """Return a flag's value as `ReadingOptions` takes it."""
    if flag.kind == "columns":
        return parse_map_option(given)
    if flag.kind == "template":
        return None if given is None else parse_template_flag(given)
    return tuple(given or ()) if flag.kind == "names" else given
