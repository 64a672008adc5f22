"""Connections for a run: opened, or borrowed from whoever handed one in."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
import threading
import typing as t

import sqlalchemy as sa

from flask_dbmigrate.databases import Database
from flask_dbmigrate.databases import forget_event_loop
from flask_dbmigrate.databases import safe_url
from flask_dbmigrate.databases import without_secrets
from flask_dbmigrate.dialects import closing_even_if_lost
from flask_dbmigrate.dialects import ConnectionProblem
from flask_dbmigrate.dialects import facts_of
from flask_dbmigrate.dialects import separate_connection
from flask_dbmigrate.dialects import was_lost
from flask_dbmigrate.errors import ConfigurationError
from flask_dbmigrate.errors import DatabaseAccessError
from flask_dbmigrate.errors import DatabaseUnavailableError
from flask_dbmigrate.errors import DBMigrateError


@contextmanager
def connected(database: Database) -> t.Iterator[sa.Connection]:
    """Open a connection and close it again.

    :raises DatabaseUnavailableError: if the database cannot be reached.
    :raises DatabaseAccessError: if the server refuses the credentials or the database name.
    """
    try:
        connection = database.engine.connect()
    except Exception as error:
        if not is_from_driver(error, database.engine):
            raise
        raise connection_error(error, database) from error
    unprepared = facts_of(connection.dialect.name).without_prepared_statements
    with closing_even_if_lost(connection), unprepared(connection):
        yield connection


def run_separately(engine: sa.Engine, work: t.Callable[[sa.Connection], object]) -> None:
    """Do some work on a connection beside the engine's pool, in a thread without an event loop."""

    def connect() -> None:
        with separate_connection(engine) as connection:
            work(connection)

    asyncio.run(_in_greenlet(connect)) if engine.dialect.is_async else connect()


def is_from_driver(error: BaseException, engine: sa.Engine) -> bool:
    """Tell whether an error comes from the driver.

    SQLAlchemy does not wrap all that asyncpg raises, pg8000 falls over a missing password, and
    PyMySQL raises a RuntimeError where it lacks a package.
    """
    driver, module = engine.dialect.driver, type(error).__module__.partition(".")[0]
    return (
        isinstance(error, (sa.exc.DBAPIError, OSError))
        or module == driver
        or (driver == "pg8000" and isinstance(error, AttributeError))
        or facts_of(engine.dialect.name).remedy_for(error) != ""
    )


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


ResultT = t.TypeVar("ResultT")

in_event_loop: ContextVar[bool] = ContextVar("flask_dbmigrate.in_event_loop", default=False)
"""Whether :func:`run_with_event_loop` is at work."""


def run_with_event_loop(work: t.Callable[[], ResultT], engines: t.Iterable[sa.Engine]) -> ResultT:
    """Call a function in which engines of asyncio connect as all others do.

    :param engines: The engines it may use; without one of asyncio among them it is just called.
    :raises ConfigurationError: in a thread whose event loop is running, or without greenlet.
    """
    if in_event_loop.get() or not any(engine.dialect.is_async for engine in engines):
        return work()
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        _require_greenlet()
        return asyncio.run(_with_greenlet(work))
    raise ConfigurationError(
        "The database has an engine of asyncio, and the event loop of this thread is running.",
        hint="Call it in another thread: 'await asyncio.to_thread(upgrade)'; or hand in a "
        "connection through 'AsyncConnection.run_sync()'.",
    )


def _require_greenlet() -> None:
    """Check that there is what SQLAlchemy needs for asyncio and, from 2.1 on, does not bring."""
    try:
        import_module("greenlet")
    except ImportError as error:
        raise lacks_greenlet(str(error)) from error


def lacks_greenlet(said: str) -> ConfigurationError:
    """Say that engines of asyncio cannot be used."""
    return ConfigurationError(
        "The database has an engine of asyncio, and the package 'greenlet', which SQLAlchemy needs "
        f"for it, cannot be imported: {said.rstrip('.')}.",
        hint="Install it: pip install greenlet",
    )


async def _with_greenlet(work: t.Callable[[], ResultT]) -> ResultT:
    in_event_loop.set(True)
    try:
        return await _in_greenlet(work)
    finally:
        await _in_greenlet(forget_event_loop)
        _wait_for_aiosqlite()


async def _in_greenlet(work: t.Callable[[], ResultT]) -> ResultT:
    from sqlalchemy.ext.asyncio import AsyncSession

    async with AsyncSession() as session:  # its run_sync() is the documented way to a greenlet
        return await session.run_sync(lambda _: work())


def _wait_for_aiosqlite() -> None:
    """Let its threads end first: one whose connection has failed still reports to the loop."""
    for thread in threading.enumerate():
        if "_connection_worker_thread" in thread.name:
            thread.join(1)


def connection_lost(error: BaseException, key: str, engine: sa.Engine) -> DatabaseUnavailableError:
    """Say that a connection was lost while nothing was changed: it can be done once more."""
    original = getattr(error, "orig", None)
    said = (
        ""
        if original is None
        else f": {facts_of(engine.dialect.name).message(original).rstrip('.')}"
    )
    return DatabaseUnavailableError(
        f"The connection to database '{key}' was lost{without_secrets(said, engine.url)}.",
        hint="Run the command again.",
        url=safe_url(engine.url),
        is_transient=True,
        was_connected=True,
    )


def connection_error(error: BaseException, database: Database) -> DBMigrateError:
    """Say why a connection to a database could not be made."""
    original = getattr(error, "orig", None) or error
    facts = facts_of(database.engine.dialect.name)
    remedy = facts.remedy_for(original)
    if was_lost(error) and not remedy:
        return connection_lost(error, database.key, database.engine)
    url = safe_url(database.engine.url)
    place = f"'{database.key}' ('{url}')"
    said = without_secrets(facts.message(original).rstrip("."), database.engine.url)
    setting = database.setting
    if remedy:
        return DatabaseAccessError(
            f"Database {place} cannot be used: {said}.",
            hint=f"{remedy}, or correct {setting}.",
            url=url,
        )
    if was_lost(error):
        return connection_lost(error, database.key, database.engine)
    problem = facts.connection_problem(original)
    if problem is ConnectionProblem.CREDENTIALS:
        return DatabaseAccessError(
            f"Database {place} refuses the user or the password: {said}.",
            hint=f"Correct the user and the password in {setting}.",
            url=url,
        )
    if problem is ConnectionProblem.ENCRYPTION:
        return DatabaseAccessError(
            f"Database {place} does not agree on encryption: {said}.",
            hint=f"Correct what {setting} says of SSL, or how the server is set up.",
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
        is_transient=facts.is_transient(original),
    )
