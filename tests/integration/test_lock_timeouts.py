"""DDL that needs a lock which somebody else holds: short waits, retries, and who it is."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import re
import threading
import typing as t

from harness import execute
from harness import Holder
from harness import Project
from harness import wait_until
import pytest
import servers
import sqlalchemy as sa

import flask_dbmigrate
from flask_dbmigrate import ConfigurationError
from flask_dbmigrate import HalfAppliedError
from flask_dbmigrate import Listener
from flask_dbmigrate import MigrationError
from flask_dbmigrate import MigrationResult
from flask_dbmigrate import Retry

LEGACY_ENV_PY = """
from alembic import context
from flask import current_app

ours = current_app.extensions["migrate"]
with ours.db.engine.connect() as connection:
    context.configure(connection=connection, **ours.configure_args)
    with context.begin_transaction():
        context.run_migrations()
"""

READ = "SELECT * FROM t"
LONG_ENOUGH = 2.0
"""Seconds in which a busy machine, too, opens the second connection that tells who it is."""
MAKE = "op.create_table('t', sa.Column('id', sa.Integer, primary_key=True))"
ADD = "op.add_column('t', sa.Column('a', sa.Integer))"
DRIVERS = ["psycopg", "psycopg2", "pg8000", "asyncpg", "pymysql", "mysqlclient", "mysqlconnector"]


class Witness(Listener):
    """Notes each retry, and lets the holder go at the first one."""

    def __init__(self, holder: Holder | None = None) -> None:
        self.holder = holder
        self.retries: list[Retry] = []

    def step_blocked(self, database: str, retry: Retry) -> None:
        self.retries.append(retry)
        if self.holder is not None:
            self.holder.release()


class Place(Project):
    """A project in this process, its application's context pushed."""

    def __init__(self, folder: Path, url: str, application: t.Any) -> None:
        super().__init__(folder, url)
        self.application = application

    def upgrade(self, witness: Witness, *, timeout: float = 0.4, **options: t.Any) -> t.Any:
        """Upgrade, with limits for tests."""
        return flask_dbmigrate.upgrade(listener=witness, ddl_lock_timeout=timeout, **options)

    def columns(self) -> list[str]:
        """The names of the table's columns."""
        engine = sa.create_engine(servers.synchronous(self.url), poolclass=sa.NullPool)
        return [column["name"] for column in sa.inspect(engine).get_columns("t")]


@pytest.fixture
def begin(start: Callable[..., t.Any], tmp_path: Path) -> Callable[..., Place]:
    """Makes an application with two revisions: one makes a table, the other changes it."""

    def begin(url: str, env_py: str | None = None) -> Place:
        place = Place(tmp_path, url, start(url=url))
        if env_py is not None:
            Path("migrations/env.py").write_text(env_py)
        place.revision("aaa", upgrade=[MAKE], downgrade=["op.drop_table('t')"])
        place.revision("bbb", "aaa", upgrade=[ADD])
        return place

    return begin


@pytest.fixture(params=["postgresql_url", "mysql_url"])
def server_url(request: pytest.FixtureRequest) -> str:
    """A new database on each server."""
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture(params=DRIVERS)
def driver_url(
    request: pytest.FixtureRequest, require_driver: Callable[[str], None]
) -> Iterator[str]:
    """A new database on a server, once for each driver."""
    driver: str = request.param
    require_driver(driver)
    kind = "mysql_server" if "my" in driver else "postgresql_server"
    with request.getfixturevalue(kind).database(driver) as url:
        yield url


@pytest.mark.parametrize("env_py", [None, LEGACY_ENV_PY], ids=["ours", "legacy"])
def test_it_is_tried_again(begin: t.Any, driver_url: str, env_py: str | None) -> None:
    """DDL that waits for a reader gives up, tells who it is, and gets through when he is gone."""
    place = begin(driver_url, env_py)
    place.upgrade(Witness(), revision="aaa")
    with Holder(driver_url, READ) as reader:
        witness = Witness(reader)
        result = place.upgrade(witness)
    (retry,) = witness.retries
    assert (retry.step, retry.number, retry.limit) == ("upgrade aaa -> bbb, revision bbb", 1, 20)
    assert [step.revisions for step in result.databases[0].steps] == [("bbb",)]
    assert place.columns() == ["id", "a"]


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2", "pg8000", "asyncpg"])
def test_who_is_in_the_way(
    begin: t.Any, postgresql_server: servers.PostgreSQL, driver: str
) -> None:
    """On PostgreSQL whoever is in the way is shown with what he did at last."""
    with postgresql_server.database(driver) as url:
        place = begin(url)
        place.upgrade(Witness(), revision="aaa")
        with Holder(url, READ) as reader:
            witness = Witness(reader)
            place.upgrade(witness, timeout=LONG_ENOUGH)
    assert re.search(
        r"^A lock is held by server process \d+ \(user 'dbmigrate_test', idle in transaction, "
        r"transaction open for \d+ s\): SELECT \* FROM t\. Trying again in 0\.\d s \(1 of 20\)\.$",
        str(witness.retries[0]),
    )


def test_who_is_in_the_way_on_mysql(
    begin: t.Any, mysql_server: servers.MySQL, mysql_url: str
) -> None:
    """On MySQL that takes a privilege; there it is all who have open transactions."""
    url = mysql_server.url.set(database=sa.make_url(mysql_url).database)
    place = begin(url.render_as_string(hide_password=False))
    place.upgrade(Witness(), revision="aaa")
    with Holder(mysql_url, READ) as reader:
        witness = Witness(reader)
        place.upgrade(witness)
    (blocker,) = witness.retries[0].blockers
    assert re.search(r"^connection \d+ \(user 'dbmigrate_test', sleep for \d+ s\)$", blocker)


def test_others_on_mysql(begin: t.Any, mysql_url: str) -> None:
    """Without the privilege a statement that is being executed is shown, and what would help."""
    place = begin(mysql_url)
    place.upgrade(Witness(), revision="aaa")
    execute(mysql_url, "INSERT INTO t VALUES (1)")
    with (
        Holder(mysql_url, "SELECT * FROM t"),
        pytest.raises(MigrationError, match="Lock wait timeout exceeded") as caught,
    ):
        place.upgrade(Witness(), ddl_retries=0)
    assert caught.value.hint == (
        "It was blocked by another transaction. End that, or wait longer with "
        "'--ddl-lock-timeout' and '--ddl-retries'. The privilege 'PROCESS' lets us name it."
    )


def test_steps_before_it_are_kept(begin: t.Any, server_url: str) -> None:
    """The revisions before it are run once, and a relative target stays what it was."""
    execute(server_url, "CREATE TABLE u (id INTEGER)")
    place = begin(server_url)
    place.revision("bbb", "aaa", upgrade=["op.add_column('u', sa.Column('a', sa.Integer))"])
    place.revision("ccc", "bbb", upgrade=["op.execute('INSERT INTO u (id) VALUES (1)')"])
    place.revision("ddd", "ccc")
    with Holder(server_url, "SELECT * FROM u") as reader:
        result: MigrationResult = place.upgrade(Witness(reader), revision="+3")
    (database,) = result.databases
    assert [step.revisions for step in database.steps] == [("aaa",), ("bbb",), ("ccc",)]
    assert (database.before, database.after) == ((), ("ccc",))
    assert place.query("SELECT id FROM u") == [(1,)]


def test_tries_come_to_an_end(begin: t.Any, server_url: str) -> None:
    """After the last try the error names who is in the way, and nothing of the revision is left."""
    place = begin(server_url)
    place.upgrade(Witness(), revision="aaa")
    witness = Witness()
    with (
        Holder(server_url, READ),
        pytest.raises(MigrationError, match=r"failed on .*(lock timeout|Lock wait)") as caught,
    ):
        place.upgrade(witness, ddl_retries=1)
    assert [retry.number for retry in witness.retries] == [1]
    assert caught.value.hint.startswith("It was blocked by ")
    assert caught.value.heads == ("aaa",)
    assert place.columns() == ["id"]


def test_no_retries(begin: t.Any, server_url: str) -> None:
    """``DBMIGRATE_DDL_RETRIES = 0`` gives up at once; the setting of the limit counts as well."""
    place = begin(server_url)
    place.upgrade(Witness(), revision="aaa")
    place.application.app.config.update(DBMIGRATE_DDL_RETRIES=0, DBMIGRATE_DDL_LOCK_TIMEOUT=0.2)
    witness = Witness()
    with Holder(server_url, READ), pytest.raises(MigrationError, match=r"lock timeout|Lock wait"):
        flask_dbmigrate.upgrade(listener=witness)
    assert witness.retries == []


@pytest.mark.parametrize("where", ["session", "connection"])
def test_this_process_is_in_the_way(begin: t.Any, driver_url: str, where: str) -> None:
    """Where an open session of this process holds the lock, it fails at once."""
    place = begin(driver_url)
    place.upgrade(Witness(), revision="aaa")
    db = place.application.db
    witness = Witness()
    if where == "session" and not db.engine.dialect.is_async:
        db.session.execute(sa.text(READ))
        with pytest.raises(MigrationError, match=r"lock timeout|Lock wait") as caught:
            place.upgrade(witness, timeout=LONG_ENOUGH)
        db.session.rollback()
    else:
        engine = sa.create_engine(place.url.replace("asyncpg", "psycopg"), poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql(READ)
            with pytest.raises(MigrationError, match=r"lock timeout|Lock wait") as caught:
                place.upgrade(witness, timeout=LONG_ENOUGH)
    assert "This process holds the lock itself" in caught.value.hint
    assert witness.retries == []


def test_application_is_in_the_way(tmp_path: Path, server_url: str) -> None:
    """So it does for a command, if the application was loaded with a connection in use."""
    project = Project(tmp_path / "project", server_url)
    project.db("init")
    project.revision("aaa", upgrade=[MAKE])
    project.db("upgrade")
    project.revision("bbb", "aaa", upgrade=[ADD])
    project.write_app(
        f"import sqlalchemy as sa\nused = sa.create_engine({server_url!r}).connect()\n"
        f"used.exec_driver_sql({READ!r})\n"
    )
    said = project.fails("upgrade", "--ddl-lock-timeout", "0.4", exit_code=1)
    assert "This process holds the lock itself" in said


WAITING = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
    "AND datname = current_database() AND clock_timestamp() - query_start > interval '1.2 s'",
    "mysql": "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'UPDATE%%' "
    "AND time >= 1 AND db = DATABASE()",
}
"""Counts those who have waited for more than a second."""


@contextmanager
def released_after_a_wait(holder: Holder, server: servers.Server, url: str) -> Iterator[None]:
    """Let the holder go when somebody has waited longer than DDL is allowed to."""
    database = sa.make_url(url).database
    engine = sa.create_engine(server.url.set(database=database), poolclass=sa.NullPool)

    def is_waiting() -> bool:
        with engine.connect() as connection:
            return bool(connection.exec_driver_sql(WAITING[engine.dialect.name]).scalar())

    def release() -> None:
        wait_until(is_waiting)
        holder.release()

    thread = threading.Thread(target=release)
    thread.start()
    yield
    thread.join()


@pytest.mark.parametrize("before", [[], ["op.create_table('u', sa.Column('id', sa.Integer))"]])
@pytest.mark.parametrize("backend", ["postgresql", "mysql"])
def test_dml_may_wait(
    begin: t.Any, request: pytest.FixtureRequest, backend: str, before: list[str]
) -> None:
    """Only DDL is limited: a change of rows waits for a row's lock, after DDL as well."""
    url = request.getfixturevalue(f"{backend}_url")
    server = request.getfixturevalue(f"{backend}_server")
    place = begin(url)
    place.upgrade(Witness(), revision="aaa")
    execute(url, "INSERT INTO t VALUES (1)")
    update = "op.execute('UPDATE t SET id = 2')"
    place.revision("bbb", "aaa", upgrade=[*before, update])

    witness = Witness()
    with Holder(url, "UPDATE t SET id = 1") as writer, released_after_a_wait(writer, server, url):
        place.upgrade(witness, timeout=0.2)
    assert witness.retries == []
    assert place.query("SELECT id FROM t") == [(2,)]


@pytest.mark.parametrize("env_py", [None, LEGACY_ENV_PY], ids=["ours", "legacy"])
@pytest.mark.parametrize("url_name", ["postgresql_url", "sqlite_url"])
def test_a_transaction_for_each_revision(
    begin: t.Any, request: pytest.FixtureRequest, url_name: str, env_py: str | None
) -> None:
    """What was applied before a revision that fails stays, unless all are one transaction."""
    place = begin(request.getfixturevalue(url_name), env_py)
    place.revision("bbb", "aaa", upgrade=[ADD, "op.execute('nonsense')"])
    with pytest.raises(MigrationError, match="is at base now"):
        place.upgrade(Witness(), single_transaction=True)
    assert "t" not in place.tables()
    with pytest.raises(MigrationError, match="is at 'aaa' now"):
        place.upgrade(Witness())
    assert place.columns() == ["id"]
    place.application.app.config["DBMIGRATE_SINGLE_TRANSACTION"] = True
    place.revision("bbb", "aaa", upgrade=[ADD])
    place.revision("ccc", "bbb", upgrade=["op.execute('nonsense')"])
    with pytest.raises(MigrationError, match="is at 'aaa' now"):
        place.upgrade(Witness())
    assert place.columns() == ["id"]


def test_single_transaction_that_waits(begin: t.Any, postgresql_url: str) -> None:
    """All of it is repeated when a lock is in the way."""
    execute(postgresql_url, "CREATE TABLE u (id INTEGER)")
    place = begin(postgresql_url)
    place.revision("bbb", "aaa", upgrade=["op.add_column('u', sa.Column('a', sa.Integer))"])
    with Holder(postgresql_url, "SELECT * FROM u") as reader:
        witness = Witness(reader)
        result = place.upgrade(witness, single_transaction=True)
    assert len(witness.retries) == 1
    assert [step.revisions for step in result.databases[0].steps] == [("aaa",), ("bbb",)]
    assert place.columns() == ["id"]


def test_no_single_transaction_on_mysql(begin: t.Any, mysql_url: str) -> None:
    """Where each change of the schema commits by itself this is refused before anything runs."""
    place = begin(mysql_url)
    with pytest.raises(ConfigurationError, match="cannot run all revisions in a single"):
        place.upgrade(Witness(), single_transaction=True)
    assert place.tables() == set()


CONCURRENTLY = [
    "with op.get_context().autocommit_block():",
    "    op.execute('CREATE INDEX CONCURRENTLY i ON t (id)')",
]


def test_after_an_autocommit_block(begin: t.Any, postgresql_url: str) -> None:
    """What a revision has committed is not repeated when it is tried again."""
    execute(postgresql_url, "CREATE TABLE u (id INTEGER)")
    place = begin(postgresql_url)
    add = "op.add_column('u', sa.Column('a', sa.Integer))"
    place.revision("bbb", "aaa", upgrade=[*CONCURRENTLY, add])
    with Holder(postgresql_url, "SELECT * FROM u") as reader:
        witness = Witness(reader)
        result = place.upgrade(witness)
    assert [retry.step for retry in witness.retries] == ["upgrade aaa -> bbb, revision bbb"]
    assert result.databases[0].after == ("bbb",)
    assert place.query("SELECT count(*) FROM pg_index WHERE indexrelid = 'i'::regclass") == [(1,)]


def test_what_cannot_be_resumed(begin: t.Any, postgresql_url: str) -> None:
    """A revision that has committed something and cannot be resumed is not tried again."""
    execute(postgresql_url, "CREATE TABLE u (id INTEGER)")
    place = begin(postgresql_url)
    add = "op.add_column('u', sa.Column('a', sa.Integer))"
    insert = "op.get_bind().exec_driver_sql('INSERT INTO t VALUES (1)')"
    place.revision("bbb", "aaa", upgrade=[insert, *CONCURRENTLY, add])
    witness = Witness()
    with (
        Holder(postgresql_url, "SELECT * FROM u"),
        pytest.raises(HalfAppliedError, match="lock timeout") as caught,
    ):
        place.upgrade(witness)
    assert witness.retries == []
    assert "works through 'op.get_bind()'" in caught.value.half_applied.obstacle


def test_concurrently_is_not_limited(
    begin: t.Any, postgresql_url: str, postgresql_server: servers.PostgreSQL
) -> None:
    """In an ``autocommit_block()`` a statement waits for the others as long as they take."""
    place = begin(postgresql_url)
    place.upgrade(Witness(), revision="aaa")
    place.revision("bbb", "aaa", upgrade=CONCURRENTLY)
    witness = Witness()
    with (
        Holder(postgresql_url, "INSERT INTO t VALUES (1)") as writer,
        released_after_a_wait(writer, postgresql_server, postgresql_url),
    ):
        place.upgrade(witness, timeout=0.2)
    assert witness.retries == []
    assert place.query("SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass") == [
        (True,)
    ]


def test_limits_end_with_the_transaction(begin: t.Any, postgresql_url: str) -> None:
    """DDL is limited, nothing else is; what a revision or the application has set is respected."""
    place = begin(postgresql_url)
    execute(postgresql_url, "CREATE TABLE seen (number SERIAL, value TEXT)")
    shown = "current_setting($$lock_timeout$$)"
    see = f"op.execute('INSERT INTO seen (value) SELECT {shown}')"
    see_in_ddl = f"op.execute('CREATE TABLE {{}} AS SELECT {shown} AS value')"
    place.revision(
        "aaa",
        upgrade=[
            see,
            see_in_ddl.format("one"),
            see,
            "with op.get_bind().begin_nested() as savepoint:",
            "    op.execute('CREATE TABLE gone ()')",
            "    savepoint.rollback()",
            see_in_ddl.format("two"),
            "op.execute('SET LOCAL lock_timeout = 7000')",
            see_in_ddl.format("three"),
            see,
        ],
    )
    place.revision("bbb", "aaa", upgrade=[see_in_ddl.format("four"), see])
    name = sa.make_url(postgresql_url).database
    execute(postgresql_url, f"ALTER DATABASE \"{name}\" SET lock_timeout = '90s'")
    place.upgrade(Witness())
    in_ddl = [place.query(f"SELECT value FROM {name}") for name in ("one", "two", "three", "four")]
    assert in_ddl == [[("400ms",)], [("400ms",)], [("7s",)], [("400ms",)]]
    seen = place.query("SELECT value FROM seen ORDER BY number")
    assert seen == [("90s",), ("90s",), ("7s",), ("90s",)]
    with place.application.db.engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar() == "90s"


@pytest.mark.parametrize("driver", ["pymysql", "mysqlclient", "mysqlconnector", "aiomysql"])
def test_session_is_handed_back(
    begin: t.Any, mysql_server: servers.MySQL, driver: str, require_driver: t.Any
) -> None:
    """On MySQL limits are the session's: in the application's pool it has its own again."""
    require_driver(driver)
    with mysql_server.database(driver) as url:
        place = begin(url)
        see = "op.execute('CREATE TABLE {} AS SELECT @@lock_wait_timeout AS value')"
        insert = "op.execute('INSERT INTO one SELECT @@lock_wait_timeout')"
        place.revision("aaa", upgrade=[see.format("one"), insert, see.format("two")])
        place.revision("bbb", "aaa", upgrade=["op.execute('nonsense')"])
        with pytest.raises(MigrationError, match="nonsense"):
            place.upgrade(Witness(), timeout=3, statement_timeout=9)
        found = place.query("SELECT @@lock_wait_timeout, @@max_statement_time")
        assert place.query("SELECT value FROM one") == [(3,), (found[0][0],)]
        assert place.query("SELECT value FROM two") == [(3,)]
        if driver == "aiomysql":  # whose connections are closed with the event loop
            return
        with place.application.db.engine.connect() as connection:
            settings = "SELECT @@lock_wait_timeout, @@max_statement_time"
            assert connection.exec_driver_sql(settings).all() == found


@pytest.mark.parametrize(
    ("url_name", "statement"),
    [
        ("postgresql_url", "SELECT pg_sleep(30)"),
        ("mysql_url", "SELECT COUNT(*) FROM seq_1_to_1000000 a, seq_1_to_1000000 b"),
    ],
)
def test_statement_timeout(
    begin: t.Any, request: pytest.FixtureRequest, url_name: str, statement: str
) -> None:
    """A statement that takes longer than it may is an error; by default it may take its time."""
    place = begin(request.getfixturevalue(url_name))
    place.revision("aaa", upgrade=[f"op.execute('{statement}')"])
    with pytest.raises(MigrationError, match=r"statement timeout|max_statement_time") as caught:
        place.upgrade(Witness(), statement_timeout=0.3)
    assert "'--statement-timeout'" in caught.value.hint


def test_sqlite_that_is_busy(begin: t.Any, sqlite_url: str) -> None:
    """A revision waits for whoever writes to the file, and is tried again."""
    place = begin(f"{sqlite_url}?timeout=0.1")
    place.upgrade(Witness(), revision="aaa")
    with Holder(sqlite_url, "INSERT INTO t VALUES (1)") as writer:
        witness = Witness(writer)
        place.upgrade(witness)
    assert len(witness.retries) == 1
    assert place.columns() == ["id", "a"]


def test_sqlite_that_is_read(begin: t.Any, sqlite_url: str) -> None:
    """A commit waits for those who read, and if they take too long the revision is run again."""
    place = begin(f"{sqlite_url}?timeout=0.1")
    place.upgrade(Witness(), revision="aaa")
    execute(sqlite_url, "INSERT INTO t VALUES (1)")
    with Holder(sqlite_url, "BEGIN", "SELECT * FROM t") as reader:
        witness = Witness(reader)
        place.upgrade(witness)
    assert len(witness.retries) == 1
    assert place.columns() == ["id", "a"]


def test_several_databases(
    make_application: t.Any, postgresql_server: servers.PostgreSQL, tmp_path: Path
) -> None:
    """All are rolled back when one waits, so that nobody waits for the others; then all run."""
    with postgresql_server.database("psycopg") as first, postgresql_server.database("psycopg") as a:
        application = make_application(url=first, binds={"a": a})
        with application.app.app_context():
            flask_dbmigrate.init(multidb=True)
            place = Place(tmp_path, first, application)
            place.revision("aaa").write_text(BOTH)
            execute(a, "CREATE TABLE u (id INTEGER)")
            with Holder(a, "SELECT * FROM u") as reader:
                witness = Witness(reader)
                result = place.upgrade(witness)
    assert len(witness.retries) == 1
    assert [len(database.steps) for database in result.databases] == [1, 1]
    assert [database.after for database in result.databases] == [("aaa",), ("aaa",)]


BOTH = """
from alembic import op
import sqlalchemy as sa
revision = "aaa"
down_revision = None

def upgrade(engine_name):
    if engine_name == "a":
        op.add_column("u", sa.Column("a", sa.Integer))
    else:
        op.create_table("t", sa.Column("id", sa.Integer))
"""


def test_command(begin: t.Any, postgresql_url: str) -> None:
    """The command says in one line who is in the way, and takes its limits from anywhere."""
    place = begin(postgresql_url)
    place.write_app()
    place.upgrade(Witness(), revision="aaa")
    with Holder(postgresql_url, READ):
        done = place.flask(
            "db", "upgrade", "--ddl-retries", "1", env={"FLASK_DB_UPGRADE_DDL_LOCK_TIMEOUT": "1.9"}
        )
    assert done.returncode == 1
    blocked, *_ = done.stderr.splitlines()
    assert re.match(
        r"Running upgrade aaa -> bbb, revision bbb \.\.\. A lock is held by server process \d+ "
        r"\(user 'dbmigrate_test', .*\): SELECT \* FROM t\. Trying again in 0\.\d s \(1 of 1\)\.$",
        blocked,
    )


TWICE_ENV_PY = """
from alembic import context
from flask import current_app

with current_app.extensions["migrate"].db.engine.connect() as connection:
    for table in ("first", "second"):
        context.configure(connection=connection, version_table=table)
        with context.begin_transaction():
            context.run_migrations()
"""


@pytest.mark.parametrize("url_name", ["postgresql_url", "mysql_url", "sqlite_url"])
def test_connection_that_is_configured_twice(
    begin: t.Any, request: pytest.FixtureRequest, url_name: str
) -> None:
    """An env.py may have two version tables on one connection."""
    place = begin(request.getfixturevalue(url_name), TWICE_ENV_PY)
    table = "CREATE TABLE IF NOT EXISTS t (id INTEGER)"
    insert = "op.execute('INSERT INTO t VALUES (1)')"
    place.revision("aaa", upgrade=[f"op.execute('{table}')", insert])
    place.revision("bbb", "aaa", upgrade=["op.execute('UPDATE t SET id = id + 1')"])
    result = place.upgrade(Witness())
    assert [len(visited.steps) for visited in result.databases] == [2, 2]
    assert place.query("SELECT id FROM t ORDER BY id") == [(2,), (3,)]
    assert place.query("SELECT version_num FROM second") == [("bbb",)]


def test_commit_of_a_revision(begin: t.Any, postgresql_url: str) -> None:
    """A revision that commits by a statement of its own is not tried again."""
    place = begin(postgresql_url)
    execute(postgresql_url, "CREATE TABLE u (id INTEGER)", "INSERT INTO u VALUES (1)")
    change = ["op.execute('UPDATE u SET id = id + 1')", "op.execute('COMMIT')"]
    place.revision("bbb", "aaa", upgrade=[*change, ADD])
    place.upgrade(Witness(), revision="aaa")
    with (
        Holder(postgresql_url, READ) as reader,
        pytest.raises(HalfAppliedError, match="lock timeout"),
    ):
        place.upgrade(Witness(reader))
    assert place.query("SELECT id FROM u") == [(2,)]


def test_version_table_on_mysql(begin: t.Any, mysql_url: str, mysql_server: t.Any) -> None:
    """What the DDL of a revision has committed is recorded, however long that waits."""
    place = begin(mysql_url)
    place.upgrade(Witness(), revision="aaa")
    add = "op.add_column('t', sa.Column('a', sa.Integer))"
    place.revision("bbb", "aaa", upgrade=[add, "HOLD()"], extra="HOLD = None")
    path = place.folder / "migrations/versions/bbb_.py"
    path.write_text(
        path.read_text().replace(
            "HOLD = None",
            "import threading\n"
            "def HOLD():\n"
            "    engine = op.get_bind().engine\n"
            "    other = engine.connect()\n"
            "    other.exec_driver_sql('LOCK TABLES alembic_version READ')\n"
            "    threading.Timer(3, other.invalidate).start()\n",
        )
    )
    place.upgrade(Witness(), timeout=1)
    assert place.query("SELECT version_num FROM alembic_version") == [("bbb",)]


def test_connections_that_others_are_making(begin: t.Any, server_url: str) -> None:
    """A connection that is only half made does not hide who is in the way."""
    place = begin(server_url)
    place.upgrade(Witness(), revision="aaa")
    half_made = object.__new__(sa.Connection)
    with Holder(server_url, READ) as reader:
        witness = Witness(reader)
        place.upgrade(witness)
    assert len(witness.retries) == 1
    del half_made


def test_failure_that_a_revision_expects(begin: t.Any, postgresql_url: str) -> None:
    """Who was in the way of a statement is not blamed for the next one."""
    place = begin(postgresql_url)
    place.upgrade(Witness(), revision="aaa")
    execute(postgresql_url, "CREATE TABLE u (id INTEGER)", "INSERT INTO u VALUES (1)")
    attempt = ["with suppress(sa.exc.DBAPIError), op.get_bind().begin_nested():", f"    {ADD}"]
    lock = "op.execute('SELECT * FROM u FOR UPDATE NOWAIT')"
    place.revision("bbb", "aaa", upgrade=[*attempt, lock], extra="from contextlib import suppress")
    with (
        Holder(postgresql_url, READ),
        Holder(postgresql_url, "UPDATE u SET id = 2"),
        pytest.raises(MigrationError, match="could not obtain lock") as caught,
    ):
        place.upgrade(Witness(), ddl_retries=0)
    assert READ not in caught.value.hint


TENANTS_ENV_PY = """
from alembic import context
from flask import current_app

with current_app.extensions["migrate"].db.engine.connect() as connection:
    for schema in ("one", "two"):
        connection.exec_driver_sql(f"SET search_path TO {schema}")
        connection.commit()
        context.configure(connection=connection, version_table_schema=SCHEMA)
        with context.begin_transaction():
            context.run_migrations()
"""


@pytest.mark.parametrize("schema", ["schema", "None"])
def test_schemas_of_tenants(begin: t.Any, postgresql_url: str, schema: str) -> None:
    """What was run on one tenant stays in the result while another is waited for."""
    place = begin(postgresql_url, TENANTS_ENV_PY.replace("SCHEMA", schema))
    place.revision("bbb", "aaa", upgrade=[ADD], downgrade=["op.drop_column('t', 'a')"])
    execute(postgresql_url, "CREATE SCHEMA one", "CREATE SCHEMA two")
    place.upgrade(Witness())
    with Holder(postgresql_url, "SELECT * FROM two.t") as reader:
        result = flask_dbmigrate.downgrade(listener=Witness(reader), ddl_lock_timeout=0.4)
    assert [len(visited.steps) for visited in result.databases] == [1, 1]
    assert place.query("SELECT version_num FROM one.alembic_version") == [("aaa",)]


FOR_ALL = """
revision, down_revision = {!r}, {!r}

def upgrade(engine_name): pass
def downgrade(engine_name): pass
"""

IN_TURN_ENV_PY = """
from alembic import context
from flask import current_app

engines = current_app.extensions["migrate"].db.engines
for name in (None, "a"):
    with engines[name].connect() as connection:
        context.configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations(engine_name=name or "")
"""


def test_sqlite_databases_that_are_busy_in_turn(
    make_application: t.Any, sqlite_url: str, tmp_path: Path
) -> None:
    """What was run on one database stays in mind while it is not even reached in a later try."""
    url, a = f"{sqlite_url}?timeout=0.1", f"sqlite:///{tmp_path / 'a.db'}?timeout=0.1"
    application = make_application(url=url, binds={"a": a})
    with application.app.app_context():
        flask_dbmigrate.init(multidb=True)
        Path("migrations/env.py").write_text(IN_TURN_ENV_PY)
        place = Place(tmp_path, url, application)
        for revision, down in (("aaa", None), ("bbb", "aaa"), ("ccc", "bbb")):
            place.revision(revision, down).write_text(FOR_ALL.format(revision, down))
        execute(url, "CREATE TABLE t (id INTEGER)")
        execute(a, "CREATE TABLE t (id INTEGER)")
        insert = "INSERT INTO t VALUES (1)"

        class Turns(Witness):
            def step_blocked(self, database: str, retry: Retry) -> None:
                super().step_blocked(database, retry)
                if self.holder is not None:
                    self.holder.release()
                self.holder = Holder(url, insert) if len(self.retries) == 1 else None

        witness = Turns(Holder(a, insert))
        result = place.upgrade(witness, revision="+1")
    assert len(witness.retries) == 2
    assert [len(database.steps) for database in result.databases] == [1, 1]
    assert [database.after for database in result.databases] == [("aaa",), ("aaa",)]
