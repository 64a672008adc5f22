"""Edits of applied revisions are noticed where nothing is pending, as on most deploys."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
import typing as t

from harness import Application
from harness import execute
from harness import LEGACY_ENV_PY
from harness import Project
import pytest
import servers
import sqlalchemy as sa

import flask_dbmigrate
from flask_dbmigrate import EditedRevisionError

Start = Callable[..., Application]


class Notes(flask_dbmigrate.Listener):
    """Keeps which revisions of which databases were edited."""

    def __init__(self) -> None:
        self.edited: list[tuple[str, str]] = []

    def revision_edited(self, database: str, edited: flask_dbmigrate.EditedRevision) -> None:
        self.edited.append((database, edited.revision))


def upgraded(**options: t.Any) -> list[tuple[str, str]]:
    """Upgrade, and tell what was found to be edited."""
    notes = Notes()
    result = flask_dbmigrate.upgrade(listener=notes, **options)
    assert all(not database.steps for database in result.databases)
    return notes.edited


def edit(name: str) -> None:
    """Let a revision do something else than it did."""
    path = Path(f"migrations/versions/{name}_.py")
    path.write_text(path.read_text().replace("DELETE FROM one", "DELETE FROM two"))


def make(start: Start, url: str, folder: Path, **options: t.Any) -> Application:
    """Make a database at the head of three revisions."""
    application = start(url=url, **options)
    project = Project(folder, url)
    for name, before in (("aaa", None), ("bbb", "aaa"), ("ccc", "bbb")):
        project.revision(name, before, upgrade=["if False:", "    op.execute('DELETE FROM one')"])
    flask_dbmigrate.upgrade()
    return application


@pytest.fixture
def app(start: Start, sqlite_url: str, tmp_path: Path) -> Application:
    """The same on SQLite."""
    return make(start, sqlite_url, tmp_path)


@pytest.mark.parametrize("url", ["sqlite_url", "postgresql_url", "mysql_url"])
@pytest.mark.parametrize("legacy", [False, True])
def test_edit_is_noticed(
    start: Start, request: pytest.FixtureRequest, tmp_path: Path, url: str, legacy: bool
) -> None:
    """``upgrade`` warns of each edited revision once, fails, or is silent, as the setting says."""
    app = make(start, request.getfixturevalue(url), tmp_path).app
    if legacy:
        Path("migrations/env.py").write_text(LEGACY_ENV_PY)
    assert upgraded() == []
    edit("aaa")
    edit("bbb")
    assert upgraded() == [("default", "aaa"), ("default", "bbb")]
    app.config["DBMIGRATE_EDITED"] = "error"
    for options in ({}, {"lock": False}, {"revision": "ccc"}):
        with pytest.raises(EditedRevisionError, match=r"'aaa' .* was edited after"):
            flask_dbmigrate.upgrade(**options)
    app.config["DBMIGRATE_EDITED"] = "ignore"
    assert upgraded() == []


def test_edit_that_changes_nothing(app: Application) -> None:
    """A comment is no edit, and hides none of another script."""
    path = Path("migrations/versions/aaa_.py")
    path.write_text(path.read_text() + "# done\n")
    assert upgraded() == []
    edit("bbb")
    assert upgraded() == [("default", "bbb")]


def test_script_that_is_imported(app: Application) -> None:
    """A script whose identifiers only Python can tell is compared, too."""
    path = Path("migrations/versions/ccc_.py")
    source = path.read_text().replace("revision = 'ccc'", "revision = 'cc' + 'c'")
    path.write_text(source)
    flask_dbmigrate.stamp(purge=True)
    assert upgraded() == []
    edit("ccc")
    assert upgraded() == [("default", "ccc")]


@pytest.mark.parametrize("setting", ["DBMIGRATE_LOG", "DBMIGRATE_LOCK", "DBMIGRATE_JOURNAL"])
def test_without_a_device(app: Application, setting: str) -> None:
    """What was logged once is compared, whatever is switched off now, and once."""
    app.app.config[setting] = False
    edit("aaa")
    assert upgraded() == [("default", "aaa")]


def test_receivers_hear_nothing(app: Application) -> None:
    """Where nothing is pending no signal is sent, and an edit is told of once."""
    heard = []
    with flask_dbmigrate.before_run.connected_to(lambda sender, **_: heard.append(sender)):
        edit("aaa")
        assert upgraded() == [("default", "aaa")]
    assert heard == []


@pytest.mark.parametrize("pending", [False, True])
def test_several_databases(start: Start, sqlite_url: str, tmp_path: Path, pending: bool) -> None:
    """Each database is compared with its own log, once, also where only one has something to do."""
    second = f"sqlite:///{tmp_path / 'second.db'}"
    start(url=sqlite_url, binds={"second": second})
    flask_dbmigrate.init("new", multidb=True)
    Path("migrations").rename("old")
    Path("new").rename("migrations")
    project = Project(tmp_path, sqlite_url)
    path = project.revision("aaa", upgrade=["if False:", "    op.execute('DELETE FROM one')"])
    path.write_text(path.read_text().replace("grade():", "grade(engine_name):"))
    flask_dbmigrate.upgrade()
    edit("aaa")
    execute(second, "UPDATE alembic_version_log SET checksum = '', token_checksum = ''")
    if pending:
        more = project.revision("bbb", "aaa")
        more.write_text(more.read_text().replace("grade():", "grade(engine_name):"))
        flask_dbmigrate.upgrade(database="second")
    notes = Notes()
    flask_dbmigrate.upgrade(listener=notes)
    assert notes.edited == [("default", "aaa")]


def test_nothing_is_written(start: Start, postgresql_url: str, tmp_path: Path) -> None:
    """A role that may only read is enough."""
    application = make(start, postgresql_url, tmp_path)
    execute(
        postgresql_url,
        f'ALTER DATABASE "{sa.make_url(postgresql_url).database}" '
        "SET default_transaction_read_only = on",
    )
    application.db.engine.dispose()  # it holds for new sessions
    edit("aaa")
    assert upgraded() == [("default", "aaa")]


@pytest.fixture
def unreadable(
    start: Start,
    tmp_path: Path,
    require_driver: Callable[[str], None],
    request: pytest.FixtureRequest,
    postgresql_server: servers.PostgreSQL,
) -> Iterator[Application]:
    """A PostgreSQL database whose log cannot be read, with one of the drivers."""
    driver = getattr(request, "param", "psycopg")
    require_driver(driver)
    with postgresql_server.database(driver) as url:
        application = make(start, url, tmp_path)
        execute(url, "ALTER TABLE alembic_version_log RENAME checksum TO other")
        edit("aaa")
        yield application


@pytest.mark.parametrize("unreadable", servers.drivers_of("postgresql"), indirect=True)
def test_log_that_cannot_be_read(unreadable: Application) -> None:
    """It is passed over in silence, and the run ends well, with something to do or without."""
    assert upgraded() == []
    Project(Path(), str(unreadable.db.engine.url)).revision("ddd", "ccc")
    assert flask_dbmigrate.upgrade().databases[0].after == ("ddd",)


@pytest.mark.parametrize("has_receiver", [False, True])
def test_connection_that_is_handed_in(unreadable: Application, has_receiver: bool) -> None:
    """Its owner's transaction goes on, whatever is wrong with the log."""
    hear = flask_dbmigrate.before_run.connected_to(lambda sender, **_: None)
    with unreadable.db.engine.connect() as connection, hear if has_receiver else nullcontext():
        connection.exec_driver_sql("CREATE TABLE kept (id INTEGER)")

        def hand_in(config: t.Any) -> t.Any:
            config.attributes["connection"] = connection
            return config

        unreadable.migrate.configure(hand_in)
        assert upgraded() == []
        connection.exec_driver_sql("INSERT INTO kept VALUES (1)")
        connection.commit()
    assert sa.inspect(unreadable.db.engine).has_table("kept")
