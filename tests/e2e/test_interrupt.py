"""Ctrl-C and SIGTERM: everything is rolled back, at once, and the exit code says which it was."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
import signal
import subprocess
import threading
import time
import typing as t

from harness import LEGACY_ENV_PY
from harness import Project
from harness import QuickProject
from harness import wait_until
import pytest
import servers
import sqlalchemy as sa

import flask_dbmigrate

LIMIT = 5
"""Seconds that a stop may take on a busy machine; two are promised."""

LONG_STATEMENTS = {
    "sqlite": "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 1e12) "
    "INSERT INTO t SELECT max(x) FROM c",
    "postgresql": "INSERT INTO t SELECT 1 FROM pg_sleep(60)",
    "mysql": "INSERT INTO t SELECT SLEEP(60)",
}

RUNNING = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' "
    "AND datname = current_database() AND query LIKE 'INSERT INTO t SELECT%%'",
    "mysql": "SELECT count(*) FROM information_schema.processlist "
    "WHERE db = DATABASE() AND info LIKE 'INSERT INTO t SELECT%%'",
}

ENV_PY_WITH_ASYNCIO = """
import asyncio

from alembic import context
from flask import current_app
from sqlalchemy.ext.asyncio import create_async_engine


def run(connection):
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()


async def online():
    engine = create_async_engine(current_app.config["SQLALCHEMY_DATABASE_URI"])
    async with engine.connect() as connection:
        await connection.run_sync(run)
    await engine.dispose()


asyncio.run(online())
"""


@pytest.fixture
def new_database(
    request: pytest.FixtureRequest, tmp_path: Path, require_driver: Callable[[str], None]
) -> Iterator[Callable[[str], str]]:
    """Makes a database for a driver."""
    with ExitStack() as stack:

        def make(driver: str) -> str:
            require_driver(driver)
            backend = servers.backend_of(driver)
            if backend == "sqlite":
                return f"{servers.DRIVERS[driver]}:///{tmp_path / 'test.db'}"
            server: servers.Server = request.getfixturevalue(f"{backend}_server")
            return stack.enter_context(server.database(driver))

        yield make


@pytest.fixture
def behind_pooler(new_database: Callable[[str], str], pgbouncer_port: int) -> Callable[[str], str]:
    """Makes a database for a driver, which sees PgBouncer only."""

    def make(driver: str) -> str:
        url = sa.make_url(new_database(driver)).set(host="127.0.0.1", port=pgbouncer_port)
        return url.render_as_string(hide_password=False)

    return make


def start(
    project: Project, *arguments: str, ignored: t.Collection[signal.Signals] = ()
) -> subprocess.Popen[str]:
    """Start ``flask db``; what a job in the background of a shell ignores, it does not."""

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)

    return project.start(*arguments, preexec_fn=prepare)


def stop(process: subprocess.Popen[str], *signals: signal.Signals) -> tuple[int, str]:
    """Send signals: the exit code, and what was said on stderr."""
    sent = time.monotonic()
    for number in signals:
        process.send_signal(number)
    try:
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert time.monotonic() - sent < LIMIT
    return process.returncode, said


def make_project(folder: Path, url: str, *, env_py: str | None = None) -> Project:
    """A project at its first revision; the second has a long statement, until there is 'again'."""
    project = QuickProject(folder / "project", url)
    project.db("init")
    if env_py is not None:
        (project.folder / "migrations" / "env.py").write_text(env_py)
    project.revision("aaa", upgrade=["op.create_table('t', sa.Column('id', sa.Integer))"])
    project.db("upgrade")
    long = LONG_STATEMENTS[sa.make_url(url).get_backend_name()]
    project.revision(
        "bbb",
        "aaa",
        upgrade=[
            "from pathlib import Path",
            "op.execute('INSERT INTO t (id) VALUES (1)')",
            "if not Path('again').exists():",
            "    Path('ready').touch()",
            f"    op.execute({long!r})",
        ],
    )
    return project


def start_long(project: Project) -> subprocess.Popen[str]:
    """Start an upgrade, and wait until the server executes it; what SQLite does nobody knows."""
    process = start(project, "upgrade")
    wait_until((project.folder / "ready").exists)
    backend = sa.make_url(project.url).get_backend_name()
    if backend in RUNNING:
        wait_until(lambda: project.query(RUNNING[backend]) == [(1,)])
    return process


def test_half_applied(tmp_path: Path, mysql_url: str) -> None:
    """What a stopped revision cannot take back is listed, and the next run goes on."""
    project = make_project(tmp_path, mysql_url)
    path = next((project.folder / "migrations/versions").glob("bbb*"))
    source = path.read_text()
    create = "op.create_table('u', sa.Column('n', sa.Integer))\n    if not"
    path.write_text(source.replace("if not", create))
    code, said = stop(start_long(project), signal.SIGTERM)
    assert code == 143, said
    assert (
        "Terminated. Revision 'bbb' did not finish. The database is at 'aaa' now. It is "
        "half-applied:\n"
        "    done       INSERT INTO t (id) VALUES (1) (line 9)\n"
        "    done       CREATE TABLE u ( n INTEGER ) (line 10)\n"
        "    not done   runs Python (migrations/versions/bbb_.py:11) (line 11)\n"
        "Go on with 'flask db resume'."
    ) in said
    (project.folder / "again").touch()
    project.db("upgrade")
    assert project.query("SELECT id FROM t") == [(1,)]


def require_stopped(project: Project) -> None:
    """Check that nothing of the second revision is left, and that it can be run."""
    backend = sa.make_url(project.url).get_backend_name()
    if backend in RUNNING:
        assert project.query(RUNNING[backend]) == [(0,)]
    assert project.db("current") == "aaa\n"
    assert project.query("SELECT id FROM t") == []
    (project.folder / "again").touch()
    project.db("upgrade", "--lock-timeout", "0")
    assert project.query("SELECT id FROM t") == [(1,)]


def test_long_statement(tmp_path: Path, database_url: str) -> None:
    """With each driver SIGTERM cancels the statement, rolls back and frees the lock: 143."""
    project = make_project(tmp_path, database_url)
    code, said = stop(start_long(project), signal.SIGTERM)
    assert code == 143, said
    last = "Terminated. Revision 'bbb' did not finish. The database is at 'aaa' now."
    assert said.splitlines()[-1] == last
    assert "Traceback" not in said
    assert project.query(
        "SELECT status, error FROM alembic_version_log WHERE revision = 'bbb'"
    ) == [("failed", "Terminated.")]
    require_stopped(project)


@pytest.mark.parametrize(
    ("driver", "env_py"),
    [("psycopg2", LEGACY_ENV_PY), ("asyncpg", LEGACY_ENV_PY), ("asyncpg", ENV_PY_WITH_ASYNCIO)],
    ids=["psycopg2", "asyncpg", "with an event loop"],
)
def test_legacy_env_py(
    tmp_path: Path, new_database: Callable[[str], str], driver: str, env_py: str
) -> None:
    """An env.py that knows nothing of this package is stopped as well."""
    project = make_project(tmp_path, new_database(driver), env_py=env_py)
    assert stop(start_long(project), signal.SIGTERM)[0] == 143
    require_stopped(project)


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_pooler(tmp_path: Path, behind_pooler: Callable[[str], str], driver: str) -> None:
    """Behind a pooler, which hides the server's process, the statement is cancelled as well."""
    project = make_project(tmp_path, behind_pooler(driver))
    assert stop(start_long(project), signal.SIGTERM)[0] == 143
    require_stopped(project)


def test_statement_that_cannot_be_cancelled(
    tmp_path: Path, behind_pooler: Callable[[str], str]
) -> None:
    """The run does not wait for it: the connection is given up, and nothing is applied."""
    project = make_project(tmp_path, behind_pooler("pg8000"))
    code, said = stop(start_long(project), signal.SIGTERM)
    assert (code, "Traceback" in said) == (143, False), said
    assert project.db("current") == "aaa\n"


@pytest.mark.parametrize("driver", ["psycopg2", "mysqlclient"])
def test_ctrl_c_in_a_long_statement(
    tmp_path: Path, new_database: Callable[[str], str], driver: str
) -> None:
    """Ctrl-C ends a statement of a driver that never lets Python look: 130."""
    project = make_project(tmp_path, new_database(driver))
    code, said = stop(start_long(project), signal.SIGINT)
    assert (code, "\nInterrupted. Revision 'bbb' did not" in said) == (130, True), said
    require_stopped(project)


def test_repeated_signals(tmp_path: Path, postgresql_url: str) -> None:
    """Signals that follow the first do not disturb its work."""
    project = make_project(tmp_path, postgresql_url)
    code, said = stop(start_long(project), *[signal.SIGTERM] * 5)
    assert code == 143, said
    require_stopped(project)


@pytest.mark.parametrize("driver", ["psycopg2", "pymysql", "sqlite"])
def test_error_that_a_revision_swallows(
    tmp_path: Path, new_database: Callable[[str], str], driver: str
) -> None:
    """A revision that goes on after any error of a statement is stopped all the same."""
    project = make_project(tmp_path, new_database(driver))
    path = project.folder / "migrations" / "versions" / "bbb_.py"
    long = f"op.execute({LONG_STATEMENTS[servers.backend_of(driver)]!r})"
    swallowed = f"try:\n            {long}\n        except Exception:\n            pass"
    path.write_text(path.read_text().replace(long, swallowed))
    assert stop(start_long(project), signal.SIGTERM)[0] == 143
    require_stopped(project)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("work", ["time.sleep(60)", "while True: pass"])
@pytest.mark.parametrize("driver", ["psycopg", "asyncpg", "sqlite"])
def test_python_code(
    tmp_path: Path,
    new_database: Callable[[str], str],
    driver: str,
    work: str,
    number: signal.Signals,
) -> None:
    """A revision that is busy with other things than its database is stopped as well."""
    project = QuickProject(tmp_path / "project", new_database(driver))
    project.db("init")
    create = "op.create_table('half', sa.Column('id', sa.Integer))"
    ready = ["import pathlib, time", "pathlib.Path('ready').touch()"]
    project.revision("aaa", upgrade=[create, *ready, work])
    process = start(project, "upgrade")
    wait_until((project.folder / "ready").exists)
    code, said = stop(process, number)
    assert code == 128 + number, said
    word = {signal.SIGINT: "\nInterrupted", signal.SIGTERM: "Terminated"}[number]
    assert said == f"{word}. Revision 'aaa' did not finish. The database is at base now.\n"
    assert project.tables() == set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("driver", ["asyncpg", "asyncmy", "aiosqlite"])
def test_waiting_in_the_event_loop(
    tmp_path: Path, new_database: Callable[[str], str], driver: str, number: signal.Signals
) -> None:
    """A signal that comes when only the event loop is at work reaches the revision, too."""
    project = make_project(tmp_path, new_database(driver))
    path = project.folder / "migrations" / "versions" / "bbb_.py"
    long = f"op.execute({LONG_STATEMENTS[servers.backend_of(driver)]!r})"
    wait = "import asyncio; sa.util.await_only(asyncio.sleep(60))"
    path.write_text(path.read_text().replace(long, wait))
    process = start(project, "upgrade")
    wait_until((project.folder / "ready").exists)
    code, said = stop(process, number)
    assert code == 128 + number, said
    assert "Traceback" not in said
    word = {signal.SIGINT: "Interrupted.", signal.SIGTERM: "Terminated."}[number]
    first = f"{word} Revision 'bbb' did not finish. The database is at 'aaa' now."
    assert first in said
    assert project.query(
        "SELECT status, error FROM alembic_version_log WHERE revision = 'bbb'"
    ) == [("failed", word)]
    (project.folder / "again").touch()
    project.db("upgrade", "--lock-timeout", "0")
    assert project.query("SELECT id FROM t")[-1:] == [(1,)]


@pytest.mark.parametrize("work", ["await asyncio.sleep(60)", "time.sleep(60)"])
def test_event_loop_of_a_revision(tmp_path: Path, sqlite_url: str, work: str) -> None:
    """A revision that runs an event loop of its own is stopped in it."""
    project = QuickProject(tmp_path / "project", sqlite_url)
    project.db("init")
    create = "op.create_table('half', sa.Column('id', sa.Integer))"
    coroutine = ["import asyncio, pathlib, time", "async def wait():", f"    {work}"]
    ready = ["pathlib.Path('ready').touch()", "asyncio.run(wait())"]
    project.revision("aaa", upgrade=[create, *coroutine, *ready])
    process = start(project, "upgrade")
    wait_until((project.folder / "ready").exists)
    time.sleep(0.2)  # the loop has begun
    code, said = stop(process, signal.SIGTERM)
    assert (code, said) == (
        143,
        "Terminated. Revision 'aaa' did not finish. The database is at base now.\n",
    )
    assert project.tables() == set()


@pytest.mark.parametrize("driver", ["psycopg2", "asyncpg"])
def test_long_commit(tmp_path: Path, new_database: Callable[[str], str], driver: str) -> None:
    """A COMMIT that takes its time, for a deferred trigger, is stopped like a statement."""
    project = make_project(tmp_path, new_database(driver))
    path = project.folder / "migrations" / "versions" / "bbb_.py"
    trigger = (
        "CREATE FUNCTION rest() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_sleep(60); RETURN NULL; END'",
        "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION rest()",
        "INSERT INTO t VALUES (2)",
    )
    long = f"op.execute({LONG_STATEMENTS['postgresql']!r})"
    replaced = "; ".join(f"op.execute({statement!r})" for statement in trigger)
    path.write_text(path.read_text().replace(long, replaced))
    process = start(project, "upgrade")
    commit = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COMMIT%%' "
    commit += "AND state = 'active' AND datname = current_database()"
    wait_until((project.folder / "ready").exists)
    wait_until(lambda: project.query(commit) == [(1,)])
    code, said = stop(process, signal.SIGTERM)
    assert code == 143, said
    assert said.splitlines()[-1].endswith("The database is at 'aaa' now.")
    require_stopped(project)


@pytest.mark.parametrize("driver", ["psycopg2", "asyncpg", "mysqlclient", "sqlite"])
def test_waiting_for_the_lock(
    tmp_path: Path, new_database: Callable[[str], str], driver: str
) -> None:
    """A run that waits for another one is stopped, and the other one is not disturbed."""
    project = make_project(tmp_path, new_database(driver))
    holder = start_long(project)
    waiter = start(project, "upgrade")
    assert waiter.stderr is not None
    assert waiter.stderr.readline().startswith("Waiting for database 'default'")
    assert stop(waiter, signal.SIGTERM) == (143, "Terminated.\n")
    backend = servers.backend_of(driver)
    if backend in RUNNING:
        assert project.query(RUNNING[backend]) == [(1,)]
    assert holder.poll() is None
    assert stop(holder, signal.SIGTERM)[0] == 143
    require_stopped(project)


def test_waiting_for_a_database(tmp_path: Path) -> None:
    """A run that waits for a database to start is stopped."""
    url = f"postgresql+psycopg2://me@127.0.0.1:{servers.free_port()}/test"
    project = QuickProject(tmp_path / "project", url)
    project.db("init")
    project.revision("aaa")
    process = start(project, "upgrade", "--wait", "60")
    assert process.stderr is not None
    assert process.stderr.readline().startswith("Waiting. Database 'default'")
    assert stop(process, signal.SIGTERM) == (143, "Terminated.\n")


def test_ignored_signal(tmp_path: Path, sqlite_url: str) -> None:
    """A signal that is ignored, as ``nohup`` and shells let it be, stays ignored."""
    project = QuickProject(tmp_path / "project", sqlite_url)
    project.db("init")
    project.revision(
        "aaa",
        upgrade=[
            "import os, signal",
            "os.kill(os.getpid(), signal.SIGINT)",
            "op.create_table('t', sa.Column('id', sa.Integer))",
        ],
    )
    process = start(project, "upgrade", ignored=[signal.SIGINT])
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said
    assert project.tables() == {"t"}


def test_handlers_are_given_back(tmp_path: Path, sqlite_url: str) -> None:
    """A command leaves the handlers of signals and the threads as they were."""
    project = QuickProject(tmp_path / "project", sqlite_url)
    project.db("init")
    project.revision("aaa", upgrade=["import signal", "signal.raise_signal(signal.SIGTERM)"])
    threads = threading.active_count()
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert project.fails("upgrade", exit_code=143).startswith("Terminated. ")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert signal.set_wakeup_fd(-1) == -1
    assert threading.active_count() == threads


def test_python_api(make_application: t.Any, tmp_path: Path) -> None:
    """The Python API handles no signals, and starts no threads."""
    application = make_application()
    with application.app.app_context():
        flask_dbmigrate.init()
        Project(tmp_path, "sqlite://").revision(
            "aaa",
            upgrade=[
                "import signal, threading",
                "assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL",
                f"assert threading.active_count() == {threading.active_count()}",
            ],
        )
        assert flask_dbmigrate.upgrade().databases[0].after == ("aaa",)
