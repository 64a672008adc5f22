"""This version and 0.1.0 on one database, in both orders: a release, a rollback, a release."""

from __future__ import annotations

import json
import os
from pathlib import Path
import subprocess
import sys

from harness import environment
from harness import execute
from harness import Project
from harness import QuickProject
import pytest
import sqlalchemy as sa

from flask_dbmigrate.dialects import facts_of

(WHEEL,) = Path(__file__).with_name("wheels").glob("flask_dbmigrate-0.1.0-*.whl")
URLS = ["sqlite_url", "postgresql_url", "mysql_url"]
"""The fixtures with a database of each DBMS that has what this is about."""


@pytest.fixture(params=URLS)
def project(request: pytest.FixtureRequest, tmp_path: Path) -> QuickProject:
    """A project with a revision that makes a table."""
    return begin(tmp_path, request.getfixturevalue(request.param))


@pytest.fixture
def on_mysql(tmp_path: Path, mysql_url: str) -> QuickProject:
    """The same on MariaDB."""
    return begin(tmp_path, mysql_url)


def begin(folder: Path, url: str) -> QuickProject:
    project = QuickProject(folder / "project", url)
    project.db("init")
    project.revision("aaa", upgrade=["op.create_table('t', sa.Column('n', sa.Integer))"])
    return project


def old(project: Project, *arguments: str, exit_code: int = 0) -> str:
    """Run ``flask db`` of 0.1.0, and return what it prints on stdout."""
    done = Project.flask(project, "db", *arguments, env={"PYTHONPATH": str(WHEEL)})
    assert done.returncode == exit_code, done.stdout + done.stderr
    return done.stdout


def versions(said: str) -> list[tuple[str, str, bool]]:
    """Tell which revisions a log has, the status of each, and whether 0.1.0 has run it."""
    (database,) = json.loads(said)["databases"]
    return [
        (entry["revision"], entry["status"], entry["tool_version"] == "0.1.0")
        for entry in database["entries"]
    ]


def test_turns(project: QuickProject) -> None:
    """Each goes on where the other has left off, and reads what it has written.

    What the log lacks the newer one adds, and neither minds what it does not know.
    """
    old(project, "upgrade")
    execute(
        project.url,
        'ALTER TABLE alembic_version_log DROP COLUMN "release"',
        "ALTER TABLE alembic_version_log ADD COLUMN later INTEGER",
    )
    project.revision("bbb", "aaa")
    project.db("upgrade")
    project.revision("ccc", "bbb")
    old(project, "upgrade")
    expected = [("aaa", "ok", True), ("bbb", "ok", False), ("ccc", "ok", True)]
    assert versions(project.db("log", "--json")) == expected
    assert versions(old(project, "log", "--json")) == expected


FAIL = "op.execute('INSERT INTO missing VALUES (1)')"
COUNT = "op.execute('INSERT INTO t (n) VALUES (1)')"
ADD = "op.add_column('t', sa.Column('a', sa.Integer))"


@pytest.mark.parametrize("first", ["old", "new"])
def test_half_applied(on_mysql: QuickProject, first: str) -> None:
    """What one has begun the other completes."""
    on_mysql.db("upgrade")
    on_mysql.revision("bbb", "aaa", upgrade=[COUNT, ADD, FAIL])
    if first == "old":
        old(on_mysql, "upgrade", exit_code=4)
    else:
        on_mysql.fails("upgrade", exit_code=4)
    on_mysql.revision("bbb", "aaa", upgrade=[COUNT, ADD, COUNT])
    if first == "old":
        on_mysql.db("upgrade")
    else:
        old(on_mysql, "upgrade")
    assert on_mysql.query("SELECT * FROM t") == [(1, None), (1, None)]


@pytest.mark.parametrize("first", ["old", "new"])
def test_script_that_looks(on_mysql: QuickProject, first: str) -> None:
    """What 0.1.0 does not resume it refuses as ever, and what it has refused stays so."""
    look = "sa.inspect(op.get_bind()).get_columns('t')"
    on_mysql.db("upgrade")
    on_mysql.revision("bbb", "aaa", upgrade=[look, ADD, FAIL])
    if first == "old":
        old(on_mysql, "upgrade", exit_code=4)
    else:
        on_mysql.fails("upgrade", exit_code=4)
    on_mysql.revision("bbb", "aaa", upgrade=[look, ADD, COUNT])
    if first == "old":
        assert "It cannot be resumed" in on_mysql.fails("upgrade", exit_code=4)
    else:
        old(on_mysql, "upgrade", exit_code=4)
    assert on_mysql.query("SELECT * FROM t") == []


def test_lock(project: QuickProject) -> None:
    """While one migrates a database the other does not."""
    engine = sa.create_engine(project.url)
    with facts_of(engine.dialect.name).lock(engine, None, "alembic_version") as lock:
        assert lock is not None
        assert lock.acquire()
        old(project, "upgrade", "--lock-timeout", "0", exit_code=75)
    engine.dispose()
    gate = project.folder / "gate"
    os.mkfifo(gate)
    project.revision("bbb", "aaa", upgrade=[f"open({str(gate)!r}).read()"])
    process = subprocess.Popen(
        [sys.executable, "-m", "flask", "db", "upgrade"],
        cwd=project.folder,
        env=environment({"PYTHONPATH": str(WHEEL)}),
        stdin=subprocess.DEVNULL,
    )
    with gate.open("w"):  # it is open when the revision is at the other end
        project.fails("upgrade", "--lock-timeout", "0", exit_code=75)
    assert process.wait() == 0
