"""SQLite."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from contextlib import contextmanager
from contextlib import nullcontext
from contextlib import suppress
import os
from pathlib import Path
import sqlite3
import typing as t

import sqlalchemy as sa

from .base import Cancellation
from .base import DialectFacts
from .base import driver_connection
from .base import Refusal
from .connections import OWN
from .locks import MigrationLock
from .locks import UnusableLockError
from .statements import beginning_with

# https://www.sqlite.org/rescode.html
_READ_ONLY = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)
_REMEDIES = {
    **dict.fromkeys(_READ_ONLY, "Make its file and its folder writable"),
    sqlite3.SQLITE_CANTOPEN: "Create its folder and make it writable",
    sqlite3.SQLITE_FULL: "Make room on its disk",
    sqlite3.SQLITE_IOERR: "Look what is wrong with its disk",
    sqlite3.SQLITE_CORRUPT: "Restore it from a backup",
    sqlite3.SQLITE_NOTADB: "Restore its file",
}


_NEEDS_AUTOCOMMIT = beginning_with(
    r"VACUUM|DETACH|PRAGMA\s+(?:\w+\s*\.\s*)?(?:JOURNAL_MODE|SYNCHRONOUS|WAL_CHECKPOINT)"
)


class SQLite(DialectFacts):
    """A file: nothing answers, but the file system may refuse."""

    remedy = "End what holds it"
    write_remedy = "Make its file and its folder writable"

    def binary_literal(self, value: bytes) -> str:
        return f"X'{value.hex()}'"

    def is_transient(self, error: BaseException) -> bool:
        return False

    def needs_autocommit(self, statement: str) -> bool:
        return _NEEDS_AUTOCOMMIT.match(statement) is not None

    creates_schemas = False
    survives_errors = True  # but not a full disk: https://www.sqlite.org/lang_transaction.html

    def remedy_for(self, error: BaseException) -> str:
        return _REMEDIES.get(_code_of(error), "")

    def is_lock_conflict(self, error: BaseException) -> bool:
        return _is_busy(error)

    def refusal(self, connection: sa.Connection) -> Refusal | None:
        """SQLite is asked to write: whether it can, the file, its folder and the URL decide.

        :raises sa.exc.DBAPIError: if there is something else wrong, as with a disk that is full.
        """
        if self.identity(connection) is None:
            return None
        try:
            _try_to_write(connection)
        except sa.exc.DBAPIError as error:
            if _code_of(error.orig) in _READ_ONLY:
                return Refusal.READ_ONLY
            if error.orig is not None and self.remedy_for(error.orig):
                raise
        return None  # or somebody else is writing

    def identity(self, connection: sa.Connection) -> str | None:
        for _, name, path in connection.exec_driver_sql("PRAGMA database_list"):
            if name == "main" and path:
                return str(Path(path).resolve())
        return None  # in memory

    def cancellation(self, dbapi_connection: t.Any) -> Cancellation:
        driver = driver_connection(dbapi_connection)
        if driver is dbapi_connection:
            return driver.interrupt  # type: ignore[no-any-return]
        return lambda: asyncio.run(driver.interrupt())  # it has no need of aiosqlite's event loop

    @contextmanager
    def lock(self, engine: sa.Engine, *name: str | None) -> Iterator[MigrationLock | None]:
        with engine.connect() as connection:
            path = self.identity(connection)
        with closing(FileLock(_lock_file(path))) if path else nullcontext() as lock:
            yield lock

    def lock_holder(self, connection: sa.Connection, *name: str | None) -> str | None:
        database = self.identity(connection)
        path = None if database is None else _lock_file(database)
        return _holder(path) if path is not None and _is_locked(path) else None


def _code_of(error: BaseException | None) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _is_busy(error: BaseException) -> bool:
    return _code_of(error) == sqlite3.SQLITE_BUSY


def _try_to_write(connection: sa.Connection) -> None:
    """Write a number of the file's header anew, and roll that back, without waiting for anybody."""

    def ask(pragma: str) -> t.Any:
        return connection.exec_driver_sql(f"PRAGMA {pragma}", execution_options=OWN).scalar()

    def run(statement: str) -> None:
        connection.exec_driver_sql(statement, execution_options=OWN)

    patience, version = ask("busy_timeout"), ask("user_version")
    ask("busy_timeout = 0")
    run("SAVEPOINT dbmigrate")
    try:
        run(f"PRAGMA user_version = {version}")
    finally:
        with suppress(sa.exc.DBAPIError):  # a disk that is full has ended the transaction
            run("ROLLBACK TO dbmigrate")
            run("RELEASE dbmigrate")
        ask(f"busy_timeout = {patience}")


class FileLock:
    """A file beside the database, itself a database that is locked until the process ends.

    It is one for all version tables: a database has one writer at a time.

    :raises UnusableLockError: if the file cannot be made or written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # whoever looks at the file has it for a moment, too: that is waited for
            self.connection = sqlite3.connect(
                path, timeout=0.1, isolation_level=None, check_same_thread=False
            )
        except sqlite3.OperationalError as error:
            raise UnusableLockError(f"its lock file '{path}' cannot be made: {error}") from error
        if not os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            self.close()  # SQLite would only share a lock on a file that it may only read
            raise UnusableLockError(f"its lock file '{path}' cannot be written to")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FileLock) and self.path == other.path

    def acquire(self) -> bool:
        try:
            self.connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if not _is_busy(error):
                raise
            return False
        return True

    def holder(self) -> str:
        return _holder(self.path)

    def is_held(self) -> bool:
        return True

    def close(self) -> None:
        self.connection.close()


def _lock_file(database: str) -> Path:
    path = Path(database)
    return path.with_name(f"{path.name}-dbmigrate.lock")


def _holder(path: Path) -> str:
    return f"another run, which holds '{path}'"


def _is_locked(path: Path) -> bool:
    """Tell whether a run holds a lock file, by reading from it; it is not made by that."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", timeout=0, uri=True)) as reader:
            reader.execute("PRAGMA schema_version")
    except sqlite3.OperationalError as error:  # or there is no file
        return _is_busy(error)
    return False


FACTS = SQLite()
