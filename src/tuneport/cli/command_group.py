"""The group of all commands: it imports the module of the command that is called, and no other."""

from __future__ import annotations

from collections import UserDict
from importlib import import_module
from typing import Any

import typer
from typer.core import HAS_RICH, TyperGroup

from tuneport.cli.command_table import COMMANDS
from tuneport.cli.views.command_list import print_command_list


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
    module = import_module(f"tuneport.cli.commands.{COMMANDS[name][0]}")
    app = typer.Typer(rich_markup_mode="rich", pretty_exceptions_enable=False)
    group = getattr(module, f"{name}_group", None)
    if group is None:
        app.command(name)(getattr(module, f"{name}_command"))
    else:
        app.add_typer(group, name=name)
    return typer.main.get_group(app).commands[name]


class CommandGroup(TyperGroup):
    """The command `tuneport` itself."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = LazyCommands()

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        if HAS_RICH:
            print_command_list(self, ctx, {name: line for name, (_, line) in COMMANDS.items()})
        else:  # TYPER_USE_RICH=0
            super().format_help(ctx, formatter)
