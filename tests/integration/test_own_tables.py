"""Our own tables, as an older or a newer release has made them."""

from __future__ import annotations

import json
from pathlib import Path
import typing as t

from harness import Application
from harness import execute
from harness import Holder
from harness import Project
from harness import QuickProject
import pytest
import servers
import sqlalchemy as sa

import flask_dbmigrate
from flask_dbmigrate import HalfAppliedError
from flask_dbmigrate import Listener

Start = t.Callable[..., Application]
URLS = ["sqlite_url", "postgresql_url", "mysql_url"]
ADD = "op.add_column('one', sa.Column('a', sa.Integer))"
FAIL = "op.execute('INSERT INTO missing VALUES (1)')"


class Notes(Listener):
    """Keeps what it is told of the log."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def log_unavailable(self, database: str, reason: str) -> None:
        self.reasons.append(reason)


def begin(start: Start, url: str, folder: Path, **arguments: t.Any) -> Project:
    """Make a project whose database is at the revision ``aaa``."""
    start(url=url, **arguments)
    project = Project(folder, url)
    project.revision("aaa", upgrade=["op.create_table('one', sa.Column('id', sa.Integer))"])
    flask_dbmigrate.upgrade()
    project.revision("bbb", "aaa")
    return project


@pytest.fixture(params=URLS)
def project(request: pytest.FixtureRequest, start: Start, tmp_path: Path) -> Project:
    """A project on each DBMS."""
    return begin(start, request.getfixturevalue(request.param), tmp_path)


def upgrade() -> list[str]:
    """Run what is pending; return why the log was not written."""
    notes = Notes()
    flask_dbmigrate.upgrade(listener=notes)
    return notes.reasons


def logged() -> list[tuple[str, str, str, int]]:
    """What the log says: revision, status, release, duration."""
    (database,) = flask_dbmigrate.run_log().databases
    return [
        (entry.revision, entry.status, entry.release, min(entry.duration_ms, 1))
        for entry in database.entries
    ]


def columns(project: Project) -> list[str]:
    """The columns of the log."""
    return [found["name"] for found in inspector(project).get_columns("alembic_version_log")]


def inspector(project: Project) -> sa.Inspector:
    return sa.inspect(sa.create_engine(project.url, poolclass=sa.NullPool))


def test_missing_columns(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the log lacks is read as empty, and is added before the first step."""
    monkeypatch.setenv("GIT_COMMIT", "abc")
    for name in ("release", "finished", "duration_ms"):
        execute(project.url, f'ALTER TABLE alembic_version_log DROP COLUMN "{name}"')
    assert logged() == [("aaa", "ok", "", 0)]
    assert flask_dbmigrate.status().databases[0].log_problem == ""
    assert upgrade() == []
    assert logged()[1][:3] == ("bbb", "ok", "abc")
    assert columns(project)[-3:] == ["finished", "duration_ms", "release"]
    execute(project.url, 'UPDATE alembic_version_log SET "release" = NULL')  # as 0.1.0 writes it
    assert logged()[1] == ("bbb", "ok", "", logged()[1][3])


def test_more_columns(project: Project) -> None:
    """A column of a newer release stays as it is."""
    execute(project.url, "ALTER TABLE alembic_version_log ADD COLUMN later INTEGER")
    assert upgrade() == []
    assert [revision for revision, *_ in logged()] == ["aaa", "bbb"]
    assert columns(project)[-1] == "later"


def test_failure(project: Project) -> None:
    """So is a failure noted in a log that lacked something."""
    execute(project.url, 'ALTER TABLE alembic_version_log DROP COLUMN "release"')
    project.revision("bbb", "aaa", upgrade=[FAIL])
    with pytest.raises(flask_dbmigrate.MigrationError):
        flask_dbmigrate.upgrade()
    assert [status for _, status, *_ in logged()] == ["ok", "failed"]


def test_nothing_to_do(project: Project) -> None:
    """A run without steps changes nothing."""
    upgrade()
    execute(project.url, 'ALTER TABLE alembic_version_log DROP COLUMN "release"')
    upgrade()
    assert "release" not in columns(project)


@pytest.mark.parametrize("url", URLS)
def test_autogenerate(
    request: pytest.FixtureRequest, start: Start, tmp_path: Path, url: str
) -> None:
    """A log of another version table is not dropped because it is of another release."""
    project = begin(start, request.getfixturevalue(url), tmp_path)
    upgrade()
    fields = "id INTEGER, revision TEXT, down_revision TEXT, direction TEXT"
    execute(project.url, f"CREATE TABLE other_log ({fields})", f"CREATE TABLE not_log ({fields})")
    with pytest.raises(flask_dbmigrate.DriftError) as caught:
        flask_dbmigrate.check()
    assert "other_log" not in {found.table for found in caught.value.differences}


def test_role_that_may_not_on_postgresql(
    start: Start,
    tmp_path: Path,
    postgresql_url: str,
    postgresql_server: servers.PostgreSQL,
) -> None:
    """A role that may not add a column writes the others."""
    project = begin(start, postgresql_url, tmp_path)
    database = postgresql_server.url.set(database=sa.make_url(postgresql_url).database)
    execute(
        database,
        "ALTER TABLE alembic_version_log DROP COLUMN release",
        "ALTER TABLE alembic_version_log OWNER TO CURRENT_USER",
        f"GRANT SELECT, INSERT ON alembic_version_log TO {servers.USER}",
    )
    assert upgrade() == []
    assert logged()[1][:3] == ("bbb", "ok", "")
    assert "release" not in columns(project)


def test_role_that_may_not_on_mariadb(
    tmp_path: Path, mysql_url: str, mysql_server: servers.MySQL
) -> None:
    """Nor does it need to on MariaDB, for the journal either."""
    project = QuickProject(tmp_path / "project", mysql_url)
    project.db("init")
    make = "op.create_table('one', sa.Column('id', sa.Integer))"
    project.revision("aaa", upgrade=[make, FAIL])
    project.fails("upgrade", exit_code=4)
    for table in ("alembic_version_log", "alembic_version_journal"):
        execute(mysql_url, f'ALTER TABLE {table} DROP COLUMN "release"')
    url, user = sa.make_url(mysql_url), f"{servers.USER}_rows"
    mysql_server.execute(
        f"CREATE OR REPLACE USER '{user}'@'%' IDENTIFIED BY 'x'",
        f"GRANT SELECT, INSERT, UPDATE, DELETE, DROP ON `{url.database}`.* TO '{user}'@'%'",
    )
    project.url = url.set(username=user, password="x").render_as_string(hide_password=False)
    project.write_app()
    project.revision("aaa", upgrade=[make, "op.execute('TRUNCATE one')", FAIL])
    try:
        said = project.fails("upgrade", exit_code=4)
        assert "    done       TRUNCATE one (line 9)\n" in said, said
        assert "Warning" not in said
        log = json.loads(project.db("log", "--json"))
    finally:
        mysql_server.execute(f"DROP USER '{user}'@'%'")
    assert [entry["status"] for entry in log["databases"][0]["entries"]] == ["failed", "failed"]


def test_missing_columns_of_the_journal(start: Start, tmp_path: Path, mysql_url: str) -> None:
    """What the journal lacks is read as empty, and is added before the first step."""
    project = begin(start, mysql_url, tmp_path)
    project.revision("bbb", "aaa", upgrade=[ADD, FAIL])
    with pytest.raises(HalfAppliedError):
        flask_dbmigrate.upgrade()
    execute(
        mysql_url,
        'ALTER TABLE alembic_version_journal DROP COLUMN "release"',
        "ALTER TABLE alembic_version_journal ADD COLUMN later INTEGER",
    )
    (database,) = flask_dbmigrate.status().databases
    assert database.half_applied is not None
    assert database.half_applied.release == ""
    with pytest.raises(HalfAppliedError):
        flask_dbmigrate.upgrade()
    assert [found["name"] for found in inspector(project).get_columns("alembic_version_journal")][
        -2:
    ] == [
        "later",
        "release",
    ]
    project.revision("bbb", "aaa", upgrade=[ADD])
    assert upgrade() == []


@pytest.mark.parametrize("url", URLS[1:])
def test_log_that_is_being_read(
    request: pytest.FixtureRequest, start: Start, tmp_path: Path, url: str
) -> None:
    """Somebody who reads the log keeps nobody from migrating: it is written as it is."""
    project = begin(start, request.getfixturevalue(url), tmp_path)
    execute(project.url, 'ALTER TABLE alembic_version_log DROP COLUMN "release"')
    with Holder(project.url, "SELECT * FROM alembic_version_log"):
        notes = Notes()
        flask_dbmigrate.upgrade(listener=notes, ddl_lock_timeout=1)
    assert (notes.reasons, len(logged())) == ([], 2)
    assert "release" not in columns(project)
