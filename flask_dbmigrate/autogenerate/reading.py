"""Reads at once what Alembic would ask a database table by table."""

from __future__ import annotations

import functools
import typing as t

from alembic.autogenerate.api import AutogenContext
from alembic.runtime.migration import MigrationContext
from alembic.runtime.plugins import Plugin
from alembic.util import DispatchPriority
from alembic.util import PriorityDispatchResult

from flask_dbmigrate import _alembic
from flask_dbmigrate.dialects import facts_of

from .defaults import compare_defaults_once

_PLUGIN = "flask_dbmigrate.reading"


def read_at_once(context: MigrationContext) -> None:
    """Have a comparison send PostgreSQL as many statements for a thousand tables as for a few.

    What is compared, and how, stays Alembic's. Where the dialect reads table by table, as
    SQLAlchemy's for SQLite and MySQL do, nothing changes.

    :param context: Alembic's context for the database.
    """
    plugins = context.opts.get("autogenerate_plugins", ["alembic.autogenerate.*"])
    context.opts["autogenerate_plugins"] = [*plugins, _PLUGIN]
    connection = context.connection
    if connection is not None:
        facts = facts_of(context.dialect.name)
        owners = functools.cache(functools.partial(facts.sequence_owners, connection))
        _alembic.intercept_sequences(context, owners)
    compare_defaults_once(context)


def _read_schemas(
    autogenerate: AutogenContext, _: t.Any, schemas: set[str | None]
) -> PriorityDispatchResult:
    """Read the tables of all schemas, before Alembic compares those of any."""
    available = {name: autogenerate.inspector.get_table_names(name) for name in schemas}
    tables = {
        schema: ([name for name in names if _is_included(autogenerate, schema, name)], names)
        for schema, names in available.items()
    }
    _alembic.cache_tables(autogenerate.inspector, tables)
    return PriorityDispatchResult.CONTINUE


def _is_included(autogenerate: AutogenContext, schema: str | None, table: str) -> bool:
    return autogenerate.run_name_filters(table, "table", {"schema_name": schema})


Plugin(_PLUGIN).add_autogenerate_comparator(
    _read_schemas, "schema", priority=DispatchPriority.FIRST
)
