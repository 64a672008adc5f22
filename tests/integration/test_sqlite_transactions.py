"""SQLite: each revision in a transaction of its own, foreign keys off and checked at its end."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
import sqlite3
import sys
import textwrap
import typing as t

from flask import current_app
from flask import Flask
from harness import Project
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.ext.asyncio import create_async_engine

import flask_dbmigrate
from flask_dbmigrate import Config
from flask_dbmigrate import MigrationError

SINGLE = """
from alembic import context
from flask import current_app

ours = current_app.extensions["migrate"]
with ours.db.get_engine().connect() as connection:
    context.configure(connection=connection, **ours.configure_args)
    with context.begin_transaction():
        context.run_migrations()
"""

FROM_CONFIG = """
from alembic import context
from flask import current_app
from sqlalchemy import engine_from_config, pool

ours = current_app.extensions["migrate"]
url = ours.db.engine.url.set(drivername="sqlite")
engine = engine_from_config({"sqlalchemy.url": url}, poolclass=pool.NullPool)
connection = engine.connect()
context.configure(connection=connection, **ours.configure_args)
try:
    with context.begin_transaction():
        context.run_migrations()
finally:
    connection.close()
"""

MULTIPLE = """
from alembic import context
from flask import current_app

ours = current_app.extensions["migrate"]
opened = []
for key in [None, "reports"]:
    connection = ours.db.get_engine(bind=key).connect()
    opened.append((key or "", connection, connection.begin()))
try:
    for name, connection, _ in opened:
        context.configure(connection=connection, **ours.configure_args)
        context.run_migrations(engine_name=name)
    for _, _, transaction in opened:
        transaction.commit()
except:
    for _, _, transaction in opened:
        transaction.rollback()
    raise
finally:
    for _, connection, _ in opened:
        connection.close()
"""

LEGACY = {"ours": None, "legacy": SINGLE, "from config": FROM_CONFIG}
DRIVERS = ["sqlite", "sqlite+aiosqlite"]
each_environment = pytest.mark.parametrize("environment", ["ours", "legacy"])
each_driver = pytest.mark.parametrize("driver", DRIVERS)
needs_autocommit = pytest.mark.skipif(sys.version_info < (3, 12), reason="needs Python 3.12")

FAMILY = [
    "op.create_table('parent', sa.Column('id', sa.Integer, primary_key=True))",
    "op.create_table('child', sa.Column('id', sa.Integer, primary_key=True), "
    "sa.Column('parent_id', sa.Integer, sa.ForeignKey('parent.id', ondelete='CASCADE')))",
    "op.execute('INSERT INTO parent VALUES (1), (2)')",
    "op.execute('INSERT INTO child VALUES (1, 1), (2, 1), (3, 2)')",
]
REBUILD = [
    "with op.batch_alter_table('parent', recreate='always') as batch:",
    "    batch.add_column(sa.Column('name', sa.String(20)))",
]
FAIL = "op.execute('INSERT INTO missing VALUES (1)')"
SECOND_CONNECTION = [
    "from flask import current_app",
    "op.execute('INSERT INTO parent VALUES (10)')",
    "with current_app.extensions['migrate'].db.engine.begin() as connection:",
    "    connection.execute(sa.text('INSERT INTO parent VALUES (11)'))",
]


def foreign_keys_on(connection: t.Any, record: object) -> None:
    """Switch foreign keys on, as SQLAlchemy's documentation shows."""
    autocommit = getattr(connection, "autocommit", None)
    if autocommit is False:
        connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()
    if autocommit is False:
        connection.autocommit = False


class Place(Project):
    """A project in this process, its application's context pushed."""

    def __init__(self, folder: Path, url: str, engine: sa.Engine) -> None:
        super().__init__(folder, url)
        self.engine = engine

    def fails(self, *_: t.Any, **__: t.Any) -> t.Any:
        """Upgrade, and expect an error."""
        with pytest.raises(MigrationError, match=r"\.$") as caught:
            flask_dbmigrate.upgrade()
        return caught.value

    def at(self) -> list[tuple[t.Any, ...]]:
        """Where the database stands."""
        return self.query("SELECT version_num FROM alembic_version")

    def columns(self, table: str) -> list[str]:
        """The names of a table's columns."""
        return [row[1] for row in self.query(f"PRAGMA table_info({table})")]


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Place]]:
    """Makes an application with an engine of its own, and a migration directory."""
    monkeypatch.chdir(tmp_path)
    with ExitStack() as stack:

        def make(
            driver: str = "sqlite",
            environment: str = "ours",
            *,
            foreign_keys: bool = True,
            database: str = f"/{tmp_path / 'test.db'}",
            connect_args: dict[str, t.Any] | None = None,
            binds: dict[str, str] | None = None,
            **arguments: t.Any,
        ) -> Place:
            create = create_async_engine if "aio" in driver else sa.create_engine
            url = f"{driver}://{database}"
            made: t.Any = create(url, connect_args={"timeout": 0.1, **(connect_args or {})})
            engine = made.sync_engine if isinstance(made, AsyncEngine) else made
            if foreign_keys:
                sa.event.listen(engine, "connect", foreign_keys_on)
            app = Flask("lite", root_path=str(tmp_path))
            engines = {"default": made, **(binds or {})}
            models = {key: sa.MetaData() for key in engines}
            for metadata in models.values():
                sa.Table("parent", metadata, sa.Column("id", sa.Integer, primary_key=True))
            flask_dbmigrate.Migrate(app, metadata=models, engine=engines, **arguments)
            stack.enter_context(app.app_context())
            if not made.dialect.is_async:
                stack.callback(engine.dispose)
            flask_dbmigrate.init(multidb=bool(binds))
            if source := MULTIPLE if binds and environment == "legacy" else LEGACY[environment]:
                Path("migrations/env.py").write_text(source)
            return Place(tmp_path, url, engine)

        yield make


Begin = Callable[..., Place]


@pytest.mark.parametrize("environment", LEGACY)
@each_driver
def test_revision_that_fails_leaves_no_trace(begin: Begin, driver: str, environment: str) -> None:
    """What a failing revision did is gone, those before it stay, and it can be run again."""
    place = begin(driver, environment)
    place.revision("aaa", upgrade=FAMILY)
    place.revision(
        "bbb",
        "aaa",
        upgrade=["op.create_table('two', sa.Column('id', sa.Integer))", *REBUILD, FAIL],
    )
    error = place.fails()
    assert error.message.endswith(": INSERT INTO missing VALUES (1). The database is at 'aaa' now.")
    assert (place.at(), place.tables()) == ([("aaa",)], {"parent", "child"})
    assert place.columns("parent") == ["id"]
    place.revision("bbb", "aaa", upgrade=REBUILD)
    flask_dbmigrate.upgrade()
    assert (place.at(), place.columns("parent")) == ([("bbb",)], ["id", "name"])


@pytest.mark.parametrize(
    "mode",
    [
        pytest.param({"autocommit": False}, marks=needs_autocommit),
        pytest.param({"autocommit": True}, marks=needs_autocommit),
        {"isolation_level": None},
        {"isolation_level": "EXCLUSIVE"},
    ],
)
@each_driver
def test_any_mode_of_the_driver(begin: Begin, driver: str, mode: dict[str, t.Any]) -> None:
    """However the application's connections treat transactions, a revision has one of its own."""
    place = begin(driver, connect_args=mode)
    place.revision("aaa", upgrade=FAMILY)
    place.revision("bbb", "aaa", upgrade=[*REBUILD, FAIL])
    place.fails()
    assert (place.at(), place.columns("parent")) == ([("aaa",)], ["id"])
    place.revision("bbb", "aaa", upgrade=REBUILD)
    flask_dbmigrate.upgrade()
    assert place.query("SELECT count(*) FROM child") == [(3,)]


def test_application_that_begins_by_itself(begin: Begin) -> None:
    """An application may emit BEGIN itself, as SQLAlchemy's documentation shows."""
    place = begin(connect_args={"isolation_level": None})
    sa.event.listen(place.engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    place.revision("aaa", upgrade=FAMILY)
    place.revision("bbb", "aaa", upgrade=[*REBUILD, FAIL])
    place.fails()
    assert (place.at(), place.columns("parent")) == ([("aaa",)], ["id"])


@pytest.mark.parametrize(
    "change",
    [["op.create_table('two', sa.Column('id', sa.Integer))"], REBUILD],
    ids=["DDL", "rebuild"],
)
@each_environment
def test_killed(new_project: Project, environment: str, change: list[str]) -> None:
    """A run that is killed with ``-9`` inside of a revision leaves nothing of it."""
    if LEGACY[environment]:
        (new_project.folder / "migrations/env.py").write_text(str(LEGACY[environment]))
    kill = ["import os", "if 'KILL' in os.environ:", "    os.kill(os.getpid(), 9)"]
    new_project.revision("aaa", upgrade=FAMILY)
    new_project.revision(
        "bbb", "aaa", upgrade=["op.add_column('child', sa.Column('a', sa.Integer))", *change, *kill]
    )
    schema = "SELECT sql FROM sqlite_master ORDER BY name"
    new_project.db("upgrade", "aaa")
    before = new_project.query(schema)
    done = new_project.flask("db", "upgrade", env={"KILL": "1"})
    assert done.returncode == -9, done.stderr
    assert new_project.query(schema) == before
    new_project.db("upgrade")
    assert new_project.query("SELECT version_num FROM alembic_version") == [("bbb",)]


@each_environment
@each_driver
def test_rebuilt_table_keeps_what_refers_to_it(begin: Begin, driver: str, environment: str) -> None:
    """The rows that refer to a table with ON DELETE CASCADE survive when it is rebuilt."""
    place = begin(driver, environment)
    place.revision("aaa", upgrade=FAMILY, downgrade=["op.drop_table('child')"])
    place.revision("bbb", "aaa", upgrade=REBUILD)
    flask_dbmigrate.upgrade()
    assert place.query("SELECT * FROM child") == [(1, 1), (2, 1), (3, 2)]
    flask_dbmigrate.downgrade(revision="base")
    assert place.tables() == {"parent"}


@each_environment
@each_driver
def test_rows_that_refer_to_nothing(begin: Begin, driver: str, environment: str) -> None:
    """A revision that leaves rows without the row they refer to is refused, with their number."""
    place = begin(driver, environment)
    place.revision("aaa", upgrade=FAMILY)
    place.revision("bbb", "aaa", upgrade=["op.execute('DELETE FROM parent WHERE id = 1')"])
    error = place.fails()
    assert error.message == (
        "Revision 'bbb' failed on database 'default' (migrations/versions/bbb_.py): 'child' would "
        "have 2 rows with a foreign key to nothing in 'parent'. The database is at 'aaa' now."
    )
    assert error.hint.startswith("Let the revision change or delete these rows, too. If it relies")
    assert place.query("SELECT count(*) FROM parent") == [(2,)]
    place.revision(
        "bbb",
        "aaa",
        upgrade=["op.execute('DELETE FROM parent WHERE id = 1')"],
        extra="sqlite_foreign_keys = True",
    )
    place.revision("ccc", "bbb", upgrade=REBUILD)
    flask_dbmigrate.upgrade()
    assert place.query("SELECT * FROM child") == [(3, 2)]


@pytest.mark.parametrize(
    "change",
    [
        "-- all\nDELETE FROM parent",
        "/* all */ UPDATE parent SET id = id + 10",
        "WITH gone AS (SELECT 1) DELETE FROM parent",
        "INSERT INTO child VALUES (9, 9)",
        "DROP TABLE parent",
        "ALTER TABLE child ADD COLUMN other INTEGER DEFAULT 9 REFERENCES parent (id)",
    ],
)
def test_every_change_is_checked(begin: Begin, change: str) -> None:
    """Whatever statement it is that leaves rows behind, it is refused."""
    place = begin()
    place.revision("aaa", upgrade=FAMILY)
    place.revision("bbb", "aaa", upgrade=[f"op.get_bind().exec_driver_sql({change!r})"])
    assert "with a foreign key to nothing in 'parent'" in place.fails().message
    assert place.at() == [("aaa",)]


def test_old_violations_do_not_block(begin: Begin) -> None:
    """Rows that referred to nothing before are not counted, neither are a previous revision's."""
    place = begin()
    place.revision("aaa", upgrade=FAMILY)
    flask_dbmigrate.upgrade()
    place.query("INSERT INTO child VALUES (4, 40)")
    place.revision("bbb", "aaa", upgrade=REBUILD)
    place.revision("ccc", "bbb", upgrade=["op.execute('DELETE FROM child WHERE id = 4')"])
    place.revision("ddd", "ccc", upgrade=["op.execute('DELETE FROM parent WHERE id = 2')"])
    error = place.fails()
    assert (error.revision, error.heads) == ("ddd", ("ccc",))
    assert "'child' would have 1 row with a foreign key to nothing in 'parent'" in error.message


def test_foreign_key_to_a_column_that_is_not_unique(begin: Begin) -> None:
    """A foreign key that SQLite cannot check is refused, unless it was there before."""
    place = begin()
    bad = "op.execute('CREATE TABLE bad (i REFERENCES child (parent_id))')"
    place.revision("aaa", upgrade=FAMILY)
    place.revision("bbb", "aaa", upgrade=["op.execute('UPDATE child SET id = id + 9')", bad])
    flask_dbmigrate.upgrade(revision="aaa")
    assert 'foreign key mismatch - "bad" referencing "child"' in place.fails().message
    place.query("CREATE TABLE bad (i REFERENCES child (parent_id))")
    place.revision("bbb", "aaa", upgrade=REBUILD)
    flask_dbmigrate.upgrade()
    assert place.query("SELECT count(*) FROM child") == [(3,)]


def test_foreign_keys_that_are_off_stay_unchecked(begin: Begin) -> None:
    """Where the application leaves foreign keys off, so do revisions."""
    place = begin(foreign_keys=False)
    place.revision("aaa", upgrade=[*FAMILY, "op.execute('DELETE FROM parent')"])
    flask_dbmigrate.upgrade()
    assert place.query("SELECT count(*) FROM child") == [(3,)]


@each_environment
@each_driver
def test_autocommit_block(begin: Begin, driver: str, environment: str) -> None:
    """VACUUM runs in an autocommit block; what comes after the block is a transaction again."""
    place = begin(driver, environment)
    place.revision("aaa", upgrade=FAMILY)
    place.revision(
        "bbb",
        "aaa",
        upgrade=[
            "op.create_table('before', sa.Column('id', sa.Integer))",
            "with op.get_context().autocommit_block():",
            "    op.execute('VACUUM')",
            "op.create_table('after', sa.Column('id', sa.Integer))",
            *REBUILD,
            FAIL,
        ],
    )
    place.fails()
    assert place.tables() == {"parent", "child", "before"}
    assert place.query("SELECT count(*) FROM child") == [(3,)]


@pytest.mark.parametrize("statement", ["VACUUM", "PRAGMA journal_mode = WAL"])
def test_what_cannot_run_in_a_transaction(begin: Begin, statement: str) -> None:
    """VACUUM and its like are told to use an autocommit block, or to do without a transaction."""
    place = begin()
    place.revision("aaa")
    place.revision("bbb", "aaa", upgrade=[f"op.execute({statement!r})"])
    assert place.fails().hint == (
        "Run it in 'with op.get_context().autocommit_block():', or write "
        "'transactional_ddl = False' at the top of the script."
    )
    extra = "transactional_ddl = False"
    place.revision("bbb", "aaa", upgrade=[f"op.execute({statement!r})"], extra=extra)
    flask_dbmigrate.upgrade()
    assert place.at() == [("bbb",)]


def settings(engine: sa.Engine) -> tuple[t.Any, ...]:
    """What of the pool's connection decides about its transactions."""
    with engine.connect() as connection:
        raw = connection.connection.dbapi_connection
        assert isinstance(raw, sqlite3.Connection)
        foreign_keys = connection.exec_driver_sql("PRAGMA foreign_keys").scalar()
        return raw.isolation_level, getattr(raw, "autocommit", None), foreign_keys


@pytest.mark.parametrize(
    "mode",
    [
        {},
        {"isolation_level": "EXCLUSIVE"},
        pytest.param({"autocommit": False}, marks=needs_autocommit),
        pytest.param({"autocommit": True}, marks=needs_autocommit),
    ],
)
@each_environment
def test_application_gets_its_connection_back(
    begin: Begin, environment: str, mode: dict[str, t.Any]
) -> None:
    """After a run, also one that failed, the pool's connection is as the application makes it."""
    place = begin(environment=environment, connect_args=mode)
    before = settings(place.engine)
    place.revision(
        "aaa",
        upgrade=[*FAMILY, "with op.get_context().autocommit_block():", "    op.execute('VACUUM')"],
    )
    flask_dbmigrate.upgrade()
    assert settings(place.engine) == before
    place.revision("bbb", "aaa", upgrade=["op.execute('DELETE FROM parent')"])
    place.fails()
    assert settings(place.engine) == before
    with place.engine.connect() as connection:
        connection.exec_driver_sql("DELETE FROM parent WHERE id = 1")
        connection.rollback()
    expected = [(2,)] if mode != {"autocommit": True} else [(1,)]
    assert place.query("SELECT count(*) FROM parent") == expected


@each_environment
def test_second_connection(begin: Begin, environment: str) -> None:
    """A revision that writes on another connection is told what to do, and can do without."""
    place = begin(environment=environment)
    place.revision("aaa", upgrade=FAMILY)
    place.revision("bbb", "aaa", upgrade=SECOND_CONNECTION)
    error = place.fails()
    assert "database is locked" in error.message
    assert error.hint.startswith("'db.session' and 'db.engine' have connections of their own")
    assert error.hint.endswith(
        "use 'op.get_bind()', or write 'transactional_ddl = False' at the top of the script."
    )
    without_transaction = [
        "op.create_table('two', sa.Column('id', sa.Integer))",
        *SECOND_CONNECTION[2:],
    ]
    place.revision(
        "bbb",
        "aaa",
        upgrade=[SECOND_CONNECTION[0], *without_transaction],
        extra="transactional_ddl = False",
    )
    flask_dbmigrate.upgrade()
    assert place.query("SELECT id FROM parent") == [(1,), (2,), (11,)]


def test_error_of_the_revision_itself_has_no_such_hint(begin: Begin) -> None:
    """Only a statement on another connection is told to use ``op.get_bind()``."""
    place = begin()
    path = place.revision("aaa", upgrade=[FAIL])
    shown = path.relative_to(place.folder)
    assert place.fails().hint == f"Correct '{shown}' and run the command again."


@pytest.mark.parametrize("where", ["Migrate", "env.py", "revision"])
def test_without_transactions(begin: Begin, where: str) -> None:
    """``transactional_ddl = False`` brings back what SQLite's driver does, wherever it is said."""
    place = begin(**{"transactional_ddl": False} if where == "Migrate" else {})
    if where == "env.py":
        path = Path("migrations/env.py")
        path.write_text(
            path.read_text().replace("run_migrations()", "run_migrations(transactional_ddl=False)")
        )
    extra = "transactional_ddl = False" if where == "revision" else ""
    place.revision(
        "aaa", upgrade=["op.create_table('two', sa.Column('id', sa.Integer))", FAIL], extra=extra
    )
    error = place.fails()
    assert error.message.endswith(
        "The database is at base now. 'sqlite' commits changes of the schema by itself: what the "
        "revision did before this point may have stayed."
    )
    assert place.tables() == {"two"}


def test_without_transactions_on_a_connection_like_ours(begin: Begin) -> None:
    """A revision does without a transaction where the application has the settings of our runs."""
    place = begin(foreign_keys=False, connect_args={"isolation_level": None})
    table = "op.create_table('two', sa.Column('id', sa.Integer))"
    place.revision("aaa", upgrade=[table, FAIL], extra="transactional_ddl = False")
    place.fails()
    assert place.tables() == {"two"}


def test_one_transaction_for_all(begin: Begin) -> None:
    """With ``transaction_per_migration=False`` all revisions are undone, and checked, together."""
    place = begin(transaction_per_migration=False)
    place.revision("aaa", upgrade=FAMILY)
    place.revision("bbb", "aaa", upgrade=["op.execute('DELETE FROM parent')"])
    path = place.revision(
        "ccc", "bbb", upgrade=["op.create_table('two', sa.Column('id', sa.Integer))", FAIL]
    )
    place.fails()
    assert place.inspect() == ["alembic_version_log"]
    path.unlink()
    error = place.fails()
    assert error.message == (
        "The changes could not be committed: 'child' would have 3 rows with a foreign key to "
        "nothing in 'parent'. The database is at base now."
    )
    assert place.inspect() == ["alembic_version_log"]


PER_DATABASE = """
from alembic import op
import sqlalchemy as sa
revision = {revision!r}
down_revision = {down!r}
{extra}
def upgrade(engine_name):
{upgrade}
    if engine_name:
        {on_second}
"""


@each_environment
def test_several_databases(begin: Begin, tmp_path: Path, environment: str) -> None:
    """They commit together: what fails on one is undone on all. Rows that refer survive there."""
    second = f"sqlite:///{tmp_path / 'second.db'}"
    place = begin(environment=environment, binds={"reports": second})

    def write(revision: str, down: str | None, upgrade: list[str], **more: str) -> None:
        source = PER_DATABASE.format(
            revision=revision,
            down=down,
            upgrade=textwrap.indent("\n".join(upgrade), "    "),
            **{"extra": "", "on_second": "pass", **more},
        )
        (tmp_path / "migrations/versions").mkdir(exist_ok=True)
        (tmp_path / f"migrations/versions/{revision}.py").write_text(source)

    write("aaa", None, FAMILY)
    write("bbb", "aaa", REBUILD, on_second=FAIL)
    assert "'bbb' failed on database 'reports'" in place.fails().message
    assert (place.inspect(), place.inspect(second)) == ([], ["alembic_version_log"])
    write("bbb", "aaa", REBUILD)
    flask_dbmigrate.upgrade()
    assert place.query("SELECT count(*) FROM child") == [(3,)]
    write("ccc", "bbb", ["op.execute('DELETE FROM parent WHERE id = 1')"])
    assert "'child' would have 2 rows" in place.fails().message
    write(
        "ccc",
        "bbb",
        ["op.execute('DELETE FROM parent WHERE id = 1')"],
        extra="sqlite_foreign_keys = True",
    )
    write("ddd", "ccc", [REBUILD[0], "    batch.drop_column('name')"])
    flask_dbmigrate.upgrade()
    assert place.query("SELECT * FROM child") == [(3, 2)]


@pytest.mark.parametrize("database", ["", "/file::memory:?cache=shared&uri=true"])
@pytest.mark.parametrize("pool", ["StaticPool", "default"])
def test_in_memory(begin: Begin, monkeypatch: pytest.MonkeyPatch, database: str, pool: str) -> None:
    """Databases in memory keep working, whatever their pool."""
    if pool == "StaticPool":
        create = sa.create_engine
        monkeypatch.setattr(
            sa, "create_engine", lambda *a, **k: create(*a, **k, poolclass=sa.StaticPool)
        )
    place = begin(database=database)
    with place.engine.connect() if pool == "default" and database else ExitStack():
        place.revision("aaa", upgrade=FAMILY)
        place.revision("bbb", "aaa", upgrade=REBUILD, downgrade=["op.drop_table('child')"])
        flask_dbmigrate.upgrade()
        assert sa.inspect(place.engine).has_table("child")
        flask_dbmigrate.downgrade()
        assert not sa.inspect(place.engine).has_table("child")


def test_engine_with_one_connection_for_all(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a pool has one connection for all, revisions may use ``db.session`` as ever."""
    create = sa.create_engine
    monkeypatch.setattr(
        sa, "create_engine", lambda *a, **k: create(*a, **k, poolclass=sa.StaticPool)
    )
    place = begin(database="")
    place.revision("aaa", upgrade=[*FAMILY, *SECOND_CONNECTION])
    flask_dbmigrate.upgrade()
    with place.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM parent").scalar() == 4


def test_ensure_version_and_empty_upgrade(begin: Begin) -> None:
    """``ensure_version()`` makes the version table; an upgrade without revisions makes nothing."""
    place = begin()
    flask_dbmigrate.upgrade()
    assert place.inspect() == []
    flask_dbmigrate.ensure_version()
    assert place.inspect() == ["alembic_version"]


def test_connection_of_somebody_else(begin: Begin) -> None:
    """A connection that is handed in keeps its settings while revisions run."""
    place = begin()
    place.revision(
        "aaa",
        upgrade=[
            "raw = op.get_bind().connection.dbapi_connection",
            "pragma = op.get_bind().exec_driver_sql('PRAGMA foreign_keys').scalar()",
            "assert (raw.isolation_level, pragma) == ('', 1)",
        ],
    )
    with place.engine.connect() as connection:

        def hand_in(config: Config) -> Config:
            config.attributes["connection"] = connection
            return config

        current_app.extensions["migrate"].migrate.configure(hand_in)
        flask_dbmigrate.upgrade()
    assert place.at() == [("aaa",)]


def test_another_writer(begin: Begin) -> None:
    """A transaction that somebody else has open is what the error is about."""
    place = begin()
    place.revision("aaa", upgrade=FAMILY)
    flask_dbmigrate.upgrade()
    place.revision("bbb", "aaa")
    with place.engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO parent VALUES (9)")
        error = place.fails()
    assert "database is locked" in error.message
    assert error.hint.startswith("This process holds the lock itself")
