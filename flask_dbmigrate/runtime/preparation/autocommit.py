"""Takes a connection out of AUTOCOMMIT, and back into it."""

from __future__ import annotations

from contextlib import suppress
import typing as t

from alembic.script import Script
import sqlalchemy as sa

from flask_dbmigrate.dialects import facts_of
from flask_dbmigrate.dialects import is_autocommit


class Autocommit:
    """The AUTOCOMMIT in which a connection may be found.

    SQLAlchemy refuses to change that in what it takes for a transaction, though in AUTOCOMMIT there
    is none: so the driver is told.

    :param connection: env.py's own.
    :param begin: Begins a transaction where the driver does not.
    """

    def __init__(
        self, connection: sa.Connection, begin: t.Callable[[], None] = lambda: None
    ) -> None:
        self._connection = connection
        self.begin = begin
        self.was_on = _is_on(connection)

    def start(self) -> None:
        """Leave it until the pool gets the connection back."""
        if self.was_on:
            self._level = self._connection.get_isolation_level()
            self._switch(self._level)
            fairy: t.Any = self._connection.connection
            fairy._connection_record.finalize_callback.append(self._restore)

    def follow(self, script: Script | None) -> None:
        """Enter it again for a script with ``transactional_ddl = False``, and only for that."""
        is_wanted = getattr(script and script.module, "transactional_ddl", None) is False
        if self.was_on and is_wanted != is_autocommit(self._connection):
            self.enter() if is_wanted else self.leave()

    def finish(self) -> None:
        """Leave the connection as it was found, unless it is in a transaction of env.py's."""
        if self.was_on and not self._connection.in_transaction():
            self._switch("AUTOCOMMIT")

    def commit(self) -> None:
        """Commit, though what SQLAlchemy takes for a transaction goes on."""
        connection: t.Any = self._connection
        connection.dispatch.commit(connection)
        connection.connection.commit()

    def enter(self) -> None:
        """Commit, and have no transactions."""
        self.commit()
        self._switch("AUTOCOMMIT")

    def leave(self) -> None:
        """Have transactions, of the level that the session has."""
        self._switch(self._level)
        self.begin()

    def _switch(self, level: t.Any) -> None:
        connection: t.Any = self._connection
        self._set(connection.connection.dbapi_connection, level)
        options = connection.get_execution_options()
        connection._execution_options = options.union({"isolation_level": level})

    def _restore(self, dbapi_connection: t.Any) -> None:
        with suppress(Exception):  # the connection may be lost
            dbapi_connection.rollback()
            self._set(dbapi_connection, "AUTOCOMMIT")

    def _set(self, dbapi_connection: t.Any, level: t.Any) -> None:
        dialect = self._connection.dialect
        facts_of(dialect.name).set_isolation_level(dialect, dbapi_connection, level)


def _is_on(connection: sa.Connection) -> bool:
    """Tell whether SQLAlchemy was told so, or the driver without its knowledge."""
    facts = facts_of(connection.dialect.name)
    dbapi_connection = connection.connection.dbapi_connection
    return connection._is_autocommit_isolation() or facts.is_autocommit(dbapi_connection)
