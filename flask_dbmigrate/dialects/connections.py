"""A connection for what must not happen on the one that a run uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import typing as t

import sqlalchemy as sa
from sqlalchemy.pool import SingletonThreadPool

OWN = {"flask_dbmigrate_own": True}
"""Execution options of what we do to a database for ourselves: connections, or statements."""

OWN_TEXT = {**OWN, "no_parameters": True}
"""The same for a statement in which ``%`` is to mean nothing to the driver."""


@contextmanager
def separate_connection(engine: sa.Engine, **execution_options: t.Any) -> Iterator[sa.Connection]:
    """Open a connection beside the engine's pool, which may have room for one only.

    Creator and listeners are those of the engine's pool. A database in memory is in its
    connection: there it is the pool's.

    :param execution_options: For this connection.
    """
    pool = engine.pool.recreate() if has_own_connections(engine) else engine.pool
    try:
        with sa.Engine(pool, engine.dialect, engine.url).connect() as connection:
            yield connection.execution_options(**OWN, **execution_options)
    finally:
        if pool is not engine.pool:
            pool.dispose()


def is_autocommit(connection: sa.Connection) -> bool:
    """Tell whether each statement is committed by itself."""
    return connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"


def has_own_connections(engine: sa.Engine) -> bool:
    """Tell whether another connection sees the same: a database in memory is in its connection."""
    is_one_for_all = isinstance(engine.pool, (sa.StaticPool, SingletonThreadPool))
    return not (engine.dialect.name == "sqlite" and is_one_for_all)
