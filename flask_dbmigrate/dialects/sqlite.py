"""SQLite."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from contextlib import contextmanager
from contextlib import nullcontext
from pathlib import Path
import sqlite3
import typing as t

import sqlalchemy as sa

from .base import Cancellation
from .base import DialectFacts
from .base import driver_connection
from .locks import MigrationLock


class SQLite(DialectFacts):
    """A file: nothing answers, but the file system may refuse."""

    remedy = "Create its folder and make it writable"

    def binary_literal(self, value: bytes) -> str:
        return f"X'{value.hex()}'"

    def is_transient(self, error: BaseException) -> bool:
        return False

    creates_schemas = False
    survives_errors = True  # but not a full disk: https://www.sqlite.org/lang_transaction.html

    def is_lock_conflict(self, error: BaseException) -> bool:
        return _is_busy(error)

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


def _is_busy(error: BaseException) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


class FileLock:
    """A file beside the database, itself a database that is locked until the process ends.

    It is one for all version tables: a database has one writer at a time.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # whoever looks at the file has it for a moment, too: that is waited for
        self.connection = sqlite3.connect(
            path, timeout=0.1, isolation_level=None, check_same_thread=False
        )

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
