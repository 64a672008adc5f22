"""The schema of the version table, which is created with it."""

from __future__ import annotations

from functools import partial
import typing as t

from alembic.runtime.migration import MigrationContext
import sqlalchemy as sa

from flask_dbmigrate import _alembic
from flask_dbmigrate.databases import safe_url
from flask_dbmigrate.dialects import facts_of
from flask_dbmigrate.dialects import was_lost
from flask_dbmigrate.errors import ConfigurationError
from flask_dbmigrate.errors import DatabaseAccessError

from .own_tables import harmless


def create_schema_with_version_table(context: MigrationContext) -> None:
    """Have the schema of the version table created right before the table, if both are absent.

    It happens in the same transaction. Where the table is not created, nothing happens.

    :raises ConfigurationError: if there is no such schema and the DBMS cannot create one.
    """
    schema = context.version_table_schema
    if schema is None:
        return
    facts = facts_of(context.dialect.name)
    if facts.creates_schemas:
        create = _create_offline if context.as_sql else partial(_create, context)
        sa.event.listen(_alembic.version_table(context), "before_create", create)
    elif not context.as_sql and not sa.inspect(context.connection).has_schema(schema):
        raise ConfigurationError(
            f"There is no schema '{schema}' for the version table, "
            f"and '{context.dialect.name}' cannot create one.",
            hint="Attach a database of this name, or leave out 'version_table_schema'.",
        )


def require_visible(context: MigrationContext, key: str) -> None:
    """Check that a version table which cannot be found is not just hidden from the role.

    :param key: The key of the database.
    :raises DatabaseAccessError: if it is.
    """
    connection = context.connection
    assert connection is not None
    schema = facts_of(context.dialect.name).hidden_schema(
        connection, context.version_table, context.version_table_schema
    )
    if schema is not None:
        raise DatabaseAccessError(
            f"Database '{key}' does not let its user into the schema '{schema}', in which the "
            f"table '{context.version_table}' is.",
            hint=f"Let it in with 'GRANT USAGE ON SCHEMA {schema} TO ...', or connect as another.",
            url=safe_url(connection.engine.url),
        )


def _create_offline(table: sa.Table, connection: sa.Connection, **_: t.Any) -> None:
    connection.execute(sa.schema.CreateSchema(str(table.schema), if_not_exists=True))


def _create(
    context: MigrationContext, table: sa.Table, connection: sa.Connection, **_: t.Any
) -> None:
    # IF NOT EXISTS alone is not enough: PostgreSQL checks first whether the role may create one
    schema = str(table.schema)
    if sa.inspect(connection).has_schema(schema):
        return
    try:
        with harmless(context):
            connection.execute(sa.schema.CreateSchema(schema, if_not_exists=True))
    except sa.exc.DBAPIError as error:
        if was_lost(error):
            raise
        if sa.inspect(connection).has_schema(schema):  # a run with another table was faster
            return
        said = facts_of(connection.dialect.name).message(error.orig or error).rstrip(".")
        raise ConfigurationError(
            f"The schema '{schema}' of the version table cannot be created: {said}.",
            hint="Create it as a user who may, or leave out 'version_table_schema'.",
        ) from error
