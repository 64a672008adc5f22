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
import enum
from functools import cached_property
import typing as t

from alembic.runtime.migration import MigrationContext
import sqlalchemy as sa

from flask_dbmigrate import _alembic
from flask_dbmigrate.dialects import facts_of
from flask_dbmigrate.dialects import is_autocommit
from flask_dbmigrate.dialects import OWN
from flask_dbmigrate.dialects import OWN_TEXT
from flask_dbmigrate.dialects import separate_connection
from flask_dbmigrate.dialects import was_lost
from flask_dbmigrate.errors import ConfigurationError

from .own_tables import all_columns
from .own_tables import as_entry
from .own_tables import as_row
from .own_tables import complete
from .own_tables import has_table
from .own_tables import rows_of


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

    UNKNOWN = "unknown"
    """Some of it may have been executed."""

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

    @property
    def goes_past_operations(self) -> bool:
        """Whether the script has executed it through a connection or a session."""
        return not self.digest

    @property
    def is_of_no_account(self) -> bool:
        """Whether it changed nothing that lasts, and is executed again with the script."""
        return self.state == State.READ or (
            self.state == State.SESSION and self.goes_past_operations
        )


COLUMNS = tuple(field.name for field in dataclasses.fields(JournalEntry))

_TYPES = {"str": sa.Text, "int": sa.BigInteger, "datetime": sa.DateTime}


class Journal:
    """The journal of one database.

    :param context: Alembic's context for the database.
    """

    def __init__(self, context: MigrationContext) -> None:
        self._context = context
        self._facts = facts_of(context.dialect.name)
        self._has_table = self._is_placed = False
        self._columns = frozenset(COLUMNS)
        self._is_complete = True
        self.has_entries = False
        """Whether there are any, as far as we have read and written them."""

    @cached_property
    def _table(self) -> sa.Table:  # most runs read none
        return _describe(self._context)

    @property
    def _connection(self) -> sa.Connection:
        connection = self._context.connection
        assert connection is not None
        return connection

    def _exists(self) -> bool:
        if self._facts.is_journaled and not self._has_table:
            self._has_table = has_table(self._connection, self._table)
        return self._has_table

    def read(self, *, for_update: bool = False) -> tuple[JournalEntry, ...]:
        """Read what the journal says, where there is one.

        :param for_update: Wait for what a process that is gone has not committed yet, and do not
            read from an older snapshot.
        """
        if not self._exists():
            return ()
        query = all_columns(self._table).order_by(self._table.c.number)
        if for_update:
            query = query.with_for_update()
        self._columns, rows = rows_of(self._connection, query)
        self._is_complete = self._columns.issuperset(COLUMNS)
        entries = tuple(as_entry(JournalEntry, row) for row in rows)
        self.has_entries = bool(entries)
        return entries

    def complete(self) -> None:
        """Add the columns that an older release has not made, before the first step."""
        is_complete, self._is_complete = self._is_complete, True
        if is_complete or not self._has_table:
            return
        self._columns = complete(self._context, self._table)
        if not _alembic.is_in_transaction(self._context):
            self._connection.commit()

    def settle(self) -> set[str] | None:
        """Wait until what a process that is gone has left is committed or rolled back.

        A server may be about to commit when its client is killed.

        :returns: The heads; None where there is no journal, so that nothing can be left.
        """
        if not self._exists():
            return None
        version = _alembic.version_table(self._context)
        for table in (version, self._table):
            self._facts.wait_for_writers(self._connection, table)
        query = sa.select(version.c.version_num).with_for_update()
        return set(filter(None, self._connection.execute(query, execution_options=OWN).scalars()))

    def write(self, entries: t.Iterable[JournalEntry], *, is_essential: bool) -> bool:
        """Write entries in the transaction that is going to be committed.

        :param is_essential: Whether it is an error if they cannot be written. They cannot under
            ``LOCK TABLES``, and after ``SET ROLE`` they may be refused.
        :returns: Whether they are written.
        """
        has_savepoint = not is_essential and self._set_savepoint()
        is_transactional = self._context.impl.transactional_ddl
        try:
            self._place()
            if not self._has_table:
                self._create(survives_rollback=not is_essential)
            rows = [as_row(self._connection, entry, self._columns) for entry in entries]
            self._execute(self._table.insert().inline(), rows)
        except (sa.exc.DBAPIError, ConfigurationError) as error:
            if is_essential or (isinstance(error, ConfigurationError) and not is_transactional):
                raise
            if has_savepoint:  # the script's own work is to stay
                self._execute_text("ROLLBACK TO SAVEPOINT dbmigrate_journal")
            return False
        self.has_entries = True
        return True

    def _set_savepoint(self) -> bool:
        """Set a savepoint, if there is a transaction that an error would end."""
        if not self._context.impl.transactional_ddl or is_autocommit(self._connection):
            return False
        try:
            self._execute_text("SAVEPOINT dbmigrate_journal")
        except sa.exc.DBAPIError:
            return False
        return True

    def forget_from(self, number: int) -> None:
        """Delete the entries from a number on."""
        self._place()
        self._execute(self._table.delete().where(self._table.c.number >= number))

    def clear(self) -> None:
        """Delete all entries, in the transaction that writes the version."""
        if self.has_entries:
            self._execute(self._table.delete())
            self.has_entries = False

    def note_failure(self, connection: sa.Connection, failed: JournalEntry | None) -> None:
        """Note that the database has refused a statement, or forget all if nothing is done.

        Whether it has done nothing is decided now: later somebody may have changed its table.

        :param connection: Another one: that of the step has rolled back, so that what is in the
            journal now is committed.
        :param failed: The statement, if it was begun as one that commits.
        """
        if not self.has_entries:
            return
        number, state = self._table.c.number, self._table.c.state
        if failed is not None and self._has_done_nothing(connection, failed):
            this = (number == failed.number) & (state == State.STARTED)
            connection.execute(self._table.update().where(this).values(state=State.FAILED))
        harmless = (State.SESSION, State.READ, State.FAILED)
        done = sa.select(number).where(state.not_in(harmless))
        if connection.execute(done.limit(1)).first() is None:
            connection.execute(self._table.delete())
        connection.commit()

    def _has_done_nothing(self, connection: sa.Connection, failed: JournalEntry) -> bool:
        """Tell whether a statement that was refused has changed nothing: some drop a few tables."""
        statement, before = failed.statement, failed.fingerprint
        if not self._facts.fails_as_a_whole(statement):
            return False
        if not before or self._facts.fingerprint(connection, statement) == before:
            return True
        return self._facts.has_happened(connection, statement, before) is False

    def _execute(self, statement: sa.Executable, *rows: t.Any) -> None:
        self._connection.execute(statement, *rows, execution_options=OWN)

    def _execute_text(self, statement: str) -> sa.CursorResult[t.Any]:
        return self._connection.exec_driver_sql(statement, execution_options=OWN_TEXT)

    def _place(self) -> None:
        """Describe the table by the schema that it is in, before the script looks in another."""
        query = self._facts.present_schema
        if not self._is_placed and self._table.schema is None and query:
            schema: t.Any = self._execute_text(query).scalar()
            self._table = self._table.to_metadata(sa.MetaData(), schema=schema)
        self._is_placed = True

    def _create(self, *, survives_rollback: bool) -> None:
        """Create the table, where that commits on a connection of its own: here nothing may.

        :param survives_rollback: Whether it is to be there if the transaction is rolled back, and
            the step goes on.
        """
        connection = self._connection
        try:
            if self._context.impl.transactional_ddl and not survives_rollback:
                self._table.create(connection, checkfirst=True)
            else:
                with separate_connection(connection.engine) as separate:
                    self._table.create(separate, checkfirst=True)
                    separate.commit()
        except sa.exc.DBAPIError as error:
            if was_lost(error):
                raise
            said = self._facts.message(error.orig or error).rstrip(".")
            raise ConfigurationError(
                f"The journal '{self._table.name}' cannot be created: {said}.",
                hint="Create it as a user who may, or set 'DBMIGRATE_JOURNAL = False': a revision "
                "that is stopped half-way cannot be resumed then.",
            ) from error
        self._has_table = True


def _describe(context: MigrationContext) -> sa.Table:
    """Describe the journal's table, which is beside the version table."""
    number, *others = dataclasses.fields(JournalEntry)
    return sa.Table(
        f"{context.version_table}_journal",
        sa.MetaData(),
        sa.Column(number.name, sa.Integer, primary_key=True, autoincrement=False),
        *(sa.Column(field.name, _TYPES[str(field.type)], nullable=False) for field in others),
        schema=context.version_table_schema,
        **facts_of(context.dialect.name).table_options,
    )
