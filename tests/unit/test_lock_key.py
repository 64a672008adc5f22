"""The key of the migration lock, which never changes: all releases keep each other out."""

from __future__ import annotations

from pathlib import Path
import typing as t

import pytest
import sqlalchemy as sa

from flask_dbmigrate.dialects import mysql
from flask_dbmigrate.dialects import postgresql
from flask_dbmigrate.dialects import sqlite

PLAIN = (None, "alembic_version")


class Server:
    """A connection to a server on which the database is called 'shop'."""

    def scalar(self, statement: sa.TextClause) -> str:
        return "shop"


SHOP: t.Any = Server()


@pytest.mark.parametrize(
    ("name", "key"), [(PLAIN, 6883994197800462603), (("s", "v"), -5929491091452012063)]
)
def test_postgresql(name: tuple[str | None, str], key: int) -> None:
    """The key of the advisory lock is the one of 0.1.0."""
    assert postgresql._lock_key(SHOP, *name) == key


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (PLAIN, "flask_dbmigrate:5f88dc3ffbbf290b"),
        (("s", "v"), "flask_dbmigrate:adb63744a328d9e1"),
    ],
)
def test_mysql(name: tuple[str | None, str], key: str) -> None:
    """So is the name of the lock of MySQL and MariaDB."""
    assert mysql._lock_name(SHOP, *name) == key


def test_sqlite() -> None:
    """So is the file beside a database of SQLite."""
    assert sqlite._lock_file("/srv/shop.db") == Path("/srv/shop.db-dbmigrate.lock")
