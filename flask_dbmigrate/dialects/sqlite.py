"""SQLite."""

from __future__ import annotations

from .base import DialectFacts


class SQLite(DialectFacts):
    """A file: nothing answers, but the file system may refuse."""

    remedy = "Create its folder and make it writable"
    creates_schemas = False


FACTS = SQLite()
