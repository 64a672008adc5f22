"""What a run does to env.py's own connection, so that its DBMS migrates safely."""

from __future__ import annotations

import typing as t

import sqlalchemy as sa

from flask_dbmigrate.runtime.settings import RunSettings

from .autocommit import Autocommit
from .base import Conflict as Conflict
from .base import Preparation as Preparation
from .base import RefusedError as RefusedError


def prepare(
    connection: sa.Connection,
    options: t.Mapping[str, t.Any],
    settings: RunSettings,
    try_again: t.Callable[[Conflict], bool],
) -> Preparation:
    """Choose how to prepare a connection; it is not touched yet.

    :param options: Those of Alembic's ``configure()``.
    :param settings: The limits that the command was given.
    :param try_again: Waits until a statement may be tried again, or says that there is no try left.
    """
    if options.get("transactional_ddl") is False and Autocommit(connection).was_on:
        return Preparation()
    match connection.dialect.name:  # one of these modules is needed, if any
        case "postgresql":
            from .postgresql import PostgreSQLTimeouts

            return PostgreSQLTimeouts(connection, options, settings)
        case "mysql" | "mariadb":
            from .mysql import MySQLTimeouts

            return MySQLTimeouts(connection, options, settings, try_again)
        case "sqlite":
            from .sqlite import SQLiteTransactions

            if SQLiteTransactions.suit(connection, options):
                return SQLiteTransactions(connection, options, settings)
    return Preparation()
