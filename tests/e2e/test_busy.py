"""An application goes on while its tables are changed, and a run that dies leaves no statement."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import threading
import time

from harness import Holder
from harness import Project
from harness import wait_until
import pytest
import servers
import sqlalchemy as sa

MAKE = "op.create_table('t', sa.Column('id', sa.Integer, primary_key=True))"
ADD = "op.add_column('t', sa.Column('a', sa.Integer))"


@pytest.fixture(params=["postgresql_url", "mysql_url"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    """A project with a table, and a revision that changes it."""
    project = Project(tmp_path / "project", request.getfixturevalue(request.param))
    project.db("init")
    project.revision("aaa", upgrade=[MAKE])
    project.db("upgrade")
    project.revision("bbb", "aaa", upgrade=[ADD])
    return project


@contextmanager
def application(url: str) -> Iterator[list[float]]:
    """Read the table every 20 ms, and list how long each query took, in seconds."""
    seconds: list[float] = []
    has_ended = threading.Event()
    engine = sa.create_engine(url, poolclass=sa.NullPool)

    def read() -> None:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while not has_ended.wait(0.02):
                started = time.monotonic()
                connection.exec_driver_sql("SELECT id FROM t WHERE id = 1").all()
                seconds.append(time.monotonic() - started)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield seconds
    finally:
        has_ended.set()
        thread.join()


def test_slowest_query(project: Project) -> None:
    """One reads for 6 s: no query of the application waits longer than 1.5 times the limit."""
    with Holder(project.url, "SELECT * FROM t") as reader, application(project.url) as seconds:
        timer = threading.Timer(6, reader.release)
        timer.start()
        project.db("upgrade", "--ddl-lock-timeout", "1")
        timer.join()
    assert len(seconds) > 50
    assert max(seconds) < 1.5


def test_statement_of_a_run_that_is_killed(
    tmp_path: Path, postgresql_url: str, postgresql_server: servers.PostgreSQL
) -> None:
    """On PostgreSQL it ends by itself, and its locks with it."""
    project = Project(tmp_path / "project", postgresql_url)
    project.db("init")
    project.revision("aaa", upgrade=[MAKE, "op.execute('SELECT pg_sleep(60)')"])
    process = project.start("upgrade")
    name = sa.make_url(postgresql_url).database
    asleep = f"SELECT 1 FROM pg_stat_activity WHERE datname = '{name}' AND wait_event = 'PgSleep'"
    wait_until(lambda: bool(project.query(asleep)))
    process.kill()
    process.communicate()
    wait_until(lambda: not project.query(asleep))
    assert project.tables() == set()


def test_limits_do_not_leak(
    tmp_path: Path, postgresql_server: servers.PostgreSQL, pgbouncer_port: int
) -> None:
    """Who has a server connection of PgBouncer after a run finds it as it was."""
    with postgresql_server.database("psycopg2") as direct:
        url = sa.make_url(direct).set(host="127.0.0.1", port=pgbouncer_port)
        project = Project(tmp_path / "project", url.render_as_string(hide_password=False))
        project.db("init")
        project.revision("aaa", upgrade=[MAKE, "op.execute('INSERT INTO t VALUES (1)')"])
        project.revision("bbb", "aaa", upgrade=[ADD])
        project.db("upgrade", "--statement-timeout", "30")
        names = ("lock_timeout", "statement_timeout", "client_connection_check_interval")
        for name in names:
            assert project.query(f"SHOW {name}") == [("0",)]


def test_waiters_and_create_index_concurrently(tmp_path: Path, postgresql_url: str) -> None:
    """Those who wait for the migration lock do not keep CREATE INDEX CONCURRENTLY waiting."""
    project = Project(tmp_path / "project", postgresql_url)
    project.db("init")
    project.revision("aaa", upgrade=[MAKE, "import time; time.sleep(1)"])
    project.revision(
        "bbb",
        "aaa",
        upgrade=[
            "with op.get_context().autocommit_block():",
            "    op.execute('CREATE INDEX CONCURRENTLY i ON t (id)')",
        ],
    )
    ended = project.herd(8, "db", "upgrade")
    assert [code for code, _ in ended] == [0] * 8, ended
    assert len([said for _, said in ended if "Running upgrade" in said]) == 1
    assert project.query("SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass") == [
        (True,)
    ]
