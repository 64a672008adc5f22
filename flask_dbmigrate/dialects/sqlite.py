"""SQLite."""

from __future__ import annotations

from pathlib import Path
import sqlite3

import sqlalchemy as sa

from .base import DialectFacts
from .locks import MigrationLock


class SQLite(DialectFacts):
    """A file: nothing answers, but the file system may refuse."""

    remedy = "Create its folder and make it writable"

    def is_transient(self, error: BaseException) -> bool:
        return False

    creates_schemas = False

    def identity(self, connection: sa.Connection) -> str | None:
        for _, name, path in connection.exec_driver_sql("PRAGMA database_list"):
            if name == "main" and path:
                return str(Path(path).resolve())
        return None  # in memory

    def lock(self, engine: sa.Engine, *name: str | None) -> MigrationLock | None:
        with engine.connect() as connection:
            path = self.identity(connection)
        return None if path is None else FileLock(Path(path))


class FileLock:
    """A file beside the database, itself a database that is locked until the process ends."""

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(f"{database.name}-dbmigrate.lock")
        self.connection = sqlite3.connect(
            self.path, timeout=0, isolation_level=None, check_same_thread=False
        )

    def acquire(self) -> bool:
        try:
            self.connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            return False
        return True

    def holder(self) -> str:
        return f"another run, which holds '{self.path}'"

    def is_held(self) -> bool:
        return True

    def release(self) -> None:
        self.connection.close()


FACTS = SQLite()
