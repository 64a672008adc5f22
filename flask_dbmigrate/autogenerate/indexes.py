"""Indexes that come with the type of a column, as GeoAlchemy's spatial ones: created once."""

from __future__ import annotations

from io import StringIO
import typing as t

from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
import sqlalchemy as sa

from flask_dbmigrate import _alembic

_Name = tuple[str | None, str, str | None]
"""The schema, the table and the name of an index."""


def create_once(container: ops.OpContainer, context: MigrationContext) -> None:
    """Take the creation of indexes out that are created together with their column anyway.

    Such a type listens to its column and adds an index to whatever table that comes to, the model's
    and then that which a script creates. Autogenerate has seen the first.

    :param container: What autogenerate has found.
    :param context: Alembic's context for the database.
    """
    _take_out(container, {name for op in _all(container) for name in _made_by(op, context)})


def _take_out(container: ops.OpContainer, names: set[_Name]) -> None:
    for op in list(container.ops):
        if isinstance(op, ops.OpContainer):
            _take_out(op, names)
        is_empty = isinstance(op, ops.OpContainer) and not op.ops
        is_double = type(op) is ops.CreateIndexOp and (
            (op.schema, op.table_name, op.index_name) in names
        )
        if is_empty or is_double:
            container.ops.remove(op)


def _all(container: ops.OpContainer) -> t.Iterator[ops.MigrateOperation]:
    for op in container.ops:
        yield op
        if isinstance(op, ops.OpContainer):
            yield from _all(op)


def _made_by(op: ops.MigrateOperation, context: MigrationContext) -> t.Iterator[_Name]:
    """Tell the indexes that an operation creates though it does not say so."""
    if type(op) is not ops.CreateTableOp and type(op) is not ops.AddColumnOp:
        return
    columns = op.columns if isinstance(op, ops.CreateTableOp) else [op.column]
    # a script says nothing of 'index=True': that is an operation of its own
    bare = [sa.Column(column.name, column.type) for column in columns if _has_own_type(column)]
    table = sa.Table(op.table_name, sa.MetaData(), *bare, schema=op.schema)
    if table.indexes:
        is_new = isinstance(op, ops.CreateTableOp)
        names = _created_with(table, context) if is_new else [index.name for index in table.indexes]
        yield from ((op.schema, op.table_name, name) for name in names)


def _has_own_type(column: sa.schema.SchemaItem) -> t.TypeGuard[sa.Column[t.Any]]:
    return isinstance(column, sa.Column) and not _is_of_sqlalchemy(column.type)


def _is_of_sqlalchemy(type_: sa.types.TypeEngine[t.Any]) -> bool:
    return type(type_).__module__.startswith("sqlalchemy.")


def _created_with(table: sa.Table, context: MigrationContext) -> list[str | None]:
    """List the indexes that are created with a table; nothing is executed."""
    options = {"as_sql": True, "output_buffer": StringIO()}
    offline = MigrationContext.configure(dialect=context.dialect, opts=options)
    created: list[str | None] = []

    def note(construct: t.Any, parameters: t.Any, execute: _alembic.Execute) -> t.Any:
        if isinstance(construct, sa.schema.CreateIndex):
            created.append(construct.element.name)
        return execute()

    _alembic.intercept_statements(offline, note)
    offline.impl.create_table(table)
    return created
