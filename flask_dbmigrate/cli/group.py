"""The command group: one for all applications, lazy, open for users' own commands."""

from __future__ import annotations

from importlib import import_module
import typing as t

import click
from flask import g
from flask.cli import with_appcontext

from .options import directory_option
from .options import traceback_option
from .options import x_arg_option
from ..commands import FAMILIES

_homes = {name.replace("_", "-"): family for family, names in FAMILIES.items() for name in names}


class LazyGroup(click.Group):
    """A group whose own commands are imported when they are needed.

    A command that a user adds comes before ours of the same name.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_homes})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = super().get_command(ctx, cmd_name)
        if command is None and cmd_name in _homes:
            module = import_module(f".{_homes[cmd_name]}", __package__)
            command = t.cast(click.Command, getattr(module, cmd_name.replace("-", "_")))
        return command


@click.group(cls=LazyGroup)
@directory_option
@x_arg_option
@traceback_option
@with_appcontext
def db(directory: str | None, x_arg: tuple[str, ...], traceback: bool) -> None:
    """Perform database migrations."""
    # custom env.py files read these two
    g.directory = directory
    g.x_arg = x_arg
