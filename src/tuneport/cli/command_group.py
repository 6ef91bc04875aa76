"""The group of all commands: it imports the module of the command that is called, and no other."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import HAS_RICH, TyperCommand, TyperGroup

from tuneport.cli.command_list import print_command_list
from tuneport.cli.command_table import COMMANDS, GROUPS, OTHER_WORDS, group_title
from tuneport.errors import ConfigError

ONE_IS_MEANT = ("--model", "--backend")
"""Options that some commands take several times. Where a command takes one, the last of two is not what was meant."""


class PlainHelp:
    """Makes a command's help say nothing of the type of a switch, and the bounds of a number in words, and refuses a
    second model or backend where one is meant."""

    def make_parser(self, ctx: Any) -> Any:
        parser = super().make_parser(ctx)  # type: ignore[misc]
        parse = parser.parse_args

        def parse_args(args: list[str]) -> Any:
            found = parse(args=args)
            if not ctx.resilient_parsing:
                _refuse_second_value(found[2])
            return found

        parser.parse_args = parse_args
        return parser

    def get_params(self, ctx: Any) -> list[Any]:
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            describe_type_plainly(param)
        return params


def _refuse_second_value(given: Sequence[Any]) -> None:
    """Raise ConfigError for an option that is among the `given` ones twice and that keeps one value."""
    for param in given:
        names = set(param.opts) & set(ONE_IS_MEANT)
        if names and not param.multiple and given.count(param) > 1:
            raise ConfigError(
                f"{names.pop()} is given {given.count(param)} times, and one is meant here; give one of them "
                "(`tuneport compare` takes several)"
            )


class PlainCommand(PlainHelp, TyperCommand):
    """A command with such a help."""


class PlainGroup(PlainHelp, TyperGroup):
    """A command with commands of its own, with such a help."""


def give_plain_help(app: typer.Typer) -> None:
    """Give all commands of an app such a help, those of its groups, too."""
    for command in app.registered_commands:
        command.cls = PlainCommand
    for group in app.registered_groups:
        group.cls = PlainGroup
        if group.typer_instance is not None:
            give_plain_help(group.typer_instance)


def describe_type_plainly(param: Any) -> None:
    """Replace typer's `<bool>` and `<int range> [1<=x<=9]` in the help; what is accepted stays as it is.

    typer checks a number against what its parser was built from; `min` and `max` are what the help says.
    """
    if getattr(param, "is_flag", False) and param.metavar is None:
        param.metavar = ""
    low, high = getattr(param, "min", None), getattr(param, "max", None)
    if low is None and high is None:
        return
    if param.metavar is None and param.param_type_name == "option":
        param.metavar = "<number>"
    bounds = f"At most {high}." if low is None else f"At least {low}." if high is None else f"{low} to {high}."
    param.help = f"{param.help or ''} {bounds}".strip()
    param.min = param.max = None


class LazyCommands(UserDict[str, Any]):
    """The commands by name, as typer makes them. Each is made when it is first looked up; the names are there before
    that."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(COMMANDS))

    def __getitem__(self, name: str) -> Any:
        if self.data[name] is None:
            self.data[name] = _make_command(name)
        return self.data[name]


def _make_command(name: str) -> Any:
    """Make the command of its module's function `NAME_command`, or of its `NAME_group`, which has commands itself."""
    row = COMMANDS[name]
    module = import_module(f"tuneport.cli.commands.{row.module}")
    app = typer.Typer(rich_markup_mode="rich", pretty_exceptions_enable=False)
    group = getattr(module, f"{name}_group", None)
    if group is None:
        app.command(name)(getattr(module, f"{name}_command"))
    else:
        app.add_typer(group, name=name)
    give_plain_help(app)
    command: Any = typer.main.get_group(app).commands[name]
    command.short_help, command.epilog = row.line, f"Example: tuneport {row.example}"
    command.rich_help_panel = group_title(row.group)
    return command


@dataclass(frozen=True)
class CommandCompletion:
    """A command's name as the shell completes it; typer asks for these three."""

    value: str
    help: str
    type: str = "plain"


class CommandGroup(PlainGroup):
    """The command `tuneport` itself."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = LazyCommands()

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        if HAS_RICH:
            groups = {
                group_title(group): {name: row.line for name, row in COMMANDS.items() if row.group == group}
                for group in GROUPS
            }
            print_command_list(self, ctx, groups)
        else:  # TYPER_USE_RICH=0
            super().format_help(ctx, formatter)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] in OTHER_WORDS and not ctx.resilient_parsing:
            ctx.fail(f"No such command {args[0]!r}: {OTHER_WORDS[args[0]]}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Return the names that the shell completes. typer itself would import all commands for their lines."""
        names = [CommandCompletion(name, row.line) for name, row in COMMANDS.items() if name.startswith(incomplete)]
        return names + super(TyperGroup, self).shell_complete(ctx, incomplete)
