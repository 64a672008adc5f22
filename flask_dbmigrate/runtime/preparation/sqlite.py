"""SQLite: real transactions, and foreign keys that are checked at their end.

The driver begins a transaction before INSERT, UPDATE and DELETE only, so a revision that failed
stayed half-applied; and with foreign keys on, to rebuild a table is to delete the rows that refer
to it.
"""

from __future__ import annotations

import re
import sqlite3
import typing as t

from alembic.runtime.migration import MigrationContext
from alembic.script import Script
import sqlalchemy as sa

from flask_dbmigrate.dialects import has_own_connections
from flask_dbmigrate.dialects import is_autocommit
from flask_dbmigrate.dialects import OWN
from flask_dbmigrate.runtime.settings import RunSettings

from .base import Conflict
from .base import TransactionPerRevision
from .blockers import open_connections
from .foreign_keys import count_violations
from .foreign_keys import ForeignKeyGuard
from .foreign_keys import NewViolationsError

ResultT = t.TypeVar("ResultT")

_LEGACY = getattr(sqlite3, "LEGACY_TRANSACTION_CONTROL", None)  # Python 3.12
_BEGIN = "BEGIN IMMEDIATE"


class _Settings(t.NamedTuple):
    """What of a driver's connection decides about transactions and foreign keys.

    :param is_transactional: Whether we begin the transactions; what is found leaves that to others.
    """

    isolation_level: str | None = None
    autocommit: t.Any = _LEGACY
    foreign_keys: bool = False
    is_transactional: bool = True

    @classmethod
    def read(cls, raw: sqlite3.Connection) -> _Settings:
        (foreign_keys,) = raw.execute("PRAGMA foreign_keys").fetchone()
        autocommit = getattr(raw, "autocommit", _LEGACY)
        return cls(raw.isolation_level, autocommit, bool(foreign_keys), is_transactional=False)

    def apply(self, raw: sqlite3.Connection) -> None:
        """Commit, and make these the settings: in a transaction the PRAGMA does nothing."""
        if _LEGACY is not None:
            raw.autocommit = _LEGACY  # type: ignore[attr-defined,unused-ignore]
        raw.commit()
        raw.isolation_level = self.isolation_level  # type: ignore[assignment,unused-ignore]
        raw.execute(f"PRAGMA foreign_keys = {int(self.foreign_keys)}")
        if self.autocommit != _LEGACY:
            raw.autocommit = self.autocommit  # type: ignore[attr-defined,unused-ignore]

    def restore(self, raw: sqlite3.Connection) -> None:
        """Make these the settings again; what was not committed is gone."""
        raw.rollback()
        self.apply(raw)


class SQLiteTransactions(TransactionPerRevision):
    """Runs each revision in a transaction, with foreign keys off until its end.

    A revision with ``sqlite_foreign_keys = True`` runs with them on, and one with
    ``transactional_ddl = False`` on the connection as the application has it; both commit what
    was done before them.

    :param connection: env.py's own; in a transaction already if that is for several databases.
    :param options: Those of Alembic's ``configure()``.
    :param settings: May ask for a single transaction.
    """

    def __init__(
        self, connection: sa.Connection, options: t.Mapping[str, t.Any], settings: RunSettings
    ) -> None:
        super().__init__(connection, options, settings)
        self.options = {**self.options, "transactional_ddl": True}
        self._version_table = options.get("version_table", "alembic_version")
        self._guard: ForeignKeyGuard | None = None
        self._statement = ""
        self._error: BaseException | None = None
        self._is_beginning = False

    @staticmethod
    def suit(connection: sa.Connection, options: t.Mapping[str, t.Any]) -> bool:
        """Tell whether a connection can be prepared, and may be.

        In memory a pool has one connection for all, so that the application's transactions would
        end ours.
        """
        return (
            connection.dialect.driver in ("pysqlite", "aiosqlite")
            and has_own_connections(connection.engine)
            and options.get("transactional_ddl") is not False
        )

    def start(self) -> None:
        self._dbapi = self.connection.connection.dbapi_connection
        self._found = self._call(_Settings.read)
        super().start()
        if self._found.foreign_keys:
            self._guard = ForeignKeyGuard(lambda: self._call(count_violations), self._version_table)
        sa.event.listen(self.connection, "begin", self._begin)
        sa.event.listen(self.connection, "before_cursor_execute", self._watch, retval=True)
        sa.event.listen(self.connection, "commit", self._check)
        sa.event.listen(self.connection.engine, "handle_error", self._note_error)
        # as SQLAlchemy itself restores an isolation level; an event of the pool is not for one only
        fairy: t.Any = self.connection.connection
        fairy._connection_record.finalize_callback.append(self._restore)
        self._use(_Settings())

    def before_step(self, script: Script | None, context: MigrationContext) -> None:
        super().before_step(script, context)
        module = script and script.module
        settings = _Settings(foreign_keys=bool(getattr(module, "sqlite_foreign_keys", False)))
        if getattr(module, "transactional_ddl", None) is False:
            settings = self._found
        context.impl.transactional_ddl = settings.is_transactional
        if settings != self._settings:
            self._check(self.connection)
            self._use(settings)

    def conflict(self, error: BaseException) -> Conflict | None:
        statement = getattr(error, "statement", None)
        if not self.has_conflict(error) or statement not in (_BEGIN, self._statement, None):
            return None
        return Conflict(
            is_own=bool(open_connections(self.connection)),
            is_repeatable=not self.is_final and not self.has_committed(error),
        )

    def hint(self, error: BaseException) -> str:
        if isinstance(error, NewViolationsError):
            return (
                "Let the revision change or delete these rows, too. If it relies on "
                "'ON DELETE' or 'ON UPDATE', write 'sqlite_foreign_keys = True' at the top of its "
                "script: foreign keys are off otherwise, because to rebuild a table is to delete "
                "its rows."
            )
        if not isinstance(error, sa.exc.OperationalError):
            return ""
        if (conflict := self.conflict(error)) is not None:
            return conflict.hint
        if re.search(r"(within|inside)( a)? transaction", str(error.orig)):
            return (
                "Run it in 'with op.get_context().autocommit_block():', or write "
                "'transactional_ddl = False' at the top of the script."
            )
        if error is not self._error:
            return (
                "'db.session' and 'db.engine' have connections of their own, which wait for the "
                "revision's transaction and do not see what it did: use 'op.get_bind()', or write "
                "'transactional_ddl = False' at the top of the script."
            )
        return ""

    def _call(self, work: t.Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        """Call a function with the driver's connection, in the thread that connection is in."""
        dbapi: t.Any = self._dbapi
        if not self.connection.dialect.is_async:
            return work(dbapi)
        # aiosqlite has no public name for 'autocommit', nor for its thread
        result: ResultT = dbapi.run_async(lambda driver: driver._execute(work, driver._conn))
        return result

    def _use(self, settings: _Settings) -> None:
        self._settings = settings
        self._call(settings.apply)
        if self.connection.in_transaction():
            self._begin(self.connection)

    def _begin(self, connection: sa.Connection) -> None:
        """Begin a transaction, whatever the driver has begun."""
        if is_autocommit(connection) or not self._settings.is_transactional:
            return
        self._call(self._settings.apply)  # again: SQLAlchemy resets some after 'autocommit_block()'
        self._is_beginning = True
        try:
            connection.exec_driver_sql(_BEGIN, execution_options=OWN)
        finally:
            self._is_beginning = False

    def _watch(
        self,
        connection: sa.Connection,
        cursor: t.Any,
        statement: str,
        parameters: t.Any,
        *_: t.Any,
    ) -> tuple[str, t.Any]:
        """Look at a statement; the BEGIN of an application that begins by itself is left out."""
        is_begin = not connection.in_transaction() and re.match(r"\s*BEGIN\b", statement, re.I)
        if is_begin and not self._is_beginning and self._settings.is_transactional:
            return "-- begun already", parameters
        self._statement = statement
        if self._guard and not self._settings.foreign_keys:
            self._guard.watch(statement)
        return statement, parameters

    def _note_error(self, context: sa.engine.ExceptionContext) -> None:
        """Note an error of this connection: it may be raised again after other statements."""
        if context.connection is self.connection:
            self._error = context.sqlalchemy_exception

    def _begin_again(self) -> None:
        self._begin(self.connection)

    def _check(self, connection: sa.Connection) -> None:
        """Check the foreign keys before a commit; SQLAlchemy would leave its transaction open."""
        if self._guard is None:
            return
        if self._settings.foreign_keys:
            self._guard.forget()
            return
        try:
            self._guard.check()
        except BaseException:
            self._call(sqlite3.Connection.rollback)
            raise

    def _restore(self, dbapi: t.Any) -> None:
        """Hand the connection back to the pool as the application knows it."""
        sa.event.remove(self.connection.engine, "handle_error", self._note_error)
        self._call(self._found.restore)
