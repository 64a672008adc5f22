"""``version_table_schema``: the schema of the version table is created with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import typing as t

from alembic import command as alembic_command
from harness import Application
from harness import differences
from harness import execute
import pytest
import servers
import sqlalchemy as sa

import flask_dbmigrate
from flask_dbmigrate import ConfigurationError
from flask_dbmigrate import DatabaseAccessError
from flask_dbmigrate import MigrationError

Start = t.Callable[..., Application]

LEGACY_ENV_PY = """
from alembic import context
from flask import current_app

ours = current_app.extensions["migrate"]


def run(**options):
    context.configure(target_metadata=ours.db.metadata, **options, **ours.configure_args)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    run(url=ours.db.engine.url, literal_binds=True)
else:
    with ours.db.engine.connect() as connection:
        run(connection=connection)
"""


def inspector(url: str) -> sa.Inspector:
    """What there is in a database."""
    return sa.inspect(sa.create_engine(url, poolclass=sa.NullPool))


RUNS: dict[str, Callable[[], object]] = {
    "upgrade": flask_dbmigrate.upgrade,
    "stamp": flask_dbmigrate.stamp,
    "ensure_version": flask_dbmigrate.ensure_version,
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS.keys())
def test_version_table_schema_is_created(
    start: Start, postgresql_url: str, run: Callable[[], object], legacy: bool
) -> None:
    """What writes the version table creates its schema before it, and only once."""
    start(url=postgresql_url, version_table_schema="log")
    if legacy:
        Path("migrations/env.py").write_text(LEGACY_ENV_PY)
    flask_dbmigrate.revision(rev_id="aaa")
    run()
    assert "alembic_version" in inspector(postgresql_url).get_table_names("log")
    run()
    flask_dbmigrate.upgrade()
    assert str(flask_dbmigrate.current()) == "aaa (head)"


def test_version_table_schema_on_mariadb(
    start: Start, mysql_server: servers.MySQL, mysql_url: str
) -> None:
    """Where a schema is a database, that is what is created, if the user may."""
    schema = f"{sa.make_url(mysql_url).database}_log"

    def grant(right: str) -> None:
        for host in ("localhost", "127.0.0.1"):
            mysql_server.execute(f"GRANT {right} ON `{schema}`.* TO '{servers.USER}'@'{host}'")

    start(url=mysql_url, version_table_schema=schema)
    try:
        grant("SELECT")
        with pytest.raises(ConfigurationError, match=f"'{schema}' .* created: Access denied"):
            flask_dbmigrate.ensure_version()
        grant("ALL")
        flask_dbmigrate.ensure_version()
        assert inspector(mysql_url).get_table_names(schema) == ["alembic_version"]
    finally:
        mysql_server.execute(f"DROP DATABASE IF EXISTS `{schema}`")


def test_looking_creates_no_schema(start: Start, postgresql_url: str) -> None:
    """``migrate``, ``check`` and ``current`` create no schema."""
    start(url=postgresql_url, version_table_schema="log")
    assert str(flask_dbmigrate.current()) == ""
    assert differences() == [("add_table", "user")]
    assert len(flask_dbmigrate.migrate().revisions) == 1
    assert not inspector(postgresql_url).has_schema("log")


def test_failing_first_revision_leaves_no_schema(start: Start, postgresql_url: str) -> None:
    """The schema is created in the transaction of the run, if that has one, and goes with it."""
    start(url=postgresql_url, version_table_schema="log")
    path = Path(flask_dbmigrate.revision(rev_id="aaa").revisions[0].path)
    path.write_text(path.read_text().replace("pass", "op.execute('SELECT missing')", 1))
    with pytest.raises(MigrationError, match=r"'aaa' failed .* The database is at base now"):
        flask_dbmigrate.upgrade(single_transaction=True)
    assert not inspector(postgresql_url).has_schema("log")


@pytest.mark.parametrize("legacy", [False, True])
def test_sql_creates_the_schema(
    start: Start, postgresql_url: str, capsys: pytest.CaptureFixture[str], legacy: bool
) -> None:
    """The SQL that creates the version table creates its schema, and no other SQL does."""
    start(url=postgresql_url, version_table_schema="log")
    if legacy:
        Path("migrations/env.py").write_text(LEGACY_ENV_PY)
    flask_dbmigrate.revision(rev_id="aaa")
    flask_dbmigrate.revision(rev_id="bbb")
    flask_dbmigrate.upgrade(sql=True)
    sql = capsys.readouterr().out
    execute(postgresql_url, sql.replace("BEGIN;", "").replace("COMMIT;", ""))
    assert str(flask_dbmigrate.current()) == "bbb (head)"
    flask_dbmigrate.upgrade(revision="aaa:bbb", sql=True)
    assert "CREATE SCHEMA" not in capsys.readouterr().out


def test_plain_alembic_creates_the_schema(
    start: Start, postgresql_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Alembic's own commands create the schema once, online and offline."""
    migrate = start(url=postgresql_url, version_table_schema="log").migrate
    flask_dbmigrate.revision(rev_id="aaa")
    alembic_command.upgrade(migrate.get_config(), "head", sql=True)
    assert capsys.readouterr().out.count("CREATE SCHEMA IF NOT EXISTS log;") == 1
    alembic_command.upgrade(migrate.get_config(), "head")
    assert str(flask_dbmigrate.current()) == "aaa (head)"


def test_sqlite_creates_no_schema(start: Start, tmp_path: Path) -> None:
    """On SQLite a schema is an attached database: if it is missing, the error says so."""
    application = start(version_table_schema="log")
    for call in (flask_dbmigrate.upgrade, flask_dbmigrate.migrate, flask_dbmigrate.current):
        with pytest.raises(ConfigurationError, match=r"no schema 'log'.*'sqlite' cannot") as caught:
            call()
        assert "Attach a database of this name" in caught.value.hint
    database = tmp_path / "log.db"
    engine = application.db.engine
    engine.dispose()
    sa.event.listen(engine, "connect", lambda new, _: new.execute(f"ATTACH '{database}' AS log"))
    flask_dbmigrate.ensure_version()
    assert inspector(f"sqlite:///{database}").get_table_names() == ["alembic_version"]


def test_role_that_may_not_create_schemas(
    start: Start, postgresql_server: servers.PostgreSQL, postgresql_url: str
) -> None:
    """A role without the right is told so; if the schema exists, it does not need the right."""
    name = sa.make_url(postgresql_url).database
    admin = postgresql_server.url.set(database=name)
    execute(admin, f'ALTER DATABASE "{name}" OWNER TO CURRENT_USER')
    start(url=postgresql_url, version_table_schema="log")
    flask_dbmigrate.revision(rev_id="aaa")
    with pytest.raises(ConfigurationError, match="permission denied for database") as caught:
        flask_dbmigrate.upgrade()
    assert caught.value.message.startswith("The schema 'log' of the version table cannot be")
    execute(admin, f"CREATE SCHEMA log AUTHORIZATION {servers.USER}")
    flask_dbmigrate.upgrade()
    assert str(flask_dbmigrate.current()) == "aaa (head)"


@pytest.mark.parametrize("driver", servers.drivers_of("postgresql"))
def test_schema_that_the_role_may_not_use(
    start: Start, strict_postgresql_url: sa.URL, driver: str, require_driver: Callable[[str], None]
) -> None:
    """A version table that is hidden from the role does not make the database one at base."""
    require_driver(driver)
    name = f"hidden_{driver}"
    execute(
        strict_postgresql_url,
        f"CREATE ROLE {name} LOGIN PASSWORD 'hidden'",
        f"CREATE SCHEMA {name}",
        f"CREATE TABLE {name}.alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)",
        f"GRANT ALL ON {name}.alembic_version TO {name}",
    )
    url = strict_postgresql_url.set(
        drivername=servers.DRIVERS[driver], username=name, password="hidden"
    )
    start(url=url.render_as_string(False))
    flask_dbmigrate.revision(rev_id="aaa")
    commands = (flask_dbmigrate.current, flask_dbmigrate.status, flask_dbmigrate.upgrade)
    for command in (*commands, flask_dbmigrate.stamp, flask_dbmigrate.ensure_version):
        with pytest.raises(DatabaseAccessError) as caught:
            command()
        assert caught.value.message == (
            f"Database 'default' does not let its user into the schema '{name}', in which the "
            "table 'alembic_version' is."
        )
        assert caught.value.hint.startswith(f"Let it in with 'GRANT USAGE ON SCHEMA {name} TO ")
    execute(strict_postgresql_url, f"GRANT USAGE ON SCHEMA {name} TO {name}")
    assert str(flask_dbmigrate.status().databases[0]).partition(" is at ")[2].startswith("base, ")


def test_schema_of_somebody_else(start: Start, strict_postgresql_url: sa.URL) -> None:
    """A version table in a schema where none is looked for is somebody else's."""
    execute(
        strict_postgresql_url,
        "CREATE ROLE other LOGIN PASSWORD 'other'",
        "CREATE SCHEMA theirs",
        "CREATE TABLE theirs.alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)",
    )
    start(url=strict_postgresql_url.set(username="other", password="other").render_as_string(False))
    assert flask_dbmigrate.status().databases[0].heads == ()
