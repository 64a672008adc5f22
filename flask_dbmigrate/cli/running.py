"""``flask db upgrade``, ``downgrade``, ``stamp`` and ``ensure-version``."""

from __future__ import annotations

import typing as t

import click
from flask import current_app

from flask_dbmigrate import commands

from .console import command
from .console import is_terminal
from .console import note
from .console import Progress
from .console import show
from .options import database_option
from .options import json_option
from .options import lock_option
from .options import lock_timeout_option
from .options import output_option
from .options import sql_option
from .options import tag_option
from .options import two_phase_option
from .options import wait_option


def _run(
    function: t.Callable[..., t.Any], *, sql: bool, as_json: bool, **parameters: t.Any
) -> None:
    """Run a command and say what it did; with ``--sql`` the SQL says it."""
    if sql:
        listener = Progress(shows_steps=False)
        for database in function(sql=True, listener=listener, **parameters).databases:
            if database.file is not None:
                show(database.file)
        return
    with Progress().lines() as progress:
        result = function(listener=progress, **parameters)
    if as_json:
        show(result, as_json=True)
    else:
        note(result)


@command("upgrade")
@click.argument("revision", default="head")
@sql_option
@output_option
@tag_option
@database_option
@two_phase_option
@lock_option
@lock_timeout_option
@wait_option
@json_option
def upgrade(*, wait: float | None, **parameters: t.Any) -> None:
    """Upgrade to a later version."""
    if wait is None and "DBMIGRATE_WAIT" not in current_app.config:
        wait = 0 if is_terminal() else 30
    _run(commands.upgrade, wait=wait, **parameters)


@command("downgrade")
@click.argument("revision", default="-1")
@sql_option
@output_option
@tag_option
@database_option
@two_phase_option
@lock_option
@lock_timeout_option
@json_option
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def downgrade(*, yes: bool, **parameters: t.Any) -> None:
    """Revert to a previous version."""
    _run(commands.downgrade, **parameters)


@command("stamp")
@click.argument("revisions", nargs=-1)
@sql_option
@output_option
@tag_option
@database_option
@two_phase_option
@lock_option
@lock_timeout_option
@json_option
@click.option("--purge", is_flag=True, help="Empty the version table first.")
def stamp(*, revisions: tuple[str, ...], **parameters: t.Any) -> None:
    """Set the version, without running anything.

    REVISIONS are by default the head.
    """
    _run(commands.stamp, revision=revisions or "head", **parameters)


@command("ensure-version")
@sql_option
@output_option
@database_option
@lock_option
@lock_timeout_option
@json_option
def ensure_version(**parameters: t.Any) -> None:
    """Create the version table if it does not exist."""
    _run(commands.ensure_version, **parameters)
