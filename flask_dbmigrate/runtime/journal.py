"""The journal of a database: what of a revision was executed that cannot be rolled back.

On MySQL and MariaDB each DDL statement commits, as do the statements of an ``autocommit_block()``
of PostgreSQL. A revision that is stopped after one of them is half-applied. So each statement is
noted in a table beside the version table, in the transaction that it is part of or, if it commits
by itself, in the one that it ends. When the revision is complete, its notes are deleted in the
transaction that writes the version.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime
from datetime import UTC
import enum
import typing as t

from alembic.runtime.migration import MigrationContext
import sqlalchemy as sa

from flask_dbmigrate.dialects import facts_of
from flask_dbmigrate.dialects import OWN
from flask_dbmigrate.dialects import OWN_TEXT


class State(enum.StrEnum):
    """What is known of a statement in the journal."""

    DONE = "done"
    SESSION = "session"
    """It was executed, and a new session has to be told again."""

    BOUND = "bound"
    """It was executed, and from then on the journal may not have been writable."""

    READ = "read"
    """It has changed nothing."""

    STARTED = "started"
    """It was executed if another one follows; the last one may have been."""

    FAILED = "failed"
    """The database has refused it, and nothing of it is done."""


@dataclass(frozen=True)
class JournalEntry:
    """A statement of a revision that is not complete; each field is a column of the journal.

    :param number: Which statement of the revision it is, from 1 on.
    :param revision: The revision.
    :param direction: ``upgrade`` or ``downgrade``.
    :param statement: The statement in one line, or its beginning.
    :param line: Where it is in the script; 0 if it is not.
    :param digest: The digest of the whole statement and its parameters.
    :param state: One of :class:`State`.
    :param fingerprint: What it is going to change, if it commits by itself.
    :param obstacle: Why the revision cannot be resumed from here on; empty if it can.
    :param noted: When this was written, UTC, to the second.
    :param host: The name of the machine it was run on.
    :param user: The operating system's user who ran it.
    :param release: The release that ran it.
    :param session: The number of the database's session, where it is known; otherwise 0.
    """

    number: int
    revision: str
    direction: str
    statement: str
    line: int
    digest: str
    state: str
    fingerprint: str
    obstacle: str
    noted: datetime
    host: str
    user: str
    release: str
    session: int


COLUMNS = tuple(field.name for field in dataclasses.fields(JournalEntry))

_TYPES = {"str": sa.Text, "int": sa.BigInteger, "datetime": sa.DateTime}


def journal_table(context: MigrationContext) -> sa.Table:
    """Describe the journal's table, which is beside the version table."""
    number, *others = dataclasses.fields(JournalEntry)
    return sa.Table(
        f"{context.version_table}_journal",
        sa.MetaData(),
        sa.Column(number.name, sa.Integer, primary_key=True, autoincrement=False),
        *(sa.Column(field.name, _TYPES[str(field.type)], nullable=False) for field in others),
        schema=context.version_table_schema,
        mysql_engine="InnoDB",
        mariadb_engine="InnoDB",
        mysql_charset="utf8mb4",
        mariadb_charset="utf8mb4",
    )


def journal_table_found_here(context: MigrationContext) -> sa.Table:
    """Describe the journal's table by the schema that it is in; a script may look in another."""
    table, connection = journal_table(context), context.connection
    assert connection is not None
    query = facts_of(context.dialect.name).present_schema
    if table.schema is not None or not query:
        return table
    schema = connection.exec_driver_sql(query, execution_options=OWN_TEXT).scalar()
    return table.to_metadata(sa.MetaData(), schema=schema) if schema else table


def has_journal(context: MigrationContext) -> bool:
    """Tell whether there is a journal."""
    connection, table = context.connection, journal_table(context)
    assert connection is not None
    return sa.inspect(connection).has_table(table.name, table.schema)


def read_journal(
    context: MigrationContext, *, for_update: bool = False
) -> tuple[JournalEntry, ...]:
    """Read what the journal says, where there is one.

    :param for_update: Wait for what a process that is gone has not committed yet, and do not read
        from an older snapshot.
    """
    connection, table = context.connection, journal_table(context)
    assert connection is not None
    query = table.select().order_by(table.c.number)
    if for_update:
        query = query.with_for_update()
    rows = connection.execute(query, execution_options=OWN)
    return tuple(_entry(row._asdict()) for row in rows)


def _entry(row: dict[str, t.Any]) -> JournalEntry:
    return JournalEntry(**{**row, "noted": row["noted"].replace(tzinfo=UTC)})
