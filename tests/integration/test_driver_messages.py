"""What each driver raises, in the words that our messages quote."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
import re
import threading
import typing as t

import pytest
import servers
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from flask_dbmigrate.dialects import ConnectionProblem
from flask_dbmigrate.dialects import facts_of

RequireDriver = Callable[[str], None]


class Situation(t.NamedTuple):
    """A connection that fails."""

    changes: dict[str, t.Any]
    """What is wrong with the URL."""

    problem: ConnectionProblem
    words: str
    """A pattern for the message."""


REFUSED = Situation(
    {"port": servers.free_port()},
    ConnectionProblem.UNREACHABLE,
    r".*Connection refused\)?|Can't connect to (MySQL )?server on '127\.0\.0\.1(:\d+)?' \(\d+\)",
)
UNKNOWN_HOST = Situation(
    {"host": "unknown.invalid"},
    ConnectionProblem.UNREACHABLE,
    r".*(Name or service not known|Temporary failure in name resolution)\)?"
    r"|Unknown (MySQL )?server host 'unknown\.invalid' \(-\d\)",
)

POSTGRESQL = {
    "wrong password": Situation(
        {"password": "wr0ng@"},
        ConnectionProblem.CREDENTIALS,
        'password authentication failed for user "admin"',
    ),
    "no password": Situation(
        {"password": None},
        ConnectionProblem.CREDENTIALS,
        '.*no password supplied|password authentication failed for user "admin"',
    ),
    "unknown user": Situation(
        {"username": "nobody"},
        ConnectionProblem.CREDENTIALS,
        'password authentication failed for user "nobody"',
    ),
    "unknown database": Situation(
        {"database": "missing"},
        ConnectionProblem.NO_DATABASE,
        'database "missing" does not exist',
    ),
    "refused": REFUSED,
    "unknown host": UNKNOWN_HOST,
}

MYSQL = {
    "wrong password": Situation(
        {"username": servers.USER, "password": "wr0ng@"},
        ConnectionProblem.CREDENTIALS,
        rf"Access denied for user '{servers.USER}'@'\S+' \(using password: YES\)",
    ),
    "no password": Situation(
        {"username": servers.USER, "password": None},
        ConnectionProblem.CREDENTIALS,
        rf"Access denied for user '{servers.USER}'@'\S+' \(using password: NO\)",
    ),
    "forbidden database": Situation(
        {"username": servers.USER, "password": servers.PASSWORD, "database": "missing"},
        ConnectionProblem.CREDENTIALS,
        rf"Access denied for user '{servers.USER}'@'\S+' to database 'missing'",
    ),
    "unknown database": Situation(
        {"database": "missing"}, ConnectionProblem.NO_DATABASE, "Unknown database 'missing'"
    ),
    "refused": REFUSED,
    "unknown host": UNKNOWN_HOST,
}


def raised_by(url: sa.URL | str, *statements: str) -> BaseException:
    """What connecting raises, or one of some statements, without SQLAlchemy's wrapping."""
    try:
        if sa.make_url(url).get_driver_name() in servers.ASYNCIO:
            asyncio.run(_execute_in_event_loop(url, statements))
        else:
            with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
                _execute(connection, statements)
    except Exception as error:
        return getattr(error, "orig", None) or error
    raise AssertionError("nothing was raised")


def _execute(connection: sa.Connection, statements: t.Iterable[str]) -> None:
    for statement in statements:
        connection.exec_driver_sql(statement)


async def _execute_in_event_loop(url: sa.URL | str, statements: t.Iterable[str]) -> None:
    engine = create_async_engine(url, poolclass=sa.NullPool)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_execute, statements)
    finally:
        for thread in threading.enumerate():  # aiosqlite's, which needs the event loop to end
            if "_connection_worker_thread" in thread.name:
                thread.join()


def check(url: sa.URL, situation: Situation) -> None:
    """Check what is made of an error while connecting."""
    error = raised_by(url._replace(**situation.changes))
    facts = facts_of(url.get_backend_name())
    assert facts.connection_problem(error) is situation.problem
    assert re.fullmatch(situation.words, facts.message(error))


@pytest.mark.parametrize("situation", POSTGRESQL)
@pytest.mark.parametrize("driver", servers.drivers_of("postgresql"))
def test_connecting_to_postgresql(
    strict_postgresql_url: sa.URL, require_driver: RequireDriver, driver: str, situation: str
) -> None:
    """Each driver's error is understood, and PostgreSQL's own words are found in it."""
    require_driver(driver)
    url = strict_postgresql_url.set(drivername=servers.DRIVERS[driver])
    check(url, POSTGRESQL[situation])


@pytest.mark.parametrize("situation", MYSQL)
@pytest.mark.parametrize("driver", servers.drivers_of("mysql"))
def test_connecting_to_mariadb(
    mysql_server: servers.MySQL, require_driver: RequireDriver, driver: str, situation: str
) -> None:
    """Each driver's error is understood, and MariaDB's own words are found in it."""
    require_driver(driver)
    check(mysql_server.url.set(drivername=servers.DRIVERS[driver]), MYSQL[situation])


@pytest.mark.parametrize("driver", servers.drivers_of("sqlite"))
def test_opening_sqlite(require_driver: RequireDriver, driver: str) -> None:
    """A file that cannot be made is out of reach, in SQLite's words."""
    require_driver(driver)
    error = raised_by(f"{servers.DRIVERS[driver]}:////nowhere/test.db")
    facts = facts_of("sqlite")
    assert facts.connection_problem(error) is ConnectionProblem.UNREACHABLE
    assert facts.message(error) == "unable to open database file"


MISSING = {
    "postgresql": 'relation "missing" does not exist',
    "mysql": "Table '{database}.missing' doesn't exist",
    "sqlite": "no such table: missing",
}
DUPLICATE = {
    "postgresql": 'duplicate key value violates unique constraint "one_pkey" '
    "(Key (id)=(1) already exists.)",
    "mysql": "Duplicate entry '1' for key 'PRIMARY'",
    "sqlite": "UNIQUE constraint failed: one.id",
}
ALL_DRIVERS = [driver for backend in MISSING for driver in servers.drivers_of(backend)]
TWICE = ["CREATE TEMPORARY TABLE one (id INT PRIMARY KEY)", *["INSERT INTO one VALUES (1)"] * 2]


@pytest.mark.parametrize(
    ("statements", "words"),
    [(["INSERT INTO missing VALUES (1)"], MISSING), (TWICE, DUPLICATE)],
    ids=["no table", "detail"],
)
@pytest.mark.parametrize("database_url", ALL_DRIVERS, indirect=True)
def test_statement_that_fails(
    database_url: str, statements: list[str], words: dict[str, str]
) -> None:
    """All drivers of a DBMS lead to the same words, with the detail that PostgreSQL adds."""
    url = sa.make_url(database_url)
    backend = url.get_backend_name()
    error = raised_by(url, *statements)
    assert facts_of(backend).message(error) == words[backend].format(database=url.database)


CAST = ["CREATE TEMPORARY TABLE two (id TEXT)", "ALTER TABLE two ALTER id TYPE integer"]


@pytest.mark.parametrize("database_url", servers.drivers_of("postgresql"), indirect=True)
def test_hint(database_url: str) -> None:
    """PostgreSQL's hint is a part of its words."""
    error = raised_by(sa.make_url(database_url), *CAST)
    assert facts_of("postgresql").message(error) == (
        'column "id" cannot be cast automatically to type integer '
        '(You might need to specify "USING id::integer".)'
    )
