"""``flask db show``, ``history``, ``heads`` and ``branches``."""

from __future__ import annotations

import typing as t

import click

from flask_dbmigrate import commands

from .console import command
from .console import show as show_result
from .options import json_option
from .options import verbose_option


@command("show")
@click.argument("revisions", nargs=-1)
@json_option
def show(*, revisions: tuple[str, ...], as_json: bool, **parameters: t.Any) -> None:
    """Show revisions in full.

    REVISIONS are by default the head; "current" is what the database is at.
    """
    show_result(commands.show(revision=revisions or "head", **parameters), as_json=as_json)


@command("history")
@click.option("-r", "--rev-range", help="Revision range; format is [start]:[end].")
@verbose_option
@click.option("-i", "--indicate-current", is_flag=True, help="Mark the current version.")
@json_option
def history(*, as_json: bool, **parameters: t.Any) -> None:
    """List revisions, newest first."""
    show_result(commands.history(**parameters), as_json=as_json)


@command("heads")
@verbose_option
@click.option("--resolve-dependencies", is_flag=True, help="Treat dependencies as down revisions.")
@json_option
def heads(*, as_json: bool, **parameters: t.Any) -> None:
    """Show the heads of the migration directory."""
    show_result(commands.heads(**parameters), as_json=as_json)


@command("branches")
@verbose_option
@json_option
def branches(*, as_json: bool, **parameters: t.Any) -> None:
    """Show the branch points."""
    show_result(commands.branches(**parameters), as_json=as_json)
