"""An SQLite database whose file, folder or disk is the problem: a sentence, never a traceback."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import sqlite3
import tempfile
import typing as t

from harness import Application
from harness import Project
import pytest
import servers
import sqlalchemy as sa

import flask_dbmigrate
from flask_dbmigrate import DatabaseAccessError
from flask_dbmigrate import MigrationError
from flask_dbmigrate import ReadOnlyDatabaseError

Start = Callable[..., Application]

NOBODY = 65534
RIGHTS = "Make its file and its folder writable, or correct 'SQLALCHEMY_DATABASE_URI'."

each_driver = pytest.mark.parametrize("driver", servers.drivers_of("sqlite"))


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder that everybody may read, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for databases."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def begin(
    start: Start, tmp_path: Path, require_driver: Callable[[str], None]
) -> Callable[..., Application]:
    """Starts an application with one revision, on a file of SQLite or a URI with options."""

    def begin(driver: str, path: Path, options: str = "", **upgrade: t.Any) -> Application:
        require_driver(driver)
        place = f"file:{path}?{options}&uri=true" if options else path
        application = start(url=f"{servers.DRIVERS[driver]}:///{place}")
        Project(tmp_path, "sqlite://").revision("aaa", **upgrade)
        return application

    return begin


@pytest.fixture
def database(folder: Path) -> Path:
    """A database at base, which is not ours."""
    path = folder / "test.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (id INTEGER)")
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    connection.close()
    return path


@contextmanager
def as_nobody() -> Iterator[None]:
    """Be a user for whom modes count: they do not for root."""
    if os.geteuid() != 0:
        yield
        return
    group = os.getegid()
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)


def load(application: Application) -> None:
    """Load what only root may read, and keep no file open."""
    assert flask_dbmigrate.status().databases[0].pending
    application.db.engine.dispose()


def refused() -> ReadOnlyDatabaseError:
    """Upgrade, with and without a lock, and get the same error."""
    errors = []
    for options in ({}, {"lock": False}):
        with pytest.raises(ReadOnlyDatabaseError) as caught:
            flask_dbmigrate.upgrade(**options)  # type: ignore[arg-type]
        errors.append(caught.value)
    assert errors[0].message == errors[1].message
    return errors[0]


@each_driver
@pytest.mark.parametrize("options", ["mode=ro", "immutable=1"])
def test_url_that_only_reads(
    begin: Callable[..., Application], database: Path, driver: str, options: str
) -> None:
    """A URL that says so makes a database read-only; to look at it works, nothing is written."""
    before = database.read_bytes()
    begin(driver, database, options)
    error = refused()
    assert error.message == "Database 'default' is read-only: it cannot be written to."
    assert (error.hint, error.exit_code, error.database) == (RIGHTS, 2, "default")
    assert flask_dbmigrate.status().databases[0].pending
    assert database.read_bytes() == before
    assert [path.name for path in database.parent.iterdir()] == ["test.db"]


@each_driver
@pytest.mark.parametrize("what", ["file", "folder"])
def test_modes(begin: Callable[..., Application], database: Path, driver: str, what: str) -> None:
    """A file, or a folder, that may only be read is found before the lock is made in it."""
    load(begin(driver, database))
    database.chmod(0o444 if what == "file" else 0o666)
    database.parent.chmod(0o777 if what == "file" else 0o555)
    with as_nobody():
        assert refused().hint == RIGHTS


@each_driver
def test_wal_in_a_folder_that_is_read_only(
    begin: Callable[..., Application], database: Path, driver: str
) -> None:
    """SQLite cannot even read a database with a write-ahead log there: a sentence says so."""
    load(begin(driver, database))
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    database.chmod(0o666)
    database.parent.chmod(0o555)
    with as_nobody():
        for command in (flask_dbmigrate.status, flask_dbmigrate.upgrade):
            with pytest.raises(DatabaseAccessError, match=r"\) cannot be used: ") as caught:
                command()
            assert caught.value.hint == RIGHTS


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_lock_file_of_somebody_else(
    begin: Callable[..., Application], database: Path, mode: int
) -> None:
    """A lock file that may not be written to locks nothing: that is said, and nothing is run."""
    load(begin("sqlite", database))
    lock = Path(f"{database}-dbmigrate.lock")
    lock.touch()
    lock.chmod(mode)
    for path in (database, database.parent):
        path.chmod(0o777)
    with (
        as_nobody(),
        pytest.raises(ReadOnlyDatabaseError, match=f"its lock file '{lock}' cannot be ") as caught,
    ):
        flask_dbmigrate.upgrade()
    assert "'--no-lock'" in caught.value.hint
    with as_nobody():
        assert flask_dbmigrate.upgrade(lock=False).databases[0].after == ("aaa",)


def missing_folder(path: Path) -> None:
    path.parent.rmdir()


def damaged(path: Path) -> None:
    """Make a database whose table of contents is overwritten."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    connection.close()
    content = bytearray(path.read_bytes())
    content[100:] = os.urandom(len(content) - 100)
    content[100] = 13
    path.write_bytes(content)


FILES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "a missing folder": (
        missing_folder,
        "unable to open database file",
        "Create its folder and make it writable",
    ),
    "a folder": (
        Path.mkdir,
        "unable to open database file",
        "Create its folder and make it writable",
    ),
    "a text": (
        lambda path: path.write_text("This is no database, as it is a text. " * 20),
        "file is not a database",
        "Restore its file",
    ),
    "an encrypted one": (
        lambda path: path.write_bytes(os.urandom(8192)),
        "file is not a database",
        "Restore its file",
    ),
    "a damaged one": (damaged, "database disk image is malformed", "Restore it from a backup"),
}


@each_driver
@pytest.mark.parametrize("what", FILES)
def test_file_that_is_no_database(
    begin: Callable[..., Application], folder: Path, driver: str, what: str
) -> None:
    """What is no database, or a damaged one, is named with its URL; the exit code is 2."""
    make, said, remedy = FILES[what]
    path = folder / "sub" / "test.db"
    path.parent.mkdir()
    make(path)
    begin(driver, path)
    for command in (flask_dbmigrate.current, flask_dbmigrate.upgrade, flask_dbmigrate.status):
        with pytest.raises(DatabaseAccessError) as caught:
            command()
        error = caught.value
        assert error.message == f"Database 'default' ('{error.url}') cannot be used: {said}."
        assert error.hint == f"{remedy}, or correct 'SQLALCHEMY_DATABASE_URI'."
        assert (error.exit_code, error.url) == (2, f"{servers.DRIVERS[driver]}:///{path}")


def limit(database: Path, pages: int) -> Callable[[t.Any, object], None]:
    """Let SQLite find the disk full when the file is so much larger."""

    def connected(dbapi: t.Any, _: object) -> None:
        cursor = dbapi.cursor()
        cursor.execute(f"PRAGMA max_page_count = {database.stat().st_size // 4096 + pages}")
        cursor.close()

    return connected


def fill(application: Application, database: Path, pages: int) -> None:
    """Let the disk have room for so many pages."""
    for engine in application.db.engines.values():
        sa.event.listen(engine, "connect", limit(database, pages))


@each_driver
def test_full_disk(begin: Callable[..., Application], database: Path, driver: str) -> None:
    """A disk that gets full in a revision is no fault of the script, nor of ``db.session``."""
    filling = "op.execute('CREATE TABLE big AS SELECT zeroblob(100000) AS content')"
    application = begin(driver, database, upgrade=[filling])
    fill(application, database, 20)
    with pytest.raises(MigrationError, match=r"failed .*: database or disk is full") as caught:
        flask_dbmigrate.upgrade()
    assert caught.value.hint == "Make room on its disk, and run the command again."
    assert caught.value.message.endswith("The database is at base now.")


@each_driver
def test_disk_that_is_full_before(
    begin: Callable[..., Application], folder: Path, driver: str
) -> None:
    """A disk on which not even the version table has room is a sentence, and exit code 2."""
    path = folder / "test.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (id INTEGER)")
    connection.close()
    fill(begin(driver, path), path, 0)
    with pytest.raises(DatabaseAccessError, match="cannot be used: database or disk is full"):
        flask_dbmigrate.upgrade()
    assert Project(folder, f"sqlite:///{path}").inspect() == ["theirs"]


def test_disk_that_fails(begin: Callable[..., Application], database: Path) -> None:
    """An error of the disk, here a file that may not grow, is not called the script's fault."""
    import resource  # not on Windows

    filling = "op.execute('CREATE TABLE big AS SELECT zeroblob(5000000) AS content')"
    begin("sqlite", database, upgrade=[filling])
    assert flask_dbmigrate.status().databases[0].pending
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(MigrationError, match="disk I/O error") as caught:
            flask_dbmigrate.upgrade()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.hint == "Look what is wrong with its disk, and run the command again."


def test_writers_are_not_waited_for(begin: Callable[..., Application], database: Path) -> None:
    """Whether a database can be written to is found out while another one writes, at once."""
    begin("sqlite", database)
    with sqlite3.connect(database, isolation_level=None) as writer:
        writer.execute("BEGIN IMMEDIATE")
        asked: list[str] = []

        def note(_: object, cursor: object, statement: str, *rest: object) -> None:
            asked.append(statement)
            if "busy_timeout = 5000" in statement:  # it is through
                writer.execute("ROLLBACK")

        sa.event.listen(sa.Engine, "before_cursor_execute", note)
        try:
            assert flask_dbmigrate.upgrade(ddl_retries=0).databases[0].after == ("aaa",)
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", note)
    writer.close()
    assert asked.index("PRAGMA busy_timeout = 0") < asked.index("PRAGMA user_version = 0")


FULL = {
    "postgresql": "DO $$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'; END $$",
    "mysql": "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1021, MESSAGE_TEXT = 'no space left'",
}


@pytest.mark.parametrize("backend", FULL)
def test_full_disk_of_a_server(
    start: Start, request: pytest.FixtureRequest, tmp_path: Path, backend: str
) -> None:
    """The other DBMS tell of a full disk, too."""
    url: str = request.getfixturevalue(f"{backend}_url")
    start(url=url)
    Project(tmp_path, url).revision("aaa", upgrade=[f'op.execute("{FULL[backend]}")'])
    with pytest.raises(MigrationError, match="no space left") as caught:
        flask_dbmigrate.upgrade()
    assert caught.value.hint == "Make room on the server's disk, and run the command again."
