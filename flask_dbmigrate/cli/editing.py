"""``flask db edit``."""

from __future__ import annotations

import typing as t

import click

from flask_dbmigrate import commands

from .console import command


@command("edit")
@click.argument("revision", default="head")
def edit(**parameters: t.Any) -> None:
    """Edit a revision file in $EDITOR."""
    commands.edit(**parameters)
