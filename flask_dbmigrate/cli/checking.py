"""``flask db current`` and ``check``."""

from __future__ import annotations

import typing as t

import click

from flask_dbmigrate import commands
from flask_dbmigrate.errors import DriftError

from .console import command
from .console import differences_told_once
from .console import show
from .options import database_option
from .options import json_option
from .options import verbose_option
from .progress import Progress


@command("current")
@verbose_option
@database_option
@click.option("--check-heads", is_flag=True, help="Exit with 3 unless it is the head.")
@json_option
def current(*, as_json: bool, **parameters: t.Any) -> None:
    """Show the current revision of each database."""
    show(commands.current(listener=Progress(), **parameters), as_json=as_json)


@command("check")
@database_option
@json_option
def check(*, as_json: bool, **parameters: t.Any) -> None:
    """Check for changes that need a migration.

    Exits with 3 if the models and a database differ, or if revisions are pending.
    """
    try:
        with differences_told_once():
            result = commands.check(listener=Progress(), **parameters)
        show(result, as_json=as_json)
    except DriftError as error:
        from flask_dbmigrate.commands.checking import CheckResult  # it is loaded by now

        show(CheckResult(error.differences), as_json=as_json)
        raise
