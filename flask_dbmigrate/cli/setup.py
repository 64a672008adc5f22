"""``flask db init`` and ``list-templates``."""

from __future__ import annotations

import typing as t

import click

from flask_dbmigrate import commands

from .console import command
from .console import note
from .console import show
from .options import json_option


@command("init")
@click.option("--multidb", is_flag=True, help="Support multiple databases (bind keys).")
@click.option("-t", "--template", help='Template to use, or the path of one (default is "flask").')
@click.option("--package", is_flag=True, help="Write an __init__.py into each folder.")
@json_option
def init(*, as_json: bool, **parameters: t.Any) -> None:
    """Create a new migration directory."""
    result = commands.init(**parameters)
    show(result, as_json=as_json)
    if not as_json:
        note("Commit these files. Next: 'flask db migrate'.")


@command("list-templates")
@json_option
def list_templates(*, as_json: bool, **_: t.Any) -> None:
    """List available templates."""
    show(commands.list_templates(), as_json=as_json)
