"""``flask db revision``, ``migrate`` and ``merge``."""

from __future__ import annotations

import typing as t

import click

from flask_dbmigrate import commands

from .console import command
from .console import note
from .console import nothing_else_on_stdout
from .console import show
from .options import branch_label_option
from .options import depends_on_option
from .options import head_option
from .options import json_option
from .options import message_option
from .options import rev_id_option
from .options import splice_option
from .options import sql_option
from .options import version_path_option
from .progress import Progress


def _new_revision(function: t.Callable[..., None]) -> t.Callable[..., None]:
    """Add the options that ``revision`` and ``migrate`` share."""
    for option in (
        json_option,
        depends_on_option,
        rev_id_option,
        version_path_option,
        branch_label_option,
        splice_option,
        head_option,
        sql_option,
        message_option,
    ):
        function = option(function)
    return function


def _write(write: t.Callable[..., t.Any], *, as_json: bool, **parameters: t.Any) -> None:
    """Write revisions, and report what was written."""
    with nothing_else_on_stdout():
        result = write(**parameters)
    for remark in (*result.kept_tables, *result.failed_hooks):
        note(remark)
    if result.unseen is not None:
        note(f"{result.unseen} {result.unseen.hint}")
    if result.revisions or as_json:
        show(result, as_json=as_json)
    else:
        note(result)


@command("revision")
@_new_revision
@click.option(
    "--autogenerate", is_flag=True, help="Fill it with the differences of models and database."
)
def revision(**parameters: t.Any) -> None:
    """Create a new revision file."""
    _write(commands.revision, listener=Progress(), **parameters)


@command("migrate")
@_new_revision
def migrate(**parameters: t.Any) -> None:
    """Autogenerate a new revision file.

    The same as 'revision --autogenerate'.
    """
    _write(commands.migrate, listener=Progress(), **parameters)


@command("merge")
@click.argument("revisions", nargs=-1)
@message_option
@branch_label_option
@rev_id_option
@splice_option
@json_option
def merge(**parameters: t.Any) -> None:
    """Join revisions in a new revision file.

    REVISIONS are by default all heads.
    """
    _write(commands.merge, **parameters)
