"""The log table: what was run, by whom, and what was edited since."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from datetime import timedelta
from datetime import UTC
import getpass
from importlib import metadata
import json
from pathlib import Path
import socket
import typing as t

from flask import Flask
from harness import Application
from harness import differences
from harness import execute
from harness import Project
import pytest
import servers
import sqlalchemy as sa

import flask_dbmigrate
from flask_dbmigrate import EditedRevisionError
from flask_dbmigrate import LogEntry
from flask_dbmigrate import MigrationError
from flask_dbmigrate import UnknownDatabaseRevisionError

Start = Callable[..., Application]

LEGACY = """
from alembic import context
from flask import current_app

db = current_app.extensions["migrate"].db
with db.engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=db.metadata,
        **current_app.extensions["migrate"].configure_args,
    )
    with context.begin_transaction():
        context.run_migrations()
"""

# as Flask-Migrate's 'flask-multidb' has it: the transaction is begun before configure()
LEGACY_MULTIDB = """
from alembic import context
from flask import current_app

db = current_app.extensions["migrate"].db
names = ["", *current_app.config["SQLALCHEMY_BINDS"]]
engines = {name: db.get_engine(bind=name or None).connect() for name in names}
transactions = {name: connection.begin() for name, connection in engines.items()}
try:
    for name, connection in engines.items():
        context.configure(connection=connection, target_metadata=db.metadatas[name or None])
        context.run_migrations(engine_name=name)
    for transaction in transactions.values():
        transaction.commit()
except:
    for transaction in transactions.values():
        transaction.rollback()
    raise
finally:
    for connection in engines.values():
        connection.close()
"""

CREATE = ["op.create_table('one', sa.Column('id', sa.Integer))", "op.execute('DELETE FROM one')"]
DROP = ["op.drop_table('one')"]
MISSING = ["op.execute('INSERT INTO missing VALUES (1)')"]
DATABASES = ["sqlite_url", "postgresql_url", "mysql_url"]


class Notes(flask_dbmigrate.Listener):
    """Keeps what a run says about the log and about edited revisions."""

    def __init__(self) -> None:
        self.reasons: list[tuple[str, str]] = []
        self.edited: list[flask_dbmigrate.EditedRevision] = []

    def log_unavailable(self, database: str, reason: str) -> None:
        self.reasons.append((database, reason))

    def revision_edited(self, database: str, edited: flask_dbmigrate.EditedRevision) -> None:
        self.edited.append(edited)


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest) -> str:
    """A new database of each DBMS."""
    found: str = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["ours", "legacy"])
def project(request: pytest.FixtureRequest, start: Start, url: str, tmp_path: Path) -> Project:
    """A project with the revision ``aaa``, for an env.py of ours and an old one."""
    return begin(start, url, tmp_path, legacy=request.param == "legacy")


@pytest.fixture
def on_sqlite(start: Start, sqlite_url: str, tmp_path: Path) -> Project:
    """A project with the revision ``aaa`` on SQLite."""
    return begin(start, sqlite_url, tmp_path)


def begin(
    start: Start, url: str, folder: Path, *, legacy: bool = False, **arguments: t.Any
) -> Project:
    """Make a migration directory with the revision ``aaa``."""
    start(url=url, **arguments)
    if legacy:
        Path("migrations/env.py").write_text(LEGACY)
    project = Project(folder, url)
    project.revision("aaa", upgrade=CREATE, downgrade=DROP)
    return project


def entries(number: int = 20) -> tuple[LogEntry, ...]:
    """What the log of the default database says."""
    return flask_dbmigrate.run_log(number=number).databases[0].entries


def steps() -> list[tuple[str, str, str]]:
    """Direction, revision and status of each entry."""
    return [(entry.direction, entry.revision, entry.status) for entry in entries()]


def test_what_is_written(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry says what was run, when, by whom, where, and from which release."""
    monkeypatch.setenv("GIT_COMMIT", "0a1b2c")
    before = datetime.now(UTC).replace(microsecond=0)
    project.revision("bbb", "aaa")
    flask_dbmigrate.upgrade()
    first, second = entries()
    assert (first.revision, first.down_revision, first.direction) == ("aaa", "", "upgrade")
    assert (second.revision, second.down_revision, second.status) == ("bbb", "aaa", "ok")
    assert (first.message, first.error, first.statements) == ("revision aaa", "", 2)
    assert (first.host, first.user) == (socket.gethostname(), getpass.getuser())
    installed = [found.version for found in metadata.distributions(name="Flask-DBMigrate")]
    assert (first.release, first.tool_version) == ("0a1b2c", (installed or [""])[0])
    assert before <= first.started <= first.finished <= before + timedelta(minutes=1)
    assert 0 <= first.duration_ms < 60_000
    assert first.checksum != second.checksum
    assert len(first.checksum) == len(first.token_checksum) == 64


def test_every_direction(project: Project) -> None:
    """Upgrades, downgrades and stamps are written, in their order."""
    project.revision("bbb", "aaa")
    flask_dbmigrate.upgrade()
    flask_dbmigrate.downgrade(revision="base")
    flask_dbmigrate.stamp(revision="bbb")
    flask_dbmigrate.stamp(revision="base")
    assert steps() == [
        ("upgrade", "aaa", "ok"),
        ("upgrade", "bbb", "ok"),
        ("downgrade", "bbb", "ok"),
        ("downgrade", "aaa", "ok"),
        ("stamp", "bbb", "stamped"),
        ("stamp", "base", "stamped"),
    ]
    assert [entry.revision for entry in entries(2)] == ["bbb", "base"]


def test_failure(project: Project) -> None:
    """A revision that fails is in the log with its error, also where all is rolled back."""
    project.revision("bbb", "aaa", upgrade=MISSING)
    with pytest.raises(MigrationError, match="Revision 'bbb' failed") as caught:
        flask_dbmigrate.upgrade()
    *others, failed = entries()
    assert (failed.revision, failed.status, failed.error) == ("bbb", "failed", caught.value.message)
    is_kept = "one" in project.tables()
    assert [entry.revision for entry in others] == ["aaa"] * is_kept
    assert is_kept == (caught.value.heads == ("aaa",))


def test_nothing_to_do_makes_no_table(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither looking, nor SQL, nor a run with nothing to run writes a log."""
    flask_dbmigrate.upgrade(revision="aaa", sql=True)
    assert "_log" not in capsys.readouterr().out
    flask_dbmigrate.ensure_version()
    flask_dbmigrate.downgrade(revision="base")
    flask_dbmigrate.current()
    assert entries() == ()
    assert project.inspect() == ["alembic_version"]


def test_switched_off(project: Project) -> None:
    """With the setting, nothing is written and nothing is said."""
    flask_dbmigrate.state.current_state().app.config["DBMIGRATE_LOG"] = False
    notes = Notes()
    flask_dbmigrate.upgrade(listener=notes)
    assert "alembic_version_log" not in project.inspect()
    assert (project.tables(), notes.reasons) == ({"one"}, [])


def test_table_of_somebody_else(project: Project) -> None:
    """A table of that name without the columns is left alone; the run goes on and says so once."""
    execute(project.url, "CREATE TABLE alembic_version_log (id integer)")
    project.revision("bbb", "aaa")
    notes = Notes()
    flask_dbmigrate.upgrade(listener=notes)
    assert flask_dbmigrate.current().databases[0].revisions[0].revision == "bbb"
    ((database, reason),) = notes.reasons
    assert (database, "revision" in reason) == ("default", True)
    assert project.query("SELECT * FROM alembic_version_log") == []


def test_dropped_by_a_revision(project: Project) -> None:
    """A revision that drops the log is run like any other, and the run says so once."""
    project.revision("bbb", "aaa", upgrade=["op.drop_table('alembic_version_log')"])
    project.revision("ccc", "bbb", upgrade=["op.execute('INSERT INTO one VALUES (1)')"])
    notes = Notes()
    flask_dbmigrate.upgrade(listener=notes)
    assert flask_dbmigrate.current().databases[0].revisions[0].revision == "ccc"
    assert project.query("SELECT id FROM one") == [(1,)]
    ((database, reason),) = notes.reasons
    assert (database, "alembic_version_log" in reason) == ("default", True)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("right", ["CREATE", "INSERT"])
def test_refused_on_postgresql(
    start: Start,
    tmp_path: Path,
    postgresql_url: str,
    postgresql_server: servers.PostgreSQL,
    legacy: bool,
    right: str,
) -> None:
    """Without the right to create or fill the table, the revisions run and the run says so once."""
    project = begin(start, postgresql_url, tmp_path, legacy=legacy, version_table_schema="log")
    flask_dbmigrate.ensure_version()
    if right == "INSERT":
        flask_dbmigrate.stamp(revision="aaa")
        flask_dbmigrate.stamp(revision="base")
    database = postgresql_server.url.set(database=sa.make_url(postgresql_url).database)
    execute(
        database,
        "ALTER SCHEMA log OWNER TO CURRENT_USER",
        f"GRANT USAGE ON SCHEMA log TO {servers.USER}",
        *(
            (
                "ALTER TABLE log.alembic_version_log OWNER TO CURRENT_USER",
                f"GRANT SELECT ON log.alembic_version_log TO {servers.USER}",
            )
            if right == "INSERT"
            else ()
        ),
    )
    project.revision("bbb", "aaa", upgrade=["op.execute('INSERT INTO one VALUES (1)')"])
    notes = Notes()
    flask_dbmigrate.upgrade(listener=notes)
    what = "schema log" if right == "CREATE" else "table alembic_version_log"
    assert notes.reasons == [("default", f"permission denied for {what}")]
    assert project.query("SELECT id FROM one") == [(1,)]
    assert len(entries()) == (2 if right == "INSERT" else 0)


def test_refused_on_mariadb(
    start: Start, tmp_path: Path, mysql_url: str, mysql_server: servers.MySQL
) -> None:
    """A refused CREATE of the log stops no revision on MariaDB either."""
    schema = f"{sa.make_url(mysql_url).database}_log"
    project = begin(start, mysql_url, tmp_path, version_table_schema=schema)
    flask_dbmigrate.state.current_state().app.config["DBMIGRATE_JOURNAL"] = False
    mysql_server.execute(
        f"CREATE DATABASE `{schema}`",
        f"CREATE TABLE `{schema}`.alembic_version (version_num VARCHAR(32) PRIMARY KEY)",
        *(
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON `{schema}`.* TO '{servers.USER}'@'{host}'"
            for host in ("localhost", "127.0.0.1")
        ),
    )
    try:
        notes = Notes()
        flask_dbmigrate.upgrade(listener=notes)
        assert (len(notes.reasons), project.tables()) == (1, {"one"})
        assert "CREATE command denied" in notes.reasons[0][1]
    finally:
        mysql_server.execute(f"DROP DATABASE `{schema}`")


def test_said_on_the_command_line(on_sqlite: Project) -> None:
    """On the command line, what the log lacks is a warning on stderr."""
    execute(on_sqlite.url, "CREATE TABLE alembic_version_log (id integer)")
    result = run("upgrade")
    assert result.exit_code == 0
    assert "Warning: This run is not in the log of database 'default': no such column" in (
        result.stderr
    )


def test_autocommit(start: Start, tmp_path: Path, postgresql_url: str) -> None:
    """Under AUTOCOMMIT, where there is no transaction to protect, the log is written as well."""
    start(url=postgresql_url)
    Project(tmp_path, postgresql_url).revision("aaa", upgrade=CREATE)
    options = 'execution_options(isolation_level="AUTOCOMMIT")'
    Path("migrations/env.py").write_text(LEGACY.replace("connect()", f"connect().{options}"))
    notes = Notes()
    flask_dbmigrate.upgrade(listener=notes)
    assert notes.reasons == []
    assert steps() == [("upgrade", "aaa", "ok")]


@pytest.mark.parametrize("fails", [False, True])
def test_connection_that_is_handed_in(
    start: Start, tmp_path: Path, postgresql_url: str, fails: bool
) -> None:
    """The log is part of its owner's transaction, and nothing is written beside it."""
    migrate = start(url=postgresql_url).migrate
    project = Project(tmp_path, postgresql_url)
    project.revision("aaa", upgrade=MISSING if fails else CREATE)
    engine = sa.create_engine(postgresql_url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        migrate.configure(lambda config: _with_connection(config, connection))
        transaction = connection.begin()
        if fails:
            with pytest.raises(MigrationError, match="'aaa' failed"):
                flask_dbmigrate.upgrade()
        else:
            flask_dbmigrate.upgrade()
            assert steps() == [("upgrade", "aaa", "ok")]
        transaction.rollback()
    assert project.inspect() == []


def _with_connection(config: t.Any, connection: sa.Connection) -> t.Any:
    config.attributes["connection"] = connection
    return config


@pytest.mark.parametrize("env_py", ["ours", "legacy"])
@pytest.mark.parametrize("url", ["sqlite_url", "postgresql_url", "mysql_url"], indirect=True)
def test_several_databases(start: Start, tmp_path: Path, url: str, env_py: str) -> None:
    """Each database has a log of its own; a failure is in that of the database it happened on."""
    second = f"sqlite:///{tmp_path / 'second.db'}"
    start(url=url, binds={"second": second})
    flask_dbmigrate.init("new", multidb=True)
    Path("migrations").rename("old")
    Path("new").rename("migrations")
    if env_py == "legacy":
        Path("migrations/env.py").write_text(LEGACY_MULTIDB)
    project = Project(tmp_path, url)
    script = project.revision("aaa", upgrade=["if engine_name: op.execute('SELECT missing')"])
    text = script.read_text()
    script.write_text(text.replace("grade():", "grade(engine_name):"))
    with pytest.raises(MigrationError, match="failed on database 'second'"):
        flask_dbmigrate.upgrade()
    script.write_text(script.read_text().replace("SELECT missing", "SELECT 1"))
    flask_dbmigrate.upgrade()
    found = {log.key: log.entries for log in flask_dbmigrate.run_log().databases}
    assert [entry.status for entry in found["second"]] == ["failed", "ok"]
    assert {entry.status for entry in found["default"]} == {"ok"}
    assert run("log").stdout.startswith("Database 'default':\n20")


def test_database_in_memory(start: Start, tmp_path: Path) -> None:
    """A database in memory, which is gone with its connection, has a log with failures as well."""
    start(url="sqlite://")
    project = Project(tmp_path, "sqlite://")
    project.revision("aaa", upgrade=MISSING)
    with pytest.raises(MigrationError, match="'aaa' failed"):
        flask_dbmigrate.upgrade()
    assert steps() == [("upgrade", "aaa", "failed")]


def test_database_in_memory_of_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So has one in SQLAlchemy's own pool for such, which has a connection for each thread."""
    monkeypatch.chdir(tmp_path)
    app = Flask("app", root_path=str(tmp_path))
    engine = sa.create_engine("sqlite://")
    flask_dbmigrate.Migrate(app, metadata=sa.MetaData(), engine=engine)
    with app.app_context():
        flask_dbmigrate.init()
        Project(tmp_path, "sqlite://").revision("aaa", upgrade=MISSING)
        with pytest.raises(MigrationError, match="'aaa' failed"):
            flask_dbmigrate.upgrade()
        assert steps() == [("upgrade", "aaa", "failed")]
    engine.dispose()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("schema", [None, "log"])
def test_autogenerate_does_not_see_it(
    start: Start, tmp_path: Path, postgresql_url: str, schema: str | None, legacy: bool
) -> None:
    """``check`` and ``migrate`` leave the log alone, in whatever schema it is."""
    models = {"include_schemas": True, "version_table_schema": schema}
    begin(start, postgresql_url, tmp_path, legacy=legacy, **models)
    flask_dbmigrate.upgrade()
    execute(postgresql_url, "CREATE SCHEMA other")
    execute(postgresql_url, "CREATE TABLE other_log AS SELECT 1 AS id")
    flask_dbmigrate.state.current_state().db.metadata.schema = schema
    assert differences() == [
        ("add_table", "user"),
        ("remove_table", "one"),
        ("remove_table", "other_log"),
    ]


def edit(path: Path) -> None:
    """Let a revision do something else than it did."""
    path.write_text(path.read_text().replace("sa.Integer", "sa.BigInteger"))


def set_edited(mode: str) -> None:
    """Set ``DBMIGRATE_EDITED``."""
    flask_dbmigrate.state.current_state().app.config["DBMIGRATE_EDITED"] = mode


@pytest.fixture
def edited(project: Project) -> Project:
    """A database at ``aaa``, which was edited since; ``bbb`` is pending."""
    flask_dbmigrate.upgrade()
    edit(Path("migrations/versions/aaa_.py"))
    project.revision("bbb", "aaa")
    return project


def test_edited_revision_is_a_warning(edited: Project) -> None:
    """``upgrade`` says once which applied revision was edited, and who applied it; it goes on."""
    notes = Notes()
    result = flask_dbmigrate.upgrade(listener=notes)
    (found,) = notes.edited
    assert (found.database, found.revision, found.applied) == ("default", "aaa", entries()[0])
    assert str(found) == (
        "Revision 'aaa' ('migrations/versions/aaa_.py') was edited after it was applied to "
        f"database 'default' on {found.applied.started:%Y-%m-%d %H:%M:%S} UTC "
        f"by {getpass.getuser()}@{socket.gethostname()}."
    )
    assert result.databases[0].after == ("bbb",)


@pytest.mark.parametrize("function", [flask_dbmigrate.upgrade, flask_dbmigrate.check])
def test_edited_revision_is_an_error(edited: Project, function: Callable[[], object]) -> None:
    """With the setting it is an error, and nothing is run."""
    set_edited("error")
    with pytest.raises(EditedRevisionError, match=r"'aaa' .* was edited after") as caught:
        function()
    error = caught.value
    assert (error.exit_code, error.database) == (3, "default")
    assert [found.revision for found in error.edited] == ["aaa"]
    assert steps() == [("upgrade", "aaa", "ok")]


def test_edited_revision_is_ignored(edited: Project) -> None:
    """With the setting nothing is said."""
    set_edited("ignore")
    notes = Notes()
    flask_dbmigrate.upgrade(listener=notes)
    assert notes.edited == []


@pytest.mark.parametrize("function", [flask_dbmigrate.current, flask_dbmigrate.stamp])
def test_commands_that_do_not_look(on_sqlite: Project, function: Callable[[], object]) -> None:
    """Edits are no matter of commands that apply nothing."""
    flask_dbmigrate.upgrade()
    edit(Path("migrations/versions/aaa_.py"))
    set_edited("error")
    function()
    assert str(flask_dbmigrate.current()) == "aaa (head)"


def test_edit_that_changes_nothing(edited: Project) -> None:
    """A comment, another docstring, another layout is no edit."""
    path = Path("migrations/versions/aaa_.py")
    source = path.read_text().replace("BigInteger", "Integer").replace("revision aaa", "first")
    path.write_text(source.replace("sa.Integer))", "sa.Integer,  # key\n    ),)"))
    set_edited("error")
    assert flask_dbmigrate.upgrade().databases[0].after == ("bbb",)


@pytest.mark.parametrize("again", ["upgrade", "stamp"])
def test_edited_revision_that_was_applied_again(edited: Project, again: str) -> None:
    """What was applied last counts, and a stamp says that the database has what the script says."""
    if again == "upgrade":
        flask_dbmigrate.downgrade()
        flask_dbmigrate.upgrade(revision="aaa")
    else:
        flask_dbmigrate.stamp(revision="aaa", purge=True)
    set_edited("error")
    assert flask_dbmigrate.upgrade().databases[0].after == ("bbb",)


def test_edited_revision_that_is_not_applied(project: Project) -> None:
    """A revision that was taken back may be edited."""
    flask_dbmigrate.upgrade()
    flask_dbmigrate.downgrade()
    edit(Path("migrations/versions/aaa_.py"))
    set_edited("error")
    assert flask_dbmigrate.upgrade().databases[0].after == ("aaa",)


def test_edited_revision_on_the_command_line(on_sqlite: Project) -> None:
    """``check`` warns on stderr; as an error it exits with 3 and says what to do."""
    flask_dbmigrate.upgrade()
    edit(Path("migrations/versions/aaa_.py"))
    assert "Warning: Revision 'aaa' ('migrations/versions/aaa_.py') was " in run("check").stderr
    set_edited("error")
    result = run("check")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "put the change into a new revision" in result.stderr


def test_unknown_revision(project: Project) -> None:
    """A revision that the code does not have is reported with who applied it; the log is shown."""
    flask_dbmigrate.upgrade()
    Path("migrations/versions/aaa_.py").unlink()
    with pytest.raises(UnknownDatabaseRevisionError, match="It was applied on ") as caught:
        flask_dbmigrate.upgrade()
    assert caught.value.message.endswith(f"It was applied {entries()[0].origin}.")


def run(*arguments: str) -> t.Any:
    """Run ``flask db`` for the application whose context is pushed."""
    runner = flask_dbmigrate.state.current_state().app.test_cli_runner()
    return runner.invoke(args=["db", *arguments], env={"NO_COLOR": "1"})


@pytest.fixture
def logged(on_sqlite: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A database with two entries in its log."""
    monkeypatch.setenv("HEROKU_RELEASE_VERSION", "v42")
    flask_dbmigrate.upgrade()
    flask_dbmigrate.downgrade()
    return on_sqlite


def test_line_of_an_entry(logged: Project) -> None:
    """``flask db log`` prints a line for each entry, the newest one last."""
    first, second = entries()
    by = f"{getpass.getuser()}@{socket.gethostname()}"
    assert run("log").stdout == (
        f"{first.started:%Y-%m-%d %H:%M:%S} UTC upgrade aaa, revision aaa "
        f"({first.duration_ms / 1000:.2f} s): ok, {by}, release v42\n"
        f"{second.started:%Y-%m-%d %H:%M:%S} UTC downgrade aaa, revision aaa "
        f"({second.duration_ms / 1000:.2f} s): ok, {by}, release v42\n"
    )
    assert run("log", "-n", "1").stdout == f"{second}\n"
    assert run("log", "--number", "0").exit_code == 2


def test_log_as_json(logged: Project) -> None:
    """``--json`` has every column."""
    (database,) = json.loads(run("log", "--json").stdout)["databases"]
    assert database["key"] == "default"
    entry = database["entries"][0]
    assert set(entry) == set(flask_dbmigrate.LogEntry.__dataclass_fields__)
    assert datetime.fromisoformat(entry["started"]) == entries()[0].started


def test_log_of_a_database_without_one(on_sqlite: Project) -> None:
    """A database on which nothing was run has an empty log, and gets no table by looking."""
    assert (run("log").exit_code, run("log").stdout) == (0, "")
    assert on_sqlite.inspect() == []
