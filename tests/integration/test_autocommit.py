"""An engine whose connections commit each statement by themselves: a run has transactions."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import ExitStack
import gc
from pathlib import Path
import typing as t

from flask import Flask
from harness import Project
from harness import QuickProject
import pytest
import servers
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

import flask_dbmigrate
from flask_dbmigrate import DatabaseAccessError
from flask_dbmigrate import DatabaseUnavailableError
from flask_dbmigrate import DBMigrateError
from flask_dbmigrate import HalfAppliedError
from flask_dbmigrate import MigrationError

MAKE = [
    "op.create_table('t', sa.Column('id', sa.Integer, primary_key=True),",
    "    sa.Column('n', sa.Integer))",
    "op.execute('INSERT INTO t VALUES (1, 100)')",
]
COUNT = "op.execute('UPDATE t SET n = n + 1')"
ADD = "op.add_column('t', sa.Column('a', sa.Integer))"
FAIL = "op.execute('INSERT INTO missing VALUES (1)')"
INDEX = "op.create_index('i', 't', ['n'], postgresql_concurrently=True)"

BEGUN_BEFORE = """
from alembic import context
from flask import current_app

ours = current_app.extensions["migrate"]
connection = ours.db.get_engine().connect()
transaction = connection.begin()
try:
    context.configure(connection=connection, **ours.configure_args)
    context.run_migrations()
    transaction.commit()
except:
    transaction.rollback()
    raise
finally:
    connection.close()
"""
"""What env.py files for several databases do."""

FROM_CONFIG = """
from alembic import context
import sqlalchemy as sa

engine = sa.engine_from_config(context.config.get_section("alembic"), poolclass=sa.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
"""


class Place(Project):
    """A project in this process, its application's context pushed."""

    def __init__(self, folder: Path, url: str, engine: t.Any) -> None:
        super().__init__(folder, url)
        self.engine = engine
        self.revision("aaa", upgrade=MAKE)

    def fails(self, *_: t.Any, **options: t.Any) -> t.Any:
        """Upgrade, and expect an error."""
        with pytest.raises(DBMigrateError, match=r"'\w+' failed") as caught:
            flask_dbmigrate.upgrade(**options)
        return caught.value

    def rows(self) -> list[tuple[t.Any, ...]]:
        """What the table holds."""
        return self.query("SELECT * FROM t")

    def at(self) -> list[str]:
        """Where the database stands."""
        return [row[0] for row in self.query("SELECT version_num FROM alembic_version")]

    def has_autocommit(self) -> bool:
        """Whether the application's next connection commits by itself."""
        with self.engine.connect() as connection:
            connection.exec_driver_sql("UPDATE t SET id = id + 1")
            connection.rollback()
        return self.query("SELECT id FROM t") == [(2,)]


Begin = Callable[..., Place]


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Begin]:
    """Makes an application on an engine, and a migration directory."""
    monkeypatch.chdir(tmp_path)
    with ExitStack() as stack:

        def make(engine: t.Any, env_py: str | None = None, **arguments: t.Any) -> Place:
            app = Flask("plain", root_path=str(tmp_path))
            flask_dbmigrate.Migrate(app, metadata=sa.MetaData(), engine=engine, **arguments)
            stack.enter_context(app.app_context())
            if not engine.dialect.is_async:
                stack.callback(engine.dispose)
            flask_dbmigrate.init()
            if env_py is not None:
                Path("migrations/env.py").write_text(env_py)
            url = engine.url.render_as_string(hide_password=False)
            return Place(tmp_path, url, engine)

        yield make


def in_autocommit(url: str) -> t.Any:
    """Make the engine that SQLAlchemy's documentation calls an engine in AUTOCOMMIT."""
    is_async = servers.synchronous(url) != sa.make_url(url)
    return (create_async_engine if is_async else sa.create_engine)(
        url, isolation_level="AUTOCOMMIT"
    )


def with_options(url: str) -> sa.Engine:
    return sa.create_engine(url, execution_options={"isolation_level": "AUTOCOMMIT"})


def with_arguments(url: str) -> sa.Engine:
    return sa.create_engine(url, connect_args={"autocommit": True})


def with_creator(url: str) -> sa.Engine:
    plain = sa.create_engine(url)

    def connect() -> t.Any:
        arguments = plain.dialect.create_connect_args(plain.url)
        return plain.dialect.connect(*arguments[0], autocommit=True, **arguments[1])

    return sa.create_engine(url, creator=connect)


def listening_to(name: str) -> Callable[[str], sa.Engine]:
    """Let an event put the connections into AUTOCOMMIT, behind SQLAlchemy's back."""

    def listen(connection: t.Any, *_: t.Any) -> None:
        raw = connection.connection if isinstance(connection, sa.Connection) else connection
        if hasattr(raw, "get_autocommit"):  # of MariaDB
            raw.cursor().execute("SET autocommit = 1")
        else:
            driver: t.Any = getattr(raw, "dbapi_connection", raw)
            driver.autocommit = True

    def make(url: str) -> sa.Engine:
        engine = sa.create_engine(url)
        sa.event.listen(engine, name, listen)
        return engine

    return make


WAYS = {
    "isolation_level": in_autocommit,
    "execution_options": with_options,
    "connect_args": with_arguments,
    "creator": with_creator,
    **{name: listening_to(name) for name in ("connect", "checkout", "engine_connect")},
}
each_way = pytest.mark.parametrize("make", WAYS.values(), ids=WAYS)

LOCKED = """op.execute('''DO $$ BEGIN ASSERT 1 = (
    SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND database =
        (SELECT oid FROM pg_database WHERE datname = current_database())); END $$''')"""
"""Fails unless the migration lock is held."""


def fails_and_is_completed(place: Place) -> None:
    """Run a revision that fails, and run it to its end when it is corrected."""
    place.revision("bbb", "aaa", upgrade=[COUNT, ADD, COUNT, FAIL])
    error = place.fails()
    if place.engine.name == "mysql":
        assert isinstance(error, HalfAppliedError)
    else:
        assert isinstance(error, MigrationError)
        assert place.rows() == [(1, 100)]
    place.revision("bbb", "aaa", upgrade=[COUNT, ADD, COUNT, COUNT])
    flask_dbmigrate.upgrade()
    assert (place.at(), place.rows()) == (["bbb"], [(1, 103, None)])
    (database,) = flask_dbmigrate.run_log().databases
    assert [entry.status for entry in database.entries] == ["ok", "failed", "ok"]


def test_with_each_driver(begin: Begin, database_url: str) -> None:
    """A revision that fails leaves nothing, or is resumed: what it changes is changed once."""
    # for MySQL Connector older releases of SQLAlchemy know no such level
    make = with_arguments if "mysqlconnector" in database_url else in_autocommit
    fails_and_is_completed(begin(make(database_url)))


@each_way
def test_each_way_into_it_on_postgresql(
    begin: Begin, postgresql_url: str, make: Callable[[str], sa.Engine]
) -> None:
    """However the connection came to it; the run has its lock, and the pool what it had."""
    place = begin(make(postgresql_url))
    place.revision("aaa", upgrade=[*MAKE, LOCKED])
    fails_and_is_completed(place)
    assert place.has_autocommit()


@each_way
def test_each_way_into_it_on_mysql(
    begin: Begin, mysql_url: str, make: Callable[[str], sa.Engine]
) -> None:
    """So it is on MariaDB."""
    place = begin(make(mysql_url))
    fails_and_is_completed(place)
    assert place.has_autocommit()


@pytest.mark.parametrize("make", [in_autocommit, with_options], ids=["engine", "options"])
def test_each_way_into_it_on_sqlite(
    begin: Begin, sqlite_url: str, make: Callable[[str], sa.Engine]
) -> None:
    """So it is on SQLite."""
    place = begin(make(sqlite_url))
    fails_and_is_completed(place)
    assert place.has_autocommit()


@pytest.mark.parametrize("env_py", [BEGUN_BEFORE, FROM_CONFIG], ids=["begun", "config"])
@pytest.mark.parametrize("url", ["sqlite_url", "postgresql_url"])
def test_old_env_py(begin: Begin, request: pytest.FixtureRequest, url: str, env_py: str) -> None:
    """An env.py that has begun a transaction, or that makes an engine of its own, is no exception.

    Its transaction is one for all revisions.
    """
    place = begin(with_options(request.getfixturevalue(url)), env_py)
    if env_py == FROM_CONFIG:
        ini = Path("migrations/alembic.ini")
        escaped = place.url.replace("%", "%%")
        lines = f"[alembic]\nsqlalchemy.url = {escaped}\nsqlalchemy.isolation_level = AUTOCOMMIT"
        ini.write_text(ini.read_text().replace("[alembic]", lines, 1))
    flask_dbmigrate.upgrade()
    place.revision("bbb", "aaa", upgrade=[COUNT, ADD, FAIL])
    place.fails()
    assert (place.at(), place.rows()) == (["aaa"], [(1, 100)])


def test_single_transaction(begin: Begin, postgresql_url: str) -> None:
    """With ``single_transaction`` all revisions are applied or none, whatever they would need."""
    place = begin(in_autocommit(postgresql_url))
    place.revision("bbb", "aaa", upgrade=[INDEX])
    error = place.fails(single_transaction=True)
    assert place.tables() == set()
    assert "cannot run inside a transaction block" in error.message
    assert "transactional_ddl = False" in error.hint
    flask_dbmigrate.upgrade()
    assert place.at() == ["bbb"]


def test_two_phase(tmp_path: Path, strict_postgresql_url: sa.URL) -> None:
    """Several databases commit in two phases."""
    server = servers.PostgreSQL(strict_postgresql_url)
    with server.database("psycopg") as one, server.database("psycopg") as other:
        project = QuickProject(tmp_path, one)
        options = {"isolation_level": "AUTOCOMMIT"}
        project.write_app(binds={"b": other}, engine_options=options)
        project.db("init", "--multidb")
        path = project.revision("aaa")
        path.write_text(path.read_text().replace("upgrade()", "upgrade(engine_name)"))
        project.db("upgrade", "--two-phase", "--database", "default", "--database", "b")
        assert project.query("SELECT version_num FROM alembic_version") == [("aaa",)]


NEEDS_AUTOCOMMIT = [
    "CREATE INDEX CONCURRENTLY i ON t (n)",
    "REINDEX INDEX CONCURRENTLY i",
    "REINDEX (VERBOSE) TABLE CONCURRENTLY t",
    "DROP INDEX CONCURRENTLY i",
    "/* tidy */ VACUUM t",
    "CLUSTER",
    "ALTER TABLE parts DETACH PARTITION part CONCURRENTLY",
    "CREATE PROCEDURE p() LANGUAGE plpgsql AS 'BEGIN COMMIT; END'",
    "CALL p()",
    "DO 'BEGIN UPDATE t SET n = n + 1; COMMIT; END'",
    "ALTER TYPE mood ADD VALUE 'c'",
    "INSERT INTO moods VALUES ('c')",
    "ALTER SYSTEM RESET work_mem",
    "CREATE DATABASE dbmigrate_extra",
    "DROP DATABASE dbmigrate_extra",
]
PREPARED = [
    "CREATE TYPE mood AS ENUM ('a', 'b')",
    "CREATE TABLE moods (mood mood)",
    "CREATE TABLE parts (id integer) PARTITION BY RANGE (id)",
    "CREATE TABLE part PARTITION OF parts FOR VALUES FROM (1) TO (2)",
]


@pytest.mark.parametrize(
    ("driver", "call", "env_py"),
    [
        ("psycopg", "op.execute({!r})", None),
        ("psycopg", "op.execute({!r})", BEGUN_BEFORE),
        ("psycopg", "op.get_bind().exec_driver_sql({!r})", None),
        ("psycopg2", "op.execute({!r})", None),
        ("pg8000", "op.get_bind().exec_driver_sql({!r})", BEGUN_BEFORE),
        ("asyncpg", "op.execute({!r})", None),
        ("asyncpg", "op.get_bind().exec_driver_sql({!r})", None),
    ],
    ids=lambda value: {None: "ours", BEGUN_BEFORE: "begun"}.get(value, value),
)
def test_what_cannot_run_in_a_transaction(
    begin: Begin, strict_postgresql_url: sa.URL, driver: str, call: str, env_py: str | None
) -> None:
    """What a transaction refuses runs as it did, and what is around it is in a transaction."""
    with servers.PostgreSQL(strict_postgresql_url).database(driver) as made:
        name = sa.make_url(made).database
        url = strict_postgresql_url.set(drivername=servers.DRIVERS[driver], database=name)
        place = begin(in_autocommit(url.render_as_string(hide_password=False)), env_py)
        place.revision("bbb", "aaa", upgrade=[f"op.execute({text!r})" for text in PREPARED])
        statements = [call.format(text) for text in NEEDS_AUTOCOMMIT]
        place.revision("ccc", "bbb", upgrade=[*statements, COUNT, FAIL])
        error = place.fails()
        assert "INSERT INTO missing" in error.message.partition("half-applied")[0]
        assert place.rows() == [(1, 101)]


def test_it_goes_on_after_one_that_fails(begin: Begin, postgresql_url: str) -> None:
    """A script that expects such a statement to fail is in its transaction again after it."""
    place = begin(in_autocommit(postgresql_url))
    place.revision(
        "bbb",
        "aaa",
        upgrade=[
            "try:",
            "    op.get_bind().exec_driver_sql('CREATE INDEX CONCURRENTLY i ON missing (n)')",
            "except sa.exc.ProgrammingError:",
            "    pass",
            COUNT,
            FAIL,
        ],
    )
    place.fails()
    assert place.rows() == [(1, 100)]


def test_it_is_journaled(begin: Begin, postgresql_url: str) -> None:
    """A revision that fails after such a statement is half-applied, and goes on after it."""
    place = begin(in_autocommit(postgresql_url))
    place.revision("bbb", "aaa", upgrade=[COUNT, INDEX, COUNT, FAIL])
    error = place.fails()
    assert isinstance(error, HalfAppliedError)
    assert [found.state for found in error.half_applied.statements] == [
        "done",
        "done",
        "not done",
        "not done",
    ]
    place.revision("bbb", "aaa", upgrade=[COUNT, INDEX, COUNT])
    flask_dbmigrate.upgrade()
    assert place.rows() == [(1, 102)]


def test_other_engines_refuse_it(begin: Begin, postgresql_url: str) -> None:
    """Elsewhere such a statement is refused as it always was; the hint says how it runs."""
    place = begin(sa.create_engine(postgresql_url))
    place.revision("bbb", "aaa", upgrade=[COUNT, INDEX])
    assert place.fails().hint == "Run it in 'with op.get_context().autocommit_block():'."
    assert place.rows() == [(1, 100)]


@pytest.mark.parametrize("url", ["sqlite_url", "postgresql_url", "mysql_url"])
@pytest.mark.parametrize("where", ["script", "migrate", "env.py"])
def test_transactional_ddl(
    begin: Begin, request: pytest.FixtureRequest, url: str, where: str
) -> None:
    """``transactional_ddl = False`` brings the old behaviour: each statement commits."""
    option = {"transactional_ddl": False} if where == "migrate" else {}
    place = begin(in_autocommit(request.getfixturevalue(url)), **option)
    if where == "env.py":
        call = "run_migrations(transactional_ddl=False)"
        env_py = Path("migrations/env.py")
        env_py.write_text(env_py.read_text().replace("run_migrations()", call))
    says = {"extra": "transactional_ddl = False"} if where == "script" else {}
    place.revision("bbb", "aaa", upgrade=[COUNT, ADD, FAIL], **says)
    place.fails()
    assert (place.at(), place.rows()) == (["aaa"], [(1, 101, None)])


def test_only_the_script_that_says_so(begin: Begin, postgresql_url: str) -> None:
    """A script with ``transactional_ddl = False`` changes nothing for those around it."""
    place = begin(in_autocommit(postgresql_url))
    place.revision("bbb", "aaa", upgrade=[COUNT, ADD], extra="transactional_ddl = False")
    place.revision("ccc", "bbb", upgrade=[COUNT, FAIL])
    assert isinstance(place.fails(), MigrationError)
    assert (place.at(), place.rows()) == (["bbb"], [(1, 101, None)])


@pytest.mark.parametrize("url", ["sqlite_url", "postgresql_url", "mysql_url"])
def test_another_connection(begin: Begin, request: pytest.FixtureRequest, url: str) -> None:
    """Another connection of the script sees what was done before, and does not wait for it."""
    place = begin(in_autocommit(request.getfixturevalue(url)))
    other = [
        "from flask import current_app",
        "with current_app.extensions['migrate'].db.engine.connect() as connection:",
        "    connection.exec_driver_sql('UPDATE t SET n = n + 1, a = 1')",
    ]
    place.revision("bbb", "aaa", upgrade=[ADD, COUNT, *other, COUNT, FAIL])
    place.fails()
    assert place.rows() == [(1, 102, 1)]


def test_sqlite_goes_on(begin: Begin, sqlite_url: str) -> None:
    """On SQLite, too, what a transaction refuses runs as it did."""
    place = begin(in_autocommit(sqlite_url))
    statements = ["VACUUM", "PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL"]
    place.revision(
        "bbb",
        "aaa",
        upgrade=[
            COUNT,
            *(f"op.execute({statement!r})" for statement in statements),
            "op.get_bind().exec_driver_sql('VACUUM')",
            COUNT,
            FAIL,
        ],
    )
    place.fails()
    assert place.rows() == [(1, 101)]


@pytest.mark.parametrize(
    ("driver", "lock"), [("psycopg", True), ("psycopg", False), ("asyncpg", True)]
)
def test_pooler_that_allows_no_transactions(
    begin: Begin,
    postgresql_server: servers.PostgreSQL,
    statement_mode_port: int,
    driver: str,
    lock: bool,
) -> None:
    """Behind a pooler in statement mode nothing is written; the error says how to get past it."""
    with postgresql_server.database(driver) as url:
        pooled = sa.make_url(url).set(host="127.0.0.1", port=statement_mode_port)
        place = begin(in_autocommit(pooled.render_as_string(hide_password=False)))
        with pytest.raises(DatabaseAccessError, match="cannot be used") as caught:
            flask_dbmigrate.upgrade(lock=lock, wait=0)
        assert caught.value.hint.startswith("Set 'DBMIGRATE_URL' to a way past the pooler, or ")
        assert place.tables(url) == set()


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_pooler_whose_words_are_lost(
    begin: Begin, postgresql_server: servers.PostgreSQL, statement_mode_port: int
) -> None:
    """pg8000 only tells that the connection was closed, and not as SQLAlchemy does."""
    with postgresql_server.database("pg8000") as url:
        pooled = sa.make_url(url).set(host="127.0.0.1", port=statement_mode_port)
        place = begin(in_autocommit(pooled.render_as_string(hide_password=False)))
        with pytest.raises(DatabaseUnavailableError, match="network error") as caught:
            flask_dbmigrate.upgrade(wait=0)
        assert place.tables(url) == set()
    del caught
    gc.collect()  # pg8000 leaves the socket open that the pooler has closed
