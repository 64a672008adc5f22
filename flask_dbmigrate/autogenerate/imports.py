"""Imports that a new revision needs."""

from __future__ import annotations

import typing as t

from alembic.autogenerate.api import AutogenContext
from alembic.runtime.migration import MigrationContext


def import_types(context: MigrationContext) -> None:
    """Let a new revision import the modules of the column types that it names.

    For a type that is not SQLAlchemy's own, Alembic writes ``sqlmodel.sql.sqltypes.AutoString()``
    and leaves the import to the reader, unless ``user_module_prefix`` says how to write it.

    :param context: Alembic's context; its ``render_item`` is asked first.
    """
    users_render_item = context.opts.get("render_item")

    def render_item(kind: str, item: t.Any, autogenerate: AutogenContext) -> str | t.Literal[False]:
        rendered: str | t.Literal[False] = False
        if users_render_item is not None:
            rendered = users_render_item(kind, item, autogenerate)
        module = type(item).__module__
        if rendered is False and kind == "type" and not module.startswith("sqlalchemy."):
            autogenerate.imports.add(f"import {module}")
        return rendered

    if context.opts.get("user_module_prefix") is None:
        context.opts["render_item"] = render_item
