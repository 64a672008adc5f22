"""``flask db resume`` and ``resolve``."""

from __future__ import annotations

import typing as t

import click

from flask_dbmigrate import commands

from .console import command
from .console import note
from .console import show
from .options import database_option
from .options import ddl_lock_timeout_option
from .options import ddl_retries_option
from .options import json_option
from .options import lock_option
from .options import lock_timeout_option
from .options import statement_timeout_option
from .options import tag_option
from .progress import Progress


@command("resume")
@database_option
@lock_option
@lock_timeout_option
@ddl_lock_timeout_option
@ddl_retries_option
@statement_timeout_option
@tag_option
@json_option
def resume(*, as_json: bool, **parameters: t.Any) -> None:
    """Complete a revision that is half-applied."""
    with Progress().on_terminal() as progress:
        result = commands.resume(listener=progress, **parameters)
    show(result, as_json=True) if as_json else note(result)


@command("resolve")
@click.option("--applied", metavar="REVISION", help="It was completed by hand.")
@click.option("--rolled-back", metavar="REVISION", help="It was undone by hand.")
@click.option(
    "--drop-temp", is_flag=True, help="Drop what an interrupted batch operation has left."
)
@database_option
@lock_option
@lock_timeout_option
@json_option
def resolve(*, as_json: bool, **parameters: t.Any) -> None:
    """Say how a half-applied revision was completed by hand."""
    result = commands.resolve(listener=Progress(shows_steps=False), **parameters)
    show(result, as_json=True) if as_json else note(result)
