"""Only one run at a time works on a database: processes, kills, and what waiting looks like."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import re
import signal
import subprocess
import threading
import typing as t

from harness import LEGACY_ENV_PY
from harness import Project
from harness import wait_until
import pytest
import sqlalchemy as sa

import flask_dbmigrate
from flask_dbmigrate import ConfigurationError
from flask_dbmigrate import LockNotAcquiredError

KILLED_ONCE = """
def upgrade():
    import os, pathlib
    if not (marker := pathlib.Path("killed in {name}")).exists():
        marker.touch()
        os.kill(os.getpid(), 9)
"""

UNTIL_TOLD = [
    "import pathlib, time",
    "pathlib.Path('running').touch()",
    "while not pathlib.Path('go').exists():",
    "    time.sleep(0.05)",
]

SLOW = ["import time", "time.sleep(0.3)"]


@pytest.fixture(params=["sqlite", "psycopg", "asyncpg", "pymysql", "aiosqlite", "pgbouncer"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A new database on each DBMS, on drivers of both kinds, and behind a pooler."""
    driver: str = request.param
    if driver == "pgbouncer":
        server = request.getfixturevalue("postgresql_server")
        port = request.getfixturevalue("pgbouncer_port")
        with server.database("psycopg2") as direct:
            yield sa.make_url(direct).set(host="127.0.0.1", port=port).render_as_string(False)
        return
    if driver.endswith("sqlite"):
        name = "sqlite" if driver == "sqlite" else "sqlite+aiosqlite"
        yield f"{name}:///{tmp_path / 'test.db'}"
        return
    name = "mysql_server" if driver == "pymysql" else "postgresql_server"
    server = request.getfixturevalue(name)
    with server.database(driver) as found:
        yield found


@pytest.fixture(params=[None, LEGACY_ENV_PY], ids=["ours", "legacy"])
def project(request: pytest.FixtureRequest, tmp_path: Path, url: str) -> Project:
    """A project with three revisions: a table, a row that must be there once, a column."""
    project = Project(tmp_path / "project", url)
    project.db("init")
    if request.param is not None:
        (project.folder / "migrations" / "env.py").write_text(request.param)
    table = "op.create_table('t', sa.Column('id', sa.Integer))"
    project.revision("aaa", upgrade=[table, *SLOW], downgrade=["op.drop_table('t')"])
    insert = "op.execute('INSERT INTO t (id) VALUES (1)')"
    project.revision("bbb", "aaa", upgrade=[insert, *SLOW])
    project.revision("ccc", "bbb", upgrade=["op.add_column('t', sa.Column('a', sa.Integer))"])
    return project


def finish(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Wait for processes: the exit code and stderr of each."""
    ended = []
    for process in processes:
        _, said = process.communicate(timeout=100)
        ended.append((process.returncode, said))
    return ended


@pytest.mark.parametrize("target", ["head", "ccc"], ids=["empty", "half-way"])
def test_eight_processes_at_once(project: Project, target: str) -> None:
    """All exit 0, exactly one does the work, and each row is there once."""
    if target == "ccc":
        project.db("upgrade", "aaa")
    ended = project.herd(8, "db", "upgrade", target)
    assert [code for code, _ in ended] == [0] * 8, ended
    workers = [said for _, said in ended if "Running upgrade" in said]
    assert len(workers) == 1
    assert project.query("SELECT id, a FROM t") == [(1, None)]
    assert project.db("current") == "ccc (head)\n"


@pytest.mark.parametrize("url", ["sqlite", "psycopg", "pgbouncer", "pymysql"], indirect=True)
def test_twenty_rounds(tmp_path: Path, url: str) -> None:
    """However often eight start, on an empty or a half-way database, one does the work."""
    project = Project(tmp_path / "project", url)
    project.db("init")
    table = "op.create_table('t', sa.Column('id', sa.Integer))"
    project.revision("aaa", upgrade=[table], downgrade=["op.drop_table('t')"])
    project.revision(
        "bbb",
        "aaa",
        upgrade=["op.execute('INSERT INTO t (id) VALUES (1)')"],
        downgrade=["op.execute('DELETE FROM t')"],
    )
    column = "op.add_column('t', sa.Column('a', sa.Integer))"
    project.revision("ccc", "bbb", upgrade=[column], downgrade=["op.drop_column('t', 'a')"])
    back = [(1, ("db", "downgrade", target)) for target in ("base", "aaa")]
    herd = (8, ("db", "upgrade"))
    rounds = project.herds(herd, *[back[0], herd, back[1], herd] * 10)[::2]
    for number, ended in enumerate(rounds):
        assert [code for code, _ in ended] == [0] * 8, (number, ended)
        assert len([said for _, said in ended if "Running upgrade" in said]) == 1, (number, ended)
    assert len(rounds) == 21
    assert project.query("SELECT id, a FROM t") == [(1, None)]


def test_survivors_go_on(project: Project) -> None:
    """The holder is killed in each of its revisions: those who wait finish its work."""
    for path in sorted((project.folder / "migrations" / "versions").iterdir()):
        name = path.stem[:3]
        path.write_text(path.read_text().replace("def upgrade():", KILLED_ONCE.format(name=name)))
    ended = project.herd(5, "db", "upgrade")
    assert sorted(code for code, _ in ended) == [-signal.SIGKILL] * 3 + [0, 0], ended
    assert project.query("SELECT id, a FROM t") == [(1, None)]
    assert project.db("current") == "ccc (head)\n"


def test_who_holds_the_lock(tmp_path: Path, url: str) -> None:
    """While waiting it is said once who is at work; after the timeout the exit code is 75.

    ``status`` says the same, and waits for nobody.
    """
    project = Project(tmp_path / "project", url)
    project.db("init")
    project.revision("aaa", upgrade=UNTIL_TOLD)
    holder = project.start("upgrade")
    wait_until((project.folder / "running").exists)
    waiter = project.flask("db", "upgrade", "--lock-timeout", "0.6")
    assert waiter.returncode == 75, waiter.stderr
    first, last, hint = waiter.stderr.splitlines()
    assert first.startswith("Waiting for database 'default': it is being migrated by ")
    assert last.startswith("Error: Database 'default' is still being migrated by ")
    assert "raise '--lock-timeout'" in hint
    holders = re.search(r"is still being migrated by (.*), after", last)
    assert holders is not None
    assert f"\nIt is being migrated by {holders[1]}.\n" in project.db("status")
    (project.folder / "go").touch()
    assert finish([holder])[0][0] == 0
    assert "nothing to do" in project.flask("db", "upgrade", "--lock-timeout", "0").stderr
    assert "It is being migrated" not in project.db("status")


def test_nothing_pending_takes_no_lock(tmp_path: Path, url: str) -> None:
    """An upgrade with nothing to do does not wait for a run that is at work elsewhere."""
    project = Project(tmp_path / "project", url)
    project.db("init")
    project.revision("aaa")
    project.db("upgrade")
    project.revision("bbb", "aaa", upgrade=UNTIL_TOLD)
    holder = project.start("upgrade")
    wait_until((project.folder / "running").exists)
    done = project.flask("db", "upgrade", "aaa", "--lock-timeout", "0")
    (project.folder / "go").touch()
    assert done.returncode == 0, done.stderr
    assert finish([holder])[0][0] == 0


def test_threads_take_turns(make_application: t.Any, tmp_path: Path) -> None:
    """Runs in one process take turns, and the result of each is its own."""
    applications = [
        make_application(f"app{number}", url=f"sqlite:///{tmp_path / str(number)}.db")
        for number in range(4)
    ]
    with applications[0].app.app_context():
        flask_dbmigrate.init()
        Project(tmp_path, "sqlite://").revision("aaa", upgrade=SLOW)
    results: dict[int, t.Any] = {}

    def run(number: int) -> None:
        with applications[number].app.app_context():
            results[number] = flask_dbmigrate.upgrade()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [results[number].databases[0].url.rpartition("/")[2] for number in range(4)] == [
        f"{number}.db" for number in range(4)
    ]


def test_lock_that_is_lost(make_application: t.Any, postgresql_url: str, tmp_path: Path) -> None:
    """A run whose lock's connection was lost stops before its next revision."""
    application = make_application(url=postgresql_url)
    with application.app.app_context():
        flask_dbmigrate.init()
        folder = Project(tmp_path, postgresql_url)
        kill = (
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        folder.revision("aaa", upgrade=[f"op.execute({kill!r})"])
        folder.revision("bbb", "aaa")
        with pytest.raises(LockNotAcquiredError, match=r"that held the migration lock .* was lost"):
            flask_dbmigrate.upgrade()


def test_no_lock(make_application: t.Any, sqlite_url: str, tmp_path: Path) -> None:
    """``--no-lock`` and ``DBMIGRATE_LOCK`` do without."""
    application = make_application()
    lock = tmp_path / "test.db-dbmigrate.lock"
    with application.app.app_context():
        flask_dbmigrate.init()
        Project(tmp_path, sqlite_url).revision("aaa")
        flask_dbmigrate.upgrade(lock=False)
        assert not lock.exists()
        application.app.config["DBMIGRATE_LOCK"] = False
        flask_dbmigrate.downgrade()
        assert not lock.exists()
        flask_dbmigrate.upgrade(lock=True)
        assert lock.exists()


def test_snapshot_of_the_lock(make_application: t.Any, postgresql_url: str, tmp_path: Path) -> None:
    """On PostgreSQL the lock holds no snapshot, so CREATE INDEX CONCURRENTLY does not wait."""
    application = make_application(url=postgresql_url)
    folder = Project(tmp_path, postgresql_url)
    with application.app.app_context():
        flask_dbmigrate.init()
        folder.revision(
            "aaa",
            upgrade=[
                "op.create_table('t', sa.Column('id', sa.Integer))",
                "rows = op.get_bind().execute(sa.text('SELECT backend_xmin FROM pg_stat_activity "
                "JOIN pg_locks USING (pid) WHERE locktype = \\'advisory\\' AND granted "
                "AND datname = current_database()')).all()",
                "assert [tuple(row) for row in rows] == [(None,)], rows",
            ],
        )
        folder.revision(
            "bbb",
            "aaa",
            upgrade=[
                "with op.get_context().autocommit_block():",
                "    op.execute('CREATE INDEX CONCURRENTLY i ON t (id)')",
            ],
        )
        assert flask_dbmigrate.upgrade().databases[0].after == ("bbb",)


def test_url_of_its_own(make_application: t.Any, sqlite_url: str, tmp_path: Path) -> None:
    """``DBMIGRATE_URL`` leads migrations to the default database on a way of their own."""
    application = make_application(url="postgresql+psycopg://me:secret@127.0.0.1:1/pooler")
    application.app.config["DBMIGRATE_URL"] = sqlite_url
    with application.app.app_context():
        flask_dbmigrate.init()
        Project(tmp_path, sqlite_url).revision("aaa")
        assert flask_dbmigrate.upgrade().databases[0].url == sqlite_url
    other = make_application("other")
    other.app.config["DBMIGRATE_URL"] = "secret://p@ss@"
    with other.app.app_context(), pytest.raises(ConfigurationError) as caught:
        flask_dbmigrate.upgrade()
    assert "p@ss" not in f"{caught.value} {caught.value.hint}"
