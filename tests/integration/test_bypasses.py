"""What a revision does past its own transaction: it is not run again by itself."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
import threading
import typing as t

from flask import current_app
from harness import execute
from harness import Holder
from harness import Project
from harness import wait_until
import pytest
import servers
import sqlalchemy as sa

import flask_dbmigrate
from flask_dbmigrate import HalfAppliedError
from flask_dbmigrate import Listener
from flask_dbmigrate import MigrationError
from flask_dbmigrate import Retry

READ = "SELECT * FROM t"
WRITE = "UPDATE t SET id = 2"
COUNT = "UPDATE counter SET n = n + 1"
FUNCTION = f"CREATE FUNCTION f() RETURNS INTEGER LANGUAGE plpgsql AS 'BEGIN {COUNT}; RETURN 1; END'"
TABLES = (
    "CREATE TABLE t (id INTEGER)",
    "INSERT INTO t VALUES (1)",
    "CREATE TABLE counter (n INTEGER)",
    "INSERT INTO counter VALUES (0)",
)
ADD = "op.add_column('t', sa.Column('a', sa.Integer))"
NOWAIT = "op.execute('SELECT * FROM t FOR UPDATE NOWAIT')"
IMPORTS = f"""
import asyncio
from concurrent.futures import ThreadPoolExecutor
import threading
from flask import current_app
from sqlalchemy.orm import Session
COUNT = sa.text({COUNT!r})
def database(): return current_app.extensions['sqlalchemy']
def count(engine):
    with engine.begin() as connection: connection.execute(COUNT)
"""

ELSEWHERE = {
    "session": ["database().session.execute(COUNT)", "database().session.commit()"],
    "not committed yet": ["database().session.execute(COUNT)"],
    "engine": ["count(op.get_bind().engine)"],
    "another engine": ["count(sa.create_engine(database().engine.url, poolclass=sa.NullPool))"],
    "thread": [
        "thread = threading.Thread(target=count, args=(database().engine,))",
        "thread.start()",
        "thread.join()",
    ],
    "thread of a thread": [
        "def work():",
        "    with ThreadPoolExecutor() as pool: pool.submit(count, engine).result()",
        "engine = database().engine",
        "asyncio.run(asyncio.to_thread(work))",
    ],
    "several statements": [
        "database().session.connection().exec_driver_sql(f'SELECT 1; {COUNT}')",
        "database().session.commit()",
    ],
    "function": ["database().session.scalar(sa.text('SELECT f()'))", "database().session.commit()"],
    "driver": [
        "with database().engine.connect() as connection:",
        "    connection.connection.cursor().execute(str(COUNT))",
        "    connection.connection.commit()",
    ],
    "raw connection": [
        "raw = database().engine.raw_connection()",
        "raw.cursor().execute(str(COUNT))",
        "raw.commit()",
        "raw.close()",
    ],
    "pool": [
        "raw = database().engine.pool.connect()",
        "raw.cursor().execute(str(COUNT))",
        "raw.commit()",
        "raw.close()",
    ],
}
"""Changes on other connections."""

BELOW = {
    "commit": ["op.execute(COUNT)", "op.get_bind().connection.commit()"],
    "commit of the driver": [
        "op.execute(COUNT)",
        "op.get_bind().connection.driver_connection.commit()",
    ],
    "cursor": [
        "cursor = op.get_context().connection.connection.cursor()",
        "cursor.execute(str(COUNT))",
        "cursor.execute('COMMIT')",
    ],
    "session": [
        "op.execute(COUNT)",
        "Session(op.get_bind()).connection().connection.dbapi_connection.commit()",
    ],
    "commit in a thread": [
        "op.execute(COUNT)",
        "bind = op.get_bind()",
        "thread = threading.Thread(target=lambda: bind.connection.commit())",
        "thread.start()",
        "thread.join()",
    ],
    "several statements": ["op.execute(f'{COUNT}; COMMIT; SELECT 1')"],
}
"""Changes on the run's own connection that are committed at once."""

ROLLED_BACK_BEFORE = [
    "driver = op.get_bind().connection.dbapi_connection",
    "driver.rollback()",
    "driver.cursor().execute(str(COUNT))",
    "driver.commit()",
]

HARMLESS = {
    "reading": ["database().session.execute(sa.text('SELECT * FROM counter')).all()"],
    "session on the run's connection": [
        "session = Session(op.get_bind())",
        "session.execute(COUNT)",
        "session.commit()",
    ],
    "nothing": ["op.execute(COUNT)"],
}
"""What is rolled back with the revision, or has changed nothing."""


class Witness(Listener):
    """Notes each retry, and lets locks go at the first one."""

    def __init__(self, release: Callable[[], None]) -> None:
        self.release = release
        self.retries: list[Retry] = []

    def step_blocked(self, database: str, retry: Retry) -> None:
        self.retries.append(retry)
        self.release()


class Place(Project):
    """A project in this process, its application's context pushed."""

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder, url)
        self.numbers = count()
        self.head: str | None = None
        execute(url, *TABLES, *([FUNCTION] if url.startswith("postgresql") else []))

    def upgrade(
        self, *lines: str, release: Callable[[], None] = lambda: None, **options: t.Any
    ) -> Witness:
        """Upgrade by one more revision, with a short limit for DDL."""
        self.write(*lines)
        witness = Witness(release)
        flask_dbmigrate.upgrade(
            listener=witness, **{"ddl_lock_timeout": 0.2, "ddl_retries": 2, **options}
        )
        return witness

    def write(self, *lines: str) -> None:
        """Write one more revision."""
        name = f"r{next(self.numbers)}"
        self.revision(name, self.head, upgrade=lines, extra=IMPORTS)
        self.head = name

    def fails(self, *lines: str) -> tuple[type[Exception], int]:  # type: ignore[override]
        """Upgrade in vain, and go back: the error, and how often the counter was changed."""
        before = self.counter
        with pytest.raises((MigrationError, HalfAppliedError)) as caught:
            self.upgrade(*lines)
        current_app.extensions["sqlalchemy"].session.remove()
        changed = self.counter - before
        if isinstance(caught.value, HalfAppliedError):
            flask_dbmigrate.resolve(rolled_back=caught.value.half_applied.revision)
        for path in self.folder.glob("migrations/versions/*.py"):
            path.unlink()
        self.head = None
        return type(caught.value), changed

    @property
    def counter(self) -> int:
        """How often the counter was changed."""
        ((number,),) = self.query("SELECT n FROM counter")
        return int(number)


@pytest.fixture
def begin(start: Callable[..., t.Any], tmp_path: Path) -> Callable[[str], Place]:
    """Makes a project without revisions."""

    def begin(url: str) -> Place:
        start(url=url)
        return Place(tmp_path, url)

    return begin


@pytest.fixture
def place(postgresql_url: str, begin: Callable[[str], Place]) -> Iterator[Place]:
    """One on PostgreSQL."""
    yield begin(postgresql_url)
    current_app.extensions["sqlalchemy"].session.remove()


@contextmanager
def released_later(holder: Holder, url: str) -> Iterator[None]:
    """Let the holder go when somebody has waited for longer than DDL is allowed to."""
    engine = sa.create_engine(servers.synchronous(url), poolclass=sa.NullPool)
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
        "AND datname = current_database() AND clock_timestamp() - query_start > interval '0.5 s'"
    )
    is_over = threading.Event()

    def is_waiting() -> bool:
        with engine.connect() as connection:
            return is_over.is_set() or bool(connection.exec_driver_sql(waiting).scalar())

    def release() -> None:
        wait_until(is_waiting)
        holder.release()

    thread = threading.Thread(target=release)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def test_it_is_not_run_again(place: Place) -> None:
    """A revision that has changed something on another connection fails, and is not run again."""
    with Holder(place.url, WRITE):
        found = {name: place.fails(*lines, NOWAIT) for name, lines in ELSEWHERE.items()}
    expected = dict.fromkeys(ELSEWHERE, (MigrationError, 1))
    assert found == {**expected, "not committed yet": (MigrationError, 0)}


def test_a_commit_below_sqlalchemy(place: Place) -> None:
    """One that commits with the driver's connection is half-applied, and not run again."""
    with Holder(place.url, WRITE):
        found = {name: place.fails(*lines, NOWAIT) for name, lines in BELOW.items()}
        rolled_back = place.fails(*ROLLED_BACK_BEFORE, NOWAIT)
    assert found == dict.fromkeys(BELOW, (HalfAppliedError, 1))
    assert rolled_back == (MigrationError, 1)


@pytest.mark.parametrize("how", HARMLESS)
def test_what_is_rolled_back(place: Place, how: str) -> None:
    """One that has only read, or whose changes are rolled back, is run again."""
    with Holder(place.url, WRITE) as writer:
        witness = place.upgrade(*HARMLESS[how], NOWAIT, release=writer.release)
    assert (len(witness.retries), place.counter) == (1, int(how != "reading"))


def test_other_threads(place: Place) -> None:
    """What other threads of the process do meanwhile does not count."""
    go, done = threading.Event(), threading.Event()

    def request() -> None:
        go.wait()
        place.query(COUNT)
        done.set()

    thread = threading.Thread(target=request)
    thread.start()
    current_app.extensions["test"] = (go, done)
    meet = ["go, done = current_app.extensions['test']", "go.set()", "done.wait()"]
    with Holder(place.url, WRITE) as writer:
        witness = place.upgrade(*meet, NOWAIT, release=writer.release)
    thread.join()
    assert (len(witness.retries), place.counter) == (1, 1)


def test_the_next_revision(place: Place) -> None:
    """Where the revision is committed, the next one is run again."""
    place.upgrade(*ELSEWHERE["session"], *BELOW["commit"])
    with Holder(place.url, WRITE) as writer:
        witness = place.upgrade(NOWAIT, release=writer.release)
    assert (len(witness.retries), place.counter) == (1, 2)


def test_a_single_transaction(place: Place) -> None:
    """Where it is rolled back with the next one, neither is run again."""
    place.write(*ELSEWHERE["session"])
    with Holder(place.url, WRITE), pytest.raises(MigrationError, match="could not obtain lock"):
        place.upgrade(NOWAIT, single_transaction=True)
    assert place.counter == 1


@pytest.mark.parametrize("lines", [ELSEWHERE["session"], BELOW["commit"]], ids=["session", "below"])
def test_its_ddl_waits(place: Place, lines: list[str]) -> None:
    """Its DDL waits for a lock as long as it takes."""
    with Holder(place.url, READ) as reader, released_later(reader, place.url):
        witness = place.upgrade(*lines, ADD)
    assert (witness.retries, place.counter) == ([], 1)
    assert place.query("SELECT a FROM t") == [(None,)]


@pytest.mark.parametrize(
    "lock",
    [
        f"database().session.execute(sa.text({READ!r}))",
        f"raw = database().engine.raw_connection(); raw.cursor().execute({READ!r})",
    ],
    ids=["session", "driver"],
)
def test_it_does_not_wait_for_itself(place: Place, lock: str) -> None:
    """But not for a lock that this process holds."""
    with pytest.raises(MigrationError, match="canceling statement") as caught:
        place.upgrade(*ELSEWHERE["session"], lock, ADD)
    assert caught.value.hint.startswith("This process holds the lock itself")
    assert "What it has committed on another connection, or with the driver's own, stays" in str(
        caught.value
    )


def test_sqlite(begin: Callable[[str], Place], sqlite_url: str) -> None:
    """On SQLite a revision is not run again either if it has changed another database."""
    place = begin(f"{sqlite_url}?timeout=0.1")
    other = Place(place.folder / "other", f"{sqlite_url}.other")
    with ExitStack() as stack:
        read = partial(Holder, sqlite_url, "BEGIN", READ)
        current_app.extensions["test"] = lambda: stack.enter_context(read())
        change = f"count(sa.create_engine({other.url!r}, poolclass=sa.NullPool))"
        with pytest.raises(MigrationError, match="is locked"):
            place.upgrade(
                change,
                "op.execute(COUNT)",
                "current_app.extensions['test']()",
                release=stack.close,
            )
    assert (place.counter, other.counter) == (0, 1)


def test_mysql(begin: Callable[[str], Place], mysql_url: str) -> None:
    """On MariaDB neither is one whose change of rows was given up."""
    place = begin(mysql_url)
    patience = "op.execute('SET SESSION innodb_lock_wait_timeout = 1')"
    with Holder(mysql_url, WRITE), pytest.raises(MigrationError, match="Lock wait timeout"):
        place.upgrade(*ELSEWHERE["session"], patience, "op.execute('UPDATE t SET id = 3')")
    assert place.counter == 1
