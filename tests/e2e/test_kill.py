"""A run is killed with -9 at every moment, and the next one completes what is half-applied."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import re
import typing as t

from harness import Ended
from harness import execute
from harness import Killer
from harness import Project
import pytest
import servers
import sqlalchemy as sa

MIXED = [
    "op.execute('UPDATE t SET n = n + 10')",
    "op.add_column('t', sa.Column('a', sa.Integer))",
    "op.execute('UPDATE t SET n = n + 10')",
    "op.execute('UPDATE t SET a = n')",
    "op.add_column('t', sa.Column('b', sa.Integer))",
    "op.create_table('u', sa.Column('id', sa.Integer, primary_key=True),",
    "    sa.Column('x', sa.Integer, index=True))",
    "op.execute('INSERT INTO u VALUES (1, 1)')",
    "op.drop_column('t', 'b')",
]
"""Nine statements of MariaDB; five of them commit by themselves."""

MIXED_BACK = [
    "op.drop_table('u')",
    "op.execute('UPDATE t SET n = n - 20')",
    "op.drop_column('t', 'a')",
    "op.execute('UPDATE t SET n = n + 1')",
]

CONCURRENTLY = [
    "op.execute('UPDATE t SET n = n + 10')",
    "op.add_column('t', sa.Column('a', sa.Integer))",
    "with op.get_context().autocommit_block():",
    "    op.execute('UPDATE t SET n = n + 10')",
    "    op.create_index('ix', 't', ['n'], postgresql_concurrently=True)",
    "    op.execute('CREATE INDEX CONCURRENTLY ON t (a)')",
    "    op.add_column('t', sa.Column('b', sa.Integer))",
    "    op.execute('VACUUM t')",
    "    op.execute('UPDATE t SET a = n')",
    "op.execute('UPDATE t SET n = n + 10')",
    "with op.get_context().autocommit_block():",
    "    op.drop_index('ix', postgresql_concurrently=True)",
    "op.drop_column('t', 'b')",
]
"""Eleven statements of PostgreSQL; five of them can be part of no transaction, or are not."""

CONCURRENTLY_BACK = [
    "op.execute('UPDATE t SET n = n - 30')",
    "with op.get_context().autocommit_block():",
    "    op.drop_index('t_a_idx', postgresql_concurrently=True)",
    "    op.execute('UPDATE t SET n = n + 1')",
    "op.drop_column('t', 'a')",
]

GUARDED = [
    "inspector = sa.inspect(op.get_bind())",
    "if not inspector.has_table('u'):",
    "    op.create_table('u', sa.Column('id', sa.Integer, primary_key=True))",
    "if 'a' not in [column['name'] for column in inspector.get_columns('t')]:",
    "    op.add_column('t', sa.Column('a', sa.Integer))",
    "op.add_column('t', sa.Column('b', sa.Integer))",
]
"""A script that looks for itself what there is, but for the last statement."""

BEFORE = [
    "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)",
    "INSERT INTO alembic_version VALUES ('aaa')",
    "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER)",
    "INSERT INTO t VALUES (1, 100)",
]
"""What the revision ``aaa`` leaves."""


class Place(Project):
    """A project with a half that is done, in a database that is made anew for each try."""

    def __init__(self, folder: Path, server: servers.Server, url: str, name: str) -> None:
        super().__init__(folder, url)
        self.server = server
        self.name = f"{server.quote}{name}{server.quote}"
        self.db("init")
        self.revision("aaa")

    def begin(self) -> None:
        """Go back to the revision ``aaa``."""
        self.server.execute(*self.server.drop(self.name), *self.server.create(self.name))
        execute(self.url, *BEFORE)

    def state(self) -> dict[str, t.Any]:
        """Read everything that a revision may change."""
        engine = sa.create_engine(servers.synchronous(self.url), poolclass=sa.NullPool)
        with engine.connect() as connection:
            inspector = sa.inspect(connection)
            tables = set(inspector.get_table_names()) - {"alembic_version_log"}
            state = {
                name: (
                    [column["name"] for column in inspector.get_columns(name)],
                    sorted((found["name"], *found["column_names"]) for found in indexes),
                    [tuple(row) for row in connection.exec_driver_sql(f"SELECT * FROM {name}")],
                )
                for name in tables
                for indexes in [inspector.get_indexes(name)]
            }
        _, _, noted = state.pop("alembic_version_journal", ([], [], []))
        assert noted == []
        return state


Opened = tuple[Place, Killer]


@contextmanager
def opened(folder: Path, server: servers.Server, url: str) -> Iterator[Opened]:
    """Make a project, and start what kills its commands."""
    place = Place(folder, server, url, str(sa.make_url(url).database))
    with Killer(place) as killer:
        yield place, killer


@pytest.fixture
def mysql(tmp_path: Path, mysql_server: servers.MySQL, mysql_url: str) -> Iterator[Opened]:
    """A project on MariaDB."""
    with opened(tmp_path, mysql_server, mysql_url) as place_and_killer:
        yield place_and_killer


@pytest.fixture
def own_mysql(tmp_path: Path, own_mysql_server: servers.MySQL) -> Iterator[Opened]:
    """A project on a MariaDB server that nobody else uses."""
    with (
        own_mysql_server.database("pymysql") as url,
        opened(tmp_path, own_mysql_server, url) as place_and_killer,
    ):
        yield place_and_killer


@pytest.fixture
def postgresql(
    tmp_path: Path, postgresql_server: servers.PostgreSQL, postgresql_url: str
) -> Iterator[Opened]:
    """A project on PostgreSQL."""
    with opened(tmp_path, postgresql_server, postgresql_url) as place_and_killer:
        yield place_and_killer


def succeeds(killer: Killer, *arguments: str) -> Ended:
    """Run a command that has to end well."""
    ended = killer.run(*arguments)
    assert ended.code == 0, ended.output
    return ended


def of_revision(ended: Ended) -> range:
    """Number the moments of a run from where the log is ready on: then the revision begins."""
    *_, last = (
        number
        for number, moment in enumerate(ended.moments, 1)
        if "FROM alembic_version_log" in moment
    )
    return range(last, len(ended.moments) + 1)


def try_all(
    place: Place, killer: Killer, *, start: str | None, command: str, only: str = ""
) -> int:
    """Kill the command at each moment, run it again, and compare; return how many there were.

    :param start: What brings the database to where the command begins.
    :param only: A regular expression for the moments that matter.
    """

    def begin() -> None:
        place.begin()
        if start is not None:
            succeeds(killer, start)

    begin()
    whole = succeeds(killer, command)
    expected = place.state()
    numbers = [
        number
        for number in of_revision(whole)
        if not is_same_as_next(whole, number) and re.match(only, whole.moments[number - 1])
    ]
    for number in numbers:
        begin()
        killed = killer.run(command, kill=number)
        assert killed.code == -9, killed.output
        again = killer.run(command)
        where = f"{number}, {' '.join(killed.moments[-1].split())}: {again.output}"
        assert again.code == 0, where
        assert place.state() == expected, where
    return len(numbers)


def is_same_as_next(ended: Ended, number: int) -> bool:
    """Tell whether nothing happens between a moment and the next one, not even a commit."""
    this, *rest = ended.moments[number - 1 : number + 1]
    return this.startswith("after ") and rest != [] and rest != ["before COMMIT"]


def test_upgrade_on_mysql(mysql: Opened) -> None:
    """Each of the nine statements is executed once, whenever the process is killed."""
    place, killer = mysql
    place.revision("bbb", "aaa", upgrade=MIXED)
    assert try_all(place, killer, start=None, command="upgrade") > 27


def test_downgrade_on_mysql(mysql: Opened) -> None:
    """A downgrade is resumed by the same command, too."""
    place, killer = mysql
    place.revision("bbb", "aaa", upgrade=MIXED, downgrade=MIXED_BACK)
    assert try_all(place, killer, start="upgrade", command="downgrade") > 15


def test_upgrade_on_postgresql(postgresql: Opened) -> None:
    """In and around ``autocommit_block()`` each statement is executed once."""
    place, killer = postgresql
    place.revision("bbb", "aaa", upgrade=CONCURRENTLY)
    assert try_all(place, killer, start=None, command="upgrade") > 27


def test_downgrade_on_postgresql(postgresql: Opened) -> None:
    """A downgrade with an ``autocommit_block()`` is resumed as well."""
    place, killer = postgresql
    place.revision("bbb", "aaa", upgrade=["pass"], downgrade=CONCURRENTLY_BACK)
    place.revision("bbb", "aaa", upgrade=CONCURRENTLY, downgrade=CONCURRENTLY_BACK)
    assert try_all(place, killer, start="upgrade", command="downgrade") > 15


IN_AUTOCOMMIT = {"isolation_level": "AUTOCOMMIT"}
"""Of the application's engine."""

BETWEEN = r"before\s+(UPDATE t|ALTER|CREATE INDEX|VACUUM|UPDATE alembic_version)"


def test_autocommit_on_mysql(mysql: Opened) -> None:
    """An engine in AUTOCOMMIT makes no difference: data is changed once."""
    place, killer = mysql
    place.write_app(engine_options=IN_AUTOCOMMIT)
    place.revision("bbb", "aaa", upgrade=MIXED[:3])
    assert try_all(place, killer, start=None, command="upgrade", only=BETWEEN) > 2


def test_autocommit_on_postgresql(postgresql: Opened) -> None:
    """So it is around what such an engine executes outside of a transaction."""
    place, killer = postgresql
    place.write_app(engine_options={"connect_args": {"autocommit": True}})
    upgrade = [
        "op.execute('UPDATE t SET n = n + 10')",
        "op.create_index('ix', 't', ['n'], postgresql_concurrently=True)",
        "op.execute('UPDATE t SET n = n + 10')",
        "op.execute('VACUUM t')",
        "op.execute('UPDATE t SET n = n + 10')",
    ]
    place.revision("bbb", "aaa", upgrade=upgrade)
    assert try_all(place, killer, start=None, command="upgrade", only=BETWEEN) > 4


DEFINITION = r"(before|after)\s+(CREATE|ALTER)\b"


def test_script_that_looks_on_mysql(mysql: Opened) -> None:
    """A script that looks what there is and leaves it out is completed, too."""
    place, killer = mysql
    place.revision("bbb", "aaa", upgrade=GUARDED)
    assert try_all(place, killer, start=None, command="upgrade", only=DEFINITION) > 3


def test_script_that_looks_on_postgresql(postgresql: Opened) -> None:
    """So is one that does so in an ``autocommit_block()``."""
    place, killer = postgresql
    block = "with op.get_context().autocommit_block():"
    lines = [block, *(f"    {line}" for line in GUARDED)]
    place.revision("bbb", "aaa", upgrade=lines)
    assert try_all(place, killer, start=None, command="upgrade", only=DEFINITION) > 3


STATEMENT = re.compile(r"before\s+(UPDATE t|INSERT INTO u|ALTER|CREATE|DROP|VACUUM)")


def try_during(place: Place, killer: Killer, block: tuple[str, str], *more: str) -> int:
    """Kill the upgrade while each statement of the revision waits, and run it again at once.

    :param more: Other moments to try.
    :returns: How many there were.
    """
    place.begin()
    whole = succeeds(killer, "upgrade")
    expected = place.state()
    tried = 0
    for number in of_revision(whole):
        moment = whole.moments[number - 1]
        is_statement = STATEMENT.search(moment) and "alembic_version" not in moment
        if not is_statement and moment not in more:
            continue
        place.begin()
        killed = killer.run("upgrade", kill=number, block=block)
        assert killed.code == -9, killed.output
        again = killer.run("upgrade")
        where = f"{number}, {' '.join(moment.split())}: {again.output}"
        assert again.code == 0, where
        assert place.state() == expected, where
        tried += 1
    return tried


def test_during_each_statement_on_mysql(own_mysql: Opened) -> None:
    """The server goes on with a statement whose client is gone, and even with its commit."""
    place, killer = own_mysql
    place.revision("bbb", "aaa", upgrade=MIXED)
    admin = place.server.url.render_as_string(hide_password=False)
    tried = try_during(place, killer, (admin, "FLUSH TABLES WITH READ LOCK"), "before COMMIT")
    assert tried > 9


def test_during_each_statement_on_postgresql(postgresql: Opened) -> None:
    """The server goes on with a statement whose client is gone."""
    place, killer = postgresql
    place.revision("bbb", "aaa", upgrade=CONCURRENTLY)
    assert try_during(place, killer, (admin_url(place), "LOCK TABLE t IN SHARE MODE")) == 11


def admin_url(place: Place) -> str:
    """The URL of the project's database for an administrator."""
    url = place.server.url.set(database=sa.make_url(place.url).database)
    return url.render_as_string(hide_password=False)


def told_of_waiting(place: Place, killer: Killer, moment: str, statement: str) -> str:
    """Kill the upgrade while a statement waits, and return what is said about that at once."""
    place.begin()
    whole = succeeds(killer, "upgrade")
    expected = place.state()
    number = whole.moments.index(moment) + 1
    place.begin()
    killer.run("upgrade", kill=number, block=(admin_url(place), statement))
    again = succeeds(killer, "upgrade")
    assert place.state() == expected
    return again.output


def test_statement_that_goes_on_on_mysql(mysql: Opened) -> None:
    """What the server still executes is waited for, and shown with its age."""
    place, killer = mysql
    place.revision("bbb", "aaa", upgrade=MIXED)
    moment = "before ALTER TABLE t ADD COLUMN b INTEGER"
    assert re.search(
        r"^Waiting for database 'default': it still executes what a run began that was stopped\. "
        r"This is connection \d+ \(user 'dbmigrate_test', query for \d+ s\): ALTER TABLE t ADD "
        r"COLUMN b INTEGER\.\n"
        r"Resuming the upgrade of revision 'bbb': 5 statements are done\.\n",
        told_of_waiting(place, killer, moment, "SELECT * FROM t"),
    )


def test_statement_that_goes_on_on_postgresql(postgresql: Opened) -> None:
    """PostgreSQL completes ``CREATE INDEX CONCURRENTLY`` for a client that is gone."""
    place, killer = postgresql
    place.revision("bbb", "aaa", upgrade=CONCURRENTLY)
    moment = "before CREATE INDEX CONCURRENTLY ix ON t (n)"
    assert re.search(
        r"^Waiting for database 'default': it still executes what a run began that was stopped\. "
        r"This is server process \d+ \(user 'dbmigrate_test', active.*\): CREATE INDEX "
        r"CONCURRENTLY ix ON t \(n\)\.\n"
        r"Resuming the upgrade of revision 'bbb': 4 statements are done\.\n",
        told_of_waiting(place, killer, moment, "LOCK TABLE t IN SHARE MODE"),
    )
