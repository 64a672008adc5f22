"""``flask db log`` and ``status``."""

from __future__ import annotations

import typing as t

import click

from flask_dbmigrate import commands
from flask_dbmigrate.errors import CheckFailedError

from .console import command
from .console import show
from .options import database_option
from .options import json_option
from .progress import Progress


@command("log")
@click.option(
    "-n",
    "--number",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="How many entries of each database.",
)
@database_option
@json_option
def log(*, as_json: bool, **parameters: t.Any) -> None:
    """Show what was run on each database, by whom and when."""
    show(commands.run_log(listener=Progress(), **parameters), as_json=as_json)


@command("status")
@database_option
@click.option("--exit-code", is_flag=True, help="Exit with 3 if there is something to do.")
@json_option
def status(*, exit_code: bool, as_json: bool, **parameters: t.Any) -> None:
    """Show what is pending on each database, and who is migrating it."""
    result = commands.status(listener=Progress(), **parameters)
    show(result, as_json=as_json)
    if exit_code and not result.is_ok:
        click.get_current_context().exit(CheckFailedError.exit_code)
