"""The command group: one for all applications, lazy, open for users' own commands."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import MutableMapping
from importlib import import_module
import typing as t

import click
from flask import g
from flask.cli import with_appcontext

from flask_dbmigrate.commands import FAMILIES

from .options import directory_option
from .options import traceback_option
from .options import version_option
from .options import x_arg_option

# 'flask_dbmigrate.log' is Flask-Migrate's logger, so the function has another name
_NAMES = {"run_log": "log"}


class LazyCommands(MutableMapping[str, click.Command]):
    """Commands by name; the module of one of ours is imported when the command is looked up.

    A command that a user adds takes the place of ours of the same name.
    """

    def __init__(self) -> None:
        self._commands: dict[str, click.Command | str] = {
            _NAMES.get(name, name).replace("_", "-"): family
            for family, names in FAMILIES.items()
            for name in names
        }

    def __getitem__(self, name: str) -> click.Command:
        command = self._commands[name]
        if isinstance(command, str):
            module = import_module(f".{command}", __package__)
            command = self._commands[name] = getattr(module, name.replace("-", "_"))
        return command

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._commands[name] = command

    def __delitem__(self, name: str) -> None:
        del self._commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._commands)

    def __len__(self) -> int:
        return len(self._commands)


class Group(click.Group):
    """The command group; the modules of a command are loaded when it is invoked."""

    def make_context(self, *args: t.Any, **kwargs: t.Any) -> click.Context:
        """Read the command line, which may print the help."""
        from .console import full_output_explained

        with full_output_explained():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> t.Any:
        """Run one of the commands."""
        from . import garbage  # loads SQLAlchemy
        from .console import full_output_explained

        with garbage.out_of_the_way(), full_output_explained():
            return super().invoke(ctx)


@click.group(cls=Group, commands=LazyCommands())
@directory_option
@x_arg_option
@traceback_option
@version_option
@with_appcontext
def db(directory: str | None, x_arg: tuple[str, ...], traceback: bool) -> None:
    """Perform database migrations."""
    # custom env.py files read these two
    g.directory = directory
    g.x_arg = x_arg
