"""Connections that are lost: all at once, or while the migration lock is awaited."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
import gc
from pathlib import Path
import typing as t

from harness import Application
from harness import Project
import pytest
import servers
import sqlalchemy as sa

import flask_dbmigrate
from flask_dbmigrate import DatabaseUnavailableError
from flask_dbmigrate import HalfAppliedError
from flask_dbmigrate import Listener
from flask_dbmigrate import MigrationError
from flask_dbmigrate.dialects import facts_of

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

Start = Callable[..., Application]
TABLE = "op.create_table('t', sa.Column('id', sa.Integer))"
MOMENT = "SELECT 'everything is lost'"

SESSIONS = {
    "postgresql": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    "mysql": "SELECT id FROM information_schema.processlist "
    "WHERE db = DATABASE() AND id <> CONNECTION_ID()",
}
"""Ends the other sessions of a database, or lists them."""


def lose_all(url: str) -> None:
    """End all sessions of a database, as a server does that goes down."""
    engine = sa.create_engine(servers.synchronous(url), poolclass=sa.NullPool)
    with engine.connect() as connection:
        found = connection.exec_driver_sql(SESSIONS[engine.dialect.name]).scalars().all()
        for session in found if engine.dialect.name == "mysql" else ():
            connection.exec_driver_sql(f"KILL {session}")


@contextmanager
def lost_at(url: str, statement: str) -> Iterator[None]:
    """Lose all connections once, before a statement that begins like this."""
    lost: list[str] = []

    def notice(_: object, __: object, executed: str, *___: object) -> None:
        if executed.startswith(statement) and not lost:
            lost.append(executed)
            lose_all(url)

    sa.event.listen(sa.Engine, "before_cursor_execute", notice)
    yield
    sa.event.remove(sa.Engine, "before_cursor_execute", notice)
    assert lost, f"no statement begins with {statement}"


@pytest.fixture(params=[*servers.drivers_of("postgresql"), *servers.drivers_of("mysql")])
def url(request: pytest.FixtureRequest, require_driver: Callable[[str], None]) -> Iterator[str]:
    """A new database, once for each driver that has connections to lose."""
    driver: str = request.param
    require_driver(driver)
    server: servers.Server = request.getfixturevalue(f"{servers.backend_of(driver)}_server")
    with server.database(driver) as found:
        yield found
        gc.collect()  # what a driver leaves open that lost its connection


def test_all_are_lost_in_a_revision(start: Start, url: str, tmp_path: Path) -> None:
    """What the revision had come to is said, and to run the command again is the advice."""
    start(url=url)
    project = Project(tmp_path, url)
    project.revision("aaa", upgrade=[TABLE, f"op.execute({MOMENT!r})"])
    is_mysql = url.startswith("mysql")
    kind: type[flask_dbmigrate.DBMigrateError] = HalfAppliedError if is_mysql else MigrationError
    with lost_at(url, MOMENT), pytest.raises(kind, match="Revision 'aaa' failed") as caught:
        flask_dbmigrate.upgrade()
    assert caught.value.hint.startswith("Run the command again.")
    assert ("It goes on after what is done" in caught.value.hint) is is_mysql
    assert flask_dbmigrate.upgrade().databases[0].after == ("aaa",)


class Losing(Listener):
    """Loses all connections when the lock is awaited, and notes what is awaited."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.reasons: list[str] = []

    def lock_awaited(self, database: str, holder: str) -> None:
        lose_all(self.url)

    def database_awaited(self, reason: str) -> None:
        self.reasons.append(reason)


@contextmanager
def lock_held(url: str) -> Iterator[None]:
    """Hold the migration lock, as another run does."""
    engine = sa.create_engine(servers.synchronous(url))
    with facts_of(engine.dialect.name).lock(engine, None, "alembic_version") as lock:
        assert lock is not None
        assert lock.acquire()
        yield


def test_all_are_lost_while_the_lock_is_awaited(start: Start, url: str, tmp_path: Path) -> None:
    """A run that waits for another goes on when the server is back, as far as ``wait`` allows."""
    start(url=url)
    Project(tmp_path, url).revision("aaa", upgrade=[TABLE])
    lost = "The connection to database 'default' was lost: "
    with lock_held(url), pytest.raises(DatabaseUnavailableError, match=lost) as caught:
        flask_dbmigrate.upgrade(listener=Losing(url), lock_timeout=20)
    assert caught.value.hint == "Run the command again."
    listener = Losing(url)
    with lock_held(url):
        done = flask_dbmigrate.upgrade(listener=listener, wait=20)
    assert done.databases[0].after == ("aaa",)
    assert [reason.startswith(lost) for reason in listener.reasons] == [True]


HEADS, LOG = "SELECT alembic_version.version_num", "SELECT alembic_version_log."


@pytest.mark.parametrize(
    ("look", "statement"),
    [
        (flask_dbmigrate.upgrade, HEADS),
        (flask_dbmigrate.upgrade, LOG),  # whose errors are not the end of it
        (flask_dbmigrate.status, HEADS),
        (flask_dbmigrate.check, HEADS),
    ],
)
def test_all_are_lost_in_a_look(
    start: Start, postgresql_url: str, tmp_path: Path, look: Callable[[], t.Any], statement: str
) -> None:
    """A look that loses its connection is not called a failure: it can be done again."""
    start(url=postgresql_url)
    Project(tmp_path, postgresql_url).revision("aaa", upgrade=[TABLE])
    flask_dbmigrate.upgrade()
    lost = "The connection to database 'default' was lost"
    with lost_at(postgresql_url, statement), pytest.raises(DatabaseUnavailableError, match=lost):
        look()


@pytest.mark.parametrize("driver", ["psycopg", "pymysql"])
@pytest.mark.parametrize("statement", ["SAVEPOINT", "\nCREATE TABLE alembic_version_log"])
def test_lost_while_the_log_is_made(
    request: pytest.FixtureRequest, start: Start, tmp_path: Path, driver: str, statement: str
) -> None:
    """That the log cannot be written without a connection is no reason to go on without it."""
    backend = servers.backend_of(driver)
    if (backend, statement) == ("mysql", "SAVEPOINT"):
        statement = "\nCREATE TABLE alembic_version_log"
    url: str = request.getfixturevalue(f"{backend}_url")
    start(url=url)
    Project(tmp_path, url).revision("aaa", upgrade=[TABLE])
    with lost_at(url, statement):
        assert flask_dbmigrate.upgrade(wait=20).databases[0].after == ("aaa",)
    assert [entry.status for entry in flask_dbmigrate.run_log().databases[0].entries] == ["ok"]
