"""What of a database autogenerate compares, and what it leaves alone."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
import typing as t

from alembic.runtime.migration import MigrationContext
from flask import Flask
import sqlalchemy as sa

from flask_dbmigrate.config import read_settings
from flask_dbmigrate.data import Data
from flask_dbmigrate.databases import Database
from flask_dbmigrate.databases import databases_of
from flask_dbmigrate.databases import is_same_database
from flask_dbmigrate.dialects import ExtensionObjects
from flask_dbmigrate.dialects import facts_of
from flask_dbmigrate.errors import ConfigurationError
from flask_dbmigrate.runtime import journal
from flask_dbmigrate.runtime import log

TableKey = tuple[str | None, str]
"""A schema and a table's name, as Alembic reflects them: None is the default schema."""


@dataclass(frozen=True, order=True)
class KeptTable(Data):
    """A table without a model that ``migrate`` does not drop.

    :param database: The database's key.
    :param table: The table, with its schema if it has one.
    """

    database: str
    table: str

    def __str__(self) -> str:
        return (
            f"Table '{self.table}' of database '{self.database}' has no model; "
            "it is kept, because 'DBMIGRATE_DROP_UNKNOWN_TABLES' is False."
        )


class Scope:
    """Decides what is compared, together with the user's ``include_name`` and ``include_object``.

    Both have to agree. The database is asked when autogenerate runs, not before.

    :param context: Alembic's context for the database.
    :param app: The application, whose settings and databases count.
    :param database: The database's key.
    :raises ConfigurationError: if a setting of the application is wrong.
    """

    def __init__(self, context: MigrationContext, app: Flask, database: str) -> None:
        self.context = context
        self.app = app
        self.database = database
        self.kept: list[KeptTable] = []
        self._drops_unknown = read_settings(app.config).drop_unknown_tables
        self._metadata = sa.util.to_list(context.opts.get("target_metadata")) or []
        self._users_include_name = context.opts.get("include_name")
        self._users_include_object = context.opts.get("include_object")

    def include_name(
        self, name: str | None, kind: str, parents: t.MutableMapping[str, t.Any]
    ) -> bool:
        """Decide by name, before anything is reflected."""
        users = self._users_include_name
        if users is not None and not users(name, kind, parents):
            return False
        if kind == "schema":
            return name is None or name in self._schemas
        if kind == "table":
            return self._includes_table((parents["schema_name"], str(name)))
        return True

    def include_object(
        self, item: t.Any, name: str | None, kind: str, reflected: bool, compare_to: t.Any
    ) -> bool:
        """Decide about a table that is reflected, or that has a model."""
        users = self._users_include_object
        if users is not None and not users(item, name, kind, reflected, compare_to):
            return False
        if kind != "table":
            return True
        if not reflected:
            return self._key(item) not in self._extensions.tables
        return not is_version_table(item) and self._drops(item)

    def _includes_table(self, key: TableKey) -> bool:
        if key in self._extensions.tables:
            return False
        if key in self._tables:
            return True
        schema = key[0] or self.context.dialect.default_schema_name
        return schema not in self._extensions.schemas and key not in self._tables_elsewhere

    def _drops(self, table: sa.Table) -> bool:
        if not self._drops_unknown:
            self.kept.append(KeptTable(self.database, table.fullname))
        return self._drops_unknown

    def _key(self, table: sa.Table) -> TableKey:
        is_default = table.schema == self.context.dialect.default_schema_name
        return None if is_default else table.schema, table.name

    @cached_property
    def _extensions(self) -> ExtensionObjects:
        connection = self.context.connection
        assert connection is not None
        return facts_of(connection.dialect.name).extension_objects(connection)

    @cached_property
    def _tables(self) -> set[TableKey]:
        return {self._key(table) for known in self._metadata for table in known.tables.values()}

    @cached_property
    def _schemas(self) -> set[str | None]:
        """The schemas that the models name."""
        return {known.schema for known in self._metadata} | {schema for schema, _ in self._tables}

    @cached_property
    def _tables_elsewhere(self) -> set[TableKey]:
        """The tables whose models belong to another bind key or ``Migrate`` on this database."""
        connection = self.context.connection
        assert connection is not None
        return {
            self._key(table)
            for database in _databases_of_application(self.app)
            if is_same_database(database.engine.url, connection.engine.url)
            for known in sa.util.to_list(database.metadata)
            for table in known.tables.values()
        }


def limit(context: MigrationContext, app: Flask, database: str) -> Scope:
    """Let autogenerate leave alone what belongs to others; the parameters are the scope's.

    :returns: The scope, in whose ``kept`` the tables without a model appear that are kept.
    """
    scope = Scope(context, app, database)
    context.opts.update(include_name=scope.include_name, include_object=scope.include_object)
    return scope


def is_version_table(table: sa.Table) -> bool:
    """Tell whether a table is where Alembic notes revisions, or the log or journal beside it.

    Their names and schemas may be any, and another release may know more or fewer columns of our
    own.
    """
    columns = table.columns.keys()
    return columns == ["version_num"] or any(
        table.name.endswith(suffix) and columns[:4] == list(names[:4])
        for suffix, names in (("_log", log.COLUMNS), ("_journal", journal.COLUMNS))
    )


def _databases_of_application(app: Flask) -> t.Iterator[Database]:
    for known in app.extensions["dbmigrate"].values():
        with suppress(ConfigurationError):  # a source that only an env.py of its own understands
            yield from databases_of(known.source)
