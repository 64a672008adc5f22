"""What other runs do to our own tables while this one looks, before it has the lock."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import threading
import typing as t

from harness import Application
from harness import Project
from harness import wait_until
import pytest
import servers
import sqlalchemy as sa

import flask_dbmigrate

Start = Callable[..., Application]
SECOND = ["op.create_table('b', sa.Column('id', sa.Integer))"]


@contextmanager
def happens(event: str, statement: str, action: Callable[[], object]) -> Iterator[None]:
    """Do something once, when a statement that begins like this is executed."""
    done: list[str] = []

    def notice(_: object, __: object, executed: str, *___: object) -> None:
        if executed.strip().startswith(statement) and not done:
            done.append(executed)
            action()

    sa.event.listen(sa.Engine, event, notice)
    yield
    sa.event.remove(sa.Engine, event, notice)
    assert done, f"no statement begins with '{statement}'"


def connect(url: str) -> sa.Connection:
    """Be another run."""
    engine = sa.create_engine(servers.synchronous(url), poolclass=sa.NullPool)
    return engine.connect().execution_options(isolation_level="AUTOCOMMIT")


def waits(other: sa.Connection, query: str) -> Callable[[], bool]:
    """Tell whether a session is found by a query."""
    return lambda: other.exec_driver_sql(query).first() is not None


READ_HEADS = ("after_cursor_execute", "SELECT alembic_version.version_num")


@pytest.fixture
def taken_back(start: Start, mysql_url: str, tmp_path: Path) -> Iterator[tuple[sa.Connection, str]]:
    """Another run on a database without the journal and the log, and how the journal is made."""
    start(url=mysql_url)
    project = Project(tmp_path, mysql_url)
    project.revision("aaa", upgrade=["op.create_table('a', sa.Column('id', sa.Integer))"])
    flask_dbmigrate.upgrade()
    project.revision("bbb", "aaa", upgrade=SECOND)
    with connect(mysql_url) as other:
        create: str = other.exec_driver_sql("SHOW CREATE TABLE alembic_version_journal").one()[1]
        other.exec_driver_sql("DROP TABLE alembic_version_journal")
        yield other, create


def test_journal_is_made_after_the_look_has_begun(taken_back: tuple[sa.Connection, str]) -> None:
    """A table that is newer than the snapshot of a look is read nevertheless."""
    other, create = taken_back
    with happens(*READ_HEADS, lambda: other.exec_driver_sql(create)):
        assert flask_dbmigrate.upgrade().databases[0].after == ("bbb",)


def test_log_is_made_after_the_look_has_begun(taken_back: tuple[sa.Connection, str]) -> None:
    """The same for the log, which ``log`` and ``status`` read."""
    other, _ = taken_back
    create: str = other.exec_driver_sql("SHOW CREATE TABLE alembic_version_log").one()[1]
    for read in (flask_dbmigrate.run_log, flask_dbmigrate.status):
        other.exec_driver_sql("DROP TABLE alembic_version_log")
        with happens(*READ_HEADS, lambda: other.exec_driver_sql(create)):
            (database,) = read().databases
        assert not getattr(database, "log_problem", "")


def test_journal_is_being_made(taken_back: tuple[sa.Connection, str], mysql_url: str) -> None:
    """While another run creates the journal, a look waits for that, and does not fail."""
    other, create = taken_back
    slowly = f"{create} SELECT a.id AS number FROM a WHERE SLEEP(0.3)"
    other.exec_driver_sql("INSERT INTO a VALUES (1)")
    with connect(mysql_url) as maker:
        maker.exec_driver_sql("SET sql_mode = ''")  # the columns have no defaults
        thread = threading.Thread(target=maker.exec_driver_sql, args=(slowly,))

        def make() -> None:
            thread.start()
            wait_until(
                waits(
                    other,
                    "SELECT 1 FROM information_schema.processlist WHERE info LIKE 'CREATE TABLE%%' "
                    "AND state = 'User sleep' AND db = DATABASE()",
                )
            )

        with happens(*READ_HEADS, make):
            assert flask_dbmigrate.upgrade().databases[0].after == ("bbb",)
        thread.join()


@pytest.mark.parametrize("driver", servers.drivers_of("postgresql"))
def test_schema_is_being_made(
    start: Start,
    postgresql_server: servers.PostgreSQL,
    require_driver: t.Callable[[str], None],
    tmp_path: Path,
    driver: str,
) -> None:
    """A run with another version table creates the schema at the same moment: it is there."""
    require_driver(driver)
    with postgresql_server.database(driver) as url, connect(url) as other, connect(url) as watch:
        start(url=url, version_table_schema="ours")
        Project(tmp_path, url).revision("aaa", upgrade=["op.execute('SELECT 1')"])
        other = other.execution_options(isolation_level="READ COMMITTED")

        def commit() -> None:
            wait_until(
                waits(watch, "SELECT 1 FROM pg_locks WHERE NOT granted AND database IS NULL")
            )
            other.commit()

        def make() -> None:
            other.exec_driver_sql("CREATE SCHEMA ours")
            threading.Thread(target=commit).start()

        with happens("before_cursor_execute", "CREATE SCHEMA IF NOT EXISTS", make):
            assert flask_dbmigrate.upgrade().databases[0].after == ("aaa",)
