"""Finds out who holds the lock that a statement waits for."""

from __future__ import annotations

from contextlib import suppress
import gc
import threading
import typing as t

import sqlalchemy as sa

from flask_dbmigrate.databases import is_same_database
from flask_dbmigrate.dialects import Blocker
from flask_dbmigrate.dialects import facts_of
from flask_dbmigrate.dialects import OWN
from flask_dbmigrate.runtime.connection import run_separately
from flask_dbmigrate.state import on_command_line


class BlockerWatch(threading.Thread):
    """Looks whom a session waits for while its statement runs: afterwards nobody can tell.

    :param engine: The engine of the connection; the watch has one of its own.
    :param session: The number of its session.
    :param interval: How often to look, in seconds.
    :param own: Tells which sessions are this process's, if nothing but the watch ends a wait for
        one of them.
    """

    def __init__(
        self,
        engine: sa.Engine,
        session: int,
        *,
        interval: float,
        own: t.Callable[[], set[int]] | None,
    ) -> None:
        super().__init__(name="flask_dbmigrate.blockers", daemon=True)
        self.blockers: tuple[Blocker, ...] = ()
        self.has_cancelled = False
        self._engine = engine
        self._session = session
        self._interval = interval
        self._own = own
        self._has_ended = threading.Event()
        self.start()

    def end(self) -> tuple[Blocker, ...]:
        """Stop looking, and return whom the session waited for at last."""
        self._has_ended.set()
        return self.blockers

    def run(self) -> None:
        """Look from time to time; statements that run for a moment are not looked at."""
        if not self._has_ended.wait(self._interval):
            with suppress(Exception):  # whatever it is, the migration goes on
                run_separately(self._engine, self._look)

    def _look(self, connection: sa.Connection) -> None:
        facts = facts_of(connection.dialect.name)
        while not self._has_ended.is_set():
            self.blockers = facts.blockers(connection, self._session) or self.blockers
            sessions = {blocker.session for blocker in self.blockers}
            if self._own and sessions and not sessions.isdisjoint(self._own()):
                self.has_cancelled = True
                connection.exec_driver_sql(f"SELECT pg_cancel_backend({self._session})")
            connection.rollback()
            self._has_ended.wait(self._interval)


def sessions_of_this_process(
    connection: sa.Connection, borrowed: t.Iterable[sa.PoolProxiedConnection] = ()
) -> set[int]:
    """Tell which sessions of the server this process holds in open transactions.

    Nobody keeps a list of connections, so the garbage collector is asked for them.

    :param connection: The one that waits; it does not count.
    :param borrowed: Others that nobody knows the transactions of.
    """
    facts = facts_of(connection.dialect.name)
    sessions = set()
    others: list[sa.Connection | sa.PoolProxiedConnection] = [*borrowed]
    for other in (*open_connections(connection), *others):
        with suppress(Exception):  # another thread may close it at this moment
            found = other.connection if isinstance(other, sa.Connection) else other
            sessions.add(facts.session_of(found.driver_connection))
    return t.cast(set[int], sessions - {None})


def open_connections(connection: sa.Connection) -> list[sa.Connection]:
    """List the other connections of this process to the same database, in transactions."""
    if on_command_line.get():
        gc.unfreeze()  # a command has frozen what the application has opened before
    return [
        found
        for found in gc.get_objects()
        if issubclass(type(found), sa.Connection)
        and found is not connection
        and _is_open_beside(found, connection)
    ]


def _is_open_beside(found: sa.Connection, connection: sa.Connection) -> bool:
    with suppress(AttributeError):  # another thread is making it, or has failed to
        return (
            not found.closed
            and not found.invalidated
            and is_same_database(found.engine.url, connection.engine.url)
            and found.in_transaction()
            and not OWN.items() <= found.get_execution_options().items()
        )
    return False
