"""Connections for a run: opened, or borrowed from whoever handed one in."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
import typing as t

import sqlalchemy as sa

from flask_dbmigrate.databases import Database
from flask_dbmigrate.databases import safe_url
from flask_dbmigrate.databases import without_secrets
from flask_dbmigrate.dialects import ConnectionProblem
from flask_dbmigrate.dialects import facts_of
from flask_dbmigrate.errors import ConfigurationError
from flask_dbmigrate.errors import DatabaseAccessError
from flask_dbmigrate.errors import DatabaseUnavailableError
from flask_dbmigrate.errors import DBMigrateError

if t.TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine


@contextmanager
def connected(database: Database) -> t.Iterator[sa.Connection]:
    """Open a connection and close it again.

    :raises DatabaseUnavailableError: if the database cannot be reached.
    :raises DatabaseAccessError: if the server refuses the credentials or the database name.
    """
    try:
        connection = database.engine.connect()
    except sa.exc.DBAPIError as error:
        raise connection_error(error, database) from error
    with connection:
        yield connection


@contextmanager
def borrowed(connection: sa.Connection) -> t.Iterator[sa.Connection]:
    """Use somebody else's connection and leave it as it was.

    Their transaction stays open. Without one, what SQLAlchemy began by itself is ended.
    """
    own_transaction = not connection.in_transaction()
    try:
        yield connection
    except BaseException:
        if own_transaction:
            connection.rollback()
        raise
    if own_transaction and connection.in_transaction():
        connection.commit()


def is_async_engine(value: object) -> t.TypeGuard[AsyncEngine]:
    """Tell whether this is SQLAlchemy's asyncio engine, whose module is loaded only where used."""
    if not hasattr(value, "sync_engine"):
        return False
    from sqlalchemy.ext.asyncio import AsyncEngine

    return isinstance(value, AsyncEngine)


def run_on_async_engine(engine: AsyncEngine, work: t.Callable[[sa.Connection], None]) -> None:
    """Do some work on a connection of an asyncio engine.

    :raises DatabaseUnavailableError: if the database cannot be reached.
    :raises ConfigurationError: in a thread whose event loop is running.
    """

    async def main() -> None:
        try:
            connection = await engine.connect()
        except sa.exc.DBAPIError as error:
            handed_in = Database(None, engine.sync_engine, sa.MetaData())
            raise connection_error(error, handed_in) from error
        try:
            await connection.run_sync(work)
        finally:
            await connection.close()

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(main())
    else:
        raise ConfigurationError(
            "Migrations cannot run in a thread whose event loop is running.",
            hint="Use 'await asyncio.to_thread(...)', or hand in a connection "
            "through 'AsyncConnection.run_sync()'.",
        )


def connection_error(error: sa.exc.DBAPIError, database: Database) -> DBMigrateError:
    """Say why a connection to a database could not be made."""
    original = error.orig or error
    facts = facts_of(database.engine.dialect.name)
    url = safe_url(database.engine.url)
    place = f"'{database.key}' ('{url}')"
    said = without_secrets(facts.message(original).rstrip("."), database.engine.url)
    setting = database.setting
    problem = facts.connection_problem(original)
    if problem is ConnectionProblem.CREDENTIALS:
        return DatabaseAccessError(
            f"Database {place} refuses the user or the password: {said}.",
            hint=f"Correct the user and the password in {setting}.",
            url=url,
        )
    if problem is ConnectionProblem.NO_DATABASE:
        return DatabaseAccessError(
            f"Database {place} does not exist on its server: {said}.",
            hint=f"Create it, or correct its name in {setting}.",
            url=url,
        )
    return DatabaseUnavailableError(
        f"Database {place} cannot be reached: {said}.",
        hint=f"{facts.remedy}, or correct {setting}.",
        url=url,
    )
