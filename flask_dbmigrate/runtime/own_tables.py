"""Our own tables, which another run may have made just now, or an older or a newer release.

A column that is missing is added before the first step; nothing else is ever changed. Who may not
do that writes what there is room for, and what a row does not have is read as empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from contextlib import nullcontext
from contextlib import suppress
import dataclasses
from datetime import datetime
from datetime import UTC
import json
import typing as t

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
import sqlalchemy as sa

from flask_dbmigrate import _alembic
from flask_dbmigrate.dialects import facts_of
from flask_dbmigrate.dialects import OWN
from flask_dbmigrate.dialects import OWN_TEXT
from flask_dbmigrate.dialects import separate_connection

EntryT = t.TypeVar("EntryT")

_EMPTY: t.Mapping[str, t.Any] = {"str": "", "int": 0, "datetime": datetime(1970, 1, 1, tzinfo=UTC)}


def has_table(connection: sa.Connection, table: sa.Table) -> bool:
    """Tell whether there is a table of ours."""
    facts = facts_of(connection.dialect.name)
    return facts.has_table(connection, table.name, table.schema)


def rows_of(
    connection: sa.Connection, query: sa.Select[t.Any]
) -> tuple[frozenset[str], Sequence[sa.Row[t.Any]]]:
    """Read from a table of ours, on another connection if it is newer than the transaction.

    :returns: The names of the columns, and the rows.
    """
    try:
        return _read(connection, query)
    except sa.exc.DBAPIError as error:
        facts = facts_of(connection.dialect.name)
        if error.orig is None or not facts.is_older_than_table(error.orig):
            raise
    with separate_connection(connection.engine) as now:
        return _read(now, query)


def _read(
    connection: sa.Connection, query: sa.Select[t.Any]
) -> tuple[frozenset[str], Sequence[sa.Row[t.Any]]]:
    result = connection.execute(query, execution_options=OWN)
    return frozenset(result.keys()), result.all()


def all_columns(table: sa.Table) -> sa.Select[t.Any]:
    """Select what the table has, whatever that is."""
    return sa.select(sa.text("*")).select_from(table)


def complete(context: MigrationContext, table: sa.Table) -> frozenset[str]:
    """Add the columns that the table does not have; tell which it has then.

    Another release may be doing the same, if there is no lock.
    """
    connection = context.connection
    assert connection is not None
    with harmless(context):
        present = present_columns(connection, table)
        missing = [column for column in table.columns if column.name not in present]
        if not missing:
            return present
        _require_ours(connection, table, present)
    with suppress(sa.exc.DBAPIError), harmless(context):
        for column in missing:
            _add(context, table, column)
    with harmless(context):
        return present_columns(connection, table)


def present_columns(connection: sa.Connection, table: sa.Table) -> frozenset[str]:
    """Tell which columns the table has."""
    columns, _ = rows_of(connection, all_columns(table).where(sa.false()))
    return columns


def _require_ours(connection: sa.Connection, table: sa.Table, present: t.Container[str]) -> None:
    """Check that it is not somebody else's table, which has but the name of ours.

    :raises sa.exc.DBAPIError: if it is.
    """
    identity = list(table.columns)[:3]
    if not all(column.name in present for column in identity):
        connection.execute(sa.select(*identity).where(sa.false()))


def _add(context: MigrationContext, table: sa.Table, column: sa.Column[t.Any]) -> None:
    """Add a column, which may be NULL: an older release does not fill it."""
    added = sa.Column(column.name, column.type)
    Operations(context).add_column(table.name, added, schema=table.schema)


def as_row(connection: sa.Connection, entry: t.Any, present: t.Container[str]) -> dict[str, t.Any]:
    """Tell what of an entry is written, in characters that the connection carries.

    Times are UTC in the database.
    """
    row = {name: value for name, value in vars(entry).items() if name in present}
    texts = {name: _escaped(value) for name, value in row.items() if isinstance(value, str)}
    if not (all(map(str.isascii, texts.values())) or _carries_unicode(connection)):
        texts = {name: text if text.isascii() else _quoted(text) for name, text in texts.items()}
    times = {
        name: value.replace(tzinfo=None)
        for name, value in row.items()
        if isinstance(value, datetime)
    }
    return {**row, **texts, **times}


def _escaped(text: str) -> str:
    """Escape what is in no text of a database: NUL, and halves of characters."""
    escaped = text.replace("\0", r"\x00").encode("utf-8", "backslashreplace").decode()
    return _quoted(escaped) if escaped.startswith('"') else escaped  # or it would be read as quoted


def _carries_unicode(connection: sa.Connection) -> bool:
    query = facts_of(connection.dialect.name).carries_unicode
    return not query or bool(connection.exec_driver_sql(query, execution_options=OWN_TEXT).scalar())


_LONGEST_QUOTED = 5_000
"""How many characters fit into a TEXT of MySQL, 64 KiB, where each takes up to twelve bytes."""


def _quoted(text: str) -> str:
    """Write a text in ASCII, as JSON does; :func:`as_entry` reads it."""
    return json.dumps(text[:_LONGEST_QUOTED])


def as_entry(kind: type[EntryT], row: sa.Row[t.Any]) -> EntryT:
    """Read an entry."""
    found = row._mapping
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    return kind(**{field.name: _value(found.get(field.name), str(field.type)) for field in fields})


def _value(value: t.Any, kind: str) -> t.Any:
    if value is None:
        return _EMPTY[kind]
    if kind == "datetime":
        when: datetime = datetime.fromisoformat(value) if isinstance(value, str) else value
        return when.replace(tzinfo=UTC)
    if kind == "str" and value.startswith('"'):
        with suppress(ValueError):  # it was not quoted, but begins like that
            return json.loads(value)
    return value


def harmless(context: MigrationContext) -> t.ContextManager[object]:
    """Let an error leave the transaction as it was; where DDL is not part of one, it does."""
    assert context.connection is not None
    if not context.impl.transactional_ddl or facts_of(context.dialect.name).survives_errors:
        return nullcontext()
    if context.opts.get("dont_mutate") and not _alembic.is_in_transaction_of_others(context):
        return _rolled_back(context.connection)
    try:
        return context.connection.begin_nested()
    except sa.exc.DBAPIError:  # there is no transaction under AUTOCOMMIT
        return nullcontext()


@contextmanager
def _rolled_back(connection: sa.Connection) -> t.Iterator[None]:
    """Let an error end a transaction that has written nothing; a savepoint is two statements."""
    try:
        yield
    except sa.exc.DBAPIError:
        connection.exec_driver_sql("ROLLBACK")
        raise
