"""env.py: which database and options it uses, and what is handed in to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
import typing as t

from alembic import command
from flask import Flask
from harness import ALL_OUR_TABLES
from harness import Project
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.ext.asyncio import create_async_engine

import flask_dbmigrate
from flask_dbmigrate import ConfigurationError
from flask_dbmigrate import Migrate
from flask_dbmigrate import MigrationError

CREATE = ["op.create_table('one', sa.Column('id', sa.Integer))"]
DROP = ["op.drop_table('one')"]


class Place(t.NamedTuple):
    """An application with one revision, its context pushed."""

    app: Flask
    migrate: Migrate
    project: Project


@pytest.fixture
def ready(application: t.Any, tmp_path: Path, sqlite_url: str) -> Iterator[Place]:
    """An application on SQLite."""
    with application.app.app_context():
        flask_dbmigrate.init()
        project = Project(tmp_path, sqlite_url)
        project.revision("aaa", upgrade=CREATE, downgrade=DROP)
        yield Place(application.app, application.migrate, project)


@pytest.fixture
def postgresql(
    make_application: Callable[..., t.Any], tmp_path: Path, postgresql_url: str
) -> Iterator[Place]:
    """An application on PostgreSQL."""
    application = make_application(url=postgresql_url)
    with application.app.app_context():
        flask_dbmigrate.init()
        project = Project(tmp_path, postgresql_url)
        project.revision("aaa", upgrade=CREATE, downgrade=DROP)
        yield Place(application.app, application.migrate, project)


def engine_of(url: str) -> sa.Engine:
    """An engine that keeps no connection open."""
    return sa.create_engine(url, poolclass=sa.NullPool)


def hand_in(migrate: Migrate, connection: object) -> None:
    """Hand in a connection through ``Migrate.configure``."""

    @migrate.configure
    def configure(config: t.Any) -> t.Any:
        config.attributes["connection"] = connection
        return config


def by_alembic(migrate: Migrate, connection: object) -> None:
    """Upgrade with Alembic's own function."""
    config = migrate.get_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def by_api(migrate: Migrate, connection: object) -> None:
    """Upgrade with our function."""
    hand_in(migrate, connection)
    flask_dbmigrate.upgrade()


Upgrade = Callable[[Migrate, object], None]
WAYS = pytest.mark.parametrize("upgrade", [by_alembic, by_api])


@WAYS
def test_transaction_of_a_connection_is_its_owners(postgresql: Place, upgrade: Upgrade) -> None:
    """An open transaction stays open, has the changes in it, and can be rolled back."""
    with engine_of(postgresql.project.url).connect() as connection:
        transaction = connection.begin()
        upgrade(postgresql.migrate, connection)
        assert connection.get_transaction() is transaction
        assert transaction.is_active
        assert set(sa.inspect(connection).get_table_names()) - ALL_OUR_TABLES == {"one"}
        transaction.rollback()
    assert postgresql.project.inspect() == []


@WAYS
def test_connection_without_a_transaction(postgresql: Place, upgrade: Upgrade) -> None:
    """A connection without a transaction is left open, without one, and the work is committed."""
    with engine_of(postgresql.project.url).connect() as connection:
        upgrade(postgresql.migrate, connection)
        assert (connection.closed, connection.in_transaction()) == (False, False)
    assert postgresql.project.tables() == {"one"}


@pytest.mark.parametrize("fixture", ["ready", "postgresql"])
@pytest.mark.parametrize(
    "function",
    [
        flask_dbmigrate.current,
        flask_dbmigrate.upgrade,
        flask_dbmigrate.ensure_version,
        lambda: flask_dbmigrate.history(indicate_current=True),
    ],
)
def test_looking_opens_no_transaction(
    request: pytest.FixtureRequest, fixture: str, function: Callable[[], object]
) -> None:
    """What SQLAlchemy begins by itself to read from an idle connection is ended."""
    place: Place = request.getfixturevalue(fixture)
    flask_dbmigrate.upgrade()
    with engine_of(place.project.url).connect() as connection:
        hand_in(place.migrate, connection)
        function()
        assert (connection.closed, connection.in_transaction()) == (False, False)


@WAYS
def test_settings_of_a_connection_stay(postgresql: Place, upgrade: Upgrade) -> None:
    """Isolation level, execution options and search path are the owner's."""
    engine = engine_of(postgresql.project.url)
    with engine.connect().execution_options(isolation_level="SERIALIZABLE") as connection:
        connection.exec_driver_sql("CREATE SCHEMA shop")
        connection.exec_driver_sql("SET search_path TO shop")
        connection.commit()
        options = connection.get_execution_options()
        upgrade(postgresql.migrate, connection)
        assert connection.get_execution_options() == options
        assert connection.get_isolation_level() == "SERIALIZABLE"
        assert connection.exec_driver_sql("SHOW search_path").scalar() == "shop"
        connection.rollback()
    tables = sa.inspect(engine).get_table_names(schema="shop")
    assert set(tables) - ALL_OUR_TABLES == {"one"}


def test_failure_on_a_connection(postgresql: Place) -> None:
    """A revision that fails leaves the owner's transaction to the owner."""
    postgresql.project.revision("bbb", "aaa", upgrade=["op.drop_table('missing')"])
    with engine_of(postgresql.project.url).connect() as connection:
        transaction = connection.begin()
        hand_in(postgresql.migrate, connection)
        with pytest.raises(MigrationError, match=r"Revision 'bbb' failed .* \"missing\"") as caught:
            flask_dbmigrate.upgrade()
        assert (connection.closed, transaction.is_active) == (False, True)
        transaction.rollback()
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
    assert caught.value.revision == "bbb"
    assert postgresql.project.inspect() == []


def test_failure_on_a_connection_without_a_transaction(postgresql: Place) -> None:
    """A revision that fails on a connection without a transaction leaves it without one."""
    postgresql.project.revision("bbb", "aaa", upgrade=["op.drop_table('missing')"])
    with engine_of(postgresql.project.url).connect() as connection:
        hand_in(postgresql.migrate, connection)
        with pytest.raises(MigrationError, match="Revision 'bbb' failed"):
            flask_dbmigrate.upgrade()
        assert (connection.closed, connection.in_transaction()) == (False, False)
    assert postgresql.project.inspect() == []


@pytest.mark.parametrize(
    "function", [flask_dbmigrate.current, flask_dbmigrate.migrate, flask_dbmigrate.stamp]
)
def test_other_commands_use_the_connection(
    postgresql: Place, function: Callable[[], object]
) -> None:
    """Every command uses a connection that was handed in: it sees what is not committed yet."""
    with engine_of(postgresql.project.url).connect() as connection:
        transaction = connection.begin()
        hand_in(postgresql.migrate, connection)
        flask_dbmigrate.upgrade()
        (database,) = flask_dbmigrate.current().databases
        assert [found.revision for found in database.revisions] == ["aaa"]
        function()
        assert transaction.is_active
        transaction.rollback()
    assert postgresql.project.inspect() == []


@WAYS
def test_engine(ready: Place, tmp_path: Path, upgrade: Upgrade) -> None:
    """An engine that is handed in is used instead of the application's."""
    url = f"sqlite:///{tmp_path / 'other.db'}"
    upgrade(ready.migrate, engine_of(url))
    assert ready.project.tables(url) == {"one"}
    assert ready.project.tables() == set()


def test_result_names_the_engine(ready: Place, tmp_path: Path) -> None:
    """The result has the URL of the engine that was handed in."""
    url = f"sqlite:///{tmp_path / 'other.db'}"
    hand_in(ready.migrate, engine_of(url))
    assert flask_dbmigrate.upgrade().databases[0].url == url


def test_something_else(ready: Place) -> None:
    """What is neither a connection nor an engine is refused by its type."""
    hand_in(ready.migrate, "sqlite://")
    with pytest.raises(ConfigurationError, match=r"neither a Connection nor .* 'str'"):
        flask_dbmigrate.upgrade()


@pytest.fixture
def async_engine(tmp_path: Path) -> AsyncEngine:
    """An asyncio engine on a database of its own."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'async.db'}"
    return create_async_engine(url, poolclass=sa.NullPool)


def async_tables(project: Project) -> set[str]:
    """The tables of the asyncio engine's database."""
    return project.tables(f"sqlite:///{project.folder / 'async.db'}")


@WAYS
def test_async_engine(ready: Place, async_engine: AsyncEngine, upgrade: Upgrade) -> None:
    """An asyncio engine is used in an event loop of its own."""
    upgrade(ready.migrate, async_engine)
    assert async_tables(ready.project) == {"one"}
    assert ready.project.tables() == set()


def test_async_engine_in_a_running_loop(ready: Place, async_engine: AsyncEngine) -> None:
    """In a running event loop an asyncio engine is refused with what to do instead."""
    hand_in(ready.migrate, async_engine)

    async def main() -> None:
        flask_dbmigrate.upgrade()

    with pytest.raises(
        ConfigurationError, match="the event loop of this thread is running"
    ) as caught:
        asyncio.run(main())
    assert "asyncio.to_thread" in caught.value.hint
    assert async_tables(ready.project) == set()


def test_async_engine_in_a_thread(ready: Place, async_engine: AsyncEngine) -> None:
    """What the error recommends works: ``await asyncio.to_thread(upgrade)``."""
    hand_in(ready.migrate, async_engine)

    async def main() -> None:
        await asyncio.to_thread(flask_dbmigrate.upgrade)

    asyncio.run(main())
    assert async_tables(ready.project) == {"one"}


def test_connection_of_an_async_engine(ready: Place, async_engine: AsyncEngine) -> None:
    """What the error recommends works: a connection through ``run_sync``."""

    async def main() -> None:
        async with async_engine.begin() as connection:
            await connection.run_sync(lambda sync: by_alembic(ready.migrate, sync))

    asyncio.run(main())
    assert async_tables(ready.project) == {"one"}


def test_options_of_run_migrations_come_first(
    make_application: Callable[..., t.Any], ready: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """Options in env.py beat those given to ``Migrate``, online and offline."""
    env_py = Path("migrations/env.py")
    call = "run_migrations(version_table='of_env')"
    env_py.write_text(env_py.read_text().replace("run_migrations()", call))
    with make_application("second", version_table="of_migrate").app.app_context():
        flask_dbmigrate.upgrade(sql=True)
        flask_dbmigrate.upgrade()
    assert "CREATE TABLE of_env" in capsys.readouterr().out
    assert sorted(ready.project.inspect()) == ["of_env", "of_env_log", "one"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, "with op.batch_alter_table"), ({"render_as_batch": False}, "op.add_column('one', ")],
)
def test_render_as_batch(
    make_application: Callable[..., t.Any],
    ready: Place,
    options: dict[str, t.Any],
    expected: str,
) -> None:
    """``render_as_batch`` given to ``Migrate`` counts in autogenerate."""
    application = make_application("second", **options)
    application.db.Table("one", sa.Column("id", sa.Integer), sa.Column("more", sa.Integer))
    with application.app.app_context():
        flask_dbmigrate.upgrade()
        (written,) = flask_dbmigrate.migrate().revisions
    assert expected in Path(written.path).read_text()


@pytest.mark.parametrize("compare_type", [True, False])
def test_compare_type(
    make_application: Callable[..., t.Any], ready: Place, compare_type: bool
) -> None:
    """``compare_type`` given to ``Migrate`` counts in ``check`` and ``migrate`` alike."""
    ready.project.query("CREATE TABLE user (id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(64))")
    application = make_application("second", compare_type=compare_type)
    application.db.Table("one", sa.Column("id", sa.Integer))
    with application.app.app_context():
        flask_dbmigrate.upgrade()
        assert len(flask_dbmigrate.migrate().revisions) == compare_type
        flask_dbmigrate.stamp(revision="heads")
        found = None
        try:
            flask_dbmigrate.check()
        except flask_dbmigrate.DriftError as error:
            found = [difference.kind for difference in error.differences]
    assert found == (["modify_type"] if compare_type else None)


LEGACY_ENV_PY = """
from alembic import context
from flask import current_app

ours = current_app.extensions["migrate"]


def drop_empty(context, revision, directives):
    if directives[0].upgrade_ops.is_empty():
        directives[:] = []


args = ours.configure_args
if args.get("process_revision_directives") is None:
    args["process_revision_directives"] = drop_empty
args["seen"] = args.get("seen", 0) + 1
args.pop("seen")

with ours.db.get_engine().connect() as connection:
    context.configure(connection=connection, target_metadata=ours.metadata, **args)
    with context.begin_transaction():
        context.run_migrations()
"""


def test_what_env_py_writes_does_not_outlive_the_run(ready: Place) -> None:
    """What env.py writes into ``configure_args`` is gone after the run, and after a failure."""
    Path("migrations/env.py").write_text(LEGACY_ENV_PY)
    options = {"compare_type": True, "render_as_batch": True}
    flask_dbmigrate.upgrade()
    assert ready.app.extensions["migrate"].configure_args == options
    ready.project.revision("bbb", "aaa", upgrade=["raise RuntimeError('stop')"])
    with pytest.raises(MigrationError, match="stop"):
        flask_dbmigrate.upgrade()
    assert ready.app.extensions["migrate"].configure_args == options


def test_upgrade_then_migrate_with_a_legacy_env_py(
    make_application: Callable[..., t.Any], ready: Place
) -> None:
    """``upgrade()`` and then ``migrate()`` write no empty revision with a legacy env.py either."""
    Path("migrations/env.py").write_text(LEGACY_ENV_PY)
    flask_dbmigrate.upgrade()
    application = make_application("second")
    application.db.Table("one", sa.Column("id", sa.Integer))
    with application.app.app_context():
        assert len(flask_dbmigrate.migrate().revisions) == 1
        flask_dbmigrate.upgrade()
        assert flask_dbmigrate.migrate().revisions == ()
    assert len(list(Path("migrations/versions").glob("*.py"))) == 2


URL_ENV_PY = """
from alembic import context
from flask import current_app
from sqlalchemy import engine_from_config
from sqlalchemy import pool

config = context.config
ours = current_app.extensions["migrate"]
url = str(ours.db.get_engine().url).replace("%", "%%")
config.set_main_option("sqlalchemy.url", url)
metadata = ours.db.metadata

if context.is_offline_mode():
    context.configure(url=config.get_main_option("sqlalchemy.url"), target_metadata=metadata)
    with context.begin_transaction():
        context.run_migrations()
else:
    section = config.get_section(config.config_ini_section)
    engine = engine_from_config(section, prefix="sqlalchemy.", poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=metadata, **ours.configure_args)
        with context.begin_transaction():
            context.run_migrations()
"""


def test_legacy_env_py_with_a_hard_password(
    postgresql: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """An env.py that passes the URL on as a string works with a password full of traps."""
    Path("migrations/env.py").write_text(URL_ENV_PY)
    flask_dbmigrate.upgrade(sql=True)
    assert "CREATE TABLE one" in capsys.readouterr().out
    assert flask_dbmigrate.upgrade().databases[0].after == ("aaa",)
    assert postgresql.project.tables() == {"one"}


def test_legacy_env_py_has_the_same_options_offline(
    make_application: Callable[..., t.Any], ready: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """Options of ``Migrate`` count offline even if env.py passes them on online only."""
    Path("migrations/env.py").write_text(URL_ENV_PY)
    with make_application("second", version_table="mine").app.app_context():
        flask_dbmigrate.upgrade(sql=True)
        flask_dbmigrate.upgrade()
    written = capsys.readouterr().out
    assert ("CREATE TABLE mine" in written, "alembic_version" in written) == (True, False)
    assert sorted(ready.project.inspect()) == ["mine", "mine_log", "one"]


@pytest.fixture
def plain(application: t.Any, project: Project) -> Project:
    """A project with a migration directory, for the plain ``alembic`` command."""
    with application.app.app_context():
        flask_dbmigrate.init(project.folder / "migrations")
    return project


@pytest.mark.parametrize("how", ["app.py", "FLASK_APP", ".flaskenv", "wsgi.py"])
def test_plain_alembic_finds_the_application(plain: Project, how: str) -> None:
    """The ``alembic`` command loads the application as ``flask`` does."""
    plain.revision("aaa", upgrade=CREATE)
    env = {"PYTHONSAFEPATH": "1"}  # as for a console script: no working directory in sys.path
    if how != "app.py":
        source = (plain.folder / "app.py").read_text()
        name = "wsgi" if how == "wsgi.py" else "shop"
        (plain.folder / f"{name}.py").write_text(source)
        (plain.folder / "app.py").unlink()
    if how == "FLASK_APP":
        env["FLASK_APP"] = "shop:create_app"
    if how == ".flaskenv":
        (plain.folder / ".flaskenv").write_text("FLASK_APP=shop\n")
    done = plain.run("alembic", "-c", "migrations/alembic.ini", "upgrade", "head", env=env)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert plain.tables() == {"one"}
    assert "INFO  [alembic.runtime.migration] Running upgrade  -> aaa" in done.stderr


def test_plain_alembic_without_an_application(plain: Project) -> None:
    """Without an application the ``alembic`` command says how to name it."""
    (plain.folder / "app.py").unlink()
    done = plain.run("alembic", "-c", "migrations/alembic.ini", "current")
    assert done.returncode == 255
    assert "Traceback" not in done.stderr
    assert "Set 'FLASK_APP'" in done.stdout + done.stderr


def test_plain_alembic_autogenerates(plain: Project) -> None:
    """``alembic revision --autogenerate``, ``upgrade`` and ``check`` work and agree with ours."""
    plain.write_app(arguments=", version_table='mine'")
    alembic = ("alembic", "-c", "migrations/alembic.ini")
    for arguments in (["revision", "--autogenerate", "--rev-id", "aaa"], ["upgrade", "head"]):
        done = plain.run(*alembic, *arguments)
        assert done.returncode == 0, done.stderr
    assert sorted(plain.inspect()) == ["mine", "user"]
    done = plain.run(*alembic, "check")
    assert (done.returncode, done.stdout) == (0, "No new upgrade operations detected.\n")
