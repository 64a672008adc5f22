"""``Migrate.pending()`` and ``require_current()``: what an application asks."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import threading

from harness import Application
from harness import execute
from harness import Project
import pytest
import servers
import sqlalchemy as sa

import flask_dbmigrate
from flask_dbmigrate import ConfigurationError
from flask_dbmigrate import DatabaseUnavailableError
from flask_dbmigrate import Migrate
from flask_dbmigrate import MigrationError
from flask_dbmigrate import NotRegisteredError
from flask_dbmigrate import PendingRevisionsError

Make = Callable[..., Application]
Start = Callable[..., Application]


@pytest.fixture(params=["sqlite", "aiosqlite", "psycopg", "asyncpg", "pymysql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new database on each DBMS, on drivers of both kinds."""
    driver: str = request.param
    backend = servers.backend_of(driver)
    found: str = request.getfixturevalue(f"{backend}_url")
    return sa.make_url(found).set(drivername=servers.DRIVERS[driver]).render_as_string(False)


@pytest.fixture
def application(start: Start, sqlite_url: str, tmp_path: Path) -> Application:
    """An application on SQLite in whose directory is the revision ``aaa``."""
    application = start(url=sqlite_url)
    Project(tmp_path, sqlite_url).revision("aaa")
    return application


def test_what_is_pending(make_application: Make, url: str, tmp_path: Path) -> None:
    """Pending revisions are returned in order, and nothing when there are none."""
    app, _, migrate = make_application(url=url)
    with app.app_context():
        flask_dbmigrate.init()
        folder = Project(tmp_path, url)
        folder.revision("aaa")
        folder.revision("bbb", "aaa")
        (database,) = migrate.pending()
        assert (database.key, database.url) == (
            "default",
            flask_dbmigrate.current().databases[0].url,
        )
        assert [revision.revision for revision in database.revisions] == ["aaa", "bbb"]
        sentence = "Database 'default' is not up to date: 2 revisions are pending ('aaa', 'bbb')."
        with pytest.raises(PendingRevisionsError, match="is not up to date") as caught:
            migrate.require_current()
        error = caught.value
        assert (error.message, error.hint) == (sentence, "Run 'flask db upgrade' first.")
        assert (error.database, error.pending, error.exit_code) == ("default", ("aaa", "bbb"), 3)
        assert error.__notes__ == [error.hint]
        flask_dbmigrate.upgrade()
        assert migrate.pending() == ()
        migrate.require_current()


def test_application_as_argument(application: Application) -> None:
    """Without an application context the application is given; without both it is an error."""
    app, _, migrate = application
    migrate_alone = Migrate()
    with ThreadPoolExecutor() as elsewhere:
        assert len(elsewhere.submit(migrate.pending, app).result()) == 1
        with pytest.raises(PendingRevisionsError, match="'aaa'"):
            elsewhere.submit(migrate.require_current, app).result()
        with pytest.raises(NotRegisteredError, match="no current Flask application"):
            elsewhere.submit(migrate_alone.pending).result()


def test_no_connection_stays_in_the_pool(make_application: Make, url: str, tmp_path: Path) -> None:
    """Workers that a server forks after the check share no connection with it."""
    app, db, migrate = make_application(url=url)
    opened: list[object] = []
    closed: list[object] = []
    with app.app_context():
        flask_dbmigrate.init()
        Project(tmp_path, url).revision("aaa")
        sa.event.listen(db.engine, "connect", lambda connection, _: opened.append(connection))
        sa.event.listen(db.engine, "close", lambda connection, _: closed.append(connection))
        sa.event.listen(db.engine, "close_detached", closed.append)
        migrate.pending()
        assert (len(opened), len(closed)) == (1, 1)


def test_database_in_memory(make_application: Make, tmp_path: Path) -> None:
    """A database in memory is still there after the check."""
    app, db, migrate = make_application(url="sqlite://")
    with app.app_context():
        flask_dbmigrate.init()
        Project(tmp_path, "sqlite://").revision(
            "aaa", upgrade=["op.create_table('t', sa.Column('id', sa.Integer))"]
        )
        flask_dbmigrate.upgrade()
        migrate.require_current()
        assert sa.inspect(db.engine).has_table("t")


def test_several_databases(make_application: Make, tmp_path: Path, sqlite_url: str) -> None:
    """Each database that is behind is named, with the command that helps."""
    others = {key: f"sqlite:///{tmp_path}/{key}.db" for key in ("one", "two")}
    app, _, migrate = make_application(binds=others, command="db2")
    sentence = "Database '{}' is not up to date: 1 revision is pending ('aaa')."
    with app.app_context():
        flask_dbmigrate.init(multidb=True)
        Project(tmp_path, sqlite_url).revision("aaa")
        flask_dbmigrate.upgrade(database="one")
        with pytest.raises(PendingRevisionsError, match="is not up to date") as caught:
            migrate.require_current()
        assert caught.value.message == " ".join(map(sentence.format, ("default", "two")))
        assert caught.value.hint == "Run 'flask db2 upgrade' first."
        assert [database.key for database in migrate.pending()] == ["default", "two"]


def test_each_migrate_answers_for_itself(application: Application, tmp_path: Path) -> None:
    """Of several ``Migrate`` objects each looks into its own directory."""
    other = Migrate(application.app, application.db, "other", command="db2", version_table="v2")
    flask_dbmigrate.init(directory="other")
    flask_dbmigrate.upgrade(command="db")
    assert application.migrate.pending() == other.pending() == ()
    Project(tmp_path, "sqlite://").revision("bbb", directory="other")
    assert application.migrate.pending() == ()
    assert [found.revision for found in other.pending()[0].revisions] == ["bbb"]


def test_database_that_is_ahead(application: Application) -> None:
    """A database that a newer release has migrated does not stop an older one."""
    flask_dbmigrate.upgrade()
    Path("migrations/versions/aaa_.py").unlink()
    Project(Path(), "sqlite://").revision("new")
    assert application.migrate.pending() == ()
    application.migrate.require_current()


def test_database_that_is_down(start: Start) -> None:
    """A database that cannot be reached is an error, not an answer."""
    migrate = start(url=f"postgresql+psycopg://me@127.0.0.1:{servers.free_port()}/none").migrate
    with pytest.raises(DatabaseUnavailableError, match="cannot be reached"):
        migrate.require_current()


@pytest.mark.parametrize("is_known", [False, True])
def test_another_thread_migrates(application: Application, tmp_path: Path, is_known: bool) -> None:
    """While another thread migrates, the answer comes soon: what it has not finished is pending."""
    app, _, migrate = application
    Project(tmp_path, "sqlite://").revision(
        "bbb",
        "aaa",
        upgrade=[
            "from flask import current_app",
            "current_app.config['BEGUN']()",
            "assert current_app.config['GO'](60)",
        ],
    )
    if is_known:
        migrate.pending()
    begun, go = threading.Event(), threading.Event()
    app.config.update(BEGUN=begun.set, GO=go.wait)

    def upgrade() -> None:
        with app.app_context():
            flask_dbmigrate.upgrade()

    thread = threading.Thread(target=upgrade)
    thread.start()
    try:
        assert begun.wait(60)
        (database,) = migrate.pending()
        assert [revision.revision for revision in database.revisions] == ["aaa", "bbb"]
        with pytest.raises(PendingRevisionsError, match="2 revisions are pending"):
            migrate.require_current()
    finally:
        go.set()
        thread.join()
    migrate.require_current()


def test_many_threads(application: Application) -> None:
    """Any number of threads may ask at once."""
    flask_dbmigrate.upgrade()
    app, _, migrate = application
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(migrate.pending, [app] * 40))
    assert answers == [()] * 40


def test_failed_run(application: Application, tmp_path: Path) -> None:
    """After a run that failed the answer is what the database says."""
    Project(tmp_path, "sqlite://").revision("bbb", "aaa", upgrade=["raise OSError"])
    with pytest.raises(MigrationError, match="Revision 'bbb' failed"):
        flask_dbmigrate.upgrade()
    assert [found.revision for found in application.migrate.pending()[0].revisions] == ["bbb"]
    execute(application.app.config["SQLALCHEMY_DATABASE_URI"], "DELETE FROM alembic_version")
    assert len(application.migrate.pending()[0].revisions) == 2


def test_inside_of_a_run(application: Application, tmp_path: Path) -> None:
    """An env.py that loads the application is not stopped by it; asking for more is refused."""
    env_py = Path("migrations/env.py")
    ask = "from flask import current_app\nmigrate = current_app.extensions['migrate'].migrate\n"
    source = env_py.read_text()
    env_py.write_text(f"{source}\n{ask}migrate.require_current()\n")
    flask_dbmigrate.upgrade()
    env_py.write_text(f"{source}\n{ask}migrate.pending()\n")
    with pytest.raises(ConfigurationError, match="A command is running already"):
        flask_dbmigrate.upgrade()
