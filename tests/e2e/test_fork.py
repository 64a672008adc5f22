"""Processes that are forked while a thread migrates, or after a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import threading
import typing as t

from harness import Application
from harness import LEGACY_ENV_PY
from harness import Project
from harness import wait_until
import pytest
import sqlalchemy as sa

import flask_dbmigrate
from flask_dbmigrate import LockNotAcquiredError

Start = Callable[..., Application]

MEANWHILE = """
import os, pathlib, signal, threading, time
from app import create_app
from flask_dbmigrate import upgrade

app = create_app()

def migrate(**options):
    with app.app_context():
        try:
            print(upgrade(**options), flush=True)
        except Exception as error:
            print(type(error).__name__, error, flush=True)

thread = threading.Thread(target=migrate)
thread.start()
while not pathlib.Path("running").exists():
    time.sleep(0.02)
if os.fork() == 0:
    signal.alarm(30)
    migrate(lock_timeout=0.5)
    os._exit(0)
os.wait()
pathlib.Path("go").touch()
thread.join()
"""

AFTERWARDS = """
import os
import flask_dbmigrate
from app import create_app, db

app = create_app()
with app.app_context():
    flask_dbmigrate.upgrade()
for _ in range(2):
    if os.fork() == 0:
        with app.app_context():
            print(db.session.execute(db.text("SELECT pg_backend_pid()")).scalar(), flush=True)
        os._exit(0)
    os.wait()
"""

UNTIL_TOLD = [
    "import pathlib, time",
    "pathlib.Path('running').touch()",
    "for _ in range(600):",
    "    time.sleep(0 if pathlib.Path('go').exists() else 0.05)",
]


def run(project: Project, source: str) -> list[str]:
    """Run a program of the project: the lines that it writes."""
    (project.folder / "run.py").write_text(source)
    return project.run("run").stdout.splitlines()


@pytest.mark.parametrize("name", ["sqlite_url", "postgresql_url", "mysql_url"])
def test_fork_while_a_thread_migrates(
    request: pytest.FixtureRequest, tmp_path: Path, name: str
) -> None:
    """The child does not wait for the thread, which it does not have, but for the database."""
    project = Project(tmp_path / "project", request.getfixturevalue(name))
    project.db("init")
    project.revision("aaa", upgrade=UNTIL_TOLD)
    child, parent = run(project, MEANWHILE)
    assert child.startswith("LockNotAcquiredError Database 'default' is still being migrated by ")
    assert parent.startswith("Database 'default' is at 'aaa' now")


@pytest.mark.parametrize("env_py", [None, LEGACY_ENV_PY], ids=["ours", "legacy"])
def test_fork_after_a_run(tmp_path: Path, postgresql_url: str, env_py: str | None) -> None:
    """Workers that a preloading master forks after an upgrade share no connection."""
    project = Project(tmp_path / "project", postgresql_url)
    project.db("init")
    if env_py is not None:
        (project.folder / "migrations" / "env.py").write_text(env_py)
    project.revision("aaa", upgrade=["op.get_bind().engine.connect().close()"])
    for what in ("with a revision", "with nothing to do"):
        first, second = run(project, AFTERWARDS)
        assert first != second, what


COMMANDS: list[Callable[[], t.Any]] = [
    flask_dbmigrate.upgrade,
    flask_dbmigrate.current,
    flask_dbmigrate.check,
    flask_dbmigrate.status,
    flask_dbmigrate.downgrade,
]


def test_what_stays_open(start: Start, postgresql_url: str, tmp_path: Path) -> None:
    """No command leaves a connection in the pool; the application keeps those that it uses."""
    application = start(url=postgresql_url)
    Project(tmp_path, postgresql_url).revision(
        "aaa",
        upgrade=[
            "op.create_table('user', sa.Column('id', sa.Integer, primary_key=True), "
            "sa.Column('name', sa.String(128)))",
        ],
        downgrade=["op.drop_table('user')"],
    )
    others = (
        "SELECT 1 FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with application.db.engine.connect() as used:
        used = used.execution_options(isolation_level="AUTOCOMMIT")
        used.exec_driver_sql("CREATE TEMPORARY TABLE mine (id integer)")
        for command in COMMANDS:
            command()
            wait_until(lambda: used.exec_driver_sql(others).first() is None)
        assert used.exec_driver_sql("SELECT count(*) FROM mine").scalar() == 0


def test_one_connection_for_all(start: Start, postgresql_url: str, tmp_path: Path) -> None:
    """A pool whose one connection the application uses at the same time keeps it."""
    options = {"poolclass": sa.StaticPool}
    application = start(url=postgresql_url, engine_options=options)
    Project(tmp_path, postgresql_url).revision("aaa")
    with application.db.engine.connect() as used:
        session = used.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        flask_dbmigrate.upgrade()
        application.migrate.pending()
        assert used.exec_driver_sql("SELECT pg_backend_pid()").scalar() == session


def test_thread_that_is_still_at_work(make_application: t.Any, tmp_path: Path) -> None:
    """``lock_timeout`` is also for the turn among the threads of a process."""
    one, two = (make_application(name, url=f"sqlite:///{tmp_path / name}.db") for name in "ab")
    with one.app.app_context():
        flask_dbmigrate.init()
        Project(tmp_path, "sqlite://").revision("aaa", upgrade=UNTIL_TOLD)

    def migrate() -> None:
        with one.app.app_context():
            flask_dbmigrate.upgrade()

    thread = threading.Thread(target=migrate)
    thread.start()
    wait_until((tmp_path / "running").exists)
    with two.app.app_context(), pytest.raises(LockNotAcquiredError, match="Another thread of this"):
        flask_dbmigrate.upgrade(lock_timeout=0.3)
    (tmp_path / "go").touch()
    thread.join()
