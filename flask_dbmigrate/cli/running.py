"""``flask db upgrade``, ``downgrade``, ``stamp`` and ``ensure-version``."""

from __future__ import annotations

import typing as t

import click
from flask import current_app

from flask_dbmigrate import commands
from flask_dbmigrate.errors import ConfigurationError

from .console import command
from .console import is_terminal
from .console import note
from .console import show
from .options import revision_options
from .options import tag_option
from .options import two_phase_option
from .options import wait_option
from .options import writing_options
from .progress import Progress
from .prompts import agrees_to_loss


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
    with Progress().on_terminal() as progress:
        result = function(listener=progress, **parameters)
    if as_json:
        show(result, as_json=True)
    else:
        note(result)


def _show_plan(
    function: t.Callable[..., t.Any],
    *,
    sql: bool,
    output: str | None,
    as_json: bool,
    **parameters: t.Any,
) -> None:
    """Print what a run would do; how it would do it does not matter."""
    if sql or output is not None:
        raise ConfigurationError(
            "'--plan' shows operations and '--sql' shows statements: they cannot be used together.",
            hint="Use one of them.",
        )
    names = ("directory", "revision", "tag", "command", "database")
    asked = {name: parameters[name] for name in names}
    show(function(listener=Progress(), **asked), as_json=as_json)


@command("upgrade")
@click.argument("revision", default="head")
@revision_options
@wait_option
def upgrade(*, plan: bool, wait: float | None, **parameters: t.Any) -> None:
    """Upgrade to a later version.

    REVISION is by default the head. It may be an identifier or how one begins, 'heads' for those of
    all branches, '+2' for two steps, 'BRANCH@head' for one branch; with --sql also a range, as
    'a1b2:head'.
    """
    if plan:
        _show_plan(commands.plan_upgrade, **parameters)
        return
    if wait is None and "DBMIGRATE_WAIT" not in current_app.config:
        wait = 0 if is_terminal() else 30
    _run(commands.upgrade, wait=wait, **parameters)


@command("downgrade")
@click.argument("revision", default="-1")
@revision_options
@click.option("-y", "--yes", is_flag=True, help="Drop data without asking.")
def downgrade(*, plan: bool, yes: bool, **parameters: t.Any) -> None:
    """Revert to a previous version.

    REVISION is by default '-1', one step back. It may be an identifier or how one begins, 'base',
    '-2' for two steps, 'BRANCH@base' or 'BRANCH@-1' for one branch; with --sql a range, as
    'head:a1b2'.
    """
    if plan:
        _show_plan(commands.plan_downgrade, **parameters)
    else:
        _run(commands.downgrade, yes=yes, agrees=agrees_to_loss, **parameters)


@command("stamp")
@click.argument("revisions", nargs=-1)
@writing_options
@tag_option
@two_phase_option
@click.option("--purge", is_flag=True, help="Empty the version table first.")
def stamp(*, revisions: tuple[str, ...], **parameters: t.Any) -> None:
    """Set the version, without running anything.

    REVISIONS are by default the head. Each may be an identifier or how one begins, 'heads', 'base',
    'BRANCH@head' or 'BRANCH@base'; with --sql a range, as 'a1b2:head'.
    """
    _run(commands.stamp, revision=revisions or "head", **parameters)


@command("ensure-version")
@writing_options
def ensure_version(**parameters: t.Any) -> None:
    """Create the version table if it does not exist."""
    _run(commands.ensure_version, **parameters)
