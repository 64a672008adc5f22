"""SQLite."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from .base import DialectFacts


class SQLite(DialectFacts):
    """A file: nothing answers, but the file system may refuse."""

    remedy = "Create its folder and make it writable"
    creates_schemas = False

    def identity(self, connection: sa.Connection) -> str | None:
        for _, name, path in connection.exec_driver_sql("PRAGMA database_list"):
            if name == "main" and path:
                return str(Path(path).resolve())
        return None  # in memory


FACTS = SQLite()
