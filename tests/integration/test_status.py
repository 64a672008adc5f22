"""``status``: what is pending, unknown, edited, who is at work, and what was run last."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
import threading
import typing as t

from harness import Application
from harness import execute
from harness import LEGACY_ENV_PY
from harness import Project
from harness import QuickProject
import pytest
import servers
import sqlalchemy as sa

import flask_dbmigrate
from flask_dbmigrate import DatabaseUnavailableError
from flask_dbmigrate import MigrationError
from flask_dbmigrate.dialects import facts_of
from flask_dbmigrate.dialects import MigrationLock

Start = Callable[..., Application]

BROKEN = ["op.execute('INSERT INTO missing VALUES (1)')"]


@pytest.fixture(params=["sqlite_url", "postgresql_url", "mysql_url"])
def url(request: pytest.FixtureRequest) -> str:
    """A new database of each DBMS."""
    found: str = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["ours", "legacy"])
def project(request: pytest.FixtureRequest, start: Start, url: str, tmp_path: Path) -> Project:
    """A project with the revision ``aaa``, for an env.py of ours and an old one."""
    start(url=url)
    if request.param == "legacy":
        Path("migrations/env.py").write_text(LEGACY_ENV_PY)
    project = Project(tmp_path, url)
    project.revision("aaa")
    return project


@pytest.fixture
def on_sqlite(start: Start, sqlite_url: str, tmp_path: Path) -> Project:
    """A project with the revision ``aaa`` on SQLite."""
    start(url=sqlite_url)
    project = Project(tmp_path, sqlite_url)
    project.revision("aaa")
    return project


def status() -> flask_dbmigrate.DatabaseStatus:
    """The status of the only database."""
    (found,) = flask_dbmigrate.status().databases
    return found


def test_nothing_pending(project: Project) -> None:
    """All is well: where it is, that nothing is pending, and how the log ends."""
    flask_dbmigrate.upgrade()
    url = flask_dbmigrate.current().databases[0].url
    (entry,) = flask_dbmigrate.run_log().databases[0].entries
    assert str(flask_dbmigrate.status()).splitlines() == [
        f"Database 'default' ({url}) is at 'aaa': nothing is pending.",
        "The log ends with:",
        f"    {entry}",
    ]
    assert status() == flask_dbmigrate.DatabaseStatus(
        key="default",
        url=url,
        half_applied=None,
        heads=("aaa",),
        unknown=(),
        pending=(),
        locked_by=None,
        edited=(),
        log=(entry,),
        log_problem="",
        is_ok=True,
    )


def test_pending(project: Project) -> None:
    """Pending revisions are listed in the order in which they would be applied."""
    project.revision("bbb", "aaa")
    found = status()
    assert str(found).splitlines() == [
        f"Database 'default' ({found.url}) is at base, with 2 revisions pending:",
        "    <base> -> aaa, revision aaa",
        "    aaa -> bbb (head), revision bbb",
    ]
    assert not found.is_ok
    flask_dbmigrate.upgrade(revision="aaa")
    assert [revision.revision for revision in status().pending] == ["bbb"]


def test_nothing_is_written(project: Project, tmp_path: Path) -> None:
    """Neither a table nor a lock file is made."""
    flask_dbmigrate.status()
    assert project.inspect() == []
    assert not list(tmp_path.glob("*-dbmigrate.lock"))


def test_several_heads(on_sqlite: Project) -> None:
    """Several heads are no error: all of them are pending, each marked as a head."""
    on_sqlite.revision("bbb", "aaa")
    on_sqlite.revision("ccc", "aaa")
    flask_dbmigrate.upgrade(revision="aaa")
    assert sorted(revision.name for revision in status().pending) == ["bbb (head)", "ccc (head)"]


def test_unknown_revision(project: Project) -> None:
    """A revision that no script has is shown with who applied it and when."""
    flask_dbmigrate.upgrade()
    Path("migrations/versions/aaa_.py").unlink()
    project.revision("new")
    found = status()
    (entry,) = found.log
    assert (found.is_ok, found.pending) == (False, ())
    assert str(found).splitlines()[:2] == [
        f"Database 'default' ({found.url}) is at 'aaa': what is pending is not known.",
        f"No script has revision 'aaa'. It was applied {entry.origin}.",
    ]


@pytest.mark.parametrize(("mode", "count", "is_ok"), [("warn", 1, True), ("error", 1, False)])
def test_edited_revision(on_sqlite: Project, mode: str, count: int, is_ok: bool) -> None:
    """Edited revisions are shown; whether that is well says the setting."""
    flask_dbmigrate.upgrade()
    on_sqlite.revision("aaa", upgrade=["print()"])
    config = flask_dbmigrate.state.current_state().app.config
    config["DBMIGRATE_EDITED"] = mode
    found = status()
    assert ([edited.revision for edited in found.edited], found.is_ok) == (["aaa"], is_ok)
    assert f"\n{found.edited[0]}\n" in str(found)
    config["DBMIGRATE_EDITED"] = "ignore"
    assert (status().edited, status().is_ok) == ((), True)


def test_failed_run(project: Project) -> None:
    """A last run that failed is shown with its error."""
    project.revision("bbb", "aaa", upgrade=BROKEN)
    with pytest.raises(MigrationError, match="Revision 'bbb' failed") as caught:
        flask_dbmigrate.upgrade()
    *_, entry, error = str(status()).splitlines()
    assert "upgrade bbb" in entry
    assert ": failed, " in entry
    assert error == f"        {caught.value.message}"


def test_log_that_is_refused(
    start: Start, tmp_path: Path, postgresql_url: str, postgresql_server: servers.PostgreSQL
) -> None:
    """A user who may not read the log gets a status that says so."""
    start(url=postgresql_url)
    Project(tmp_path, postgresql_url).revision("aaa")
    flask_dbmigrate.upgrade()
    database = sa.make_url(postgresql_url).database
    execute(
        postgresql_server.url.set(database=database),
        "ALTER TABLE alembic_version_log OWNER TO CURRENT_USER",
    )
    found = status()
    assert found.log_problem == "permission denied for table alembic_version_log"
    assert (found.heads, found.is_ok) == (("aaa",), True)
    assert "\nThe log cannot be read: permission denied" in str(found)


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_connection_that_only_reads(
    make_application: Start, request: pytest.FixtureRequest, tmp_path: Path, backend: str
) -> None:
    """A connection that cannot write is enough."""
    url: str = request.getfixturevalue(f"{backend}_url")
    reading = {
        "sqlite": f"sqlite:///file:{tmp_path}/test.db?mode=ro&uri=true",
        "postgresql": f"{url}?options=-c default_transaction_read_only=on",
    }
    with make_application(url=url).app.app_context():
        flask_dbmigrate.init()
        Project(tmp_path, url).revision("aaa")
        flask_dbmigrate.upgrade()
    with make_application("reader", url=reading[backend]).app.app_context():
        assert (status().heads, len(status().log)) == (("aaa",), 1)


def test_several_databases(start: Start, tmp_path: Path, sqlite_url: str) -> None:
    """Each database has a paragraph; ``database`` chooses."""
    start(binds={"other": f"sqlite:///{tmp_path}/other.db"})
    flask_dbmigrate.init(directory="two", multidb=True)
    Project(tmp_path, sqlite_url).revision("aaa", directory="two")
    flask_dbmigrate.upgrade(directory="two", database="default")
    result = flask_dbmigrate.status(directory="two")
    assert [(found.key, found.is_ok) for found in result.databases] == [
        ("default", True),
        ("other", False),
    ]
    assert not result.is_ok
    assert "\n\nDatabase 'other' (sqlite:///" in str(result)
    assert flask_dbmigrate.status(directory="two", database="default").is_ok


def test_bind_without_models_is_skipped(tmp_path: Path, sqlite_url: str) -> None:
    """Somebody else's database is named on stderr and has no status."""
    project = QuickProject(tmp_path / "project", sqlite_url)
    project.write_app(binds={"theirs": f"sqlite:///{tmp_path}/theirs.db"})
    project.db("init", "--multidb")
    done = project.flask("db", "status", "--exit-code")
    assert (done.returncode, done.stderr) == (0, "Database 'theirs' has no models: skipped.\n")
    assert "theirs" not in done.stdout


def test_command_line(tmp_path: Path, sqlite_url: str) -> None:
    """It exits with 0 unless ``--exit-code`` asks; JSON has the same in it."""
    project = QuickProject(tmp_path / "project", sqlite_url)
    project.db("init")
    project.revision("aaa")
    assert project.db("status").startswith("Database 'default' (sqlite:///")
    asked = project.flask("db", "status", "--exit-code", "--json")
    assert (asked.returncode, asked.stderr) == (3, "")
    (database,) = json.loads(asked.stdout)["databases"]
    assert (database["is_ok"], database["pending"][0]["revision"]) == (False, "aaa")
    project.db("upgrade")
    assert project.flask("db", "status", "--exit-code").returncode == 0


def test_database_that_is_down(start: Start) -> None:
    """A database that cannot be reached is an error as everywhere."""
    start(url=f"postgresql+psycopg://me@127.0.0.1:{servers.free_port()}/none")
    with pytest.raises(DatabaseUnavailableError, match="cannot be reached"):
        flask_dbmigrate.status()


def test_looking_at_the_lock_file_disturbs_nobody(sqlite_url: str) -> None:
    """Who takes the lock of SQLite gets it, however often somebody looks who has it."""
    engine = sa.create_engine(sqlite_url, poolclass=sa.NullPool)
    facts, name = facts_of("sqlite"), (None, "alembic_version")
    seen: set[str | None] = set()
    is_over = threading.Event()

    def look() -> None:
        with engine.connect() as connection:
            while not is_over.is_set():
                seen.add(facts.lock_holder(connection, *name))

    watcher = threading.Thread(target=look)
    watcher.start()
    refused = 0
    for _ in range(300):
        with facts.lock(engine, *name) as lock:
            refused += not t.cast(MigrationLock, lock).acquire()
    is_over.set()
    watcher.join()
    assert refused == 0
    assert None in seen
