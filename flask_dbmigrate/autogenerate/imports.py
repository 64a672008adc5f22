"""Imports that a new revision needs."""

from __future__ import annotations

import typing as t

from alembic.autogenerate.api import AutogenContext
from alembic.runtime.migration import MigrationContext

from flask_dbmigrate import _alembic


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
            rendered = _in_another_class(item)
        return rendered

    if context.opts.get("user_module_prefix") is None:
        context.opts["render_item"] = render_item


def _in_another_class(type_: t.Any) -> str | t.Literal[False]:
    """Write a type whose class is inside another one; SQLAlchemy shows the inner name alone."""
    kind, shown = type(type_), repr(type_)
    is_inside = kind.__qualname__ != kind.__name__ and "<" not in kind.__qualname__
    if not is_inside or _alembic.has_variants(type_) or not shown.startswith(f"{kind.__name__}("):
        return False
    return f"{kind.__module__}.{kind.__qualname__}{shown.removeprefix(kind.__name__)}"
