"""``flask db log``."""

from __future__ import annotations

import typing as t

import click

from flask_dbmigrate import commands

from .console import command
from .console import Progress
from .console import show
from .options import database_option
from .options import json_option


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
