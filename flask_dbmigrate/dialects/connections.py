"""A connection for what must not happen on the one that a run uses."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
import threading
import typing as t

import sqlalchemy as sa
from sqlalchemy.pool import SingletonThreadPool

OWN = {"flask_dbmigrate_own": True}
"""Execution options of what we do to a database for ourselves: connections, or statements."""

OWN_TEXT = {**OWN, "no_parameters": True}
"""The same for a statement in which ``%`` is to mean nothing to the driver."""


# MySQL Connector's, which SQLAlchemy 2.1 does not recognise in its latest versions: the codes
# CR_SERVER_GONE_ERROR, CR_SERVER_LOST, CR_SERVER_LOST_EXTENDED, and what has no code.
_LOST = (2006, 2013, 2055)
_LOST_WORDS = "MySQL Connection not available"


@contextmanager
def separate_connection(engine: sa.Engine, **execution_options: t.Any) -> Iterator[sa.Connection]:
    """Open a connection beside the engine's pool, which may have room for one only.

    Creator and listeners are those of the engine's pool. A database in memory is in its
    connection: there it is the pool's.

    :param execution_options: For this connection.
    """
    pool = engine.pool.recreate() if has_own_connections(engine) else engine.pool
    try:
        with closing_even_if_lost(sa.Engine(pool, engine.dialect, engine.url).connect()) as opened:
            yield opened.execution_options(**OWN, **execution_options)
    finally:
        if pool is not engine.pool:
            pool.dispose()


@contextmanager
def closing_even_if_lost(connection: sa.Connection) -> Iterator[sa.Connection]:
    """Close a connection in the end; to roll back fails if nobody has noticed that it is lost."""
    try:
        yield connection
    finally:
        try:
            connection.close()
        except Exception:  # drivers raise more than SQLAlchemy knows of
            with suppress(Exception):
                connection.invalidate()


def was_lost(error: BaseException) -> bool:
    """Tell whether an error came because a connection was lost, now or before."""
    if isinstance(error, sa.exc.PendingRollbackError):
        return error.code == "8s2b"  # "Can't reconnect until invalid transaction is rolled back"
    if not isinstance(error, sa.exc.DBAPIError):
        return False
    original = error.orig
    code = original.args[0] if original is not None and original.args else None
    return error.connection_invalidated or code in _LOST or _LOST_WORDS in str(original)


def is_autocommit(connection: sa.Connection) -> bool:
    """Tell whether each statement is committed by itself."""
    return connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"


def has_own_connections(engine: sa.Engine) -> bool:
    """Tell whether another connection sees the same: a database in memory is in its connection."""
    is_one_for_all = isinstance(engine.pool, (sa.StaticPool, SingletonThreadPool))
    return not (engine.dialect.name == "sqlite" and is_one_for_all)


@contextmanager
def closed_when_returned(engines: Iterable[sa.Engine]) -> Iterator[None]:
    """Close the connections that this thread returns to a pool meanwhile.

    Processes that are forked later would share them. In other pools than those that queue them
    a connection may be somebody else's at the same time; asyncio's are closed with its loop.
    """
    threads = {threading.get_ident()}

    def close(_: object, entry: sa.pool.ConnectionPoolEntry) -> None:
        if threading.get_ident() in threads:
            entry.close()

    pools = {engine.pool for engine in engines if not engine.dialect.is_async}
    queues = [pool for pool in pools if isinstance(pool, sa.QueuePool)]
    for queue in queues:
        sa.event.listen(queue, "checkin", close)
    try:
        yield
    finally:
        threads.clear()  # a pool may have been made anew, with what listens to it
        for queue in queues:
            sa.event.remove(queue, "checkin", close)
